//! The operations of convolutional encoders.

use std::sync::Arc;

use inctrl::ErrorKind;
use inctrl::backend::{Backend, BankRole, BankTensor, Convolution, Resample, Role, Search, Then};
use inctrl::view::Grid;

use super::{
    Real, Stored, ULP, accurate, exactly, finish, input, is_marked, largest, numbers, output, random, real, same_bits,
    within,
};

on_every_device! {
    convolve,
    a_cell_does_not_know_its_batch,
    max_pool,
    mean_cells,
    pool_neighbours,
    pool_columns,
    resample,
    nearest_euclidean,
    short_buffers_are_errors,
}

/// A convolution as the formula reads, of one image `[rows, cols, channels]`.
fn convolution<T: Real>(
    x: &[f32],
    w: &[f32],
    bias: &[f32],
    at: &Convolution,
    before: Option<&[f32]>,
    relu: bool,
) -> Vec<T> {
    let (x, w, bias) = (real::<T>(x), real::<T>(w), real::<T>(bias));
    let (grid, pad) = (at.output(), at.side as isize / 2);
    let mut out = Vec::new();
    for cell in 0..grid.cells() {
        for (output, bias) in bias.iter().enumerate() {
            let mut sum = *bias;
            for place in 0..at.side * at.side {
                let row = (cell / grid.cols * at.stride + place / at.side) as isize - pad;
                let col = (cell % grid.cols * at.stride + place % at.side) as isize - pad;
                if row < 0 || col < 0 || row >= at.input.rows as isize || col >= at.input.cols as isize {
                    continue;
                }
                for channel in 0..at.channels {
                    let from = (row as usize * at.input.cols + col as usize) * at.channels + channel;
                    sum = sum + x[from] * w[(output * at.side * at.side + place) * at.channels + channel];
                }
            }
            if let Some(before) = before {
                sum = sum + T::of(before[out.len()].into());
            }
            out.push(if relu { sum.max(T::of(0.0)) } else { sum });
        }
    }
    out
}

/// The patch rows of an image `[rows, cols, 3]`.
fn patch_rows(x: &[f32], grid: Grid, patch: usize) -> Vec<f32> {
    let across = grid.cols / patch;
    let number = |i: usize| {
        let (cell, channel) = (i / (3 * patch * patch), i / (patch * patch) % 3);
        let (y, x_at) = (i / patch % patch, i % patch);
        let (row, col) = (cell / across * patch + y, cell % across * patch + x_at);
        x[(row * grid.cols + col) * 3 + channel]
    };
    (0..x.len()).map(number).collect()
}

/// Rows and columns, channels, outputs, side, stride, and the side of a patch.
type Case = ([usize; 2], usize, usize, usize, usize, Option<usize>);

const CONVOLUTIONS: [Case; 8] = [
    ([1, 1], 1, 1, 1, 1, None),
    ([5, 7], 6, 4, 3, 1, None),
    ([5, 7], 6, 33, 3, 2, None),
    ([6, 4], 16, 8, 1, 2, None),
    ([9, 3], 40, 17, 1, 1, None),
    ([3, 2], 130, 5, 3, 2, None),
    ([16, 24], 3, 16, 7, 2, Some(4)),
    ([16, 24], 3, 9, 7, 2, Some(8)),
];

fn convolve<B: Backend>(backends: &mut [B]) {
    for ([rows, cols], channels, outputs, side, stride, patch) in CONVOLUTIONS {
        let at = Convolution { input: Grid::new(rows, cols), channels, side, stride, patch };
        let len = at.input.cells() * channels;
        let x = numbers(backends, Role::Operand, 1, 2 * len, 1.0);
        let w = numbers(backends, Role::Weight, 2, outputs * at.inputs(), 0.3);
        let bias = numbers(backends, Role::Operand, 3, outputs, 1.0);
        let cells = at.output().cells() * outputs;
        let before = random(4, 2 * cells, 1.0);
        for backend in &mut *backends {
            let weight = Stored::f32(&[outputs, side, side, channels], &w);
            let layer = backend
                .linear_weights(&weight.view(), 0..outputs, Some(&Stored::f32(&[outputs], &bias).view()))
                .unwrap();
            let rows: Vec<f32> = match patch {
                Some(patch) => x.chunks(len).flat_map(|x| patch_rows(x, at.input, patch)).collect(),
                None => x.clone(),
            };
            for then in [Then::Store, Then::Relu, Then::AddRelu] {
                let source = input(backend, if patch.is_some() { Role::Operand } else { Role::Stream }, &rows);
                let mut out = output(backend, Role::Stream, 2 * cells);
                backend.upload(&before, &mut out).unwrap();
                let unfolded = B::unfolded_len(at.inputs(), 2, at.output().cells());
                let mut unfolded = backend.buffer(Role::Operand, unfolded).unwrap();
                backend.levels().convolve(&source, 2, &at, &layer, then, &mut unfolded, &mut out).unwrap();
                let found = finish(backend, &out, 2 * cells);
                let of = |image: usize| {
                    let own = (then == Then::AddRelu).then(|| &before[image * cells..][..cells]);
                    let x = &x[image * len..][..len];
                    let relu = then != Then::Store;
                    (convolution::<f64>(x, &w, &bias, &at, own, relu), convolution::<f32>(x, &w, &bias, &at, own, relu))
                };
                let ((exact, naive), (more, others)) = (of(0), of(1));
                let what = format!("convolve, {}, {at:?}, {then:?}", backend.describe());
                accurate(&what, &found, &[exact, more].concat(), &[naive, others].concat(), 0.0);
            }
        }
    }
}

/// The second of three images has the bits that it has alone, whatever memory there is for neighbourhoods.
fn a_cell_does_not_know_its_batch<B: Backend>(backends: &mut [B]) {
    let at = Convolution { input: Grid::new(15, 23), channels: 8, side: 3, stride: 1, patch: None };
    let (len, cells) = (at.input.cells() * at.channels, at.output().cells() * 19);
    let x = numbers(backends, Role::Operand, 1, 3 * len, 1.0);
    let weight = Stored::f32(&[19, 3, 3, 8], &numbers(backends, Role::Weight, 2, 19 * at.inputs(), 0.3));
    for backend in backends {
        let layer = backend.linear_weights(&weight.view(), 0..19, None).unwrap();
        let mut run = |x: &[f32], images: usize, unfolded: usize, then: Then| {
            let source = input(backend, Role::Stream, x);
            // Exactly as long as it must be: what is beyond belongs to nobody.
            let mut out = backend.buffer(Role::Stream, images * cells).unwrap();
            let mut unfolded = backend.buffer(Role::Operand, unfolded * at.inputs()).unwrap();
            backend.levels().convolve(&source, images, &at, &layer, then, &mut unfolded, &mut out).unwrap();
            let mut found = vec![0.0; images * cells];
            backend.download(&out, &mut found).unwrap();
            found
        };
        for then in [Then::Store, Then::Relu] {
            let alone = run(&x[len..2 * len], 1, at.output().cells(), then);
            // Several pieces, which cross images; one; and more memory than there is to unfold.
            for unfolded in [64, 200, 3 * at.output().cells(), 5 * at.output().cells()] {
                let all = run(&x, 3, unfolded, then);
                same_bits(&format!("convolve, one of three, {unfolded}"), &all[cells..2 * cells], &alone);
            }
        }
    }
}

fn max_pool<B: Backend>(backends: &mut [B]) {
    for (rows, cols, width) in [(1, 1, 1), (5, 7, 6), (6, 4, 33)] {
        let (grid, half) = (Grid::new(rows, cols), Grid::new(rows.div_ceil(2), cols.div_ceil(2)));
        let mut x = random(1, 2 * grid.cells() * width, 1.0);
        // Nothing outside is larger than what is inside.
        x.iter_mut().for_each(|x| *x -= 10.0);
        for backend in &mut *backends {
            let (source, len) = (input(backend, Role::Stream, &x), 2 * half.cells() * width);
            let mut out = output(backend, Role::Stream, len);
            backend.levels().max_pool(&source, 2, grid, width, &mut out).unwrap();
            let found = finish(backend, &out, len);
            let expected = |i: usize| {
                let (image, cell, channel) = (i / width / half.cells(), i / width % half.cells(), i % width);
                let (row, col) = (2 * (cell / half.cols), 2 * (cell % half.cols));
                let near = |at: usize, centre: usize| at.abs_diff(centre) <= 1;
                let cells = (0..grid.cells()).filter(|c| near(c / grid.cols, row) && near(c % grid.cols, col));
                cells.map(|c| x[(image * grid.cells() + c) * width + channel]).fold(f32::MIN, f32::max)
            };
            let expected: Vec<f32> = (0..len).map(expected).collect();
            same_bits(&format!("max_pool, {}, {rows} x {cols} x {width}", backend.describe()), &found, &expected);
            let broken = input(backend, Role::Stream, &vec![f32::NAN; x.len()]);
            backend.levels().max_pool(&broken, 2, grid, width, &mut out).unwrap();
            assert!(finish(backend, &out, len).iter().all(|x| x.is_nan()));
        }
    }
}

fn mean_cells<B: Backend>(backends: &mut [B]) {
    for (cells, width) in [(1, 1), (49, 130), (12, 7)] {
        let x = random(1, 3 * cells * width, 1.0);
        fn formula<T: Real>(x: &[f32], cells: usize, width: usize) -> Vec<T> {
            let x = real::<T>(x);
            let mean = |image: usize, channel: usize| {
                (0..cells).map(|cell| x[(image * cells + cell) * width + channel]).sum::<T>() / T::of(cells as f64)
            };
            (0..3 * width).map(|i| mean(i / width, i % width)).collect()
        }
        for backend in &mut *backends {
            let (source, mut out) = (input(backend, Role::Stream, &x), output(backend, Role::Stream, 3 * width));
            backend.levels().mean_cells(&source, 3, cells, width, &mut out).unwrap();
            let found = finish(backend, &out, 3 * width);
            let (exact, naive) = (formula::<f64>(&x, cells, width), formula::<f32>(&x, cells, width));
            accurate(&format!("mean_cells, {}, {cells} x {width}", backend.describe()), &found, &exact, &naive, 0.0);
        }
    }
}

/// The mean of `floor(i n / bins) .. ceil((i + 1) n / bins)` for each bin i.
fn averaged<T: Real>(row: &[T], bins: usize) -> Vec<T> {
    let n = row.len() as f64;
    let bin = |i: usize| {
        let from = (i as f64 * n / bins as f64).floor() as usize;
        let to = ((i + 1) as f64 * n / bins as f64).ceil() as usize;
        row[from..to].iter().copied().sum::<T>() / T::of((to - from) as f64)
    };
    (0..bins).map(bin).collect()
}

fn neighbourhoods<T: Real>(x: &[f32], grid: Grid, width: usize, bins: usize) -> Vec<T> {
    let x = real::<T>(x);
    let mut out = Vec::new();
    for cell in 0..x.len() / width {
        let (image, row, col) = (cell / grid.cells(), cell % grid.cells() / grid.cols, cell % grid.cols);
        let number = |i: usize| {
            let (channel, r, c) = (i / 9, row + i % 9 / 3, col + i % 3);
            if r == 0 || c == 0 || r > grid.rows || c > grid.cols {
                return T::of(0.0);
            }
            x[((image * grid.rows + r - 1) * grid.cols + c - 1) * width + channel]
        };
        let around: Vec<T> = (0..9 * width).map(number).collect();
        out.extend(averaged(&around, bins));
    }
    out
}

fn pool_neighbours<B: Backend>(backends: &mut [B]) {
    for (rows, cols, width, bins) in [(1, 1, 1, 1), (3, 4, 5, 7), (2, 5, 4, 60), (3, 3, 8, 16)] {
        let grid = Grid::new(rows, cols);
        let (x, len) = (random(1, 2 * grid.cells() * width, 1.0), 2 * grid.cells() * bins);
        for backend in &mut *backends {
            let (source, mut out) = (input(backend, Role::Stream, &x), output(backend, Role::Stream, len));
            backend.levels().pool_neighbours(&source, 2, grid, width, bins, &mut out).unwrap();
            let found = finish(backend, &out, len);
            let exact = neighbourhoods::<f64>(&x, grid, width, bins);
            let naive = neighbourhoods::<f32>(&x, grid, width, bins);
            let what = format!("pool_neighbours, {}, {rows} x {cols} x {width} to {bins}", backend.describe());
            accurate(&what, &found, &exact, &naive, 0.0);
        }
    }
}

fn pool_columns<B: Backend>(backends: &mut [B]) {
    for (rows, width, bins) in [(1, 1, 1), (33, 200, 77), (17, 3, 1), (5, 4, 9)] {
        let x = random(1, rows * width, 1.0);
        let valid: Vec<f32> = (0..rows).map(|row| if row % 3 == 1 { 0.0 } else { 1.0 }).collect();
        for backend in &mut *backends {
            for valid in [None, Some(&valid)] {
                // NaN is after the end, or nothing.
                let make = if valid.is_some() { input::<B> } else { exactly::<B> };
                let source = make(backend, Role::Stream, &x);
                let mut out = output(backend, Role::Stream, rows * bins);
                let counts = valid.map(|valid| input(backend, Role::Stream, valid));
                backend.levels().pool_columns(&source, rows, width, bins, counts.as_ref(), &mut out).unwrap();
                let found = finish(backend, &out, rows * bins);
                let row = |row: usize| valid.map_or(1.0, |valid| f64::from(valid[row]));
                let exact: Vec<f64> = (0..rows)
                    .flat_map(|r| {
                        averaged(&real::<f64>(&x[r * width..][..width]), bins).into_iter().map(move |x| (r, x))
                    })
                    .map(|(r, x)| row(r) * x)
                    .collect();
                let naive: Vec<f32> = (0..rows)
                    .flat_map(|r| averaged(&x[r * width..][..width], bins).into_iter().map(move |x| (r, x)))
                    .map(|(r, x)| row(r) as f32 * x)
                    .collect();
                accurate(
                    &format!("pool_columns, {}, {width} to {bins}", backend.describe()),
                    &found,
                    &exact,
                    &naive,
                    0.0,
                );
            }
        }
    }
}

fn resample<B: Backend>(backends: &mut [B]) {
    for (from, to, bilinear) in [
        ([1, 1], [3, 5], true),
        ([3, 4], [6, 8], true),
        ([9, 13], [18, 26], true),
        ([5, 7], [9, 13], true),
        ([4, 6], [4, 6], true),
        ([5, 7], [18, 26], false),
        ([3, 3], [3, 3], false),
    ] {
        let (from, to) = (Grid::new(from[0], from[1]), Grid::new(to[0], to[1]));
        let at = Resample { from, width: 3, to, pitch: 8, column: 4, bilinear };
        let x = random(1, 2 * from.cells() * 3, 1.0);
        let number = |image: usize, row: usize, col: usize, channel: usize| {
            f64::from(x[((image * from.rows + row) * from.cols + col) * 3 + channel])
        };
        let place = |at: usize, from: usize, to: usize| ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let expected = |i: usize| {
            let (image, channel) = (i / (3 * to.cells()), i % 3);
            let (row, col) = (i / 3 % to.cells() / to.cols, i / 3 % to.cols);
            if !bilinear {
                return number(image, row * from.rows / to.rows, col * from.cols / to.cols, channel);
            }
            let (y, x) = (place(row, from.rows, to.rows), place(col, from.cols, to.cols));
            let (top, left) = (y as usize, x as usize);
            let (down, across) = (y - top as f64, x - left as f64);
            let line = |row: usize| {
                (1.0 - across) * number(image, row, left, channel)
                    + across * number(image, row, (left + 1).min(from.cols - 1), channel)
            };
            (1.0 - down) * line(top) + down * line((top + 1).min(from.rows - 1))
        };
        let exact: Vec<f64> = (0..2 * to.cells() * 3).map(expected).collect();
        for backend in &mut *backends {
            let make = if bilinear { input::<B> } else { exactly::<B> };
            let source = make(backend, Role::Stream, &x);
            let mut out = output(backend, Role::Stream, 2 * to.cells() * 8);
            backend.levels().resample(&source, 2, &at, &mut out).unwrap();
            let all = finish(backend, &out, 2 * to.cells() * 8);
            let columns = |from: usize, to: usize| all.chunks(8).flat_map(move |row| row[from..to].iter().copied());
            assert!(columns(0, 4).chain(columns(7, 8)).all(is_marked), "other columns were written");
            let found: Vec<f32> = columns(4, 7).collect();
            // Two weights of one rounding each, two products and a sum, twice.
            let budget = 8.0 * ULP * largest(&exact);
            within(&format!("resample, {}, {at:?}", backend.describe()), &found, &exact, |_| budget);
        }
    }
}

fn nearest_euclidean<B: Backend>(backends: &mut [B]) {
    for (count, rows, width) in [(1, 1, 1), (70, 5, 3), (3, 200, 64), (130, 33, 77), (64, 64, 16), (5, 7, 130)] {
        let (pitch, first) = (count + 9, 4);
        let mut queries = random(1, (count + 2) * width, 40.0);
        let bank = random(2, rows * width, 40.0);
        // A row itself, of which there may be two.
        queries[2 * width..3 * width].copy_from_slice(&bank[(rows / 2) * width..][..width]);
        let twice = rows > 3;
        let mut bank = bank;
        if twice {
            bank.copy_within((rows / 2) * width..(rows / 2 + 1) * width, (rows - 1) * width);
        }
        let values: Arc<Vec<f32>> = bank.iter().copied().chain([f32::NAN; 9]).collect::<Vec<f32>>().into();
        let valid: Vec<f32> = (0..pitch).map(|i| if i % 4 == 3 { 0.0 } else { 1.0 }).collect();
        fn distances<T: Real>(query: &[f32], bank: &[f32], width: usize) -> Vec<T> {
            let pair = |row: &[f32]| {
                let of = |x: f32| T::of(x.into());
                query.iter().zip(row).map(|(&a, &b)| (of(a) - of(b)) * (of(a) - of(b))).sum::<T>().sqrt()
            };
            bank.chunks(width).map(pair).collect()
        }
        let least = |all: Vec<f64>| all.into_iter().fold(f64::INFINITY, f64::min);
        let query = |i: usize| &queries[(2 + i) * width..][..width];
        let exact: Vec<f64> =
            (0..count).map(|i| f64::from(valid[first + i]) * least(distances(query(i), &bank, width))).collect();
        for backend in &mut *backends {
            let tensor = BankTensor { values: &values, shape: [1, rows, width], role: BankRole::Numbers };
            let held = backend.bank(&[tensor]).unwrap();
            let at =
                Search { query_pitch: count + 2, queries: 2..count + 2, tensor: 0, out_pitch: pitch, first_out: first };
            let (source, counts) = (input(backend, Role::Stream, &queries), input(backend, Role::Stream, &valid));
            let (mut found, mut map) = (output(backend, Role::Nearest, pitch), output(backend, Role::Stream, pitch));
            backend.levels().nearest_euclidean(&source, &at, &held, &mut found, Some(&counts), &mut map).unwrap();
            let all = finish(backend, &map, pitch);
            assert!(all[..first].iter().chain(&all[first + count..]).all(|x| is_marked(*x)));
            let what = format!("nearest_euclidean, {}, {count} x {rows} x {width}", backend.describe());
            // A square of a difference errs by three roundings, and a sum by one an element.
            let budget = (width as f64 + 8.0) * ULP;
            within(&what, &all[first..first + count], &exact, |i| budget * exact[i]);
            assert_eq!(all[first].to_bits(), 0, "{what}: the row itself");
            // Elsewhere `found` is for the device to read: what it is told there is tested with `reweight`.
            if B::IN_HOST_MEMORY {
                let mut places = vec![0.0; pitch];
                backend.download(&found, &mut places).unwrap();
                assert_eq!(places[first].to_bits() as usize, rows / 2, "{what}: the first of equals");
            }
        }
    }
}

fn short_buffers_are_errors<B: Backend>(backends: &mut [B]) {
    for backend in backends {
        let (short, mut out) = (backend.buffer(Role::Stream, 5).unwrap(), backend.buffer(Role::Stream, 5).unwrap());
        let (enough, mut wide) = (backend.buffer(Role::Stream, 12).unwrap(), backend.buffer(Role::Stream, 24).unwrap());
        let mut unfolded = [12 * 9, 11 * 9].map(|len| backend.buffer(Role::Operand, len).unwrap());
        let grid = Grid::new(3, 4);
        let layer = backend.linear_weights(&Stored::f32(&[2, 9], &[0.0; 18]).view(), 0..2, None).unwrap();
        let at = Convolution { input: grid, channels: 1, side: 3, stride: 1, patch: None };
        let resample = Resample { from: grid, width: 1, to: grid, pitch: 1, column: 0, bilinear: true };
        let ops = backend.levels();
        let errors = [
            ops.convolve(&short, 1, &at, &layer, Then::Store, &mut unfolded[0], &mut wide),
            ops.convolve(&enough, 1, &at, &layer, Then::Store, &mut unfolded[0], &mut out),
            ops.convolve(&enough, 1, &at, &layer, Then::Store, &mut unfolded[1], &mut wide),
            ops.convolve(
                &short,
                0,
                &Convolution { channels: 2, ..at },
                &layer,
                Then::Store,
                &mut unfolded[0],
                &mut out,
            ),
            ops.max_pool(&short, 1, grid, 1, &mut out),
            ops.mean_cells(&short, 1, 12, 1, &mut out),
            ops.pool_neighbours(&short, 1, grid, 1, 1, &mut out),
            ops.pool_columns(&short, 3, 2, 1, None, &mut out),
            ops.resample(&short, 1, &resample, &mut out),
        ];
        for (i, error) in errors.into_iter().enumerate() {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{i}: {error}");
        }
    }
}
