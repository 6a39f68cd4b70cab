//! `y = x Wᵀ + b` with packed weights: the bulk of the work.
//!
//! A task owns a block of rows and a few panels of columns. It walks the inner dimension in pieces, so that a piece of a
//! panel stays in the first cache and the rows' piece in the second; partial sums wait in the thread's scratch memory.
//! Storing and reloading an f32 changes no bit, so the result is one chain of multiply-adds whatever the blocking.
#![allow(unsafe_code)]

use super::packed::{Aligned, MAX_PANEL, pack_transposed, packed_len};
use super::pool::Disjoint;
use super::simd::{Kernel, Simd};
use super::tile::{Product, Rows, multiply};
use super::{Cpu, math};
use crate::backend::{Gelu, need};
use crate::error::Result;

/// Rows of a task: a multiple of every tile height, and few enough for their piece to stay in the second cache.
const BLOCK_ROWS: usize = 240;
/// Upper bound of the inner dimension's pieces: a panel's piece takes at most half of a 32 KiB cache.
const BLOCK_DEPTH: usize = 256;
/// Upper bound of the panels of a task.
const BLOCK_PANELS: usize = 4;

/// Floats of scratch that a task needs, at the widest instruction set.
const SCRATCH: usize = BLOCK_ROWS * BLOCK_PANELS * MAX_PANEL;

/// A linear layer, packed.
pub struct Linear {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Panels of `[inputs, panel_width]`.
    pub(super) panels: Aligned,
    /// One for each packed column, zero where the layer has none.
    pub(super) bias: Aligned,
}

/// What happens to `x Wᵀ + b` before it is written.
#[derive(Clone, Copy)]
pub(super) enum Epilogue {
    Store,
    Add,
    Gelu(Gelu),
}

impl Cpu {
    /// Packs a layer of `outputs` rows; `row(output, values)` yields the weights of one.
    pub(super) fn pack_linear(
        &mut self,
        inputs: usize,
        outputs: usize,
        bias: Option<&[f32]>,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Linear {
        let width = self.isa.panel_width();
        let mut panels = Aligned::zeros(packed_len(self.isa, inputs, outputs));
        self.pool.run_chunks(panels.as_mut_slice(), width * inputs, |panel, packed, scratch| {
            let rows = panel * width..outputs.min((panel + 1) * width);
            let values = scratch.take(rows.len() * inputs);
            for (output, values) in rows.zip(values.chunks_exact_mut(inputs)) {
                row(output, values);
            }
            pack_transposed(values.chunks_exact(inputs), width, packed);
        });
        let mut padded = Aligned::zeros(outputs.next_multiple_of(width));
        if let Some(bias) = bias {
            padded.as_mut_slice()[..outputs].copy_from_slice(bias);
        }
        Linear { inputs, outputs, panels, bias: padded }
    }

    /// `out = epilogue(x Wᵀ + b)`.
    pub(super) fn matmul(
        &mut self,
        x: &[f32],
        rows: usize,
        w: &Linear,
        out: &mut [f32],
        epilogue: Epilogue,
    ) -> Result<()> {
        need("linear", "x", x.len(), rows * w.inputs)?;
        need("linear", "out", out.len(), rows * w.outputs)?;
        let isa = self.isa;
        let width = isa.panel_width();
        let panels = w.outputs.div_ceil(width);
        let row_blocks = rows.div_ceil(BLOCK_ROWS);
        let shares = Shares::new(panels, row_blocks, self.pool.threads());
        let x = &x[..rows * w.inputs];
        self.reserve(SCRATCH);
        let out = Disjoint::new(&mut out[..rows * w.outputs]);
        self.pool.run(shares.tasks(), |task, scratch| {
            let (block, panels) = shares.of(task);
            let first_row = block * BLOCK_ROWS;
            isa.run(Block {
                x: Rows::new(&x[first_row * w.inputs..], w.inputs, w.inputs),
                w,
                rows: first_row..rows.min(first_row + BLOCK_ROWS),
                panels,
                partial: scratch.take(SCRATCH),
                out,
                epilogue,
            });
        });
        Ok(())
    }
}

/// How a product is shared out: blocks of rows by groups of [`BLOCK_PANELS`] panels, and at the end single panels, so that
/// threads that were interrupted or began late finish together. No sum depends on it.
#[derive(Clone, Copy)]
struct Shares {
    panels: usize,
    /// Groups of a row block; those of the last one leave the single panels out.
    groups: usize,
    last_groups: usize,
    row_blocks: usize,
    singles: usize,
}

impl Shares {
    fn new(panels: usize, row_blocks: usize, threads: usize) -> Self {
        let singles = if threads == 1 { 0 } else { panels.min(BLOCK_PANELS * threads) };
        let groups = panels.div_ceil(BLOCK_PANELS);
        Shares { panels, groups, last_groups: (panels - singles).div_ceil(BLOCK_PANELS), row_blocks, singles }
    }

    fn tasks(&self) -> usize {
        match self.row_blocks {
            0 => 0,
            n => (n - 1) * self.groups + self.last_groups + self.singles,
        }
    }

    /// The row block and the panels of a task.
    fn of(&self, task: usize) -> (usize, std::ops::Range<usize>) {
        let block = (task / self.groups).min(self.row_blocks - 1);
        let (group, last) = (task - block * self.groups, block + 1 == self.row_blocks);
        let end = if last { self.panels - self.singles } else { self.panels };
        if last && group >= self.last_groups {
            let panel = end + group - self.last_groups;
            return (block, panel..panel + 1);
        }
        (block, group * BLOCK_PANELS..end.min((group + 1) * BLOCK_PANELS))
    }
}

/// One task: rows by panels.
struct Block<'a> {
    x: Rows<'a>,
    w: &'a Linear,
    rows: std::ops::Range<usize>,
    panels: std::ops::Range<usize>,
    partial: &'a mut [f32],
    out: Disjoint<'a, f32>,
    epilogue: Epilogue,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let partial = std::mem::take(&mut self.partial);
        let width = 2 * S::LANES;
        let (depth, count) = (self.w.inputs, self.rows.len());
        let pieces = depth.div_ceil(BLOCK_DEPTH).max(1);
        let piece = depth.div_ceil(pieces).max(1);
        let strip = |panel: usize, from: usize| {
            let start = (panel * depth + from) * width;
            &self.w.panels.as_slice()[start..start + piece.min(depth - from) * width]
        };
        for from in (0..depth.max(1)).step_by(piece) {
            let length = piece.min(depth - from);
            let x = self.x.part(0, from, length);
            for panel in self.panels.clone() {
                let next = if panel + 1 < self.panels.end {
                    strip(panel + 1, from)
                } else if from + length < depth {
                    strip(self.panels.start, from + length)
                } else {
                    &[]
                };
                let slot = (panel - self.panels.start) * BLOCK_ROWS * width;
                let sums = &mut partial[slot..slot + count * width];
                multiply(simd, Product { a: x, rows: count, panel: strip(panel, from), next }, sums, width, from > 0);
                if from + length == depth {
                    self.write(simd, panel * width, sums);
                }
            }
        }
    }
}

impl Block<'_> {
    /// Finishes the columns from `column` on: `sums` is `[rows, panel width]`.
    #[inline(always)]
    fn write<S: Simd>(&self, simd: S, column: usize, sums: &[f32]) {
        let width = 2 * S::LANES;
        let columns = width.min(self.w.outputs - column);
        let bias = &self.w.bias.as_slice()[column..][..width];
        for (row, sums) in self.rows.clone().zip(sums.chunks_exact(width)) {
            // SAFETY: tasks differ in rows or in panels, and a task writes each of its rows and panels once.
            let out = unsafe { self.out.slice(row * self.w.outputs + column, columns) };
            if columns == width {
                self.epilogue.apply(simd, sums, bias, out);
            } else {
                // Columns beyond the edge exist in the panel only.
                let mut edge = [0.0; MAX_PANEL];
                edge[..columns].copy_from_slice(out);
                self.epilogue.apply(simd, sums, bias, &mut edge);
                out.copy_from_slice(&edge[..columns]);
            }
        }
    }
}

impl Epilogue {
    /// `out = epilogue(sums + bias)` for a whole number of vectors.
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, sums: &[f32], bias: &[f32], out: &mut [f32]) {
        let vectors = sums.chunks_exact(S::LANES).zip(bias.chunks_exact(S::LANES));
        for ((sums, bias), out) in vectors.zip(out.chunks_exact_mut(S::LANES)) {
            let y = simd.add(simd.load(sums), simd.load(bias));
            let y = match self {
                Epilogue::Store => y,
                Epilogue::Add => simd.add(simd.load(out), y),
                Epilogue::Gelu(kind) => math::gelu(simd, kind, y),
            };
            simd.store(y, out);
        }
    }
}
