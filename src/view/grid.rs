//! [`Grid`]: the rows and columns of patches.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The patches of an encoded view, and the cells of its map: `rows` x `cols`, counted row by row from the top left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grid {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
}

impl Grid {
    /// A grid of `rows` x `cols` cells.
    pub const fn new(rows: usize, cols: usize) -> Self {
        Grid { rows, cols }
    }

    /// A grid of `side` x `side` cells.
    pub const fn square(side: usize) -> Self {
        Grid { rows: side, cols: side }
    }

    /// Number of cells, N.
    pub const fn cells(self) -> usize {
        self.rows.saturating_mul(self.cols)
    }

    /// The places of windows of `side` x `side` cells that lie inside, by their upper left cells.
    pub const fn windows(self, side: usize) -> Grid {
        Grid { rows: (self.rows + 1).saturating_sub(side), cols: (self.cols + 1).saturating_sub(side) }
    }

    /// Cells of a side, if the grid is square.
    pub fn side(self) -> Option<usize> {
        (self.rows == self.cols).then_some(self.rows)
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.rows, self.cols)
    }
}
