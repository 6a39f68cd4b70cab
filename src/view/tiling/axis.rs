//! Tiles along one side of a frame.

use std::ops::Range;

/// One side: its pixels, the cells of the lattice, and where tiles begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Pixels.
    side: usize,
    /// Cells of the lattice.
    pub cells: usize,
    /// Cells of a tile.
    tile: usize,
    /// The first cell of each tile, ascending.
    starts: Vec<usize>,
}

/// Cells along a side of `side` pixels: the nominal number, rounded.
pub(super) fn cells_of(side: usize, scale: f64, patch: usize) -> usize {
    (side as f64 * scale / patch as f64).round() as usize
}

/// The number of tiles of `tile` cells, one every `step` cells, that cover `cells` cells.
pub(super) fn tiles_of(cells: usize, tile: usize, step: usize) -> usize {
    1 + cells.saturating_sub(tile).div_ceil(step)
}

impl Axis {
    /// Tiles at every `step` cells, the last one pulled back to the edge. There are at least as many cells as a tile
    /// has, and as many pixels as cells.
    pub fn new(side: usize, cells: usize, tile: usize, step: usize) -> Self {
        let starts = (0..tiles_of(cells, tile, step)).map(|i| (i * step).min(cells - tile)).collect();
        Axis { side, cells, tile, starts }
    }

    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        self.starts.len()
    }

    /// The pixel at which `cell` begins: the nearest to `cell * side / cells`.
    fn edge(&self, cell: usize) -> usize {
        (2 * cell * self.side + self.cells) / (2 * self.cells)
    }

    /// The pixels of a tile.
    pub fn pixels(&self, tile: usize) -> Range<usize> {
        let first = self.starts[tile];
        self.edge(first)..self.edge(first + self.tile)
    }

    /// The first cell of a tile.
    pub fn start(&self, tile: usize) -> usize {
        self.starts[tile]
    }

    /// The cells that the map takes from a tile: those whose centres are nearest to the centre of this tile.
    pub fn own(&self, tile: usize) -> Range<usize> {
        let first = if tile == 0 { 0 } else { self.border(tile) };
        let end = if tile + 1 == self.tiles() { self.cells } else { self.border(tile + 1) };
        first..end
    }

    /// The first cell that the map takes from `tile` and not from the tile before it. The centre of cell `c` lies at
    /// `c + 1/2`, that of a tile at `start + tile / 2`. If two are equally near, the cell is the earlier one's.
    fn border(&self, tile: usize) -> usize {
        (self.starts[tile - 1] + self.starts[tile] + self.tile).div_ceil(2)
    }

    /// As [`Axis::new`], with tiles that begin where a test says.
    #[cfg(test)]
    pub fn at(side: usize, cells: usize, tile: usize, starts: Vec<usize>) -> Self {
        Axis { side, cells, tile, starts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_reach_from_edge_to_edge() {
        for side in 97..260 {
            for (cells, tile, step) in [(side / 7, 5, 4), (side / 9, 6, 1), (side / 13, 7, 7), (side / 3, 8, 5)] {
                let axis = Axis::new(side, cells, tile, step);
                let last = axis.tiles() - 1;
                assert_eq!((axis.pixels(0).start, axis.pixels(last).end), (0, side));
                // No gap, no tile twice, none more than needed.
                for i in 1..=last {
                    let (a, b) = (axis.start(i - 1), axis.start(i));
                    assert!(a < b && b <= a + step, "{axis:?}");
                }
                assert!(last == 0 || axis.start(last - 1) + tile < cells, "{axis:?}");
                // Edges are the nearest pixels, so sides of tiles differ by one pixel at most.
                for i in 0..=last {
                    let exact = axis.start(i) as f64 * side as f64 / cells as f64;
                    assert!((axis.pixels(i).start as f64 - exact).abs() <= 0.5, "{axis:?}");
                    let nominal = tile as f64 * side as f64 / cells as f64;
                    assert!((axis.pixels(i).len() as f64 - nominal).abs() <= 1.0, "{axis:?}");
                }
            }
        }
    }

    /// By the definition: the nearest centre, the earlier of two.
    fn nearest(axis: &Axis, cell: usize) -> usize {
        let away = |tile: &usize| (2 * cell + 1).abs_diff(2 * axis.start(*tile) + axis.tile);
        (0..axis.tiles()).min_by_key(away).unwrap()
    }

    #[test]
    fn each_cell_is_of_the_tile_in_which_it_is_most_central() {
        for (cells, tile, step) in [(40, 8, 6), (41, 8, 3), (43, 9, 8), (9, 9, 4), (57, 11, 11), (33, 7, 1)] {
            let axis = Axis::new(cells, cells, tile, step);
            let mut next = 0;
            for i in 0..axis.tiles() {
                let own = axis.own(i);
                assert_eq!(own.start, next, "{axis:?}");
                assert!(!own.is_empty() && own.start >= axis.start(i) && own.end <= axis.start(i) + tile, "{axis:?}");
                own.clone().for_each(|cell| assert_eq!(nearest(&axis, cell), i, "{axis:?}, cell {cell}"));
                next = own.end;
            }
            assert_eq!(next, cells);
        }
    }

    /// `scripts/fixtures/superadd.py` has written what anomalib 2.7.0 does: its starts, and which cells it takes.
    #[test]
    fn cells_are_stitched_as_superadd_stitches_them() {
        #[derive(serde::Deserialize)]
        struct Case {
            cells: usize,
            tile: usize,
            starts: Vec<usize>,
            own: Vec<[usize; 2]>,
        }
        #[derive(serde::Deserialize)]
        struct File {
            cases: Vec<Case>,
        }
        let file: File = serde_json::from_str(include_str!("../../../tests/fixtures/superadd.json")).unwrap();
        assert!(file.cases.len() > 10);
        for case in file.cases {
            let axis = Axis::at(case.cells, case.cells, case.tile, case.starts);
            let own: Vec<[usize; 2]> = (0..axis.tiles()).map(|i| [axis.own(i).start, axis.own(i).end]).collect();
            assert_eq!(own, case.own, "{axis:?}");
        }
    }
}
