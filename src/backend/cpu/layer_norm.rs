//! Layer normalisation of rows, in f32.

use super::simd::{Kernel, Simd};
use super::{Cpu, reduce};
use crate::backend::{Norm, need};
use crate::error::Result;

/// Rows of a task.
const ROWS: usize = 16;

impl Cpu {
    pub(super) fn run_layer_norm(&mut self, x: &[f32], rows: usize, norm: &Norm<Cpu>, out: &mut [f32]) -> Result<()> {
        let width = norm.weight.len();
        need("layer_norm", "x", x.len(), rows * width)?;
        need("layer_norm", "out", out.len(), rows * width)?;
        let isa = self.isa;
        self.pool.run_chunks(&mut out[..rows * width], ROWS * width, |chunk, out, _| {
            for (r, out) in out.chunks_exact_mut(width).enumerate() {
                let row = chunk * ROWS + r;
                out.copy_from_slice(&x[row * width..][..width]);
                isa.run(NormaliseRow::of(out, norm));
            }
        });
        Ok(())
    }
}

/// Normalises one row in place.
pub(super) struct NormaliseRow<'a> {
    row: &'a mut [f32],
    norm: &'a Norm<Cpu>,
}

impl<'a> NormaliseRow<'a> {
    pub fn of(row: &'a mut [f32], norm: &'a Norm<Cpu>) -> Self {
        NormaliseRow { row, norm }
    }
}

impl Kernel for NormaliseRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let n = self.row.len() as f32;
        let mean = reduce::sum(simd, self.row) / n;
        let variance = reduce::squares(simd, self.row, mean) / n;
        let scale = 1.0 / (variance + self.norm.epsilon).sqrt();
        // A plain loop: lanes do not meet here, and the compiler vectorises it.
        for ((x, w), b) in self.row.iter_mut().zip(&self.norm.weight).zip(&self.norm.bias) {
            *x = (*x - mean) * scale * w + b;
        }
    }
}
