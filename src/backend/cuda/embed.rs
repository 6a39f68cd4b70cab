//! Launches `kernels/embed.cu`: class token, patches, position, `ln_pre`, and the first norm of the first block.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::layer_norm::{ROWS, THREADS};
use crate::backend::{Embedding, Norm};
use crate::error::Result;

impl Cuda {
    pub(super) fn embed_tokens(
        &mut self,
        patches: &Buffer,
        images: usize,
        embedding: &Embedding<Cuda>,
        out: &mut Buffer,
        next: Option<(&Norm<Cuda>, &mut Buffer)>,
    ) -> Result<()> {
        let Embedding { class, position, norm, tokens } = embedding;
        let (width, rows) = (class.len, images * tokens);
        let x = out.pointer("embed", "out", Storage::F32, rows * width)?;
        let (next_weight, next_bias, normalised) = match next {
            None => (0, 0, 0),
            Some((norm, normalised)) => (
                norm.weight.pointer("embed", "the next norm", width)?,
                norm.bias.pointer("embed", "the next norm", width)?,
                normalised.pointer("embed", "normalised", self.operand(), rows * width)?,
            ),
        };
        self.shared.bind()?;
        let kernels = &self.shared.kernels;
        launch!(
            self,
            self.pick(kernels.embed_f16, kernels.embed_f32),
            Grid::over(rows, ROWS, THREADS),
            patches.pointer("embed", "patches", Storage::F32, images * (tokens - 1) * width)?,
            class.pointer("embed", "class", width)?,
            position.pointer("embed", "position", tokens * width)?,
            norm.weight.pointer("embed", "norm", width)?,
            norm.bias.pointer("embed", "norm", width)?,
            next_weight,
            next_bias,
            int(images)?,
            int(tokens - 1)?,
            int(width)?,
            x,
            normalised,
        )
    }
}
