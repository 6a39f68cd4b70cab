//! Vectors as bytes, and how far a cosine that is estimated from bytes can lie from that of the floats.
//!
//! Cosines of one query `x` differ by `x · (y - m)` whatever the centre `m`, and that is `(x - m) · (y - m) + m · (y -
//! m)`, where only the first product has to be estimated: what all vectors have in common costs no precision. With a
//! step `s` of its own, `x - m = s (x̂ - a)` for integers `x̂` and a remainder `a` whose length is measured, as `y - m =
//! t (ŷ - b)`. So `(x - m) · (y - m)` lies within `|x - m| t |b| + s |a| t |ŷ|` of `s t x̂ · ŷ`.
//!
//! The f32 chain of multiply-adds that the search promises lies within [`chain_error`] of `x · y`.

use crate::backend::cpu::reduce;
use crate::backend::cpu::simd::{Kernel, Simd};

/// Longest vector that is taken; unit vectors exceed 1 by rounding only.
const LONGEST: f64 = 1.0006;
/// Its square, less the error of the sum of squares.
const LONGEST_SQUARE: f32 = 1.001;
/// Vectors whose elements are all nearer to the centre have steps as if they were not: a step never vanishes.
const NEAREST: f32 = 1e-20;
/// Steps by which the remainder of an element errs: the roundings of its difference from the centre and of its product
/// with the scale, each `127 · 2⁻²⁴`.
const ELEMENT: f64 = 2e-5;

/// Words of a vector of `width` elements.
pub(super) fn words(width: usize) -> usize {
    width.div_ceil(4)
}

/// Whether sums of products of vectors of this width stay far below 2³¹.
pub(super) fn fits(width: usize) -> bool {
    width <= 1 << 15
}

/// How far a product of two vectors, summed up in f32 in any order and fused or not, can lie from the exact one: `2 W u
/// n²` with `u = 2⁻²⁴` and vectors up to a length of `n`.
pub(super) fn chain_error(width: usize) -> f64 {
    2.0 * width as f64 * 2f64.powi(-24) * 1.01 * LONGEST.powi(2)
}

/// A vector's distance from the centre, as bytes and a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantised {
    /// Whether the vector is at most [`LONGEST`]; if not, nothing else means anything.
    pub unit: bool,
    pub step: f32,
    /// Sum of the integers.
    pub sum: i32,
    /// At least the length of the distance from the centre.
    pub length: f32,
    /// At least the length of the remainder, times the step.
    pub error: f32,
}

/// Writes a vector's distance from the centre as bytes.
pub(super) struct Quantise<'a> {
    pub row: &'a [f32],
    /// As long as the row; `None` is zero.
    pub centre: Option<&'a [f32]>,
    /// The largest integer.
    pub levels: i32,
    /// The byte that stands for 0.
    pub zero: i32,
    /// The result, `[words(row.len())]`.
    pub words: &'a mut [i32],
    /// Four floats for each word, for the distances and then the remainders.
    pub room: &'a mut [f32],
}

impl Kernel for Quantise<'_> {
    type Output = Quantised;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Quantised {
        // Adding 1.5 * 2^23 rounds to an integer that then stands in the low mantissa bits.
        const MAGIC: f32 = 12_582_912.0;
        let (width, room) = (self.row.len(), self.room);
        room[width..].fill(0.0);
        match self.centre {
            Some(centre) => room.iter_mut().zip(self.row.iter().zip(centre)).for_each(|(room, (x, c))| *room = x - c),
            None => room[..width].copy_from_slice(self.row),
        }
        let length = f64::from(reduce::squares(simd, room, 0.0)).sqrt();
        let scale = self.levels as f32 / largest(simd, room).max(NEAREST);
        let mut sum = 0;
        for (quad, word) in room.chunks_exact_mut(4).zip(self.words) {
            let mut bytes = [0; 4];
            for (x, byte) in quad.iter_mut().zip(&mut bytes) {
                let scaled = *x * scale;
                let shifted = scaled + MAGIC;
                *x = (shifted - MAGIC) - scaled;
                let integer = shifted.to_bits() as i8;
                sum += i32::from(integer);
                *byte = (i32::from(integer) + self.zero) as u8;
            }
            *word = i32::from_le_bytes(bytes);
        }
        // A sum of squares errs by less than half of this, relatively.
        let more = 1.0 + width as f64 * 2f64.powi(-23);
        let remainder = f64::from(reduce::squares(simd, room, 0.0)).sqrt() * more + ELEMENT * (width as f64).sqrt();
        Quantised {
            // False for NaN, too.
            unit: reduce::squares(simd, self.row, 0.0) <= LONGEST_SQUARE,
            step: 1.0 / scale,
            sum,
            length: (length * more + 1e-7) as f32,
            error: (remainder / f64::from(scale) * more) as f32,
        }
    }
}

/// The largest magnitude.
#[inline(always)]
fn largest<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let mut lanes = simd.splat(0.0);
    let chunks = x.chunks_exact(S::LANES);
    let tail = chunks.remainder().iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    for x in chunks {
        let x = simd.load(x);
        lanes = simd.max(lanes, simd.max(x, simd.sub(simd.splat(0.0), x)));
    }
    simd.max_lanes(lanes).max(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::simd::Isa;

    fn quantise(isa: Isa, row: &[f32], centre: &[f32], levels: i32, zero: i32) -> (Quantised, Vec<i32>) {
        let mut words = vec![0; super::words(row.len())];
        let mut room = vec![f32::NAN; 4 * words.len()];
        let found = isa.run(Quantise { row, centre: Some(centre), levels, zero, words: &mut words, room: &mut room });
        (found, words.iter().flat_map(|word| word.to_le_bytes()).map(i32::from).collect())
    }

    #[test]
    fn steps_times_integers_are_the_distance_within_the_error() {
        for isa in Isa::available() {
            for (levels, zero) in [(127, 127), (63, 63)] {
                for width in [1usize, 7, 64, 385] {
                    let row: Vec<f32> = (0..width).map(|i| ((i * 37 % 64) as f32 - 30.0) / 1000.0).collect();
                    let centre: Vec<f32> = (0..width).map(|i| ((i * 11 % 16) as f32 - 8.0) / 1000.0).collect();
                    let (found, bytes) = quantise(isa, &row, &centre, levels, zero);
                    assert!(found.unit && bytes.len() == width.next_multiple_of(4));
                    assert!(bytes[width..].iter().all(|byte| *byte == zero));
                    let (mut error, mut length, mut sum) = (0.0, 0.0, 0);
                    for ((x, centre), byte) in row.iter().zip(&centre).zip(&bytes) {
                        let distance = f64::from(*x) - f64::from(*centre);
                        error += (distance - f64::from(found.step) * f64::from(byte - zero)).powi(2);
                        length += distance.powi(2);
                        sum += byte - zero;
                        assert!((byte - zero).abs() <= levels, "{}: {byte}", isa.name());
                    }
                    assert_eq!(sum, found.sum);
                    for (exact, bound) in [(error, found.error), (length, found.length)] {
                        let (exact, bound) = (f64::sqrt(exact), f64::from(bound));
                        assert!(exact <= bound && bound <= exact * 1.1 + 1e-4, "{}: {exact}, {bound}", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn the_centre_itself_is_zero() {
        for isa in Isa::available() {
            let row = [0.1; 20];
            let (found, bytes) = quantise(isa, &row, &row, 127, 0);
            assert!(found.unit && found.sum == 0 && found.error < 1e-15 && found.step > 0.0, "{found:?}");
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn only_vectors_up_to_unit_length_are_taken() {
        let unit = |length: f32| vec![length / 28f32.sqrt(); 28];
        for isa in Isa::available() {
            let taken = |row: &[f32]| quantise(isa, row, &vec![0.0; row.len()], 127, 127).0.unit;
            assert!(taken(&unit(1.0)) && taken(&unit(0.0)) && taken(&[1.0, 0.0, 0.0]));
            assert!(!taken(&unit(1.001)) && !taken(&[f32::NAN, 0.0]) && !taken(&[f32::INFINITY, 0.0]));
        }
    }
}
