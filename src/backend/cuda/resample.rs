//! Launches `kernels/resample.cu`: maps from one grid to another.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use crate::backend::Resample;
use crate::error::Result;

const OP: &str = "resample";
const THREADS: u32 = 256;

impl Cuda {
    pub(super) fn launch_resample(&mut self, x: &Buffer, images: usize, at: &Resample, out: &mut Buffer) -> Result<()> {
        at.check(images, x.len(), out.len())?;
        let Resample { from, width, to, pitch, column, bilinear } = *at;
        let len = images * to.cells() * width;
        // The kernel multiplies the two.
        int((2 * from.rows + 2) * to.rows)?;
        int((2 * from.cols + 2) * to.cols)?;
        self.shared.bind()?;
        launch!(
            self,
            self.shared.kernels.resample_maps,
            Grid::over(len, THREADS as usize, THREADS),
            x.pointer(OP, "x", Storage::F32, images * from.cells() * width)?,
            int(from.rows)?,
            int(from.cols)?,
            int(width)?,
            int(to.rows)?,
            int(to.cols)?,
            int(pitch)?,
            int(column)?,
            i32::from(bilinear),
            int(len)?,
            out.pointer(OP, "out", Storage::F32, images * to.cells() * pitch)?,
        )
    }
}
