//! `y = x Wᵀ + b` with weights in bytes, packed at load: `x` is quantised first, once for all columns.

use std::ops::Range;

use super::weights::{APART, Packed};
use super::{FINE, Head, QuantiseRows, row_words};
use crate::backend::cpu::Cpu;
use crate::backend::cpu::blocks::{BLOCK_ROWS, Panels, SCRATCH, Shares, walk};
use crate::backend::cpu::bytes::{ByteIsa, ByteKernel, Bytes};
use crate::backend::cpu::linear::Finish;
use crate::backend::cpu::packed::MAX_PANEL;
use crate::backend::cpu::simd::Simd;
use crate::backend::cpu::tile::{Arithmetic, Lines, Rows};
use crate::error::Result;
use crate::memory;

/// Rows that a task quantises.
const ROWS: usize = 16;

impl Cpu {
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
            self.reserve(inputs)?;
            let factors = w.factors.as_deref();
            self.pool.run_chunks(&mut self.rounded[..rows * stride], ROWS * stride, |chunk, rows, scratch| {
                let (x, room) = (&x[chunk * ROWS * inputs..], scratch.take(inputs));
                isa.run(QuantiseRows { x, columns: inputs, factors, room, rows });
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

impl Layer<'_> {
    #[inline(always)]
    fn strip<B: Bytes>(&self, panel: usize, from: usize, length: usize) -> &[i32] {
        let width = 2 * B::LANES;
        &self.w.panel(panel, width).integers[from * width..][..length * width]
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
        let weights = self.w.panel(panel, width);
        let step = [simd.load(weights.steps), simd.load(&weights.steps[lanes..])];
        let slope = [simd.load(weights.slopes), simd.load(&weights.slopes[lanes..])];
        let fine = simd.splat(1.0 / FINE);
        let mut y = [0.0; MAX_PANEL];
        for (r, sums) in sums.chunks_exact(width).enumerate() {
            let row = self.x.whole(first + r);
            let head = Head::of(row, self.w.depth);
            let mut inputs = [0.0; APART];
            for (input, (column, _)) in inputs.iter_mut().zip(weights.apart()) {
                *input = head.value(row, column);
            }
            let (scale, least) = (simd.splat(head.scale()), simd.splat(head.least()));
            for half in 0..2 {
                let at = half * lanes;
                let sum = bytes.to_floats(bytes.load(&sums[at..]));
                let mut all = simd.fma(simd.mul(scale, step[half]), sum, simd.mul(least, slope[half]));
                for i in 0..head.count() {
                    let (column, rest) = head.apart(i);
                    let (word, place) = (column / 4 * width + at, column % 4);
                    let whole = bytes.byte(bytes.load(&weights.integers[word..]), place);
                    let weight = simd.fma(bytes.byte(bytes.load(&weights.lost[word..]), place), fine, whole);
                    all = simd.fma(simd.mul(simd.splat(rest), step[half]), weight, all);
                }
                for (input, (_, beyond)) in inputs.iter().zip(weights.apart()) {
                    all = simd.fma(simd.splat(*input), simd.load(&beyond[at..]), all);
                }
                simd.store(all, &mut y[at..]);
            }
            self.finish.row(simd, panel, first + r, &y[..width]);
        }
    }
}
