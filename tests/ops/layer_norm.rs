//! `(x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias`

use inctrl::backend::{Backend, Norm, Role};

use super::{Real, Stored, accurate, cases, coarseness, finish, input, output, random, real, same_bits, unless};

on_every_device! {
    layer_norm,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    width: usize,
    scale: f32,
    offset: f32,
    epsilon: f32,
}

const fn case(rows: usize, width: usize) -> Case {
    Case { rows, width, scale: 1.0, offset: 0.0, epsilon: 1e-5 }
}

const CASES: &[Case] = &[
    case(1, 1),
    case(226, 896),
    case(1, 640),
    case(17, 128),
    case(33, 7),
    case(15, 15),
    case(16, 16),
    case(17, 17),
    case(5, 31),
    case(5, 33),
    Case { scale: 1e15, ..case(3, 64) },
    // Smaller than epsilon, and larger than another encoder's.
    Case { scale: 1e-4, ..case(3, 64) },
    Case { scale: 1e-4, epsilon: 1e-12, ..case(3, 64) },
    // A mean that is large beside the deviation.
    Case { offset: 100.0, ..case(40, 300) },
    Case { offset: 100.0, ..case(9, 1280) },
    case(3, 2048),
    // Equal elements.
    Case { scale: 0.0, offset: 3.0, ..case(2, 64) },
];

/// Layer norm of every row of `x`.
pub fn formula<T: Real>(x: &[T], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<T> {
    let (weight, bias) = (real::<T>(weight), real::<T>(bias));
    let n = T::of(weight.len() as f64);
    let mut y = Vec::new();
    for x in x.chunks(weight.len()) {
        let mean = x.iter().copied().sum::<T>() / n;
        let variance = x.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / n;
        let deviation = (variance + T::of(epsilon.into())).sqrt();
        for ((&x, &w), &b) in x.iter().zip(&weight).zip(&bias) {
            y.push((x - mean) / deviation * w + b);
        }
    }
    y
}

/// Parameters of a layer norm, and their upload.
pub fn parameters(width: usize) -> (Vec<f32>, Vec<f32>) {
    (random(8, width, 1.0), random(9, width, 1.0))
}

pub fn norm<B: Backend>(backend: &mut B, (weight, bias): &(Vec<f32>, Vec<f32>), epsilon: f32) -> Norm<B> {
    let mut constant = |x: &[f32]| backend.constant(&Stored::f32(&[x.len()], x).view()).unwrap();
    Norm { weight: constant(weight), bias: constant(bias), epsilon }
}

fn layer_norm<B: Backend>(backends: &mut [B]) {
    let against = |case: &Case| unless(case.width, 64, 40 * case.rows * case.width);
    for case in cases(backends, CASES, against) {
        let len = case.rows * case.width;
        let host: Vec<f32> = random(7, len, case.scale).iter().map(|x| x + case.offset).collect();
        let parameters = parameters(case.width);
        let exact = formula::<f64>(&real(&host), &parameters.0, &parameters.1, case.epsilon);
        let naive = formula::<f32>(&host, &parameters.0, &parameters.1, case.epsilon);
        let coarse = coarseness(backends, Role::Operand);
        for backend in &mut *backends {
            let norm = norm(backend, &parameters, case.epsilon);
            let (x, mut out) = (input(backend, Role::Stream, &host), output(backend, Role::Operand, len));
            backend.layer_norm(&x, case.rows, &norm, &mut out).unwrap();
            let found = finish(backend, &out, len);
            let what = format!("layer_norm, {}, {} x {}", backend.describe(), case.rows, case.width);
            accurate(&what, &found, &exact, &naive, coarse);

            // As a result of the encoder it is a stream.
            let mut out = output(backend, Role::Stream, len);
            backend.layer_norm(&x, case.rows, &norm, &mut out).unwrap();
            accurate(&format!("{what}: a stream"), &finish(backend, &out, len), &exact, &naive, 0.0);

            let x = input(backend, Role::Stream, &host[len - case.width..]);
            let mut out = output(backend, Role::Operand, case.width);
            backend.layer_norm(&x, 1, &norm, &mut out).unwrap();
            let alone = finish(backend, &out, case.width);
            same_bits(&format!("{what}: the last row alone"), &alone, &found[len - case.width..]);
        }
    }
}
