//! The tokens of square windows of patches: copies of those of their images.

use inctrl::backend::{Backend, Role, Windows};
use inctrl::view::Grid;

use super::{cases, finish, input, output, random, same_bits, unless};

on_every_device! {
    window_tokens,
    parts_of_all_windows,
}

/// The rows of all windows of all images, as one reads it off a picture of the grid.
fn formula(x: &[f32], images: usize, prefix: usize, grid: Grid, side: usize, width: usize) -> Vec<f32> {
    let row = |row: usize| &x[row * width..][..width];
    let mut out = Vec::new();
    for image in 0..images {
        let first = image * (prefix + grid.cells());
        for top in 0..=grid.rows - side {
            for left in 0..=grid.cols - side {
                (0..prefix).for_each(|token| out.extend_from_slice(row(first + token)));
                for y in top..top + side {
                    for x in left..left + side {
                        out.extend_from_slice(row(first + prefix + y * grid.cols + x));
                    }
                }
            }
        }
    }
    out
}

fn window_tokens<B: Backend>(backends: &mut [B]) {
    let all = [
        (1, 1, 1, 1, 1, 1),
        (1, 1, 5, 5, 2, 64),
        (3, 1, 3, 7, 3, 17),
        (2, 1, 3, 7, 3, 896),
        (2, 5, 4, 3, 2, 9),
        (3, 5, 4, 3, 2, 132),
        (2, 0, 4, 4, 4, 8),
        (2, 1, 4, 5, 3, 4),
    ];
    for (images, prefix, rows, cols, side, width) in cases(backends, &all, |case| unless(case.5, 4, 0)) {
        let grid = Grid::new(rows, cols);
        let host = random(1, images * (prefix + grid.cells()) * width, 1.0);
        let expected = formula(&host, images, prefix, grid, side, width);
        let count = images * (rows - side + 1) * (cols - side + 1);
        for backend in &mut *backends {
            let (x, mut out) = (input(backend, Role::Stream, &host), output(backend, Role::Stream, expected.len()));
            let at = Windows { images, prefix, grid, side, first: 0, count };
            backend.window_tokens(&x, &at, width, &mut out).unwrap();
            let what = format!("{images} x ({prefix} + {grid}) x {width}, side {side}, {}", backend.describe());
            same_bits(&what, &finish(backend, &out, expected.len()), &expected);
        }
    }
}

/// Parts of equal size, whose last repeats the last window; and windows that are not there.
fn parts_of_all_windows<B: Backend>(backends: &mut [B]) {
    let (images, prefix, grid, side, width) = (2, 1, Grid::new(4, 5), 3, 12);
    let host = random(2, images * (prefix + grid.cells()) * width, 1.0);
    let expected = formula(&host, images, prefix, grid, side, width);
    let (all, window) = (12, (prefix + side * side) * width);
    for backend in &mut *backends {
        let x = input(backend, Role::Stream, &host);
        for first in [0, 5, 10] {
            let mut out = output(backend, Role::Stream, 5 * window);
            let at = Windows { images, prefix, grid, side, first, count: 5 };
            backend.window_tokens(&x, &at, width, &mut out).unwrap();
            let found = finish(backend, &out, 5 * window);
            for (i, found) in found.chunks(window).enumerate() {
                same_bits("a part", found, &expected[(first + i).min(all - 1) * window..][..window]);
            }
        }
        let mut out = output(backend, Role::Stream, window);
        for (images, side) in [(2, 5), (2, 0), (0, 3)] {
            let at = Windows { images, prefix, grid, side, first: 0, count: 1 };
            let error = backend.window_tokens(&x, &at, width, &mut out).unwrap_err().to_string();
            assert!(error.contains("window_tokens: windows of"), "{error}");
        }
    }
}
