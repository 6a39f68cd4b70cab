//! `gelu(x)`, in place.

use std::f64::consts::{PI, SQRT_2};

use inctrl::Result;
use inctrl::backend::{Backend, Gelu, Role};
use inctrl::methods::inctrl::HeadOps;

use super::comparison::{Comparison, places, rounding};
use super::inputs::{Input, numbers, output, sigmoid};
use super::{Case, Operation, Size, Sizes, Work};

pub const GELU: Operation = Operation {
    name: "gelu",
    formula: "x = x Φ(x)",
    sizes: &[
        Size::new("rows", 226, "token rows"),
        Size::row("width", 3584, 64, "width of a row"),
        Size::switch("quick", "1: x σ(1.702 x) in place of x Φ(x)"),
    ],
};

/// Absolute error that the error function of a device may have, for |x| of a few units.
pub const APPROXIMATION: f64 = 2e-6;

/// Which of the two functions the sizes ask for.
pub fn kind(sizes: &Sizes) -> Gelu {
    if sizes.on("quick") { Gelu::Quick } else { Gelu::Exact }
}

/// The activation in f64, Φ by the series of the error function.
pub fn formula(kind: Gelu, x: f64) -> f64 {
    if kind == Gelu::Quick {
        return x * sigmoid(1.702 * x);
    }
    let z = x / SQRT_2;
    if z.abs() > 4.0 {
        return x.max(0.0);
    }
    let (mut term, mut sum) = (z, z);
    for n in 1..100 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    0.5 * x * (1.0 + 2.0 / PI.sqrt() * sum)
}

pub struct Activation<B: Backend> {
    rows: usize,
    width: usize,
    kind: Gelu,
    x: Input<B>,
    operand: usize,
}

impl<B: HeadOps> Activation<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (rows, width) = (sizes.get("rows"), sizes.get("width"));
        let values = numbers(1, rows * width).iter().map(|x| 4.0 * x).collect();
        let x = Input::new(backend, Role::Operand, values)?;
        Ok(Box::new(Activation {
            rows,
            width,
            kind: kind(sizes),
            x,
            operand: backend.precision().stores(Role::Operand).size(),
        }))
    }
}

impl<B: HeadOps> Case<B> for Activation<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        backend.gelu(self.kind, self.rows * self.width, &mut self.x.buffer)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let out = output(backend, &self.x.buffer, self.rows * self.width)?;
        found.all_finite(&out);
        for at in places(out.len(), 4096) {
            let expected = formula(self.kind, self.x.values[at].into());
            let tolerance = 2.0 * rounding(backend.precision().stores(Role::Operand)) * expected.abs() + APPROXIMATION;
            found.compare(at, out[at], expected, tolerance);
        }
        // Where GELU is the identity: repeated in place, it sees the same numbers.
        let large: Vec<f32> = self.x.values.iter().map(|x| x + 16.0).collect();
        backend.upload(&large, &mut self.x.buffer)
    }

    fn work(&self) -> Work {
        Work { flop: 0, bytes: 2 * self.rows * self.width * self.operand }
    }

    fn shape(&self) -> String {
        format!("{} x {}", self.rows, self.width)
    }
}
