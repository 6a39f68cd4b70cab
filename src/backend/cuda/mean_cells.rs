//! Launches `kernels/mean_cells.cu`: the mean over the cells of each image.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use crate::error::Result;

const OP: &str = "mean_cells";
const THREADS: u32 = 256;

impl Cuda {
    pub(super) fn launch_mean_cells(
        &mut self,
        x: &Buffer,
        images: usize,
        cells: usize,
        width: usize,
        out: &mut Buffer,
    ) -> Result<()> {
        self.shared.bind()?;
        launch!(
            self,
            self.shared.kernels.mean_cells,
            Grid::over(images * width, THREADS as usize, THREADS),
            x.pointer(OP, "x", Storage::F32, images * cells * width)?,
            int(cells)?,
            int(width)?,
            int(images * width)?,
            out.pointer(OP, "out", Storage::F32, images * width)?,
        )
    }
}
