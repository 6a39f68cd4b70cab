//! Launches `kernels/pool_rows.cu`: the row of each sequence that stands for it.

use super::buffer::Buffer;
use super::launch::{Grid, int, launch};
use super::{Cuda, equal_lengths};
use crate::backend::{PoolToken, Sequences};
use crate::error::Result;

const THREADS: u32 = 128;

impl Cuda {
    pub(super) fn launch_pool_rows(
        &mut self,
        x: &Buffer,
        sequences: Sequences<'_>,
        width: usize,
        pool: PoolToken,
        out: &mut Buffer,
    ) -> Result<()> {
        let (tokens, count) = (equal_lengths("pool_rows", sequences)?, sequences.count());
        let storage = x.storage;
        let kernels = &self.shared.kernels;
        self.shared.bind()?;
        launch!(
            self,
            kernels.pool_rows.of(storage)?,
            Grid::over(count, 1, THREADS),
            x.pointer("pool_rows", "x", storage, count * tokens * width)?,
            int(tokens)?,
            int(pool.row(0..tokens))?,
            int(width)?,
            out.pointer("pool_rows", "out", storage, count * width)?,
        )
    }
}
