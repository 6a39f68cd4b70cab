//! The arguments of operations on the levels of a convolutional encoder. Levels are grids of different sizes, cell by
//! cell, with the channels of a cell side by side.

use super::{Search, need};
use crate::error::{Error, ErrorKind, Result};
use crate::view::Grid;

/// A convolution with zeros around its input, `[B, rows, cols, channels]`. Its weight is `[outputs, side, side,
/// channels]`, and its padding `side / 2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// The grid of the input.
    pub input: Grid,
    /// Channels of the input.
    pub channels: usize,
    /// Side of the kernel, odd.
    pub side: usize,
    /// Cells of the input, in each direction, for one of the output.
    pub stride: usize,
    /// Where the input consists of the patch rows of [`Backend::preprocess`](super::Backend::preprocess): the side of a
    /// patch. `input` is then the grid of pixels, and `channels` 3.
    pub patch: Option<usize>,
}

impl Convolution {
    /// The grid of the output.
    pub fn output(&self) -> Grid {
        halved(self.input, self.stride)
    }

    /// Numbers that an output cell is made of.
    pub fn inputs(&self) -> usize {
        self.side * self.side * self.channels
    }

    /// Whether it is a plain product, cell by cell.
    pub(crate) fn is_product(&self) -> bool {
        self.side == 1 && self.stride == 1 && self.patch.is_none()
    }

    /// Returns an error if the shapes do not fit each other or the input.
    pub(crate) fn check(&self, images: usize, x: usize) -> Result<()> {
        const OP: &str = "convolve";
        need(OP, "x", x, images * self.input.cells() * self.channels)?;
        let whole = |patch: usize| {
            patch > 0
                && self.channels == 3
                && self.input.rows.is_multiple_of(patch)
                && self.input.cols.is_multiple_of(patch)
        };
        if self.stride > 0 && !self.side.is_multiple_of(2) && self.patch.is_none_or(whole) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, format!("{OP}: {self:?}")).in_operation(OP))
    }

    /// The index, in an image of the input, of channel 0 of a cell, and the distance to the next channel.
    pub(crate) fn at(&self, row: usize, col: usize) -> (usize, usize) {
        match self.patch {
            None => ((row * self.input.cols + col) * self.channels, 1),
            Some(patch) => {
                let cell = row / patch * (self.input.cols / patch) + col / patch;
                (cell * self.channels * patch * patch + row % patch * patch + col % patch, patch * patch)
            }
        }
    }
}

/// One cell for every `stride` cells in each direction; the last cells may stand for fewer.
pub(crate) fn halved(grid: Grid, stride: usize) -> Grid {
    Grid::new(grid.rows.div_ceil(stride), grid.cols.div_ceil(stride))
}

/// What happens to the sums of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// `out = sums`
    Store,
    /// `out = max(sums, 0)`
    Relu,
    /// `out = max(out + sums, 0)`
    AddRelu,
}

/// Resampling of maps from one grid to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resample {
    /// The grid of the input, `[B, rows, cols, width]`.
    pub from: Grid,
    /// Numbers of a cell.
    pub width: usize,
    /// The grid of the output, `[B, rows, cols, pitch]`.
    pub to: Grid,
    /// Numbers of a cell of the output.
    pub pitch: usize,
    /// The first of them that is written.
    pub column: usize,
    /// Whether to interpolate between the centres of cells, clamped at the edges; otherwise the cell at
    /// `floor(row from / to)` is taken.
    pub bilinear: bool,
}

impl Resample {
    /// Returns an error if a buffer is too short.
    pub(crate) fn check(&self, images: usize, x: usize, out: usize) -> Result<()> {
        const OP: &str = "resample";
        need(OP, "x", x, images * self.from.cells() * self.width)?;
        need(OP, "pitch", self.pitch, self.column + self.width)?;
        need(OP, "out", out, images * self.to.cells() * self.pitch)?;
        need(OP, "from", self.from.cells(), 1)
    }

    /// The two cells of an axis of `from` cells on either side of the centre of cell `at` of `to`, and how far it lies
    /// from the first to the second.
    pub(crate) fn between(&self, at: usize, from: usize, to: usize) -> (usize, usize, f32) {
        if from == to {
            return (at, at, 0.0);
        }
        if !self.bilinear {
            let cell = (at * from / to).min(from - 1);
            return (cell, cell, 0.0);
        }
        let place = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let low = (place as usize).min(from - 1);
        (low, (low + 1).min(from - 1), (place - low as f64) as f32)
    }
}

/// Bin `bin` of the `bins` that `of` numbers are averaged to. Bins overlap if the ratio is not a whole number.
pub(crate) fn adaptive_bin(bin: usize, bins: usize, of: usize) -> std::ops::Range<usize> {
    bin * of / bins..((bin + 1) * of).div_ceil(bins)
}

/// The operations of convolutional encoders on a device. Shapes and invariants are as in
/// [`Backend`](super::Backend).
pub trait LevelOps<Buffer, Linear, Bank> {
    /// A convolution by a layer whose inputs are in the order (y, x, channel), then `then`. `x` is `[B, input,
    /// channels]`, a stream, or an operand where it consists of patch rows; `out` is `[B, output, outputs]`, a stream.
    /// `unfolded` is memory of operands for neighbourhoods: the more it holds, up to
    /// [`Backend::unfolded_len`](super::Backend::unfolded_len), the fewer products. Its length changes no bit.
    #[expect(clippy::too_many_arguments, reason = "from where, by what, through what, and where to")]
    fn convolve(
        &mut self,
        x: &Buffer,
        images: usize,
        at: &Convolution,
        w: &Linear,
        then: Then,
        unfolded: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<()>;

    /// The largest of 3 x 3 cells, channel by channel, for every second cell in each direction: `x` is `[B, grid,
    /// width]`, `out` of half the grid, rounded up. Cells outside do not count.
    fn max_pool(&mut self, x: &Buffer, images: usize, grid: Grid, width: usize, out: &mut Buffer) -> Result<()>;

    /// The mean over the cells of each image: `x` is `[B, cells, width]`, `out` `[B, width]`.
    fn mean_cells(&mut self, x: &Buffer, images: usize, cells: usize, width: usize, out: &mut Buffer) -> Result<()>;

    /// The neighbourhood of each cell, 3 x 3 with zeros outside, as `9 width` numbers with the channel as the slow
    /// index, averaged to `bins` numbers: bin i is the mean of `floor(i n / bins) .. ceil((i + 1) n / bins)`, n = `9
    /// width`. `x` is `[B, grid, width]`, `out` `[B, grid, bins]`.
    fn pool_neighbours(
        &mut self,
        x: &Buffer,
        images: usize,
        grid: Grid,
        width: usize,
        bins: usize,
        out: &mut Buffer,
    ) -> Result<()>;

    /// Resamples maps from one grid to another, as columns of its rows.
    fn resample(&mut self, x: &Buffer, images: usize, at: &Resample, out: &mut Buffer) -> Result<()>;

    /// Each row of `x`, `[rows, width]`, averaged to `bins` numbers as in [`LevelOps::pool_neighbours`], times the
    /// row's number in `valid`; without it every row counts. `out` is `[rows, bins]`.
    fn pool_columns(
        &mut self,
        x: &Buffer,
        rows: usize,
        width: usize,
        bins: usize,
        valid: Option<&Buffer>,
        out: &mut Buffer,
    ) -> Result<()>;

    /// As [`Backend::nearest_distance`](super::Backend::nearest_distance) for rows of any length in one layer, of which
    /// the bank has [numbers](super::BankRole::Numbers): the nearest by differences, the first of equals. `found` is
    /// `[out_pitch]`.
    fn nearest_euclidean(
        &mut self,
        queries: &Buffer,
        at: &Search,
        bank: &Bank,
        found: &mut Buffer,
        valid: Option<&Buffer>,
        map: &mut Buffer,
    ) -> Result<()>;
}
