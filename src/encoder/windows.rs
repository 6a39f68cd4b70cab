//! Windows of an image: each is a short sequence, the prefix tokens and a square of patches with the positions that they
//! have in the image, and is encoded by the same blocks as the image (WinCLIP).
//!
//! The workspace is bounded in tokens, not in images. Windows are encoded in equal parts that fit into it. A window's bits
//! do not depend on the part, because rows are independent on every backend.

use super::block::{Block, BlockShape, Served, Workspace};
use crate::backend::{Backend, ImageTokens, Norm, PoolToken, Role, Sequences, Windows};
use crate::error::{Error, ErrorKind, Result};
use crate::view::Grid;

/// Tokens that are encoded at once, at most, unless one window has more.
const WINDOW_TOKENS: usize = 1024;

/// How many windows of `tokens` tokens are encoded at once, at most, if there are up to `all` of them.
pub(crate) fn windows_at_once(tokens: usize, all: usize) -> usize {
    (WINDOW_TOKENS / tokens.max(1)).clamp(1, all.max(1))
}

/// The embeddings of the windows of a batch, on the device.
pub struct WindowFeatures<B: Backend> {
    /// Patches along a side of a window, S.
    pub side: usize,
    /// Class embeddings of the M windows of each view, `[B, M, E]`, [`Grid::windows`] row by row: of unit length, or as
    /// they are, as is [wanted](super::Wants).
    pub embeddings: B::Buffer,
}

/// The parts of a vision tower that encode windows.
pub(super) struct Tower<'a, B: Backend> {
    pub blocks: &'a [Block<B>],
    pub final_norm: &'a Norm<B>,
    pub projection: Option<&'a B::Linear>,
    /// Width of an embedding, E.
    pub embedding: usize,
}

/// One pipeline's memory for the windows that are encoded at once.
pub(super) struct WindowWorkspace<B: Backend> {
    blocks: Workspace<B>,
    /// Pooled tokens after the final norm, `[C, W]`.
    normalised: B::Buffer,
    /// The embeddings of a part, `[C, E]`.
    class: B::Buffer,
    /// For each side, the ends of the sequences of the largest part.
    ends: Vec<Vec<usize>>,
    /// Whether embeddings are scaled to unit length.
    unit: bool,
}

impl<B: Backend> WindowWorkspace<B> {
    /// Memory for windows with these `sides`, in batches of up to `views` images of up to `cells` patches each, and for
    /// their embeddings.
    pub fn new(
        backend: &B,
        shape: BlockShape,
        [prefix, embedding]: [usize; 2],
        sides: &[usize],
        unit: bool,
        [views, cells]: [usize; 2],
    ) -> Result<(Self, Vec<WindowFeatures<B>>)> {
        let mut features = Vec::with_capacity(sides.len());
        let (mut ends, mut rows, mut most) = (Vec::with_capacity(sides.len()), 0, 0);
        for &side in sides {
            let (tokens, all) = (prefix + side * side, views * cells);
            let count = windows_at_once(tokens, all);
            // The parts are equal: each may have one window that is not needed.
            let len = (all + all.div_ceil(count)) * embedding;
            let role = if unit { Role::UnitRows } else { Role::Stream };
            features.push(WindowFeatures { side, embeddings: backend.buffer(role, len)? });
            ends.push((1..=count).map(|window| window * tokens).collect());
            (rows, most) = (rows.max(count * tokens), most.max(count));
        }
        let workspace = WindowWorkspace {
            blocks: Workspace::new(backend, shape, rows, most)?,
            normalised: backend.buffer(Role::Operand, most * shape.attention.width())?,
            class: backend.buffer(Role::Stream, most * embedding)?,
            ends,
            unit,
        };
        Ok((workspace, features))
    }

    /// Encodes all windows of `images` images of `grid`, whose token rows `x` are those before the first block.
    pub fn encode(
        &mut self,
        backend: &mut B,
        tower: &Tower<'_, B>,
        x: &B::Buffer,
        [images, prefix]: [usize; 2],
        grid: Grid,
        features: &mut [WindowFeatures<B>],
    ) -> Result<()> {
        let width = tower.blocks.first().map_or(0, Block::width);
        let WindowWorkspace { blocks, normalised, class, ends, unit } = self;
        for (WindowFeatures { side, embeddings }, ends) in features.iter_mut().zip(ends.iter()) {
            let mut at = Windows { images, prefix, grid, side: *side, first: 0, count: 0 };
            if at.all() == 0 {
                let message = format!("{grid} patches have no windows of {side} x {side}: use a larger size");
                return Err(Error::new(ErrorKind::Argument, message));
            }
            let parts = at.all().div_ceil(ends.len());
            at.count = at.all().div_ceil(parts);
            let sequences = Sequences { ends: &ends[..at.count] };
            // The rows of all parts as if each were a tap of one image.
            let rows = ImageTokens { prefix: 0, patches: at.count };
            for part in 0..parts {
                at.first = part * at.count;
                backend.window_tokens(x, &at, width, &mut blocks.x)?;
                tower.run(backend, blocks, sequences, normalised, class)?;
                if *unit {
                    backend.unit_patches(class, 1, rows, tower.embedding, None, part, embeddings)?;
                } else {
                    backend.plain_patches(class, 1, rows, tower.embedding, None, part, embeddings)?;
                }
            }
        }
        Ok(())
    }
}

impl<B: Backend> Tower<'_, B> {
    /// From the token rows `ws.x` of sequences to their embeddings.
    fn run(
        &self,
        backend: &mut B,
        ws: &mut Workspace<B>,
        sequences: Sequences<'_>,
        normalised: &mut B::Buffer,
        class: &mut B::Buffer,
    ) -> Result<()> {
        let (layers, count) = (self.blocks.len(), sequences.count());
        for (i, block) in self.blocks.iter().enumerate() {
            backend.layer_norm(&ws.x, sequences.rows(), &block.ln_1, &mut ws.h)?;
            block.forward(backend, ws, sequences, PoolToken::First, served(i, layers))?;
        }
        let Some(projection) = self.projection else {
            return backend.layer_norm(&ws.pooled, count, self.final_norm, class);
        };
        backend.layer_norm(&ws.pooled, count, self.final_norm, normalised)?;
        backend.linear(normalised, count, projection, class)
    }
}

/// The tokens of a window that block `i` of `layers`, counted from 0, serves.
pub(super) fn served(i: usize, layers: usize) -> Served {
    if i + 1 == layers { Served::Pooled } else { Served::All }
}
