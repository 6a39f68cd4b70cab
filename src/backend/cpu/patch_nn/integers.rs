//! Unit vectors as 16-bit integers, and how far a cosine of the integers can lie from that of the floats.
//!
//! With `S` the scale, `x` a vector and `x̂ = S x + a` its integers, every element of `a` is at most [`ROUNDING`], so that
//! `|a| <= h = ROUNDING √W`. Then `x̂ · ŷ = S² x·y + S x·b + a·ŷ` lies within `h (2 S n + h)` of `S² x·y` for lengths up to
//! `n`. The f32 chain of multiply-adds that the search promises lies within `2 W u n²` of `x·y` itself (`u = 2⁻²⁴`; twice, as
//! not every instruction set fuses). Whatever is nearest by the chain is therefore at most twice the sum of both below what
//! is nearest by the integers: this is the window.

use crate::backend::cpu::pairs;
use crate::backend::cpu::reduce;
use crate::backend::cpu::simd::{Kernel, Simd};

/// Integers per unit: elements of a vector of length [`LONGEST`] stay below 2^15, and products of two below 2^31.
const SCALE: f32 = 32_700.0;
/// Longest vector that is taken; unit vectors exceed 1 by rounding only.
const LONGEST: f64 = 1.0006;
/// Its square, less the error of the sum of squares.
const LONGEST_SQUARE: f32 = 1.001;
/// An element's rounding to an integer, and that of its product with the scale.
const ROUNDING: f64 = 0.502;

/// Words of a vector of `width` elements.
pub(super) fn words(width: usize) -> usize {
    width.div_ceil(2)
}

/// How far below the largest integer cosine that of the nearest patch can lie; `None` for vectors so long that the
/// integers would overflow or the window exceed a hundredth of the scale.
pub(super) fn window(width: usize) -> Option<i32> {
    let (scale, width) = (f64::from(SCALE), width as f64);
    let away = ROUNDING * width.sqrt();
    let integers = away * (2.0 * scale * LONGEST + away);
    let chain = 2.0 * width * 2f64.powi(-24) * 1.01 * (scale * LONGEST).powi(2);
    let window = (2.0 * (integers + chain)).ceil();
    (window <= scale * scale / 100.0).then_some(window as i32)
}

/// Writes a row as integers, and tells whether it is at most [`LONGEST`]; if not, they mean nothing.
pub(super) struct Quantise<'a> {
    pub row: &'a [f32],
    /// `[words(row.len())]`.
    pub words: &'a mut [i32],
}

impl Kernel for Quantise<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let pairs = self.row.chunks_exact(2);
        if let ([last], Some(word)) = (pairs.remainder(), self.words.last_mut()) {
            *word = pairs::word(integer(*last), 0);
        }
        for (pair, word) in pairs.zip(&mut *self.words) {
            *word = pairs::word(integer(pair[0]), integer(pair[1]));
        }
        // False for NaN, too.
        reduce::squares(simd, self.row, 0.0) <= LONGEST_SQUARE
    }
}

/// `SCALE x` rounded to an integer, for |x| <= 1.
#[inline(always)]
fn integer(x: f32) -> i16 {
    // Adding 1.5 * 2^23 rounds to an integer that then stands in the low mantissa bits.
    (x * SCALE + 12_582_912.0).to_bits() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::simd::Isa;

    #[test]
    fn integers_are_the_nearest() {
        for isa in Isa::available() {
            let x: Vec<f32> = (0..=2000).map(|i| (i as f32 - 1000.0) / 1000.0 * 1.0005).collect();
            let mut words = vec![0; super::words(x.len())];
            isa.run(Quantise { row: &x, words: &mut words });
            let integers: Vec<i32> = words.into_iter().flat_map(pairs::halves).collect();
            assert_eq!(integers.len(), x.len() + 1);
            assert_eq!(integers[x.len()], 0);
            for (x, integer) in x.iter().zip(integers) {
                let away = (f64::from(*x) * f64::from(SCALE) - f64::from(integer)).abs();
                assert!(away <= ROUNDING, "{}: {x} became {integer}", isa.name());
            }
        }
    }

    /// `x · x` of `width` equal elements that are all rounded down by half an integer.
    #[test]
    fn cosines_of_integers_lie_within_half_the_window_and_can_come_near_it() {
        for width in [64, 896, 1280] {
            let whole = (f64::from(SCALE) / (width as f64).sqrt()).floor();
            let x = vec![((whole + 0.498) / f64::from(SCALE)) as f32; width];
            let mut words = vec![0; super::words(width)];
            let widest = Isa::available().pop().unwrap();
            assert!(widest.run(Quantise { row: &x, words: &mut words }));
            let product: i64 = words.into_iter().flat_map(pairs::halves).map(|x| i64::from(x).pow(2)).sum();
            let exact: f64 = x.iter().map(|x| (f64::from(*x) * f64::from(SCALE)).powi(2)).sum();
            let share = (exact - product as f64) / (f64::from(window(width).unwrap()) / 2.0);
            assert!((0.85..1.0).contains(&share), "{share} of half the window at width {width}");
        }
    }

    #[test]
    fn only_vectors_up_to_unit_length_are_taken() {
        let unit = |length: f32| vec![length / 28f32.sqrt(); 28];
        for isa in Isa::available() {
            let taken = |row: &[f32]| isa.run(Quantise { row, words: &mut vec![0; words(row.len())] });
            assert!(taken(&unit(1.0)) && taken(&unit(0.0)) && taken(&[1.0, 0.0, 0.0]));
            assert!(!taken(&unit(1.001)) && !taken(&[f32::NAN, 0.0]) && !taken(&[f32::INFINITY, 0.0]));
        }
    }

    #[test]
    fn products_of_integers_fit_and_the_window_is_small() {
        for width in [1, 64, 768, 896, 1024, 1280, 1 << 13] {
            let longest = f64::from(SCALE) * LONGEST + ROUNDING * (width as f64).sqrt();
            let window = f64::from(window(width).unwrap());
            assert!(longest * longest + window < f64::from(i32::MAX), "{width}");
        }
        let relative = f64::from(window(896).unwrap()) / f64::from(SCALE).powi(2);
        assert!(relative < 2.1e-3, "{relative}");
        assert_eq!(window(1 << 20), None);
    }
}
