//! One pre-norm transformer block: `x += attention(ln_1(x))`, then `x += mlp(ln_2(x))`.

use crate::backend::{AttentionShape, Backend, Gelu, Norm, Pool, Role, Sequences};
use crate::error::Result;
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

/// The layers of a block. The last block of a tower, where it serves the pooled token only, has its query projection
/// apart from keys and values.
pub struct Block<B: Backend> {
    shape: BlockShape,
    /// The norm of the first sublayer, which [`Block::forward`] expects to have been applied.
    pub ln_1: Norm<B>,
    input: Projection<B>,
    output: B::Linear,
    ln_2: Norm<B>,
    expand: B::Linear,
    contract: B::Linear,
}

enum Projection<B: Backend> {
    /// `[3W, W]`
    Joint(B::Linear),
    /// `[W, W]` and `[2W, W]`
    Split { q: B::Linear, kv: B::Linear },
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
    /// Reads the block whose tensors begin with `prefix` (`transformer.resblocks.3.`); where `pooled`, to serve the
    /// pooled tokens only.
    pub fn load(backend: &mut B, weights: &Weights, prefix: &str, shape: BlockShape, pooled: bool) -> Result<Self> {
        let width = shape.attention.width();
        let mut linear = |weight: &str, bias: &str, rows| {
            let weight = weights.tensor(&format!("{prefix}{weight}"))?;
            let bias = weights.tensor(&format!("{prefix}{bias}"))?;
            backend.linear_weights(&weight, rows, Some(&bias))
        };
        let (weight, bias) = ("attn.in_proj_weight", "attn.in_proj_bias");
        let input = if pooled {
            Projection::Split { q: linear(weight, bias, 0..width)?, kv: linear(weight, bias, width..3 * width)? }
        } else {
            Projection::Joint(linear(weight, bias, 0..3 * width)?)
        };
        let output = linear("attn.out_proj.weight", "attn.out_proj.bias", 0..width)?;
        let expand = linear("mlp.c_fc.weight", "mlp.c_fc.bias", 0..shape.mlp_width)?;
        let contract = linear("mlp.c_proj.weight", "mlp.c_proj.bias", 0..width)?;
        let ln_1 = load_norm(backend, weights, &format!("{prefix}ln_1"))?;
        let ln_2 = load_norm(backend, weights, &format!("{prefix}ln_2"))?;
        Ok(Block { shape, ln_1, input, output, ln_2, expand, contract })
    }

    /// Runs the block on every token of `ws.x`, with the precondition `ws.h = ln_1(ws.x)` (what precedes the
    /// block computes it together with its own output); where the block was loaded pooled, on the pooled tokens only, which then
    /// stand in `ws.pooled`.
    pub fn forward(&self, backend: &mut B, ws: &mut Workspace<B>, sequences: Sequences<'_>, pool: Pool) -> Result<()> {
        let BlockShape { attention: heads, causal, .. } = self.shape;
        let rows = sequences.rows();
        match &self.input {
            Projection::Joint(qkv) => {
                backend.linear(&ws.h, rows, qkv, &mut ws.qkv)?;
                backend.attention(&ws.qkv, sequences, heads, causal, &mut ws.h)?;
                backend.linear_add(&ws.h, rows, &self.output, &mut ws.x)?;
                self.mlp(backend, &mut ws.x, &mut ws.h, &mut ws.hidden, rows)
            }
            Projection::Split { q, kv } => {
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

    /// Whether [`Block::forward`] serves the pooled tokens only.
    pub fn is_pooled(&self) -> bool {
        matches!(self.input, Projection::Split { .. })
    }
}
