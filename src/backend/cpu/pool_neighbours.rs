//! The neighbourhood of each cell, averaged to a few numbers.

use super::Cpu;
use super::pool_columns::average;
use crate::backend::need;
use crate::error::Result;
use crate::view::Grid;

/// Side of a neighbourhood, and its cells.
const SIDE: usize = 3;
const AROUND: usize = SIDE * SIDE;

impl Cpu {
    pub(super) fn run_pool_neighbours(
        &mut self,
        x: &[f32],
        images: usize,
        grid: Grid,
        width: usize,
        bins: usize,
        out: &mut [f32],
    ) -> Result<()> {
        need("pool_neighbours", "x", x.len(), images * grid.cells() * width)?;
        need("pool_neighbours", "out", out.len(), images * grid.cells() * bins)?;
        need("pool_neighbours", "bins", bins, 1)?;
        self.reserve(AROUND * width)?;
        self.pool.run_chunks(&mut out[..images * grid.cells() * bins], bins, |number, out, scratch| {
            let around = scratch.take(AROUND * width);
            let (image, cell) = (number / grid.cells(), number % grid.cells());
            let (row, col) = (cell / grid.cols, cell % grid.cols);
            for place in 0..AROUND {
                let r = (row + place / SIDE).checked_sub(1).filter(|r| *r < grid.rows);
                let c = (col + place % SIDE).checked_sub(1).filter(|c| *c < grid.cols);
                let own = around[place..].iter_mut().step_by(AROUND);
                match r.zip(c) {
                    None => own.for_each(|out| *out = 0.0),
                    Some((r, c)) => {
                        let cell = &x[((image * grid.rows + r) * grid.cols + c) * width..][..width];
                        own.zip(cell).for_each(|(out, x)| *out = *x);
                    }
                }
            }
            average(around, out);
        });
        Ok(())
    }
}
