//! The largest cosine of each query with any row of a bank.

use std::sync::Arc;

use inctrl::Result;
use inctrl::backend::{Backend, BankRole, BankTensor, Role, Search};
use inctrl::methods::inctrl::HeadOps;

use super::comparison::{Comparison, places, sum_error};
use super::inputs::{Input, dot, output, stored_as, unit_rows_along};
use super::{Case, Operation, Size, Sizes, Work};

pub const PATCH_NN: Operation = Operation {
    name: "patch_nn",
    formula: "out[q] = max over the bank's rows r of q · r, unit rows",
    sizes: &[
        Size::new("taps", 1, "layers, each with its own queries and rows"),
        Size::new("q", 225, "query rows of a layer"),
        Size::new("rows", 1800, "bank rows of a layer"),
        Size::row("width", 896, 64, "width of a row"),
        Size::or_none("directions", "directions that most of every row lies along; 0 for all alike"),
    ],
};

/// Products in f64 that a comparison may take: some seconds.
const MOST_PRODUCTS: usize = 2_000_000_000;

pub struct PatchNn<B: Backend> {
    taps: usize,
    queries: usize,
    rows: usize,
    width: usize,
    query: Input<B>,
    values: Arc<Vec<f32>>,
    bank: B::Bank,
    out: B::Buffer,
    operand: usize,
}

impl<B: HeadOps> PatchNn<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (taps, queries, rows, width) = (sizes.get("taps"), sizes.get("q"), sizes.get("rows"), sizes.get("width"));
        let directions = Some(sizes.get("directions")).filter(|count| *count > 0).unwrap_or(width);
        let query = Input::new(backend, Role::UnitRows, unit_rows_along(1, taps * queries, width, directions))?;
        let mut values = unit_rows_along(2, taps * rows, width, directions);
        stored_as(backend.precision().stores(Role::UnitRows), &mut values);
        let values: Arc<Vec<f32>> = values.into();
        let bank = backend.bank(&[BankTensor { values: &values, shape: [taps, rows, width], role: BankRole::Rows }])?;
        let out = backend.buffer(Role::Nearest, taps * queries)?;
        let operand = backend.precision().stores(Role::UnitRows).size();
        Ok(Box::new(PatchNn { taps, queries, rows, width, query, values, bank, out, operand }))
    }
}

impl<B: HeadOps> Case<B> for PatchNn<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        backend.patch_nn(&self.query.buffer, &Search::all(self.queries, 0), &self.bank, &mut self.out)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let out = output(backend, &self.out, self.taps * self.queries)?;
        found.all_finite(&out);
        let most = (MOST_PRODUCTS / (self.rows * self.width)).clamp(3, 64);
        for at in places(out.len(), most) {
            let tap = at / self.queries;
            let query = &self.query.values[at * self.width..][..self.width];
            let rows = &self.values[tap * self.rows * self.width..][..self.rows * self.width];
            let nearest = rows.chunks_exact(self.width).map(|row| dot(query, row)).fold(f64::NEG_INFINITY, f64::max);
            // Of unit rows, the magnitudes sum to 1 at most.
            found.compare(at, out[at], nearest, sum_error(self.width, 1.0));
        }
        Ok(())
    }

    fn work(&self) -> Work {
        let Self { taps, queries, rows, width, operand, .. } = *self;
        Work {
            flop: 2 * taps * queries * rows * width,
            bytes: taps * ((queries + rows) * width * operand + queries * 4),
        }
    }

    fn shape(&self) -> String {
        let taps = if self.taps == 1 { String::new() } else { format!("{} taps, ", self.taps) };
        format!("{taps}{} x {} x {}", self.queries, self.rows, self.width)
    }
}
