//! A convolution, alone, added to what is there, and rectified.

use inctrl::backend::{Backend, Convolution, Role, Then};
use inctrl::view::Grid;

use super::{Real, Stored, accurate, finish, input, numbers, output, random, real, same_bits};

on_every_device! {
    convolve,
    a_cell_does_not_know_its_batch,
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
