//! Devices: the dozen coarse operations that CLIP and InCTRL need, and the machines that run them.
//!
//! The forward pass is written once, in [`crate::model`] and [`crate::method`], over the trait [`Backend`]; nothing above
//! this folder knows how work is spread over a device. Invariants that every backend keeps:
//!
//! - **A row does not know its neighbours.** Each output element is a sum in one fixed order over its own inputs, so the
//!   bits of a score depend neither on the batch, nor on the place in it, nor on the number of threads.
//! - **Operations allocate nothing.** Outputs are `&mut` arguments that the caller took once, at load.
//! - All matrices are row-major; a linear layer is `y = x Wᵀ + b` with `W` as `[out, in]`.
//!
//! # Adding an operation
//! 1. The method on [`Backend`], with its formula, shapes and source; a fused operation has its composed form as default.
//! 2. `cpu/<op>.rs`: the launcher (checks, tasks), and its kernel for every instruction set.
//! 3. `tests/it/ops/<op>.rs`: against a loop in f64 that reads like the formula, shapes in a table.
//! 4. `benches/ops/<op>.rs`: group `<op>/cpu/<shape>`, result checked before it is timed.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::preprocess::{AnyFrame, DeviceFrame, Plan};
use crate::tensor::{DType, Dense, TensorView};

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
        Err(Error::new(ErrorKind::Internal, format!("{op}: the ends of the sequences do not rise from above zero")))
    }

    /// Token rows of sequence `s`.
    pub fn range(&self, s: usize) -> Range<usize> {
        let start = if s == 0 { 0 } else { self.ends[s - 1] };
        start..self.ends[s]
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

/// The two small heads and the adapter in host memory, batch normalisation already folded into the layers.
#[derive(Clone, Debug)]
pub struct HeadLayers {
    /// ψ of equation 3: `[E/4, E]` then `[E, E/4]`, no biases, ReLU after both.
    pub adapter: [Dense; 2],
    /// η of equation 5 on the image residual: `[128, E]`, `[64, 128]`, `[1, 64]`, ReLU between, sigmoid after.
    pub image: [Dense; 3],
    /// φ of equation 7 on the holistic map: `[128, N]`, `[64, 128]`, `[1, 64]`, ReLU between, sigmoid after.
    pub holistic: [Dense; 3],
    /// Weight of the patch maximum in the final score, α of equation 7.
    pub alpha: f32,
}

/// What a class's prompts contribute to the heads.
#[derive(Clone, Debug)]
pub struct BankVectors<'a> {
    /// I_p of equation 3: mean adapted class embedding of the prompts, `[E]`.
    pub class_mean: &'a [f32],
    /// F_n and F_a of equation 6: unit text prototypes, normal then anomaly, `[2, E]`.
    pub text_prototypes: &'a [f32],
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

/// Numbers per image in the output of [`Backend::heads`]: score, s_h, s_p, s_i, s_a.
pub const HEAD_OUTPUTS: usize = 5;

/// A device with one lane of execution. Weights are shared between lanes, activations never.
///
/// `B`, `T`, `W`, `N`, `L`, `K`, `E` stand for images in the batch, token rows, width, patches of an image, taps, prompts
/// and the joint embedding. Buffers may be longer than the operation needs; it uses their beginning.
pub trait Backend: Send + Sized + 'static {
    /// Row-major activations on the device.
    type Buffer: Send + Sync;
    /// A read-only vector or matrix: layer-norm parameters, embeddings.
    type Constant: Send + Sync;
    /// A linear layer in whatever layout the device multiplies fastest.
    type Linear: Send + Sync;
    /// The adapter and the heads.
    type Heads: Send + Sync;
    /// One class's prompts: taps and vectors.
    type Bank: Send + Sync;
    /// Sequences of operations that [`Backend::replay`] has recorded.
    type Recordings: Default + Send;

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

    /// The adapter and the heads.
    fn head_weights(&mut self, layers: &HeadLayers) -> Result<Self::Heads>;

    /// A bank: unit taps of shape `[L, K, N, W]` and the class's vectors.
    fn bank(&mut self, taps: &Arc<[f32]>, shape: [usize; 4], vectors: BankVectors<'_>) -> Result<Self::Bank>;

    /// Runs `work`: operations on the same buffers and weights at every call with the same `recordings`, `images` and
    /// number of prompts, ending with the results of `bank`. A device may record them at the first call and repeat the
    /// recording at the next, with the bank of that call.
    fn replay(
        &mut self,
        recordings: &mut Self::Recordings,
        images: usize,
        bank: &Self::Bank,
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

    /// Token rows of an image: the class embedding, then the patches, plus position, then layer norm (`ln_pre`).
    /// `patches` is `[B * N, W]`, `out` `[B * (1 + N), W]`.
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
        self.layer_norm(out, images * embedding.tokens, next, normalised)
    }

    /// `out = (x - mean(x)) / sqrt(var(x) + 1e-5) * weight + bias` for each row of `[rows, W]`.
    fn layer_norm(&mut self, x: &Self::Buffer, rows: usize, norm: &Norm<Self>, out: &mut Self::Buffer) -> Result<()>;

    /// `softmax(Q Kᵀ / sqrt(d)) V` per head within each sequence; `qkv` is `[T, 3W]` (Q, K, V side by side), `out` `[T, W]`.
    /// `causal` hides the tokens that follow the query.
    fn attention(
        &mut self,
        qkv: &Self::Buffer,
        sequences: Sequences<'_>,
        shape: HeadShape,
        causal: bool,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// The same with one query per sequence, which sees all of it: `q` is `[S, W]`, `kv` `[T, 2W]`, `out` `[S, W]`.
    fn class_attention(
        &mut self,
        q: &Self::Buffer,
        kv: &Self::Buffer,
        sequences: Sequences<'_>,
        shape: HeadShape,
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

    /// The patch tokens of a tap, scaled to unit length (zero stays zero): `x` is `[B * (1 + N), W]`, class token dropped;
    /// writes `[B, N, W]` at `out[tap * B * N * W ..]`.
    fn unit_patches(
        &mut self,
        x: &Self::Buffer,
        images: usize,
        patches: usize,
        width: usize,
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
        patches: usize,
        width: usize,
        norm: &Norm<Self>,
        normalised: &mut Self::Buffer,
        tap: usize,
        taps: &mut Self::Buffer,
    ) -> Result<()> {
        self.layer_norm(x, images * (1 + patches), norm, normalised)?;
        self.unit_patches(x, images, patches, width, tap, taps)
    }

    /// Largest cosine of each query patch with any patch of any prompt at the same tap, the inner part of equation 1:
    /// `taps` is `[L, B, N, W]`, the bank's `[L, K, N, W]`, `out` `[L, B, N]`. No similarity matrix is kept.
    fn patch_nn(&mut self, taps: &Self::Buffer, images: usize, bank: &Self::Bank, out: &mut Self::Buffer)
    -> Result<()>;

    /// Equations 1 and 2 as the published code scales them: `map = judged * mean over taps of 0.5 (1 - cosine)`, `[B, N]`.
    /// `judged`, `[B, N]`, is 1, or 0 where a cell is ignored.
    fn residual_mean(
        &mut self,
        cosines: &Self::Buffer,
        taps: usize,
        cells: usize,
        judged: &Self::Buffer,
        map: &mut Self::Buffer,
    ) -> Result<()>;

    /// ψ of equation 3 on class embeddings: `[rows, E]` to `[rows, E]`.
    fn adapter(&mut self, class: &Self::Buffer, rows: usize, heads: &Self::Heads, out: &mut Self::Buffer)
    -> Result<()>;

    /// Equations 3 to 7 on each image: `class` is `[B, E]`, `map` `[B, N]`; writes score, s_h, s_p, s_i, s_a as `[B, 5]`:
    ///
    /// - `s_i = sigmoid(η(I_p - ψ(f_v(x))))`
    /// - `s_a = softmax(100 f_v(x)/‖f_v(x)‖ · [F_n, F_a])[1]`
    /// - `s_p = max M_x`
    /// - `s_h = sigmoid(φ(M_x + s_i + s_a))`
    /// - `score = (s_h + α s_p) / (1 + α)`
    fn heads(
        &mut self,
        class: &Self::Buffer,
        map: &Self::Buffer,
        images: usize,
        heads: &Self::Heads,
        bank: &Self::Bank,
        out: &mut Self::Buffer,
    ) -> Result<()>;
}

/// Layer-norm parameters, `[W]` each.
pub struct Norm<B: Backend> {
    /// Scale.
    pub weight: B::Constant,
    /// Offset.
    pub bias: B::Constant,
}

/// What turns patches into the tokens of an image.
pub struct Embedding<B: Backend> {
    /// The class token, `[W]`.
    pub class: B::Constant,
    /// Position of each token, `[1 + N, W]`.
    pub position: B::Constant,
    /// `ln_pre`.
    pub norm: Norm<B>,
    /// Tokens of an image, `1 + N`.
    pub tokens: usize,
}

/// How the width of attention splits into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Number of heads.
    pub heads: usize,
    /// Width of one head; `heads * size` is the width of the tower.
    pub size: usize,
}

impl HeadShape {
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
    Err(Error::new(ErrorKind::Internal, format!("{op}: {name} holds {found} elements, the shapes ask for {wanted}")))
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
