//! Windows of an image: each is a short sequence, the prefix tokens and a square of patches with the positions that they
//! have in the image, and is encoded by the same blocks as the image (WinCLIP).
//!
//! The workspace is bounded in tokens, not in images. Windows are encoded in equal parts that fit into it. A window's bits
//! do not depend on the part, because rows are independent on every backend.

use super::block::{Block, BlockShape, Served, Workspace};
use super::vision::Wanted;
use super::wants::Wants;
use crate::backend::{Backend, ImageTokens, Norm, PoolToken, Role, Sequences, Windows};
use crate::error::Result;
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
    /// Whether they are scaled to unit length.
    unit: bool,
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
    /// Each side, with the ends of the sequences of its largest part.
    sides: Vec<(usize, Vec<usize>)>,
}

impl<B: Backend> WindowWorkspace<B> {
    /// Memory to encode windows with these `sides`, in batches of up to `views` images of up to `cells` patches each.
    pub fn new(
        backend: &B,
        shape: BlockShape,
        [prefix, embedding]: [usize; 2],
        sides: impl IntoIterator<Item = usize>,
        [views, cells]: [usize; 2],
    ) -> Result<Self> {
        let (mut each, mut rows, mut most) = (Vec::new(), 0, 0);
        for side in sides {
            let tokens = prefix + side * side;
            let count = windows_at_once(tokens, views * cells);
            each.push((side, (1..=count).map(|window| window * tokens).collect()));
            (rows, most) = (rows.max(count * tokens), most.max(count));
        }
        Ok(WindowWorkspace {
            blocks: Workspace::new(backend, shape, rows, most)?,
            normalised: backend.buffer(Role::Operand, most * shape.attention.width())?,
            class: backend.buffer(Role::Stream, most * embedding)?,
            sides: each,
        })
    }

    /// Encodes all windows of `images` images of `grid`, whose token rows `x` are those before the first block, once for
    /// everyone in `wanted` who wants them. A grid that is too small for a side has none of it, and the method that wants
    /// them refuses the grid.
    pub fn encode(
        &mut self,
        backend: &mut B,
        tower: &Tower<'_, B>,
        x: &B::Buffer,
        [images, prefix]: [usize; 2],
        grid: Grid,
        wanted: &mut [Wanted<B>],
    ) -> Result<()> {
        let width = tower.blocks.first().map_or(0, Block::width);
        let WindowWorkspace { blocks, normalised, class, sides } = self;
        for (side, ends) in sides.iter() {
            let mut at = Windows { images, prefix, grid, side: *side, first: 0, count: 0 };
            if at.all() == 0 {
                continue;
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
                let of_all = wanted.iter_mut().flat_map(|wanted| &mut wanted.features.windows);
                for WindowFeatures { embeddings, unit, .. } in of_all.filter(|windows| windows.side == *side) {
                    if *unit {
                        backend.unit_patches(class, 1, rows, tower.embedding, None, part, embeddings)?;
                    } else {
                        backend.plain_patches(class, 1, rows, tower.embedding, None, part, embeddings)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<B: Backend> WindowFeatures<B> {
    /// Memory for the embeddings of all windows that are wanted, in batches of up to `views` images of up to `cells`
    /// patches each.
    pub(super) fn of(
        backend: &B,
        wants: &Wants,
        [prefix, embedding]: [usize; 2],
        [views, cells]: [usize; 2],
    ) -> Result<Vec<Self>> {
        let of_side = |&side: &usize| {
            let all = views * cells;
            let count = windows_at_once(prefix + side * side, all);
            // The parts are equal: each may have one window that is not needed.
            let len = (all + all.div_ceil(count)) * embedding;
            let role = if wants.unit { Role::UnitRows } else { Role::Stream };
            Ok(WindowFeatures { side, embeddings: backend.buffer(role, len)?, unit: wants.unit })
        };
        wants.windows.iter().map(of_side).collect()
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
