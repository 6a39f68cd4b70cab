//! Launches `kernels/plain_patches.cu`: the patch tokens of a tap as they are, normalised where asked for.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::layer_norm::{ROWS, THREADS};
use crate::backend::{ImageTokens, Norm};
use crate::error::Result;

impl Cuda {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn launch_plain_patches(
        &mut self,
        x: &Buffer,
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Cuda>>,
        tap: usize,
        out: &mut Buffer,
    ) -> Result<()> {
        const OP: &str = "plain_patches";
        let (weight, bias, epsilon) = match norm {
            None => (0, 0, 0.0),
            Some(norm) => {
                (norm.weight.pointer(OP, "norm", width)?, norm.bias.pointer(OP, "norm", width)?, norm.epsilon)
            }
        };
        let len = images * tokens.patches * width;
        let out = out.pointer(OP, "out", Storage::F32, (tap + 1) * len)? + (tap * len * 4) as u64;
        self.shared.bind()?;
        launch!(
            self,
            self.shared.kernels.plain_patches,
            Grid::over(images * tokens.patches, ROWS, THREADS),
            x.pointer(OP, "x", Storage::F32, images * tokens.count() * width)?,
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
