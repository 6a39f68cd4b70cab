//! The operations that a score spends its time in, at the sizes of ViT-B/16+ 240: `op/cpu/shape`, throughput in FLOP.
//!
//! A result is compared with a plain loop at a few places before it is timed.
#![allow(missing_docs)]

use std::sync::Arc;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use inctrl::backend::cpu::Cpu;
use inctrl::backend::{Backend, BankVectors, Gelu, HeadShape, Sequences};
use inctrl::tensor::{DType, TensorView};

const TOKENS: usize = 226;
const PATCHES: usize = 225;
const WIDTH: usize = 896;
const HEADS: HeadShape = HeadShape { heads: 14, size: 64 };

fn cpu() -> Cpu {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Cpu::new(threads).expect("threads start")
}

/// Numbers between -0.5 and 0.5 without a pattern: splitmix64. Operands of a product have different seeds.
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mix = |i: u64| {
        let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    (0..len as u64).map(|i| (mix((seed << 32) + i) >> 40) as f32 / (1 << 24) as f32 - 0.5).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn check(name: &str, found: f32, expected: f64) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= 1e-4, "{name}: {found}, expected {expected}");
}

fn group<'a>(c: &'a mut Criterion, name: &str, flop: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(flop as u64)).sample_size(20);
    group
}

fn linear(c: &mut Criterion) {
    let mut cpu = cpu();
    for (inputs, outputs) in [(768, WIDTH), (WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)]
    {
        let (x, w) = (numbers(1, TOKENS * inputs), numbers(2, outputs * inputs));
        let bytes: Vec<u8> = w.iter().flat_map(|w| w.to_le_bytes()).collect();
        let view = TensorView { name: "w", shape: &[outputs, inputs], dtype: DType::F32, bytes: &bytes };
        let layer = cpu.linear_weights(&view, 0..outputs, None).expect("a layer");
        let mut out = vec![0.0; TOKENS * outputs];
        cpu.linear(&x, TOKENS, &layer, &mut out).expect("a product");
        for (r, o) in [(0, 0), (7, 31), (TOKENS - 1, outputs - 1)] {
            check("linear", out[r * outputs + o], dot(&x[r * inputs..][..inputs], &w[o * inputs..][..inputs]));
        }
        let mut group = group(c, "linear", 2 * TOKENS * inputs * outputs);
        let shape = format!("{TOKENS}x{inputs}x{outputs}");
        group.bench_function(BenchmarkId::new("cpu", &shape), |b| {
            b.iter(|| cpu.linear(&x, TOKENS, &layer, &mut out).expect("a product"));
        });
        if outputs == 4 * WIDTH {
            group.bench_function(BenchmarkId::new("cpu", format!("{shape} + gelu")), |b| {
                b.iter(|| {
                    cpu.linear_gelu(&x, TOKENS, &layer, outputs, Gelu::Exact, &mut out).expect("a product");
                });
            });
        }
    }
}

fn attention(c: &mut Criterion) {
    let mut cpu = cpu();
    let qkv = numbers(1, TOKENS * 3 * WIDTH);
    let mut out = vec![0.0; TOKENS * WIDTH];
    let sequences = Sequences { ends: &[TOKENS] };
    cpu.attention(&qkv, sequences, HEADS, false, &mut out).expect("attention");
    let part = |token: usize, part: usize| &qkv[token * 3 * WIDTH + part * WIDTH..][..HEADS.size];
    let weights: Vec<f64> = (0..TOKENS).map(|t| (dot(part(5, 0), part(t, 1)) / 8.0).exp()).collect();
    let value: f64 = (0..TOKENS).map(|t| weights[t] * f64::from(part(t, 2)[9])).sum();
    check("attention", out[5 * WIDTH + 9], value / weights.iter().sum::<f64>());
    group(c, "attention", 4 * TOKENS * TOKENS * WIDTH).bench_function(BenchmarkId::new("cpu", TOKENS), |b| {
        b.iter(|| cpu.attention(&qkv, sequences, HEADS, false, &mut out).expect("attention"));
    });
}

fn patch_nn(c: &mut Criterion) {
    const TAPS: usize = 3;
    let mut cpu = cpu();
    let unit = |mut rows: Vec<f32>| {
        for row in rows.chunks_exact_mut(WIDTH) {
            let norm = dot(row, row).sqrt() as f32;
            row.iter_mut().for_each(|x| *x /= norm);
        }
        rows
    };
    let query = unit(numbers(1, TAPS * PATCHES * WIDTH));
    let mut out = vec![0.0; TAPS * PATCHES];
    for prompts in [1, 8, 64] {
        let taps: Arc<[f32]> = unit(numbers(2, TAPS * prompts * PATCHES * WIDTH)).into();
        let vectors = BankVectors { class_mean: &[0.0], text_prototypes: &[0.0; 2] };
        let bank = cpu.bank(&taps, [TAPS, prompts, PATCHES, WIDTH], vectors).expect("a bank");
        cpu.patch_nn(&query, 1, &bank, &mut out).expect("a search");
        let nearest = taps[..prompts * PATCHES * WIDTH].chunks_exact(WIDTH).map(|p| dot(&query[..WIDTH], p));
        check("patch_nn", out[0], nearest.fold(f64::NEG_INFINITY, f64::max));
        let flop = 2 * TAPS * PATCHES * PATCHES * prompts * WIDTH;
        group(c, "patch_nn", flop).bench_function(BenchmarkId::new("cpu", format!("K={prompts}")), |b| {
            b.iter(|| cpu.patch_nn(&query, 1, &bank, &mut out).expect("a search"));
        });
    }
}

criterion_group!(ops, linear, attention, patch_nn);
criterion_main!(ops);
