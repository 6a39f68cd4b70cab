//! Fused patch-cosine nearest neighbour: for each query patch the largest cosine among all bank rows. The working
//! memory depends on what `taps` has room for and on the threads, not on the images of a call nor on the bank.
//!
//! Bytes screen the bank rows (`integers`, `screen`), and floats rescore what remains (`rescore`). Those of a large
//! bank stand in an order in which neighbours are alike (`order`); a first look at a few of them (`seek`) and bounds
//! along a few axes (`axes`, `sieve`) rule most of them out. The bits are those of a search by floats alone (`full`),
//! which serves where the processor's bytes are not faster, where a vector is not of unit length or not finite, and
//! where too many patches are alike.

use std::ops::Range;

use super::blocks::BLOCK_ROWS;
use super::packed::MAX_PANEL;
use super::pool::Disjoint;
use super::tile::Rows;
use super::{Bank, Cpu};
use crate::backend::{Search, need};
use crate::error::Result;
use crate::memory::grow;

mod axes;
mod full;
mod integers;
mod order;
mod quantised;
mod rescore;
mod rows;
mod screen;
mod seek;
mod sieve;

use full::Full;
pub(super) use integers::Integers;
pub(super) use rescore::Candidate;
pub(super) use screen::{scratch_floats, scratch_words};

/// Tasks for each thread: enough that threads which began late finish together.
const TASKS: usize = 24;

/// Whose memory it is, in words.
const WHAT: &str = "the search for nearest neighbours";

/// Working memory of the search, which grows to what [`Room`] asks for.
#[derive(Default)]
pub(super) struct Memory {
    /// The largest cosines of each share, `[shares, layers, rows]`.
    found: Vec<f32>,
    /// Where they were found, where that is asked for.
    places: Vec<i32>,
    screen: integers::Memory,
}

/// Bytes of [`Memory`] after searches of up to `rows` query rows, those of all `layers` layers, with or without
/// `integers`.
pub(super) fn bytes(integers: bool, rows: usize, layers: usize, width: usize, threads: usize) -> usize {
    let room = Room::new(rows, layers, TASKS * threads);
    let found = room.tasks.saturating_mul(BLOCK_ROWS * size_of::<f32>());
    let screen = if integers { integers::Memory::bytes(rows, width) } else { 0 };
    found.saturating_add(screen).saturating_add(threads.saturating_mul(screen::CANDIDATE_BYTES))
}

impl Cpu {
    /// The bytes of unit vectors `[layers, bank rows, width]`, if it pays to search by them.
    pub(super) fn integers(&mut self, taps: &[f32], shape: [usize; 3]) -> Result<Option<Integers>> {
        Integers::new(&mut self.pool, self.isa, self.bytes, taps, shape)
    }

    /// `out[l, i] = max_j queries[l, i] · bank[l, j]` for the rows that `at` names.
    pub(super) fn run_patch_nn(&mut self, queries: &[f32], at: &Search, bank: &Bank, out: &mut [f32]) -> Result<()> {
        let tensor = bank.rows("patch_nn", at.tensor)?;
        let [layers, bank_rows, width] = tensor.shape;
        let rows = at.queries.len();
        need("patch_nn", "queries", queries.len(), at.query_len(layers) * width)?;
        need("patch_nn", "out", out.len(), at.out_len(layers))?;
        let tasks = TASKS * self.pool.threads();
        let queries = Queries { values: queries, pitch: at.query_pitch, first: at.queries.start, width };
        let parts = Parts::new([layers, rows, bank_rows], tasks);
        let room = Room::new(queries.values.len() / width.max(1), layers, tasks);
        screen::reserve(&mut self.pool, width)?;
        let Memory { found, screen, .. } = &mut self.nearest;
        let isa = self.isa;
        let screened = match &tensor.integers {
            Some(integers) => {
                integers.prepare(&mut self.pool, isa, &tensor.values, queries, [rows, room.rows], screen)?
            }
            None => None,
        };
        let len = parts.shares * layers * rows;
        grow(WHAT, found, room.tasks * BLOCK_ROWS)?;
        let found = Disjoint::new(&mut found[..len]);
        self.pool.run(parts.tasks(), |task, scratch| {
            let part = parts.part(task);
            // SAFETY: each share, layer and block names its own elements, and is run once.
            #[allow(unsafe_code)]
            let best = unsafe { found.slice((part.share * layers + part.layer) * rows + part.first, part.count) };
            let query = Rows::new(queries.from(part.layer, part.first), width, width);
            let bank_rows =
                Rows::new(&tensor.values[part.layer * bank_rows * width..][..bank_rows * width], width, width);
            let rescored =
                screened.as_ref().and_then(|screened| screened.search(&part, query, bank_rows, scratch, best));
            if rescored.is_none() {
                isa.run(Full {
                    query,
                    bank_rows,
                    count: parts.bank_rows,
                    order: screened.as_ref().and_then(|screened| screened.order(part.layer)),
                    panels: part.panels(isa.panel_width()),
                    scratch: scratch.take(full::SCRATCH),
                    best,
                });
            }
        });
        let found = &self.nearest.found[..len];
        for layer in 0..layers {
            let out = &mut out[layer * at.out_pitch + at.first_out..][..rows];
            out.fill(f32::NEG_INFINITY);
            for share in 0..parts.shares {
                let found = &found[(share * layers + layer) * rows..][..rows];
                out.iter_mut().zip(found).for_each(|(out, x)| *out = out.max(*x));
            }
        }
        Ok(())
    }
}

/// Rows of every layer of a tensor `[layers, pitch, width]`, from row `first` of each.
#[derive(Clone, Copy)]
struct Queries<'a> {
    values: &'a [f32],
    pitch: usize,
    first: usize,
    width: usize,
}

impl<'a> Queries<'a> {
    /// The rows of a layer from `row` on, with whatever follows.
    fn from(self, layer: usize, row: usize) -> &'a [f32] {
        &self.values[(layer * self.pitch + self.first + row) * self.width..]
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

/// How a search is shared out: by layers, blocks of query rows, and shares of the bank.
struct Parts {
    layers: usize,
    rows: usize,
    bank_rows: usize,
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
    bank_rows: Range<usize>,
}

impl Parts {
    /// In about `tasks` parts.
    fn new([layers, rows, bank_rows]: [usize; 3], tasks: usize) -> Self {
        let blocks = rows.div_ceil(BLOCK_ROWS);
        let shares = tasks.div_ceil((layers * blocks).max(1)).min(bank_rows.div_ceil(MAX_PANEL));
        Parts { layers, rows, bank_rows, blocks, shares }
    }

    fn tasks(&self) -> usize {
        self.layers * self.blocks * self.shares
    }

    fn part(&self, task: usize) -> Part {
        let (share, block, layer) =
            (task % self.shares, task / self.shares % self.blocks, task / self.shares / self.blocks);
        let first = block * BLOCK_ROWS;
        // Whole panels of every width.
        let panels = self.bank_rows.div_ceil(MAX_PANEL);
        let from = |share| self.bank_rows.min(share * panels / self.shares * MAX_PANEL);
        Part { layer, first, count: BLOCK_ROWS.min(self.rows - first), share, bank_rows: from(share)..from(share + 1) }
    }
}

impl Part {
    /// Its panels of `width` columns.
    fn panels(&self, width: usize) -> Range<usize> {
        self.bank_rows.start / width..self.bank_rows.end.div_ceil(width)
    }
}

#[cfg(test)]
mod tests;
