//! Vectors of quadruples of bytes: an instruction multiplies four times as many of them as it does f32.
//!
//! A word holds four neighbours of the inner dimension, the first in its lowest byte. The left operand's bytes are
//! unsigned, the right one's signed; the product of two words is the sum of the products of their bytes, exact in 32
//! bits.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Isa, Portable, Simd};
use super::tile::Arithmetic;

/// The instruction sets that [`ByteKernel`]s are compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ByteIsa {
    /// Plain Rust.
    Portable(PortableBytes),
    /// 8 lanes; two multiplications and an addition.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2Bytes),
    /// 8 lanes, fused.
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnniBytes),
    /// 16 lanes, fused.
    #[cfg(target_arch = "x86_64")]
    Vnni(VnniBytes),
}

/// Work that is written over [`Bytes`] and run by [`ByteIsa::run`].
pub(crate) trait ByteKernel {
    /// The work. Implementations are `#[inline(always)]`, as is all that they call.
    fn run<B: Bytes>(self, bytes: B);
}

/// What turns the sums of a panel's columns into numbers: `(sum scale + offset) + slope q` with a `q` of the row's own.
/// Each field has an element for each column.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub scale: &'a [f32],
    pub slope: &'a [f32],
    pub offset: &'a [f32],
}

/// Sums of products of quadruples.
///
/// Bytes of the left operand lie within [`Bytes::LEVELS`] of it, so that none is 0 or below; those of the right operand
/// lie within 127 of 0.
pub(crate) trait Bytes: Arithmetic<Word = i32> {
    /// Vectors of f32 with as many lanes.
    type Floats: Simd;

    /// The byte of the left operand that stands for zero, and how far others are from it at most.
    const LEVELS: i32;

    /// The first row of `sums`, `[floors.len(), 2 * LANES]`, with a number above its floor, and bit `c` for each column
    /// `c` whose number is. `q` has one for each row.
    fn above(self, sums: &[i32], columns: Columns<'_>, q: &[f32], floors: &[f32]) -> Option<(usize, u32)>;

    /// Arithmetic on f32.
    fn floats(self) -> Self::Floats;

    /// Integers as f32.
    fn to_floats(self, integers: Self::V) -> FloatsOf<Self>;

    /// Byte `place` of each word, which is signed, as f32.
    fn byte(self, words: Self::V, place: usize) -> FloatsOf<Self>;

    /// The elements of four vectors, which follow one another in memory, as unsigned bytes: word `i` holds the elements
    /// from `4 i` on. They lie within 0 and 255, and are rounded to the nearest.
    fn round_row(self, x: [FloatsOf<Self>; 4]) -> Self::V;
}

/// The vectors of f32 beside those of words.
pub(crate) type FloatsOf<B> = <<B as Bytes>::Floats as Arithmetic>::V;

impl ByteIsa {
    /// Every one of this processor, narrowest first.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<ByteIsa> {
        Isa::available().into_iter().flat_map(|isa| [ByteIsa::beside(isa), ByteIsa::fused(isa)]).flatten().collect()
    }

    /// What multiplies bytes with the instructions of `isa` itself.
    pub(crate) fn beside(isa: Isa) -> Option<ByteIsa> {
        match isa {
            Isa::Portable(_) => Some(ByteIsa::Portable(PortableBytes)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(simd) => Some(ByteIsa::Avx2(Avx2Bytes(simd))),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => None,
        }
    }

    /// The VNNI instructions that stand beside `isa`; `None` where it has none.
    pub(crate) fn fused(isa: Isa) -> Option<ByteIsa> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(simd) if is_x86_feature_detected!("avxvnni") => Some(ByteIsa::AvxVnni(AvxVnniBytes(simd))),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(simd) if is_x86_feature_detected!("avx512vnni") => Some(ByteIsa::Vnni(VnniBytes(simd))),
            _ => None,
        }
    }

    /// Columns of one packed panel: two vectors.
    pub(crate) fn panel_width(self) -> usize {
        match self {
            ByteIsa::Portable(_) => 2 * PortableBytes::LANES,
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Avx2(_) => 2 * Avx2Bytes::LANES,
            #[cfg(target_arch = "x86_64")]
            ByteIsa::AvxVnni(_) => 2 * AvxVnniBytes::LANES,
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Vnni(_) => 2 * VnniBytes::LANES,
        }
    }

    /// [`Bytes::LEVELS`].
    pub(crate) fn levels(self) -> i32 {
        match self {
            ByteIsa::Portable(_) => PortableBytes::LEVELS,
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Avx2(_) => Avx2Bytes::LEVELS,
            #[cfg(target_arch = "x86_64")]
            ByteIsa::AvxVnni(_) => AvxVnniBytes::LEVELS,
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Vnni(_) => VnniBytes::LEVELS,
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub(crate) fn run(self, kernel: impl ByteKernel) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2(bytes: Avx2Bytes, kernel: impl ByteKernel) {
            kernel.run(bytes);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,avxvnni")]
        fn avx_vnni(bytes: AvxVnniBytes, kernel: impl ByteKernel) {
            kernel.run(bytes);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vnni")]
        fn vnni(bytes: VnniBytes, kernel: impl ByteKernel) {
            kernel.run(bytes);
        }
        match self {
            ByteIsa::Portable(bytes) => kernel.run(bytes),
            // SAFETY: the Avx2 in an Avx2Bytes value proves AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Avx2(bytes) => unsafe { avx2(bytes, kernel) },
            // SAFETY: an AvxVnniBytes value exists only after detection of AVX-VNNI in `fused`; the Avx2 in it proves
            // AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            ByteIsa::AvxVnni(bytes) => unsafe { avx_vnni(bytes, kernel) },
            // SAFETY: a VnniBytes value exists only after detection of VNNI in `fused`; the Avx512 in it proves
            // AVX-512F.
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Vnni(bytes) => unsafe { vnni(bytes, kernel) },
        }
    }
}

/// Four lanes of plain Rust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortableBytes;

impl Arithmetic for PortableBytes {
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
            let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
            *c += products.map(|(a, b)| i32::from(a) * i32::from(b as i8)).sum::<i32>();
        }
        c
    }
}

impl Bytes for PortableBytes {
    type Floats = Portable;

    const LEVELS: i32 = 127;

    #[inline(always)]
    fn above(self, sums: &[i32], columns: Columns<'_>, q: &[f32], floors: &[f32]) -> Option<(usize, u32)> {
        let Columns { scale, slope, offset } = columns;
        let rows = sums.chunks_exact(2 * Self::LANES).zip(q.iter().zip(floors));
        let masks = rows.map(|(sums, (q, floor))| {
            let number = |c: usize| sums[c] as f32 * scale[c] + offset[c] + slope[c] * q;
            (0..2 * Self::LANES).fold(0, |mask, c| mask | u32::from(number(c) > *floor) << c)
        });
        masks.enumerate().find(|(_, mask)| *mask != 0)
    }

    #[inline(always)]
    fn floats(self) -> Portable {
        Portable
    }
    #[inline(always)]
    fn to_floats(self, integers: [i32; 4]) -> [f32; 4] {
        integers.map(|x| x as f32)
    }
    #[inline(always)]
    fn byte(self, words: [i32; 4], place: usize) -> [f32; 4] {
        words.map(|word| f32::from(word.to_le_bytes()[place] as i8))
    }
    #[inline(always)]
    fn round_row(self, x: [[f32; 4]; 4]) -> [i32; 4] {
        x.map(|x| i32::from_le_bytes(x.map(|x| x.round_ties_even() as u8)))
    }
}

/// Proof of AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2Bytes(Avx2);

/// Proof of AVX-VNNI, beside that of AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct AvxVnniBytes(Avx2);

/// Proof of AVX-512 VNNI, beside that of AVX-512F.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct VnniBytes(Avx512);

#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($isa:ident, $simd:ident, $vector:ident, $lanes:literal, $rows:literal, $levels:literal, $zero:ident, $splat:ident, $load:ident, $store:ident,
     $floats:ident, $splat_f32:ident, $load_f32:ident, $to_f32:ident, $fma_f32:ident,
     $move_up:ident, $move_down:ident, |$a:ident, $b:ident, $c:ident| $fma:expr, |$x:ident, $y:ident| $above:expr,
     $pack:ident) => {
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

        impl $isa {
            /// The first twice `LANES` floats.
            #[inline(always)]
            fn both(self, x: &[f32]) -> [std::arch::x86_64::$floats; 2] {
                let x = &x[..2 * Self::LANES];
                // SAFETY: `self` proves the instruction set; the slice has twice LANES elements.
                unsafe {
                    [std::arch::x86_64::$load_f32(x.as_ptr()), std::arch::x86_64::$load_f32(x[Self::LANES..].as_ptr())]
                }
            }
        }

        impl Bytes for $isa {
            type Floats = $simd;

            const LEVELS: i32 = $levels;

            #[inline(always)]
            fn above(self, sums: &[i32], columns: Columns<'_>, q: &[f32], floors: &[f32]) -> Option<(usize, u32)> {
                use std::arch::x86_64::*;
                let width = 2 * Self::LANES;
                let (scale, slope, offset) =
                    (self.both(columns.scale), self.both(columns.slope), self.both(columns.offset));
                let rows = sums.chunks_exact(width).zip(q.iter().zip(floors));
                for (row, (sums, (q, floor))) in rows.enumerate() {
                    let mut mask = 0;
                    for half in 0..2 {
                        // SAFETY: `self` proves the instruction set; `sums` has twice LANES elements.
                        mask |= unsafe {
                            let sums = $to_f32(self.load_at(sums[half * Self::LANES..].as_ptr()));
                            let base = $fma_f32(slope[half], $splat_f32(*q), offset[half]);
                            let ($x, $y) = ($fma_f32(sums, scale[half], base), $splat_f32(*floor));
                            $above
                        } << (half * Self::LANES);
                    }
                    if mask != 0 {
                        return Some((row, mask));
                    }
                }
                None
            }

            #[inline(always)]
            fn floats(self) -> $simd {
                self.0
            }
            #[inline(always)]
            fn to_floats(self, integers: Self::V) -> FloatsOf<Self> {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$to_f32(integers) }
            }
            #[inline(always)]
            fn byte(self, words: Self::V, place: usize) -> FloatsOf<Self> {
                use std::arch::x86_64::*;
                // SAFETY: `self` proves the instruction set.
                unsafe { $to_f32($move_down::<24>($move_up(words, $splat(24 - 8 * place as i32)))) }
            }
            #[inline(always)]
            fn round_row(self, x: [FloatsOf<Self>; 4]) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { $pack(x) }
            }
        }
    };
}

/// [`Bytes::round_row`] of eight lanes.
///
/// # Safety
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn pack_256(x: [std::arch::x86_64::__m256; 4]) -> std::arch::x86_64::__m256i {
    use std::arch::x86_64::*;
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let [a, b, c, d] = x.map(|x| _mm256_cvtps_epi32(x));
        // Each pack works in the lower and the upper half for itself.
        let packed = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
    }
}

/// [`Bytes::round_row`] of sixteen lanes.
///
/// # Safety
/// The processor has AVX-512F.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn pack_512(x: [std::arch::x86_64::__m512; 4]) -> std::arch::x86_64::__m512i {
    use std::arch::x86_64::*;
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let [a, b, c, d] = x.map(|x| _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
        let low = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
        _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(low, c), d)
    }
}

// Products of two neighbours are added in 16 bits, which saturate: 2 x 127 x 127 fits, so the left operand has 7 bits.
// The products and ones take registers of their own, of 16.
#[cfg(target_arch = "x86_64")]
x86!(
    Avx2Bytes,
    Avx2,
    __m256i,
    8,
    5,
    63,
    _mm256_setzero_si256,
    _mm256_set1_epi32,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    __m256,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_cvtepi32_ps,
    _mm256_fmadd_ps,
    _mm256_sllv_epi32,
    _mm256_srai_epi32,
    |a, b, c| _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1))),
    |x, y| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, y)) as u32,
    pack_256
);
#[cfg(target_arch = "x86_64")]
x86!(
    AvxVnniBytes,
    Avx2,
    __m256i,
    8,
    6,
    127,
    _mm256_setzero_si256,
    _mm256_set1_epi32,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    __m256,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_cvtepi32_ps,
    _mm256_fmadd_ps,
    _mm256_sllv_epi32,
    _mm256_srai_epi32,
    |a, b, c| _mm256_dpbusd_avx_epi32(c, a, b),
    |x, y| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, y)) as u32,
    pack_256
);
#[cfg(target_arch = "x86_64")]
x86!(
    VnniBytes,
    Avx512,
    __m512i,
    16,
    12,
    127,
    _mm512_setzero_si512,
    _mm512_set1_epi32,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    __m512,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_cvtepi32_ps,
    _mm512_fmadd_ps,
    _mm512_sllv_epi32,
    _mm512_srai_epi32,
    |a, b, c| _mm512_dpbusd_epi32(c, a, b),
    |x, y| u32::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, y)),
    pack_512
);

#[cfg(test)]
mod tests;
