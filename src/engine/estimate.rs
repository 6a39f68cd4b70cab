//! How many bytes a size takes: upper bounds, at most half above what is really taken for sizes that matter
//! (`tests/allocation.rs` measures both).
//!
//! `N` is the patches, `T` the tokens, `W` the width, `M` the MLP's width (times three where it is gated), `P` the side
//! of a patch, `E` the embedding's width and `L` the taps:
//!
//! - a pipeline: `4 (3 N P² + N W + T (5 W + M) + 4 W + E + L N W)` per image for the encoder and its features; `6 N
//!   P²` for
//!   resizing one picture; `4 N (L + 4)` per result, and the memory of its score; on the CPU, the scratch memory of
//!   threads and search ([`working_bytes`]); and a sixteenth of all that for small pieces;
//! - a pipeline of a ResNet: `4 (3 N P² + 2 X + 2 Y + levels)` per image, with the largest activations X of blocks and
//!   Y inside them, and the unfolded rows of a band;
//! - where several methods look at one encoding, `4 L N W` per image for the features of each that wants others, and
//!   the results of each;
//! - a pipeline in bf16 or int8: `2 max(T max(W, M), 3 N P²)` per image more, the rounded operand of a product;
//! - where windows of side `S` are wanted, `4 (C (P + S²) (5 W + M) + C (4 W + E))` for the `C` that are encoded at once,
//!   and `4 N E` per image for their embeddings;
//! - where unscaled tokens are wanted, `4 (T W + 2 W² + N)` per image for them and their covariance;
//! - a model: its encoder's weights in f32, each matrix padded to whole panels, and during loading its largest tensor
//!   in the file's type, as f32, and, where it has a scale, multiplied by that;
//! - a thread: its stack, and as much again for what the system keeps of it;
//! - a bank: what its method states per prompt;
//! - a frame that must be converted or masked: its copy.

use crate::backend::cpu::{Cpu, working_bytes};
use crate::encoder::{Wants, most_cells, resnet_len, windows_at_once};
use crate::image::PixelFormat;
use crate::weights::{Arch, Mlp, TensorSpec, Tower, table};

/// The stack of a thread and what the system keeps of it.
const THREAD: usize = 4 << 20;
/// Columns of a panel of the widest instruction set.
const PANEL: usize = 32;
/// Bytes of a score per cell: its residual, whether it is ignored, and a quarter of a region.
const CELL_OF_SCORE: usize = 5 + 16;

fn elements(spec: &TensorSpec) -> usize {
    spec.shape.iter().fold(1_usize, |count, extent| count.saturating_mul(*extent))
}

/// The longer side of a matrix or convolution, along which it may be padded; `None` for a vector.
fn longer_side(spec: &TensorSpec) -> Option<usize> {
    let &[rows, ref inner @ ..] = &spec.shape[..] else { return None };
    // Tokens and tables of positions may be stored with a leading extent of 1.
    (rows > 1 && !inner.is_empty())
        .then(|| rows.max(inner.iter().fold(1, |count: usize, extent| count.saturating_mul(*extent))))
}

/// Bytes of tensors in f32, padded to whole panels, plus `copies` of the largest of them.
fn loaded<'a>(specs: impl Iterator<Item = &'a TensorSpec>, copies: usize) -> usize {
    let (mut packed, mut largest) = (0_usize, 0);
    for spec in specs {
        let count = elements(spec);
        packed = packed.saturating_add(count).saturating_add(PANEL.saturating_mul(longer_side(spec).unwrap_or(0)));
        largest = largest.max(count);
    }
    packed.saturating_add(largest.saturating_mul(copies)).saturating_mul(4)
}

/// Bytes of a model's encoder on the CPU while it is loaded. The text tower is in memory only when a bank is begun.
pub fn model_bytes(arch: &Arch) -> usize {
    // The second matrix of an MLP is multiplied by its scale. Behind a gate it has half the size of the first.
    let scaled = match arch.family.vit() {
        Some(names) => names.block.scales.is_some() && arch.vision.mlp == Mlp::Gelu,
        // A convolution is multiplied while it is copied.
        None => false,
    };
    loaded(table(arch).iter().filter(|spec| spec.tower == Tower::Vision), if scaled { 3 } else { 2 })
}

/// Bytes of a model's encoder on a device that stores matrices with `operand` bytes per element and the rest in f32.
pub fn model_bytes_on_device(arch: &Arch, operand: usize) -> usize {
    let positions = arch.family.vit().map(|names| names.positions);
    let table = table(arch);
    let numbers = table.iter().filter(|spec| spec.tower == Tower::Vision).map(|spec| {
        let is_positions = positions.is_some_and(|name| name == spec.name);
        let matrix = longer_side(spec).is_some() && !is_positions;
        // The table of positions stays beside the positions of the model's own grid.
        let each = if is_positions {
            2 * 4
        } else if matrix {
            operand
        } else {
            4
        };
        elements(spec).saturating_mul(each)
    });
    numbers.fold(0, usize::saturating_add)
}

/// Bytes of `threads` threads.
pub(super) fn threads_bytes(threads: usize) -> usize {
    threads.saturating_mul(THREAD)
}

/// Bytes of host memory for `slots` results with `patches` cells and `taps` layers.
pub(super) fn results_bytes(taps: usize, patches: usize, slots: usize) -> usize {
    slots.saturating_mul(patches).saturating_mul(4 * (taps + 4) + CELL_OF_SCORE)
}

/// The sizes that determine a pipeline's memory.
#[derive(Clone, Copy)]
pub(super) struct PipelineSize<'a> {
    /// What the methods want from the encoder; at least one.
    pub wants: &'a [Wants],
    /// Patches of a view.
    pub patches: usize,
    /// Images of a batch.
    pub views: usize,
    /// Results of a batch, of all methods.
    pub slots: usize,
    /// Threads of the CPU that work for it.
    pub threads: usize,
}

/// Bytes of a pipeline on the CPU: encoder, search, results.
pub(super) fn pipeline_bytes(arch: &Arch, size: PipelineSize<'_>) -> usize {
    let PipelineSize { wants, patches, views, slots, threads } = size;
    let vision = &arch.vision;
    if vision.resnet.is_some() {
        return resnet_bytes(arch, size);
    }
    let (all, width): (usize, usize) = (wants.iter().map(|wants| wants.taps.len()).sum(), vision.width);
    let taps = wants.iter().map(|wants| wants.taps.len()).max().unwrap_or(0);
    let (tokens, patch) = (vision.prefix() + patches, 3 * vision.patch_size.pow(2));
    let mlp = match vision.mlp {
        Mlp::Gelu => vision.mlp_width,
        Mlp::SwiGlu => 3 * vision.mlp_width,
    };
    let classes = wants.iter().filter(|wants| wants.class).count();
    let class = 4 * width * classes.min(1) + classes * arch.embed_dim;
    let whole = wants.iter().filter(|wants| wants.tokens).count();
    let unscaled = whole * (tokens * width + 2 * width * width + patches);
    let encoder = patches * (patch + width + all * width) + tokens * (5 * width + mlp) + class + unscaled;
    let buffers = views.saturating_mul(4 * encoder).saturating_add(results_bytes(taps, patches, slots));
    let picture = 2 * patch * patches;
    let rows = views.saturating_mul(patches);
    let windowed = wants.iter().any(|wants| !wants.windows.is_empty());
    let searched = if windowed { width.max(arch.embed_dim) } else { width };
    let working = working_bytes(tokens, width / vision.heads.max(1), [taps, rows, searched], threads);
    let windows = windows_bytes(arch, wants, rows, 5 * width + mlp);
    let large = buffers.saturating_add(picture).saturating_add(working).saturating_add(windows);
    // Plans, lists and tables.
    large.saturating_add(large / 16)
}

/// Bytes of a pipeline of a ResNet on the CPU: its activations, the levels that are wanted, results.
fn resnet_bytes(arch: &Arch, size: PipelineSize<'_>) -> usize {
    let PipelineSize { wants, patches, views, slots, threads } = size;
    let (vision, resnet) = (&arch.vision, arch.vision.resnet.unwrap_or_default());
    let cell = wants.first().map_or(vision.patch_size, |wants| vision.cell(&wants.taps));
    let each = wants.iter().map(|wants| resnet_len::<Cpu>(vision, &resnet, wants, [views, patches]));
    let [outer, inner, unfolded] = each.fold([0; 3], |most, own| std::array::from_fn(|i| most[i].max(own[i])));
    let level = |&stage: &usize| most_cells(vision, stage, patches, cell).saturating_mul(resnet.widths[stage - 1]);
    let levels = wants.iter().flat_map(|wants| &wants.taps).map(level).fold(0, usize::saturating_add);
    let class = wants.iter().filter(|wants| wants.class).count() * arch.embed_dim;
    let pixels = patches.saturating_mul(3 * cell * cell);
    let image = pixels.saturating_add(2 * outer + 2 * inner).saturating_add(levels).saturating_add(class);
    let working = working_bytes(1, 1, [0, 0, 1], threads);
    let large = views.saturating_mul(4 * image).saturating_add(4 * unfolded).saturating_add(2 * pixels);
    let large = large.saturating_add(working).saturating_add(results_bytes(0, patches, slots));
    large.saturating_add(large / 16)
}

/// Bytes for the windows of images of `rows` patches in total, and their embeddings; `each` is the numbers of a token.
fn windows_bytes(arch: &Arch, wants: &[Wants], rows: usize, each: usize) -> usize {
    let (mut most, mut tokens, mut embeddings) = (0, 0, 0_usize);
    for side in wants.iter().flat_map(|wants| &wants.windows) {
        let window = arch.vision.prefix() + side * side;
        let count = windows_at_once(window, rows);
        (most, tokens) = (most.max(count), tokens.max(count * window));
        embeddings = embeddings.saturating_add((rows + rows.div_ceil(count)).saturating_mul(arch.embed_dim));
    }
    let numbers = tokens * each + most * (4 * arch.vision.width + arch.embed_dim);
    numbers.saturating_add(embeddings).saturating_mul(4)
}

/// Bytes of a pipeline's copy of a product's left operand, where products round it: that of its largest product.
pub(super) fn rounded_bytes(arch: &Arch, wants: &Wants, patches: usize, views: usize) -> usize {
    let vision = &arch.vision;
    if let Some(resnet) = &vision.resnet {
        // The rows of a band, or those of a product without any.
        let [outer, inner, unfolded] = resnet_len::<Cpu>(vision, resnet, wants, [views, patches]);
        return (2 * unfolded).max(views.saturating_mul(2 * outer.max(inner)));
    }
    let widest = vision.width.max(vision.mlp_width);
    let tokens = (vision.prefix() + patches) * widest;
    let images = views.saturating_mul(2 * tokens.max(3 * patches * vision.patch_size.pow(2)));
    let window = |side: &usize| {
        let tokens = vision.prefix() + side * side;
        2 * tokens * windows_at_once(tokens, views.saturating_mul(patches)) * widest
    };
    images.max(wants.windows.iter().map(window).max().unwrap_or(0))
}

/// Bytes of the converted copy of a frame.
pub(super) fn conversion_bytes(width: usize, height: usize, format: PixelFormat) -> usize {
    // A colour filter array of more than 8 bits is reduced to bytes first, beside the colours that are made from them.
    let array = usize::from(format.channels() == 3 && format.depth() > 8);
    width.saturating_mul(height).saturating_mul(format.channels() + array)
}
