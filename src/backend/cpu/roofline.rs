//! The peaks of the CPU's multiply instructions, with which products are compared.

use std::hint::black_box;
use std::time::Instant;

use super::Cpu;
#[cfg(target_arch = "x86_64")]
use super::bf16::Bf16Isa;
use super::bf16::{Bf16, Bf16Kernel};
#[cfg(target_arch = "x86_64")]
use super::bytes::ByteIsa;
use super::bytes::{ByteKernel, Bytes};
use super::level::Instructions;
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
    let Instructions { f32, bytes, bf16, .. } = Instructions::chosen()?;
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
    if let Some(isa @ (ByteIsa::AvxVnni(_) | ByteIsa::Vnni(_))) = bytes {
        tell("vpdpbusd", "i8", 8 * lanes, &|| isa.run(Chains(0x0101_0101)));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, bf16);
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

impl ByteKernel for Chains<i32> {
    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        chains(bytes, self.0);
    }
}

impl Bf16Kernel for Chains<i32> {
    #[inline(always)]
    fn run<H: Bf16>(self, bf16: H) {
        chains(bf16, self.0);
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
