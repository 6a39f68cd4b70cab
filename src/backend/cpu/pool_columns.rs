//! Rows averaged to fewer numbers, by bins that cover each row.

use super::Cpu;
use crate::backend::{adaptive_bin, need};
use crate::error::Result;

/// Rows of a task.
const ROWS: usize = 16;

/// Averages `row` to the bins `out`.
pub(super) fn average(row: &[f32], out: &mut [f32]) {
    let bins = out.len();
    for (bin, out) in out.iter_mut().enumerate() {
        let numbers = &row[adaptive_bin(bin, bins, row.len())];
        *out = numbers.iter().sum::<f32>() / numbers.len() as f32;
    }
}

impl Cpu {
    pub(super) fn run_pool_columns(
        &mut self,
        x: &[f32],
        rows: usize,
        width: usize,
        bins: usize,
        valid: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<()> {
        need("pool_columns", "x", x.len(), rows * width)?;
        need("pool_columns", "out", out.len(), rows * bins)?;
        need("pool_columns", "bins", bins, 1)?;
        need("pool_columns", "width", width, 1)?;
        if let Some(valid) = valid {
            need("pool_columns", "valid", valid.len(), rows)?;
        }
        self.pool.run_chunks(&mut out[..rows * bins], ROWS * bins, |chunk, out, _| {
            for (i, out) in out.chunks_exact_mut(bins).enumerate() {
                let row = chunk * ROWS + i;
                average(&x[row * width..][..width], out);
                if let Some(valid) = valid {
                    // A product, not a branch: infinity and NaN remain, so that they are found later.
                    out.iter_mut().for_each(|out| *out *= valid[row]);
                }
            }
        });
        Ok(())
    }
}
