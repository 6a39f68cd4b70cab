//! The CPU backend. It has its own threads and uses the widest instruction set of the CPU. It computes in f32, or the
//! products in bf16 (`bf16/`) or in bytes (`int8/`).
//!
//! It is also the reference of the other devices. Weights are packed once, at load, for the product kernel
//! (`linear.rs`). Forked queues share the threads (`crew.rs`), but each queue has its own scratch memory for each
//! thread, so that queues never wait for each other.
//!
//! `unsafe` lives where a comment says why: in `simd` and `bytes` (intrinsics), `tile` (the innermost loop), `crew` and
//! `pool` (work borrowed by threads), and for the strided outputs of `linear`, `attention` and `patch_nn`.

use std::ops::Range;
use std::sync::Arc;

use crate::backend::{
    AttentionShape, Backend, BankRole, BankTensor, Embedding, Enlarge, Gelu, ImageTokens, Largest, LevelOps, Norm,
    PoolToken, Precision, Role, Search, Sequences, Subspace, Windows, need,
};
use crate::error::{Error, ErrorKind, Result};
use crate::image::AnyFrame;
use crate::memory;
use crate::tensor::TensorView;
use crate::view::View;

mod above;
mod attention;
mod bank;
mod bf16;
mod blocks;
mod bytes;
mod convolve;
mod crew;
mod embed;
mod enlarge;
mod gelu;
mod gram;
mod int8;
mod join_layers;
mod layer_norm;
mod level;
mod levels;
mod linear;
mod math;
mod max_pool;
mod mean_cells;
mod mean_of_largest;
mod nearest_distance;
mod nearest_euclidean;
mod packed;
mod patch_nn;
mod plain_patches;
mod pool;
mod pool_columns;
mod pool_neighbours;
mod pool_rows;
mod preprocess;
mod reduce;
mod resample;
mod residual_mean;
mod roofline;
mod rows;
mod simd;
mod subspace_distance;
mod swiglu;
mod tile;
mod unit_patches;
mod window_tokens;

pub(crate) use above::{Columns, Wanted};
use attention::{Operands, Queries};
pub use bank::Bank;
use bank::Tensor;
use bf16::Bf16Isa;
use bytes::ByteIsa;
pub(crate) use gram::Matrices;
use level::{Instructions, Level};
use linear::{Epilogue, Linear};
use patch_nn::Candidate;
use pool::Pool;
pub use roofline::{InstructionPeak, roofline};
pub(crate) use rows::RowArithmetic;
use simd::Isa;

/// The largest number of threads of a queue.
const MAX_THREADS: usize = 1024;

/// One queue of the CPU: its threads and their instruction set.
pub struct Cpu {
    isa: Isa,
    /// What searches by bytes.
    bytes: Option<ByteIsa>,
    precision: Precision,
    /// What multiplies bf16, where weights and operands are rounded to it.
    bf16: Option<Bf16Isa>,
    /// What multiplies bytes, where the weights of blocks are quantised.
    int8: Option<ByteIsa>,
    /// The rounded or quantised left operand of a product.
    rounded: Vec<i32>,
    pool: Pool<Scratch>,
    preprocess: preprocess::Pixels,
    nearest: patch_nn::Memory,
    enlarge: enlarge::Memory,
}

/// A thread's working memory. [`Cpu::reserve`] and [`Cpu::reserve_words`] make it as large as the largest operation
/// needs, and it is then kept.
#[derive(Default)]
struct Scratch {
    floats: Vec<f32>,
    words: Vec<i32>,
    candidates: Vec<Candidate>,
}

impl Scratch {
    /// `len` uninitialised floats, which were reserved.
    fn take(&mut self, len: usize) -> &mut [f32] {
        &mut self.floats[..len]
    }

    /// `len` uninitialised words, which were reserved.
    fn take_words(&mut self, len: usize) -> &mut [i32] {
        &mut self.words[..len]
    }

    /// Both.
    fn take_both(&mut self, floats: usize, words: usize) -> (&mut [f32], &mut [i32]) {
        (&mut self.floats[..floats], &mut self.words[..words])
    }
}

/// Bytes that a queue takes beside its buffers: the scratch memory of its `threads` threads for a tower of `tokens`
/// tokens and heads of width `head`, and that of searches with `rows` query rows in each of `layers` layers.
pub(crate) fn working_bytes(tokens: usize, head: usize, [layers, rows, width]: [usize; 3], threads: usize) -> usize {
    // A variable of the environment that is not valid is an error elsewhere.
    let Ok(Instructions { f32: isa, bytes, .. }) = Instructions::chosen() else { return 0 };
    let scratch = attention::scratch_len(isa, tokens, head).max(patch_nn::scratch_floats(width));
    let words = patch_nn::scratch_words(width);
    let searches = patch_nn::bytes(bytes.is_some(), layers.saturating_mul(rows), layers, width, threads);
    threads.saturating_mul(4 * (scratch + words)).saturating_add(searches)
}

impl Cpu {
    /// A queue in f32 with `threads` threads, the caller's included.
    ///
    /// # Errors
    /// As [`Cpu::with_precision`].
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_precision(threads, Some(Precision::F32))
    }

    /// A queue with `threads` threads, including the caller's; in f32 if no precision is given. It uses all instruction
    /// sets of the CPU, or those that the environment variable `INCTRL_CPU` allows.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for more than 1024 threads or a wrong `INCTRL_CPU`; [`ErrorKind::Device`] if the system
    /// cannot start a thread, or the CPU does not support the precision or `INCTRL_CPU`.
    pub fn with_precision(threads: usize, precision: Option<Precision>) -> Result<Self> {
        let instructions = Instructions::chosen()?;
        let has = [Precision::F32, Precision::Bf16, Precision::Int8];
        let has: Vec<Precision> = has.into_iter().filter(|precision| instructions.support(*precision)).collect();
        let lacks = |precision, name| if has.contains(&precision) { "" } else { name };
        let (bf16, vnni) = (lacks(Precision::Bf16, ", without AVX512-BF16"), lacks(Precision::Int8, ", without VNNI"));
        let what = format!("this CPU ({}{bf16}{vnni})", instructions.f32.name());
        let precision = Precision::choose(precision, &what, &has)?;
        Self::of_instructions(threads, instructions, precision)
    }

    /// A queue for each level of this CPU that supports `precision`, the lowest first, to compare them.
    ///
    /// # Errors
    /// As [`Cpu::new`].
    pub fn of_each_instruction_set(threads: usize, precision: Precision) -> Result<Vec<Self>> {
        let able = |instructions: &Instructions| instructions.support(precision);
        let available = Level::available().into_iter().map(|(_, instructions)| instructions).filter(able);
        available.map(|instructions| Self::of_instructions(threads, instructions, precision)).collect()
    }

    fn of_instructions(threads: usize, instructions: Instructions, precision: Precision) -> Result<Self> {
        if threads > MAX_THREADS {
            let message = format!("{threads} threads asked for, at most {MAX_THREADS} are supported: ask for fewer");
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let pool = Pool::new(threads, Scratch::default).map_err(|error| {
            Error::new(ErrorKind::Device, format!("cannot start {threads} threads; ask for fewer")).because(error)
        })?;
        let Instructions { f32: isa, bytes, bf16, int8 } = instructions;
        Ok(Cpu {
            isa,
            bytes,
            precision,
            bf16: bf16.filter(|_| precision != Precision::F32),
            int8: int8.filter(|_| precision == Precision::Int8),
            rounded: Vec::new(),
            pool,
            preprocess: preprocess::Pixels::default(),
            nearest: patch_nn::Memory::default(),
            enlarge: enlarge::Memory::default(),
        })
    }

    /// Gives every thread `floats` of scratch before it asks: which thread claims which task changes from run to run,
    /// and one that first claims a large task late must not allocate then.
    fn reserve(&mut self, floats: usize) -> Result<()> {
        let mut all = self.pool.scratch_mut();
        all.try_for_each(|scratch| memory::grow("the working memory of a thread", &mut scratch.floats, floats))
    }

    /// As [`Cpu::reserve`], for words.
    fn reserve_words(&mut self, words: usize) -> Result<()> {
        let mut all = self.pool.scratch_mut();
        all.try_for_each(|scratch| memory::grow("the working memory of a thread", &mut scratch.words, words))
    }
}

impl Backend for Cpu {
    type Buffer = Vec<f32>;
    type Constant = Vec<f32>;
    type Linear = Linear;
    type Bank = Bank;
    type Recordings = ();

    const KIND: &str = "cpu";

    const IN_HOST_MEMORY: bool = true;

    fn fork(&self) -> Result<Self> {
        Ok(Cpu {
            isa: self.isa,
            bytes: self.bytes,
            precision: self.precision,
            bf16: self.bf16,
            int8: self.int8,
            rounded: Vec::new(),
            pool: self.pool.beside(Scratch::default),
            preprocess: preprocess::Pixels::default(),
            nearest: patch_nn::Memory::default(),
            enlarge: enlarge::Memory::default(),
        })
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn describe(&self) -> String {
        let threads = self.pool.threads();
        let precision = match (self.precision, self.bf16) {
            (Precision::Bf16, _) => ", bf16",
            (Precision::Int8, Some(_)) => ", int8 beside bf16",
            (Precision::Int8, None) => ", int8 beside f32",
            _ => "",
        };
        format!("CPU, {}{precision}, {threads} thread{}", self.isa.name(), if threads == 1 { "" } else { "s" })
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    /// f32 for every role: a product rounds its operand itself, once for all columns.
    fn buffer(&self, _role: Role, len: usize) -> Result<Vec<f32>> {
        memory::zeros("a buffer of the processor", len)
    }

    fn upload(&mut self, host: &[f32], out: &mut Vec<f32>) -> Result<()> {
        need("upload", "out", out.len(), host.len())?;
        out[..host.len()].copy_from_slice(host);
        Ok(())
    }

    fn download(&mut self, buffer: &Vec<f32>, out: &mut [f32]) -> Result<()> {
        need("download", "buffer", buffer.len(), out.len())?;
        out.copy_from_slice(&buffer[..out.len()]);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    fn constant(&mut self, tensor: &TensorView<'_>) -> Result<Vec<f32>> {
        tensor.to_f32()
    }

    fn linear_weights(
        &mut self,
        weight: &TensorView<'_>,
        rows: Range<usize>,
        bias: Option<&TensorView<'_>>,
    ) -> Result<Linear> {
        self.pack_rows(Role::Weight, weight, rows, bias, None)
    }

    fn token_weights(
        &mut self,
        weight: &TensorView<'_>,
        rows: Range<usize>,
        bias: Option<&TensorView<'_>>,
        gains: Option<&[f32]>,
    ) -> Result<Linear> {
        self.pack_rows(Role::TokenWeight, weight, rows, bias, gains)
    }

    fn projection_weights(&mut self, weight: &TensorView<'_>) -> Result<Linear> {
        let (inputs, outputs) = (weight.shape[0], weight.shape[1]);
        let values = weight.to_f32()?;
        self.pack_linear(Role::Weight, [inputs, outputs], None, None, |output, column| {
            column.iter_mut().enumerate().for_each(|(input, x)| *x = values[input * outputs + output]);
        })
    }

    fn bank(&mut self, tensors: &[BankTensor<'_>]) -> Result<Bank> {
        let tensors = tensors.iter().map(|&BankTensor { values, shape, role }| {
            need("bank", "tensor", values.len(), shape.iter().product())?;
            let integers = if role == BankRole::Rows { self.integers(values, shape)? } else { None };
            Ok(Tensor { values: Arc::clone(values), shape, role, integers })
        });
        Ok(Bank(tensors.collect::<Result<_>>()?))
    }

    fn replay(
        &mut self,
        _recordings: &mut (),
        _layout: &[usize],
        _banks: &[&Bank],
        mut work: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        work(self)
    }

    fn preprocess<'a>(
        &mut self,
        frame: impl Into<AnyFrame<'a>>,
        views: &[View],
        patch: usize,
        first: usize,
        patches: &mut Vec<f32>,
        uploaded: impl FnOnce(&mut Self, bool) -> Result<()>,
    ) -> Result<()> {
        uploaded(self, false)?;
        self.run_preprocess(frame.into(), views, patch, first, patches)
    }

    fn linear(&mut self, x: &Vec<f32>, rows: usize, w: &Linear, out: &mut Vec<f32>) -> Result<()> {
        self.run_linear(x, rows, w, out, Epilogue::Store)
    }

    fn linear_add(&mut self, x: &Vec<f32>, rows: usize, w: &Linear, out: &mut Vec<f32>) -> Result<()> {
        self.run_linear(x, rows, w, out, Epilogue::Add)
    }

    fn gelu(&mut self, kind: Gelu, len: usize, x: &mut Vec<f32>) -> Result<()> {
        self.run_gelu(kind, len, x)
    }

    fn linear_gelu(
        &mut self,
        x: &Vec<f32>,
        rows: usize,
        w: &Linear,
        _columns: usize,
        kind: Gelu,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_linear(x, rows, w, out, Epilogue::Gelu(kind))
    }

    fn swiglu(&mut self, x: &Vec<f32>, rows: usize, width: usize, out: &mut Vec<f32>) -> Result<()> {
        self.run_swiglu(x, rows, width, out)
    }

    fn embed(
        &mut self,
        patches: &Vec<f32>,
        images: usize,
        embedding: &Embedding<Self>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_embed(patches, images, embedding, out)
    }

    fn layer_norm(&mut self, x: &Vec<f32>, rows: usize, norm: &Norm<Self>, out: &mut Vec<f32>) -> Result<()> {
        self.run_layer_norm(x, rows, norm, out)
    }

    fn attention(
        &mut self,
        qkv: &Vec<f32>,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        causal: bool,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let width = shape.width();
        need("attention", "qkv", qkv.len(), sequences.rows() * 3 * width)?;
        let operands =
            Operands { q: qkv, q_stride: 3 * width, k: &qkv[width..], v: &qkv[2 * width..], kv_stride: 3 * width };
        let queries = if causal { Queries::Causal } else { Queries::All };
        self.run_attention(operands, sequences, shape, queries, out)
    }

    fn class_attention(
        &mut self,
        q: &Vec<f32>,
        kv: &Vec<f32>,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let width = shape.width();
        need("class_attention", "q", q.len(), sequences.count() * width)?;
        need("class_attention", "kv", kv.len(), sequences.rows() * 2 * width)?;
        let operands = Operands { q, q_stride: width, k: kv, v: &kv[width..], kv_stride: 2 * width };
        self.run_attention(operands, sequences, shape, Queries::One, out)
    }

    fn pool_rows(
        &mut self,
        x: &Vec<f32>,
        sequences: Sequences<'_>,
        width: usize,
        pool: PoolToken,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_pool_rows(x, sequences, width, pool, out)
    }

    fn window_tokens(&mut self, x: &Vec<f32>, at: &Windows, width: usize, out: &mut Vec<f32>) -> Result<()> {
        self.run_window_tokens(x, at, width, out)
    }

    fn unit_patches(
        &mut self,
        x: &Vec<f32>,
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Self>>,
        tap: usize,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_unit_patches(x, images, tokens, width, norm, tap, out)
    }

    fn plain_patches(
        &mut self,
        x: &Vec<f32>,
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Self>>,
        tap: usize,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_plain_patches(x, images, tokens, width, norm, tap, out)
    }

    fn join_layers(&mut self, x: &Vec<f32>, shape: [usize; 3], scale: f32, out: &mut Vec<f32>) -> Result<()> {
        self.run_join_layers(x, shape, scale, out)
    }

    fn nearest_distance(
        &mut self,
        queries: &Vec<f32>,
        at: &Search,
        bank: &Bank,
        found: &mut Vec<f32>,
        scale: f32,
        valid: Option<&Vec<f32>>,
        map: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_nearest_distance(queries, at, bank, found, scale, valid.map(Vec::as_slice), map)
    }

    fn patch_nn(&mut self, queries: &Vec<f32>, at: &Search, bank: &Bank, out: &mut Vec<f32>) -> Result<()> {
        self.run_patch_nn(queries, at, bank, out)
    }

    fn residual_mean(
        &mut self,
        cosines: &Vec<f32>,
        taps: usize,
        cells: usize,
        scale: f32,
        valid: &Vec<f32>,
        map: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_residual_mean(cosines, taps, cells, scale, valid, map)
    }

    fn subspace_distance(
        &mut self,
        tokens: &Vec<f32>,
        shape: [usize; 3],
        at: &Search,
        by: &Subspace,
        bank: &Bank,
        valid: &Vec<f32>,
        map: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_subspace_distance(tokens, shape, at, by, bank, valid, map)
    }

    fn enlarge(
        &mut self,
        map: &Vec<f32>,
        valid: &Vec<f32>,
        at: &Enlarge,
        blur: &Vec<f32>,
        _columns: &mut Vec<f32>,
        out: &mut Vec<f32>,
        out_valid: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_enlarge(map, valid, at, blur, out, out_valid)
    }

    fn mean_of_largest(&mut self, map: &Vec<f32>, valid: &Vec<f32>, at: &Largest, out: &mut Vec<f32>) -> Result<()> {
        self.run_mean_of_largest(map, valid, at, out)
    }

    fn unfolded_len(inputs: usize, _: usize, cells: usize) -> usize {
        convolve::unfolded_len(inputs, cells)
    }

    fn levels(&mut self) -> &mut dyn LevelOps<Vec<f32>, Linear, Bank> {
        self
    }
}
