//! The mean over taps of `scale (1 - cosine)`, 0 where a cell is ignored.

use super::Cpu;
use crate::backend::need;
use crate::error::Result;

impl Cpu {
    pub(super) fn run_residual_mean(
        &mut self,
        cosines: &[f32],
        taps: usize,
        cells: usize,
        scale: f32,
        valid: &[f32],
        map: &mut [f32],
    ) -> Result<()> {
        need("residual_mean", "cosines", cosines.len(), taps * cells)?;
        need("residual_mean", "valid", valid.len(), cells)?;
        need("residual_mean", "map", map.len(), cells)?;
        for (cell, (out, valid)) in map[..cells].iter_mut().zip(valid).enumerate() {
            let sum: f32 = (0..taps).map(|tap| scale * (1.0 - cosines[tap * cells + cell])).sum();
            // A product, not a branch: what is not finite stays so, and is found.
            *out = valid * (sum / taps as f32);
        }
        Ok(())
    }
}
