//! `y = x Wᵀ + b` with packed weights: the bulk of the work.
#![allow(unsafe_code)]

use std::ops::Range;

use super::bf16::{self, Bf16Isa};
use super::blocks::{BLOCK_ROWS, Panels, SCRATCH, Shares, walk};
use super::bytes::ByteIsa;
use super::int8;
use super::packed::{Aligned, MAX_PANEL, pack_transposed, packed_len};
use super::pool::Disjoint;
use super::simd::{Kernel, Simd};
use super::tile::{Lines, Rows};
use super::{Cpu, math};
use crate::backend::{Gelu, Role, need};
use crate::error::Result;
use crate::tensor::TensorView;

/// A linear layer, packed.
pub struct Linear {
    inputs: usize,
    outputs: usize,
    weights: Weights,
    /// One for each packed column, zero where the layer has none.
    bias: Aligned,
}

/// Weights in the form in which a product reads them, one for each type that they are stored in.
enum Weights {
    /// Panels of `[inputs, panel_width]`.
    F32(Aligned),
    Bf16(Bf16Isa, bf16::linear::Packed),
    Int8(ByteIsa, int8::weights::Packed),
}

/// What happens to `x Wᵀ + b` before it is written.
#[derive(Clone, Copy)]
pub(super) enum Epilogue {
    Store,
    Add,
    Gelu(Gelu),
    Relu,
    AddRelu,
}

impl Linear {
    /// Numbers of a row that it multiplies.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers of a row of its result.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }
}

impl Cpu {
    /// Packs the rows `rows` of a stored layer.
    ///
    /// # Errors
    /// As [`Cpu::pack_linear`].
    pub(super) fn pack_rows(
        &mut self,
        role: Role,
        weight: &TensorView<'_>,
        rows: Range<usize>,
        bias: Option<&TensorView<'_>>,
        gains: Option<&[f32]>,
    ) -> Result<Linear> {
        let inputs = weight.shape[1..].iter().product();
        let bias = bias.map(|bias| {
            let mut values = vec![0.0; rows.len()];
            bias.read_f32(rows.start, &mut values);
            values
        });
        self.pack_linear(role, [inputs, rows.len()], bias.as_deref(), gains, |output, values| {
            weight.read_f32((rows.start + output) * inputs, values);
        })
    }

    /// Packs a layer of `outputs` rows; `row(output, values)` yields the weights of one. `role` decides whether they
    /// may be quantised, and `gains` of the norm before it how.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(super) fn pack_linear(
        &mut self,
        role: Role,
        [inputs, outputs]: [usize; 2],
        bias: Option<&[f32]>,
        gains: Option<&[f32]>,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Linear> {
        let what = format!("a layer of {outputs} x {inputs} weights");
        let mut padded = Aligned::zeros(&what, outputs.next_multiple_of(MAX_PANEL))?;
        if let Some(bias) = bias {
            padded.as_mut_slice()[..outputs].copy_from_slice(bias);
        }
        let int8 = self.int8.filter(|_| role == Role::TokenWeight && int8::fits(inputs));
        let weights = match (int8, self.bf16) {
            (Some(isa), _) => Weights::Int8(isa, self.pack_int8(isa, &what, [inputs, outputs], gains, row)?),
            (None, Some(isa)) => Weights::Bf16(isa, self.pack_bf16(isa, &what, [inputs, outputs], row)?),
            (None, None) => Weights::F32(self.pack_f32(&what, inputs, outputs, row)?),
        };
        Ok(Linear { inputs, outputs, weights, bias: padded })
    }

    fn pack_f32(
        &mut self,
        what: &str,
        inputs: usize,
        outputs: usize,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Aligned> {
        let (isa, width) = (self.isa, self.isa.panel_width());
        let mut panels = Aligned::zeros(what, packed_len(self.isa, inputs, outputs))?;
        self.reserve(width.min(outputs) * inputs)?;
        self.pool.run_chunks(panels.as_mut_slice(), width * inputs, |panel, packed, scratch| {
            let rows = panel * width..outputs.min((panel + 1) * width);
            let values = scratch.take(rows.len() * inputs);
            for (output, values) in rows.zip(values.chunks_exact_mut(inputs)) {
                row(output, values);
            }
            isa.run(Pack { rows: Rows::new(values, inputs, inputs), count: values.len() / inputs.max(1), packed });
        });
        Ok(panels)
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
        let out = Disjoint::new(&mut out[..rows * w.outputs]);
        let finish = Finish { outputs: w.outputs, bias: w.bias.as_slice(), rows: 0..rows, out, epilogue };
        match &w.weights {
            Weights::F32(panels) => self.multiply_f32(x, w.inputs, panels, finish),
            Weights::Bf16(isa, packed) => self.multiply_bf16(*isa, x, w.inputs, packed, finish),
            Weights::Int8(isa, packed) => self.multiply_int8(*isa, x, w.inputs, packed, finish),
        }
    }

    /// `finish` of `x Wᵀ`, where `x` is `[rows, inputs]`.
    fn multiply_f32(&mut self, x: &[f32], inputs: usize, panels: &Aligned, finish: Finish<'_>) -> Result<()> {
        let (isa, rows) = (self.isa, finish.rows.len());
        let packed = panels.as_slice();
        let panels = finish.outputs.div_ceil(isa.panel_width());
        let shares = Shares::new(panels, rows.div_ceil(BLOCK_ROWS), self.pool.threads());
        self.reserve(SCRATCH)?;
        self.pool.run(shares.tasks(), |task, scratch| {
            let (block, panels) = shares.of(task);
            let first_row = block * BLOCK_ROWS;
            isa.run(Block {
                x: Rows::new(&x[first_row * inputs..], inputs, inputs),
                panels,
                scratch: scratch.take(SCRATCH),
                layer: Layer { packed, inputs, finish: finish.of(first_row..rows.min(first_row + BLOCK_ROWS)) },
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
        walk(simd, self.x, self.layer.finish.rows.len(), self.panels, self.scratch, &mut self.layer);
    }
}

/// A layer's panels, and what becomes of the sums of a task.
struct Layer<'a> {
    packed: &'a [f32],
    inputs: usize,
    finish: Finish<'a>,
}

impl Layer<'_> {
    #[inline(always)]
    fn strip<S: Simd>(&self, panel: usize, from: usize, length: usize) -> &[f32] {
        let width = 2 * S::LANES;
        &self.packed[(panel * self.inputs + from) * width..][..length * width]
    }
}

impl<S: Simd> Panels<S> for Layer<'_> {
    #[inline(always)]
    fn piece<'a>(&'a self, _: S, panel: usize, from: usize, length: usize, _: &'a mut [f32]) -> &'a [f32] {
        self.strip::<S>(panel, from, length)
    }

    #[inline(always)]
    fn lines(&self, _: S, panel: usize, from: usize, length: usize) -> Lines<'_> {
        Lines::of(self.strip::<S>(panel, from, length))
    }

    #[inline(always)]
    fn finish_rows(&self, simd: S, panel: usize, first: usize, sums: &[f32]) {
        self.finish.panel(simd, panel, first, sums);
    }
}

/// What becomes of the sums of a product, whatever it multiplied.
#[derive(Clone)]
pub(super) struct Finish<'a> {
    pub outputs: usize,
    /// One for each column, padded to whole panels.
    bias: &'a [f32],
    /// Rows of the result that are written.
    pub rows: Range<usize>,
    out: Disjoint<'a, f32>,
    epilogue: Epilogue,
}

impl Finish<'_> {
    /// The same for these rows only.
    pub(super) fn of(&self, rows: Range<usize>) -> Self {
        Finish { rows, ..self.clone() }
    }

    /// Takes the sums of a panel in some rows from row `first` of `rows` on, `[count, 2 * LANES]`.
    #[inline(always)]
    pub(super) fn panel<S: Simd>(&self, simd: S, panel: usize, first: usize, sums: &[f32]) {
        for (row, sums) in sums.chunks_exact(2 * S::LANES).enumerate() {
            self.row(simd, panel, first + row, sums);
        }
    }

    /// Takes the sums of a panel in row `row` of `rows`.
    #[inline(always)]
    pub(super) fn row<S: Simd>(&self, simd: S, panel: usize, row: usize, sums: &[f32]) {
        let width = 2 * S::LANES;
        let column = panel * width;
        let columns = width.min(self.outputs - column);
        let bias = &self.bias[column..][..width];
        let at = (self.rows.start + row) * self.outputs + column;
        // SAFETY: tasks differ in rows or in panels, and a task writes each of its rows and panels once.
        let out = unsafe { self.out.slice(at, columns) };
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
                // If an operand is NaN, the result is the second one: NaN in the sums remains.
                Epilogue::Relu => simd.max(simd.splat(0.0), y),
                Epilogue::AddRelu => simd.max(simd.splat(0.0), simd.add(simd.load(out), y)),
            };
            simd.store(y, out);
        }
    }
}
