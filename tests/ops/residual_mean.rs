//! The mean over taps of `0.5 (1 - cosine)`, and 0 where a cell is ignored.

use inctrl::backend::{Backend, Role};

use super::{Real, accurate, finish, input, output, random, real};

on_every_device! {
    residual_mean,
}

fn formula<T: Real>(cosines: &[f32], taps: usize, cells: usize) -> Vec<T> {
    let cosines = real::<T>(cosines);
    let residual = |tap: usize, cell: usize| T::of(0.5) * (T::of(1.0) - cosines[tap * cells + cell]);
    (0..cells).map(|cell| (0..taps).map(|tap| residual(tap, cell)).sum::<T>() / T::of(taps as f64)).collect()
}

fn residual_mean<B: Backend>(backends: &mut [B]) {
    for (taps, cells) in [(1, 1), (3, 225), (3, 900), (1, 17), (2, 31), (4, 33), (5, 7)] {
        let mut host: Vec<f32> = random(1, taps * cells, 0.3).iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        // A patch that is found again, and one that is its opposite.
        (host[0], host[taps * cells - 1]) = (1.0, -1.0);
        let (exact, naive) = (formula::<f64>(&host, taps, cells), formula::<f32>(&host, taps, cells));
        for backend in &mut *backends {
            let (cosines, mut map) = (input(backend, Role::Nearest, &host), output(backend, Role::Result, cells));
            let all = input(backend, Role::Stream, &vec![1.0; cells]);
            backend.residual_mean(&cosines, taps, cells, 0.5, &all, &mut map).unwrap();
            let found = finish(backend, &map, cells);
            accurate(&format!("residual_mean, {}, {taps} x {cells}", backend.describe()), &found, &exact, &naive, 0.0);

            let valid: Vec<f32> = (0..cells).map(|cell| if cell % 3 == 0 { 0.0 } else { 1.0 }).collect();
            let some = input(backend, Role::Stream, &valid);
            backend.residual_mean(&cosines, taps, cells, 0.5, &some, &mut map).unwrap();
            for (cell, (part, whole)) in finish(backend, &map, cells).iter().zip(&found).enumerate() {
                assert_eq!(*part, if cell % 3 == 0 { 0.0 } else { *whole }, "cell {cell}");
            }
        }
    }
}
