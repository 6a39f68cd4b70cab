//! The row of each sequence that stands for it: a copy.

use super::Cpu;
use crate::backend::{PoolToken, Sequences, need};
use crate::error::Result;

impl Cpu {
    pub(super) fn run_pool_rows(
        &mut self,
        x: &[f32],
        sequences: Sequences<'_>,
        width: usize,
        pool: PoolToken,
        out: &mut [f32],
    ) -> Result<()> {
        sequences.check("pool_rows")?;
        need("pool_rows", "x", x.len(), sequences.rows() * width)?;
        need("pool_rows", "out", out.len(), sequences.count() * width)?;
        for (s, out) in out.chunks_exact_mut(width).take(sequences.count()).enumerate() {
            out.copy_from_slice(&x[pool.row(sequences.range(s)) * width..][..width]);
        }
        Ok(())
    }
}
