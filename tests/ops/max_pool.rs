//! The largest of the cells around every second cell.

use inctrl::backend::{Backend, Role};
use inctrl::view::Grid;

use super::{finish, input, output, random, same_bits};

on_every_device! {
    max_pool,
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
