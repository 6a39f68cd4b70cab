//! What operations on maps are told: which cells, of which map, and where results go.

use super::need;
use crate::error::{Error, ErrorKind, Result};

/// The cells whose mean [`Backend::mean_of_largest`](super::Backend::mean_of_largest) takes, and where it writes the
/// result.
#[derive(Clone, Copy, Debug)]
pub struct Largest {
    /// Number of maps.
    pub maps: usize,
    /// Cells per map.
    pub cells: usize,
    /// One of this many valid cells counts, but at least one per map: 100 means the largest hundredth.
    pub one_in: usize,
    /// Numbers per map in the output, `[maps, out_pitch]`.
    pub out_pitch: usize,
    /// The one of them that is written.
    pub column: usize,
}

impl Largest {
    /// The number of cells that count if `valid` cells are valid.
    pub(crate) fn count(&self, valid: usize) -> usize {
        (valid / self.one_in.max(1)).max(1)
    }

    /// Returns an error if a buffer is too short.
    pub(crate) fn check(&self, map: usize, valid: usize, out: usize) -> Result<()> {
        need("mean_of_largest", "map", map, self.maps * self.cells)?;
        need("mean_of_largest", "valid", valid, self.maps * self.cells)?;
        need("mean_of_largest", "out_pitch", self.out_pitch, self.column + 1)?;
        need("mean_of_largest", "out", out, self.maps * self.out_pitch)
    }
}

/// The parts of a bank for [`Backend::subspace_distance`](super::Backend::subspace_distance). Tensors are named by
/// their index; that of the directions is [`Search::tensor`](super::Search::tensor).
#[derive(Clone, Copy, Debug)]
pub struct Subspace {
    /// `[P, D]`: one mean for all cells (P = 1), or one for each (P = N).
    pub mean: usize,
    /// The weight of the squared coordinate along each direction, `[P, M]`; without weights it counts nothing.
    pub weights: Option<usize>,
    /// The D channels to compare, of the `L W` channels of the concatenated tokens. Without them, the mean over layers
    /// is compared.
    pub channels: Option<usize>,
    /// The weight of the squared length outside all directions.
    pub outside: f32,
    /// Whether the root is taken.
    pub root: bool,
}

impl Subspace {
    /// Returns an error if the bank's tensors do not fit each other.
    pub(crate) fn check(
        &self,
        op: &'static str,
        cells: usize,
        [places, count, depth]: [usize; 3],
        directions: usize,
    ) -> Result<()> {
        if [1, cells].contains(&places) && directions == places * count * depth {
            return Ok(());
        }
        let message = format!(
            "{op}: a mean of {places} x {depth} numbers and directions of {directions} in all, {count} at each place, for {cells} cells"
        );
        Err(Error::new(ErrorKind::Internal, message).in_operation(op))
    }
}

/// The map that [`Backend::enlarge`](super::Backend::enlarge) turns into an image.
#[derive(Clone, Copy, Debug)]
pub struct Enlarge {
    /// Index of the map.
    pub map: usize,
    /// Rows of cells.
    pub rows: usize,
    /// Columns of cells.
    pub cols: usize,
    /// Pixels of a cell, in each direction.
    pub patch: usize,
    /// How the image continues beyond the border: `d c b | a b c` if set, otherwise `c b a | a b c`; repeated if
    /// necessary.
    pub mirrored: bool,
}

impl Enlarge {
    /// Pixels of the image.
    pub fn pixels(&self) -> usize {
        self.rows * self.cols * self.patch * self.patch
    }

    /// The pixel inside a line of `pixels` for position `at`, which may be outside.
    pub(crate) fn reflected(&self, at: isize, pixels: usize) -> usize {
        let (period, last) = if self.mirrored { ((2 * pixels).saturating_sub(2).max(1), 2) } else { (2 * pixels, 1) };
        let at = at.rem_euclid(period as isize) as usize;
        if at < pixels { at } else { 2 * pixels - last - at }
    }

    /// The two cells, of `cells`, on either side of a pixel, and its relative distance from the first.
    pub(crate) fn between(&self, pixel: usize, cells: usize) -> ((usize, usize), f32) {
        let place = ((pixel as f32 + 0.5) / self.patch as f32 - 0.5).max(0.0);
        let low = place as usize;
        ((low, (low + 1).min(cells - 1)), place - low as f32)
    }
}
