//! The search that says which bank row is nearest, for methods that go on from there: by floats alone.

use std::ops::Range;

use super::full::{self, BankRows};
use super::{Parts, Queries, Room, TASKS, WHAT};
use crate::backend::Search;
use crate::backend::cpu::blocks::{self, BLOCK_PANELS, BLOCK_ROWS, Panels, walk};
use crate::backend::cpu::packed::MAX_PANEL;
use crate::backend::cpu::pool::Disjoint;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::tile::{Lines, Rows};
use crate::backend::cpu::{Cpu, Tensor};
use crate::error::Result;
use crate::memory::grow;

/// The place of a lane that has found nothing: behind every row.
const NOWHERE: i32 = i32::MAX;
/// Words of scratch that [`FullRows`] needs.
const WORDS: usize = BLOCK_ROWS * MAX_PANEL;

impl Cpu {
    /// The place of the row of the largest cosine, the first of equals, for each query row that `at` names, as the bits
    /// of `found[l, first_out + i]`; the caller has checked the buffers.
    pub(in crate::backend::cpu) fn nearest_rows(
        &mut self,
        queries: &[f32],
        at: &Search,
        tensor: &Tensor,
        found: &mut [f32],
    ) -> Result<()> {
        let [layers, bank_rows, width] = tensor.shape;
        let rows = at.queries.len();
        let tasks = TASKS * self.pool.threads();
        let room = Room::new(queries.len() / width.max(1), layers, tasks);
        let queries = Queries { values: queries, pitch: at.query_pitch, first: at.queries.start, width };
        let parts = Parts::new([layers, rows, bank_rows], tasks);
        self.reserve(full::SCRATCH)?;
        self.reserve_words(WORDS)?;
        let len = parts.shares * layers * rows;
        grow(WHAT, &mut self.nearest.found, room.tasks * BLOCK_ROWS)?;
        grow(WHAT, &mut self.nearest.places, room.tasks * BLOCK_ROWS)?;
        let best = Disjoint::new(&mut self.nearest.found[..len]);
        let places = Disjoint::new(&mut self.nearest.places[..len]);
        let isa = self.isa;
        self.pool.run(parts.tasks(), |task, scratch| {
            let part = parts.part(task);
            let first = (part.share * layers + part.layer) * rows + part.first;
            // SAFETY: each share, layer and block names its own elements, and is run once; here and below.
            #[allow(unsafe_code)]
            let best = unsafe { best.slice(first, part.count) };
            // SAFETY: as above.
            #[allow(unsafe_code)]
            let places = unsafe { places.slice(first, part.count) };
            let (floats, words) = scratch.take_both(full::SCRATCH, WORDS);
            isa.run(FullRows {
                query: Rows::new(queries.from(part.layer, part.first), width, width),
                bank_rows: Rows::new(
                    &tensor.values[part.layer * bank_rows * width..][..bank_rows * width],
                    width,
                    width,
                ),
                count: parts.bank_rows,
                panels: part.panels(isa.panel_width()),
                scratch: floats,
                words,
                best,
                places,
            });
        });
        let (best, places) = (&self.nearest.found[..len], &self.nearest.places[..len]);
        for layer in 0..layers {
            let found = &mut found[layer * at.out_pitch + at.first_out..][..rows];
            for (i, found) in found.iter_mut().enumerate() {
                let mut nearest = (f32::NEG_INFINITY, NOWHERE);
                for share in 0..parts.shares {
                    let at = (share * layers + layer) * rows + i;
                    better(&mut nearest, best[at], places[at]);
                }
                // Numbers that are none are found in the distance.
                *found = f32::from_bits(if nearest.1 == NOWHERE { 0 } else { nearest.1.cast_unsigned() });
            }
        }
        Ok(())
    }
}

/// Keeps the larger cosine, of equals the first row.
#[inline(always)]
fn better(nearest: &mut (f32, i32), cosine: f32, place: i32) {
    if cosine > nearest.0 || (cosine == nearest.0 && place < nearest.1) {
        *nearest = (cosine, place);
    }
}

/// One part: a block of query patches and some panels of the bank.
struct FullRows<'a> {
    query: Rows<'a>,
    /// `[count, W]`.
    bank_rows: Rows<'a>,
    count: usize,
    panels: Range<usize>,
    /// [`full::SCRATCH`] uninitialised floats, [`WORDS`] uninitialised words.
    scratch: &'a mut [f32],
    words: &'a mut [i32],
    /// The results, one for each query patch of the block.
    best: &'a mut [f32],
    places: &'a mut [i32],
}

impl Kernel for FullRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = 2 * S::LANES;
        let rows = self.best.len();
        let (scratch, largest) = self.scratch.split_at_mut(blocks::SCRATCH);
        let (largest, words) = (&mut largest[..rows * width], &mut self.words[..rows * width]);
        largest.fill(f32::NEG_INFINITY);
        words.fill(NOWHERE);
        let mut bank_rows = Placed {
            bank_rows: BankRows { rows: self.bank_rows, count: self.count, order: None, largest },
            places: words,
        };
        let mut first = self.panels.start;
        while first < self.panels.end {
            let last = self.panels.end.min(first + BLOCK_PANELS);
            walk(simd, self.query, rows, first..last, scratch, &mut bank_rows);
            first = last;
        }
        let lanes = bank_rows.bank_rows.largest.chunks_exact(width).zip(bank_rows.places.chunks_exact(width));
        for ((best, place), (largest, places)) in self.best.iter_mut().zip(self.places.iter_mut()).zip(lanes) {
            let mut nearest = (f32::NEG_INFINITY, NOWHERE);
            largest.iter().zip(places).for_each(|(cosine, place)| better(&mut nearest, *cosine, *place));
            (*best, *place) = nearest;
        }
    }
}

/// Prompt patches with the place of the largest cosine of each lane, `[rows, 2 * LANES]`.
struct Placed<'a> {
    bank_rows: BankRows<'a>,
    places: &'a mut [i32],
}

impl<S: Simd> Panels<S> for Placed<'_> {
    #[inline(always)]
    fn piece<'a>(&'a self, simd: S, panel: usize, from: usize, length: usize, room: &'a mut [f32]) -> &'a [f32] {
        self.bank_rows.piece(simd, panel, from, length, room)
    }

    #[inline(always)]
    fn lines(&self, simd: S, panel: usize, from: usize, length: usize) -> Lines<'_> {
        self.bank_rows.lines(simd, panel, from, length)
    }

    #[inline(always)]
    fn finish(&mut self, _: S, panel: usize, sums: &[f32]) {
        let width = 2 * S::LANES;
        let first = panel * width;
        let columns = width.min(self.bank_rows.count - first);
        let lanes = self.bank_rows.largest.chunks_exact_mut(width).zip(self.places.chunks_exact_mut(width));
        for (sums, (largest, places)) in sums.chunks_exact(width).zip(lanes) {
            for (c, ((sum, largest), place)) in sums[..columns].iter().zip(largest).zip(places).enumerate() {
                // A later equal does not replace it.
                let larger = *sum > *largest;
                *largest = if larger { *sum } else { *largest };
                *place = if larger { (first + c) as i32 } else { *place };
            }
        }
    }
}
