//! Layer norm of rows.

use inctrl::Result;
use inctrl::backend::{Backend, Role};
use inctrl::methods::inctrl::HeadOps;

use super::comparison::{Comparison, places, rounding};
use super::inputs::{Input, NormInput, exact, output};
use super::{Case, Operation, Size, Sizes, Work};

pub const LAYER_NORM: Operation = Operation {
    name: "layer_norm",
    formula: "out = (x - mean) / sqrt(variance + epsilon) * weight + bias",
    sizes: &[Size::new("rows", 226, "token rows"), Size::row("width", 896, 64, "width of a row")],
};

/// Relative to the largest of a row: what the sums of a row in f32 may cost.
pub const ROW_ERROR: f64 = 1e-5;

/// Compares a row with its formula, whose values are stored in an operand or, where `stored` is that of f32, a stream.
pub fn compare_row(found: &mut Comparison, first: usize, row: &[f32], expected: &[f64], stored: f64) {
    let largest = expected.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()));
    for (at, (x, expected)) in row.iter().zip(expected).enumerate() {
        found.compare(first + at, *x, *expected, stored * expected.abs() + ROW_ERROR * largest);
    }
}

pub struct LayerNorm<B: Backend> {
    rows: usize,
    width: usize,
    x: Input<B>,
    norm: NormInput<B>,
    out: B::Buffer,
    operand: usize,
}

impl<B: HeadOps> LayerNorm<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (rows, width) = (sizes.get("rows"), sizes.get("width"));
        let x = Input::numbers(backend, Role::Stream, 1, rows * width)?;
        let norm = NormInput::new(backend, 2, width)?;
        let out = backend.buffer(Role::Operand, rows * width)?;
        Ok(Box::new(LayerNorm { rows, width, x, norm, out, operand: backend.precision().stores(Role::Operand).size() }))
    }
}

impl<B: HeadOps> Case<B> for LayerNorm<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        backend.layer_norm(&self.x.buffer, self.rows, &self.norm.norm, &mut self.out)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let out = output(backend, &self.out, self.rows * self.width)?;
        found.all_finite(&out);
        for row in places(self.rows, 64) {
            let first = row * self.width;
            let expected = self.norm.of(&exact(&self.x.values[first..][..self.width]));
            compare_row(found, first, &out[first..], &expected, rounding(backend.precision().stores(Role::Operand)));
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work { flop: 0, bytes: self.rows * self.width * (4 + self.operand) }
    }

    fn shape(&self) -> String {
        format!("{} x {}", self.rows, self.width)
    }
}
