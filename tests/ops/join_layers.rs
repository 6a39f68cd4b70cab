//! The rows of all layers side by side.

use inctrl::backend::{Backend, Role};

use super::{cases, coarseness, finish, input, numbers, output, real, unless, within};

on_every_device! {
    join_layers,
}

fn join_layers<B: Backend>(backends: &mut [B]) {
    let all = [(1, 1, 1), (2, 17, 24), (3, 33, 7), (4, 225, 64), (3, 43, 128)];
    for (layers, rows, width) in cases(backends, &all, |&(layers, rows, width)| unless(width, 8, layers * rows * width))
    {
        let host = numbers(backends, Role::UnitRows, 1, layers * rows * width, 1.0);
        let scale = 1.0 / (layers as f32).sqrt();
        let element = |i: usize| {
            let (row, layer, column) = (i / (layers * width), i / width % layers, i % width);
            scale * host[(layer * rows + row) * width + column]
        };
        let expected: Vec<f32> = (0..host.len()).map(element).collect();
        let coarse = coarseness(backends, Role::UnitRows);
        for backend in &mut *backends {
            let (x, mut out) = (input(backend, Role::UnitRows, &host), output(backend, Role::UnitRows, host.len()));
            backend.join_layers(&x, [layers, rows, width], scale, &mut out).unwrap();
            let what = format!("join_layers, {}, {layers} x {rows} x {width}", backend.describe());
            // The one product is rounded as the result is stored.
            let exact = real::<f64>(&expected);
            within(&what, &finish(backend, &out, host.len()), &exact, |i| coarse * exact[i].abs());
        }
    }
}
