//! Launches `kernels/attention.cu`: `softmax(Q Kᵀ / sqrt(d)) V` for every head of every image.

use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::{Cuda, equal_lengths};
use crate::backend::{AttentionShape, Sequences};
use crate::error::{Error, ErrorKind, Result};

/// The one head size of the kernels, CLIP's.
pub(super) const HEAD_SIZE: usize = 64;
/// Halves between rows of a tile in shared memory: the head, and eight that keep rows in different banks.
const ROW: usize = HEAD_SIZE + 8;
/// Queries of a block.
const QUERIES: usize = 64;
/// Keys of a tile of the online variant, of which two are in flight, and queries of its block.
const ONLINE_KEYS: usize = 64;
/// Queries of a block of the f32 kernel, one for each warp.
const SINGLE_QUERIES: usize = 8;

impl Cuda {
    pub(super) fn launch_attention(
        &mut self,
        qkv: &Buffer,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        causal: bool,
        out: &mut Buffer,
    ) -> Result<()> {
        check_size(shape)?;
        if causal {
            return Err(Error::new(ErrorKind::Internal, "attention: causal towers run on the processor"));
        }
        let (tokens, rows, width) = (equal_lengths("attention", sequences)?, sequences.rows(), shape.width());
        let storage = self.operand();
        let input = qkv.pointer("attention", "qkv", storage, rows * 3 * width)?;
        let output = out.pointer("attention", "out", storage, rows * width)?;
        let kernels = &self.shared.kernels;
        let halves = 2 * ROW;
        let (kernel, queries, threads, shared) = if storage != Storage::F16 {
            (kernels.attention_f32, SINGLE_QUERIES, 256, single_shared(tokens))
        } else {
            let instances = [
                (64, kernels.attention_f16_64),
                (208, kernels.attention_f16_208),
                (240, kernels.attention_f16_240),
                (272, kernels.attention_f16_272),
            ];
            match instances.into_iter().find(|(keys, _)| tokens <= *keys) {
                Some((keys, kernel)) => (kernel, QUERIES, 128, (2 * keys + QUERIES) * halves),
                None => (kernels.attention_online_f16, QUERIES, 128, (4 * ONLINE_KEYS + QUERIES) * halves),
            }
        };
        let grid = Grid { blocks: [tokens.div_ceil(queries), shape.heads, sequences.count()], threads, shared };
        self.shared.bind()?;
        launch!(self, kernel, grid, input, int(tokens)?, int(shape.heads)?, scale(shape), output)
    }
}

/// Shared memory of the f32 kernel: a query and a row of scores for each warp.
fn single_shared(tokens: usize) -> usize {
    SINGLE_QUERIES * (HEAD_SIZE + tokens.next_multiple_of(32)) * 4
}

pub(super) fn scale(shape: AttentionShape) -> f32 {
    1.0 / (shape.size as f32).sqrt()
}

pub(super) fn check_size(shape: AttentionShape) -> Result<()> {
    if shape.size == HEAD_SIZE {
        return Ok(());
    }
    let message = format!("attention: heads of {}, the GPU's kernels have heads of {HEAD_SIZE}", shape.size);
    Err(Error::new(ErrorKind::Internal, message))
}
