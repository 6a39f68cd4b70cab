//! Resampling of maps from one grid to another.

use super::Cpu;
use crate::backend::Resample;
use crate::error::Result;

impl Cpu {
    pub(super) fn run_resample(&mut self, x: &[f32], images: usize, at: &Resample, out: &mut [f32]) -> Result<()> {
        at.check(images, x.len(), out.len())?;
        let Resample { from, width, to, pitch, column, .. } = *at;
        let line = to.cols * pitch;
        if images * to.rows * line == 0 {
            return Ok(());
        }
        self.pool.run_chunks(&mut out[..images * to.rows * line], line, |number, out, _| {
            let (image, row) = (number / to.rows, number % to.rows);
            let (top, bottom, down) = at.between(row, from.rows, to.rows);
            let cell = |row: usize, col: usize| &x[((image * from.rows + row) * from.cols + col) * width..][..width];
            for (col, out) in out.chunks_exact_mut(pitch).enumerate() {
                let (left, right, across) = at.between(col, from.cols, to.cols);
                let out = &mut out[column..][..width];
                if !at.bilinear || (down == 0.0 && across == 0.0) {
                    out.copy_from_slice(cell(top, left));
                    continue;
                }
                let upper = cell(top, left).iter().zip(cell(top, right));
                let lower = cell(bottom, left).iter().zip(cell(bottom, right));
                for ((out, (a, b)), (c, d)) in out.iter_mut().zip(upper).zip(lower) {
                    let (upper, lower) = ((1.0 - across) * a + across * b, (1.0 - across) * c + across * d);
                    *out = (1.0 - down) * upper + down * lower;
                }
            }
        });
        Ok(())
    }
}
