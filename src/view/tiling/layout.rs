//! [`Layout`]: the tiles of frames of one size.

use super::Tiling;
use super::axis::{Axis, cells_of, square_step, tiles_of};
use crate::error::{Error, ErrorKind, Result};
use crate::image::Roi;
use crate::view::{Grid, Placement};

/// The largest number of tiles of a frame.
const MOST_TILES: usize = 65_536;
/// The largest number of cells of a frame's map.
const MOST_CELLS: usize = 1 << 24;

/// The tiles of frames of one size, counted row by row from the top left, and how their maps become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    x: Axis,
    y: Axis,
    /// Cells of a tile.
    tile: Grid,
    /// Width and height of the frame in pixels.
    size: [usize; 2],
    /// Whether the tiles are squares of the frame's shorter side, as in [`Tiling::squares`].
    squares: bool,
}

impl Layout {
    /// The tiles of frames of `width` x `height` pixels for an encoder whose patches have `patch` x `patch` pixels.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] as [`Tiling::check`], for a frame smaller than a tile, and for more than 65,536 tiles or
    /// 16 million cells.
    pub fn new(tiling: &Tiling, patch: usize, width: usize, height: usize) -> Result<Self> {
        tiling.check(patch)?;
        if tiling.squares {
            return Self::of_squares(tiling.tile / patch, width, height);
        }
        let fail = |message: String| Err(Error::new(ErrorKind::Argument, message));
        let Tiling { tile, overlap, scale, .. } = *tiling;
        let (side, step) = (tile / patch, (tile - overlap) / patch);
        let cells = [width, height].map(|side| cells_of(side, scale, patch));
        if cells.iter().any(|cells| *cells < side) {
            let in_frame = tiling.in_frame().ceil();
            return fail(format!(
                "a tile of {tile} pixels at scale {scale} is {in_frame} x {in_frame} pixels of the frame, which has {width} x {height}: \
                 use a smaller tile or a larger scale, or do without tiles"
            ));
        }
        // A cell without a pixel of its own would have no region.
        if cells[0] > width || cells[1] > height {
            return fail(format!(
                "at scale {scale} a patch of {patch} pixels is less than a pixel of the frame: use a smaller scale"
            ));
        }
        let [columns, rows] = cells.map(|cells| tiles_of(cells, side, step));
        if columns.saturating_mul(rows) > MOST_TILES || cells[0].saturating_mul(cells[1]) > MOST_CELLS {
            return fail(format!(
                "a frame of {width} x {height} pixels has {columns} x {rows} tiles and a map of {} x {} cells, but at most {MOST_TILES} \
                 tiles and {MOST_CELLS} cells are supported: use a larger tile, a smaller overlap or a smaller scale",
                cells[0], cells[1]
            ));
        }
        Ok(Layout {
            x: Axis::new(width, cells[0], side, step),
            y: Axis::new(height, cells[1], side, step),
            tile: Grid::square(side),
            size: [width, height],
            squares: false,
        })
    }

    /// Squares of the shorter side, of `side` x `side` cells.
    fn of_squares(side: usize, width: usize, height: usize) -> Result<Self> {
        let (square, long) = (width.min(height), width.max(height));
        let fail = |message: String| Err(Error::new(ErrorKind::Argument, message));
        if square == 0 {
            return fail(format!("a frame of {width} x {height} pixels has no squares: give a larger frame"));
        }
        let (tiles, cells) = (long / square_step(square), (long / square + 1).saturating_mul(side * side));
        if tiles > MOST_TILES || cells > MOST_CELLS {
            return fail(format!(
                "a frame of {width} x {height} pixels has {tiles} squares of its shorter side and a map of about {cells} cells, but at most \
                {MOST_TILES} squares and {MOST_CELLS} cells are supported: cut the picture into parts"
            ));
        }
        let [x, y] = [width, height].map(|length| Axis::of_squares(length, square, side));
        Ok(Layout { x, y, tile: Grid::square(side), size: [width, height], squares: true })
    }

    /// Whether the tiles are squares of the frame's shorter side, each of which is judged as a whole.
    pub fn is_of_squares(&self) -> bool {
        self.squares
    }

    /// How often a tile counts among the others, in a mean.
    pub fn times(&self, tile: usize) -> usize {
        let [row, col] = self.place(tile);
        self.y.times(row) * self.x.times(col)
    }

    /// What frames have in common if their tiles are at the same positions: the map's rows and columns, or those of
    /// squares.
    pub fn positions(&self) -> Grid {
        if self.squares { self.tiles() } else { self.grid() }
    }

    /// Rows and columns of the frame's map.
    pub fn grid(&self) -> Grid {
        Grid::new(self.y.cells, self.x.cells)
    }

    /// Rows and columns of a tile's map.
    pub fn tile_grid(&self) -> Grid {
        self.tile
    }

    /// Rows and columns of tiles.
    pub fn tiles(&self) -> Grid {
        Grid::new(self.y.tiles(), self.x.tiles())
    }

    /// Where the frame's map lies: over the whole frame.
    pub fn placement(&self) -> Placement {
        Placement { x: 0.0, y: 0.0, width: self.size[0] as f64, height: self.size[1] as f64 }
    }

    /// The pixels of the frame that a tile shows.
    pub fn region(&self, tile: usize) -> Roi {
        let [row, col] = self.place(tile);
        let (x, y) = (self.x.pixels(col), self.y.pixels(row));
        Roi { x: x.start, y: y.start, width: x.len(), height: y.len() }
    }

    /// Row and column of a tile.
    fn place(&self, tile: usize) -> [usize; 2] {
        [tile / self.x.tiles(), tile % self.x.tiles()]
    }

    /// Whether the frame's map takes this cell of a tile from this tile, and not from one in which it is more central.
    pub fn is_own(&self, tile: usize, cell: usize) -> bool {
        let [row, col] = self.place(tile);
        self.y.is_own(row, cell / self.tile.cols) && self.x.is_own(col, cell % self.tile.cols)
    }

    /// Copies the cells that the frame's map takes from this tile, from the tile's `map` to their places in `all`, the
    /// frame's. Both are row by row; `of` converts a cell.
    ///
    /// # Panics
    /// If a slice does not have the cells of its map, or there is no such tile.
    pub fn stitch<T, U>(&self, tile: usize, map: &[T], all: &mut [U], of: impl Fn(&T) -> U) {
        let [row, col] = self.place(tile);
        for y in self.y.own(row) {
            let own = &map[self.y.cell_of(row, y) * self.tile.cols..][..self.tile.cols];
            let line = &mut all[y * self.x.cells..][..self.x.cells];
            self.x.own(col).for_each(|x| line[x] = of(&own[self.x.cell_of(col, x)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::BankPer;

    fn tiling(tile: usize, overlap: usize, scale: f64) -> Tiling {
        Tiling { tile, overlap, scale, bank_per: BankPer::Frame, defect: None, squares: false }
    }

    #[test]
    fn twelve_megapixels_at_half_scale() {
        let layout = Layout::new(&tiling(448, 56, 0.5), 14, 4096, 3000).unwrap();
        // 4096 / 28 = 146.3 and 3000 / 28 = 107.1 cells, of which a tile has 32 and leaves 28 to the next.
        assert_eq!(
            (layout.grid(), layout.tiles(), layout.tile_grid()),
            (Grid::new(107, 146), Grid::new(4, 6), Grid::square(32))
        );
        assert_eq!(layout.region(0), Roi { x: 0, y: 0, width: 898, height: 897 });
        let last = layout.region(23);
        assert_eq!((last.x + last.width, last.y + last.height), (4096, 3000));
        assert_eq!(layout.placement().share_of(4096, 3000), 1.0);
    }

    #[test]
    fn every_cell_of_the_map_comes_from_one_tile() {
        for (tile, overlap, scale) in [(448, 56, 0.5), (56, 28, 0.25), (70, 0, 0.3), (42, 28, 1.0)] {
            let layout = Layout::new(&tiling(tile, overlap, scale), 14, 970, 611 + 300).unwrap();
            let Grid { rows, cols } = layout.tiles();
            let mut all = vec![None; layout.grid().cells()];
            for number in 0..rows * cols {
                // Each cell as the place on the lattice that it shows.
                let Roi { x, y, .. } = layout.region(number);
                let place = |cell: usize| (x, y, cell / layout.tile.cols, cell % layout.tile.cols);
                let map: Vec<_> = (0..layout.tile.cells()).map(|cell| Some(place(cell))).collect();
                let before = all.iter().flatten().count();
                layout.stitch(number, &map, &mut all, |cell| *cell);
                let own = (0..layout.tile.cells()).filter(|cell| layout.is_own(number, *cell));
                assert_eq!(all.iter().flatten().count() - before, own.count(), "a cell of two tiles, or another");
            }
            for (cell, found) in all.iter().enumerate() {
                let (x, y, row, col) = found.unwrap_or_else(|| panic!("cell {cell} of {layout:?} is of no tile"));
                let pixel =
                    |cells: usize, side: usize, at: usize| (at as f64 * side as f64 / cells as f64).round() as usize;
                let [rows, cols] = [layout.grid().rows, layout.grid().cols];
                assert_eq!(x, pixel(cols, 970, cell % cols - col), "{layout:?}");
                assert_eq!(y, pixel(rows, 911, cell / cols - row), "{layout:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_tiled_is_refused_with_what_can() {
        let error = |tile, overlap, scale, width, height| {
            let error = Layout::new(&tiling(tile, overlap, scale), 14, width, height).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument);
            error.to_string()
        };
        assert!(error(448, 56, 0.5, 800, 3000).contains("is 896 x 896 pixels of the frame, which has 800 x 3000"));
        assert!(error(450, 56, 0.5, 4096, 3000).contains("multiple of the encoder's patch of 14, such as 448"));
        assert!(error(448, 50, 0.5, 4096, 3000).contains("such as 42"));
        assert!(error(448, 448, 0.5, 4096, 3000).contains("smaller than the tile, such as 56"));
        assert!(error(0, 0, 0.5, 4096, 3000).contains("tile of 0 pixels"));
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-4, 17.0] {
            assert!(error(448, 56, scale, 4096, 3000).contains("from 0.001 to 16"));
        }
        assert!(error(448, 56, 0.123_456_7, 4096, 3000).contains("such as 0.123457"));
        assert!(error(14, 0, 4.0, 4096, 3000).contains("1170 x 857 tiles"));
        assert!(error(14, 0, 15.0, 4096, 3000).contains("less than a pixel"));
        // As many cells as a tile has are one tile.
        let whole = Layout::new(&tiling(448, 56, 1.0), 14, 448, 450).unwrap();
        assert_eq!((whole.tiles(), whole.region(0)), (Grid::square(1), Roi { x: 0, y: 0, width: 448, height: 450 }));
    }
}
