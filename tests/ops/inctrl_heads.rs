//! The adapter, and equations 3 to 7 from class embedding and map to the score.

use std::sync::Arc;

use inctrl::backend::{BankRole, BankTensor, Role};
use inctrl::methods::inctrl::{HeadInputs, HeadLayers, HeadOps, OUTPUTS};
use inctrl::tensor::Dense;

use super::{Real, accurate, dot, finish, input, output, random, real, same_bits};

on_every_device! {
    adapter,
    heads,
    nan_is_not_hidden,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    embedding: usize,
    cells: usize,
    alpha: f32,
}

const CASES: &[Case] = &[
    Case { embedding: 640, cells: 225, alpha: 1.0 },
    Case { embedding: 32, cells: 25, alpha: 0.5 },
    Case { embedding: 4, cells: 1, alpha: 0.0 },
    Case { embedding: 17, cells: 300, alpha: 3.0 },
    Case { embedding: 31, cells: 33, alpha: 1.0 },
];

/// Enough that the largest error of the naive formula is no accident.
const IMAGES: usize = 40;

impl Case {
    fn layers(&self) -> HeadLayers {
        let dense = |seed: u64, rows: usize, cols: usize, bias: bool| Dense {
            rows,
            cols,
            weight: random(seed, rows * cols, 1.5 / (cols as f32).sqrt()),
            bias: if bias { random(seed + 1, rows, 0.3) } else { Vec::new() },
        };
        let head = |seed: u64, inputs: usize| {
            [dense(seed, 128, inputs, true), dense(seed + 2, 64, 128, true), dense(seed + 4, 1, 64, true)]
        };
        let narrow = self.embedding / 4;
        HeadLayers {
            adapter: [dense(20, narrow, self.embedding, false), dense(22, self.embedding, narrow, false)],
            image: head(30, self.embedding),
            holistic: head(40, self.cells),
            alpha: self.alpha,
        }
    }

    fn class(&self) -> Vec<f32> {
        random(1, IMAGES * self.embedding, 2.0)
    }

    fn map(&self) -> Vec<f32> {
        random(2, IMAGES * self.cells, 0.1).iter().map(|x| x.abs()).collect()
    }

    fn cls_mean(&self) -> Vec<f32> {
        random(3, self.embedding, 1.0)
    }

    /// Two unit vectors that are not far apart, as the prototypes of a class are.
    fn text_prototypes(&self) -> Vec<f32> {
        let (common, each) = (random(4, self.embedding, 1.0), random(5, 2 * self.embedding, 0.1));
        let unit = |x: Vec<f32>| {
            let norm = dot(&x, &x).sqrt();
            x.into_iter().map(move |x| x / norm)
        };
        let near = |each: &[f32]| unit(common.iter().zip(each).map(|(c, e)| c + e).collect());
        each.chunks(self.embedding).flat_map(near).collect()
    }

    fn bank<B: HeadOps>(&self, backend: &mut B) -> B::Bank {
        let (cls_mean, text_prototypes) = (self.cls_mean(), self.text_prototypes());
        let numbers = |values, rows| BankTensor { values, shape: [1, rows, self.embedding], role: BankRole::Numbers };
        let (cls_mean, text_prototypes) = (Arc::from(cls_mean), Arc::from(text_prototypes));
        backend.bank(&[numbers(&cls_mean, 1), numbers(&text_prototypes, 2)]).unwrap()
    }
}

fn images_at(images: usize) -> HeadInputs {
    HeadInputs { views: 0..images, first_slot: 0, cls_mean: 0, text_prototypes: 1 }
}

/// `W x + b`
fn dense<T: Real>(layer: &Dense, x: &[T]) -> Vec<T> {
    let (weight, bias) = (real::<T>(&layer.weight), real::<T>(&layer.bias));
    let bias = |o: usize| bias.get(o).copied().unwrap_or(T::of(0.0));
    weight.chunks(layer.cols).enumerate().map(|(o, row)| dot(row, x) + bias(o)).collect()
}

fn relu<T: Real>(x: Vec<T>) -> Vec<T> {
    x.into_iter().map(|x| Real::max(x, T::of(0.0))).collect()
}

fn sigmoid<T: Real>(x: T) -> T {
    T::of(1.0) / (T::of(1.0) + (T::of(0.0) - x).exp())
}

/// ψ
fn psi<T: Real>(layers: &HeadLayers, class: &[T]) -> Vec<T> {
    relu(dense(&layers.adapter[1], &relu(dense(&layers.adapter[0], class))))
}

/// η or φ, with its sigmoid.
fn head<T: Real>(layers: &[Dense; 3], x: &[T]) -> T {
    sigmoid(dense(&layers[2], &relu(dense(&layers[1], &relu(dense(&layers[0], x)))))[0])
}

/// Score, s_h, s_p, s_i, s_a of every image.
fn formula<T: Real>(case: &Case) -> Vec<T> {
    let (layers, mean, text) = (case.layers(), real::<T>(&case.cls_mean()), real::<T>(&case.text_prototypes()));
    let (normal, anomaly) = text.split_at(case.embedding);
    let alpha = T::of(case.alpha.into());
    let (class, map) = (real::<T>(&case.class()), real::<T>(&case.map()));
    let mut out = Vec::new();
    for (class, map) in class.chunks(case.embedding).zip(map.chunks(case.cells)) {
        let residual: Vec<T> = mean.iter().zip(psi(&layers, class)).map(|(&m, a)| m - a).collect();
        let s_i = head(&layers.image, &residual);
        let norm = dot(class, class).sqrt();
        let logit = |text: &[T]| T::of(100.0) * (dot(class, text) / norm);
        let (normal, anomaly) = (logit(normal), logit(anomaly));
        let largest = Real::max(normal, anomaly);
        let s_a = (anomaly - largest).exp() / ((normal - largest).exp() + (anomaly - largest).exp());
        let s_p = map.iter().copied().reduce(Real::max).unwrap();
        let holistic: Vec<T> = map.iter().map(|&m| m + s_i + s_a).collect();
        let s_h = head(&layers.holistic, &holistic);
        out.extend([(s_h + alpha * s_p) / (T::of(1.0) + alpha), s_h, s_p, s_i, s_a]);
    }
    out
}

fn adapter<B: HeadOps>(backends: &mut [B]) {
    for case in CASES {
        let (layers, host) = (case.layers(), case.class());
        let exact: Vec<f64> = real::<f64>(&host).chunks(case.embedding).flat_map(|c| psi(&layers, c)).collect();
        let naive: Vec<f32> = host.chunks(case.embedding).flat_map(|c| psi(&layers, c)).collect();
        for backend in &mut *backends {
            let heads = backend.head_weights(&layers).unwrap();
            let (class, mut out) = (input(backend, Role::Stream, &host), output(backend, Role::Stream, exact.len()));
            backend.adapter(&class, IMAGES, &heads, &mut out).unwrap();
            let found = finish(backend, &out, exact.len());
            accurate(&format!("adapter, {}, {case:?}", backend.describe()), &found, &exact, &naive, 0.0);
        }
    }
}

fn heads<B: HeadOps>(backends: &mut [B]) {
    for case in CASES {
        let (layers, class, map) = (case.layers(), case.class(), case.map());
        let (exact, naive) = (formula::<f64>(case), formula::<f32>(case));
        for backend in &mut *backends {
            let (heads, bank) = (backend.head_weights(&layers).unwrap(), case.bank(backend));
            let mut run = |images: std::ops::Range<usize>| {
                let class =
                    input(backend, Role::Stream, &class[images.start * case.embedding..images.end * case.embedding]);
                let map = input(backend, Role::Stream, &map[images.start * case.cells..images.end * case.cells]);
                let mut out = output(backend, Role::Result, images.len() * OUTPUTS);
                backend.heads(&class, &map, images_at(images.len()), &heads, &bank, &mut out).unwrap();
                finish(backend, &out, images.len() * OUTPUTS)
            };
            let found = run(0..IMAGES);
            let last = run(IMAGES - 1..IMAGES);
            let what = format!("{}, {case:?}", backend.describe());
            same_bits(&format!("the last image alone, {what}"), &last, &found[found.len() - OUTPUTS..]);
            for (part, name) in ["score", "s_h", "s_p", "s_i", "s_a"].into_iter().enumerate() {
                fn every<T: Copy>(x: &[T], part: usize) -> Vec<T> {
                    x[part..].iter().step_by(OUTPUTS).copied().collect()
                }
                let (found, exact, naive) = (every(&found, part), every(&exact, part), every(&naive, part));
                accurate(&format!("{name}, {what}"), &found, &exact, &naive, 0.0);
            }
        }
    }
}

/// A class embedding that is not a number must not become a score, nor a prompt.
fn nan_is_not_hidden<B: HeadOps>(backends: &mut [B]) {
    let case = CASES[1];
    let layers = case.layers();
    let (mut class, map) = (case.class(), case.map());
    class.truncate(case.embedding);
    class[7] = f32::NAN;
    for backend in &mut *backends {
        let (heads, bank) = (backend.head_weights(&layers).unwrap(), case.bank(backend));
        let (class, map) = (input(backend, Role::Stream, &class), input(backend, Role::Stream, &map[..case.cells]));
        let mut adapted = output(backend, Role::Stream, case.embedding);
        backend.adapter(&class, 1, &heads, &mut adapted).unwrap();
        let adapted = finish(backend, &adapted, case.embedding);
        assert!(adapted.iter().all(|x| x.is_nan()), "{}: {adapted:?}", backend.describe());
        let mut out = output(backend, Role::Result, OUTPUTS);
        backend.heads(&class, &map, images_at(1), &heads, &bank, &mut out).unwrap();
        let [score, s_h, s_p, s_i, s_a] = finish(backend, &out, OUTPUTS)[..] else { panic!() };
        assert!([score, s_h, s_i, s_a].iter().all(|x| x.is_nan()) && s_p.is_finite(), "{}", backend.describe());
    }
}
