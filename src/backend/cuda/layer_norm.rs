//! Launches `kernels/layer_norm.cu`: layer norm of rows, with the unit patches of a tap in the same pass.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::unit_patches::Target;
use crate::backend::Norm;
use crate::error::Result;

/// Threads of a block, and the rows that it takes: a warp for each.
pub(super) const THREADS: u32 = 256;
pub(super) const ROWS: usize = 8;
/// Widest row that the kernels keep in registers.
pub(super) const MAX_WIDTH: usize = 2048;

impl Cuda {
    pub(super) fn launch_layer_norm(
        &mut self,
        x: &Buffer,
        rows: usize,
        norm: &Norm<Cuda>,
        out: &mut Buffer,
        unit: Option<Target<'_>>,
    ) -> Result<()> {
        let width = norm.weight.len;
        let input = x.pointer("layer_norm", "x", Storage::F32, rows * width)?;
        // What is no operand but a result, such as a class embedding, stays in f32.
        let storage = if unit.is_none() && out.storage == Storage::F32 { Storage::F32 } else { self.operand() };
        let output = out.pointer("layer_norm", "out", storage, rows * width)?;
        let (tokens, prefix, unit) = match unit {
            None => (rows.max(1), 0, 0),
            Some(target) => {
                let tokens = target.tokens.count();
                (tokens, target.tokens.prefix, target.pointer(self, rows / tokens)?)
            }
        };
        self.shared.bind()?;
        let kernels = &self.shared.kernels;
        launch!(
            self,
            kernels.layer_norm.of(storage)?,
            Grid::over(rows, ROWS, THREADS),
            input,
            norm.weight.pointer("layer_norm", "weight", width)?,
            norm.bias.pointer("layer_norm", "bias", width)?,
            norm.epsilon,
            int(rows)?,
            int(width)?,
            int(tokens)?,
            int(prefix)?,
            output,
            unit,
        )
    }
}
