//! Sizes, numbers, and how one thing is timed.

use std::fmt::Display;

use criterion::{BenchmarkId, Criterion, Throughput};
use inctrl::backend::cpu::Cpu;

pub const PATCHES: usize = 225;
pub const WIDTH: usize = 896;
pub const EMBED: usize = 640;
pub const TAPS: usize = 3;

pub fn cpu() -> Cpu {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Cpu::new(threads).expect("threads start")
}

/// Numbers between -0.5 and 0.5 without a pattern: SplitMix64. Operands of a product have different seeds.
pub fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mix = |i: u64| {
        let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    (0..len as u64).map(|i| (mix((seed << 32) + i) >> 40) as f32 / (1 << 24) as f32 - 0.5).collect()
}

/// Rows of length 1.
pub fn unit_rows(mut rows: Vec<f32>, width: usize) -> Vec<f32> {
    for row in rows.chunks_exact_mut(width) {
        let norm = dot(row, row).sqrt() as f32;
        row.iter_mut().for_each(|x| *x /= norm);
    }
    rows
}

pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Fails unless `found` is within 1e-4 of `expected`.
#[track_caller]
pub fn check(name: &str, found: f32, expected: f64) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= 1e-4, "{name}: {found}, expected {expected}");
}

pub fn flop(count: usize) -> Throughput {
    Throughput::Elements(count as u64)
}

/// Of this many f32 that are read or written.
pub fn floats(count: usize) -> Throughput {
    Throughput::Bytes(4 * count as u64)
}

/// Times what `prepare` returns, which it has checked. A filter that leaves the operation out spares the preparation.
pub fn bench<R: FnMut()>(
    c: &mut Criterion,
    op: &str,
    shape: impl Display,
    throughput: impl Into<Option<Throughput>>,
    prepare: impl FnOnce() -> R,
) {
    let (mut prepare, mut run) = (Some(prepare), None);
    let mut group = c.benchmark_group(op);
    group.sample_size(10);
    if let Some(throughput) = throughput.into() {
        group.throughput(throughput);
    }
    group.bench_function(BenchmarkId::new("cpu", shape), |b| {
        // Criterion comes here several times for one measurement.
        if let Some(prepare) = prepare.take() {
            run = Some(prepare());
        }
        b.iter(run.as_mut().expect("prepared above"));
    });
    group.finish();
}
