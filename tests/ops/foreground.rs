//! AnomalyDINO's mask: covariance, its square, components, and maps cut out by them, against loops in f64 that read like
//! its rules. All of it is f32 in every precision.

use inctrl::backend::{ImageTokens, Role};
use inctrl::methods::anomaly_dino::{CutOut, Foreground, ForegroundOps, Tokens};
use inctrl::view::Grid;

use super::random;

on_every_device! {
    covariances,
    squares,
    components,
    cut_outs,
}

/// Half the distance from 1 to the next f32.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

fn filled<B: ForegroundOps>(backend: &mut B, host: &[f32]) -> B::Buffer {
    let mut buffer = backend.buffer(Role::Stream, host.len()).unwrap();
    backend.upload(host, &mut buffer).unwrap();
    buffer
}

fn read<B: ForegroundOps>(backend: &mut B, buffer: &B::Buffer, len: usize) -> Vec<f32> {
    let mut out = vec![0.0; len];
    backend.download(buffer, &mut out).unwrap();
    out
}

/// Fails unless `found` lies within its budget of what is exact, given together for each element.
#[track_caller]
fn within(what: &str, found: &[f32], exact: impl Iterator<Item = (f64, f64)>) {
    let mut count = 0;
    for (i, (found, (exact, budget))) in found.iter().zip(exact).enumerate() {
        let away = (f64::from(*found) - exact).abs();
        assert!(away <= budget, "{what}[{i}]: found {found:e}, expected {exact:e}, {away:e} > {budget:e}");
        count += 1;
    }
    assert_eq!(found.len(), count, "{what}: number of elements");
}

/// Tokens of some images, one direction of which is strong, with a prefix that must not count.
struct Case {
    images: usize,
    prefix: usize,
    grid: Grid,
    width: usize,
    host: Vec<f32>,
}

impl Case {
    fn new(images: usize, prefix: usize, grid: Grid, width: usize) -> Self {
        let tokens = images * (prefix + grid.cells());
        let (noise, axis, along) = (random(1, tokens * width, 1.0), random(2, width, 1.0), random(3, tokens, 9.0));
        let value = |i: usize| 0.7 + noise[i] + axis[i % width] * along[i / width];
        let mut host: Vec<f32> = (0..tokens * width).map(value).collect();
        for image in host.chunks_exact_mut((prefix + grid.cells()) * width) {
            image[..prefix * width].fill(1e6);
        }
        Case { images, prefix, grid, width, host }
    }

    fn all() -> Vec<Self> {
        vec![
            Case::new(1, 1, Grid::new(9, 14), 64),
            Case::new(3, 5, Grid::new(6, 6), 128),
            Case::new(2, 0, Grid::new(1, 40), 64),
            Case::new(1, 1, Grid::new(5, 1), 192),
        ]
    }

    fn what(&self) -> String {
        format!("{} x ({} + {}) x {}", self.images, self.prefix, self.grid, self.width)
    }

    fn each(&self) -> ImageTokens {
        ImageTokens { prefix: self.prefix, patches: self.grid.cells() }
    }

    /// Patches of each image in f64.
    fn patches(&self) -> Vec<Vec<Vec<f64>>> {
        let images = self.host.chunks_exact((self.prefix + self.grid.cells()) * self.width);
        let rows = |image: &[f32]| -> Vec<Vec<f64>> {
            let rows = image.chunks_exact(self.width).skip(self.prefix);
            rows.map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
        };
        images.map(rows).collect()
    }
}

/// Rows less their mean, and the mean.
fn centred(rows: &[Vec<f64>]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let count = rows.len() as f64;
    let mean: Vec<f64> = (0..rows[0].len()).map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / count).collect();
    (rows.iter().map(|row| row.iter().zip(&mean).map(|(x, m)| x - m).collect()).collect(), mean)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Every element of `Σ x xᵀ` over rows, beside the same of absolute values.
fn gram(rows: &[Vec<f64>]) -> impl Iterator<Item = (f64, f64)> + '_ {
    let width = rows[0].len();
    (0..width * width).map(move |at| {
        let terms = rows.iter().map(|row| row[at / width] * row[at % width]);
        terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()))
    })
}

fn covariances<B: ForegroundOps>(backends: &mut [B]) {
    backends.iter_mut().for_each(covariances_of);
}

fn covariances_of<B: ForegroundOps>(backend: &mut B) {
    let kernels = backend.foreground_kernels().unwrap();
    for case in Case::all() {
        let len = case.images * case.width * case.width;
        let (x, mut out) = (filled(backend, &case.host), filled(backend, &vec![0.0; len]));
        let tokens = Tokens { values: &x, images: case.images, each: case.each(), width: case.width };
        backend.covariance(&kernels, &tokens, &mut out).unwrap();
        let found = read(backend, &out, len);
        for (rows, found) in case.patches().iter().zip(found.chunks_exact(case.width * case.width)) {
            let (n, (rows, mean)) = (rows.len() as f64, centred(rows));
            // A chain of n products and n sums of rounded differences, from means that err by n roundings of their sum.
            let shift =
                |i: usize| n * ROUNDING * (mean[i].abs() + rows.iter().map(|row| row[i].abs()).sum::<f64>() / n);
            let budget = |(at, (sum, size)): (usize, (f64, f64))| {
                let (i, j) = (at / case.width, at % case.width);
                (sum, 2.0 * (n + 8.0) * ROUNDING * (size + sum.abs()) + 2.0 * n * shift(i) * shift(j) + 1e-4 * ROUNDING)
            };
            within(&format!("covariance {}", case.what()), found, gram(&rows).enumerate().map(budget));
        }
    }
}

fn squares<B: ForegroundOps>(backends: &mut [B]) {
    backends.iter_mut().for_each(squares_of);
}

fn squares_of<B: ForegroundOps>(backend: &mut B) {
    let kernels = backend.foreground_kernels().unwrap();
    for (images, width) in [(1, 64), (2, 128), (3, 192)] {
        let mut host = random(5, images * width * width, 1.0);
        for c in host.chunks_exact_mut(width * width) {
            for i in 0..width {
                // Symmetric, with a trace that is not small beside its parts.
                (0..i).for_each(|j| c[i * width + j] = c[j * width + i]);
                c[i * width + i] = c[i * width + i].abs() + 0.5;
            }
        }
        // A matrix without a trace is zero.
        host[(images - 1) * width * width..].iter_mut().filter(|_| images == 3).for_each(|x| *x = 0.0);
        let (c, mut out) = (filled(backend, &host), filled(backend, &vec![1.0; host.len()]));
        backend.squared(&kernels, &c, images, width, &mut out).unwrap();
        let found = read(backend, &out, host.len());
        for (c, found) in host.chunks_exact(width * width).zip(found.chunks_exact(width * width)) {
            let trace: f64 = c.iter().step_by(width + 1).map(|x| f64::from(*x)).sum();
            let scale = if trace == 0.0 { 0.0 } else { 1.0 / trace };
            let rows: Vec<Vec<f64>> =
                c.chunks_exact(width).map(|row| row.iter().map(|x| f64::from(*x) * scale).collect()).collect();
            // The chain, the sum of the trace twice, and the scales.
            let budget = |(sum, size): (f64, f64)| (sum, (4.0 * width as f64 + 16.0) * ROUNDING * size);
            within(&format!("squared {images} x {width}"), found, gram(&rows).map(budget));
        }
    }
}

fn components<B: ForegroundOps>(backends: &mut [B]) {
    backends.iter_mut().for_each(components_of);
}

fn components_of<B: ForegroundOps>(backend: &mut B) {
    let kernels = backend.foreground_kernels().unwrap();
    for case in Case::all() {
        let (width, cells) = (case.width, case.grid.cells());
        let mut host = random(7, case.images * width * width, 0.5);
        for (image, c) in host.chunks_exact_mut(width * width).enumerate() {
            for i in 0..width {
                (0..i).for_each(|j| c[i * width + j] = c[j * width + i]);
            }
            // Two that are the largest: the first counts.
            [7 + image, width - 1].iter().for_each(|i| c[i * width + i] = 2.0);
        }
        let (x, c) = (filled(backend, &case.host), filled(backend, &host));
        let mut out = filled(backend, &vec![0.0; case.images * cells]);
        let tokens = Tokens { values: &x, images: case.images, each: case.each(), width };
        backend.component(&kernels, &tokens, &c, &mut out).unwrap();
        let found = read(backend, &out, case.images * cells);
        for (image, rows) in case.patches().iter().enumerate() {
            let axis: Vec<f64> =
                host[(image * width + 7 + image) * width..][..width].iter().map(|x| (*x).into()).collect();
            let length = dot(&axis, &axis).sqrt();
            let exact = rows.iter().map(|row| {
                let size: f64 = row.iter().zip(&axis).map(|(x, a)| (x * a).abs()).sum();
                (dot(row, &axis) / length, (2.0 * width as f64 + 8.0) * ROUNDING * size / length)
            });
            within(&format!("component {}", case.what()), &found[image * cells..][..cells], exact);
        }
        // All operations together: the principal component, by many more steps in f64.
        let mut memory = Foreground::new(backend, case.images, cells, width).unwrap();
        let (components, _) = memory.components(backend, &tokens).unwrap();
        let found = read(backend, components, case.images * cells);
        for (rows, found) in case.patches().iter().zip(found.chunks_exact(cells)) {
            let (rows, _) = centred(rows);
            let mut axis = rows[0].clone();
            for _ in 0..3000 {
                let along: Vec<f64> = rows.iter().map(|row| dot(row, &axis)).collect();
                (0..width).for_each(|i| axis[i] = rows.iter().zip(&along).map(|(row, x)| row[i] * x).sum());
                let length = dot(&axis, &axis).sqrt();
                axis.iter_mut().for_each(|x| *x /= length);
            }
            let exact: Vec<f64> = rows.iter().map(|row| dot(row, &axis)).collect();
            let mean = found.iter().map(|x| f64::from(*x)).sum::<f64>() / cells as f64;
            let found: Vec<f32> = found.iter().map(|x| (f64::from(*x) - mean) as f32).collect();
            let sign = (found.iter().zip(&exact).map(|(a, b)| f64::from(*a) * b).sum::<f64>()).signum();
            // What a threshold of 10 sees is 1e-2.
            within(&format!("principal {}", case.what()), &found, exact.iter().map(|x| (sign * x, 2e-3)));
        }
    }
}

/// The mask of components by the rules of the official code, which are not near the threshold; rows of cells.
fn mask(components: &[f32], grid: Grid) -> Vec<bool> {
    let (rows, cols) = (grid.rows as isize, grid.cols as isize);
    let mean = components.iter().map(|x| f64::from(*x)).sum::<f64>() / components.len() as f64;
    let mut first: Vec<f64> = components.iter().map(|x| f64::from(*x) - mean).collect();
    let widest = first.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
    first.iter_mut().for_each(|x| *x *= widest.signum());
    assert!(first.iter().all(|x| (x.abs() - 10.0).abs() > 1e-4));
    let part = |extent: isize| (extent as f64 * 0.2) as isize..(extent as f64 * (1.0 - 0.2)) as isize;
    let middle: Vec<f64> =
        part(rows).flat_map(|r| part(cols).map(move |c| (r, c))).map(|(r, c)| first[(r * cols + c) as usize]).collect();
    let turned = middle.iter().filter(|x| **x > 10.0).count() as f64 <= middle.len() as f64 * 0.35;
    let mut mask: Vec<bool> = first.iter().map(|x| if turned { -x } else { *x } > 10.0).collect();
    for set in [true, true, false] {
        let near = |cell: isize| {
            let around = |at: isize, extent: isize| (at - 1).max(0)..(at + 2).min(extent);
            let (row, col) = (cell / cols, cell % cols);
            around(row, rows).flat_map(move |r| around(col, cols).map(move |c| (r * cols + c) as usize))
        };
        mask = (0..rows * cols).map(|cell| near(cell).any(|other| mask[other] == set) == set).collect();
    }
    mask
}

fn cut_outs<B: ForegroundOps>(backends: &mut [B]) {
    backends.iter_mut().for_each(cut_outs_of);
}

fn cut_outs_of<B: ForegroundOps>(backend: &mut B) {
    let kernels = backend.foreground_kernels().unwrap();
    for grid in [Grid::new(9, 14), Grid::new(32, 32), Grid::new(1, 70), Grid::new(3, 2)] {
        let cells = grid.cells();
        let at = |cell: usize| {
            let (row, col) = (cell / grid.cols, cell % grid.cols);
            [(row as f32 + 0.5) / grid.rows as f32 - 0.5, (col as f32 + 0.5) / grid.cols as f32 - 0.5]
        };
        let inside = |cell: usize| at(cell).iter().all(|x| x.abs() < 0.32);
        let noise = random(11, 6 * cells, 3.0);
        // A part in the middle, bright or dark; specks; a part in a corner; nothing; all of one value.
        let component = |image: usize, cell: usize| {
            let own = noise[image * cells + cell];
            match image {
                0 if inside(cell) => 60.0 + own,
                1 if inside(cell) => -60.0 + own,
                2 if cell.is_multiple_of(5) => 40.0 + own,
                3 if at(cell)[0] < 0.0 && at(cell)[1] < 0.1 => 30.0 + own,
                4 => 0.5 * own,
                5 => 3.0,
                _ => own,
            }
        };
        let components: Vec<f32> = (0..6 * cells).map(|i| component(i / cells, i % cells)).collect();
        let host: Vec<f32> = random(13, 8 * cells, 1.0).iter().map(|x| x.abs()).collect();
        let valid: Vec<f32> = (0..8 * cells).map(|cell| if cell % 7 == 3 { 0.0 } else { 1.0 }).collect();
        let (components_, valid_) = (filled(backend, &components), filled(backend, &valid));
        for (images, first_slot) in [(0..6, 0), (1..4, 5), (5..6, 7)] {
            let mut maps = backend.buffer(Role::Result, 8 * cells).unwrap();
            backend.upload(&host, &mut maps).unwrap();
            let cut = CutOut { components: &components_, images: images.clone(), first_slot, grid, valid: &valid_ };
            backend.cut_out(&kernels, &cut, &mut maps).unwrap();
            let found = read(backend, &maps, 8 * cells);
            for (slot, (found, host)) in found.chunks_exact(cells).zip(host.chunks_exact(cells)).enumerate() {
                let expected: Vec<f32> = match slot.checked_sub(first_slot).map(|i| images.start + i) {
                    Some(image) if image < images.end => {
                        let mask = mask(&components[image * cells..][..cells], grid);
                        let left = mask.iter().zip(&valid[slot * cells..]).any(|(mask, valid)| *mask && *valid > 0.0);
                        let cut = |(x, mask): (&f32, &bool)| if *mask { *x } else { 0.0 };
                        if left { host.iter().zip(&mask).map(cut).collect() } else { vec![f32::INFINITY; cells] }
                    }
                    _ => host.to_vec(),
                };
                assert_eq!(found, expected, "{grid}, slot {slot} of {images:?} from {first_slot}");
            }
        }
        // What is broken stays so.
        let mut run = |components: &[f32], map: &[f32], valid: &[f32]| {
            let mut maps = backend.buffer(Role::Result, cells).unwrap();
            backend.upload(map, &mut maps).unwrap();
            let (components, valid) = (filled(backend, components), filled(backend, valid));
            let cut = CutOut { components: &components, images: 0..1, first_slot: 0, grid, valid: &valid };
            backend.cut_out(&kernels, &cut, &mut maps).unwrap();
            read(backend, &maps, cells)
        };
        let (part, map, all) = (&components[..cells], &host[..cells], vec![1.0; cells]);
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut components = part.to_vec();
            components[cells / 2] = broken;
            assert!(run(&components, map, &all).iter().all(|x| x.is_nan()), "{grid}: {broken}");
        }
        let mut torn = map.to_vec();
        torn[0] = f32::NAN;
        assert!(run(part, &torn, &all)[0].is_nan());
        assert!(run(part, map, &vec![0.0; cells]).iter().all(|x| *x == f32::INFINITY));
    }
}
