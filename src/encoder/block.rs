//! One pre-norm transformer block: `x += attention(ln_1(x))`, then `x += mlp(ln_2(x))`.

use std::ops::Range;
use std::sync::OnceLock;

use crate::backend::{AttentionShape, Backend, Gelu, Norm, Pool, Role, Sequences};
use crate::error::{Error, ErrorKind, Result};
use crate::weights::Weights;

/// Shapes of a tower that its blocks share.
#[derive(Clone, Copy, Debug)]
pub struct BlockShape {
    /// Heads and their size; together the width `W` of the tower.
    pub attention: AttentionShape,
    /// Width `M` of the MLP's hidden layer.
    pub mlp_width: usize,
    /// Activation of the MLP.
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
    /// Residual stream of the pooled tokens `[S, W]`.
    pub pooled: B::Buffer,
    pooled_h: B::Buffer,
    pooled_q: B::Buffer,
}

impl<B: Backend> Workspace<B> {
    /// Memory for `rows` token rows in `sequences` sequences.
    pub fn new(backend: &B, shape: BlockShape, rows: usize, sequences: usize) -> Result<Self> {
        let width = shape.attention.width();
        Ok(Workspace {
            x: backend.buffer(Role::Stream, rows * width)?,
            h: backend.buffer(Role::Operand, rows * width)?,
            qkv: backend.buffer(Role::Operand, rows * 3 * width)?,
            hidden: backend.buffer(Role::Operand, rows * shape.mlp_width)?,
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

/// CLIP's epsilon of layer norms.
const EPSILON: f32 = 1e-5;

/// Reads the layer norm `name`.
pub fn load_norm<B: Backend>(backend: &mut B, weights: &Weights, name: &str) -> Result<Norm<B>> {
    Ok(Norm {
        epsilon: EPSILON,
        weight: backend.constant(&weights.tensor(&format!("{name}.weight"))?)?,
        bias: backend.constant(&weights.tensor(&format!("{name}.bias"))?)?,
    })
}

impl<B: Backend> Block<B> {
    /// Reads the block whose tensors begin with `prefix` (`transformer.resblocks.3.`), to serve these tokens.
    pub fn load(backend: &mut B, weights: &Weights, prefix: &str, shape: BlockShape, served: Served) -> Result<Self> {
        let width = shape.attention.width();
        let mut linear = |weight: &str, bias: &str, rows| linear(backend, weights, prefix, [weight, bias], rows);
        let output = linear("attn.out_proj.weight", "attn.out_proj.bias", 0..width)?;
        let expand = linear("mlp.c_fc.weight", "mlp.c_fc.bias", 0..shape.mlp_width)?;
        let contract = linear("mlp.c_proj.weight", "mlp.c_proj.bias", 0..width)?;
        let ln_1 = load_norm(backend, weights, &format!("{prefix}ln_1"))?;
        let ln_2 = load_norm(backend, weights, &format!("{prefix}ln_2"))?;
        let (joint, split) = (OnceLock::new(), OnceLock::new());
        let block = Block { shape, ln_1, joint, split, output, ln_2, expand, contract };
        block.serve(backend, weights, prefix, served)?;
        Ok(block)
    }

    /// Reads what serving these tokens needs, where it is not there.
    pub fn serve(&self, backend: &mut B, weights: &Weights, prefix: &str, served: Served) -> Result<()> {
        let width = self.shape.attention.width();
        let names = ["attn.in_proj_weight", "attn.in_proj_bias"];
        let mut part = |rows| linear(backend, weights, prefix, names, rows);
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
                self.mlp(backend, &mut ws.x, &mut ws.h, &mut ws.hidden, rows)
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
                self.mlp(backend, &mut ws.pooled, &mut ws.pooled_h, &mut ws.hidden, count)
            }
        }
    }

    fn mlp(
        &self,
        backend: &mut B,
        x: &mut B::Buffer,
        h: &mut B::Buffer,
        hidden: &mut B::Buffer,
        rows: usize,
    ) -> Result<()> {
        let BlockShape { mlp_width, gelu, .. } = self.shape;
        backend.layer_norm(x, rows, &self.ln_2, h)?;
        backend.linear_gelu(h, rows, &self.expand, mlp_width, gelu, hidden)?;
        backend.linear_add(hidden, rows, &self.contract, x)
    }
}

/// The rows `rows` of a layer by the names of its weight and bias.
fn linear<B: Backend>(
    backend: &mut B,
    weights: &Weights,
    prefix: &str,
    [weight, bias]: [&str; 2],
    rows: Range<usize>,
) -> Result<B::Linear> {
    let weight = weights.tensor(&format!("{prefix}{weight}"))?;
    let bias = weights.tensor(&format!("{prefix}{bias}"))?;
    backend.linear_weights(&weight, rows, Some(&bias))
}

fn unserved() -> Error {
    Error::new(ErrorKind::Internal, "a block is to serve tokens for which it was not loaded")
}
