//! Patch tokens, normalised where asked for, scaled to unit length, so that cosines are plain products.

use super::layer_norm::NormaliseRow;
use super::simd::{Kernel, Simd};
use super::{Cpu, reduce};
use crate::backend::{ImageTokens, Norm, need};
use crate::error::Result;

/// Shorter vectors are divided by this instead, as PyTorch's `normalize` does: zero stays zero.
const EPSILON: f32 = 1e-12;
/// Rows of a task.
const ROWS: usize = 15;

impl Cpu {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn run_unit_patches(
        &mut self,
        x: &[f32],
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Cpu>>,
        tap: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let isa = self.isa;
        self.each_patch("unit_patches", x, images, tokens, width, norm, tap, out, |row| isa.run(UnitRow(row)))
    }

    /// The patch tokens of a tap, by `norm` where there is one, and then by `finish`.
    #[expect(clippy::too_many_arguments, reason = "those of the operations that it is for")]
    pub(super) fn each_patch(
        &mut self,
        op: &'static str,
        x: &[f32],
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Cpu>>,
        tap: usize,
        out: &mut [f32],
        finish: impl Fn(&mut [f32]) + Sync,
    ) -> Result<()> {
        let ImageTokens { prefix, patches } = tokens;
        let rows = images * patches;
        need(op, "x", x.len(), images * tokens.count() * width)?;
        if let Some(norm) = norm {
            need(op, "norm", norm.weight.len().min(norm.bias.len()), width)?;
        }
        need(op, "out", out.len(), (tap + 1) * rows * width)?;
        let isa = self.isa;
        let out = &mut out[tap * rows * width..][..rows * width];
        self.pool.run_chunks(out, ROWS * width, |chunk, out, _| {
            for (r, out) in out.chunks_exact_mut(width).enumerate() {
                let (image, patch) = ((chunk * ROWS + r) / patches, (chunk * ROWS + r) % patches);
                out.copy_from_slice(&x[(image * tokens.count() + prefix + patch) * width..][..width]);
                if let Some(norm) = norm {
                    isa.run(NormaliseRow::of(out, norm));
                }
                finish(out);
            }
        });
        Ok(())
    }
}

/// Scales one row to unit length in place.
pub(super) struct UnitRow<'a>(pub(super) &'a mut [f32]);

impl Kernel for UnitRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let scale = 1.0 / reduce::squares(simd, self.0, 0.0).sqrt().max(EPSILON);
        self.0.iter_mut().for_each(|x| *x *= scale);
    }
}
