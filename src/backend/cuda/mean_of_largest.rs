//! Launches `kernels/mean_of_largest.cu`: the mean of the largest valid cells of each map.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use crate::backend::Largest;
use crate::error::Result;

const THREADS: u32 = 256;
/// A number of each warp.
const SHARED: usize = THREADS as usize / 32 * 4;

impl Cuda {
    pub(super) fn launch_mean_of_largest(
        &mut self,
        map: &Buffer,
        valid: &Buffer,
        at: &Largest,
        out: &mut Buffer,
    ) -> Result<()> {
        const OP: &str = "mean_of_largest";
        let len = at.maps * at.cells;
        at.check(len, len, at.maps * at.out_pitch)?;
        self.shared.bind()?;
        launch!(
            self,
            self.shared.kernels.mean_of_largest,
            Grid { blocks: [at.maps, 1, 1], threads: THREADS, shared: SHARED },
            map.pointer(OP, "map", Storage::F32, len)?,
            valid.pointer(OP, "valid", Storage::F32, len)?,
            int(at.cells)?,
            int(at.one_in.max(1))?,
            int(at.out_pitch)?,
            int(at.column)?,
            out.pointer(OP, "out", Storage::F32, at.maps * at.out_pitch)?,
            out.mirror(),
        )
    }
}
