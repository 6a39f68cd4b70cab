//! `x Wᵀ + b`, stored, added, or through GELU.

use inctrl::backend::{Backend, Gelu, Role};
use inctrl::methods::inctrl::HeadOps;
use inctrl::{Precision, Result};

use super::comparison::{Comparison, places, rounding, sum_error};
use super::gelu;
use super::inputs::{Input, LayerInput, dot, magnitude, numbers, output};
use super::{Case, Operation, Size, Sizes, Work};

const SIZES: &[Size] = &[
    Size::new("rows", 226, "token rows"),
    Size::row("inputs", 896, 4, "width of a row"),
    Size::row("outputs", 2688, 4, "width of the result"),
];
pub const LINEAR: Operation = Operation { name: "linear", formula: "out = x Wᵀ + b", sizes: SIZES };
pub const LINEAR_ADD: Operation = Operation { name: "linear_add", formula: "out += x Wᵀ + b", sizes: SIZES };
pub const LINEAR_GELU: Operation = Operation {
    name: "linear_gelu",
    formula: "out = gelu(x Wᵀ + b)",
    sizes: &[SIZES[0], SIZES[1], SIZES[2], Size::switch("quick", "1: x σ(1.702 x) in place of x Φ(x)")],
};

/// What a product can lose if both operands are rounded to bytes: half a step of each element. A row has 255 steps from
/// its least element to its largest, a row of weights 127 from zero to its largest.
fn quantisation_error(x: &[f32], w: &[f32]) -> f64 {
    let (mut least, mut largest) = (f32::INFINITY, f32::NEG_INFINITY);
    x.iter().for_each(|&x| (least, largest) = (least.min(x), largest.max(x)));
    let weight = w.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
    // A thousandth more for the roundings of the steps themselves.
    let [of_x, of_w] = [(largest - least) / 255.0, weight / 127.0].map(|step| 0.5005 * f64::from(step));
    x.iter().zip(w).map(|(&x, &w)| f64::from(x.abs()) * of_w + (f64::from(w.abs()) + of_w) * of_x).sum()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Store,
    Add,
    Gelu(Gelu),
}

pub struct Linear<B: Backend> {
    rows: usize,
    inputs: usize,
    outputs: usize,
    then: Then,
    x: Input<B>,
    weights: LayerInput<B>,
    before: Vec<f32>,
    out: B::Buffer,
    bytes: usize,
}

impl<B: HeadOps> Linear<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (rows, inputs, outputs) = (sizes.get("rows"), sizes.get("inputs"), sizes.get("outputs"));
        let then = match sizes.operation().name {
            "linear" => Then::Store,
            "linear_add" => Then::Add,
            _ => Then::Gelu(gelu::kind(sizes)),
        };
        let role = if then == Then::Add { Role::Stream } else { Role::Operand };
        let x = Input::numbers(backend, Role::Operand, 1, rows * inputs)?;
        let weights = LayerInput::new(backend, 2, outputs, inputs)?;
        let Input { buffer: out, values: before } = match then {
            Then::Add => Input::new(backend, role, numbers(4, rows * outputs))?,
            _ => Input::new(backend, role, vec![0.0; rows * outputs])?,
        };
        let operand = backend.precision().stores(Role::Operand).size();
        let out_bytes = if then == Then::Add { 2 * 4 } else { operand };
        let weight = if backend.precision() == Precision::Int8 { 1 } else { operand };
        let bytes = rows * inputs * operand + inputs * outputs * weight + rows * outputs * out_bytes;
        Ok(Box::new(Linear { rows, inputs, outputs, then, x, weights, before, out, bytes }))
    }
}

impl<B: HeadOps> Case<B> for Linear<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        let (x, w) = (&self.x.buffer, &self.weights.layer);
        match self.then {
            Then::Store => backend.linear(x, self.rows, w, &mut self.out),
            Then::Add => backend.linear_add(x, self.rows, w, &mut self.out),
            Then::Gelu(kind) => backend.linear_gelu(x, self.rows, w, self.outputs, kind, &mut self.out),
        }
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let out = output(backend, &self.out, self.rows * self.outputs)?;
        found.all_finite(&out);
        let stored = rounding(backend.precision().stores(Role::Operand));
        for row in places(self.rows, 16) {
            for column in places(self.outputs, 64) {
                let x = &self.x.values[row * self.inputs..][..self.inputs];
                let w = &self.weights.weight[column * self.inputs..][..self.inputs];
                let bias = f64::from(self.weights.bias[column]);
                let (sum, at) = (dot(x, w) + bias, row * self.outputs + column);
                let mut error = sum_error(self.inputs + 1, magnitude(x, w) + bias.abs());
                if backend.precision() == Precision::Int8 {
                    error += quantisation_error(x, w);
                }
                let (expected, error) = match self.then {
                    Then::Store => (sum, error + stored * sum.abs()),
                    // What it is added to is f32.
                    Then::Add => (sum + f64::from(self.before[at]), error + 1e-7),
                    // Its slope is at most 1.13; a fused product may be stored before and after.
                    Then::Gelu(kind) => {
                        (gelu::formula(kind, sum), 1.13 * error + 2.0 * stored * sum.abs() + gelu::APPROXIMATION)
                    }
                };
                found.compare(at, out[at], expected, error);
            }
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work { flop: 2 * self.rows * self.inputs * self.outputs, bytes: self.bytes }
    }

    fn shape(&self) -> String {
        format!("{} x {} x {}", self.rows, self.inputs, self.outputs)
    }
}
