//! Quantised rows against the rows themselves, and products of bytes against the exact sum of the quantised operands'
//! products.

use super::*;
use crate::backend::cpu::Cpu;
use crate::backend::cpu::bytes::ByteIsa;
use crate::backend::cpu::linear::Linear;
use crate::backend::{Backend, Gelu, Precision};
use crate::split_mix::{STEP, mix};
use crate::tensor::{DType, TensorView};

/// Uniform in [-1, 1).
fn random(seed: u64, len: usize) -> Vec<f32> {
    let number = |i| (mix(seed.wrapping_mul(STEP).wrapping_add(STEP.wrapping_mul(i))) >> 40) as f32 / (1 << 23) as f32;
    (1..=len as u64).map(|i| number(i) - 1.0).collect()
}

/// [`random`] rows, of which every third has massive columns, as many as its place says.
fn with_outliers(seed: u64, rows: usize, columns: usize) -> Vec<f32> {
    let mut x = random(seed, rows * columns);
    for (r, row) in x.chunks_exact_mut(columns).enumerate().filter(|(r, _)| r % 3 == 1) {
        for i in 0..r.min(columns / 20) {
            row[(i * 7 + r) % columns] *= if i % 2 == 0 { 90.0 } else { -40.0 };
        }
    }
    x
}

fn cpus(threads: usize) -> Vec<Cpu> {
    Cpu::of_each_instruction_set(threads, Precision::Int8).unwrap()
}

fn layer(
    cpu: &mut Cpu,
    quantised: bool,
    [outputs, inputs]: [usize; 2],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Linear {
    layer_after(cpu, quantised, [outputs, inputs], weight, bias, None)
}

/// [`layer`] behind a norm with these gains.
fn layer_after(
    cpu: &mut Cpu,
    quantised: bool,
    [outputs, inputs]: [usize; 2],
    weight: &[f32],
    bias: Option<&[f32]>,
    gains: Option<&[f32]>,
) -> Linear {
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let view = |name, shape, bytes| TensorView { name, dtype: DType::F32, shape, bytes };
    let (shape, outputs_only) = ([outputs, inputs], [outputs]);
    let bias = bias.map(|bias| view("bias", &outputs_only, bytes(bias).into()));
    let weight = view("weight", &shape, bytes(weight).into());
    if quantised {
        cpu.token_weights(&weight, 0..outputs, bias.as_ref(), gains).unwrap()
    } else {
        cpu.linear_weights(&weight, 0..outputs, bias.as_ref()).unwrap()
    }
}

fn isas() -> Vec<ByteIsa> {
    cpus(1).into_iter().filter_map(|cpu| cpu.int8).collect()
}

/// A row in the form in which a product takes it up.
struct Taken {
    scale: f64,
    least: f64,
    integers: Vec<f64>,
    apart: Vec<(usize, f64)>,
}

impl Taken {
    fn of(isa: ByteIsa, row: &[f32]) -> Taken {
        let mut taken = vec![-1; row_words(row.len())];
        isa.run(QuantiseRows { x: row, columns: row.len(), factors: None, room: &mut [], rows: &mut taken });
        let head = Head::of(&taken, words(row.len()));
        let integers = taken.iter().flat_map(|word| word.to_le_bytes()).take(row.len());
        Taken {
            scale: head.scale().into(),
            least: head.least().into(),
            integers: integers.map(f64::from).collect(),
            apart: (0..head.count()).map(|i| head.apart(i)).map(|(column, rest)| (column, rest.into())).collect(),
        }
    }

    /// The row without what is apart, and with it.
    fn values(&self) -> [Vec<f64>; 2] {
        let near: Vec<f64> = self.integers.iter().map(|u| self.least + self.scale * u).collect();
        let mut all = near.clone();
        self.apart.iter().for_each(|(column, rest)| all[*column] += rest);
        [near, all]
    }
}

#[test]
fn a_row_is_taken_up_within_half_a_step() {
    for isa in isas() {
        for columns in [1, 3, 4, 15, 16, 17, 63, 64, 65, 100, 896] {
            for (r, row) in with_outliers(columns as u64, 6, columns).chunks_exact(columns).enumerate() {
                let taken = Taken::of(isa, row);
                let most = row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                for (i, (x, found)) in row.iter().zip(&taken.values()[1]).enumerate() {
                    let apart = taken.apart.iter().any(|(column, _)| *column == i);
                    // Half a step and the roundings of f32, or the roundings alone.
                    let budget = if apart { 0.0 } else { 0.501 * taken.scale } + 4e-7 * f64::from(most);
                    let difference = (f64::from(*x) - found).abs();
                    assert!(difference <= budget, "{isa:?}, {columns} columns, row {r} [{i}]: {x}, {found}");
                }
                let planted = if r % 3 == 1 { r.min(columns / 20) } else { 0 };
                assert!(taken.apart.len() <= planted, "{isa:?}, {columns} columns, row {r}: {:?}", taken.apart);
                // The range is that of the rest, where the rest can be told apart.
                if columns == 896 {
                    assert_eq!(taken.apart.len(), planted, "{isa:?}, row {r}");
                    assert!(taken.scale <= 2.0 / 255.0, "{isa:?}, row {r}: {}", taken.scale);
                }
            }
        }
    }
}

/// A range grows until few enough columns lie beyond it, and the farthest are those that are kept apart.
#[test]
fn no_more_columns_are_kept_apart_than_there_is_room_for() {
    let columns = 1000;
    let mut row: Vec<f32> = random(3, columns).iter().map(|x| 0.01 * x).collect();
    for i in 0..40 {
        row[i * 20] = if i < 6 { 100.0 } else { 1.0 + 0.01 * i as f32 };
    }
    for isa in isas() {
        let taken = Taken::of(isa, &row);
        let mut found: Vec<usize> = taken.apart.iter().map(|(column, _)| *column).collect();
        found.sort_unstable();
        assert_eq!(found, (0..6).map(|i| i * 20).collect::<Vec<_>>(), "{isa:?}");
        assert!(taken.scale < 1.5 / 255.0, "{isa:?}: {}", taken.scale);
    }
}

#[test]
fn rows_without_a_range_and_rows_that_are_no_numbers() {
    for isa in isas() {
        for x in [0.0, 3.5, -1e-35, 1e15] {
            let taken = Taken::of(isa, &[x; 33]);
            let [near, _] = taken.values();
            assert!(near.iter().all(|found| (found - f64::from(x)).abs() <= 1e-30), "{isa:?}, {x}: {:?}", near[0]);
            assert!(taken.apart.is_empty());
        }
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = random(1, 70);
            row[66] = x;
            let taken = Taken::of(isa, &row);
            assert!(taken.scale.is_nan() && taken.least.is_nan(), "{isa:?}, {x}");
        }
    }
    for mut cpu in cpus(1) {
        let w = layer(&mut cpu, true, [3, 70], &random(2, 210), None);
        let (mut x, mut out) = (random(1, 140), vec![0.0; 6]);
        x[66] = f32::NAN;
        cpu.linear(&x, 2, &w, &mut out).unwrap();
        assert!(out[..3].iter().all(|y| y.is_nan()) && out[3..].iter().all(|y| y.is_finite()), "{out:?}");
    }
}

/// The product of the quantised operands: integers are summed up exactly, so only the last few operations round.
#[test]
fn linear_is_the_product_of_quantised_operands() {
    for [rows, inputs, outputs] in [[1, 1, 1], [3, 7, 5], [13, 64, 33], [8, 589, 70], [241, 96, 40], [5, 4100, 3]] {
        let (x, weight, bias) = (with_outliers(1, rows, inputs), random(2, outputs * inputs), random(3, outputs));
        for mut cpu in cpus(2) {
            let isa = cpu.int8.unwrap();
            let w = layer(&mut cpu, true, [outputs, inputs], &weight, Some(&bias));
            let mut out = vec![7.0; rows * outputs + 1];
            cpu.linear(&x, rows, &w, &mut out).unwrap();
            assert_eq!(out.pop(), Some(7.0), "an element beyond the end was written");
            for (r, row) in x.chunks_exact(inputs).enumerate() {
                let taken = Taken::of(isa, row);
                let [near, _] = taken.values();
                for (o, weight) in weight.chunks_exact(inputs).enumerate() {
                    let step = weight.iter().fold(0.0_f32, |most, w| most.max(w.abs())) / 127.0;
                    let inverse = 1.0 / step;
                    let scaled = |c: usize| f64::from(weight[c] * inverse);
                    let integer = |c: usize| scaled(c).round_ties_even();
                    // What sixteen bits say of a weight.
                    let fine = |c: usize| integer(c) + (254.0 * (scaled(c) - integer(c))).round_ties_even() / 254.0;
                    let step = f64::from(step);
                    let (mut sum, mut size) = (f64::from(bias[o]), f64::from(bias[o]).abs());
                    for (c, (near, taken_as)) in near.iter().zip(&taken.integers).enumerate() {
                        sum += step * near * integer(c);
                        size += step * (taken.scale * taken_as * integer(c)).abs();
                    }
                    size += (step * taken.least * (0..inputs).map(integer).sum::<f64>()).abs();
                    for (column, rest) in &taken.apart {
                        sum += step * rest * fine(*column);
                        size += (step * rest * fine(*column)).abs();
                    }
                    // Eight roundings of what is summed up, and one for each column kept apart.
                    let budget = (8 + 2 * taken.apart.len()) as f64 * f64::from(f32::EPSILON) / 2.0 * size;
                    let (found, at) = (f64::from(out[r * outputs + o]), format!("{rows} x {inputs} x {outputs}"));
                    let difference = (found - sum).abs();
                    assert!(
                        difference <= budget,
                        "{isa:?}, {at} [{r}, {o}]: {found}, {sum}: {difference:e} > {budget:e}"
                    );
                }
            }
        }
    }
}

/// The largest element but for some columns.
fn largest(row: &[f32], but: &[usize]) -> f64 {
    let others = row.iter().enumerate().filter(|(c, _)| !but.contains(c));
    others.fold(0.0, |most, (_, x)| f64::from(x.abs()).max(most))
}

/// A few large weights, and inputs that a norm makes large: every weight and every input is off by at most half a step
/// of the others' range, as if there were none of them.
#[test]
fn large_weights_and_large_gains_do_not_widen_a_step() {
    let [rows, inputs, outputs] = [9, 300, 70];
    let large = [17, 120, 258];
    let mut gains: Vec<f32> = random(11, inputs).iter().map(|x| 1.0 + 0.1 * x).collect();
    large.iter().for_each(|&c| gains[c] = 6.0);
    let (normal, mut weight) = (random(12, rows * inputs), random(13, outputs * inputs));
    // Two outputs with a weight hundreds of times as large as their others, in columns of their own.
    let (first, second) = ((5, 200), (66, 201));
    for (output, column) in [first, second] {
        weight[output * inputs + column] = 300.0;
    }
    let x: Vec<f32> = normal.iter().zip(gains.iter().cycle()).map(|(x, gain)| x * gain).collect();
    for mut cpu in cpus(2) {
        let w = layer_after(&mut cpu, true, [outputs, inputs], &weight, None, Some(&gains));
        let mut out = vec![0.0; rows * outputs];
        cpu.linear(&x, rows, &w, &mut out).unwrap();
        for (r, x) in x.chunks_exact(inputs).enumerate() {
            // An input counts as divided by 6, and its weight as multiplied; the median of the gains is 1.
            let size = |c: usize| if large.contains(&c) { 6.0 / 0.9 } else { 1.0 };
            let half_input = (largest(x, &large) + 1.1) / 255.0 / 2.0;
            for (o, weight) in weight.chunks_exact(inputs).enumerate() {
                let apart = [large.as_slice(), &[first.1, second.1]].concat();
                let half_weight = largest(weight, &apart) / 127.0 / 2.0;
                let (mut sum, mut budget) = (0.0, 0.0);
                for (c, (x, weight)) in x.iter().zip(weight).enumerate() {
                    let (x, weight) = (f64::from(*x), f64::from(*weight));
                    sum += x * weight;
                    let (x, weight) = (x.abs(), weight.abs());
                    budget +=
                        half_input * weight * size(c) + half_weight * x + 2e-6 * x * weight + half_input * half_weight;
                }
                let (found, difference) = (out[r * outputs + o], (f64::from(out[r * outputs + o]) - sum).abs());
                // The errors of a few hundred products cancel: a quarter of the sum of their bounds is far from reached,
                // and one large weight that makes the step coarse exceeds it many times.
                let budget = if [first.0, second.0].contains(&o) { budget } else { 0.25 * budget };
                assert!(
                    difference <= budget,
                    "{} [{r}, {o}]: {found}, {sum}: {difference:e} > {budget:e}",
                    cpu.describe()
                );
            }
        }
    }
}

/// More columns with large weights than are kept apart: the step grows, and the product is still one.
#[test]
fn more_large_weights_than_are_kept_apart_make_the_step_larger() {
    let [inputs, outputs] = [200, 8];
    let (x, mut weight) = (random(14, inputs), random(15, outputs * inputs));
    for c in 0..7 {
        weight[3 * inputs + 20 * c] = 50.0 + c as f32;
    }
    for mut cpu in cpus(1) {
        let w = layer(&mut cpu, true, [outputs, inputs], &weight, None);
        let mut out = vec![0.0; outputs];
        cpu.linear(&x, 1, &w, &mut out).unwrap();
        for (o, weight) in weight.chunks_exact(inputs).enumerate() {
            let sum: f64 = x.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            // The three largest of seven remain in the range of output 3.
            let step = if o == 3 { 52.0 } else { 1.0 } / 127.0;
            let budget: f64 = x
                .iter()
                .zip(weight)
                .map(|(x, w)| f64::from(x.abs()) * step / 2.0 + f64::from(w.abs()) * (1.0 / 255.0 + 2e-6))
                .sum();
            let difference = (f64::from(out[o]) - sum).abs();
            assert!(difference <= budget, "{} [{o}]: {sum}: {difference:e} > {budget:e}", cpu.describe());
        }
    }
}

#[test]
fn rows_do_not_depend_on_batch_or_threads() {
    let (rows, inputs, outputs) = (250, 130, 47);
    let (x, mut weight) = (with_outliers(4, rows, inputs), random(5, outputs * inputs));
    weight[3 * inputs + 7] = 400.0;
    for threads in [1, 3] {
        for (mut cpu, mut other) in cpus(2).into_iter().zip(cpus(threads)) {
            let w = layer(&mut cpu, true, [outputs, inputs], &weight, None);
            let mut all = random(6, rows * outputs);
            let mut one = all.clone();
            cpu.linear_add(&x, rows, &w, &mut all).unwrap();
            let w = layer(&mut other, true, [outputs, inputs], &weight, None);
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
            let same = all.iter().zip(&one).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{}, {threads} threads", cpu.describe());
        }
    }
}

#[test]
fn an_activation_follows_the_sum() {
    for mut cpu in cpus(1) {
        let (x, weight) = (random(7, 3 * 40), random(8, 20 * 40));
        let w = layer(&mut cpu, true, [20, 40], &weight, None);
        let (mut fused, mut composed) = (vec![0.0; 60], vec![0.0; 60]);
        cpu.linear_gelu(&x, 3, &w, 20, Gelu::Exact, &mut fused).unwrap();
        cpu.linear(&x, 3, &w, &mut composed).unwrap();
        cpu.gelu(Gelu::Exact, 60, &mut composed).unwrap();
        assert!(fused.iter().zip(&composed).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", cpu.describe());
    }
}

/// Heads, patch rows and the like, and rows too long for sums in 32 bits.
#[test]
fn what_is_not_quantised_has_the_bits_of_the_other_precision() {
    for mut cpu in cpus(1) {
        let level = cpu.describe();
        let beside = if cpu.bf16.is_some() { Precision::Bf16 } else { Precision::F32 };
        let mut others = Cpu::of_each_instruction_set(1, beside).unwrap();
        let other = others.iter_mut().find(|other| other.isa.name() == cpu.isa.name()).unwrap();
        for (quantised, inputs, same) in [(false, 64, true), (true, 64, false), (true, (1 << 16) + 1, true)] {
            let (x, weight) = (random(9, inputs), random(10, 3 * inputs));
            let [mut found, mut expected] = [[0.0; 3].to_vec(), [0.0; 3].to_vec()];
            let w = layer(&mut cpu, quantised, [3, inputs], &weight, None);
            cpu.linear(&x, 1, &w, &mut found).unwrap();
            let w = layer(other, quantised, [3, inputs], &weight, None);
            other.linear(&x, 1, &w, &mut expected).unwrap();
            assert_eq!(found == expected, same, "{level}, {inputs} inputs: {found:?}, {expected:?}");
        }
    }
}
