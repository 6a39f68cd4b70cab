//! Launches `kernels/pool_columns.cu`: rows averaged to fewer numbers, by bins that cover each row.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use crate::backend::need;
use crate::error::Result;

const OP: &str = "pool_columns";
const THREADS: u32 = 256;

impl Cuda {
    pub(super) fn launch_pool_columns(
        &mut self,
        x: &Buffer,
        rows: usize,
        width: usize,
        bins: usize,
        valid: Option<&Buffer>,
        out: &mut Buffer,
    ) -> Result<()> {
        let len = rows * bins;
        need(OP, "bins", bins, 1)?;
        need(OP, "width", width, 1)?;
        // The kernel multiplies the two.
        int((bins + 1) * width)?;
        self.shared.bind()?;
        launch!(
            self,
            self.shared.kernels.pool_columns,
            Grid::over(len, THREADS as usize, THREADS),
            x.pointer(OP, "x", Storage::F32, rows * width)?,
            int(width)?,
            int(bins)?,
            int(len)?,
            valid.map_or(Ok(0), |valid| valid.pointer(OP, "valid", Storage::F32, rows))?,
            out.pointer(OP, "out", Storage::F32, len)?,
            out.mirror(),
        )
    }
}
