//! Screens the bank rows by cosines that are estimated from bytes, of which one instruction takes four times as many:
//! what is estimated further below the largest known cosine than the estimate can be off is not the nearest. The few
//! that remain are rescored by floats as they are found, which raises the largest known cosine for all that follow.
//! Where the bank has axes, bounds along them come first (`sieve`).

use std::ops::Range;
use std::sync::atomic::{AtomicI32, Ordering};

use super::integers::{ordered, unordered};
use super::quantised::{self, chain_error};
use super::rescore::{Candidate, Dot, Rescore};
use super::sieve::{self, Sieve};
use super::{Part, axes, full, seek};
use crate::backend::cpu::Scratch;
use crate::backend::cpu::blocks::{self, BLOCK_PANELS, BLOCK_ROWS, Panels, walk};
use crate::backend::cpu::bytes::{ByteIsa, ByteKernel, Bytes, Columns};
use crate::backend::cpu::packed::MAX_PANEL;
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::simd::Isa;
use crate::backend::cpu::tile::{Lines, Rows};
use crate::error::Result;
use crate::memory::grow;

/// Candidates that a thread keeps for the chain of multiply-adds.
const CANDIDATES: usize = 2 * BLOCK_ROWS;
/// Patches of the full product that cost what rescoring one costs.
const RESCORED: usize = 10;
/// Patches that are rescored of a query patch before they are counted: the first ones raise the largest known cosine.
const FIRST: usize = 16;
/// Patches of one panel that memory is asked for before they are rescored.
const ASKED: u32 = 4;
/// Floats of a cache line.
const LINE: usize = 16;

/// Floats that a thread works with.
pub(in crate::backend::cpu) fn scratch_floats(width: usize) -> usize {
    // Rows of a panel, and the same shortened.
    let shorten = MAX_PANEL * (width + axes::longest(width)) + axes::scratch_floats(width);
    full::SCRATCH.max(4 * quantised::words(width) + shorten)
}

/// Words that a thread works with.
pub(in crate::backend::cpu) fn scratch_words(width: usize) -> usize {
    (blocks::SCRATCH + sieve::words(width)).max(seek::WORDS).max(quantised::words(width))
}

/// Bytes of the candidates that a thread keeps.
pub(super) const CANDIDATE_BYTES: usize = CANDIDATES * size_of::<Candidate>();

/// Gives every thread what any search of vectors of this width takes.
///
/// # Errors
/// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
pub(super) fn reserve(pool: &mut Pool<Scratch>, width: usize) -> Result<()> {
    const WHAT: &str = "the working memory of a thread";
    pool.scratch_mut().try_for_each(|scratch| {
        grow(WHAT, &mut scratch.floats, scratch_floats(width))?;
        grow(WHAT, &mut scratch.words, scratch_words(width))?;
        grow(WHAT, &mut scratch.candidates, CANDIDATES)
    })
}

/// Prompt patches and query rows as bytes, whole or shortened.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    /// Elements of a row.
    pub width: usize,
    /// `[layers, panels, words, panel_width]`.
    pub panels: &'a [i32],
    /// `[layers, panels, 3, panel_width]`.
    pub columns: &'a [f32],
    /// `[layers, rows, words]`.
    pub words: &'a [i32],
    /// `[layers, rows]`, as `bases`.
    pub scales: &'a [f32],
    pub bases: &'a [f32],
}

/// The table of a block of query rows and of one layer.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// `[panels, words, 2 * LANES]`.
    panels: &'a [i32],
    /// `[panels, 3, 2 * LANES]`.
    columns: &'a [f32],
    pub words: Rows<'a, i32>,
    pub scales: &'a [f32],
    bases: &'a [f32],
}

impl<'a> Table<'a> {
    /// Rows `first .. first + count` of all, of a layer of `layers`.
    fn block(&self, layers: usize, layer: usize, first: usize, count: usize) -> Block<'a> {
        let words = quantised::words(self.width);
        let (panels, columns) = (self.panels.len() / layers, self.columns.len() / layers);
        Block {
            panels: &self.panels[layer * panels..][..panels],
            columns: &self.columns[layer * columns..][..columns],
            words: Rows::new(&self.words[first * words..], words, words),
            scales: &self.scales[first..][..count],
            bases: &self.bases[first..][..count],
        }
    }
}

impl<'a> Block<'a> {
    /// Words of a panel, from one of the inner dimension on.
    #[inline(always)]
    pub fn strip<B: Bytes>(&self, panel: usize, from: usize, length: usize) -> &'a [i32] {
        let width = 2 * B::LANES;
        &self.panels[(panel * self.words.depth() + from) * width..][..length * width]
    }

    #[inline(always)]
    pub fn columns<B: Bytes>(&self, panel: usize) -> Columns<'a> {
        let width = 2 * B::LANES;
        let numbers = &self.columns[panel * 3 * width..][..3 * width];
        let (scale, rest) = numbers.split_at(width);
        let (slope, offset) = rest.split_at(width);
        Columns { scale, slope, offset }
    }

    /// Estimates of a row up to this are of patches whose cosines lie below `cosine`.
    #[inline(always)]
    pub fn floor(&self, row: usize, cosine: f32) -> f32 {
        self.scales[row] * (cosine - self.bases[row])
    }
}

/// A search whose query rows are written as bytes.
pub(super) struct Screened<'a> {
    pub bytes: ByteIsa,
    pub isa: Isa,
    pub layers: usize,
    /// Of a layer.
    pub rows: usize,
    pub whole: Table<'a>,
    /// Bounds that are less work.
    pub short: Option<Table<'a>>,
    /// Of each layer, the bank row at each place of the tables, if not that of the place.
    pub order: Option<&'a [Vec<u32>]>,
    /// The largest cosine known of each row, as [`ordered`] bits.
    pub known: &'a [AtomicI32],
}

impl<'a> Screened<'a> {
    /// The bank row at each place of a layer's panels, if not that of the place.
    pub(super) fn order(&self, layer: usize) -> Option<&'a [u32]> {
        self.order.map(|order| order[layer].as_slice())
    }

    /// Finds the largest cosine of each query row of a part by the chain, or minus infinity where one of another part
    /// is larger. Returns how many patches floats rescored, or `None` where they were so many that the whole part
    /// costs less by floats.
    pub(super) fn search(
        &self,
        part: &Part,
        query: Rows<'_>,
        bank_rows: Rows<'_>,
        scratch: &mut Scratch,
        best: &mut [f32],
    ) -> Option<usize> {
        let first = part.layer * self.rows + part.first;
        let known = &self.known[first..][..part.count];
        let block = |table: &Table<'a>| table.block(self.layers, part.layer, first, part.count);
        let whole = block(&self.whole);
        let Scratch { floats, words: sums, candidates } = scratch;
        let (largest, rest) = floats[..3 * part.count].split_at_mut(part.count);
        let (floors, short_floors) = rest.split_at_mut(part.count);
        for (row, known) in known.iter().enumerate() {
            largest[row] = unordered(known.load(Ordering::Relaxed));
            floors[row] = whole.floor(row, largest[row]);
        }
        best.fill(f32::NEG_INFINITY);
        let mut rescored = None;
        let (sums, room) = sums.split_at_mut(blocks::SCRATCH);
        let short = self.short.as_ref().map(block).map(|short| {
            short_floors
                .iter_mut()
                .zip(&*largest)
                .enumerate()
                .for_each(|(row, (floor, x))| *floor = short.floor(row, *x));
            (short, short_floors, room)
        });
        self.bytes.run(Screen {
            panels: part.panels(self.bytes.panel_width()),
            sums,
            short,
            bank_rows: BankRows {
                isa: self.isa,
                table: whole,
                query,
                bank_rows,
                order: self.order(part.layer),
                tie: 4.0 * chain_error(query.depth()) as f32,
                largest,
                floors,
                candidates,
                found: 0,
                rescored: 0,
                best,
            },
            rescored: &mut rescored,
        });
        for (known, largest) in known.iter().zip(largest) {
            known.fetch_max(ordered(*largest), Ordering::Relaxed);
        }
        rescored
    }
}

/// One part: a block of query patches and a share of the bank.
struct Screen<'a> {
    panels: Range<usize>,
    sums: &'a mut [i32],
    /// What rules panels out first, what its bounds of nearer patches exceed, and room for rows.
    short: Option<(Block<'a>, &'a mut [f32], &'a mut [i32])>,
    bank_rows: BankRows<'a>,
    /// The result of [`Screened::search`].
    rescored: &'a mut Option<usize>,
}

impl ByteKernel for Screen<'_> {
    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let Screen { panels, sums, mut short, mut bank_rows, rescored } = self;
        let rows = bank_rows.best.len();
        let (mut first, mut kept) = (panels.start, 0);
        while first < panels.end {
            let last = panels.end.min(first + BLOCK_PANELS);
            let group = first..last;
            if let Some((table, floors, room)) = &mut short {
                let words = table.words;
                let mut sieve = Sieve { table: *table, floors, room, bank_rows: &mut bank_rows, kept: 0 };
                walk(bytes, words, rows, group, sums, &mut sieve);
                kept += sieve.kept;
            } else {
                let words = bank_rows.table.words;
                walk(bytes, words, rows, group, sums, &mut bank_rows);
            }
            first = last;
            let seen = first - panels.start;
            if bank_rows.rescored * RESCORED > rows * (FIRST * RESCORED + seen * 2 * B::LANES) {
                return;
            }
            if let Some((table, ..)) = &short {
                let [whole, few] = [bank_rows.table.words.depth(), table.words.depth()];
                let [more, than] = sieve::DEARER;
                // Where bounds and the estimates that follow cost more than estimates of all.
                if kept * whole * more / than + rows * seen * few > rows * (sieve::FIRST + seen) * whole {
                    short = None;
                }
            }
        }
        bank_rows.settle();
        *rescored = Some(bank_rows.rescored);
    }
}

/// The bank rows of a layer, and which of them may be nearest.
pub(super) struct BankRows<'a> {
    isa: Isa,
    pub table: Block<'a>,
    query: Rows<'a>,
    bank_rows: Rows<'a>,
    /// The bank row at each place of the table, if not that of the place.
    order: Option<&'a [u32]>,
    /// Cosines that differ by more are in the same order by the chain.
    tie: f32,
    /// The largest known cosine of each query patch, and what estimates of nearer ones exceed.
    pub largest: &'a mut [f32],
    pub floors: &'a mut [f32],
    /// The first `found` may be nearest.
    candidates: &'a mut [Candidate],
    found: usize,
    rescored: usize,
    /// The largest cosines by the chain.
    best: &'a mut [f32],
}

impl BankRows<'_> {
    /// The bank row at a place of the table.
    #[inline(always)]
    fn at(&self, place: usize) -> usize {
        self.order.map_or(place, |order| order[place] as usize)
    }

    /// Asks for the memory of the patches of a panel whose bits are set, unless they are many: of many the first
    /// rescored rules most out.
    #[inline(always)]
    pub(super) fn ask<B: Bytes>(&self, bytes: B, panel: usize, mut above: u32) {
        if above.count_ones() > ASKED {
            return;
        }
        while above != 0 {
            let bank_row = self.bank_rows.row(self.at(panel * 2 * B::LANES + above.trailing_zeros() as usize));
            bank_row.iter().step_by(LINE).for_each(|x| bytes.prefetch(x));
            above &= above - 1;
        }
    }

    /// Rescores the bank rows of a panel whose bits are set, the largest estimate first.
    #[cold]
    #[inline(never)]
    pub(super) fn rescore<B: Bytes>(&mut self, row: usize, panel: usize, mut above: u32, sums: &[i32]) {
        let first = panel * 2 * B::LANES;
        let Columns { scale, slope, offset } = self.table.columns::<B>(panel);
        let mut estimates = [0.0; MAX_PANEL];
        for (column, (estimate, sum)) in estimates.iter_mut().zip(sums).enumerate() {
            *estimate = *sum as f32 * scale[column] + offset[column] + slope[column] * self.table.scales[row];
        }
        while above != 0 {
            let mut column = above.trailing_zeros() as usize;
            let mut rest = above & (above - 1);
            while rest != 0 {
                let other = rest.trailing_zeros() as usize;
                column = if estimates[other] > estimates[column] { other } else { column };
                rest &= rest - 1;
            }
            if estimates[column] <= self.floors[row] {
                return;
            }
            above &= !(1 << column);
            let bank_row = self.at(first + column);
            let cosine = self.isa.run(Dot(self.query.row(row), self.bank_rows.row(bank_row)));
            self.rescored += 1;
            if cosine > self.largest[row] {
                self.largest[row] = cosine;
                self.floors[row] = self.table.floor(row, cosine);
            } else if cosine < self.largest[row] - self.tie {
                continue;
            }
            if self.found == self.candidates.len() {
                self.forget();
            }
            self.candidates[self.found] = Candidate { row: row as u32, bank_row: bank_row as u32, cosine };
            self.found += 1;
        }
    }

    /// Drops candidates that larger cosines have overtaken, and settles the others where there are many.
    fn forget(&mut self) {
        let mut kept = 0;
        for i in 0..self.found {
            let candidate = self.candidates[i];
            if candidate.cosine >= self.largest[candidate.row as usize] - self.tie {
                self.candidates[kept] = candidate;
                kept += 1;
            }
        }
        self.found = kept;
        if kept > self.candidates.len() / 4 * 3 {
            self.chains();
        }
    }

    /// The cosines of all candidates by the chain.
    fn chains(&mut self) {
        let candidates = &self.candidates[..self.found];
        self.isa.run(Rescore { query: self.query, bank_rows: self.bank_rows, candidates, best: self.best });
        self.found = 0;
    }

    /// To be called at the end.
    fn settle(&mut self) {
        self.forget();
        self.chains();
    }
}

impl<B: Bytes> Panels<B> for BankRows<'_> {
    #[inline(always)]
    fn piece<'a>(&'a self, _: B, panel: usize, from: usize, length: usize, _: &'a mut [i32]) -> &'a [i32] {
        self.table.strip::<B>(panel, from, length)
    }

    #[inline(always)]
    fn lines(&self, _: B, panel: usize, from: usize, length: usize) -> Lines<'_, i32> {
        Lines::of(self.table.strip::<B>(panel, from, length))
    }

    #[inline(always)]
    fn finish(&mut self, bytes: B, panel: usize, sums: &[i32]) {
        let width = 2 * B::LANES;
        // All rows first, so that what will be rescored is on its way meanwhile.
        let (mut found, mut count, mut next) = ([(0, 0); BLOCK_ROWS], 0, 0);
        let (table, columns) = (self.table, self.table.columns::<B>(panel));
        while let Some((ahead, above)) =
            bytes.above(&sums[next * width..], columns, &table.scales[next..], &self.floors[next..])
        {
            let row = next + ahead;
            (found[count], count, next) = ((row, above), count + 1, row + 1);
            self.ask(bytes, panel, above);
        }
        for &(row, above) in &found[..count] {
            self.rescore::<B>(row, panel, above, &sums[row * width..][..width]);
        }
    }
}
