//! Devices: the dozen coarse operations that encoders and methods need, and the machines that run them.
//!
//! The forward pass is written once, in [`crate::encoder`] and [`crate::methods`], over the trait [`Backend`]; nothing above
//! this folder knows how work is spread over a device. Invariants that every backend keeps:
//!
//! - **Rows are independent.** Each output element is a sum in one fixed order over its own inputs, so the
//!   bits of a score depend neither on the batch, nor on the place in it, nor on the number of threads.
//! - **Operations allocate nothing.** Outputs are `&mut` arguments that the caller took once, at load.
//! - All matrices are row-major; a linear layer is `y = x Wᵀ + b` with `W` as `[out, in]`.
//!
//! `docs/architecture.md` lists the files of a new operation.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DeviceFrame};
use crate::tensor::{DType, TensorView};
use crate::view::Plan;

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;

/// The activation of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x Φ(x)`, Φ the normal distribution function (the erf form, never the tanh approximation).
    Exact,
    /// `x σ(1.702 x)`, OpenAI's approximation, which weights trained with it need.
    Quick,
}

/// Sequences laid end to end in one matrix of token rows: `ends[s]` is the row after the last token of sequence `s`.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// Strictly increasing row indices.
    pub ends: &'a [usize],
}

impl Sequences<'_> {
    /// Number of sequences.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Number of token rows of all sequences together.
    pub fn rows(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The error of an operation whose sequences share rows or have none: a bug above the backend.
    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        if self.ends.first() != Some(&0) && self.ends.is_sorted_by(|a, b| a < b) {
            return Ok(());
        }
        let message = format!("{op}: the ends of the sequences must be positive and strictly increasing");
        Err(Error::new(ErrorKind::Internal, message).in_operation(op))
    }

    /// Token rows of sequence `s`.
    pub fn range(&self, s: usize) -> Range<usize> {
        let start = if s == 0 { 0 } else { self.ends[s - 1] };
        start..self.ends[s]
    }
}

/// The tokens of an image: prefix tokens (a class token, registers), then its patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageTokens {
    /// Tokens before the patches, P.
    pub prefix: usize,
    /// Patches, N.
    pub patches: usize,
}

impl ImageTokens {
    /// All tokens of an image.
    pub fn count(self) -> usize {
        self.prefix + self.patches
    }
}

/// Which token of a sequence stands for the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The class token of an image, row 0.
    First,
    /// The end-of-text token of a text, the last row.
    Last,
}

impl Pool {
    /// The pooled row of the sequence that occupies `rows`.
    pub fn row(self, rows: Range<usize>) -> usize {
        match self {
            Pool::First => rows.start,
            Pool::Last => rows.end - 1,
        }
    }
}

/// How a device keeps a tensor of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BankRole {
    /// Unit rows that [`Backend::patch_nn`] searches, in [`Backend::precision`].
    Rows,
    /// Numbers that a method's own operations read, in f32.
    Numbers,
}

/// A tensor of a bank on its way to a device. Operations name it by its place in the list given to [`Backend::bank`].
#[derive(Clone, Copy, Debug)]
pub struct BankTensor<'a> {
    /// The elements, row-major. A device that computes on the host keeps them where they are.
    pub values: &'a Arc<[f32]>,
    /// Layers, rows of a layer, width.
    pub shape: [usize; 3],
    /// How it is kept.
    pub role: BankRole,
}

/// Most tensors of a bank on a device.
pub const MAX_BANK_TENSORS: usize = 4;

/// Most banks of one batch.
pub const MAX_BANKS: usize = 32;

/// Which rows [`Backend::patch_nn`] searches for, in what, and where it leaves what it found.
#[derive(Clone, Debug)]
pub struct Search {
    /// Rows of a layer of the queries, `[L, query_pitch, W]`.
    pub query_pitch: usize,
    /// Those that are searched for, the same in every layer.
    pub queries: Range<usize>,
    /// The bank's tensor of unit rows, `[L, R, W]`.
    pub tensor: usize,
    /// Elements of a layer of the output, `[L, out_pitch]`.
    pub out_pitch: usize,
    /// Where in each layer the first query's result goes.
    pub first_out: usize,
}

impl Search {
    /// A search of all `rows` rows of every layer in the bank's tensor `tensor`.
    pub fn all(rows: usize, tensor: usize) -> Self {
        Search { query_pitch: rows, queries: 0..rows, tensor, out_pitch: rows, first_out: 0 }
    }

    /// Rows that the queries must have in `layers` layers.
    pub(crate) fn query_len(&self, layers: usize) -> usize {
        layers.saturating_sub(1) * self.query_pitch + self.queries.end
    }

    /// Elements that the output must have in `layers` layers.
    pub(crate) fn out_len(&self, layers: usize) -> usize {
        layers.saturating_sub(1) * self.out_pitch + self.first_out + self.queries.len()
    }
}

/// Which cells [`Backend::mean_of_largest`] takes the mean of, and where it leaves it.
#[derive(Clone, Copy, Debug)]
pub struct Largest {
    /// Number of maps.
    pub maps: usize,
    /// Cells of a map.
    pub cells: usize,
    /// One of so many judged cells counts, not less than one of a map: 100 is the largest hundredth.
    pub one_in: usize,
    /// Numbers of a map in the output, `[maps, out_pitch]`.
    pub out_pitch: usize,
    /// Which of them is written.
    pub column: usize,
}

impl Largest {
    /// How many cells count where `judged` are judged.
    pub(crate) fn count(&self, judged: usize) -> usize {
        (judged / self.one_in.max(1)).max(1)
    }

    /// An error where a buffer is too short for it.
    pub(crate) fn check(&self, map: usize, judged: usize, out: usize) -> Result<()> {
        need("mean_of_largest", "map", map, self.maps * self.cells)?;
        need("mean_of_largest", "judged", judged, self.maps * self.cells)?;
        need("mean_of_largest", "out_pitch", self.out_pitch, self.column + 1)?;
        need("mean_of_largest", "out", out, self.maps * self.out_pitch)
    }
}

/// What a buffer holds, which tells a device how to store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sums that many operations add to, and whatever needs all of f32: residual stream, class embeddings, maps.
    Stream,
    /// What products read: normalised activations, queries, keys and values, unit taps. In [`Backend::precision`].
    Operand,
    /// Nearest neighbours, the output of [`Backend::patch_nn`]; a device may keep more than the cosine.
    Nearest,
    /// What the host reads after every batch.
    Result,
}

/// A device with one lane of execution. Weights are shared between lanes, activations never.
///
/// `B`, `T`, `W`, `P`, `N`, `L`, `R`, `E` stand for images in the batch, token rows, width, prefix tokens and patches of an
/// image, layers, rows of a bank and the joint embedding. Buffers may be longer than the operation needs; it uses their beginning.
pub trait Backend: Send + Sized + 'static {
    /// Row-major activations on the device.
    type Buffer: Send + Sync;
    /// A read-only vector or matrix: layer-norm parameters, embeddings.
    type Constant: Send + Sync;
    /// A linear layer in whatever layout the device multiplies fastest.
    type Linear: Send + Sync;
    /// The tensors of a bank.
    type Bank: Send + Sync + 'static;
    /// Sequences of operations that [`Backend::replay`] has recorded.
    type Recordings: Default + Send;

    /// The kind of device, in one word.
    const KIND: &str;

    /// Whether buffers are memory of the host.
    const IN_HOST_MEMORY: bool;

    /// Another lane on the same device, able to use the same weights and banks.
    fn fork(&self) -> Result<Self>;

    /// One line for people: device, instruction set, threads.
    fn describe(&self) -> String;

    /// How operands are stored: products round to this, and accumulate in f32.
    fn precision(&self) -> DType;

    /// A zeroed buffer of `len` elements.
    fn buffer(&self, role: Role, len: usize) -> Result<Self::Buffer>;

    /// Copies host numbers to the beginning of a buffer.
    fn upload(&mut self, host: &[f32], out: &mut Self::Buffer) -> Result<()>;

    /// Copies the beginning of a buffer to the host, after all operations that write it.
    fn download(&mut self, buffer: &Self::Buffer, out: &mut [f32]) -> Result<()>;

    /// Waits for every operation that was given to this lane.
    fn wait(&mut self) -> Result<()>;

    /// A stored tensor as it is.
    fn constant(&mut self, tensor: &TensorView<'_>) -> Result<Self::Constant>;

    /// The rows `rows` of a stored `[out, in]` weight and of its bias, as a linear layer.
    fn linear_weights(
        &mut self,
        weight: &TensorView<'_>,
        rows: Range<usize>,
        bias: Option<&TensorView<'_>>,
    ) -> Result<Self::Linear>;

    /// A stored `[in, out]` matrix (CLIP's projections) as a linear layer without bias.
    fn projection_weights(&mut self, weight: &TensorView<'_>) -> Result<Self::Linear>;

    /// A bank, at most [`MAX_BANK_TENSORS`] tensors.
    fn bank(&mut self, tensors: &[BankTensor<'_>]) -> Result<Self::Bank>;

    /// Runs `work`: operations on the same buffers and weights at every call with the same `recordings` and `layout` and as
    /// many banks, at most [`MAX_BANKS`]. A device may record them at the first call and repeat the recording at the next,
    /// with the banks of that call.
    fn replay(
        &mut self,
        recordings: &mut Self::Recordings,
        layout: &[usize],
        banks: &[&Self::Bank],
        work: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()>;

    /// 8-bit frame → the rows of the patch convolution: resized, cropped or padded as `plan` says, normalised, cut into
    /// patches of `patch` x `patch`; writes rows `image * N ..` of `patches`, `[B * N, 3 * patch * patch]` in (channel, y, x) order.
    fn preprocess<'a>(
        &mut self,
        frame: impl Into<AnyFrame<'a>>,
        plan: &Plan,
        patch: usize,
        image: usize,
        patches: &mut Self::Buffer,
    ) -> Result<()> {
        let frame = frame.into();
        self.upload_frame(frame, plan)?;
        self.patch_rows(frame, plan, patch, image, patches)
    }

    /// The first half of [`Backend::preprocess`]: takes the pixels that `plan` needs to where the device reads them. Whether
    /// there was anything to do: the device may read them where they are. A frame in device memory is read until the lane is
    /// next waited for.
    fn upload_frame(&mut self, _frame: AnyFrame<'_>, _plan: &Plan) -> Result<bool> {
        Ok(false)
    }

    /// The second half of [`Backend::preprocess`], for the frame and the plan that [`Backend::upload_frame`] had last.
    fn patch_rows(
        &mut self,
        frame: AnyFrame<'_>,
        plan: &Plan,
        patch: usize,
        image: usize,
        patches: &mut Self::Buffer,
    ) -> Result<()>;

    /// Copies the [`DeviceFrame::bytes`] of a frame in device memory to the beginning of `out`, which grows if need be.
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

    /// `out = silu(a) b`, where `a` and `b` are the halves of each row of `x`, `[rows, 2 width]`, and `silu(a) = a σ(a)`; `out` is
    /// `[rows, width]`. The gate of a SwiGLU MLP (Shazeer 2020).
    fn swiglu(&mut self, x: &Self::Buffer, rows: usize, width: usize, out: &mut Self::Buffer) -> Result<()>;

    /// Token rows of an image: the prefix, then the patches plus position, then layer norm where the embedding has one.
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

    /// `out = (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias` for each row of `[rows, W]`. `out` is an operand, or a
    /// stream where it is a result.
    fn layer_norm(&mut self, x: &Self::Buffer, rows: usize, norm: &Norm<Self>, out: &mut Self::Buffer) -> Result<()>;

    /// `softmax(Q Kᵀ / sqrt(d)) V` per head within each sequence; `qkv` is `[T, 3W]` (Q, K, V side by side), `out` `[T, W]`.
    /// `causal` hides the tokens that follow the query.
    fn attention(
        &mut self,
        qkv: &Self::Buffer,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        causal: bool,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// The same with one query per sequence, which sees all of it: `q` is `[S, W]`, `kv` `[T, 2W]`, `out` `[S, W]`.
    fn class_attention(
        &mut self,
        q: &Self::Buffer,
        kv: &Self::Buffer,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// `out[s] = x[pool(s)]`: the row of each sequence that stands for it, `[S, W]`.
    fn pool_rows(
        &mut self,
        x: &Self::Buffer,
        sequences: Sequences<'_>,
        width: usize,
        pool: Pool,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// The patch tokens of a tap, by `norm` where there is one, scaled to unit length (zero stays zero): `x` is
    /// `[B * (P + N), W]`, prefix tokens dropped; writes `[B, N, W]` at `out[tap * B * N * W ..]`.
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

    /// [`Backend::layer_norm`] of all token rows of `images` images into `normalised`, and [`Backend::unit_patches`] of the
    /// same rows into `taps`: the norm that follows a tapped block.
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

    /// Largest cosine of each query row with any row of the bank's tensor in the same layer: the queries are unit rows
    /// `[L, query_pitch, W]`, the bank's `[L, R, W]`, `out` `[L, out_pitch]`. No similarity matrix is kept.
    fn patch_nn(
        &mut self,
        queries: &Self::Buffer,
        at: &Search,
        bank: &Self::Bank,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// Mean over layers of the cosine distance: `map = judged * mean over L of scale (1 - cosine)`, `[cells]`, from
    /// cosines `[L, cells]`.
    /// `judged`, `[cells]`, is 1, or 0 where a cell is ignored.
    fn residual_mean(
        &mut self,
        cosines: &Self::Buffer,
        taps: usize,
        cells: usize,
        scale: f32,
        judged: &Self::Buffer,
        map: &mut Self::Buffer,
    ) -> Result<()>;

    /// The mean of the largest judged cells of each map, `max(1, floor(judged cells / one_in))` of them, and 0 where none is
    /// judged; NaN where a cell of the map is NaN. `map` and `judged` are `[maps, cells]`, `judged` as in
    /// [`Backend::residual_mean`].
    fn mean_of_largest(
        &mut self,
        map: &Self::Buffer,
        judged: &Self::Buffer,
        at: &Largest,
        out: &mut Self::Buffer,
    ) -> Result<()>;
}

/// Layer-norm parameters, `[W]` each.
pub struct Norm<B: Backend> {
    /// Scale.
    pub weight: B::Constant,
    /// Offset.
    pub bias: B::Constant,
    /// What is added to the variance.
    pub epsilon: f32,
}

/// What turns patches into the tokens of an image of one grid; what does not depend on the grid is shared.
pub struct Embedding<B: Backend> {
    /// The prefix tokens with their positions, `[P, W]`.
    pub prefix: Arc<B::Constant>,
    /// Position of each patch, `[N, W]`.
    pub position: B::Constant,
    /// The norm before the first block, where there is one.
    pub norm: Option<Arc<Norm<B>>>,
    /// How many of each.
    pub tokens: ImageTokens,
}

/// How the width of attention splits into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of heads.
    pub heads: usize,
    /// Width of one head; `heads * size` is the width of the tower.
    pub size: usize,
}

impl AttentionShape {
    /// Width of all heads together.
    pub fn width(self) -> usize {
        self.heads * self.size
    }
}

/// The error of an operation whose buffer is shorter than its shapes ask: a bug above the backend.
pub(crate) fn need(op: &'static str, name: &'static str, found: usize, wanted: usize) -> Result<()> {
    if found >= wanted {
        return Ok(());
    }
    let message = format!("{op}: {name} holds {found} elements, the shapes ask for {wanted}");
    Err(Error::new(ErrorKind::Internal, message).in_operation(op).with_shapes(&[wanted], &[found]))
}

/// The error of a frame that only a camera understands: [`Backend::preprocess`] takes 8-bit grey and RGB.
pub(crate) fn need_converted(frame: &AnyFrame<'_>) -> Result<()> {
    if frame.format() == frame.format().converted() {
        return Ok(());
    }
    let message = format!("{frame:?} is placed before it is converted to Grey8 or Rgb8: convert it first");
    Err(Error::new(ErrorKind::Argument, message))
}

/// The error of a device frame on a device that is none of its kind.
pub(crate) fn no_device_memory(frame: &DeviceFrame) -> Error {
    let message = format!(
        "{frame:?} is in the memory of a GPU, and the engine runs on the processor: copy the frame to the host, or open the \
         engine on that GPU"
    );
    Error::new(ErrorKind::Argument, message)
}
