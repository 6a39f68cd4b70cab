//! The rows of several layers side by side.

use super::Cpu;
use crate::backend::need;
use crate::error::Result;

/// Rows of a task.
const ROWS: usize = 16;

impl Cpu {
    pub(super) fn run_join_layers(
        &mut self,
        x: &[f32],
        [layers, rows, width]: [usize; 3],
        scale: f32,
        out: &mut [f32],
    ) -> Result<()> {
        need("join_layers", "x", x.len(), layers * rows * width)?;
        need("join_layers", "out", out.len(), layers * rows * width)?;
        if layers * width == 0 {
            return Ok(());
        }
        let out = &mut out[..layers * rows * width];
        self.pool.run_chunks(out, ROWS * layers * width, |chunk, out, _| {
            for (r, out) in out.chunks_exact_mut(layers * width).enumerate() {
                for (layer, out) in out.chunks_exact_mut(width).enumerate() {
                    let row = &x[(layer * rows + chunk * ROWS + r) * width..][..width];
                    out.iter_mut().zip(row).for_each(|(out, x)| *out = scale * x);
                }
            }
        });
        Ok(())
    }
}
