//! An image's tokens: prefix tokens and patches, plus position, then layer norm, row by row.

use super::Cpu;
use super::layer_norm::NormaliseRow;
use crate::backend::{Embedding, need};
use crate::error::Result;

/// Rows of a task.
const ROWS: usize = 16;

impl Cpu {
    pub(super) fn run_embed(
        &mut self,
        patches: &[f32],
        images: usize,
        embedding: &Embedding<Cpu>,
        out: &mut [f32],
    ) -> Result<()> {
        let Embedding { prefix, position, norm, tokens } = embedding;
        let (all, patches_of) = (tokens.count(), tokens.patches);
        let width = position.len() / patches_of.max(1);
        need("embed", "prefix", prefix.len(), tokens.prefix * width)?;
        need("embed", "patches", patches.len(), images * patches_of * width)?;
        need("embed", "out", out.len(), images * all * width)?;
        let isa = self.isa;
        self.pool.run_chunks(&mut out[..images * all * width], ROWS * width, |chunk, out, _| {
            for (r, out) in out.chunks_exact_mut(width).enumerate() {
                let (image, token) = ((chunk * ROWS + r) / all, (chunk * ROWS + r) % all);
                match token.checked_sub(tokens.prefix) {
                    None => out.copy_from_slice(&prefix[token * width..][..width]),
                    Some(patch) => {
                        let content = &patches[(image * patches_of + patch) * width..][..width];
                        for ((out, x), p) in out.iter_mut().zip(content).zip(&position[patch * width..]) {
                            *out = x + p;
                        }
                    }
                }
                if let Some(norm) = norm {
                    isa.run(NormaliseRow::of(out, norm));
                }
            }
        });
        Ok(())
    }
}
