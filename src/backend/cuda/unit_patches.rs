//! Launches `kernels/unit_patches.cu`: the patch tokens of a tap, normalised where asked for, scaled to unit length.

use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::layer_norm::{ROWS, THREADS};
use super::{Constant, Cuda};
use crate::backend::{ImageTokens, Norm, Role};
use crate::error::Result;

/// Where the unit patches of a tap go.
pub(super) struct Target<'a> {
    pub tokens: ImageTokens,
    pub width: usize,
    pub tap: usize,
    pub taps: &'a mut Buffer,
}

impl Target<'_> {
    /// The device address of the tap's first row in a batch of `images`.
    pub fn pointer(&self, cuda: &Cuda, images: usize) -> Result<u64> {
        let len = images * self.tokens.patches * self.width;
        let storage = cuda.stored(Role::UnitRows);
        let base = self.taps.pointer("unit_patches", "out", storage, (self.tap + 1) * len)?;
        Ok(base + (self.tap * len * storage.size()) as u64)
    }
}

impl Cuda {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn launch_unit_patches(
        &mut self,
        x: &Buffer,
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Cuda>>,
        tap: usize,
        taps: &mut Buffer,
    ) -> Result<()> {
        let (weight, bias, epsilon) = match norm {
            None => (0, 0, 0.0),
            Some(norm) => {
                let pointer = |part: &Constant| part.pointer("unit_patches", "norm", width);
                (pointer(&norm.weight)?, pointer(&norm.bias)?, norm.epsilon)
            }
        };
        let out = Target { tokens, width, tap, taps }.pointer(self, images)?;
        self.shared.bind()?;
        let kernels = &self.shared.kernels;
        launch!(
            self,
            kernels.unit_patches.of(self.stored(Role::UnitRows))?,
            Grid::over(images * tokens.patches, ROWS, THREADS),
            x.pointer("unit_patches", "x", Storage::F32, images * tokens.count() * width)?,
            weight,
            bias,
            epsilon,
            int(images)?,
            int(tokens.prefix)?,
            int(tokens.patches)?,
            int(width)?,
            out,
        )
    }
}
