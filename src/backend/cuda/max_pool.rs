//! Launches `kernels/max_pool.cu`: the largest of the cells around every second cell.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{self, int, launch};
use crate::backend::halved;
use crate::error::Result;
use crate::view::Grid;

const OP: &str = "max_pool";
const THREADS: u32 = 256;

impl Cuda {
    pub(super) fn launch_max_pool(
        &mut self,
        x: &Buffer,
        images: usize,
        grid: Grid,
        width: usize,
        out: &mut Buffer,
    ) -> Result<()> {
        let len = images * halved(grid, 2).cells() * width;
        self.shared.bind()?;
        launch!(
            self,
            self.shared.kernels.max_pool,
            launch::Grid::over(len, THREADS as usize, THREADS),
            x.pointer(OP, "x", Storage::F32, images * grid.cells() * width)?,
            int(grid.rows)?,
            int(grid.cols)?,
            int(width)?,
            int(len)?,
            out.pointer(OP, "out", Storage::F32, len)?,
        )
    }
}
