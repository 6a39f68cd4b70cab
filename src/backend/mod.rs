//! Devices: the coarse operations that encoders and methods need, and the hardware that runs them.
//!
//! The forward pass is written once, in [`crate::encoder`] and [`crate::methods`], over the trait [`Backend`]; nothing
//! above this folder depends on how a device divides the work. Every backend keeps these invariants:
//!
//! - **Rows are independent.** Each output element is a sum in one fixed order over its own inputs, so a score does not
//!   depend on the batch, the position in it, or the number of threads, to the last bit.
//! - **Operations allocate nothing.** Outputs are `&mut` arguments that the caller allocated once, at load.
//! - All matrices are row-major; a linear layer is `y = x Wᵀ + b` with `W` as `[out, in]`.
//!
//! `docs/architecture.md` lists the files of a new operation.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::image::{AnyFrame, DeviceFrame};
use crate::tensor::TensorView;
use crate::view::View;

mod bank;
mod checks;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod levels;
mod maps;
mod precision;
mod tokens;

pub use bank::{BankRole, BankTensor, MAX_BANK_TENSORS, MAX_BANKS, Search};
pub(crate) use checks::{need, need_views, no_device_memory};
pub use levels::{Convolution, LevelOps, Resample, Then};
pub(crate) use levels::{adaptive_bin, halved};
pub use maps::{Enlarge, Largest, Subspace};
pub use precision::{Precision, Role};
pub use tokens::{AttentionShape, ImageTokens, PoolToken, Sequences, Windows};

/// The activation of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x Φ(x)` with the normal distribution function Φ (the erf form, not the tanh approximation).
    Exact,
    /// `x σ(1.702 x)`, OpenAI's approximation, for weights that were trained with it.
    Quick,
}

/// A device with one queue of operations. Queues share weights but not activations.
///
/// Shapes use these letters: `B` images in the batch, `T` token rows, `W` width, `P` prefix tokens and `N` patches of
/// an image, `L` layers, `R` rows of a bank, `E` joint embedding. Buffers may be longer than an operation needs; it
/// uses their beginning.
pub trait Backend: Send + Sized + 'static {
    /// Row-major activations on the device.
    type Buffer: Send + Sync;
    /// A read-only vector or matrix: layer-norm parameters, embeddings.
    type Constant: Send + Sync;
    /// A linear layer in the device's fastest layout.
    type Linear: Send + Sync;
    /// The tensors of a bank.
    type Bank: Send + Sync + 'static;
    /// Sequences of operations recorded by [`Backend::replay`].
    type Recordings: Default + Send;

    /// The kind of device, in one word.
    const KIND: &str;

    /// Whether buffers are in host memory.
    const IN_HOST_MEMORY: bool;

    /// Threads of the host that work for a queue, each with memory of its own.
    fn threads(&self) -> usize {
        1
    }

    /// Another queue on the same device, which can use the same weights and banks.
    fn fork(&self) -> Result<Self>;

    /// A description in one line: device, instruction set, threads.
    fn describe(&self) -> String;

    /// The precision of the arithmetic. It decides how each role is stored.
    fn precision(&self) -> Precision;

    /// A zeroed buffer of `len` elements.
    fn buffer(&self, role: Role, len: usize) -> Result<Self::Buffer>;

    /// Copies host numbers to the beginning of a buffer.
    fn upload(&mut self, host: &[f32], out: &mut Self::Buffer) -> Result<()>;

    /// Copies the beginning of a buffer to the host, after all operations that write to it.
    fn download(&mut self, buffer: &Self::Buffer, out: &mut [f32]) -> Result<()>;

    /// Waits for all operations of this queue.
    fn wait(&mut self) -> Result<()>;

    /// A stored tensor without changes.
    fn constant(&mut self, tensor: &TensorView<'_>) -> Result<Self::Constant>;

    /// The rows `rows` of a stored `[out, in]` weight and of its bias, as a linear layer.
    fn linear_weights(
        &mut self,
        weight: &TensorView<'_>,
        rows: Range<usize>,
        bias: Option<&TensorView<'_>>,
    ) -> Result<Self::Linear>;

    /// [`Backend::linear_weights`] of a layer that every token passes through, in a block of many: most of the work,
    /// and errors that are independent of each other. A device may store it in fewer bits ([`Role::TokenWeight`]).
    /// `gains` are those of the layer norm whose result the layer reads, if it does: they tell how large each input is
    /// beside the others.
    fn token_weights(
        &mut self,
        weight: &TensorView<'_>,
        rows: Range<usize>,
        bias: Option<&TensorView<'_>>,
        gains: Option<&[f32]>,
    ) -> Result<Self::Linear> {
        let _ = gains;
        self.linear_weights(weight, rows, bias)
    }

    /// A stored `[in, out]` matrix (CLIP's projections) as a linear layer without bias.
    fn projection_weights(&mut self, weight: &TensorView<'_>) -> Result<Self::Linear>;

    /// A bank of at most [`MAX_BANK_TENSORS`] tensors.
    fn bank(&mut self, tensors: &[BankTensor<'_>]) -> Result<Self::Bank>;

    /// Runs `work`. In all calls with the same `recordings`, `layout` and number of banks (at most [`MAX_BANKS`]), it
    /// must run the same operations on the same buffers and weights. A device may record them in the first call and
    /// replay the recording later, with the banks of the later call.
    fn replay(
        &mut self,
        recordings: &mut Self::Recordings,
        layout: &[usize],
        banks: &[&Self::Bank],
        work: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()>;

    /// 8-bit frame → the rows of the patch convolution of each of its views: resized, cropped or padded as its plan
    /// says, normalised, cut into patches of `patch` x `patch`. View `i` becomes rows `(first + i) * N ..` of
    /// `patches`, `[B * N, 3 * patch * patch]` in (channel, y, x) order; all views have N patches, and none is turned.
    ///
    /// The pixels that the views need are copied once to memory that the device reads, if they are not there. Then
    /// `uploaded` is called with whether a copy was necessary. A frame in device memory must stay valid until the next
    /// wait for this queue.
    fn preprocess<'a>(
        &mut self,
        frame: impl Into<AnyFrame<'a>>,
        views: &[View],
        patch: usize,
        first: usize,
        patches: &mut Self::Buffer,
        uploaded: impl FnOnce(&mut Self, bool) -> Result<()>,
    ) -> Result<()>;

    /// Copies the [`DeviceFrame::bytes`] of a frame in device memory to the beginning of `out`, which grows if
    /// necessary.
    fn copy_to_host(&mut self, frame: &DeviceFrame, _out: &mut Vec<u8>) -> Result<()> {
        Err(no_device_memory(frame))
    }

    /// `out = x Wᵀ + b` over `rows` rows.
    fn linear(&mut self, x: &Self::Buffer, rows: usize, w: &Self::Linear, out: &mut Self::Buffer) -> Result<()>;

    /// `out += x Wᵀ + b`: the residual connection.
    fn linear_add(&mut self, x: &Self::Buffer, rows: usize, w: &Self::Linear, out: &mut Self::Buffer) -> Result<()>;

    /// `x = gelu(x)` over the first `len` elements.
    fn gelu(&mut self, kind: Gelu, len: usize, x: &mut Self::Buffer) -> Result<()>;

    /// `out = gelu(x Wᵀ + b)`. `columns` is the number of outputs of `w`.
    fn linear_gelu(
        &mut self,
        x: &Self::Buffer,
        rows: usize,
        w: &Self::Linear,
        columns: usize,
        kind: Gelu,
        out: &mut Self::Buffer,
    ) -> Result<()> {
        self.linear(x, rows, w, out)?;
        self.gelu(kind, rows * columns, out)
    }

    /// `out = silu(a) b`, where `a` and `b` are the halves of each row of `x`, `[rows, 2 width]`, and `silu(a) = a
    /// σ(a)`; `out` is `[rows, width]`. The gate of a SwiGLU MLP (Shazeer 2020).
    fn swiglu(&mut self, x: &Self::Buffer, rows: usize, width: usize, out: &mut Self::Buffer) -> Result<()>;

    /// Token rows of an image: the prefix, then the patches plus position, then layer norm if the embedding has one.
    /// `patches` is `[B * N, W]`, `out` `[B * (P + N), W]`.
    fn embed(
        &mut self,
        patches: &Self::Buffer,
        images: usize,
        embedding: &Embedding<Self>,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// [`Backend::embed`], then [`Backend::layer_norm`] of its output by `next` into `normalised`.
    fn embed_norm(
        &mut self,
        patches: &Self::Buffer,
        images: usize,
        embedding: &Embedding<Self>,
        out: &mut Self::Buffer,
        next: &Norm<Self>,
        normalised: &mut Self::Buffer,
    ) -> Result<()> {
        self.embed(patches, images, embedding, out)?;
        self.layer_norm(out, images * embedding.tokens.count(), next, normalised)
    }

    /// `out = (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias` for each row of `[rows, W]`. `out` is an operand,
    /// or a stream if it is a result.
    fn layer_norm(&mut self, x: &Self::Buffer, rows: usize, norm: &Norm<Self>, out: &mut Self::Buffer) -> Result<()>;

    /// `softmax(Q Kᵀ / sqrt(d)) V` per head within each sequence; `qkv` is `[T, 3W]` (Q, K, V side by side), `out` `[T,
    /// W]`. `causal` hides the tokens that follow the query.
    fn attention(
        &mut self,
        qkv: &Self::Buffer,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        causal: bool,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// The same with one query per sequence, which attends to the whole sequence: `q` is `[S, W]`, `kv` `[T, 2W]`,
    /// `out` `[S, W]`.
    fn class_attention(
        &mut self,
        q: &Self::Buffer,
        kv: &Self::Buffer,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// `out[s] = x[pool(s)]`: the row that represents each sequence, `[S, W]`.
    fn pool_rows(
        &mut self,
        x: &Self::Buffer,
        sequences: Sequences<'_>,
        width: usize,
        pool: PoolToken,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// The tokens of windows: `x` is `[B * (P + N), W]`, `out` `[windows * (P + S²), W]`, with the prefix of its image
    /// and then its patches, row by row, for each window.
    fn window_tokens(&mut self, x: &Self::Buffer, at: &Windows, width: usize, out: &mut Self::Buffer) -> Result<()>;

    /// The patch tokens of a tap, after `norm` if there is one, scaled to unit length (zero stays zero). `x` is `[B *
    /// (P + N), W]`; prefix tokens are dropped. Writes `[B, N, W]` at `out[tap * B * N * W ..]`.
    #[expect(clippy::too_many_arguments, reason = "shapes and two tensors")]
    fn unit_patches(
        &mut self,
        x: &Self::Buffer,
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Self>>,
        tap: usize,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// As [`Backend::unit_patches`], but without scaling to unit length: `out` is a stream, `[L, B, N, W]`.
    #[expect(clippy::too_many_arguments, reason = "shapes and two tensors")]
    fn plain_patches(
        &mut self,
        x: &Self::Buffer,
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Self>>,
        tap: usize,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// Concatenates the rows of all layers, times `scale`: `x` is `[L, rows, W]`, given by `shape`, and `out` is
    /// `[rows, L W]`; both are operands. With a scale of `1 / sqrt(L)`, unit rows of `L` layers give unit rows again.
    fn join_layers(&mut self, x: &Self::Buffer, shape: [usize; 3], scale: f32, out: &mut Self::Buffer) -> Result<()>;

    /// [`Backend::layer_norm`] of all token rows of `images` images into `normalised`, and [`Backend::unit_patches`] of
    /// the same rows into `taps`: for the norm after a tapped block.
    #[expect(clippy::too_many_arguments, reason = "the two operations' arguments")]
    fn layer_norm_unit_patches(
        &mut self,
        x: &Self::Buffer,
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: &Norm<Self>,
        normalised: &mut Self::Buffer,
        tap: usize,
        taps: &mut Self::Buffer,
    ) -> Result<()> {
        self.layer_norm(x, images * tokens.count(), norm, normalised)?;
        self.unit_patches(x, images, tokens, width, None, tap, taps)
    }

    /// The largest cosine between each query row and the rows of the bank's tensor in the same layer. The queries are
    /// unit rows `[L, query_pitch, W]`, the bank's are `[L, R, W]`, and `out` is `[L, out_pitch]`. No similarity matrix
    /// is stored.
    fn patch_nn(
        &mut self,
        queries: &Self::Buffer,
        at: &Search,
        bank: &Self::Bank,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// The Euclidean distance between each query row and its nearest row by [`Backend::patch_nn`], computed from
    /// differences, so that equal rows have distance 0: `map[at.first_out + i] = valid * mean over L of scale |query -
    /// row|`. `found` is a buffer of [`Role::Nearest`], `[L, out_pitch]`, which receives the rows that were found, in
    /// the device's format; among equally near rows, the first. `valid` and `map` are `[out_pitch]`, `valid` as in
    /// [`Backend::residual_mean`]; without it every query counts.
    #[expect(clippy::too_many_arguments, reason = "those of a search, and of what is made of it")]
    fn nearest_distance(
        &mut self,
        queries: &Self::Buffer,
        at: &Search,
        bank: &Self::Bank,
        found: &mut Self::Buffer,
        scale: f32,
        valid: Option<&Self::Buffer>,
        map: &mut Self::Buffer,
    ) -> Result<()>;

    /// Mean over layers of the cosine distance: `map = valid * mean over L of scale (1 - cosine)`, `[cells]`, from
    /// cosines `[L, cells]`. `valid`, `[cells]`, is 1, or 0 for an ignored cell.
    fn residual_mean(
        &mut self,
        cosines: &Self::Buffer,
        taps: usize,
        cells: usize,
        scale: f32,
        valid: &Self::Buffer,
        map: &mut Self::Buffer,
    ) -> Result<()>;

    /// The distance of patch tokens from a subspace: `d = x - mean`, `z = directions d`, `rest = d - directionsᵀ z`;
    /// `map[at.first_out + i] = valid * (outside |rest|² + Σ weights z²)`, or its root. The residual is computed
    /// explicitly, because a difference of squares cancels. `tokens` are those of [`Backend::plain_patches`], `[L,
    /// query_pitch, W]`, `shape` is L, the cells N of an image, and W; the bank has orthonormal directions `[P, M, D]`,
    /// or zeros, at `at.tensor`.
    #[expect(clippy::too_many_arguments, reason = "where from, by what, and where to")]
    fn subspace_distance(
        &mut self,
        tokens: &Self::Buffer,
        shape: [usize; 3],
        at: &Search,
        by: &Subspace,
        bank: &Self::Bank,
        valid: &Self::Buffer,
        map: &mut Self::Buffer,
    ) -> Result<()>;

    /// Enlarges a map of cells to the size of the image: bilinear between the centres of the cells, clamped at the
    /// edges, then blurred along both axes with the weights `blur`, an odd number of them. `map` and `valid` are
    /// `[maps, rows cols]`, `out` and `out_valid` `[pixels]`, the latter the `valid` of each pixel's cell; `columns`
    /// is memory for `rows patch cols` elements.
    #[expect(clippy::too_many_arguments, reason = "two maps, two images, and what is between them")]
    fn enlarge(
        &mut self,
        map: &Self::Buffer,
        valid: &Self::Buffer,
        at: &Enlarge,
        blur: &Self::Constant,
        columns: &mut Self::Buffer,
        out: &mut Self::Buffer,
        out_valid: &mut Self::Buffer,
    ) -> Result<()>;

    /// The mean of the largest valid cells of each map, `max(1, floor(valid cells / one_in))` of them, or 0 if none
    /// is valid, and NaN if a cell of the map is NaN. `map` and `valid` are `[maps, cells]`, `valid` as in
    /// [`Backend::residual_mean`].
    fn mean_of_largest(
        &mut self,
        map: &Self::Buffer,
        valid: &Self::Buffer,
        at: &Largest,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// Elements of the memory in which [`LevelOps::convolve`] unfolds neighbourhoods: for `images` images of `cells` output
    /// cells that are made of `inputs` numbers each. It is bounded, whatever the batch.
    fn unfolded_len(inputs: usize, images: usize, cells: usize) -> usize;

    /// The operations of convolutional encoders.
    fn levels(&mut self) -> &mut dyn LevelOps<Self::Buffer, Self::Linear, Self::Bank>;
}

/// Layer-norm parameters, `[W]` each.
pub struct Norm<B: Backend> {
    /// Scale.
    pub weight: B::Constant,
    /// Offset.
    pub bias: B::Constant,
    /// Added to the variance.
    pub epsilon: f32,
}

/// Turns patches into the tokens of an image with one grid. Parts that do not depend on the grid are shared.
pub struct Embedding<B: Backend> {
    /// The prefix tokens with their positions, `[P, W]`.
    pub prefix: Arc<B::Constant>,
    /// Position of each patch, `[N, W]`.
    pub position: B::Constant,
    /// The norm before the first block, if there is one.
    pub norm: Option<Arc<Norm<B>>>,
    /// The number of each.
    pub tokens: ImageTokens,
}
