//! One vector vocabulary over the instruction sets, so that each kernel is written once.
//!
//! Holding an [`Avx2`] or [`Avx512`] value proves that the processor has it: only [`Isa::available`] makes one. A
//! [`Kernel`] runs inside a function compiled for that instruction set, and everything it inlines is compiled for it too.
#![allow(unsafe_code)]

use super::tile::{Arithmetic, Rows};

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Isa {
    /// Plain Rust, which the compiler vectorises for the target's baseline.
    Portable(Portable),
    /// 8 lanes with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// Work that is written over [`Simd`] and run by [`Isa::run`].
pub(crate) trait Kernel {
    /// What the work returns.
    type Output;
    /// The work. Implementations are `#[inline(always)]`, as is all that they call: otherwise the code is compiled for the
    /// baseline and not for the instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

impl Isa {
    /// Plain Rust, which every processor runs.
    pub(crate) fn portable() -> Isa {
        Isa::Portable(Portable)
    }

    /// Every instruction set of this processor, narrowest first.
    pub(crate) fn available() -> Vec<Isa> {
        #[allow(unused_mut)]
        let mut found = vec![Isa::Portable(Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Isa::Avx2(Avx2(())));
            }
            if is_x86_feature_detected!("avx512f") {
                found.push(Isa::Avx512(Avx512(())));
            }
        }
        found
    }

    /// Name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Isa::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "AVX-512",
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f")]
        fn avx512<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        match self {
            Isa::Portable(simd) => kernel.run(simd),
            // SAFETY: an Avx2 value exists only after detection of AVX2 and FMA in `available`.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(simd) => unsafe { avx2(simd, kernel) },
            // SAFETY: an Avx512 value exists only after detection of AVX-512F in `available`.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(simd) => unsafe { avx512(simd, kernel) },
        }
    }

    /// Columns of one packed panel: two vectors.
    pub(crate) fn panel_width(self) -> usize {
        struct Width;
        impl Kernel for Width {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                2 * S::LANES
            }
        }
        self.run(Width)
    }
}

/// Vectors of f32. All methods are lane-wise; `fma` is fused where the instruction set can.
pub(crate) trait Simd: Arithmetic<Word = f32> {
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger lane; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller lane; `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `x < 0 ? a : b`.
    fn where_negative(self, x: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// The bits of each lane moved 23 places up: turns a biased exponent in the low bits into a power of two.
    fn exponent_bits(self, x: Self::V) -> Self::V;

    /// Turns a square of `LANES` by `LANES` over: element `c` of row `r` of `from` goes to `to[c * stride + r]`.
    ///
    /// # Safety
    /// `from[r * from_stride + c]` is readable and `to[c * stride + r]` writable for all `r` and `c` below `LANES`.
    #[inline(always)]
    unsafe fn transpose_at(self, from: *const f32, from_stride: usize, to: *mut f32, stride: usize) {
        for c in 0..Self::LANES {
            for r in 0..Self::LANES {
                // SAFETY: the caller vouches for both elements.
                unsafe { *to.add(c * stride + r) = *from.add(r * from_stride + c) };
            }
        }
    }

    /// Turns the first `LANES` elements of the first `LANES` rows over: element `c` of row `r` goes to `to[c * stride + r]`.
    #[inline(always)]
    fn transpose(self, from: Rows<'_>, to: &mut [f32], stride: usize) {
        let last = Self::LANES - 1;
        assert!(from.depth() >= Self::LANES && from.row(last).len() >= Self::LANES);
        assert!(stride >= Self::LANES && to.len() > last * stride + last);
        // SAFETY: row `last` exists with LANES elements, so those before it do, as their stride is the same; the last
        // element of `to` exists, checked above, and every other lies before it.
        unsafe { self.transpose_at(from.row(0).as_ptr(), from.stride(), to.as_mut_ptr(), stride) }
    }

    /// The lanes as an array of at least `LANES` elements, the rest zero.
    #[inline(always)]
    fn lanes(self, v: Self::V) -> [f32; 16] {
        let mut out = [0.0; 16];
        self.store(v, &mut out);
        out
    }

    /// The sum of the lanes, in the order of their index.
    #[inline(always)]
    fn sum_lanes(self, v: Self::V) -> f32 {
        self.lanes(v)[..Self::LANES].iter().sum()
    }

    /// The largest lane.
    #[inline(always)]
    fn max_lanes(self, v: Self::V) -> f32 {
        // In halves, as a chain waits for itself; the order does not matter.
        let (mut lanes, mut half) = (self.lanes(v), Self::LANES / 2);
        while half > 0 {
            for i in 0..half {
                lanes[i] = lanes[i].max(lanes[half + i]);
            }
            half /= 2;
        }
        lanes[0]
    }
}

/// Four lanes of plain Rust: what SSE2 and NEON registers hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

#[inline(always)]
fn zip(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

impl Arithmetic for Portable {
    const LANES: usize = 4;
    const TILE_ROWS: usize = 4;
    type Word = f32;
    type V = [f32; 4];

    #[inline(always)]
    fn zero(self) -> [f32; 4] {
        [0.0; 4]
    }
    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load_at(self, p: *const f32) -> [f32; 4] {
        // SAFETY: the caller vouches for four readable floats; an array of floats has the alignment of one.
        unsafe { p.cast::<[f32; 4]>().read() }
    }
    #[inline(always)]
    unsafe fn store_at(self, v: [f32; 4], p: *mut f32) {
        // SAFETY: the caller vouches for four writable floats; an array of floats has the alignment of one.
        unsafe { p.cast::<[f32; 4]>().write(v) }
    }
    #[inline(always)]
    fn fma(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        // Where the baseline has no fused instruction, mul_add is a library call per lane.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            [a[0].mul_add(b[0], c[0]), a[1].mul_add(b[1], c[1]), a[2].mul_add(b[2], c[2]), a[3].mul_add(b[3], c[3])]
        } else {
            self.add(self.mul(a, b), c)
        }
    }
}

impl Simd for Portable {
    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn where_negative(self, x: [f32; 4], a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        let pick = |i: usize| if x[i] < 0.0 { a[i] } else { b[i] };
        [pick(0), pick(1), pick(2), pick(3)]
    }
    #[inline(always)]
    fn exponent_bits(self, x: [f32; 4]) -> [f32; 4] {
        x.map(|x| f32::from_bits(x.to_bits() << 23))
    }
}

/// Proof of AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

/// Proof of AVX-512F.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($isa:ident, $vector:ident, $lanes:literal, $rows:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident,
     $mul:ident, $div:ident, $fma:ident, $max:ident, $min:ident, |$x:ident, $a:ident, $b:ident| $negative:expr, |$e:ident| $exponent:expr,
     |$from:ident, $from_stride:ident, $to:ident, $stride:ident| $transpose:block) => {
        impl Arithmetic for $isa {
            const LANES: usize = $lanes;
            const TILE_ROWS: usize = $rows;
            type Word = f32;
            type V = std::arch::x86_64::$vector;

            #[inline(always)]
            fn zero(self) -> Self::V {
                self.splat(0.0)
            }
            #[inline(always)]
            fn splat(self, x: f32) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$splat(x) }
            }
            #[inline(always)]
            unsafe fn load_at(self, p: *const f32) -> Self::V {
                // SAFETY: `self` proves the instruction set, the caller the memory; unaligned is allowed.
                unsafe { std::arch::x86_64::$load(p) }
            }
            #[inline(always)]
            unsafe fn store_at(self, v: Self::V, p: *mut f32) {
                // SAFETY: `self` proves the instruction set, the caller the memory; unaligned is allowed.
                unsafe { std::arch::x86_64::$store(p, v) }
            }
            #[inline(always)]
            fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$fma(a, b, c) }
            }
        }

        impl Simd for $isa {
            #[inline(always)]
            fn add(self, a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$add(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$sub(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$mul(a, b) }
            }
            #[inline(always)]
            fn div(self, a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$div(a, b) }
            }
            #[inline(always)]
            fn max(self, a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$max(a, b) }
            }
            #[inline(always)]
            fn min(self, a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: `self` proves the instruction set.
                unsafe { std::arch::x86_64::$min(a, b) }
            }
            #[inline(always)]
            fn where_negative(self, $x: Self::V, $a: Self::V, $b: Self::V) -> Self::V {
                use std::arch::x86_64::*;
                // SAFETY: `self` proves the instruction set.
                unsafe { $negative }
            }
            #[inline(always)]
            fn exponent_bits(self, $e: Self::V) -> Self::V {
                use std::arch::x86_64::*;
                // SAFETY: `self` proves the instruction set.
                unsafe { $exponent }
            }
            #[inline(always)]
            unsafe fn transpose_at(self, $from: *const f32, $from_stride: usize, $to: *mut f32, $stride: usize) {
                use std::arch::x86_64::*;
                // SAFETY: `self` proves the instruction set, the caller the memory; unaligned is allowed.
                unsafe { $transpose }
            }
        }
    };
}

// 6 x 2 accumulators, two vectors of the panel and one broadcast fill the 16 registers of AVX2; AVX-512 has 32.
#[cfg(target_arch = "x86_64")]
x86!(
    Avx2,
    __m256,
    8,
    6,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_fmadd_ps,
    _mm256_max_ps,
    _mm256_min_ps,
    |x, a, b| _mm256_blendv_ps(b, a, _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_setzero_ps())),
    |x| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(x))),
    |from, from_stride, to, stride| {
        // Four rows each: half j of quad[k] is their column 4 j + k.
        let mut quads = [[_mm256_setzero_ps(); 4]; 2];
        for (i, quad) in quads.iter_mut().enumerate() {
            let first = from.add(4 * i * from_stride);
            let (r0, r1) = (_mm256_loadu_ps(first), _mm256_loadu_ps(first.add(from_stride)));
            let (r2, r3) = (_mm256_loadu_ps(first.add(2 * from_stride)), _mm256_loadu_ps(first.add(3 * from_stride)));
            let (a, b) = (_mm256_castps_pd(_mm256_unpacklo_ps(r0, r1)), _mm256_castps_pd(_mm256_unpacklo_ps(r2, r3)));
            let (c, d) = (_mm256_castps_pd(_mm256_unpackhi_ps(r0, r1)), _mm256_castps_pd(_mm256_unpackhi_ps(r2, r3)));
            quad[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            quad[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
            quad[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(c, d));
            quad[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(c, d));
        }
        let [upper, lower] = quads;
        for (k, (a, b)) in upper.into_iter().zip(lower).enumerate() {
            _mm256_storeu_ps(to.add(k * stride), _mm256_permute2f128_ps::<0x20>(a, b));
            _mm256_storeu_ps(to.add((4 + k) * stride), _mm256_permute2f128_ps::<0x31>(a, b));
        }
    }
);
#[cfg(target_arch = "x86_64")]
x86!(
    Avx512,
    __m512,
    16,
    12,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_div_ps,
    _mm512_fmadd_ps,
    _mm512_max_ps,
    _mm512_min_ps,
    |x, a, b| _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps()), b, a),
    |x| _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(x))),
    |from, from_stride, to, stride| {
        // Four rows each: quarter j of quad[k] is their column 4 j + k.
        let mut quads = [[_mm512_setzero_ps(); 4]; 4];
        for (i, quad) in quads.iter_mut().enumerate() {
            let first = from.add(4 * i * from_stride);
            let (r0, r1) = (_mm512_loadu_ps(first), _mm512_loadu_ps(first.add(from_stride)));
            let (r2, r3) = (_mm512_loadu_ps(first.add(2 * from_stride)), _mm512_loadu_ps(first.add(3 * from_stride)));
            let (a, b) = (_mm512_castps_pd(_mm512_unpacklo_ps(r0, r1)), _mm512_castps_pd(_mm512_unpacklo_ps(r2, r3)));
            let (c, d) = (_mm512_castps_pd(_mm512_unpackhi_ps(r0, r1)), _mm512_castps_pd(_mm512_unpackhi_ps(r2, r3)));
            quad[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            quad[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            quad[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
            quad[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
        }
        let [first, second, third, fourth] = quads;
        for (k, (((a, b), c), d)) in first.into_iter().zip(second).zip(third).zip(fourth).enumerate() {
            // Quarters 0 and 2, and 1 and 3, of the upper and of the lower eight rows.
            let (even, odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
            let (even_low, odd_low) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
            _mm512_storeu_ps(to.add(k * stride), _mm512_shuffle_f32x4::<0x88>(even, even_low));
            _mm512_storeu_ps(to.add((4 + k) * stride), _mm512_shuffle_f32x4::<0x88>(odd, odd_low));
            _mm512_storeu_ps(to.add((8 + k) * stride), _mm512_shuffle_f32x4::<0xdd>(even, even_low));
            _mm512_storeu_ps(to.add((12 + k) * stride), _mm512_shuffle_f32x4::<0xdd>(odd, odd_low));
        }
    }
);
