//! The positions of patches: a table for the grid that the tower was trained on.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind, Result};
use crate::view::Grid;

/// Positions as the weights hold them.
pub struct Positions {
    stored: Vec<f32>,
    grid: Grid,
}

impl Positions {
    /// From the table `[N, W]` of a grid.
    pub fn new(stored: Vec<f32>, grid: Grid) -> Self {
        Positions { stored, grid }
    }

    /// The table of a grid, `[N, W]`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a grid for which the tower has no positions.
    pub fn of(&self, grid: Grid) -> Result<Cow<'_, [f32]>> {
        if grid == self.grid {
            return Ok(Cow::Borrowed(&self.stored));
        }
        let message = format!(
            "the view has {grid} patches, and the tower has positions for {} alone: use the model's own size, and a fit that \
             fills a square",
            self.grid
        );
        Err(Error::new(ErrorKind::Argument, message))
    }
}
