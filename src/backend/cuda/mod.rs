//! NVIDIA GPUs: products with cuBLASLt, everything else with the kernels in `kernels/`, a whole score as one graph.
//!
//! Operands are in half precision (or f32, for diagnosis), sums, the residual stream and the activations of a ResNet in
//! f32. All memory is allocated at load. Scoring copies a frame into page-locked memory (a frame in device memory is
//! read in place), replays a recording, and reads results that kernels wrote to host memory. Kernels and cuBLASLt
//! algorithms do not depend on the number of rows, so a score does not depend on it either, to the last bit.
//!
//! Invariants: a [`Cuda`] is one queue, with its own stream, cuBLASLt handle and table of banks. All its work is in the
//! order of that stream. Shared data (`context::Shared`, weights, banks) is not written after loading. No function of
//! the driver runs without its context. The libraries are checked before any of their functions is called.
//!
//! | file | job |
//! |---|---|
//! | `libraries.rs` | NVIDIA's libraries and the functions that we call |
//! | `context.rs`, `error.rs` | check of the device; errors |
//! | `kernels.rs`, `launch.rs` | the kernels' image and symbols; launching one |
//! | `memory.rs`, `buffer.rs` | device and page-locked memory; activations |
//! | `matmul.rs`, `algorithms.rs` | cuBLASLt's terms; the algorithm of each shape |
//! | `tune.rs` | a table of algorithms by measurement |
//! | `graph.rs`, `event.rs` | recordings; marks in a stream |
//! | `device_frame.rs` | frames in device memory |
//! | `bank.rs` | a bank on the device, and the table by which recordings find it |
//! | the rest | one operation each: checks, grid, launch |
//!
//! The text tower does not run here: it is only used to build banks, on the CPU.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use cudarc::driver::CudaStream;

use crate::backend::{
    AttentionShape, Backend, BankTensor, Embedding, Enlarge, Gelu, ImageTokens, Largest, LevelOps, Norm, PoolToken,
    Precision, Role, Search, Sequences, Subspace, Windows, need,
};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DeviceFrame};
use crate::tensor::TensorView;
use crate::view::View;
use crate::weights::Arch;

mod algorithms;
mod attention;
mod bank;
mod buffer;
mod class_attention;
mod context;
mod convolve;
mod device_frame;
mod embed;
mod enlarge;
mod error;
mod event;
mod gelu;
mod graph;
mod join_layers;
mod kernels;
pub(crate) mod launch;
mod layer_norm;
mod levels;
mod libraries;
mod linear;
mod matmul;
mod max_pool;
mod mean_cells;
mod mean_of_largest;
mod memory;
mod nearest_distance;
mod nearest_euclidean;
mod patch_nn;
mod plain_patches;
mod pool_columns;
mod pool_neighbours;
mod pool_rows;
mod preprocess;
mod resample;
mod residual_mean;
mod subspace_distance;
mod swiglu;
mod tune;
mod unit_patches;
mod window_tokens;

pub use bank::Bank;
pub use buffer::Buffer;
pub(crate) use buffer::Storage;
pub use graph::Recordings;
pub(crate) use kernels::MethodKernel;
pub use linear::Linear;
pub use tune::{Preference, Tuned};

use context::Shared;
use error::driver;
use memory::DeviceMemory;

/// The precisions of a GPU, the default first.
pub const PRECISIONS: [Precision; 2] = [Precision::F16, Precision::F32];

/// Options of a device.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CudaOptions {
    /// One of [`PRECISIONS`]; if absent, the first of them.
    pub precision: Option<Precision>,
    /// Let cuBLASLt choose an algorithm for each batch size: faster, but bits then depend on the batch.
    pub fast: bool,
    /// A table of algorithms from `inctrl tune`.
    pub algorithms: Option<PathBuf>,
}

/// One queue of a GPU.
pub struct Cuda {
    shared: Arc<Shared>,
    stream: Arc<CudaStream>,
    blas: matmul::Handle,
    products: linear::Products,
    table: bank::BankTable,
    pixels: preprocess::Pixels,
    /// Whether the library chooses the algorithm of a product for each number of rows.
    free: bool,
}

/// Numbers in f32 for a method's own kernels.
pub(crate) struct Numbers(DeviceMemory);

impl Numbers {
    /// The device address of the first.
    pub fn pointer(&self) -> u64 {
        self.0.pointer()
    }
}

/// A vector or matrix in f32.
pub struct Constant {
    memory: DeviceMemory,
    len: usize,
}

impl Constant {
    /// The device address, if there are `wanted` elements.
    fn pointer(&self, op: &'static str, name: &'static str, wanted: usize) -> Result<u64> {
        need(op, name, self.len, wanted)?;
        Ok(self.memory.pointer())
    }
}

impl Cuda {
    /// A queue on device `ordinal`, counted from 0.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if there is no such device, or a library is missing or too old, with what to install;
    /// [`ErrorKind::Io`] and [`ErrorKind::Argument`] for a table of algorithms that cannot be used.
    pub fn new(ordinal: usize, options: CudaOptions) -> Result<Self> {
        Self::queue(Arc::new(Shared::new(ordinal, options)?))
    }

    fn queue(shared: Arc<Shared>) -> Result<Self> {
        shared.bind()?;
        let stream = driver("cuStreamCreate", shared.context.new_stream())?;
        Ok(Cuda {
            blas: matmul::Handle::new(&shared)?,
            products: linear::Products::default(),
            table: bank::BankTable::new(&shared)?,
            pixels: preprocess::Pixels::default(),
            stream,
            free: shared.options.fast,
            shared,
        })
    }

    /// Another queue, whose products use the algorithm that the library prefers for each number of rows. This is
    /// faster, but results depend on the batch. It is for measurements; [`CudaOptions::fast`] does the same for all
    /// queues.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device fails or is full.
    pub fn fork_free(&self) -> Result<Self> {
        let mut queue = Self::queue(Arc::clone(&self.shared))?;
        queue.free = true;
        Ok(queue)
    }

    /// Checks that the kernels support this architecture.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if they do not.
    pub fn check_arch(&self, arch: &Arch) -> Result<()> {
        let vision = &arch.vision;
        if vision.resnet.is_some() {
            return Ok(());
        }
        let size = vision.width / vision.heads.max(1);
        if size == attention::HEAD_SIZE && vision.width.is_multiple_of(size) && vision.width <= layer_norm::MAX_WIDTH {
            return Ok(());
        }
        let message = format!(
            "the vision tower is {} wide with heads of {size}; on a GPU heads are of {} and a width is at most {}: use the device \
             `cpu`",
            vision.width,
            attention::HEAD_SIZE,
            layer_norm::MAX_WIDTH
        );
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Whether `bytes` of the device's memory are free; `what` needs them, in words.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where they are not, with what is needed and what is free.
    pub fn check_memory(&self, what: &str, bytes: usize) -> Result<()> {
        self.bind()?;
        let (free, _) = driver("cuMemGetInfo", cudarc::driver::result::mem_get_info())?;
        let remedy = "use a smaller model, close other programs on this GPU, or use the device `cpu`";
        crate::memory::check_left(what, bytes, free, "the GPU's memory", remedy)
    }

    /// Copies `values` to the device; `what` names them in the error if there is no memory.
    pub(crate) fn numbers(&self, what: &str, values: &[f32]) -> Result<Numbers> {
        let mut memory = DeviceMemory::new(&self.shared.context, what, values.len() * 4)?;
        memory.write(0, values)?;
        Ok(Numbers(memory))
    }

    /// The kernel `symbol` of a method's own operation.
    pub(crate) fn method_kernel(&self, symbol: &str) -> Result<MethodKernel> {
        self.shared.kernels.of_method(symbol)
    }

    /// Makes the device's context current on this thread, as every launch needs.
    pub(crate) fn bind(&self) -> Result<()> {
        self.shared.bind()
    }

    /// Waits for all its work.
    fn synchronise(&self) -> Result<()> {
        context::here()?;
        driver("cuStreamSynchronize", self.stream.synchronize())
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // Memory that queued work uses must outlive it; a failed device has no work left.
        let _ = self.synchronise();
        if context::here().is_err() {
            // The stream, and the context with it, would call the driver where they end.
            std::mem::forget(Arc::clone(&self.stream));
        }
    }
}

/// The tokens of each sequence, where all have as many: images of one model always do.
fn equal_lengths(op: &'static str, sequences: Sequences<'_>) -> Result<usize> {
    let tokens = sequences.rows() / sequences.count().max(1);
    if (0..sequences.count()).all(|s| sequences.range(s).len() == tokens) {
        return Ok(tokens);
    }
    Err(Error::new(ErrorKind::Internal, format!("{op}: sequences of different lengths; texts run on the processor"))
        .in_operation(op))
}

impl Backend for Cuda {
    type Buffer = Buffer;
    type Constant = Constant;
    type Linear = Linear;
    type Bank = Bank;
    type Recordings = Recordings;

    const KIND: &str = "cuda";

    const IN_HOST_MEMORY: bool = false;

    fn fork(&self) -> Result<Self> {
        Self::queue(Arc::clone(&self.shared))
    }

    fn describe(&self) -> String {
        self.shared.describe()
    }

    fn precision(&self) -> Precision {
        self.shared.precision
    }

    fn buffer(&self, role: Role, len: usize) -> Result<Buffer> {
        Buffer::new(self, role, len)
    }

    fn upload(&mut self, host: &[f32], out: &mut Buffer) -> Result<()> {
        self.upload_floats(host, out)
    }

    fn download(&mut self, buffer: &Buffer, out: &mut [f32]) -> Result<()> {
        self.download_floats(buffer, out)
    }

    fn wait(&mut self) -> Result<()> {
        self.synchronise()
    }

    fn constant(&mut self, tensor: &TensorView<'_>) -> Result<Constant> {
        let values = tensor.to_f32()?;
        let mut memory = DeviceMemory::new(&self.shared.context, "a constant", values.len() * 4)?;
        memory.write(0, &values)?;
        Ok(Constant { memory, len: values.len() })
    }

    fn linear_weights(
        &mut self,
        weight: &TensorView<'_>,
        rows: Range<usize>,
        bias: Option<&TensorView<'_>>,
    ) -> Result<Linear> {
        self.load_linear(weight, rows, bias)
    }

    fn projection_weights(&mut self, weight: &TensorView<'_>) -> Result<Linear> {
        self.load_projection(weight)
    }

    fn bank(&mut self, tensors: &[BankTensor<'_>]) -> Result<Bank> {
        Bank::new(self, tensors)
    }

    fn replay(
        &mut self,
        recordings: &mut Recordings,
        layout: &[usize],
        banks: &[&Bank],
        work: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.select(banks)?;
        self.replay_or_record(recordings, layout, banks, work)
    }

    fn copy_to_host(&mut self, frame: &DeviceFrame, out: &mut Vec<u8>) -> Result<()> {
        self.copy_frame_to_host(frame, out)
    }

    fn preprocess<'a>(
        &mut self,
        frame: impl Into<AnyFrame<'a>>,
        views: &[View],
        patch: usize,
        first: usize,
        patches: &mut Buffer,
        uploaded: impl FnOnce(&mut Self, bool) -> Result<()>,
    ) -> Result<()> {
        let frame = frame.into();
        let source = self.upload_frame(&frame, views)?;
        uploaded(self, matches!(frame, AnyFrame::Host(_)))?;
        self.launch_preprocess(&source, views, patch, first, patches)
    }

    fn linear(&mut self, x: &Buffer, rows: usize, w: &Linear, out: &mut Buffer) -> Result<()> {
        self.launch_linear(x, rows, w, out, false)
    }

    fn linear_add(&mut self, x: &Buffer, rows: usize, w: &Linear, out: &mut Buffer) -> Result<()> {
        self.launch_linear(x, rows, w, out, true)
    }

    fn gelu(&mut self, kind: Gelu, len: usize, x: &mut Buffer) -> Result<()> {
        self.launch_gelu(kind, len, x)
    }

    fn swiglu(&mut self, x: &Buffer, rows: usize, width: usize, out: &mut Buffer) -> Result<()> {
        self.launch_swiglu(x, rows, width, out)
    }

    fn embed(&mut self, patches: &Buffer, images: usize, embedding: &Embedding<Self>, out: &mut Buffer) -> Result<()> {
        self.launch_embed(patches, images, embedding, out, None)
    }

    fn embed_norm(
        &mut self,
        patches: &Buffer,
        images: usize,
        embedding: &Embedding<Self>,
        out: &mut Buffer,
        next: &Norm<Self>,
        normalised: &mut Buffer,
    ) -> Result<()> {
        self.launch_embed(patches, images, embedding, out, Some((next, normalised)))
    }

    fn layer_norm(&mut self, x: &Buffer, rows: usize, norm: &Norm<Self>, out: &mut Buffer) -> Result<()> {
        self.launch_layer_norm(x, rows, norm, out, None)
    }

    fn attention(
        &mut self,
        qkv: &Buffer,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        causal: bool,
        out: &mut Buffer,
    ) -> Result<()> {
        self.launch_attention(qkv, sequences, shape, causal, out)
    }

    fn class_attention(
        &mut self,
        q: &Buffer,
        kv: &Buffer,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        out: &mut Buffer,
    ) -> Result<()> {
        self.launch_class_attention(q, kv, sequences, shape, out)
    }

    fn pool_rows(
        &mut self,
        x: &Buffer,
        sequences: Sequences<'_>,
        width: usize,
        pool: PoolToken,
        out: &mut Buffer,
    ) -> Result<()> {
        self.launch_pool_rows(x, sequences, width, pool, out)
    }

    fn window_tokens(&mut self, x: &Buffer, at: &Windows, width: usize, out: &mut Buffer) -> Result<()> {
        self.launch_window_tokens(x, at, width, out)
    }

    fn unit_patches(
        &mut self,
        x: &Buffer,
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Self>>,
        tap: usize,
        out: &mut Buffer,
    ) -> Result<()> {
        self.launch_unit_patches(x, images, tokens, width, norm, tap, out)
    }

    fn plain_patches(
        &mut self,
        x: &Buffer,
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Self>>,
        tap: usize,
        out: &mut Buffer,
    ) -> Result<()> {
        self.launch_plain_patches(x, images, tokens, width, norm, tap, out)
    }

    fn join_layers(&mut self, x: &Buffer, shape: [usize; 3], scale: f32, out: &mut Buffer) -> Result<()> {
        self.launch_join_layers(x, shape, scale, out)
    }

    fn nearest_distance(
        &mut self,
        queries: &Buffer,
        at: &Search,
        bank: &Bank,
        found: &mut Buffer,
        scale: f32,
        valid: Option<&Buffer>,
        map: &mut Buffer,
    ) -> Result<()> {
        self.launch_nearest_distance(queries, at, bank, found, scale, valid, map)
    }

    fn layer_norm_unit_patches(
        &mut self,
        x: &Buffer,
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: &Norm<Self>,
        normalised: &mut Buffer,
        tap: usize,
        taps: &mut Buffer,
    ) -> Result<()> {
        let unit = unit_patches::Target { tokens, width, tap, taps };
        self.launch_layer_norm(x, images * tokens.count(), norm, normalised, Some(unit))
    }

    fn patch_nn(&mut self, queries: &Buffer, at: &Search, bank: &Bank, out: &mut Buffer) -> Result<()> {
        self.launch_patch_nn(queries, at, bank, out)
    }

    fn residual_mean(
        &mut self,
        cosines: &Buffer,
        taps: usize,
        cells: usize,
        scale: f32,
        valid: &Buffer,
        map: &mut Buffer,
    ) -> Result<()> {
        self.launch_residual_mean(cosines, taps, cells, scale, valid, map)
    }

    fn subspace_distance(
        &mut self,
        tokens: &Buffer,
        shape: [usize; 3],
        at: &Search,
        by: &Subspace,
        bank: &Bank,
        valid: &Buffer,
        map: &mut Buffer,
    ) -> Result<()> {
        self.launch_subspace_distance(tokens, shape, at, by, bank, valid, map)
    }

    fn enlarge(
        &mut self,
        map: &Buffer,
        valid: &Buffer,
        at: &Enlarge,
        blur: &Constant,
        columns: &mut Buffer,
        out: &mut Buffer,
        out_valid: &mut Buffer,
    ) -> Result<()> {
        self.launch_enlarge(map, valid, at, blur, columns, out, out_valid)
    }

    fn mean_of_largest(&mut self, map: &Buffer, valid: &Buffer, at: &Largest, out: &mut Buffer) -> Result<()> {
        self.launch_mean_of_largest(map, valid, at, out)
    }

    fn unfolded_len(inputs: usize, images: usize, cells: usize) -> usize {
        convolve::unfolded_len(inputs, images.saturating_mul(cells))
    }

    fn levels(&mut self) -> &mut dyn LevelOps<Buffer, Linear, Bank> {
        self
    }
}
