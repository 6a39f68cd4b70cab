//! Launches `kernels/swiglu.cu`: the gate of a SwiGLU MLP.

use super::Cuda;
use super::buffer::Buffer;
use super::launch::{Grid, int, launch};
use crate::error::Result;

/// Threads of a block, and the elements that it writes: eight a thread.
const THREADS: u32 = 256;
const ELEMENTS: usize = 2048;

impl Cuda {
    pub(super) fn launch_swiglu(&mut self, x: &Buffer, rows: usize, width: usize, out: &mut Buffer) -> Result<()> {
        let input = x.pointer("swiglu", "x", self.operand(), rows * 2 * width)?;
        let output = out.pointer("swiglu", "out", self.operand(), rows * width)?;
        self.shared.bind()?;
        let kernels = &self.shared.kernels;
        launch!(
            self,
            kernels.swiglu.of(self.operand())?,
            Grid::over(rows * width, ELEMENTS, THREADS),
            input,
            int(rows)?,
            int(width)?,
            output,
        )
    }
}
