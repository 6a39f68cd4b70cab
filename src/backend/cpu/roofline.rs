//! The peaks of the CPU's multiply instructions, with which products are compared.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use super::Cpu;
#[cfg(target_arch = "x86_64")]
use super::bf16::Bf16Isa;
use super::bf16::{Bf16, Bf16Kernel};
use super::level::Instructions;
#[cfg(target_arch = "x86_64")]
use super::pairs::PairIsa;
use super::pairs::{PairKernel, Pairs};
use super::simd::{Isa, Kernel, Simd};
use super::tile::Arithmetic;
use crate::error::Result;

/// Sums at once: enough that none waits for the one before it, and few enough for sixteen registers.
const SUMS: usize = 12;
/// Rounds over all sums in a task: some tenths of a millisecond.
const ROUNDS: usize = 40_000;
/// Tasks for each thread, so that one which begins late does not decide.
const TASKS: usize = 16;
/// The best of so many.
const TIMES: usize = 7;

/// An instruction and its peak over all threads.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct InstructionPeak {
    /// Its name, without the width of the registers.
    pub instruction: &'static str,
    /// The type of its operands.
    pub operands: &'static str,
    /// Multiplications and additions per second.
    pub operations_per_second: f64,
}

/// The fused multiply instructions of this CPU that `INCTRL_CPU` allows, on `threads` threads; f32 first.
///
/// # Errors
/// As [`Cpu::new`].
pub fn roofline(threads: usize) -> Result<Vec<InstructionPeak>> {
    let mut cpu = Cpu::new(threads)?;
    let Instructions { f32, pairs, bf16 } = Instructions::chosen()?;
    let mut peaks = Vec::new();
    let mut tell = |instruction, operands, operations: usize, task: &(dyn Fn() + Sync)| {
        let tasks = TASKS * threads;
        let seconds = (0..TIMES).map(|_| {
            let start = Instant::now();
            cpu.pool.run(tasks, |_, _| task());
            start.elapsed().as_secs_f64()
        });
        let seconds = seconds.fold(f64::INFINITY, f64::min);
        let operations_per_second = (tasks * ROUNDS * SUMS * operations) as f64 / seconds;
        peaks.push(InstructionPeak { instruction, operands, operations_per_second });
    };
    let lanes = f32.panel_width() / 2;
    let name = if matches!(f32, Isa::Portable(_)) { "portable multiply-add" } else { "vfmadd" };
    tell(name, "f32", 2 * lanes, &|| f32.run(Chains(0.5)));
    #[cfg(target_arch = "x86_64")]
    if let Some(isa @ Bf16Isa::Avx512(_)) = bf16 {
        tell("vdpbf16ps", "bf16", 4 * lanes, &|| isa.run(Chains(0x3f00_3f00)));
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(isa @ PairIsa::Vnni(proof)) = pairs {
        tell("vpdpwssd", "i16", 4 * lanes, &|| isa.run(Chains(0x0001_0001)));
        // SAFETY: `proof` was made where AVX-512F and VNNI were detected.
        tell("vpdpbusd", "i8", 8 * lanes, &|| unsafe { bytes::chains(bytes::Bytes(proof)) });
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (pairs, bf16);
    Ok(peaks)
}

/// [`SUMS`] chains of multiply-adds of this word with itself.
struct Chains<T>(T);

#[inline(always)]
fn chains<A: Arithmetic>(arithmetic: A, word: A::Word) {
    // What they are is hidden, or nothing would be left to compute.
    let (x, y) = (arithmetic.splat(black_box(word)), arithmetic.splat(black_box(word)));
    let mut sums = [arithmetic.zero(); SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = arithmetic.fma(x, y, *sum);
        }
    }
    black_box(sums);
}

impl Kernel for Chains<f32> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        chains(simd, self.0);
    }
}

impl PairKernel for Chains<i32> {
    #[inline(always)]
    fn run<P: Pairs>(self, pairs: P) {
        chains(pairs, self.0);
    }
}

impl Bf16Kernel for Chains<i32> {
    #[inline(always)]
    fn run<H: Bf16>(self, bf16: H) {
        chains(bf16, self.0);
    }
}

/// Sums of products of bytes, which nothing but this page computes yet.
#[cfg(target_arch = "x86_64")]
mod bytes {
    use std::arch::x86_64::{
        __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
    };

    use crate::backend::cpu::pairs::VnniPairs;
    use crate::backend::cpu::tile::Arithmetic;

    /// Proof of AVX-512F and AVX-512 VNNI.
    #[derive(Clone, Copy)]
    pub(super) struct Bytes(pub VnniPairs);

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn chains(bytes: Bytes) {
        super::chains(bytes, 0x0101_0101);
    }

    impl Arithmetic for Bytes {
        const LANES: usize = 16;
        const TILE_ROWS: usize = 12;
        type Word = i32;
        type V = __m512i;

        #[inline(always)]
        fn zero(self) -> __m512i {
            // SAFETY: `self` proves the instruction set.
            unsafe { _mm512_setzero_si512() }
        }
        #[inline(always)]
        fn splat(self, x: i32) -> __m512i {
            // SAFETY: `self` proves the instruction set.
            unsafe { _mm512_set1_epi32(x) }
        }
        #[inline(always)]
        unsafe fn load_at(self, p: *const i32) -> __m512i {
            // SAFETY: `self` proves the instruction set, the caller the memory; unaligned is allowed.
            unsafe { _mm512_loadu_si512(p.cast()) }
        }
        #[inline(always)]
        unsafe fn store_at(self, v: __m512i, p: *mut i32) {
            // SAFETY: `self` proves the instruction set, the caller the memory; unaligned is allowed.
            unsafe { _mm512_storeu_si512(p.cast(), v) }
        }
        #[inline(always)]
        fn fma(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
            // SAFETY: `self` proves the instruction set.
            unsafe { _mm512_dpbusd_epi32(c, a, b) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_of_the_processor_has_a_rate() {
        let peaks = roofline(1).unwrap();
        assert_eq!(peaks[0].operands, "f32");
        for peak in &peaks {
            // Slower than this is no CPU, faster is a loop that the compiler took away.
            assert!((1e7..1e14).contains(&peak.operations_per_second), "{peak:?}");
        }
    }
}
