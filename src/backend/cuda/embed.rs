//! Launches `kernels/embed.cu`: prefix tokens, patches, position, the norm before the blocks, and that of the first
//! block.

use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::layer_norm::{ROWS, THREADS};
use super::{Constant, Cuda};
use crate::backend::{Embedding, Norm};
use crate::error::Result;

impl Cuda {
    pub(super) fn launch_embed(
        &mut self,
        patches: &Buffer,
        images: usize,
        embedding: &Embedding<Cuda>,
        out: &mut Buffer,
        next: Option<(&Norm<Cuda>, &mut Buffer)>,
    ) -> Result<()> {
        let Embedding { prefix, position, norm, tokens } = embedding;
        let (width, rows) = (position.len / tokens.patches.max(1), images * tokens.count());
        let x = out.pointer("embed", "out", Storage::F32, rows * width)?;
        let parameters = |norm: &Norm<Cuda>| -> Result<(u64, u64, f32)> {
            let pointer = |part: &Constant| part.pointer("embed", "norm", width);
            Ok((pointer(&norm.weight)?, pointer(&norm.bias)?, norm.epsilon))
        };
        let (weight, bias, epsilon) = norm.as_deref().map_or(Ok((0, 0, 0.0)), parameters)?;
        let (next_weight, next_bias, next_epsilon) =
            next.as_ref().map_or(Ok((0, 0, 0.0)), |next| parameters(next.0))?;
        let normalised = match next {
            None => 0,
            Some((_, normalised)) => normalised.pointer("embed", "normalised", self.operand(), rows * width)?,
        };
        self.shared.bind()?;
        let kernels = &self.shared.kernels;
        launch!(
            self,
            kernels.embed.of(self.operand())?,
            Grid::over(rows, ROWS, THREADS),
            patches.pointer("embed", "patches", Storage::F32, images * tokens.patches * width)?,
            prefix.pointer("embed", "prefix", tokens.prefix * width)?,
            position.pointer("embed", "position", tokens.patches * width)?,
            weight,
            bias,
            epsilon,
            next_weight,
            next_bias,
            next_epsilon,
            int(images)?,
            int(tokens.prefix)?,
            int(tokens.patches)?,
            int(width)?,
            x,
            normalised,
        )
    }
}
