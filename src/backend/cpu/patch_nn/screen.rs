//! Screens the bank rows by cosines that are estimated from bytes, of which one instruction takes four times as many:
//! what is estimated further below the largest known cosine than the estimate can be off is not the nearest. The few
//! that remain are rescored by floats as they are found, which raises the largest known cosine for all that follow.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use super::quantised::{self, Quantise, Quantised, chain_error};
use super::rescore::{Candidate, Dot, Rescore};
use super::{Part, Queries, WHAT, full};
use crate::backend::cpu::Scratch;
use crate::backend::cpu::blocks::{self, BLOCK_PANELS, BLOCK_ROWS, Panels, walk};
use crate::backend::cpu::bytes::{ByteIsa, ByteKernel, Bytes, Columns};
use crate::backend::cpu::packed::{Aligned, MAX_PANEL};
use crate::backend::cpu::pool::{Disjoint, Pool};
use crate::backend::cpu::simd::Isa;
use crate::backend::cpu::tile::{Lines, Rows};
use crate::error::Result;
use crate::memory::{grow, zeros};

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
/// Query rows of a task that quantises.
const ROWS: usize = 15;
/// Prompt patches whose mean is the centre, at most.
const SAMPLE: usize = 1024;
/// What single roundings of numbers of about 1 come to, beside the errors of sums.
const ROUNDING: f64 = 2e-6;

/// The bank rows of a bank as bytes.
pub(in crate::backend::cpu) struct Integers {
    isa: ByteIsa,
    /// `[layers, panels, words, panel_width]`.
    panels: Aligned<i32>,
    /// What makes estimates of sums: `[layers, panels, 3, panel_width]`, the fields of [`Columns`].
    columns: Vec<f32>,
    /// Of each layer.
    layers: Vec<Layer>,
}

/// What bank rows of a layer have in common.
struct Layer {
    centre: Vec<f32>,
    /// The largest [`Quantised::error`].
    error: f64,
    /// The largest length of what the bytes stand for.
    length: f64,
    /// The largest step.
    step: f64,
}

/// Working memory of a search, which grows to what the rows of a call need.
#[derive(Default)]
pub(super) struct Memory {
    words: Vec<i32>,
    /// Estimates of a row are its scale times cosines less its base.
    scales: Vec<f32>,
    /// With what estimates can be off.
    bases: Vec<f32>,
    /// The largest cosine known of each row, as [`ordered`] bits.
    known: Vec<AtomicI32>,
}

impl Memory {
    /// How many bytes it grows to for `rows` query rows.
    pub(super) fn bytes(rows: usize, width: usize) -> usize {
        let row = quantised::words(width) * size_of::<i32>() + 2 * size_of::<f32>() + size_of::<AtomicI32>();
        rows.saturating_mul(row)
    }
}

/// A number that orders like the float.
fn ordered(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

/// The float of a number from [`ordered`].
fn unordered(x: i32) -> f32 {
    f32::from_bits((x ^ (((x >> 31) as u32) >> 1) as i32) as u32)
}

impl Integers {
    /// Of unit vectors `[layers, bank rows, width]`; `None` if they are not, or if bytes are not faster beside `isa`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(super) fn new(
        pool: &mut Pool<Scratch>,
        isa: Isa,
        bytes: Option<ByteIsa>,
        taps: &[f32],
        [layers, bank_rows, width]: [usize; 3],
    ) -> Result<Option<Self>> {
        const WHAT: &str = "the search in a bank";
        let Some(bytes) = bytes.filter(|_| quantised::fits(width)) else { return Ok(None) };
        let (words, across) = (quantised::words(width), bytes.panel_width());
        let panels = bank_rows.div_ceil(across);
        let mut packed = Aligned::zeros(WHAT, layers * panels * words * across)?;
        let mut columns = zeros(WHAT, layers * panels * 3 * across)?;
        reserve(pool, width)?;
        let layer = |layer| centre(&taps[layer * bank_rows * width..][..bank_rows * width], width);
        let centres: Vec<Vec<f32>> = (0..layers).map(layer).collect();
        // Numbers that are not negative order as their bits do.
        let most: Vec<[AtomicU32; 3]> = (0..layers).map(|_| Default::default()).collect();
        let all_unit = AtomicBool::new(true);
        let numbers = Disjoint::new(&mut columns);
        pool.run_chunks(packed.as_mut_slice(), (words * across).max(1), |chunk, panel, scratch| {
            let (layer, first) = (chunk / panels, chunk % panels * across);
            let (room, row_words) = scratch.take_both(4 * words, words);
            // SAFETY: each chunk has its own numbers, and is run once.
            #[allow(unsafe_code)]
            let numbers = unsafe { numbers.slice(chunk * 3 * across, 3 * across) };
            // What lies beyond the last bank row is never above a floor.
            numbers[2 * across..].fill(f32::NEG_INFINITY);
            let centre = &centres[layer];
            for column in 0..across.min(bank_rows - first) {
                let row = &taps[(layer * bank_rows + first + column) * width..][..width];
                let found = isa.run(Quantise { row, centre, levels: 127, zero: 0, words: row_words, room });
                if !found.unit {
                    all_unit.store(false, Ordering::Relaxed);
                }
                for (packed, word) in panel.chunks_exact_mut(across).zip(&*row_words) {
                    packed[column] = *word;
                }
                room[..width].iter_mut().zip(row.iter().zip(centre)).for_each(|(x, (row, centre))| *x = row - centre);
                numbers[column] = found.step;
                numbers[across + column] = isa.run(Dot(centre, &room[..width]));
                numbers[2 * across + column] = -((bytes.levels() * found.sum) as f32) * found.step;
                for (most, x) in most[layer].iter().zip([found.error, found.length + found.error, found.step]) {
                    most.fetch_max(x.to_bits(), Ordering::Relaxed);
                }
            }
        });
        let layers = centres.into_iter().zip(most).map(|(centre, most)| {
            let [error, length, step] = most.map(|most| f64::from(f32::from_bits(most.into_inner())));
            Layer { centre, error, length, step }
        });
        let layers = layers.collect();
        Ok(all_unit.into_inner().then_some(Integers { isa: bytes, panels: packed, columns, layers }))
    }

    /// Writes the query rows of a search as bytes; `None` if one is not a unit vector.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(super) fn prepare<'a>(
        &'a self,
        pool: &mut Pool<Scratch>,
        isa: Isa,
        queries: Queries<'_>,
        rows: usize,
        room: usize,
        memory: &'a mut Memory,
    ) -> Result<Option<Screened<'a>>> {
        let (words, layers) = (quantised::words(queries.width), self.layers.len());
        grow(WHAT, &mut memory.words, room * words)?;
        grow(WHAT, &mut memory.scales, room)?;
        grow(WHAT, &mut memory.bases, room)?;
        grow(WHAT, &mut memory.known, room)?;
        memory.known[..layers * rows].iter_mut().for_each(|known| *known.get_mut() = ordered(f32::NEG_INFINITY));
        let (scales, bases) = (Disjoint::new(&mut memory.scales), Disjoint::new(&mut memory.bases));
        let all_unit = AtomicBool::new(true);
        pool.run_chunks(
            &mut memory.words[..layers * rows * words],
            (ROWS * words).max(1),
            |chunk, chunk_words, scratch| {
                let room = scratch.take(4 * words);
                for (row, words) in (chunk * ROWS..).zip(chunk_words.chunks_exact_mut(words.max(1))) {
                    let layer = &self.layers[row / rows];
                    let values = &queries.from(row / rows, row % rows)[..queries.width];
                    let levels = self.isa.levels();
                    let quantise = Quantise { row: values, centre: &layer.centre, levels, zero: levels, words, room };
                    let found = isa.run(quantise);
                    if !found.unit {
                        all_unit.store(false, Ordering::Relaxed);
                    }
                    let base = f64::from(isa.run(Dot(values, &layer.centre))) + self.off(layer, found, queries.width);
                    // SAFETY: each row has its own places, and is run once.
                    #[allow(unsafe_code)]
                    let (scale, place) = unsafe { (scales.slice(row, 1), bases.slice(row, 1)) };
                    (scale[0], place[0]) = (1.0 / found.step, base as f32);
                }
            },
        );
        Ok(all_unit.into_inner().then_some(Screened {
            integers: self,
            isa,
            rows,
            words: &memory.words,
            scales: &memory.scales,
            bases: &memory.bases,
            known: &memory.known,
        }))
    }

    /// How far a cosine can lie above its estimate and yet be thought the smaller one, by the chain, of it and a known
    /// one.
    fn off(&self, layer: &Layer, query: Quantised, width: usize) -> f64 {
        let [length, error, step] = [query.length, query.error, query.step].map(f64::from);
        // Of the bytes, as `quantised` says.
        let bytes = length * layer.error + error * layer.length;
        // A handful of roundings of a sum of products, at its largest.
        let sum = f64::from(2 * self.isa.levels() * 127) * width as f64;
        let roundings = 8.0 * 2f64.powi(-24) * sum * layer.step * step;
        // Both products with the centre, the known cosine, and two chains.
        bytes + roundings + 5.0 * chain_error(width) + ROUNDING
    }
}

/// Floats that a thread works with.
pub(in crate::backend::cpu) fn scratch_floats(width: usize) -> usize {
    full::SCRATCH.max(4 * quantised::words(width))
}

/// Words that a thread works with.
pub(in crate::backend::cpu) fn scratch_words(width: usize) -> usize {
    blocks::SCRATCH.max(quantised::words(width))
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

/// Estimates of a query row up to this are of patches whose cosines lie below `cosine`.
fn floor(scale: f32, base: f32, cosine: f32) -> f32 {
    scale * (cosine - base)
}

/// The mean of some of the rows; any centre is right.
fn centre(rows: &[f32], width: usize) -> Vec<f32> {
    let mut centre = vec![0.0; width];
    let count = rows.len() / width.max(1);
    let every = count.div_ceil(SAMPLE).max(1);
    for row in rows.chunks_exact(width.max(1)).step_by(every) {
        centre.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let scale = 1.0 / count.div_ceil(every).max(1) as f32;
    centre.iter_mut().for_each(|x| *x *= scale);
    centre
}

/// A search whose query rows are written as bytes.
pub(super) struct Screened<'a> {
    integers: &'a Integers,
    isa: Isa,
    /// Of a layer.
    rows: usize,
    words: &'a [i32],
    scales: &'a [f32],
    bases: &'a [f32],
    known: &'a [AtomicI32],
}

impl Screened<'_> {
    /// Finds the largest cosine of each query row of a part by the chain, or minus infinity where one of another part
    /// is larger. Returns how many patches floats rescored, or `None` where they were so many that the whole part costs
    /// less by floats.
    pub(super) fn search(
        &self,
        part: &Part,
        query: Rows<'_>,
        bank_rows: Rows<'_>,
        scratch: &mut Scratch,
        best: &mut [f32],
    ) -> Option<usize> {
        let Integers { isa, panels, columns, .. } = self.integers;
        let (across, words) = (isa.panel_width(), quantised::words(query.depth()));
        let first = part.layer * self.rows + part.first;
        let known = &self.known[first..][..part.count];
        let (scales, bases) = (&self.scales[first..][..part.count], &self.bases[first..][..part.count]);
        let layer_panels = columns.len() / (3 * across * self.integers.layers.len());
        let Scratch { floats, words: sums, candidates } = scratch;
        let (largest, floors) = floats[..2 * part.count].split_at_mut(part.count);
        for (row, known) in known.iter().enumerate() {
            largest[row] = unordered(known.load(Ordering::Relaxed));
            floors[row] = floor(scales[row], bases[row], largest[row]);
        }
        best.fill(f32::NEG_INFINITY);
        let mut rescored = None;
        isa.run(Screen {
            words: Rows::new(&self.words[first * words..], words, words),
            panels: part.panels(across),
            sums: &mut sums[..blocks::SCRATCH],
            bank_rows: BankRows {
                isa: self.isa,
                panels: &panels.as_slice()[part.layer * layer_panels * words * across..],
                columns: &columns[part.layer * layer_panels * 3 * across..],
                words,
                query,
                bank_rows,
                scales,
                bases,
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
    words: Rows<'a, i32>,
    panels: Range<usize>,
    sums: &'a mut [i32],
    bank_rows: BankRows<'a>,
    /// The result of [`Screened::search`].
    rescored: &'a mut Option<usize>,
}

impl ByteKernel for Screen<'_> {
    #[inline(always)]
    fn run<B: Bytes>(mut self, bytes: B) {
        let rows = self.bank_rows.scales.len();
        let mut first = self.panels.start;
        while first < self.panels.end {
            let last = self.panels.end.min(first + BLOCK_PANELS);
            walk(bytes, self.words, rows, first..last, self.sums, &mut self.bank_rows);
            first = last;
            let seen = (first - self.panels.start) * 2 * B::LANES;
            if self.bank_rows.rescored * RESCORED > rows * (FIRST * RESCORED + seen) {
                return;
            }
        }
        self.bank_rows.settle();
        *self.rescored = Some(self.bank_rows.rescored);
    }
}

/// The bank rows of a layer, and which of them may be nearest.
struct BankRows<'a> {
    isa: Isa,
    /// `[panels, words, 2 * LANES]`.
    panels: &'a [i32],
    /// `[panels, 3, 2 * LANES]`.
    columns: &'a [f32],
    words: usize,
    query: Rows<'a>,
    bank_rows: Rows<'a>,
    scales: &'a [f32],
    bases: &'a [f32],
    /// Cosines that differ by more are in the same order by the chain.
    tie: f32,
    /// The largest known cosine of each query patch, and what estimates of nearer ones exceed.
    largest: &'a mut [f32],
    floors: &'a mut [f32],
    /// The first `found` may be nearest.
    candidates: &'a mut [Candidate],
    found: usize,
    rescored: usize,
    /// The largest cosines by the chain.
    best: &'a mut [f32],
}

impl BankRows<'_> {
    #[inline(always)]
    fn strip<B: Bytes>(&self, panel: usize, from: usize, length: usize) -> &[i32] {
        let width = 2 * B::LANES;
        &self.panels[(panel * self.words + from) * width..][..length * width]
    }

    #[inline(always)]
    fn columns<B: Bytes>(&self, panel: usize) -> Columns<'_> {
        let width = 2 * B::LANES;
        let numbers = &self.columns[panel * 3 * width..][..3 * width];
        let (scale, rest) = numbers.split_at(width);
        let (slope, offset) = rest.split_at(width);
        Columns { scale, slope, offset }
    }

    /// Rescores the bank rows of a panel whose bits are set, the largest estimate first.
    #[cold]
    #[inline(never)]
    fn rescore<B: Bytes>(&mut self, row: usize, panel: usize, mut above: u32, sums: &[i32]) {
        let first = panel * 2 * B::LANES;
        let Columns { scale, slope, offset } = self.columns::<B>(panel);
        let mut estimates = [0.0; MAX_PANEL];
        for (column, (estimate, sum)) in estimates.iter_mut().zip(sums).enumerate() {
            *estimate = *sum as f32 * scale[column] + offset[column] + slope[column] * self.scales[row];
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
            let bank_row = first + column;
            let cosine = self.isa.run(Dot(self.query.row(row), self.bank_rows.row(bank_row)));
            self.rescored += 1;
            if cosine > self.largest[row] {
                self.largest[row] = cosine;
                self.floors[row] = floor(self.scales[row], self.bases[row], cosine);
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
        self.strip::<B>(panel, from, length)
    }

    #[inline(always)]
    fn lines(&self, _: B, panel: usize, from: usize, length: usize) -> Lines<'_, i32> {
        let strip = self.strip::<B>(panel, from, length);
        Lines::new(Rows::new(strip, strip.len(), strip.len()), 1)
    }

    #[inline(always)]
    fn finish(&mut self, bytes: B, panel: usize, sums: &[i32]) {
        let width = 2 * B::LANES;
        // All rows first, so that what will be rescored is on its way meanwhile.
        let (mut found, mut count, mut next) = ([(0, 0); BLOCK_ROWS], 0, 0);
        while let Some((ahead, above)) =
            bytes.above(&sums[next * width..], self.columns::<B>(panel), &self.scales[next..], &self.floors[next..])
        {
            let row = next + ahead;
            (found[count], count, next) = ((row, above), count + 1, row + 1);
            // Of many the first rescored rules most out.
            if above.count_ones() <= ASKED {
                let mut columns = above;
                while columns != 0 {
                    let bank_row = self.bank_rows.row(panel * width + columns.trailing_zeros() as usize);
                    bank_row.iter().step_by(LINE).for_each(|x| bytes.prefetch(x));
                    columns &= columns - 1;
                }
            }
        }
        for &(row, above) in &found[..count] {
            self.rescore::<B>(row, panel, above, &sums[row * width..][..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ordered, unordered};

    #[test]
    fn ordered_numbers_order_like_floats() {
        let floats = [f32::NEG_INFINITY, -2.0, -1e-30, 0.0, 1e-30, 0.5, 0.500_001, f32::INFINITY];
        assert!(floats.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert!(floats.iter().all(|x| unordered(ordered(*x)) == *x));
    }
}
