//! Maps from one grid to another.

use inctrl::backend::{Backend, Resample, Role};
use inctrl::view::Grid;

use super::{ULP, exactly, finish, input, is_marked, largest, output, random, within};

on_every_device! {
    resample,
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
