//! The row of each sequence that stands for it.

use inctrl::Result;
use inctrl::backend::{Backend, PoolToken, Role, Sequences};
use inctrl::methods::inctrl::HeadOps;

use super::comparison::{Comparison, places, rounding};
use super::inputs::{Input, output};
use super::{Case, Operation, Size, Sizes, Work};

pub const POOL_ROWS: Operation = Operation {
    name: "pool_rows",
    formula: "out[s] = x[first or last row of sequence s]",
    sizes: &[
        Size::new("images", 8, "sequences of the batch"),
        Size::new("tokens", 226, "tokens of a sequence"),
        Size::row("width", 896, 64, "width of a row"),
        Size::switch("last", "1: the last row, as of a text; 0: the first, as of an image"),
    ],
};

pub struct PoolRows<B: Backend> {
    tokens: usize,
    width: usize,
    pool: PoolToken,
    ends: Vec<usize>,
    x: Input<B>,
    out: B::Buffer,
}

impl<B: HeadOps> PoolRows<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (images, tokens, width) = (sizes.get("images"), sizes.get("tokens"), sizes.get("width"));
        let pool = if sizes.on("last") { PoolToken::Last } else { PoolToken::First };
        let x = Input::numbers(backend, Role::Stream, 1, images * tokens * width)?;
        let out = backend.buffer(Role::Stream, images * width)?;
        Ok(Box::new(PoolRows { tokens, width, pool, ends: (1..=images).map(|i| i * tokens).collect(), x, out }))
    }
}

impl<B: HeadOps> Case<B> for PoolRows<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        let sequences = Sequences { ends: &self.ends };
        backend.pool_rows(&self.x.buffer, sequences, self.width, self.pool, &mut self.out)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let out = output(backend, &self.out, self.ends.len() * self.width)?;
        for at in places(out.len(), 4096) {
            let (image, column) = (at / self.width, at % self.width);
            let row = self.pool.row(image * self.tokens..(image + 1) * self.tokens);
            let expected = f64::from(self.x.values[row * self.width + column]);
            // A device may keep the few rows that it pools as operands.
            found.compare(at, out[at], expected, rounding(backend.precision().stores(Role::Operand)) * expected.abs());
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work { flop: 0, bytes: 2 * self.ends.len() * self.width * 4 }
    }

    fn shape(&self) -> String {
        format!("{} x {} x {}", self.ends.len(), self.tokens, self.width)
    }
}
