//! `y = x Wᵀ + b` with packed weights: the bulk of the work.
#![allow(unsafe_code)]

use std::ops::Range;

use super::blocks::{BLOCK_ROWS, Panels, SCRATCH, Shares, walk};
use super::packed::{Aligned, MAX_PANEL, pack_transposed, packed_len};
use super::pool::Disjoint;
use super::simd::{Kernel, Simd};
use super::tile::{Lines, Rows};
use super::{Cpu, math};
use crate::backend::{Gelu, need};
use crate::error::Result;

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
        let (isa, width) = (self.isa, self.isa.panel_width());
        let mut panels = Aligned::zeros(packed_len(self.isa, inputs, outputs));
        self.pool.run_chunks(panels.as_mut_slice(), width * inputs, |panel, packed, scratch| {
            let rows = panel * width..outputs.min((panel + 1) * width);
            let values = scratch.take(rows.len() * inputs);
            for (output, values) in rows.zip(values.chunks_exact_mut(inputs)) {
                row(output, values);
            }
            isa.run(Pack { rows: Rows::new(values, inputs, inputs), count: values.len() / inputs.max(1), packed });
        });
        let mut padded = Aligned::zeros(outputs.next_multiple_of(width));
        if let Some(bias) = bias {
            padded.as_mut_slice()[..outputs].copy_from_slice(bias);
        }
        Linear { inputs, outputs, panels, bias: padded }
    }

    /// `out = epilogue(x Wᵀ + b)`.
    pub(super) fn run_linear(
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
                panels,
                scratch: scratch.take(SCRATCH),
                layer: Layer { w, rows: first_row..rows.min(first_row + BLOCK_ROWS), out, epilogue },
            });
        });
        Ok(())
    }
}

/// Packs the rows of one panel.
struct Pack<'a> {
    rows: Rows<'a>,
    count: usize,
    packed: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        pack_transposed(simd, self.rows, self.count, self.packed);
    }
}

/// One task: rows by panels.
struct Block<'a> {
    x: Rows<'a>,
    panels: Range<usize>,
    scratch: &'a mut [f32],
    layer: Layer<'a>,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        walk(simd, self.x, self.layer.rows.len(), self.panels, self.scratch, &mut self.layer);
    }
}

/// A layer and the rows of its result that a task writes.
struct Layer<'a> {
    w: &'a Linear,
    rows: Range<usize>,
    out: Disjoint<'a, f32>,
    epilogue: Epilogue,
}

impl Layer<'_> {
    #[inline(always)]
    fn strip<S: Simd>(&self, panel: usize, from: usize, length: usize) -> &[f32] {
        let width = 2 * S::LANES;
        &self.w.panels.as_slice()[(panel * self.w.inputs + from) * width..][..length * width]
    }
}

impl<S: Simd> Panels<S> for Layer<'_> {
    #[inline(always)]
    fn piece<'a>(&'a self, _: S, panel: usize, from: usize, length: usize, _: &'a mut [f32]) -> &'a [f32] {
        self.strip::<S>(panel, from, length)
    }

    #[inline(always)]
    fn lines(&self, _: S, panel: usize, from: usize, length: usize) -> Lines<'_> {
        let strip = self.strip::<S>(panel, from, length);
        Lines::new(Rows::new(strip, strip.len(), strip.len()), 1)
    }

    #[inline(always)]
    fn finish(&mut self, simd: S, panel: usize, sums: &[f32]) {
        let width = 2 * S::LANES;
        let column = panel * width;
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
