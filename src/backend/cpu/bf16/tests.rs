//! Products of bf16 against the exact sum of the rounded operands' products, and each instruction set against plain Rust.

use half::bf16;

use super::*;
use crate::backend::cpu::Cpu;
use crate::backend::{AttentionShape, Backend, Gelu, Precision, Sequences};
use crate::split_mix::{STEP, mix};
use crate::tensor::{DType, TensorView};

/// Uniform in [-1, 1).
fn random(seed: u64, len: usize) -> Vec<f32> {
    let number = |i| (mix(seed.wrapping_mul(STEP).wrapping_add(STEP.wrapping_mul(i))) >> 40) as f32 / (1 << 23) as f32;
    (1..=len as u64).map(|i| number(i) - 1.0).collect()
}

fn nearest(x: &[f32]) -> Vec<f32> {
    x.iter().map(|&x| bf16::from_f32(x).to_f32()).collect()
}

fn cpus(threads: usize) -> Vec<Cpu> {
    Cpu::of_each_instruction_set(threads, Precision::Bf16).unwrap()
}

fn layer(cpu: &mut Cpu, [outputs, inputs]: [usize; 2], weight: &[f32], bias: Option<&[f32]>) -> super::super::Linear {
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let view = |name, shape, bytes| TensorView { name, dtype: DType::F32, shape, bytes };
    let (shape, outputs_only) = ([outputs, inputs], [outputs]);
    let bias = bias.map(|bias| view("bias", &outputs_only, bytes(bias).into()));
    cpu.linear_weights(&view("weight", &shape, bytes(weight).into()), 0..outputs, bias.as_ref()).unwrap()
}

#[test]
fn words_hold_the_nearest_bf16() {
    struct Round<'a>(&'a [f32], &'a mut [i32]);
    impl Bf16Kernel for Round<'_> {
        #[inline(always)]
        fn run<H: Bf16>(self, bf16: H) {
            round_row(bf16, self.0, self.1);
        }
    }
    // Ties to even and on both sides of them, the carry into the exponent, the largest, infinity, zeros.
    let mut x: Vec<f32> =
        [0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x3f80_7fff, 0x3fff_ffff, 0x7f7f_ffff, 0x7f80_0000, 0, 1 << 31]
            .map(f32::from_bits)
            .to_vec();
    x.extend(random(1, 120).iter().enumerate().map(|(i, x)| x * 2.0_f32.powi(i as i32 - 60)));
    for len in [1, 2, 31, 32, 33, x.len()] {
        for isa in isas() {
            let mut found = vec![-1; words(len)];
            isa.run(Round(&x[..len], &mut found));
            for (i, word) in found.iter().enumerate() {
                let expected = [2 * i, 2 * i + 1].map(|i| bf16::from_f32(if i < len { x[i] } else { 0.0 }).to_bits());
                assert_eq!([*word as u16, (word >> 16) as u16], expected, "{isa:?}: word {i} of {len}");
            }
        }
    }
}

/// Every instruction set of the machine, plain Rust first.
fn isas() -> Vec<Bf16Isa> {
    super::super::level::Level::available().into_iter().filter_map(|(_, instructions)| instructions.bf16).collect()
}

/// A sum of products is the same to the last bit whatever instruction computes it, of tiny, huge and special numbers too.
#[test]
fn an_instruction_and_plain_rust_give_the_same_bits() {
    struct Fma<'a>([&'a [i32]; 3], &'a mut [i32]);
    impl Bf16Kernel for Fma<'_> {
        #[inline(always)]
        fn run<H: Bf16>(self, bf16: H) {
            let [a, b, c] = self.0;
            for i in (0..a.len()).step_by(H::LANES) {
                let sum = bf16.fma(bf16.load(&a[i..]), bf16.load(&b[i..]), bf16.load(&c[i..]));
                bf16.store(sum, &mut self.1[i..]);
            }
        }
    }
    let len = 1 << 14;
    // Any bits but those of NaN and infinity, and sums whose exponent is near that of the products.
    let finite =
        |bits: u32, exponent: u32| if bits & exponent == exponent { bits & !(exponent & 0x4000_4000) } else { bits };
    let words = |seed: u64| -> Vec<i32> {
        let word = |i: u64| {
            let bits = (mix(seed.wrapping_mul(STEP) ^ i.wrapping_mul(STEP)) >> 16) as u32;
            // Half of them near one, where sums round, and half anywhere.
            let near = 0x3f00_3f00 | bits & 0x80ff_80ff;
            let bits = if i.is_multiple_of(2) { near } else { bits };
            finite(finite(bits, 0x7f80_0000), 0x7f80) as i32
        };
        (1..=len).map(word).collect()
    };
    let (a, b, c) = (words(1), words(2), words(3));
    let mut results = Vec::new();
    for isa in isas() {
        let mut sums = vec![0; len as usize];
        isa.run(Fma([&a, &b, &c], &mut sums));
        results.push(sums);
    }
    for sums in &results[1..] {
        for (i, (found, expected)) in sums.iter().zip(&results[0]).enumerate() {
            let [found_f32, expected_f32] = [*found, *expected].map(|bits| f32::from_bits(bits as u32));
            let same = found == expected || (found_f32.is_nan() && expected_f32.is_nan());
            assert!(same, "{:x} {:x} {:x}: {found_f32:e}, plain Rust {expected_f32:e}", a[i], b[i], c[i]);
        }
    }
}

/// One product with its bias: no rounding but that of operands and of the chain of sums.
#[test]
fn linear_is_the_product_of_rounded_operands() {
    for [rows, inputs, outputs] in [[1, 1, 1], [3, 7, 5], [13, 64, 33], [5, 589, 70], [241, 96, 40], [2, 1030, 3]] {
        let (x, weight, bias) = (random(1, rows * inputs), random(2, outputs * inputs), random(3, outputs));
        let (rounded_x, rounded_weight) = (nearest(&x), nearest(&weight));
        let mut first: Option<Vec<f32>> = None;
        for mut cpu in cpus(2) {
            let w = layer(&mut cpu, [outputs, inputs], &weight, Some(&bias));
            let mut out = vec![7.0; rows * outputs + 1];
            cpu.linear(&x, rows, &w, &mut out).unwrap();
            assert_eq!(out.pop(), Some(7.0), "an element beyond the end was written");
            for (i, found) in out.iter().enumerate() {
                let (row, column) = (i / outputs, i % outputs);
                let products =
                    rounded_x[row * inputs..][..inputs].iter().zip(&rounded_weight[column * inputs..][..inputs]);
                let (mut sum, mut size) = (f64::from(bias[column]), f64::from(bias[column]).abs());
                for (a, b) in products {
                    sum += f64::from(*a) * f64::from(*b);
                    size += (f64::from(*a) * f64::from(*b)).abs();
                }
                // One rounding for each product and one for the bias, each of half a unit of at most the sum of sizes.
                let budget = (inputs + 2) as f64 * f64::from(f32::EPSILON) / 2.0 * size;
                let difference = (f64::from(*found) - sum).abs();
                assert!(
                    difference <= budget,
                    "{rows} x {inputs} x {outputs} [{i}]: {found} and {sum}: {difference:e} > {budget:e}"
                );
            }
            // Plain Rust comes first: the other has its bits.
            let expected = first.get_or_insert_with(|| out.clone());
            assert!(out.iter().zip(&*expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", cpu.describe());
        }
    }
}

#[test]
fn rows_do_not_depend_on_batch_or_threads() {
    let (rows, inputs, outputs) = (250, 130, 47);
    let (x, weight) = (random(4, rows * inputs), random(5, outputs * inputs));
    for threads in [1, 3] {
        for (mut cpu, mut other) in cpus(2).into_iter().zip(cpus(threads)) {
            let w = layer(&mut cpu, [outputs, inputs], &weight, None);
            let mut all = random(6, rows * outputs);
            let mut one = all.clone();
            cpu.linear_add(&x, rows, &w, &mut all).unwrap();
            let w = layer(&mut other, [outputs, inputs], &weight, None);
            // Other blocks and tiles: from the middle, and one by one.
            let split = 17;
            let (head, tail) = (x[..split * inputs].to_vec(), x[split * inputs..].to_vec());
            let mut out = one.split_off(split * outputs);
            other.linear_add(&tail, rows - split, &w, &mut out).unwrap();
            for (row, x) in head.chunks_exact(inputs).enumerate() {
                let mut sums = one[row * outputs..][..outputs].to_vec();
                other.linear_add(&x.to_vec(), 1, &w, &mut sums).unwrap();
                one[row * outputs..][..outputs].copy_from_slice(&sums);
            }
            one.extend(out);
            assert!(
                all.iter().zip(&one).all(|(a, b)| a.to_bits() == b.to_bits()),
                "{}, {threads} threads",
                cpu.describe()
            );
        }
    }
}

#[test]
fn an_activation_follows_the_sum() {
    for mut cpu in cpus(1) {
        let (x, weight) = (random(7, 3 * 40), random(8, 20 * 40));
        let w = layer(&mut cpu, [20, 40], &weight, None);
        let (mut fused, mut composed) = (vec![0.0; 60], vec![0.0; 60]);
        cpu.linear_gelu(&x, 3, &w, 20, Gelu::Exact, &mut fused).unwrap();
        cpu.linear(&x, 3, &w, &mut composed).unwrap();
        cpu.gelu(Gelu::Exact, 60, &mut composed).unwrap();
        assert!(fused.iter().zip(&composed).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", cpu.describe());
    }
}

/// Attention against the formula on rounded queries, keys and values, whose weights are rounded once more.
#[test]
fn attention_is_that_of_rounded_operands() {
    for (tokens, heads, size, causal) in
        [(1, 1, 4, false), (5, 2, 13, true), (33, 2, 64, false), (50, 1, 32, true), (226, 1, 64, false)]
    {
        let shape = AttentionShape { heads, size };
        let width = shape.width();
        let ends = [tokens, 2 * tokens];
        let sequences = Sequences { ends: &ends };
        let qkv: Vec<f32> = random(9, 2 * tokens * 3 * width).iter().map(|x| 2.0 * x).collect();
        let rounded = nearest(&qkv);
        let at = |t: usize, part: usize, column: usize| f64::from(rounded[(t * 3 + part) * width + column]);
        for mut cpu in cpus(2) {
            let mut out = vec![7.0; 2 * tokens * width + 1];
            cpu.attention(&qkv, sequences, shape, causal, &mut out).unwrap();
            assert_eq!(out.pop(), Some(7.0), "an element beyond the end was written");
            for (i, found) in out.iter().enumerate() {
                let (t, column) = (i / width, i % width);
                let (start, head) = (t / tokens * tokens, column / size * size);
                let end = if causal { t + 1 } else { start + tokens };
                let score = |k: usize| {
                    (head..head + size).map(|c| at(t, 0, c) * at(k, 1, c)).sum::<f64>() / (size as f64).sqrt()
                };
                let scores: Vec<f64> = (start..end).map(score).collect();
                let largest = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let total: f64 = weights.iter().sum();
                let values = |k: usize| at(start + k, 2, column);
                let expected = (0..weights.len()).map(|k| weights[k] * values(k)).sum::<f64>() / total;
                let magnitude = (0..weights.len()).map(|k| weights[k] * values(k).abs()).sum::<f64>() / total;
                // The weights lose half a unit of the eight bits of bf16; what f32 adds is a hundredth of that.
                let budget = magnitude * 2.0_f64.powi(-8) * 1.01 + 1e-7;
                let difference = (f64::from(*found) - expected).abs();
                assert!(
                    difference <= budget,
                    "{tokens} tokens, {shape:?} [{i}]: {found}, {expected}: {difference:e} > {budget:e}"
                );
            }
            // The second sequence by itself, on its class token's query.
            let (second, mut alone) = (qkv[tokens * 3 * width..].to_vec(), vec![0.0; tokens * width]);
            cpu.attention(&second, Sequences { ends: &[tokens] }, shape, causal, &mut alone).unwrap();
            let pairs = alone.iter().zip(&out[tokens * width..]);
            assert!(pairs.clone().all(|(a, b)| a.to_bits() == b.to_bits()), "{}", cpu.describe());
            if !causal {
                let (q, mut kv) = (second[..width].to_vec(), Vec::new());
                second.chunks_exact(3 * width).for_each(|row| kv.extend_from_slice(&row[width..]));
                let mut class = vec![0.0; width];
                cpu.class_attention(&q, &kv, Sequences { ends: &[tokens] }, shape, &mut class).unwrap();
                assert!(class.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", cpu.describe());
            }
        }
    }
}
