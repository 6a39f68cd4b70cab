//! Launches `kernels/enlarge.cu`: a map of cells at the size of the image, blurred.

use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::{Constant, Cuda};
use crate::backend::Enlarge;
use crate::error::Result;

const OP: &str = "enlarge";
const THREADS: u32 = 256;

impl Cuda {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn launch_enlarge(
        &mut self,
        map: &Buffer,
        valid: &Buffer,
        at: &Enlarge,
        blur: &Constant,
        columns: &mut Buffer,
        out: &mut Buffer,
        out_valid: &mut Buffer,
    ) -> Result<()> {
        let Enlarge { rows, cols, patch, .. } = *at;
        let (cells, pixels) = (rows * cols, at.pixels());
        let first = (at.map * cells * 4) as u64;
        let (weights, radius) = (blur.pointer(OP, "blur", 1)?, int(blur.len / 2)?);
        let line = columns.pointer(OP, "columns", Storage::F32, cells * patch)?;
        self.shared.bind()?;
        launch!(
            self,
            self.shared.kernels.enlarge_columns,
            Grid::over(cells * patch, THREADS as usize, THREADS),
            map.pointer(OP, "map", Storage::F32, (at.map + 1) * cells)? + first,
            int(rows)?,
            int(cols)?,
            int(patch)?,
            weights,
            radius,
            i32::from(at.mirrored),
            line,
        )?;
        launch!(
            self,
            self.shared.kernels.enlarge_rows,
            Grid::over(pixels, THREADS as usize, THREADS),
            line,
            valid.pointer(OP, "valid", Storage::F32, (at.map + 1) * cells)? + first,
            int(rows)?,
            int(cols)?,
            int(patch)?,
            weights,
            radius,
            i32::from(at.mirrored),
            out.pointer(OP, "out", Storage::F32, pixels)?,
            out_valid.pointer(OP, "out_valid", Storage::F32, pixels)?,
        )
    }
}
