//! Equations 1 and 2 as the published code scales them: the mean over taps of `0.5 (1 - cosine)`.

use super::Cpu;
use crate::backend::need;
use crate::error::Result;

impl Cpu {
    pub(super) fn mean_residual(&mut self, cosines: &[f32], taps: usize, cells: usize, map: &mut [f32]) -> Result<()> {
        need("residual_mean", "cosines", cosines.len(), taps * cells)?;
        need("residual_mean", "map", map.len(), cells)?;
        for (cell, out) in map[..cells].iter_mut().enumerate() {
            let sum: f32 = (0..taps).map(|tap| 0.5 * (1.0 - cosines[tap * cells + cell])).sum();
            *out = sum / taps as f32;
        }
        Ok(())
    }
}
