//! `y = x Wᵀ + b` with weights in bytes, packed at load: `x` is quantised first, once for all columns.

use std::ops::Range;

use super::{FINE, Head, LEAST_SCALE, QuantiseRows, WEIGHT_LEVELS, row_words, words};
use crate::backend::cpu::Cpu;
use crate::backend::cpu::blocks::{BLOCK_ROWS, Panels, SCRATCH, Shares, walk};
use crate::backend::cpu::bytes::{ByteIsa, ByteKernel, Bytes};
use crate::backend::cpu::linear::Finish;
use crate::backend::cpu::packed::{Aligned, MAX_PANEL, pack_transposed};
use crate::backend::cpu::simd::Simd;
use crate::backend::cpu::tile::{Arithmetic, Lines, Rows};
use crate::error::Result;
use crate::memory;

/// Rows that a task quantises.
const ROWS: usize = 16;

/// Weights in bytes. For each panel: the integers, `[depth, panel_width]` words of four inputs each; as much again for
/// what they have lost; each column's step; and its step times the sum of its integers.
pub(crate) struct Packed {
    depth: usize,
    panels: Aligned<i32>,
}

/// The words of a panel.
fn panel_words(depth: usize, width: usize) -> usize {
    2 * width * (depth + 1)
}

impl Cpu {
    /// Packs a layer of `outputs` rows in bytes; `row(output, values)` yields the weights of one. `what` names the
    /// layer.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(in crate::backend::cpu) fn pack_int8(
        &mut self,
        isa: ByteIsa,
        what: &str,
        [inputs, outputs]: [usize; 2],
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Packed> {
        let (width, depth) = (isa.panel_width(), words(inputs));
        let each = panel_words(depth, width);
        let mut panels = Aligned::zeros(what, outputs.div_ceil(width) * each)?;
        self.reserve(inputs)?;
        self.reserve_words(2 * width * depth)?;
        self.pool.run_chunks(panels.as_mut_slice(), each, |panel, packed, scratch| {
            let rows = panel * width..outputs.min((panel + 1) * width);
            let (values, room) = scratch.take_both(inputs, 2 * width * depth);
            let (integers, lost) = room.split_at_mut(width * depth);
            let (planes, columns) = packed.split_at_mut(2 * width * depth);
            for (column, output) in rows.clone().enumerate() {
                row(output, values);
                let [integers, lost] = [&mut *integers, &mut *lost].map(|plane| &mut plane[column * depth..][..depth]);
                let (mut step, mut slope) = (0.0, 0.0);
                isa.run(QuantiseWeights { row: values, planes: [integers, lost], step: &mut step, slope: &mut slope });
                (columns[column], columns[width + column]) = (step.to_bits() as i32, slope.to_bits() as i32);
            }
            isa.run(Pack { rows: [integers, lost], depth, count: rows.len(), planes });
        });
        Ok(Packed { depth, panels })
    }

    /// `finish` of `x Wᵀ`, where `x` is `[rows, inputs]` and may be longer.
    pub(in crate::backend::cpu) fn multiply_int8(
        &mut self,
        isa: ByteIsa,
        x: &[f32],
        inputs: usize,
        w: &Packed,
        finish: Finish<'_>,
    ) -> Result<()> {
        let (rows, stride) = (finish.rows.len(), row_words(inputs));
        // As much as `x` has room for: another batch then needs no more.
        memory::grow("the quantised operand of a product", &mut self.rounded, x.len() / inputs.max(1) * stride)?;
        self.reserve_words(SCRATCH)?;
        if inputs > 0 {
            self.pool.run_chunks(&mut self.rounded[..rows * stride], ROWS * stride, |chunk, rows, _| {
                isa.run(QuantiseRows { x: &x[chunk * ROWS * inputs..], columns: inputs, rows });
            });
        }
        let shares =
            Shares::new(finish.outputs.div_ceil(isa.panel_width()), rows.div_ceil(BLOCK_ROWS), self.pool.threads());
        let quantised = &self.rounded[..rows * stride];
        self.pool.run(shares.tasks(), |task, scratch| {
            let (block, panels) = shares.of(task);
            let first = block * BLOCK_ROWS;
            let x = Rows::new(&quantised[first * stride..], stride, w.depth);
            let finish = finish.of(first..rows.min(first + BLOCK_ROWS));
            isa.run(Block { panels, scratch: scratch.take_words(SCRATCH), x, layer: Layer { w, x, finish } });
        });
        Ok(())
    }
}

/// Writes a row of weights as words of integers, and what these have lost.
struct QuantiseWeights<'a> {
    row: &'a [f32],
    planes: [&'a mut [i32]; 2],
    step: &'a mut f32,
    /// The step times the sum of the integers.
    slope: &'a mut f32,
}

impl ByteKernel for QuantiseWeights<'_> {
    #[inline(always)]
    fn run<B: Bytes>(self, _: B) {
        let mut largest = 0.0_f32;
        for x in self.row {
            largest = largest.max(x.abs());
        }
        let step = largest / WEIGHT_LEVELS;
        let inverse = if step >= LEAST_SCALE { 1.0 / step } else { 0.0 };
        let [integers, lost] = self.planes;
        let (integers, lost): (&mut [i8], &mut [i8]) =
            (bytemuck::cast_slice_mut(integers), bytemuck::cast_slice_mut(lost));
        let mut sum = 0;
        for (x, (integer, lost)) in self.row.iter().zip(integers.iter_mut().zip(lost.iter_mut())) {
            let scaled = x * inverse;
            let nearest = scaled.round_ties_even();
            (*integer, *lost) = (nearest as i8, (FINE * (scaled - nearest)).round_ties_even() as i8);
            sum += i32::from(*integer);
        }
        // The padding of the last word, and the order of bytes in a word.
        for plane in [integers, lost] {
            plane[self.row.len()..].fill(0);
            for word in bytemuck::cast_slice_mut::<i8, i32>(plane) {
                *word = i32::from_le(*word);
            }
        }
        (*self.step, *self.slope) = (step, step * sum as f32);
    }
}

/// Turns both planes of one panel.
struct Pack<'a> {
    rows: [&'a [i32]; 2],
    depth: usize,
    count: usize,
    planes: &'a mut [i32],
}

impl ByteKernel for Pack<'_> {
    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let Pack { rows, depth, count, planes } = self;
        for (rows, plane) in rows.into_iter().zip(planes.chunks_exact_mut((2 * B::LANES * depth).max(1))) {
            // Words move as f32 do: nothing is computed with them.
            let (rows, plane) = (bytemuck::cast_slice(rows), bytemuck::cast_slice_mut(plane));
            pack_transposed(bytes.floats(), Rows::new(rows, depth, depth), count, plane);
        }
    }
}

/// One task: rows by panels.
struct Block<'a> {
    x: Rows<'a, i32>,
    panels: Range<usize>,
    scratch: &'a mut [i32],
    layer: Layer<'a>,
}

impl ByteKernel for Block<'_> {
    #[inline(always)]
    fn run<B: Bytes>(mut self, bytes: B) {
        walk(bytes, self.x, self.layer.finish.rows.len(), self.panels, self.scratch, &mut self.layer);
    }
}

/// A layer, the left operand, and the rows of the result that a task writes.
struct Layer<'a> {
    w: &'a Packed,
    /// Each row ends with its head.
    x: Rows<'a, i32>,
    finish: Finish<'a>,
}

impl<'a> Layer<'a> {
    #[inline(always)]
    fn panel<B: Bytes>(&self, panel: usize) -> &'a [i32] {
        let each = panel_words(self.w.depth, 2 * B::LANES);
        &self.w.panels.as_slice()[panel * each..][..each]
    }

    #[inline(always)]
    fn strip<B: Bytes>(&self, panel: usize, from: usize, length: usize) -> &'a [i32] {
        let width = 2 * B::LANES;
        &self.panel::<B>(panel)[from * width..][..length * width]
    }
}

impl<B: Bytes> Panels<B> for Layer<'_> {
    #[inline(always)]
    fn piece<'a>(&'a self, _: B, panel: usize, from: usize, length: usize, _: &'a mut [i32]) -> &'a [i32] {
        self.strip::<B>(panel, from, length)
    }

    #[inline(always)]
    fn lines(&self, _: B, panel: usize, from: usize, length: usize) -> Lines<'_, i32> {
        Lines::of(self.strip::<B>(panel, from, length))
    }

    #[inline(always)]
    fn finish_rows(&self, bytes: B, panel: usize, first: usize, sums: &[i32]) {
        let (simd, lanes, width) = (bytes.floats(), B::LANES, 2 * B::LANES);
        let (planes, columns) = self.panel::<B>(panel).split_at(2 * width * self.w.depth);
        let (integers, lost) = planes.split_at(width * self.w.depth);
        let columns: &[f32] = bytemuck::cast_slice(columns);
        let step = [simd.load(columns), simd.load(&columns[lanes..])];
        let slope = [simd.load(&columns[width..]), simd.load(&columns[width + lanes..])];
        let fine = simd.splat(1.0 / FINE);
        let mut y = [0.0; MAX_PANEL];
        for (r, sums) in sums.chunks_exact(width).enumerate() {
            let head = Head::of(self.x.whole(first + r), self.w.depth);
            let (scale, least) = (simd.splat(head.scale()), simd.splat(head.least()));
            for half in 0..2 {
                let at = half * lanes;
                let sum = bytes.to_floats(bytes.load(&sums[at..]));
                let mut all = simd.fma(simd.mul(scale, step[half]), sum, simd.mul(least, slope[half]));
                for i in 0..head.count() {
                    let (column, rest) = head.apart(i);
                    let (word, place) = (column / 4 * width + at, column % 4);
                    let whole = bytes.byte(bytes.load(&integers[word..]), place);
                    let weight = simd.fma(bytes.byte(bytes.load(&lost[word..]), place), fine, whole);
                    all = simd.fma(simd.mul(simd.splat(rest), step[half]), weight, all);
                }
                simd.store(all, &mut y[at..]);
            }
            self.finish.row(simd, panel, first + r, &y[..width]);
        }
    }
}
