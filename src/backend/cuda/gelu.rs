//! Launches `kernels/gelu.cu`: the activation of an MLP, in place.

use super::Cuda;
use super::buffer::Buffer;
use super::launch::{Grid, int, launch};
use crate::backend::Gelu;
use crate::error::Result;

/// Threads of a block, and the elements that it takes: eight a thread.
const THREADS: u32 = 256;
const ELEMENTS: usize = 2048;

impl Cuda {
    pub(super) fn launch_gelu(&mut self, kind: Gelu, len: usize, x: &mut Buffer) -> Result<()> {
        let storage = self.operand();
        let pointer = x.pointer("gelu", "x", storage, len)?;
        let kernels = &self.shared.kernels;
        let kernel = match kind {
            Gelu::Exact => kernels.gelu_exact.of(storage)?,
            Gelu::Quick => kernels.gelu_quick.of(storage)?,
        };
        self.shared.bind()?;
        launch!(self, kernel, Grid::over(len, ELEMENTS, THREADS), pointer, int(len)?)
    }
}
