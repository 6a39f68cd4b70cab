//! WinCLIP's own operations: scores by texts, and maps of windows.

use std::sync::Arc;

use inctrl::backend::{BankRole, BankTensor, Role};
use inctrl::methods::winclip::{Cover, Parts, SIDES, TextScores, WinclipOps};
use inctrl::view::Grid;

use super::nearest_distance::unit_rows;
use super::{Real, ULP, cases, dot, finish, input, is_marked, output, random, real, unless, within};

on_every_device! {
    text_scores,
    maps,
}

fn share<T: Real>(x: &[f32], text: &[f32], width: usize) -> Vec<T> {
    let (x, text) = (real::<T>(x), real::<T>(text));
    let (normal, anomalous) = text.split_at(width);
    let one = |x: &[T]| {
        let scale = T::of(100.0) / dot(x, x).sqrt().max(T::of(1e-12));
        let [normal, anomalous] = [normal, anomalous].map(|text| (scale * dot(x, text)).exp());
        anomalous / (normal + anomalous)
    };
    x.chunks(width).map(one).collect()
}

fn text_scores<B: WinclipOps>(backends: &mut [B]) {
    // On a GPU rows of one block and of several, and widths around a warp's lanes.
    let all = [(1, 1), (3, 7), (1, 64), (8, 128), (17, 192), (40, 640), (9, 33)];
    for (rows, width) in cases(backends, &all, |&(_, width)| unless(width, 64, 0)) {
        let (x, text) = (random(1, (rows + 1) * width, 3.0), unit_rows(2, 2, width));
        let exact = share::<f64>(&x[width..], &text, width);
        for backend in &mut *backends {
            let values: Arc<Vec<f32>> = text.clone().into();
            let tensor = BankTensor { values: &values, shape: [1, 2, width], role: BankRole::Numbers };
            let bank = backend.bank(&[tensor]).unwrap();
            let kernels = backend.winclip_ops(width).unwrap();
            let error = backend.winclip_ops(20).err();
            assert!(B::IN_HOST_MEMORY == error.is_none());
            assert!(error.is_none_or(|error| error.to_string().contains("a multiple of 64")));
            let rows_of = input(backend, Role::Stream, &x);
            let at = |mean| TextScores {
                rows: 1..rows + 1,
                first_out: 2,
                text: 0,
                embedding: width,
                out_pitch: 4,
                column: 1,
                mean,
            };
            let mut out = output(backend, Role::Result, 4 * (rows + 2));
            backend.text_scores(&kernels, &rows_of, &at(None), &bank, &mut out).unwrap();
            let all = finish(backend, &out, 4 * (rows + 2));
            let found: Vec<f32> = all[8..].iter().skip(1).step_by(4).copied().collect();
            let what = format!("winclip_text {rows} x {width}, {}", backend.describe());
            // On the CPU a sum in f64, rounded once. On a GPU the sums of the product and of the length have the error of a lane's
            // and a warp's additions, relative to at most 4, which the logit has a hundred times.
            let logit = 200.0 * (width as f64 / 32.0 + 14.0) * ULP;
            within(&what, &found, &exact, |i| {
                let rest = if B::IN_HOST_MEMORY { 1e-40 } else { exact[i] * (1.0 - exact[i]) * logit + 8.0 * ULP };
                ULP * exact[i] + rest
            });
            assert!(all.iter().enumerate().all(|(i, x)| is_marked(*x) == (i < 8 || i % 4 != 1)), "{what}");

            // Beside it, the mean with another column.
            let mut out = input(backend, Role::Result, &vec![0.25; 4 * (rows + 2)]);
            backend.text_scores(&kernels, &rows_of, &at(Some([2, 0])), &bank, &mut out).unwrap();
            let all = finish(backend, &out, 4 * (rows + 2));
            for (row, found) in all.chunks(4).skip(2).zip(&found) {
                assert_eq!(row, [0.5 * (0.25 + found), *found, 0.25, 0.25], "{what}");
            }
        }
    }
}

/// A grid, the values of its windows, and which cells count.
struct Case<'a> {
    grid: Grid,
    windows: [&'a [f32]; 2],
    third: &'a [f32],
    parts: Parts,
    valid: &'a [f32],
}

impl Case<'_> {
    fn formula<T: Real>(&self) -> Vec<T> {
        let Case { grid, third, parts, valid, .. } = *self;
        let one = T::of(1.0);
        let value = |x: f32| match parts {
            Parts::Distances => T::of(x.into()) * T::of(x.into()) / T::of(4.0),
            Parts::Scores { .. } => T::of(x.into()),
        };
        let inside = |place: usize, side: usize, cell: usize| {
            let cols = grid.cols - side + 1;
            let (top, left) = (place / cols, place % cols);
            let (row, col) = (cell / grid.cols, cell % grid.cols);
            (top..top + side).contains(&row) && (left..left + side).contains(&col)
        };
        let side_mean = |i: usize, cell: usize| {
            let covering = |place: &usize| {
                let counts = |other: usize| !inside(*place, SIDES[i], other) || valid[other] > 0.0;
                inside(*place, SIDES[i], cell) && (0..grid.cells()).all(counts)
            };
            let all: Vec<T> = (0..self.windows[i].len()).filter(covering).map(|m| value(self.windows[i][m])).collect();
            let count = T::of(all.len() as f64);
            (!all.is_empty()).then(|| count / all.into_iter().map(|x| one / x).sum::<T>())
        };
        let cell = |cell: usize| {
            if valid[cell] == 0.0 {
                return T::of(0.0);
            }
            let mut all: Vec<T> = (0..2).filter_map(|i| side_mean(i, cell)).collect();
            all.push(value(match parts {
                Parts::Distances => third[cell],
                Parts::Scores { column, .. } => third[column],
            }));
            let count = T::of(all.len() as f64);
            match parts {
                Parts::Distances => all.into_iter().sum::<T>() / count,
                Parts::Scores { .. } => count / all.into_iter().map(|x| one / x).sum::<T>(),
            }
        };
        (0..grid.cells()).map(cell).collect()
    }
}

fn maps<B: WinclipOps>(backends: &mut [B]) {
    for (maps, rows, cols) in [(1, 3, 3), (2, 5, 7), (3, 3, 9), (1, 15, 15)] {
        let grid = Grid::new(rows, cols);
        let counts = SIDES.map(|side| (rows - side + 1) * (cols - side + 1));
        let positive = |seed, len| random(seed, len, 0.5).iter().map(|x| x.abs() + 1e-3).collect::<Vec<f32>>();
        let mut windows = [positive(1, maps * counts[0]), positive(2, maps * counts[1])];
        // A window at no distance.
        windows[0][0] = 0.0;
        for (parts, pitch) in [(Parts::Distances, grid.cells()), (Parts::Scores { pitch: 3, column: 2 }, 3)] {
            let third = positive(3, maps * pitch);
            for masked in [false, true] {
                let valid: Vec<f32> =
                    (0..maps * grid.cells()).map(|i| f32::from(!masked || i % 11 != 3 && i % 17 != 1)).collect();
                let mut exact = Vec::new();
                for map in 0..maps {
                    let part = |i: usize| &windows[i][map * counts[i]..][..counts[i]];
                    let case = Case {
                        grid,
                        windows: [part(0), part(1)],
                        third: &third[map * pitch..][..pitch],
                        parts,
                        valid: &valid[map * grid.cells()..][..grid.cells()],
                    };
                    exact.extend(case.formula::<f64>());
                }
                for backend in &mut *backends {
                    let kernels = backend.winclip_ops(64).unwrap();
                    let buffers = [0, 1].map(|i: usize| input(backend, Role::Stream, &windows[i]));
                    let (third, valid) = (input(backend, Role::Stream, &third), input(backend, Role::Stream, &valid));
                    let mut map = output(backend, Role::Result, exact.len());
                    let windows = buffers.each_ref();
                    let of = Cover { maps, grid, windows, third: &third, parts, valid: &valid };
                    backend.cover(&kernels, &of, &mut map).unwrap();
                    let what =
                        format!("winclip_map {maps} x {grid}, {parts:?}, masked {masked}, {}", backend.describe());
                    // Sums of up to nine positive numbers, each of few roundings.
                    within(&what, &finish(backend, &map, exact.len()), &exact, |i| 16.0 * ULP * exact[i]);
                }
            }
        }
    }
}
