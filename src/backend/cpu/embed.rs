//! An image's tokens: class embedding and patches, plus position, then layer norm, row by row.

use super::Cpu;
use super::layer_norm::NormaliseRow;
use crate::backend::{Embedding, need};
use crate::error::Result;

/// Rows of a task.
const ROWS: usize = 16;

impl Cpu {
    pub(super) fn embed_tokens(
        &mut self,
        patches: &[f32],
        images: usize,
        embedding: &Embedding<Cpu>,
        out: &mut [f32],
    ) -> Result<()> {
        let Embedding { class, position, norm, tokens } = embedding;
        let (width, tokens) = (class.len(), *tokens);
        need("embed", "position", position.len(), tokens * width)?;
        need("embed", "patches", patches.len(), images * (tokens - 1) * width)?;
        need("embed", "out", out.len(), images * tokens * width)?;
        let isa = self.isa;
        self.pool.run_chunks(&mut out[..images * tokens * width], ROWS * width, |chunk, out, _| {
            for (r, out) in out.chunks_exact_mut(width).enumerate() {
                let (image, token) = ((chunk * ROWS + r) / tokens, (chunk * ROWS + r) % tokens);
                let content = match token {
                    0 => class,
                    _ => &patches[(image * (tokens - 1) + token - 1) * width..][..width],
                };
                for ((out, x), p) in out.iter_mut().zip(content).zip(&position[token * width..]) {
                    *out = x + p;
                }
                isa.run(NormaliseRow { row: out, weight: &norm.weight, bias: &norm.bias });
            }
        });
        Ok(())
    }
}
