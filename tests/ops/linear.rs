//! `y = x Wᵀ + b`, and what may follow it.

use inctrl::backend::{Backend, Gelu, Role};
use inctrl::tensor::DType;

use super::{
    Real, Stored, ULP, accurate, cases, coarseness, dot, finish, gelu, input, largest, numbers, output, random, real,
    rounded, rounding, same_bits, unless, within,
};

on_every_device! {
    linear,
    linear_add,
    linear_gelu,
    every_tile,
    projection,
    a_row_does_not_know_its_neighbours,
    short_buffers_are_errors,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    inputs: usize,
    outputs: usize,
    bias: bool,
    scale: f32,
    dtype: DType,
}

const fn case(rows: usize, inputs: usize, outputs: usize) -> Case {
    Case { rows, inputs, outputs, bias: true, scale: 1.0, dtype: DType::F32 }
}

const CASES: &[Case] = &[
    case(1, 1, 1),
    // ViT-B/16+: patches, an attention projection, the end of the MLP, the class token.
    Case { bias: false, ..case(225, 768, 96) },
    case(226, 896, 160),
    case(19, 3584, 96),
    case(1, 896, 640),
    // More rows than a cache holds, and a remainder of one.
    case(481, 37, 33),
    case(241, 5, 129),
    // Around powers of two in the inner dimension.
    case(3, 255, 17),
    case(5, 256, 31),
    case(7, 257, 15),
    case(2, 513, 65),
    // Primes.
    case(13, 11, 7),
    case(29, 31, 37),
    Case { scale: 1e15, ..case(26, 128, 48) },
    Case { scale: 1e-15, ..case(26, 128, 48) },
    Case { dtype: DType::F16, ..case(26, 61, 35) },
    Case { dtype: DType::Bf16, bias: false, ..case(26, 61, 35) },
    Case { dtype: DType::Bf16, ..case(26, 64, 32) },
    // What a GPU's layers look like.
    case(5, 64, 192),
    Case { bias: false, ..case(17, 128, 32) },
    case(10, 588, 64),
];

/// Why a GPU does not multiply this: vectors of 16 bytes, and the range of f16.
fn against(case: &Case) -> Option<&'static str> {
    match case.scale {
        1.0 => unless(case.inputs | case.outputs, 4, case.rows * case.inputs * case.outputs),
        _ => Some("beyond the range of f16"),
    }
}

/// A layer whose weights are rows `skip ..` of a larger tensor, and its inputs.
struct Data {
    case: Case,
    skip: usize,
    x: Vec<f32>,
    weight: Stored,
    bias: Stored,
}

impl Data {
    /// Numbers that the backends hold exactly, whatever the file's type.
    fn new<B: Backend>(backends: &[B], case: Case) -> Self {
        let skip = 3;
        let rows = skip + case.outputs + 2;
        let weight = numbers(backends, Role::Weight, 2, rows * case.inputs, case.scale);
        // Of the file's type and of the device's.
        let weight = rounded(backends, Role::Weight, Stored::new(&[rows * case.inputs], case.dtype, &weight).values());
        let bias = numbers(backends, Role::Operand, 3, rows, 3.0 * case.scale * case.scale);
        let bias = rounded(backends, Role::Operand, Stored::new(&[rows], case.dtype, &bias).values());
        Data {
            case,
            skip,
            x: numbers(backends, Role::Operand, 1, case.rows * case.inputs, case.scale),
            weight: Stored::new(&[rows, case.inputs], case.dtype, &weight),
            bias: Stored::new(&[rows], case.dtype, &bias),
        }
    }

    fn layer<B: Backend>(&self, backend: &mut B) -> B::Linear {
        let bias = self.bias.view();
        let rows = self.skip..self.skip + self.case.outputs;
        backend.linear_weights(&self.weight.view(), rows, self.case.bias.then_some(&bias)).unwrap()
    }

    fn len(&self) -> usize {
        self.case.rows * self.case.outputs
    }

    /// `y[r, o] = Σ x[r, i] w[o, i] + b[o]`
    fn formula<T: Real>(&self) -> Vec<T> {
        let inputs = self.case.inputs;
        let (x, weight) = (real::<T>(&self.x), real::<T>(&self.weight.values()));
        let bias = if self.case.bias { real::<T>(&self.bias.values()) } else { vec![T::of(0.0); 1000] };
        let mut y = Vec::new();
        for x in x.chunks(inputs) {
            for o in self.skip..self.skip + self.case.outputs {
                y.push(dot(x, &weight[o * inputs..][..inputs]) + bias[o]);
            }
        }
        y
    }
}

fn linear<B: Backend>(backends: &mut [B]) {
    for case in cases(backends, CASES, against) {
        let data = Data::new(backends, case);
        let (exact, naive) = (data.formula::<f64>(), data.formula::<f32>());
        // Operands are rounded, a stream is not.
        for (role, coarse) in [(Role::Operand, coarseness(backends, Role::Operand)), (Role::Stream, 0.0)] {
            for backend in &mut *backends {
                let layer = data.layer(backend);
                let (x, mut out) = (input(backend, Role::Operand, &data.x), output(backend, role, data.len()));
                backend.linear(&x, case.rows, &layer, &mut out).unwrap();
                let found = finish(backend, &out, data.len());
                let what = format!("linear, {role:?}, {}, {case:?}", backend.describe());
                accurate(&what, &found, &exact, &naive, coarse);
            }
        }
    }
}

/// All remainders of rows and columns of every register tile.
fn every_tile<B: Backend>(backends: &mut [B]) {
    for rows in 1..=14 {
        for outputs in [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97] {
            let case = case(rows, 1 + (rows + outputs) % 9, outputs);
            if !B::IN_HOST_MEMORY && against(&case).is_some() {
                continue;
            }
            let data = Data::new(backends, case);
            let (exact, naive) = (data.formula::<f64>(), data.formula::<f32>());
            for backend in &mut *backends {
                let layer = data.layer(backend);
                let (x, mut out) = (input(backend, Role::Operand, &data.x), output(backend, Role::Stream, data.len()));
                backend.linear(&x, rows, &layer, &mut out).unwrap();
                let found = finish(backend, &out, data.len());
                accurate(&format!("linear, {}, {:?}", backend.describe(), data.case), &found, &exact, &naive, 0.0);
            }
        }
    }
}

fn linear_add<B: Backend>(backends: &mut [B]) {
    for case in cases(backends, CASES, against) {
        let data = Data::new(backends, case);
        let before = random(4, data.len(), 3.0 * case.scale * case.scale);
        let add = |(y, before): (f64, &f32)| y + f64::from(*before);
        let exact: Vec<f64> = data.formula::<f64>().into_iter().zip(&before).map(add).collect();
        let naive: Vec<f32> = data.formula::<f32>().into_iter().zip(&before).map(|(y, b)| y + b).collect();
        for backend in &mut *backends {
            let layer = data.layer(backend);
            let (x, mut out) = (input(backend, Role::Operand, &data.x), input(backend, Role::Stream, &before));
            backend.linear_add(&x, case.rows, &layer, &mut out).unwrap();
            let found = finish(backend, &out, data.len());
            accurate(&format!("linear_add, {}, {case:?}", backend.describe()), &found, &exact, &naive, 0.0);
        }
    }
}

fn linear_gelu<B: Backend>(backends: &mut [B]) {
    for case in cases(backends, CASES, against) {
        let data = Data::new(backends, case);
        let (before, naive) = (data.formula::<f64>(), data.formula::<f32>());
        // Neither activation is steeper than 1.13; it is then as exact as on its own.
        let coarse = coarseness(backends, Role::Operand) * largest(&before);
        let argument = 1.13 * (rounding(&naive, &before) + coarse);
        for kind in [Gelu::Exact, Gelu::Quick] {
            let exact: Vec<f64> = before.iter().map(|&x| gelu::formula(kind, x)).collect();
            for backend in &mut *backends {
                let layer = data.layer(backend);
                let x = input(backend, Role::Operand, &data.x);
                let (mut fused, mut composed) =
                    (output(backend, Role::Operand, data.len()), output(backend, Role::Operand, data.len()));
                backend.linear_gelu(&x, case.rows, &layer, case.outputs, kind, &mut fused).unwrap();
                backend.linear(&x, case.rows, &layer, &mut composed).unwrap();
                backend.gelu(kind, data.len(), &mut composed).unwrap();
                let what = format!("linear_gelu {kind:?}, {}, {case:?}", backend.describe());
                let (fused, composed) = (finish(backend, &fused, data.len()), finish(backend, &composed, data.len()));
                within(&what, &fused, &exact, |i| argument + coarse + gelu::budget(kind, before[i]));
                same_bits(&format!("{what}: fused and composed"), &fused, &composed);
            }
        }
    }
}

/// `y[r, o] = Σ x[r, i] w[i, o]`
fn projection<B: Backend>(backends: &mut [B]) {
    let all = [(1, 1, 1), (3, 896, 64), (5, 13, 33), (2, 17, 97)];
    let against = |&(rows, inputs, outputs): &(usize, usize, usize)| against(&case(rows, inputs, outputs));
    for (rows, inputs, outputs) in cases(backends, &all, against) {
        let host = numbers(backends, Role::Operand, 5, rows * inputs, 1.0);
        let weight = numbers(backends, Role::Weight, 6, inputs * outputs, 1.0);
        let weight = Stored::f32(&[inputs, outputs], &weight);
        fn formula<T: Real>(x: &[f32], w: &[f32], inputs: usize, outputs: usize) -> Vec<T> {
            let (x, w) = (real::<T>(x), real::<T>(w));
            let column = |o: usize| (0..inputs).map(|i| w[i * outputs + o]).collect::<Vec<T>>();
            x.chunks(inputs).flat_map(|x| (0..outputs).map(|o| dot(x, &column(o))).collect::<Vec<T>>()).collect()
        }
        let exact = formula::<f64>(&host, &weight.values(), inputs, outputs);
        let naive = formula::<f32>(&host, &weight.values(), inputs, outputs);
        for backend in &mut *backends {
            let layer = backend.projection_weights(&weight.view()).unwrap();
            let (x, mut out) = (input(backend, Role::Operand, &host), output(backend, Role::Stream, rows * outputs));
            backend.linear(&x, rows, &layer, &mut out).unwrap();
            let found = finish(backend, &out, rows * outputs);
            accurate(
                &format!("projection, {}, {rows} x {inputs} x {outputs}", backend.describe()),
                &found,
                &exact,
                &naive,
                0.0,
            );
        }
    }
}

fn a_row_does_not_know_its_neighbours<B: Backend>(backends: &mut [B]) {
    for case in cases(backends, &[case(27, 300, 72), case(250, 17, 5)], against) {
        let data = Data::new(backends, case);
        for backend in &mut *backends {
            let layer = data.layer(backend);
            let (x, mut out) = (input(backend, Role::Operand, &data.x), output(backend, Role::Stream, data.len()));
            backend.linear(&x, case.rows, &layer, &mut out).unwrap();
            let all = finish(backend, &out, data.len());
            for (row, together) in data.x.chunks(case.inputs).zip(all.chunks(case.outputs)) {
                let (x, mut out) = (input(backend, Role::Operand, row), output(backend, Role::Stream, case.outputs));
                backend.linear(&x, 1, &layer, &mut out).unwrap();
                let alone = finish(backend, &out, case.outputs);
                same_bits(&format!("a row alone, {}, {case:?}", backend.describe()), &alone, together);
            }
        }
    }
}

fn short_buffers_are_errors<B: Backend>(backends: &mut [B]) {
    let data = Data::new(backends, case(4, 8, 8));
    for backend in &mut *backends {
        let layer = data.layer(backend);
        let (full, mut long) = (backend.buffer(Role::Operand, 32).unwrap(), backend.buffer(Role::Operand, 32).unwrap());
        let (short, mut stub) =
            (backend.buffer(Role::Operand, 31).unwrap(), backend.buffer(Role::Operand, 31).unwrap());
        for error in [backend.linear(&short, 4, &layer, &mut long), backend.linear(&full, 4, &layer, &mut stub)] {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), inctrl::ErrorKind::Internal);
            assert!(error.to_string().contains("31 elements") && error.to_string().contains("32"), "{error}");
        }
    }
}

#[test]
fn the_budget_sees_one_missing_product() {
    // 3584 products of size 1: without the last the result is off by about 1, far beyond rounding.
    let data = Data::new::<inctrl::backend::cpu::Cpu>(&[], case(2, 3584, 5));
    let (exact, naive) = (data.formula::<f64>(), data.formula::<f32>());
    assert!(rounding(&naive, &exact) < 1e-2 && rounding(&naive, &exact) > ULP);
}
