//! Products of bf16: an instruction multiplies twice as many of them as it does f32, and the sums are f32.
//!
//! A word holds two neighbours of the inner dimension, the first in its low half. The product of two words is added to a sum as
//! `VDPBF16PS` does it: the high halves first, then the low ones, each a fused multiply-add that rounds to nearest even and
//! takes and leaves zero for what is subnormal. [`PortableBf16`] does the same in plain Rust, with the same bits.
//!
//! Operands are rounded to bf16 where a product takes them up (`linear.rs`, `attention.rs`); buffers stay f32.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::simd::Avx512;
use super::simd::{Isa, Portable, Simd};
use super::tile::Arithmetic;

pub(super) mod attention;
pub(super) mod linear;

/// The instruction sets that [`Bf16Kernel`]s are compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bf16Isa {
    /// Plain Rust: slow, to hold the other against it.
    Portable(PortableBf16),
    /// 16 lanes of AVX512-BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512Bf16),
}

/// Work that is written over [`Bf16`] and run by [`Bf16Isa::run`].
pub(crate) trait Bf16Kernel {
    /// The work. Implementations are `#[inline(always)]`, as is all that they call.
    fn run<H: Bf16>(self, bf16: H);
}

/// Vectors of words of two bf16. A sum is a word too: the bits of an f32.
pub(crate) trait Bf16: Arithmetic<Word = i32> {
    /// Vectors of f32 with as many lanes.
    type Floats: Simd;
    /// Arithmetic on f32.
    fn floats(self) -> Self::Floats;
    /// Rounds the elements of two vectors, which follow one another in memory: word `i` holds the elements `2 i` and `2 i + 1`.
    fn round_row(self, first: FloatsOf<Self>, second: FloatsOf<Self>) -> Self::V;
    /// Rounds the elements of two vectors, which lie in two rows: word `i` holds `first[i]` and `second[i]`.
    fn round_rows(self, first: FloatsOf<Self>, second: FloatsOf<Self>) -> Self::V;
}

/// The vectors of f32 beside those of words.
pub(crate) type FloatsOf<H> = <<H as Bf16>::Floats as Arithmetic>::V;

impl Bf16Isa {
    /// The instructions that stand beside `isa`; `None` where it has none.
    pub(crate) fn beside(isa: Isa) -> Option<Bf16Isa> {
        match isa {
            Isa::Portable(_) => Some(Bf16Isa::Portable(PortableBf16)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(simd)
                if is_x86_feature_detected!("avx512bf16")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl") =>
            {
                Some(Bf16Isa::Avx512(Avx512Bf16(simd)))
            }
            #[cfg(target_arch = "x86_64")]
            _ => None,
        }
    }

    /// Columns of one packed panel: two vectors.
    pub(crate) fn panel_width(self) -> usize {
        match self {
            Bf16Isa::Portable(_) => 2 * PortableBf16::LANES,
            #[cfg(target_arch = "x86_64")]
            Bf16Isa::Avx512(_) => 2 * Avx512Bf16::LANES,
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub(crate) fn run(self, kernel: impl Bf16Kernel) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        fn avx512(bf16: Avx512Bf16, kernel: impl Bf16Kernel) {
            kernel.run(bf16);
        }
        match self {
            Bf16Isa::Portable(bf16) => kernel.run(bf16),
            // SAFETY: an Avx512Bf16 value exists only after detection of these features in `beside`, and of AVX-512F, which
            // the Avx512 in it proves.
            #[cfg(target_arch = "x86_64")]
            Bf16Isa::Avx512(bf16) => unsafe { avx512(bf16, kernel) },
        }
    }
}

/// The words of `columns` elements.
pub(super) fn words(columns: usize) -> usize {
    columns.div_ceil(2)
}

/// Rounds a row of f32 into its words, half as many; the half beyond an odd end is zero.
#[inline(always)]
fn round_row<H: Bf16>(bf16: H, row: &[f32], words: &mut [i32]) {
    let (floats, lanes) = (bf16.floats(), H::LANES);
    let rows = row.chunks_exact(2 * lanes);
    let (rest, (whole, last)) = (rows.remainder(), words.split_at_mut(row.len() / (2 * lanes) * lanes));
    for (x, word) in rows.zip(whole.chunks_exact_mut(lanes)) {
        bf16.store(bf16.round_row(floats.load(x), floats.load(&x[lanes..])), word);
    }
    if !last.is_empty() {
        let (mut padded, mut word) = ([0.0; 32], [0; 16]);
        padded[..rest.len()].copy_from_slice(rest);
        bf16.store(bf16.round_row(floats.load(&padded), floats.load(&padded[lanes..])), &mut word);
        last.copy_from_slice(&word[..last.len()]);
    }
}

/// Words as the f32 of which they are the bits.
#[inline(always)]
fn as_floats(words: &[i32]) -> &[f32] {
    // SAFETY: both types have the same size and alignment, and any bits are a value of either.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
}

/// As [`as_floats`].
#[inline(always)]
fn as_floats_mut(words: &mut [i32]) -> &mut [f32] {
    // SAFETY: as in `as_floats`; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len()) }
}

/// Four lanes of plain Rust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortableBf16;

/// Zero for what is subnormal, with its sign.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}

/// The bf16 nearest to `x`, even where two are.
fn rounded(x: f32) -> u32 {
    let bits = flushed(x).to_bits();
    if x.is_nan() { bits >> 16 | 0x40 } else { (bits + 0x7fff + (bits >> 16 & 1)) >> 16 }
}

fn word(low: f32, high: f32) -> i32 {
    (rounded(high) << 16 | rounded(low)) as i32
}

/// The halves of a word, the low one first.
fn halves(word: i32) -> [f32; 2] {
    [word << 16, word & !0xffff].map(|bits| flushed(f32::from_bits(bits as u32)))
}

impl Arithmetic for PortableBf16 {
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
            let ([a_low, a_high], [b_low, b_high]) = (halves(a), halves(b));
            let sum = flushed(f32::from_bits(*c as u32));
            let sum = flushed(a_high.mul_add(b_high, sum));
            *c = flushed(a_low.mul_add(b_low, sum)).to_bits() as i32;
        }
        c
    }
}

impl Bf16 for PortableBf16 {
    type Floats = Portable;
    #[inline(always)]
    fn floats(self) -> Portable {
        Portable
    }
    #[inline(always)]
    fn round_row(self, a: [f32; 4], b: [f32; 4]) -> [i32; 4] {
        [word(a[0], a[1]), word(a[2], a[3]), word(b[0], b[1]), word(b[2], b[3])]
    }
    #[inline(always)]
    fn round_rows(self, a: [f32; 4], b: [f32; 4]) -> [i32; 4] {
        [word(a[0], b[0]), word(a[1], b[1]), word(a[2], b[2]), word(a[3], b[3])]
    }
}

/// Proof of AVX512-BF16, beside that of AVX-512F.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Bf16(Avx512);

#[cfg(target_arch = "x86_64")]
impl Arithmetic for Avx512Bf16 {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 12;
    type Word = i32;
    type V = std::arch::x86_64::__m512i;

    #[inline(always)]
    fn zero(self) -> Self::V {
        // SAFETY: `self` proves the instruction set.
        unsafe { std::arch::x86_64::_mm512_setzero_si512() }
    }
    #[inline(always)]
    fn splat(self, x: i32) -> Self::V {
        // SAFETY: `self` proves the instruction set.
        unsafe { std::arch::x86_64::_mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn load_at(self, p: *const i32) -> Self::V {
        // SAFETY: `self` proves the instruction set, the caller the memory; unaligned is allowed.
        unsafe { std::arch::x86_64::_mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_at(self, v: Self::V, p: *mut i32) {
        // SAFETY: `self` proves the instruction set, the caller the memory; unaligned is allowed.
        unsafe { std::arch::x86_64::_mm512_storeu_si512(p.cast(), v) }
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        use std::arch::x86_64::{__m512bh, __m512i, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_dpbf16_ps};
        // SAFETY: `self` proves the instruction set; both types are 512 bits, of which any are a value.
        unsafe {
            let [a, b] = [a, b].map(|x| std::mem::transmute::<__m512i, __m512bh>(x));
            _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(c), a, b))
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Bf16 for Avx512Bf16 {
    type Floats = Avx512;
    #[inline(always)]
    fn floats(self) -> Avx512 {
        self.0
    }
    #[inline(always)]
    fn round_row(self, first: FloatsOf<Self>, second: FloatsOf<Self>) -> Self::V {
        use std::arch::x86_64::{__m512bh, __m512i, _mm512_cvtne2ps_pbh};
        // SAFETY: `self` proves the instruction set; both types are 512 bits, of which any are a value.
        unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)) }
    }
    #[inline(always)]
    fn round_rows(self, first: FloatsOf<Self>, second: FloatsOf<Self>) -> Self::V {
        use std::arch::x86_64::{
            __m256bh, __m256i, _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_or_si512, _mm512_slli_epi32,
        };
        // SAFETY: `self` proves the instruction set; both types are 256 bits, of which any are a value.
        unsafe {
            let [low, high] = [first, second]
                .map(|x| _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x))));
            _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
        }
    }
}

#[cfg(test)]
mod tests;
