//! Launches `kernels/pool_neighbours.cu`: the neighbourhood of each cell, averaged to a few numbers.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{self, int, launch};
use crate::backend::need;
use crate::error::Result;
use crate::view::Grid;

const OP: &str = "pool_neighbours";
const THREADS: u32 = 256;
/// Cells of a neighbourhood.
const AROUND: usize = 9;

impl Cuda {
    pub(super) fn launch_pool_neighbours(
        &mut self,
        x: &Buffer,
        images: usize,
        grid: Grid,
        width: usize,
        bins: usize,
        out: &mut Buffer,
    ) -> Result<()> {
        let len = images * grid.cells() * bins;
        need(OP, "bins", bins, 1)?;
        // The kernel multiplies the two.
        int((bins + 1) * AROUND * width)?;
        self.shared.bind()?;
        launch!(
            self,
            self.shared.kernels.pool_neighbours,
            launch::Grid::over(len, THREADS as usize, THREADS),
            x.pointer(OP, "x", Storage::F32, images * grid.cells() * width)?,
            int(grid.rows)?,
            int(grid.cols)?,
            int(width)?,
            int(bins)?,
            int(len)?,
            out.pointer(OP, "out", Storage::F32, len)?,
        )
    }
}
