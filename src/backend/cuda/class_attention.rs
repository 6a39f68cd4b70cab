//! Launches `kernels/class_attention.cu`: attention of one query per image.

use super::attention::{HEAD_SIZE, check_size, scale};
use super::buffer::Buffer;
use super::launch::{Grid, int, launch};
use super::{Cuda, equal_lengths};
use crate::backend::{AttentionShape, Sequences};
use crate::error::Result;

/// Threads of a block: four warps.
const THREADS: u32 = 128;
const WARPS: usize = 4;

impl Cuda {
    pub(super) fn launch_class_attention(
        &mut self,
        q: &Buffer,
        kv: &Buffer,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        out: &mut Buffer,
    ) -> Result<()> {
        check_size(shape)?;
        let (tokens, images, width) = (equal_lengths("class_attention", sequences)?, sequences.count(), shape.width());
        let storage = self.operand();
        let shared = class_attention_shared(tokens);
        let grid = Grid { blocks: [shape.heads, images, 1], threads: THREADS, shared };
        let kernels = &self.shared.kernels;
        self.shared.bind()?;
        launch!(
            self,
            kernels.class_attention.of(storage)?,
            grid,
            q.pointer("class_attention", "q", storage, images * width)?,
            kv.pointer("class_attention", "kv", storage, sequences.rows() * 2 * width)?,
            int(tokens)?,
            int(shape.heads)?,
            scale(shape),
            out.pointer("class_attention", "out", storage, images * width)?,
        )
    }
}

/// Floats: a score a token, the query, a partial output a warp, and the warps' reductions.
fn class_attention_shared(tokens: usize) -> usize {
    (tokens.next_multiple_of(32) + HEAD_SIZE + WARPS * HEAD_SIZE + 2 * WARPS) * 4
}
