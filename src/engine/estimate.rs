//! How many bytes a size takes on the CPU: upper bounds, within a third of what is really taken for sizes that matter.
//!
//! `C` is the capacity, `N` the patches, `T` the tokens, `W` the width, `M` the MLP's width (times three where it is
//! gated), `P` the side of a patch, `E` the embedding's width, `L` the taps and `t` the threads:
//!
//! - a lane: `4 C (3 N P² + N W + T (5 W + M) + 4 W + 2 E + L N W)` for the encoder and its taps, `C (4 L N W + 12 L N
//!   + 32 N)` for the search, the map and the results, `48 KiB` for each of the search's `24 t + L (C N / 240 + 1)`
//!   parts, and `t` threads;
//! - a lane in bf16: `2 C max(T max(W, M), 3 N P²)` more, the rounded operand of a product;
//! - where unscaled tokens are wanted, `4 C (T W + 2 W² + N)` for them and for a method's covariance of them;
//! - a model: its encoder's weights in f32, each matrix with 64 more rows or columns of padding, and during loading its
//!   largest tensor twice, in the file's type and as f32;
//! - a thread: 2 MiB of stack and 2 MiB of scratch;
//! - a bank: what its method states per prompt;
//! - a frame that must be converted or masked: its copy.

use crate::encoder::Wants;
use crate::image::PixelFormat;
use crate::weights::{Arch, Mlp, Tower, table};

/// The stack of a thread and its working memory.
const THREAD: usize = 4 << 20;
/// Candidates and results of one part of the search.
const PART: usize = 48 << 10;
/// Query rows of such a part.
const PART_ROWS: usize = 240;

/// Columns of two panels of the widest instruction set.
const PADDING: usize = 64;

/// Bytes of a model's encoder while it is loaded. The text tower is in memory only when a bank is begun.
pub(super) fn model_bytes(arch: &Arch) -> usize {
    let (mut packed, mut largest) = (0_usize, 0);
    for spec in table(arch).iter().filter(|spec| spec.tower == Tower::Vision) {
        let count = spec.shape.iter().fold(1_usize, |count, extent| count.saturating_mul(*extent));
        packed = packed.saturating_add(count);
        if let [first, _, ..] = spec.shape[..] {
            packed = packed.saturating_add(PADDING * first.max(count / first.max(1)));
        }
        largest = largest.max(count);
    }
    packed.saturating_add(2 * largest).saturating_mul(4)
}

/// Bytes of `threads` threads.
pub(super) fn threads_bytes(threads: usize) -> usize {
    threads.saturating_mul(THREAD)
}

/// Bytes of one lane for `capacity` images of `patches` patches of which `wants` is read: encoder, search, results, threads.
pub(super) fn lane_bytes(arch: &Arch, wants: &Wants, patches: usize, capacity: usize, threads: usize) -> usize {
    let (vision, taps) = (&arch.vision, wants.taps.len());
    let (tokens, width, rows) = (vision.prefix() + patches, vision.width, taps * patches);
    let mlp = match vision.mlp {
        Mlp::Gelu => vision.mlp_width,
        Mlp::SwiGlu => 3 * vision.mlp_width,
    };
    let encoder = 3 * patches * vision.patch_size.pow(2)
        + patches * width
        + tokens * (5 * width + mlp)
        + 4 * width
        + 2 * arch.embed_dim
        + rows * width
        + if wants.tokens { tokens * width + 2 * width * width + patches } else { 0 };
    let search = 4 * rows * width + 12 * rows + 32 * patches;
    let parts = 24 * threads + taps * (capacity.saturating_mul(patches) / PART_ROWS + 1);
    capacity.saturating_mul(4 * encoder + search).saturating_add(parts * PART).saturating_add(threads_bytes(threads))
}

/// Bytes of a lane's copy of a product's left operand, where products round it: that of its largest product.
pub(super) fn rounded_bytes(arch: &Arch, patches: usize, capacity: usize) -> usize {
    let vision = &arch.vision;
    let tokens = (vision.prefix() + patches) * vision.width.max(vision.mlp_width);
    capacity.saturating_mul(2 * tokens.max(3 * patches * vision.patch_size.pow(2)))
}

/// Bytes of the converted copy of a frame.
pub(super) fn conversion_bytes(width: usize, height: usize, format: PixelFormat) -> usize {
    // A colour filter array of more than 8 bits is reduced to bytes first, beside the colours that are made from them.
    let array = usize::from(format.channels() == 3 && format.depth() > 8);
    width.saturating_mul(height).saturating_mul(format.channels() + array)
}
