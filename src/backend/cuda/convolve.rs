//! Launches `kernels/convolve.cu` around the products of a convolution: the neighbourhoods of some output cells are
//! unfolded to rows of operands, and multiplied.
//!
//! A row of a product does not depend on the others, so the pieces change no bit.

use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::{Cuda, Linear};
use crate::backend::{Convolution, Then, need};
use crate::error::Result;

const OP: &str = "convolve";
const THREADS: u32 = 256;
/// Numbers that are unfolded at once, at most: some pictures of a wide network, a twentieth of a small GPU's memory.
const PIECE: usize = 1 << 25;
/// Pieces begin at multiples of this many output cells, so that products find the alignment for which the library has
/// chosen an algorithm.
const CELLS: usize = 64;

/// Elements of the memory for unfolded rows of `inputs` numbers, of `cells` output cells.
pub(super) fn unfolded_len(inputs: usize, cells: usize) -> usize {
    let piece = (PIECE / inputs.max(1)).max(CELLS) / CELLS * CELLS;
    piece.min(cells).saturating_mul(inputs)
}

impl Cuda {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn launch_convolve(
        &mut self,
        x: &Buffer,
        images: usize,
        at: &Convolution,
        w: &Linear,
        then: Then,
        unfolded: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<()> {
        at.check(images, x.len())?;
        need(OP, "weights", w.inputs(), at.inputs())?;
        let (inputs, outputs) = (at.inputs(), w.outputs());
        let add = matches!(then, Then::AddRelu);
        let cells = images * at.output().cells();
        let to = out.pointer(OP, "out", Storage::F32, cells * outputs)?;
        if at.is_product() && x.storage == self.operand() {
            self.launch_linear(x, cells, w, out, add)?;
        } else {
            let rows = unfolded.len() / inputs.max(1);
            // Too little for any piece, or for all that there is.
            need(OP, "unfolded", unfolded.len(), cells.min(CELLS) * inputs)?;
            let piece = if rows < cells { rows / CELLS * CELLS } else { cells };
            for first in (0..cells).step_by(piece.max(1)) {
                let count = piece.min(cells - first);
                self.unfold(x, images, at, [first, count], unfolded)?;
                let from = unfolded.pointer(OP, "unfolded", self.operand(), count * inputs)?;
                let to = to + (first * outputs * Storage::F32.size()) as u64;
                self.multiply(w, count, from, to, Storage::F32, add)?;
            }
        }
        if then == Then::Store {
            return Ok(());
        }
        let len = cells * outputs;
        launch!(self, self.shared.kernels.rectify, Grid::over(len, THREADS as usize, THREADS), to, int(len)?)
    }

    /// The neighbourhoods of `count` output cells of all images, from `first` on.
    fn unfold(
        &self,
        x: &Buffer,
        images: usize,
        at: &Convolution,
        [first, count]: [usize; 2],
        unfolded: &mut Buffer,
    ) -> Result<()> {
        let (len, operand, to) = (count * at.inputs(), self.operand(), at.output());
        let each = if at.patch.is_none() && at.channels.is_multiple_of(4) { 4 } else { 1 };
        let from = if at.patch.is_some() { operand } else { Storage::F32 };
        let kernels = &self.shared.kernels;
        let kernel = if at.patch.is_some() { kernels.unfold_pixels } else { kernels.unfold };
        // The last block looks a little further.
        int(len + at.inputs() + 4 * THREADS as usize)?;
        int(images * to.cells())?;
        self.shared.bind()?;
        launch!(
            self,
            kernel.of(operand)?,
            Grid::over(len, each * THREADS as usize, THREADS),
            x.pointer(OP, "x", from, images * at.input.cells() * at.channels)?,
            int(at.input.rows)?,
            int(at.input.cols)?,
            int(at.patch.unwrap_or(at.channels))?,
            int(at.side)?,
            int(at.stride)?,
            int(to.cols)?,
            int(to.cells())?,
            int(first)?,
            int(count)?,
            unfolded.pointer(OP, "unfolded", operand, len)?,
        )
    }
}
