//! `y = x Wᵀ + b` with weights in bf16, packed at load: `x` is rounded first, once for all columns.

use std::ops::Range;

use super::{Bf16, Bf16Isa, Bf16Kernel, as_floats, as_floats_mut, round_row, words};
use crate::backend::cpu::Cpu;
use crate::backend::cpu::blocks::{BLOCK_ROWS, Panels, SCRATCH, Shares, walk};
use crate::backend::cpu::linear::Finish;
use crate::backend::cpu::packed::{Aligned, pack_transposed};
use crate::backend::cpu::tile::{Lines, Rows};
use crate::error::Result;
use crate::memory;

/// Rows that a task rounds.
const ROWS: usize = 16;

/// Weights in bf16: panels of `[depth, panel_width]` words, two inputs each.
pub(crate) struct Packed {
    depth: usize,
    panels: Aligned<i32>,
}

impl Cpu {
    /// Packs a layer of `outputs` rows in bf16; `row(output, values)` yields the weights of one. `what` names the
    /// layer.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(in crate::backend::cpu) fn pack_bf16(
        &mut self,
        isa: Bf16Isa,
        what: &str,
        [inputs, outputs]: [usize; 2],
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Packed> {
        let (width, depth) = (isa.panel_width(), words(inputs));
        let mut panels = Aligned::zeros(what, outputs.next_multiple_of(width) * depth)?;
        self.reserve(width.min(outputs) * inputs)?;
        self.reserve_words(width.min(outputs) * depth)?;
        self.pool.run_chunks(panels.as_mut_slice(), (width * depth).max(1), |panel, packed, scratch| {
            let rows = panel * width..outputs.min((panel + 1) * width);
            let (values, rounded) = scratch.take_both(rows.len() * inputs, rows.len() * depth);
            for (output, values) in rows.clone().zip(values.chunks_exact_mut(inputs.max(1))) {
                row(output, values);
            }
            isa.run(Pack { values, inputs, count: rows.len(), rounded, depth, packed });
        });
        Ok(Packed { depth, panels })
    }

    /// `finish` of `x Wᵀ`, where `x` is `[rows, inputs]` and may be longer.
    pub(in crate::backend::cpu) fn multiply_bf16(
        &mut self,
        isa: Bf16Isa,
        x: &[f32],
        inputs: usize,
        w: &Packed,
        finish: Finish<'_>,
    ) -> Result<()> {
        let rows = finish.rows.len();
        let depth = w.depth;
        // As much as `x` has room for: another batch then needs no more.
        memory::grow("the rounded operand of a product", &mut self.rounded, x.len() / inputs.max(1) * depth)?;
        self.reserve_words(SCRATCH)?;
        let rounded = &mut self.rounded[..rows * depth];
        self.pool.run_chunks(rounded, (ROWS * depth).max(1), |chunk, rounded, _| {
            isa.run(RoundRows { x: &x[chunk * ROWS * inputs..], inputs, rounded, depth });
        });
        let shares =
            Shares::new(finish.outputs.div_ceil(isa.panel_width()), rows.div_ceil(BLOCK_ROWS), self.pool.threads());
        let rounded = &self.rounded[..rows * depth];
        self.pool.run(shares.tasks(), |task, scratch| {
            let (block, panels) = shares.of(task);
            let first = block * BLOCK_ROWS;
            isa.run(Block {
                x: Rows::new(&rounded[first * depth..], depth, depth),
                panels,
                scratch: scratch.take_words(SCRATCH),
                layer: Layer { w, finish: finish.of(first..rows.min(first + BLOCK_ROWS)) },
            });
        });
        Ok(())
    }
}

/// Rounds rows of a product's left operand.
struct RoundRows<'a> {
    x: &'a [f32],
    inputs: usize,
    rounded: &'a mut [i32],
    depth: usize,
}

impl Bf16Kernel for RoundRows<'_> {
    #[inline(always)]
    fn run<H: Bf16>(self, bf16: H) {
        for (row, words) in self.x.chunks_exact(self.inputs).zip(self.rounded.chunks_exact_mut(self.depth)) {
            round_row(bf16, row, words);
        }
    }
}

/// Packs the rows of one panel.
struct Pack<'a> {
    values: &'a [f32],
    inputs: usize,
    count: usize,
    rounded: &'a mut [i32],
    depth: usize,
    packed: &'a mut [i32],
}

impl Bf16Kernel for Pack<'_> {
    #[inline(always)]
    fn run<H: Bf16>(self, bf16: H) {
        let Pack { values, inputs, count, rounded, depth, packed } = self;
        let rows = values.chunks_exact(inputs.max(1)).zip(rounded.chunks_exact_mut(depth.max(1)));
        rows.take(count).for_each(|(row, words)| round_row(bf16, row, words));
        // Words move as f32 do: nothing is computed with them.
        pack_transposed(bf16.floats(), Rows::new(as_floats(rounded), depth, depth), count, as_floats_mut(packed));
    }
}

/// One task: rows by panels.
struct Block<'a> {
    x: Rows<'a, i32>,
    panels: Range<usize>,
    scratch: &'a mut [i32],
    layer: Layer<'a>,
}

impl Bf16Kernel for Block<'_> {
    #[inline(always)]
    fn run<H: Bf16>(mut self, bf16: H) {
        walk(bf16, self.x, self.layer.finish.rows.len(), self.panels, self.scratch, &mut self.layer);
    }
}

/// A layer and the rows of its result that a task writes.
struct Layer<'a> {
    w: &'a Packed,
    finish: Finish<'a>,
}

impl Layer<'_> {
    #[inline(always)]
    fn strip<H: Bf16>(&self, panel: usize, from: usize, length: usize) -> &[i32] {
        let width = 2 * H::LANES;
        &self.w.panels.as_slice()[(panel * self.w.depth + from) * width..][..length * width]
    }
}

impl<H: Bf16> Panels<H> for Layer<'_> {
    #[inline(always)]
    fn piece<'a>(&'a self, _: H, panel: usize, from: usize, length: usize, _: &'a mut [i32]) -> &'a [i32] {
        self.strip::<H>(panel, from, length)
    }

    #[inline(always)]
    fn lines(&self, _: H, panel: usize, from: usize, length: usize) -> Lines<'_, i32> {
        Lines::of(self.strip::<H>(panel, from, length))
    }

    #[inline(always)]
    fn finish_rows(&self, bf16: H, panel: usize, first: usize, sums: &[i32]) {
        self.finish.panel(bf16.floats(), panel, first, as_floats(sums));
    }
}
