//! The largest of the cells around every second cell.

use super::Cpu;
use crate::backend::{halved, need};
use crate::error::Result;
use crate::view::Grid;

impl Cpu {
    pub(super) fn run_max_pool(
        &mut self,
        x: &[f32],
        images: usize,
        grid: Grid,
        width: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let to = halved(grid, 2);
        need("max_pool", "x", x.len(), images * grid.cells() * width)?;
        need("max_pool", "out", out.len(), images * to.cells() * width)?;
        let line = to.cols * width;
        if images * to.rows * line == 0 {
            return Ok(());
        }
        self.pool.run_chunks(&mut out[..images * to.rows * line], line, |number, out, _| {
            let (image, row) = (number / to.rows, number % to.rows);
            for (col, out) in out.chunks_exact_mut(width).enumerate() {
                out.fill(f32::NEG_INFINITY);
                for r in (2 * row).saturating_sub(1)..(2 * row + 2).min(grid.rows) {
                    for c in (2 * col).saturating_sub(1)..(2 * col + 2).min(grid.cols) {
                        let cell = &x[((image * grid.rows + r) * grid.cols + c) * width..][..width];
                        // NaN stays NaN, so that it is found later.
                        let larger = |out: f32, x: f32| if out > x || out.is_nan() { out } else { x };
                        out.iter_mut().zip(cell).for_each(|(out, x)| *out = larger(*out, *x));
                    }
                }
            }
        });
        Ok(())
    }
}
