//! `silu(a) b`, the gate of a SwiGLU MLP.

use inctrl::Result;
use inctrl::backend::{Backend, Role};
use inctrl::methods::inctrl::HeadOps;

use super::comparison::{Comparison, places, rounding};
use super::inputs::{Input, numbers, output, sigmoid};
use super::{Case, Operation, Size, Sizes, Work};

pub const SWIGLU: Operation = Operation {
    name: "swiglu",
    formula: "out = a σ(a) b, a and b the halves of a row",
    sizes: &[Size::new("rows", 1025, "token rows"), Size::row("width", 4096, 64, "width of a result row")],
};

pub struct SwiGlu<B: Backend> {
    rows: usize,
    width: usize,
    x: Input<B>,
    out: B::Buffer,
    operand: usize,
}

impl<B: HeadOps> SwiGlu<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (rows, width) = (sizes.get("rows"), sizes.get("width"));
        let values = numbers(1, 2 * rows * width).iter().map(|x| 3.0 * x).collect();
        let x = Input::new(backend, Role::Operand, values)?;
        let out = backend.buffer(Role::Operand, rows * width)?;
        Ok(Box::new(SwiGlu { rows, width, x, out, operand: backend.precision().stores(Role::Operand).size() }))
    }
}

impl<B: HeadOps> Case<B> for SwiGlu<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        backend.swiglu(&self.x.buffer, self.rows, self.width, &mut self.out)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let out = output(backend, &self.out, self.rows * self.width)?;
        found.all_finite(&out);
        for at in places(out.len(), 4096) {
            let gate = at / self.width * 2 * self.width + at % self.width;
            let (a, b) = (f64::from(self.x.values[gate]), f64::from(self.x.values[gate + self.width]));
            let expected = a * sigmoid(a) * b;
            found.compare(
                at,
                out[at],
                expected,
                (rounding(backend.precision().stores(Role::Operand)) + 1e-6) * expected.abs() + 1e-6,
            );
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work { flop: 0, bytes: 3 * self.rows * self.width * self.operand }
    }

    fn shape(&self) -> String {
        format!("{} x {}", self.rows, self.width)
    }
}
