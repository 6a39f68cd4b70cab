//! Vectors of pairs of 16-bit integers: an instruction multiplies twice as many of them as it does f32.
//!
//! A word holds two neighbours of the inner dimension, the first in its low half; the product of two words is the sum of the
//! products of their halves, exact in 32 bits.
#![allow(unsafe_code)]

use super::simd::Isa;
use super::tile::Arithmetic;

/// The instruction sets that [`PairKernel`]s are compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PairIsa {
    /// Plain Rust.
    Portable(PortablePairs),
    /// 8 lanes; a multiplication and an addition.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2Pairs),
    /// 16 lanes, fused.
    #[cfg(target_arch = "x86_64")]
    Vnni(VnniPairs),
}

/// Work that is written over [`Pairs`] and run by [`PairIsa::run`].
pub(crate) trait PairKernel {
    /// The work. Implementations are `#[inline(always)]`, as is all that they call.
    fn run<P: Pairs>(self, pairs: P);
}

/// Sums of products of pairs. All methods are lane-wise.
pub(crate) trait Pairs: Arithmetic<Word = i32> {
    /// The larger lane.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Whether any lane of `a` is larger than that of `b`.
    fn any_above(self, a: Self::V, b: Self::V) -> bool;
}

impl PairIsa {
    /// Every one of this processor, narrowest first.
    pub(crate) fn available() -> Vec<PairIsa> {
        #[allow(unused_mut)]
        let mut found = vec![PairIsa::Portable(PortablePairs)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                found.push(PairIsa::Avx2(Avx2Pairs(())));
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                found.push(PairIsa::Vnni(VnniPairs(())));
            }
        }
        found
    }

    /// The one that multiplies faster than `isa` does f32, if there is one.
    pub(crate) fn beside(isa: Isa) -> Option<PairIsa> {
        PairIsa::available().into_iter().find(|pairs| match (isa, pairs) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2(_), PairIsa::Avx2(_)) | (Isa::Avx512(_), PairIsa::Vnni(_)) => true,
            _ => false,
        })
    }

    /// Columns of one packed panel: two vectors.
    pub(crate) fn panel_width(self) -> usize {
        match self {
            PairIsa::Portable(_) => 2 * PortablePairs::LANES,
            #[cfg(target_arch = "x86_64")]
            PairIsa::Avx2(_) => 2 * Avx2Pairs::LANES,
            #[cfg(target_arch = "x86_64")]
            PairIsa::Vnni(_) => 2 * VnniPairs::LANES,
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub(crate) fn run(self, kernel: impl PairKernel) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn avx2(pairs: Avx2Pairs, kernel: impl PairKernel) {
            kernel.run(pairs);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vnni")]
        fn vnni(pairs: VnniPairs, kernel: impl PairKernel) {
            kernel.run(pairs);
        }
        match self {
            PairIsa::Portable(pairs) => kernel.run(pairs),
            // SAFETY: an Avx2Pairs value exists only after detection of AVX2 in `available`.
            #[cfg(target_arch = "x86_64")]
            PairIsa::Avx2(pairs) => unsafe { avx2(pairs, kernel) },
            // SAFETY: a VnniPairs value exists only after detection of AVX-512F and VNNI in `available`.
            #[cfg(target_arch = "x86_64")]
            PairIsa::Vnni(pairs) => unsafe { vnni(pairs, kernel) },
        }
    }
}

/// The halves of a word.
pub(crate) fn halves(word: i32) -> [i32; 2] {
    [i32::from(word as i16), word >> 16]
}

/// The word with these halves.
#[inline(always)]
pub(crate) fn word(low: i16, high: i16) -> i32 {
    i32::from(high) << 16 | i32::from(low as u16)
}

/// Four lanes of plain Rust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortablePairs;

impl Arithmetic for PortablePairs {
    const LANES: usize = 4;
    const TILE_ROWS: usize = 4;
    type Word = i32;
    type V = [i32; 4];

    #[inline(always)]
    fn zero(self) -> [i32; 4] {
        [0; 4]
    }
    #[inline(always)]
    fn splat(self, x: i32) -> [i32; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load_at(self, p: *const i32) -> [i32; 4] {
        // SAFETY: the caller vouches for four readable words; an array has the alignment of its elements.
        unsafe { p.cast::<[i32; 4]>().read() }
    }
    #[inline(always)]
    unsafe fn store_at(self, v: [i32; 4], p: *mut i32) {
        // SAFETY: the caller vouches for four writable words; an array has the alignment of its elements.
        unsafe { p.cast::<[i32; 4]>().write(v) }
    }
    #[inline(always)]
    fn fma(self, a: [i32; 4], b: [i32; 4], mut c: [i32; 4]) -> [i32; 4] {
        for (c, (a, b)) in c.iter_mut().zip(a.into_iter().zip(b)) {
            let ([a, a_high], [b, b_high]) = (halves(a), halves(b));
            *c = c.wrapping_add((a * b).wrapping_add(a_high * b_high));
        }
        c
    }
}

impl Pairs for PortablePairs {
    #[inline(always)]
    fn max(self, mut a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = (*a).max(b));
        a
    }
    #[inline(always)]
    fn any_above(self, a: [i32; 4], b: [i32; 4]) -> bool {
        a.into_iter().zip(b).any(|(a, b)| a > b)
    }
}

/// Proof of AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2Pairs(());

/// Proof of AVX-512F and AVX-512 VNNI.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct VnniPairs(());

#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($isa:ident, $vector:ident, $lanes:literal, $rows:literal, $zero:ident, $splat:ident, $load:ident, $store:ident, $max:ident,
     |$a:ident, $b:ident, $c:ident| $fma:expr, |$x:ident, $y:ident| $above:expr) => {
        impl Arithmetic for $isa {
            const LANES: usize = $lanes;
            const TILE_ROWS: usize = $rows;
            type Word = i32;
            type V = std::arch::x86_64::$vector;

            #[inline(always)]
            fn zero(self) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$zero() }
            }
            #[inline(always)]
            fn splat(self, x: i32) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$splat(x) }
            }
            #[inline(always)]
            unsafe fn load_at(self, p: *const i32) -> Self::V {
                // SAFETY: `self` proves the instruction set, the caller the memory; unaligned is allowed.
                unsafe { std::arch::x86_64::$load(p.cast()) }
            }
            #[inline(always)]
            unsafe fn store_at(self, v: Self::V, p: *mut i32) {
                // SAFETY: `self` proves the instruction set, the caller the memory; unaligned is allowed.
                unsafe { std::arch::x86_64::$store(p.cast(), v) }
            }
            #[inline(always)]
            fn fma(self, $a: Self::V, $b: Self::V, $c: Self::V) -> Self::V {
                use std::arch::x86_64::*;
                // SAFETY: `self` proves the instruction set.
                unsafe { $fma }
            }
        }

        impl Pairs for $isa {
            #[inline(always)]
            fn max(self, a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$max(a, b) }
            }
            #[inline(always)]
            fn any_above(self, $x: Self::V, $y: Self::V) -> bool {
                use std::arch::x86_64::*;
                // SAFETY: `self` proves the instruction set.
                unsafe { $above }
            }
        }
    };
}

// A product that is not fused takes a register of its own, of 16.
#[cfg(target_arch = "x86_64")]
x86!(
    Avx2Pairs,
    __m256i,
    8,
    5,
    _mm256_setzero_si256,
    _mm256_set1_epi32,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_max_epi32,
    |a, b, c| _mm256_add_epi32(c, _mm256_madd_epi16(a, b)),
    |x, y| _mm256_movemask_epi8(_mm256_cmpgt_epi32(x, y)) != 0
);
#[cfg(target_arch = "x86_64")]
x86!(
    VnniPairs,
    __m512i,
    16,
    12,
    _mm512_setzero_si512,
    _mm512_set1_epi32,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_max_epi32,
    |a, b, c| _mm512_dpwssd_epi32(c, a, b),
    |x, y| _mm512_cmpgt_epi32_mask(x, y) != 0
);

#[cfg(test)]
mod tests {
    use super::*;

    /// One vector times another, added to a third.
    struct Fma<'a>([&'a [i32]; 3], &'a mut [i32]);

    impl PairKernel for Fma<'_> {
        #[inline(always)]
        fn run<P: Pairs>(self, pairs: P) {
            let [a, b, c] = self.0.map(|x| pairs.load(x));
            pairs.store(pairs.fma(a, b, c), self.1);
        }
    }

    #[test]
    fn products_of_pairs_are_exact() {
        let extremes = [0, 1, -1, 181, -182, 32_700, -32_700];
        let words: Vec<i32> = extremes.iter().flat_map(|a| extremes.iter().map(|b| word(*a, *b))).collect();
        for isa in PairIsa::available() {
            for first in &words {
                for rest in words.chunks(16) {
                    let (a, mut b, c) = (vec![*first; 16], rest.to_vec(), vec![-7; 16]);
                    b.resize(16, 0);
                    let mut sums = vec![0; 16];
                    isa.run(Fma([&a, &b, &c], &mut sums));
                    for (i, sum) in sums.iter().take(isa.panel_width() / 2).enumerate() {
                        let ([x, x_high], [y, y_high]) = (halves(*first), halves(b[i]));
                        let expected = i64::from(x) * i64::from(y) + i64::from(x_high) * i64::from(y_high) - 7;
                        assert_eq!(i64::from(*sum), expected, "{isa:?}: {first} {}", b[i]);
                    }
                }
            }
        }
    }
}
