//! One pre-norm transformer block: `x += attention(ln_1(x))`, then `x += mlp(ln_2(x))`.

use std::ops::Range;
use std::sync::OnceLock;

use crate::backend::{AttentionShape, Backend, Gelu, Norm, Pool, Role, Sequences};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, TensorView};
use crate::weights::{Mlp, Weights};

/// Shapes of a tower that its blocks share.
#[derive(Clone, Copy, Debug)]
pub struct BlockShape {
    /// Heads and their size; together the width `W` of the tower.
    pub attention: AttentionShape,
    /// Width `M` of the MLP's hidden layer.
    pub mlp_width: usize,
    /// What the MLP is.
    pub mlp: Mlp,
    /// Activation of an MLP that is not gated.
    pub gelu: Gelu,
    /// Whether a token sees only those before it.
    pub causal: bool,
}

/// Activations of a tower: taken once for the largest batch, then reused by every block.
pub struct Workspace<B: Backend> {
    /// Residual stream `[T, W]`.
    pub x: B::Buffer,
    /// Normalised input of a sublayer, then attention's output, `[T, W]`.
    pub h: B::Buffer,
    /// Queries, keys, values `[T, 3W]`, or keys and values `[T, 2W]`.
    qkv: B::Buffer,
    /// Hidden layer of the MLP `[T, M]`.
    hidden: B::Buffer,
    /// What a gated MLP makes it of, `[T, 2M]`; empty for any other.
    gates: B::Buffer,
    /// Residual stream of the pooled tokens `[S, W]`.
    pub pooled: B::Buffer,
    pooled_h: B::Buffer,
    pooled_q: B::Buffer,
}

impl<B: Backend> Workspace<B> {
    /// Memory for `rows` token rows in `sequences` sequences.
    pub fn new(backend: &B, shape: BlockShape, rows: usize, sequences: usize) -> Result<Self> {
        let width = shape.attention.width();
        let gates = if shape.mlp == Mlp::SwiGlu { 2 * shape.mlp_width } else { 0 };
        Ok(Workspace {
            x: backend.buffer(Role::Stream, rows * width)?,
            h: backend.buffer(Role::Operand, rows * width)?,
            qkv: backend.buffer(Role::Operand, rows * 3 * width)?,
            hidden: backend.buffer(Role::Operand, rows * shape.mlp_width)?,
            gates: backend.buffer(Role::Operand, rows * gates)?,
            pooled: backend.buffer(Role::Stream, sequences * width)?,
            pooled_h: backend.buffer(Role::Operand, sequences * width)?,
            pooled_q: backend.buffer(Role::Operand, sequences * width)?,
        })
    }
}

/// The layers of a block.
pub struct Block<B: Backend> {
    shape: BlockShape,
    /// The norm of the first sublayer, which [`Block::forward`] expects to have been applied.
    pub ln_1: Norm<B>,
    /// The projection to queries, keys and values in the form of each [`Served`], as far as it is loaded.
    joint: OnceLock<B::Linear>,
    split: OnceLock<Split<B>>,
    output: B::Linear,
    ln_2: Norm<B>,
    expand: B::Linear,
    contract: B::Linear,
}

/// Queries `[W, W]` apart from keys and values `[2W, W]`.
struct Split<B: Backend> {
    q: B::Linear,
    kv: B::Linear,
}

/// The tokens that a block serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// All of them.
    All,
    /// The pooled token of each sequence only: of a last block nothing else may be wanted.
    Pooled,
}

/// Reads the layer norm `name`, with the epsilon of the encoder's family.
pub fn load_norm<B: Backend>(backend: &mut B, weights: &Weights, name: &str) -> Result<Norm<B>> {
    Ok(Norm {
        epsilon: weights.arch().family.vit().epsilon,
        weight: backend.constant(&weights.tensor(&format!("{name}.weight"))?)?,
        bias: backend.constant(&weights.tensor(&format!("{name}.bias"))?)?,
    })
}

impl<B: Backend> Block<B> {
    /// Reads the block whose tensors begin with `prefix` (`blocks.3.`), to serve these tokens.
    pub fn load(backend: &mut B, weights: &Weights, prefix: &str, shape: BlockShape, served: Served) -> Result<Self> {
        let width = shape.attention.width();
        let names = &weights.arch().family.vit().block;
        let scale = |sublayer: usize| names.scales.map(|scales| format!("{prefix}{}", scales[sublayer]));
        let mut linear = |module: &str, rows, scale: Option<String>| {
            let names = [".weight", ".bias"].map(|field| format!("{prefix}{module}{field}"));
            linear(backend, weights, &names, rows, scale.as_deref())
        };
        let [expand, contract] = names.mlp(shape.mlp);
        let output = linear(names.output, 0..width, scale(0))?;
        let expand = linear(expand, 0..shape.mlp.inner_width(shape.mlp_width), None)?;
        let contract = linear(contract, 0..width, scale(1))?;
        let ln_1 = load_norm(backend, weights, &format!("{prefix}{}", names.norm_1))?;
        let ln_2 = load_norm(backend, weights, &format!("{prefix}{}", names.norm_2))?;
        let (joint, split) = (OnceLock::new(), OnceLock::new());
        let block = Block { shape, ln_1, joint, split, output, ln_2, expand, contract };
        block.serve(backend, weights, prefix, served)?;
        Ok(block)
    }

    /// Reads what serving these tokens needs, where it is not there.
    pub fn serve(&self, backend: &mut B, weights: &Weights, prefix: &str, served: Served) -> Result<()> {
        let width = self.shape.attention.width();
        let names = weights.arch().family.vit().block.qkv.map(|name| format!("{prefix}{name}"));
        let mut part = |rows| linear(backend, weights, &names, rows, None);
        // Where two threads load the same, one of the two is kept.
        match served {
            Served::All if self.joint.get().is_none() => drop(self.joint.set(part(0..3 * width)?)),
            Served::Pooled if self.split.get().is_none() => {
                drop(self.split.set(Split { q: part(0..width)?, kv: part(width..3 * width)? }));
            }
            _ => {}
        }
        Ok(())
    }

    /// Runs the block on every token of `ws.x`, with the precondition `ws.h = ln_1(ws.x)` (what precedes the
    /// block computes it together with its own output); or on the pooled tokens only, which then stand in `ws.pooled`. The block
    /// was loaded to serve these.
    pub fn forward(
        &self,
        backend: &mut B,
        ws: &mut Workspace<B>,
        sequences: Sequences<'_>,
        pool: Pool,
        served: Served,
    ) -> Result<()> {
        let BlockShape { attention: heads, causal, .. } = self.shape;
        let rows = sequences.rows();
        match served {
            Served::All => {
                let qkv = self.joint.get().ok_or_else(unserved)?;
                backend.linear(&ws.h, rows, qkv, &mut ws.qkv)?;
                backend.attention(&ws.qkv, sequences, heads, causal, &mut ws.h)?;
                backend.linear_add(&ws.h, rows, &self.output, &mut ws.x)?;
                let Workspace { x, h, hidden, gates, .. } = ws;
                self.mlp(backend, x, h, [hidden, gates], rows)
            }
            Served::Pooled => {
                let Split { q, kv } = self.split.get().ok_or_else(unserved)?;
                let count = sequences.count();
                backend.linear(&ws.h, rows, kv, &mut ws.qkv)?;
                backend.pool_rows(&ws.h, sequences, heads.width(), pool, &mut ws.pooled_h)?;
                backend.linear(&ws.pooled_h, count, q, &mut ws.pooled_q)?;
                // The pooled token is the first, or the last of a causal sequence: either way it sees all tokens.
                backend.class_attention(&ws.pooled_q, &ws.qkv, sequences, heads, &mut ws.pooled_h)?;
                backend.pool_rows(&ws.x, sequences, heads.width(), pool, &mut ws.pooled)?;
                backend.linear_add(&ws.pooled_h, count, &self.output, &mut ws.pooled)?;
                let Workspace { pooled, pooled_h, hidden, gates, .. } = ws;
                self.mlp(backend, pooled, pooled_h, [hidden, gates], count)
            }
        }
    }

    fn mlp(
        &self,
        backend: &mut B,
        x: &mut B::Buffer,
        h: &mut B::Buffer,
        [hidden, gates]: [&mut B::Buffer; 2],
        rows: usize,
    ) -> Result<()> {
        let BlockShape { mlp, mlp_width, gelu, .. } = self.shape;
        backend.layer_norm(x, rows, &self.ln_2, h)?;
        match mlp {
            Mlp::Gelu => backend.linear_gelu(h, rows, &self.expand, mlp_width, gelu, hidden)?,
            Mlp::SwiGlu => {
                backend.linear(h, rows, &self.expand, gates)?;
                backend.swiglu(gates, rows, mlp_width, hidden)?;
            }
        }
        backend.linear_add(hidden, rows, &self.contract, x)
    }
}

/// The rows `rows` of a layer by the names of its weight and bias, each row times its element of `scale`: a LayerScale folds into
/// the layer before it.
///
/// The products are of f32 whatever the storage type, and exact for halves; a device that rounds weights to halves rounds the
/// products once. A scale of 1e-5, with which training begins, then leaves a weight few digits, but what it contributes is as
/// small beside the stream that it is added to: the error of a weight is 3e-8 at most, not relative.
fn linear<B: Backend>(
    backend: &mut B,
    weights: &Weights,
    [weight, bias]: &[String; 2],
    rows: Range<usize>,
    scale: Option<&str>,
) -> Result<B::Linear> {
    let (weight, bias) = (weights.tensor(weight)?, weights.tensor(bias)?);
    let Some(scale) = scale else { return backend.linear_weights(&weight, rows, Some(&bias)) };
    let scale = weights.tensor(scale)?.to_f32();
    backend.linear_weights(&scaled(weight, &scale), rows, Some(&scaled(bias, &scale)))
}

/// The tensor with each row times its element of `scale`, in f32.
fn scaled<'a>(tensor: TensorView<'a>, scale: &[f32]) -> TensorView<'a> {
    let mut values = tensor.to_f32();
    let width = values.len() / scale.len().max(1);
    for (row, scale) in values.chunks_exact_mut(width.max(1)).zip(scale) {
        row.iter_mut().for_each(|x| *x *= scale);
    }
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorView { dtype: DType::F32, bytes: bytes.into(), ..tensor }
}

fn unserved() -> Error {
    Error::new(ErrorKind::Internal, "a block is to serve tokens for which it was not loaded")
}
