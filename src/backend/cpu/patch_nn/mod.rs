//! Fused patch-cosine nearest neighbour: for each query patch the largest cosine among all prompt patches. The working memory
//! depends on what `taps` has room for and on the threads, not on the images of a call nor on the prompts.
//!
//! Integers screen the prompt patches and floats judge what remains (`screen`, `judge`), with the bits of a search by floats
//! alone (`full`), which serves where the processor's integers are not faster, where a vector is not of unit length or not
//! finite, and where too many patches are alike.

use std::ops::Range;

use super::blocks::{self, BLOCK_ROWS};
use super::packed::MAX_PANEL;
use super::pairs::PairIsa;
use super::pool::Disjoint;
use super::tile::Rows;
use super::{Bank, Cpu};
use crate::backend::need;
use crate::error::Result;

mod full;
mod integers;
mod judge;
mod screen;

use full::Full;
use judge::Judge;
pub(super) use screen::Integers;

/// Tasks for each thread: enough that threads which began late finish together.
const TASKS: usize = 24;

/// Working memory of the search, which grows to what [`Room`] asks for.
#[derive(Default)]
pub(super) struct Memory {
    /// The largest cosines of each share, `[shares, layers, rows]`.
    found: Vec<f32>,
    screen: screen::Memory,
}

impl Cpu {
    /// The integers of unit vectors `[layers, prompts, width]`, if it pays to search by them.
    pub(super) fn integers(&mut self, taps: &[f32], shape: [usize; 3]) -> Option<Integers> {
        Integers::new(&mut self.pool, self.isa, PairIsa::beside(self.isa), taps, shape)
    }

    /// `out[l, b, i] = max_j taps[l, b, i] · bank[l, j]`.
    pub(super) fn nearest(&mut self, taps: &[f32], images: usize, bank: &Bank, out: &mut [f32]) -> Result<()> {
        let (width, layers) = (bank.width, bank.layers);
        let (rows, prompts) = (images * bank.patches, bank.prompts * bank.patches);
        need("patch_nn", "taps", taps.len(), layers * rows * width)?;
        need("patch_nn", "out", out.len(), layers * rows)?;
        let tasks = TASKS * self.pool.threads();
        let search = Search::new([layers, rows, prompts, width], tasks);
        let room = Room::new(taps.len() / width.max(1), layers, tasks);
        self.reserve(full::SCRATCH);
        self.reserve_words(blocks::SCRATCH);
        let Memory { found, screen } = &mut self.nearest;
        let screened =
            bank.integers.as_ref().and_then(|x| x.screen(&mut self.pool, self.isa, taps, &search, &room, screen));
        let len = search.shares * layers * rows;
        grow(found, room.tasks * BLOCK_ROWS);
        let found = Disjoint::new(&mut found[..len]);
        let isa = self.isa;
        self.pool.run(search.tasks(), |task, scratch| {
            let part = search.part(task);
            // SAFETY: each share, layer and block names its own elements, and is run once.
            #[allow(unsafe_code)]
            let best = unsafe { found.slice((part.share * layers + part.layer) * rows + part.first, part.count) };
            let query = Rows::new(&taps[(part.layer * rows + part.first) * width..], width, width);
            let prompts = Rows::new(&bank.taps[part.layer * prompts * width..][..prompts * width], width, width);
            match screened.as_ref().and_then(|screened| screened.of(task, &part)) {
                Some(candidates) => isa.run(Judge { query, prompts, candidates, best }),
                None => isa.run(Full {
                    query,
                    prompts,
                    count: search.prompts,
                    panels: part.panels(isa.panel_width()),
                    scratch: scratch.take(full::SCRATCH),
                    best,
                }),
            }
        });
        let out = &mut out[..layers * rows];
        out.fill(f32::NEG_INFINITY);
        for share in self.nearest.found[..len].chunks_exact(out.len().max(1)) {
            out.iter_mut().zip(share).for_each(|(out, x)| *out = out.max(*x));
        }
        Ok(())
    }
}

/// Makes `memory` hold at least `len` elements.
fn grow<T: Default>(memory: &mut Vec<T>, len: usize) {
    if memory.len() < len {
        memory.resize_with(len, T::default);
    }
}

/// What memory is made for at the first search: for every other of as many rows or fewer it is enough.
struct Room {
    /// Query rows of all layers.
    rows: usize,
    /// Tasks.
    tasks: usize,
}

impl Room {
    /// For searches of up to `rows` rows of `layers` layers in about `tasks` parts.
    fn new(rows: usize, layers: usize, tasks: usize) -> Self {
        // Rounding the shares up adds less than one task for each block of each layer.
        Room { rows, tasks: tasks + layers * (rows / layers.max(1)).div_ceil(BLOCK_ROWS) }
    }
}

/// How a search is shared out: by layers, blocks of query rows, and shares of the prompts.
struct Search {
    layers: usize,
    rows: usize,
    prompts: usize,
    width: usize,
    blocks: usize,
    shares: usize,
}

/// One part of a search.
struct Part {
    layer: usize,
    /// First query row of the block, and how many it has.
    first: usize,
    count: usize,
    share: usize,
    prompts: Range<usize>,
}

impl Search {
    /// In about `tasks` parts.
    fn new([layers, rows, prompts, width]: [usize; 4], tasks: usize) -> Self {
        let blocks = rows.div_ceil(BLOCK_ROWS);
        let shares = tasks.div_ceil((layers * blocks).max(1)).min(prompts.div_ceil(MAX_PANEL));
        Search { layers, rows, prompts, width, blocks, shares }
    }

    fn tasks(&self) -> usize {
        self.layers * self.blocks * self.shares
    }

    fn part(&self, task: usize) -> Part {
        let (share, block, layer) =
            (task % self.shares, task / self.shares % self.blocks, task / self.shares / self.blocks);
        let first = block * BLOCK_ROWS;
        // Whole panels of every width.
        let panels = self.prompts.div_ceil(MAX_PANEL);
        let from = |share| self.prompts.min(share * panels / self.shares * MAX_PANEL);
        Part { layer, first, count: BLOCK_ROWS.min(self.rows - first), share, prompts: from(share)..from(share + 1) }
    }
}

impl Part {
    /// Its panels of `width` columns.
    fn panels(&self, width: usize) -> Range<usize> {
        self.prompts.start / width..self.prompts.end.div_ceil(width)
    }
}

#[cfg(test)]
mod tests;
