//! Products of bytes: an instruction multiplies four times as many of them as it does f32, and the sums are exact
//! integers.
//!
//! A row of the left operand is `x ≈ least + scale u` with integers `u` from 0 to 255, and a row of weights `w ≈ step
//! q` with integers `q` from -127 to 127, so that `x · w ≈ scale step Σ u q + least step Σ q`. Each row of either has a
//! scale of its own: a result depends on its own row of `x` only.
//!
//! The published models have massive activations: at some tokens, a few of hundreds of columns are tens of times larger
//! than the others (Sun et al. 2024; "Vision Transformers Need Registers", Darcet et al. 2024). A scale that covers
//! them leaves few steps for the rest. So the range of a row ends [`FAR`] standard deviations from its mean, and what
//! lies beyond is kept apart: such a column counts as the nearer end of the range, and its rest is multiplied in f32
//! with weights of 16 bits. These are the integers `q` and, in a second byte, what `q` has lost, in steps of 1/254.
//!
//! The gains of the norm before a layer tell which columns are large in all rows: these are divided by their gain, and
//! their weights multiplied by it. `weights` says how a few large weights are kept apart.
//!
//! Layers that are not quantised, and attention, compute in bf16 where the CPU does, or else in f32.

use super::bytes::{ByteKernel, Bytes};
use super::simd::Simd;
use super::tile::Arithmetic;

pub(super) mod linear;
pub(super) mod weights;

/// Standard deviations from a row's mean to the ends of its range, at most.
const FAR: f32 = 6.0;
/// Columns of a row that are kept apart, at most: each costs up to a twentieth of the row's product. With more, the
/// range grows.
const MOST_APART: usize = 8;
/// The factor by which it grows.
const GROWTH: f32 = 1.5;
/// How often the range is narrowed: columns that are set apart no longer count for the mean and the deviation.
const ROUNDS: usize = 3;
/// The largest integer of a left operand.
const LEVELS: f32 = 255.0;
/// The largest integer of a weight.
const WEIGHT_LEVELS: f32 = 127.0;
/// Steps of the second byte in one of the first.
const FINE: f32 = 254.0;
/// A scale below this counts as none, so that its inverse is finite.
const LEAST_SCALE: f32 = 1e-30;

/// Whether sums of products of rows of `columns` elements fit in 32 bits.
pub(super) fn fits(columns: usize) -> bool {
    columns <= 1 << 16
}

/// The words of `columns` elements.
fn words(columns: usize) -> usize {
    columns.div_ceil(4)
}

/// The words of a quantised row of `columns` elements: those of its integers, then its [`Head`].
fn row_words(columns: usize) -> usize {
    const LINE: usize = 16;
    (words(columns) + Head::WORDS).next_multiple_of(LINE)
}

/// What stands behind the integers of a row: scale, least, the number of columns kept apart, and for each of them its
/// index and its rest.
#[derive(Clone, Copy)]
struct Head<'a>(&'a [i32]);

impl<'a> Head<'a> {
    const WORDS: usize = 3 + 2 * MOST_APART;

    #[inline(always)]
    fn of(row: &'a [i32], depth: usize) -> Self {
        Head(&row[depth..][..Self::WORDS])
    }

    #[inline(always)]
    fn scale(self) -> f32 {
        f32::from_bits(self.0[0] as u32)
    }

    #[inline(always)]
    fn least(self) -> f32 {
        f32::from_bits(self.0[1] as u32)
    }

    /// How many columns are kept apart.
    #[inline(always)]
    fn count(self) -> usize {
        self.0[2] as usize
    }

    /// One of them, and its rest.
    #[inline(always)]
    fn apart(self, i: usize) -> (usize, f32) {
        (self.0[3 + 2 * i] as usize, f32::from_bits(self.0[4 + 2 * i] as u32))
    }

    /// The element `column` of the row that these words are, as a product takes it.
    #[inline(always)]
    fn value(self, row: &[i32], column: usize) -> f32 {
        let integer = row[column / 4] as u32 >> (8 * (column % 4)) & 0xff;
        let near = self.scale().mul_add(integer as f32, self.least());
        (0..self.count()).map(|i| self.apart(i)).find(|apart| apart.0 == column).map_or(near, |apart| near + apart.1)
    }
}

/// Quantises rows of `[rows, columns]` into [`row_words`] each.
struct QuantiseRows<'a> {
    x: &'a [f32],
    columns: usize,
    /// What each column is multiplied by before, if anything.
    factors: Option<&'a [f32]>,
    /// Room for a row.
    room: &'a mut [f32],
    rows: &'a mut [i32],
}

impl ByteKernel for QuantiseRows<'_> {
    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let rows = self.rows.chunks_exact_mut(row_words(self.columns));
        for (x, row) in self.x.chunks_exact(self.columns).zip(rows) {
            let x = match self.factors {
                None => x,
                Some(factors) => {
                    let products = x.iter().zip(factors).map(|(x, factor)| x * factor);
                    self.room.iter_mut().zip(products).for_each(|(room, product)| *room = product);
                    &*self.room
                }
            };
            quantise(bytes, x, row);
        }
    }
}

/// The elements of a row that are near its centre.
#[derive(Clone, Copy)]
struct Near {
    /// Whether an element counts: `|x - centre| <= limit`.
    centre: f32,
    limit: f32,
    /// How many elements do not.
    beyond: f32,
    mean: f32,
    deviation: f32,
    least: f32,
    largest: f32,
}

/// What [`near`] adds up, relative to the centre: loops and methods, as closures are not compiled for the instruction
/// set.
struct Sums<S: Simd> {
    beyond: S::V,
    sum: S::V,
    squares: S::V,
    least: S::V,
    largest: S::V,
}

impl<S: Simd> Sums<S> {
    #[inline(always)]
    fn add(&mut self, simd: S, x: S::V, centre: S::V, limit: S::V) {
        let zero = simd.splat(0.0);
        let d = simd.sub(x, centre);
        let room = simd.sub(limit, simd.max(d, simd.sub(zero, d)));
        // What is beyond counts as the centre; it is taken off the count.
        let d = simd.where_negative(room, zero, d);
        self.beyond = simd.add(self.beyond, simd.where_negative(room, simd.splat(1.0), zero));
        self.sum = simd.add(self.sum, d);
        self.squares = simd.fma(d, d, self.squares);
        // Of two operands it is the second that NaN goes through; sums show NaN anyway.
        self.least = simd.min(d, self.least);
        self.largest = simd.max(d, self.largest);
    }
}

/// The range holds the centre, which is an element, or lies among elements that count.
#[inline(always)]
fn near<S: Simd>(simd: S, row: &[f32], centre: f32, limit: f32) -> Near {
    let zero = simd.splat(0.0);
    let (centres, limits) = (simd.splat(centre), simd.splat(limit));
    let mut sums: Sums<S> = Sums { beyond: zero, sum: zero, squares: zero, least: zero, largest: zero };
    let chunks = row.chunks_exact(S::LANES);
    let tail = chunks.remainder();
    for x in chunks {
        sums.add(simd, simd.load(x), centres, limits);
    }
    if !tail.is_empty() {
        let mut padded = [centre; 16];
        padded[..tail.len()].copy_from_slice(tail);
        sums.add(simd, simd.load(&padded), centres, limits);
    }
    let Sums { beyond, sum, squares, least, largest } = sums;
    let (beyond, sum, squares) = (simd.sum_lanes(beyond), simd.sum_lanes(sum), simd.sum_lanes(squares));
    let count = (row.len() as f32 - beyond).max(1.0);
    let mean = sum / count;
    Near {
        centre,
        limit,
        beyond,
        mean: centre + mean,
        // `max` would hide NaN.
        deviation: if squares.is_finite() { (squares / count - mean * mean).max(0.0).sqrt() } else { f32::NAN },
        least: centre - simd.max_lanes(simd.sub(zero, least)),
        largest: centre + simd.max_lanes(largest),
    }
}

/// The range of a row; `None` where it has NaN, or numbers whose squares are not finite.
#[inline(always)]
fn range<S: Simd>(simd: S, row: &[f32]) -> Option<Near> {
    let first = row.first().copied().unwrap_or(0.0);
    let mut found = near(simd, row, first, f32::INFINITY);
    for _ in 0..ROUNDS {
        let limit = FAR * found.deviation;
        let farthest = (found.largest - found.mean).max(found.mean - found.least);
        if limit > 0.0 && farthest > limit {
            found = near(simd, row, found.mean, limit);
        }
    }
    while found.beyond > MOST_APART as f32 {
        found = near(simd, row, found.centre, GROWTH * found.limit);
    }
    found.deviation.is_finite().then_some(found)
}

/// The integers of the elements of four vectors.
#[inline(always)]
fn round<B: Bytes>(bytes: B, x: &[f32], range: &Near, inverse: f32) -> B::V {
    let simd = bytes.floats();
    let (least, inverse) = (simd.splat(range.least), simd.splat(inverse));
    let (zero, most) = (simd.splat(0.0), simd.splat(LEVELS));
    let mut levels = [zero; 4];
    for (i, level) in levels.iter_mut().enumerate() {
        let scaled = simd.mul(simd.sub(simd.load(&x[i * B::LANES..]), least), inverse);
        *level = simd.max(simd.min(scaled, most), zero);
    }
    bytes.round_row(levels)
}

/// Quantises a row into its words.
#[inline(always)]
fn quantise<B: Bytes>(bytes: B, row: &[f32], out: &mut [i32]) {
    let (words, head) = out.split_at_mut(words(row.len()));
    let Some(range) = range(bytes.floats(), row) else {
        // Every result of the row is NaN.
        words.fill(0);
        head[..3].copy_from_slice(&[f32::NAN.to_bits() as i32, f32::NAN.to_bits() as i32, 0]);
        return;
    };
    let scale = (range.largest - range.least) / LEVELS;
    let inverse = if scale >= LEAST_SCALE { 1.0 / scale } else { 0.0 };
    let lanes = B::LANES;
    let whole = row.chunks_exact(4 * lanes);
    let (rest, (first, last)) = (whole.remainder(), words.split_at_mut(row.len() / (4 * lanes) * lanes));
    for (x, word) in whole.zip(first.chunks_exact_mut(lanes)) {
        bytes.store(round(bytes, x, &range, inverse), word);
    }
    if !last.is_empty() {
        // What stands beyond the end meets weights of zero.
        let (mut padded, mut word) = ([range.least; 64], [0; 16]);
        padded[..rest.len()].copy_from_slice(rest);
        bytes.store(round(bytes, &padded, &range, inverse), &mut word);
        last.copy_from_slice(&word[..last.len()]);
    }
    let mut apart = 0;
    if range.beyond > 0.0 {
        for (column, x) in row.iter().enumerate() {
            if (x - range.centre).abs() > range.limit {
                let end = if *x > range.centre { LEVELS * scale } else { 0.0 };
                let pair = &mut head[3 + 2 * apart..][..2];
                pair.copy_from_slice(&[column as i32, (x - (range.least + end)).to_bits() as i32]);
                apart += 1;
            }
        }
    }
    head[..3].copy_from_slice(&[scale.to_bits() as i32, range.least.to_bits() as i32, apart as i32]);
}

#[cfg(test)]
mod tests;
