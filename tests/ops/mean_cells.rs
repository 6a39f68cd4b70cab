//! The mean over the cells of each image.

use inctrl::backend::{Backend, Role};

use super::{Real, accurate, finish, input, output, random, real};

on_every_device! {
    mean_cells,
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
