//! Launches `kernels/window_tokens.cu`: the tokens of windows of patches.

use super::Cuda;
use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use crate::backend::Windows;
use crate::error::Result;

const OP: &str = "window_tokens";
const THREADS: u32 = 128;

impl Cuda {
    pub(super) fn launch_window_tokens(
        &mut self,
        x: &Buffer,
        at: &Windows,
        width: usize,
        out: &mut Buffer,
    ) -> Result<()> {
        at.check(OP)?;
        let rows = at.count * at.tokens();
        self.shared.bind()?;
        launch!(
            self,
            self.shared.kernels.window_tokens,
            Grid::over(rows, 1, THREADS),
            x.pointer(OP, "x", Storage::F32, at.images * (at.prefix + at.grid.cells()) * width)?,
            int(at.images)?,
            int(at.prefix)?,
            int(at.grid.rows)?,
            int(at.grid.cols)?,
            int(at.side)?,
            int(at.first)?,
            int(width)?,
            out.pointer(OP, "out", Storage::F32, rows * width)?,
        )
    }
}
