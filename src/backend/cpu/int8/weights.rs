//! A layer's weights in bytes.
//!
//! A row of weights has one step, and a few large ones would make it coarse for all others. Trained models have such
//! weights: one that writes a massive activation is hundreds of times as large as the others of its row (Yu et al. 2024,
//! "The Super Weight in Large Language Models"), and a channel with a large gain of the norm has large weights in all
//! rows once the gain is part of them. So a panel keeps up to [`APART`] columns of inputs apart: there, what lies beyond
//! the range of a row is multiplied in f32.

use super::{FINE, LEAST_SCALE, WEIGHT_LEVELS, near, words};
use crate::backend::cpu::Cpu;
use crate::backend::cpu::bytes::{ByteIsa, ByteKernel, Bytes};
use crate::backend::cpu::packed::{Aligned, pack_transposed};
use crate::backend::cpu::simd::Simd;
use crate::backend::cpu::tile::Rows;
use crate::error::Result;

/// Columns of a panel that are kept apart, at most: each costs two multiply-adds for a row.
pub(super) const APART: usize = 4;
/// A weight is large beyond so many times the root mean square of its row's others.
const EDGE: f32 = 4.0;
/// How often large weights are left out of that mean.
const ROUNDS: usize = 2;
/// An input whose gain is so many times the median counts as larger than the others.
const LARGE_GAIN: f32 = 2.0;
/// Stands for a column that is not there.
const NONE: i32 = -1;

/// A layer in bytes. For each panel: the integers, `[depth, panel_width]` words of four inputs each; as much again for
/// what they have lost; then, `[.., panel_width]`, each output's step, its step times the sum of its integers, the
/// columns that are kept apart, and for each of these what lies beyond the range.
pub(crate) struct Packed {
    pub(super) depth: usize,
    /// What each input is multiplied by before it is quantised, where inputs differ in size.
    pub(super) factors: Option<Vec<f32>>,
    panels: Aligned<i32>,
}

/// A panel.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub integers: &'a [i32],
    pub lost: &'a [i32],
    pub steps: &'a [f32],
    pub slopes: &'a [f32],
    apart: &'a [i32],
    beyond: &'a [f32],
}

impl<'a> Panel<'a> {
    fn words(depth: usize, width: usize) -> usize {
        (2 * depth + 3 + APART) * width
    }

    /// Each column that is kept apart, with what lies beyond the range of each output, `[width]`.
    #[inline(always)]
    pub fn apart(self) -> impl Iterator<Item = (usize, &'a [f32])> {
        let columns = self.apart.iter().take_while(|&&column| column != NONE);
        columns.map(|&column| column as usize).zip(self.beyond.chunks_exact(self.steps.len()))
    }
}

impl Packed {
    #[inline(always)]
    pub(super) fn panel(&self, panel: usize, width: usize) -> Panel<'_> {
        let each = Panel::words(self.depth, width);
        let (integers, rest) = self.panels.as_slice()[panel * each..][..each].split_at(width * self.depth);
        let (lost, rest) = rest.split_at(width * self.depth);
        let (numbers, rest) = rest.split_at(2 * width);
        let (steps, slopes) = bytemuck::cast_slice(numbers).split_at(width);
        let (apart, beyond) = rest.split_at(width);
        Panel { integers, lost, steps, slopes, apart, beyond: bytemuck::cast_slice(beyond) }
    }
}

/// How much larger inputs with large gains are than the others; `None` if there are none.
fn sizes(gains: &[f32]) -> Option<Vec<f32>> {
    let mut sorted: Vec<f32> = gains.iter().map(|gain| gain.abs()).collect();
    sorted.sort_by(f32::total_cmp);
    let median = *sorted.get(sorted.len() / 2)?;
    let size = |gain: &f32| {
        let size = gain.abs() / median;
        if size.is_finite() && size >= LARGE_GAIN { size } else { 1.0 }
    };
    let sizes: Vec<f32> = gains.iter().map(size).collect();
    sizes.iter().any(|size| *size != 1.0).then_some(sizes)
}

impl Cpu {
    /// Packs a layer of `outputs` rows in bytes; `row(output, values)` yields the weights of one. `what` names the
    /// layer, and `gains` are those of the norm before it.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(in crate::backend::cpu) fn pack_int8(
        &mut self,
        isa: ByteIsa,
        what: &str,
        [inputs, outputs]: [usize; 2],
        gains: Option<&[f32]>,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Packed> {
        let (width, depth) = (isa.panel_width(), words(inputs));
        let each = Panel::words(depth, width);
        let mut panels = Aligned::zeros(what, outputs.div_ceil(width) * each)?;
        let sizes = gains.filter(|gains| gains.len() == inputs).and_then(sizes);
        self.reserve((width + 1) * inputs)?;
        self.reserve_words(2 * width * depth)?;
        self.pool.run_chunks(panels.as_mut_slice(), each, |panel, packed, scratch| {
            let outputs = panel * width..outputs.min((panel + 1) * width);
            let (floats, integers) = scratch.take_both((width + 1) * inputs, 2 * width * depth);
            let (rows, excess) = floats.split_at_mut(width * inputs);
            let rows = &mut rows[..outputs.len() * inputs];
            for (output, values) in outputs.zip(rows.chunks_exact_mut(inputs.max(1))) {
                row(output, values);
                if let Some(sizes) = &sizes {
                    values.iter_mut().zip(sizes).for_each(|(weight, size)| *weight *= size);
                }
            }
            isa.run(QuantisePanel { rows, inputs, excess, integers, packed });
        });
        let factors = sizes.map(|sizes| sizes.iter().map(|size| 1.0 / size).collect());
        Ok(Packed { depth, factors, panels })
    }
}

/// Quantises the weights of a panel and packs them.
struct QuantisePanel<'a> {
    /// `[outputs, inputs]`.
    rows: &'a [f32],
    inputs: usize,
    /// Room for one number for each input.
    excess: &'a mut [f32],
    /// Room for the integers and what they have lost, each `[panel_width, depth]`.
    integers: &'a mut [i32],
    packed: &'a mut [i32],
}

impl ByteKernel for QuantisePanel<'_> {
    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let QuantisePanel { rows, inputs, excess, integers, packed } = self;
        let (width, depth) = (2 * B::LANES, words(inputs));
        let (integers, lost) = integers.split_at_mut(width * depth);
        let (planes, rest) = packed.split_at_mut(2 * width * depth);
        let (numbers, rest) = rest.split_at_mut(2 * width);
        let (columns, beyond) = rest.split_at_mut(width);
        let (steps, slopes) = bytemuck::cast_slice_mut(numbers).split_at_mut(width);
        let beyond = bytemuck::cast_slice_mut(beyond);

        let apart = apart(bytes.floats(), rows, inputs, excess);
        columns.fill(NONE);
        columns[..APART].copy_from_slice(&apart);
        for (output, row) in rows.chunks_exact(inputs.max(1)).enumerate() {
            let planes = [&mut *integers, &mut *lost].map(|plane| &mut plane[output * depth..][..depth]);
            let step = step(row, &apart);
            (steps[output], slopes[output]) = (step, step * quantise_row(row, step, planes) as f32);
            for (&column, beyond) in apart.iter().filter(|&&column| column != NONE).zip(beyond.chunks_exact_mut(width))
            {
                let weight = row[column as usize];
                let end = WEIGHT_LEVELS * step;
                beyond[output] = weight - weight.clamp(-end, end);
            }
        }
        let count = rows.len() / inputs.max(1);
        for (rows, plane) in [integers, lost].into_iter().zip(planes.chunks_exact_mut((width * depth).max(1))) {
            // Words move as f32 do: nothing is computed with them.
            let (rows, plane) = (bytemuck::cast_slice(rows), bytemuck::cast_slice_mut(plane));
            pack_transposed(bytes.floats(), Rows::new(rows, depth, depth), count, plane);
        }
    }
}

/// The columns with the largest weights, by how much these are beyond the [`EDGE`] of their rows.
#[inline(always)]
fn apart<S: Simd>(simd: S, rows: &[f32], inputs: usize, excess: &mut [f32]) -> [i32; APART] {
    excess.fill(0.0);
    for row in rows.chunks_exact(inputs.max(1)) {
        let mut limit = f32::INFINITY;
        for _ in 0..=ROUNDS {
            let found = near(simd, row, 0.0, limit);
            let square = found.mean * found.mean + found.deviation * found.deviation;
            limit = EDGE * square.sqrt();
        }
        let inverse = EDGE / limit;
        if inverse.is_finite() {
            for (excess, weight) in excess.iter_mut().zip(row) {
                *excess += (weight.abs() * inverse - EDGE).max(0.0);
            }
        }
    }
    let mut columns = [NONE; APART];
    for column in &mut columns {
        let mut most = 0.0;
        for (candidate, excess) in excess.iter().enumerate() {
            if *excess > most {
                (*column, most) = (candidate as i32, *excess);
            }
        }
        if *column == NONE {
            break;
        }
        excess[*column as usize] = 0.0;
    }
    columns
}

/// The step of a row, whose range is that of what is not kept apart.
#[inline(always)]
fn step(row: &[f32], apart: &[i32]) -> f32 {
    let largest = |skip: &[i32]| {
        let mut largest = 0.0_f32;
        let mut from = 0;
        // Between the columns that are skipped; there are few.
        let mut skip: [i32; APART] =
            std::array::from_fn(|i| skip.get(i).copied().filter(|&c| c != NONE).unwrap_or(i32::MAX));
        skip.sort_unstable();
        for end in skip {
            let end = (end as usize).min(row.len());
            for weight in &row[from.min(end)..end] {
                largest = largest.max(weight.abs());
            }
            from = end + 1;
        }
        for weight in row.get(from..).unwrap_or_default() {
            largest = largest.max(weight.abs());
        }
        largest
    };
    let near = largest(apart);
    (if near > 0.0 { near } else { largest(&[]) }) / WEIGHT_LEVELS
}

/// Writes a row of weights as words of integers, and what these have lost. Returns the sum of the integers.
#[inline(always)]
fn quantise_row(row: &[f32], step: f32, planes: [&mut [i32]; 2]) -> i32 {
    let inverse = if step >= LEAST_SCALE { 1.0 / step } else { 0.0 };
    let [integers, lost] = planes.map(bytemuck::cast_slice_mut::<i32, i8>);
    let mut sum = 0;
    for (x, (integer, lost)) in row.iter().zip(integers.iter_mut().zip(lost.iter_mut())) {
        let scaled = (x * inverse).clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS);
        let nearest = scaled.round_ties_even();
        (*integer, *lost) = (nearest as i8, (FINE * (scaled - nearest)).round_ties_even() as i8);
        sum += i32::from(*integer);
    }
    // The padding of the last word, and the order of bytes in a word.
    for plane in [integers, lost] {
        plane[row.len()..].fill(0);
        for word in bytemuck::cast_slice_mut::<i8, i32>(plane) {
            *word = i32::from_le(*word);
        }
    }
    sum
}
