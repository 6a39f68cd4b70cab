//! Vectors of quadruples of bytes: an instruction multiplies four times as many of them as it does f32.
//!
//! A word holds four neighbours of the inner dimension, the first in its lowest byte. The left operand's bytes are unsigned, the
//! right one's signed; the product of two words is the sum of the products of their bytes, exact in 32 bits.
#![allow(unsafe_code)]

use super::simd::Isa;
use super::tile::Arithmetic;

/// The instruction sets that [`ByteKernel`]s are compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ByteIsa {
    /// Plain Rust.
    Portable(PortableBytes),
    /// 8 lanes; two multiplications and an addition.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2Bytes),
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
/// Bytes of the left operand lie within [`Bytes::LEVELS`] of it, so that none is 0 or below; those of the right operand lie within
/// 127 of 0.
pub(crate) trait Bytes: Arithmetic<Word = i32> {
    /// The byte of the left operand that stands for zero, and how far others are from it at most.
    const LEVELS: i32;

    /// The first row of `sums`, `[floors.len(), 2 * LANES]`, with a number above its floor, and bit `c` for each column `c` whose
    /// number is. `q` has one for each row.
    fn above(self, sums: &[i32], columns: Columns<'_>, q: &[f32], floors: &[f32]) -> Option<(usize, u32)>;
}

impl ByteIsa {
    /// Every one of this processor, narrowest first.
    pub(crate) fn available() -> Vec<ByteIsa> {
        #[allow(unused_mut)]
        let mut found = vec![ByteIsa::Portable(PortableBytes)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(ByteIsa::Avx2(Avx2Bytes(())));
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                found.push(ByteIsa::Vnni(VnniBytes(())));
            }
        }
        found
    }

    /// The one that multiplies faster than `isa` does f32, if there is one.
    pub(crate) fn beside(isa: Isa) -> Option<ByteIsa> {
        ByteIsa::available().into_iter().find(|bytes| match (isa, bytes) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2(_), ByteIsa::Avx2(_)) | (Isa::Avx512(_), ByteIsa::Vnni(_)) => true,
            _ => false,
        })
    }

    /// Columns of one packed panel: two vectors.
    pub(crate) fn panel_width(self) -> usize {
        match self {
            ByteIsa::Portable(_) => 2 * PortableBytes::LANES,
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Avx2(_) => 2 * Avx2Bytes::LANES,
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
        #[target_feature(enable = "avx512f,avx512vnni")]
        fn vnni(bytes: VnniBytes, kernel: impl ByteKernel) {
            kernel.run(bytes);
        }
        match self {
            ByteIsa::Portable(bytes) => kernel.run(bytes),
            // SAFETY: an Avx2Bytes value exists only after detection of AVX2 and FMA in `available`.
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Avx2(bytes) => unsafe { avx2(bytes, kernel) },
            // SAFETY: a VnniBytes value exists only after detection of AVX-512F and VNNI in `available`.
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
}

/// Proof of AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2Bytes(());

/// Proof of AVX-512F and AVX-512 VNNI.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct VnniBytes(());

#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($isa:ident, $vector:ident, $lanes:literal, $rows:literal, $levels:literal, $zero:ident, $splat:ident, $load:ident, $store:ident,
     $floats:ident, $splat_f32:ident, $load_f32:ident, $to_f32:ident, $fma_f32:ident,
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

        impl $isa {
            /// The first twice `LANES` floats.
            #[inline(always)]
            fn floats(self, x: &[f32]) -> [std::arch::x86_64::$floats; 2] {
                let x = &x[..2 * Self::LANES];
                // SAFETY: `self` proves the instruction set; the slice has twice LANES elements.
                unsafe {
                    [std::arch::x86_64::$load_f32(x.as_ptr()), std::arch::x86_64::$load_f32(x[Self::LANES..].as_ptr())]
                }
            }
        }

        impl Bytes for $isa {
            const LEVELS: i32 = $levels;

            #[inline(always)]
            fn above(self, sums: &[i32], columns: Columns<'_>, q: &[f32], floors: &[f32]) -> Option<(usize, u32)> {
                use std::arch::x86_64::*;
                let width = 2 * Self::LANES;
                let (scale, slope, offset) =
                    (self.floats(columns.scale), self.floats(columns.slope), self.floats(columns.offset));
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
        }
    };
}

// Products of two neighbours are added in 16 bits, which saturate: 2 x 127 x 127 fits, so the left operand has 7 bits.
// The products and ones take registers of their own, of 16.
#[cfg(target_arch = "x86_64")]
x86!(
    Avx2Bytes,
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
    |a, b, c| _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1))),
    |x, y| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, y)) as u32
);
#[cfg(target_arch = "x86_64")]
x86!(
    VnniBytes,
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
    |a, b, c| _mm512_dpbusd_epi32(c, a, b),
    |x, y| u32::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, y))
);

#[cfg(test)]
mod tests {
    use super::*;

    /// One vector times another, added to a third.
    struct Fma<'a>([&'a [i32]; 3], &'a mut [i32]);

    impl ByteKernel for Fma<'_> {
        #[inline(always)]
        fn run<B: Bytes>(self, bytes: B) {
            let [a, b, c] = self.0.map(|x| bytes.load(x));
            bytes.store(bytes.fma(a, b, c), self.1);
        }
    }

    #[test]
    fn products_of_bytes_are_exact() {
        for isa in ByteIsa::available() {
            let zero = isa.levels();
            let left = [1, zero, 2 * zero, zero - 1].map(|x| x as u8);
            let right = [-127i8, -1, 0, 1, 126, 127];
            for i in 0..4usize.pow(4) {
                let a: [u8; 4] = std::array::from_fn(|k| left[i / 4usize.pow(k as u32) % 4]);
                for j in 0..6usize.pow(4) {
                    let b: [i8; 4] = std::array::from_fn(|k| right[j / 6usize.pow(k as u32) % 6]);
                    let words = [i32::from_le_bytes(a), i32::from_le_bytes(b.map(|x| x as u8)), -7].map(|x| [x; 16]);
                    let mut sums = [0; 16];
                    isa.run(Fma([&words[0], &words[1], &words[2]], &mut sums));
                    let expected = a.into_iter().zip(b).map(|(a, b)| i32::from(a) * i32::from(b)).sum::<i32>() - 7;
                    assert!(sums[..isa.panel_width() / 2].iter().all(|sum| *sum == expected), "{isa:?}: {a:?} {b:?}");
                }
            }
        }
    }

    /// The first row with columns above.
    struct Above<'a>(&'a [i32], Columns<'a>, [&'a [f32]; 2], &'a mut Option<(usize, u32)>);

    impl ByteKernel for Above<'_> {
        #[inline(always)]
        fn run<B: Bytes>(self, bytes: B) {
            *self.3 = bytes.above(self.0, self.1, self.2[0], self.2[1]);
        }
    }

    #[test]
    fn columns_above_the_floor_are_told() {
        let sums: Vec<i32> = (0..32).map(|c| (c * 7 % 32 - 16) * 1000).collect();
        let scale: Vec<f32> = (0..32).map(|c| 0.25 + c as f32).collect();
        let slope: Vec<f32> = (0..32).map(|c| (c * 5 % 32) as f32 - 16.0).collect();
        let mut offset: Vec<f32> = (0..32).map(|c| (c * 3 % 32) as f32).collect();
        offset[3] = f32::NEG_INFINITY;
        let columns = Columns { scale: &scale, slope: &slope, offset: &offset };
        // Small numbers of quarters: exact.
        for (q, floor) in [(0.0, 0.0), (2.0, 100.0), (-64.0, -3000.25), (1.0, f32::NEG_INFINITY), (1.0, f32::INFINITY)]
        {
            for isa in ByteIsa::available() {
                let width = isa.panel_width();
                let number = |c: usize| sums[c] as f32 * scale[c] + offset[c] + slope[c] * q;
                let mask = (0..width).fold(0u32, |mask, c| mask | u32::from(number(c) > floor) << c);
                // Two rows of which none is above, then this one.
                let rows = [&sums[..width], &sums[..width], &sums[..width]].concat();
                let mut found = None;
                let floors = [f32::INFINITY, f32::INFINITY, floor];
                isa.run(Above(&rows, columns, [&[q; 3], &floors], &mut found));
                assert_eq!(found, (mask != 0).then_some((2, mask)), "{isa:?}: {q}, {floor}");
            }
        }
    }
}
