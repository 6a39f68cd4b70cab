//! The mean over the cells of each image.

use super::Cpu;
use crate::backend::need;
use crate::error::Result;

impl Cpu {
    pub(super) fn run_mean_cells(
        &mut self,
        x: &[f32],
        images: usize,
        cells: usize,
        width: usize,
        out: &mut [f32],
    ) -> Result<()> {
        need("mean_cells", "x", x.len(), images * cells * width)?;
        need("mean_cells", "out", out.len(), images * width)?;
        if images * width == 0 {
            return Ok(());
        }
        self.pool.run_chunks(&mut out[..images * width], width, |image, out, _| {
            out.fill(0.0);
            for cell in x[image * cells * width..][..cells * width].chunks_exact(width) {
                out.iter_mut().zip(cell).for_each(|(out, x)| *out += x);
            }
            out.iter_mut().for_each(|out| *out /= cells as f32);
        });
        Ok(())
    }
}
