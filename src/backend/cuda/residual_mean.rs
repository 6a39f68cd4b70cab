//! Launches `kernels/residual_mean.cu`: the residual map from nearest neighbours.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use crate::error::Result;

const THREADS: u32 = 256;

impl Cuda {
    pub(super) fn launch_residual_mean(
        &mut self,
        nearest: &Buffer,
        taps: usize,
        cells: usize,
        scale: f32,
        valid: &Buffer,
        map: &mut Buffer,
    ) -> Result<()> {
        self.shared.bind()?;
        launch!(
            self,
            self.shared.kernels.residual_mean,
            Grid::over(cells, THREADS as usize, THREADS),
            nearest.pointer("residual_mean", "cosines", Storage::Key, taps * cells)?,
            valid.pointer("residual_mean", "valid", Storage::F32, cells)?,
            int(taps)?,
            int(cells)?,
            scale,
            map.pointer("residual_mean", "map", Storage::F32, cells)?,
            map.mirror(),
        )
    }
}
