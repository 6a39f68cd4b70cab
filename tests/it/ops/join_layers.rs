//! The rows of all layers side by side.

use inctrl::backend::Backend;

use super::{finish, input, output, random, same_bits};

on_every_backend! {
    join_layers => join_layers_cpu,
}

fn join_layers<B: Backend>(backends: &mut [B]) {
    for (layers, rows, width) in [(1, 1, 1), (2, 17, 24), (3, 33, 7), (4, 225, 64)] {
        let host = random(1, layers * rows * width, 1.0);
        let scale = 1.0 / (layers as f32).sqrt();
        let element = |i: usize| {
            let (row, layer, column) = (i / (layers * width), i / width % layers, i % width);
            scale * host[(layer * rows + row) * width + column]
        };
        let expected: Vec<f32> = (0..host.len()).map(element).collect();
        for backend in &mut *backends {
            let (x, mut out) = (input(backend, &host), output(backend, host.len()));
            backend.join_layers(&x, [layers, rows, width], scale, &mut out).unwrap();
            let what = format!("join_layers, {}, {layers} x {rows} x {width}", backend.describe());
            same_bits(&what, &finish(backend, &out, host.len()), &expected);
        }
    }
}
