//! One pre-norm transformer block: `x += attention(ln_1(x))`, then `x += mlp(ln_2(x))`.

use std::ops::Range;
use std::sync::OnceLock;

use super::vit::layout;
use crate::backend::{AttentionShape, Backend, Gelu, Norm, PoolToken, Role, Sequences};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::tensor::{DType, TensorView};
use crate::weights::{Mlp, Weights};

/// The shapes that all blocks of a tower share.
#[derive(Clone, Copy, Debug)]
pub struct BlockShape {
    /// Heads and their size; together the width `W` of the tower.
    pub attention: AttentionShape,
    /// Width `M` of the MLP's hidden layer.
    pub mlp_width: usize,
    /// The kind of MLP.
    pub mlp: Mlp,
    /// Activation of an ungated MLP.
    pub gelu: Gelu,
    /// Whether a token sees only itself and earlier tokens.
    pub causal: bool,
}

/// Activations of a tower: taken once for the largest batch, then reused by every block.
pub struct Workspace<B: Backend> {
    /// Residual stream `[T, W]`.
    pub x: B::Buffer,
    /// Normalised input of a sublayer, later attention's output, `[T, W]`.
    pub h: B::Buffer,
    /// Queries, keys, values `[T, 3W]`, or keys and values `[T, 2W]`.
    qkv: B::Buffer,
    /// Hidden layer of the MLP `[T, M]`.
    hidden: B::Buffer,
    /// Both halves of a gated MLP's hidden layer, `[T, 2M]`; empty for an ungated MLP.
    gates: B::Buffer,
    /// Residual stream of the pooled tokens `[S, W]`.
    pub pooled: B::Buffer,
    pooled_h: B::Buffer,
    pooled_q: B::Buffer,
}

impl<B: Backend> Workspace<B> {
    /// Takes memory for `rows` token rows in `sequences` sequences.
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
    /// Whether the projection to queries, keys and values keeps its bits.
    early: bool,
    /// The norm of the first sublayer. The caller of [`Block::forward`] applies it.
    pub ln_1: Norm<B>,
    /// The projection to queries, keys and values, in the forms of [`Served`] that are loaded.
    joint: OnceLock<B::Linear>,
    split: OnceLock<Split<B>>,
    output: B::Linear,
    ln_2: Norm<B>,
    expand: B::Linear,
    contract: B::Linear,
}

/// Queries `[W, W]`, separate from keys and values `[2W, W]`.
struct Split<B: Backend> {
    q: B::Linear,
    kv: B::Linear,
}

/// The tokens for which a block computes its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// All of them.
    All,
    /// Only the pooled token of each sequence, for a last block of which nothing else is wanted.
    Pooled,
}

/// Reads the layer norm `name`, with the epsilon of the encoder's family.
pub fn load_norm<B: Backend>(backend: &mut B, weights: &Weights, name: &str) -> Result<Norm<B>> {
    Ok(Norm {
        epsilon: layout(weights.arch())?.epsilon,
        weight: backend.constant(&weights.tensor(&format!("{name}.weight"))?)?,
        bias: backend.constant(&weights.tensor(&format!("{name}.bias"))?)?,
    })
}

impl<B: Backend> Block<B> {
    /// Reads the block whose tensor names begin with `prefix` (`blocks.3.`), to serve these tokens. An `early` block of
    /// a tower keeps the bits of its queries, keys and values where other weights are quantised: all later blocks
    /// carry on the errors of its attention, and those of its other layers are smaller.
    pub fn load(
        backend: &mut B,
        weights: &Weights,
        prefix: &str,
        shape: BlockShape,
        early: bool,
        served: Served,
    ) -> Result<Self> {
        let width = shape.attention.width();
        let names = &layout(weights.arch())?.block;
        let scale = |sublayer: usize| names.scales.map(|scales| format!("{prefix}{}", scales[sublayer]));
        let mut linear = |module: &str, rows, scale: Option<String>, norm: Option<String>| {
            let names = [".weight", ".bias"].map(|field| format!("{prefix}{module}{field}"));
            linear(backend, weights, &names, rows, [scale, norm], served == Served::All)
        };
        let [expand, contract] = names.mlp(shape.mlp);
        let output = linear(names.output, 0..width, scale(0), None)?;
        let norm_2 = format!("{prefix}{}.weight", names.norm_2);
        let expand = linear(expand, 0..shape.mlp.inner_width(shape.mlp_width), None, Some(norm_2))?;
        let contract = linear(contract, 0..width, scale(1), None)?;
        let ln_1 = load_norm(backend, weights, &format!("{prefix}{}", names.norm_1))?;
        let ln_2 = load_norm(backend, weights, &format!("{prefix}{}", names.norm_2))?;
        let (joint, split) = (OnceLock::new(), OnceLock::new());
        let block = Block { shape, early, ln_1, joint, split, output, ln_2, expand, contract };
        block.serve(backend, weights, prefix, served)?;
        Ok(block)
    }

    /// Reads the weights that serving these tokens needs, unless they are loaded.
    pub fn serve(&self, backend: &mut B, weights: &Weights, prefix: &str, served: Served) -> Result<()> {
        let width = self.shape.attention.width();
        let names = &layout(weights.arch())?.block;
        let norm_1 = format!("{prefix}{}.weight", names.norm_1);
        let quantised = served == Served::All && !self.early;
        let names = names.qkv.map(|name| format!("{prefix}{name}"));
        let mut part = |rows| linear(backend, weights, &names, rows, [None, Some(norm_1.clone())], quantised);
        // If two threads load the same weights, one copy is kept.
        match served {
            Served::All if self.joint.get().is_none() => drop(self.joint.set(part(0..3 * width)?)),
            Served::Pooled if self.split.get().is_none() => {
                drop(self.split.set(Split { q: part(0..width)?, kv: part(width..3 * width)? }));
            }
            _ => {}
        }
        Ok(())
    }

    /// The width of a token, W.
    pub fn width(&self) -> usize {
        self.shape.attention.width()
    }

    /// Runs the block on every token of `ws.x`, or only on the pooled tokens, with the result in `ws.pooled`.
    /// Precondition: `ws.h = ln_1(ws.x)`, which the previous step computes together with its own output. The block must
    /// have been loaded to serve these tokens.
    pub fn forward(
        &self,
        backend: &mut B,
        ws: &mut Workspace<B>,
        sequences: Sequences<'_>,
        pool: PoolToken,
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
                // The pooled token is the first one, or the last one of a causal sequence. In both cases it sees all
                // tokens.
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

/// The rows `rows` of a layer, given the names of its weight and bias, with each row multiplied by its element of
/// `scale`: a LayerScale is folded into the layer before it. `norm` names the gains of the norm that the layer reads.
/// One that may be `quantised` may be stored in fewer bits.
///
/// The products are computed in f32 for every storage type and are exact for halves. A device that stores halves rounds
/// the products once. With a scale of 1e-5, the initial value in training, a weight then keeps few digits, but its
/// contribution to the residual stream is just as small: the absolute error of a weight is at most 3e-8.
fn linear<B: Backend>(
    backend: &mut B,
    weights: &Weights,
    [weight, bias]: &[String; 2],
    rows: Range<usize>,
    [scale, norm]: [Option<String>; 2],
    quantised: bool,
) -> Result<B::Linear> {
    let (mut weight, mut bias) = (weights.tensor(weight)?, weights.tensor(bias)?);
    if let Some(scale) = scale {
        let scale = weights.tensor(&scale)?.to_f32()?;
        (weight, bias) = (scaled(weight, &scale)?, scaled(bias, &scale)?);
    }
    if !quantised {
        return backend.linear_weights(&weight, rows, Some(&bias));
    }
    let gains = norm.map(|norm| weights.tensor(&norm)?.to_f32()).transpose()?;
    backend.token_weights(&weight, rows, Some(&bias), gains.as_deref())
}

/// The tensor with each row multiplied by its element of `scale`, in f32.
fn scaled<'a>(tensor: TensorView<'a>, scale: &[f32]) -> Result<TensorView<'a>> {
    let mut values = tensor.to_f32()?;
    let width = values.len() / scale.len().max(1);
    for (row, scale) in values.chunks_exact_mut(width.max(1)).zip(scale) {
        row.iter_mut().for_each(|x| *x *= scale);
    }
    let mut bytes = memory::zeros::<u8>("a layer with its scale", size_of_val(&*values))?;
    bytes.as_chunks_mut().0.iter_mut().zip(&values).for_each(|(bytes, x)| *bytes = x.to_le_bytes());
    Ok(TensorView { dtype: DType::F32, bytes: bytes.into(), ..tensor })
}

fn unserved() -> Error {
    Error::new(ErrorKind::Internal, "a block was asked to serve tokens for which it was not loaded")
}
