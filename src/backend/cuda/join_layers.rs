//! Launches `kernels/join_layers.cu`: the rows of several layers side by side.

use super::Cuda;
use super::buffer::Buffer;
use super::launch::{Grid, int, launch};
use crate::backend::Role;
use crate::error::Result;

const THREADS: u32 = 256;
/// Elements of a thread.
const EACH: usize = 8;

impl Cuda {
    pub(super) fn launch_join_layers(
        &mut self,
        x: &Buffer,
        [layers, rows, width]: [usize; 3],
        scale: f32,
        out: &mut Buffer,
    ) -> Result<()> {
        let (len, storage) = (layers * rows * width, self.stored(Role::UnitRows));
        self.shared.bind()?;
        let kernels = &self.shared.kernels;
        launch!(
            self,
            kernels.join_layers.of(storage)?,
            Grid::over(len.div_ceil(EACH), THREADS as usize, THREADS),
            x.pointer("join_layers", "x", storage, len)?,
            int(layers)?,
            int(rows)?,
            int(width)?,
            scale,
            out.pointer("join_layers", "out", storage, len)?,
        )
    }
}
