//! Neighbourhoods of cells averaged to bins.

use inctrl::backend::{Backend, Role};
use inctrl::view::Grid;

use super::pool_columns::averaged;
use super::{Real, accurate, finish, input, output, random, real};

on_every_device! {
    pool_neighbours,
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
