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
    starts: Starts,
    /// How often the last tile counts.
    last_times: usize,
}

/// The beginning of each tile, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Starts {
    /// At cells of the lattice.
    Cells(Vec<usize>),
    /// At pixels, which need not be those of a cell. A tile has `square` pixels.
    Pixels { starts: Vec<usize>, square: usize },
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
        Axis { side, cells, tile, starts: Starts::Cells(starts), last_times: 1 }
    }

    /// Squares of `square` pixels with `tile` cells, as mala-lab/WinCLIP cuts them: one at every `int(0.8 square)`
    /// pixels, the last ones pulled back to the edge. There they are the same square, which then counts as often.
    pub fn of_squares(side: usize, square: usize, tile: usize) -> Self {
        let cells = ((2 * side * tile + square) / (2 * square)).max(tile);
        let mut starts: Vec<usize> = if side == square {
            vec![0]
        } else {
            (0..side).step_by(square_step(square)).map(|x| x.min(side - square)).collect()
        };
        let all = starts.len();
        starts.dedup();
        let last_times = 1 + all - starts.len();
        Axis { side, cells, tile, starts: Starts::Pixels { starts, square }, last_times }
    }

    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        let (Starts::Cells(starts) | Starts::Pixels { starts, .. }) = &self.starts;
        starts.len()
    }

    /// How often a tile counts.
    pub fn times(&self, tile: usize) -> usize {
        if tile + 1 == self.tiles() { self.last_times } else { 1 }
    }

    /// The pixel at which `cell` begins: the nearest to `cell * side / cells`.
    fn edge(&self, cell: usize) -> usize {
        (2 * cell * self.side + self.cells) / (2 * self.cells)
    }

    /// The pixels of a tile.
    pub fn pixels(&self, tile: usize) -> Range<usize> {
        match &self.starts {
            Starts::Cells(starts) => self.edge(starts[tile])..self.edge(starts[tile] + self.tile),
            Starts::Pixels { starts, square } => starts[tile]..starts[tile] + square,
        }
    }

    /// The cell of a tile that shows the centre of a cell of the lattice.
    pub fn cell_of(&self, tile: usize, cell: usize) -> usize {
        match &self.starts {
            Starts::Cells(starts) => cell - starts[tile],
            Starts::Pixels { starts, square } => {
                // The centre lies at pixel `(2 cell + 1) side / (2 cells)`.
                let inside = ((2 * cell + 1) * self.side).saturating_sub(2 * self.cells * starts[tile]);
                (inside * self.tile / (2 * self.cells * square)).min(self.tile - 1)
            }
        }
    }

    /// Whether the map takes this cell of a tile from this tile.
    pub fn is_own(&self, tile: usize, cell: usize) -> bool {
        match &self.starts {
            Starts::Cells(starts) => self.own(tile).contains(&(starts[tile] + cell)),
            Starts::Pixels { .. } => self.own(tile).any(|own| self.cell_of(tile, own) == cell),
        }
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
        match &self.starts {
            Starts::Cells(starts) => (starts[tile - 1] + starts[tile] + self.tile).div_ceil(2),
            Starts::Pixels { starts, square } => {
                (self.cells * (starts[tile - 1] + starts[tile] + square) / self.side).div_ceil(2)
            }
        }
    }

    /// As [`Axis::new`], with tiles that begin where a test says.
    #[cfg(test)]
    pub fn at(side: usize, cells: usize, tile: usize, starts: Vec<usize>) -> Self {
        Axis { side, cells, tile, starts: Starts::Cells(starts), last_times: 1 }
    }

    /// The first cell of a tile.
    #[cfg(test)]
    fn start(&self, tile: usize) -> usize {
        match &self.starts {
            Starts::Cells(starts) => starts[tile],
            Starts::Pixels { .. } => panic!("squares begin at pixels"),
        }
    }
}

/// Pixels from a square to the next: `int(0.8 square)`, as Python computes it. Squares of one pixel, where that is 0,
/// follow each other pixel by pixel.
pub(super) fn square_step(square: usize) -> usize {
    ((square as f64 * 0.8) as usize).max(1)
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

    /// Starts and counts as the published loop gives them, and cells by distances in whole numbers.
    #[test]
    fn squares_begin_where_the_published_loop_cuts_them() {
        for (side, square, expected, times) in [
            (150, 90, &[0, 60][..], 2),
            (110, 90, &[0, 20], 1),
            (90, 90, &[0], 1),
            (500, 100, &[0, 80, 160, 240, 320, 400], 2),
            (460, 100, &[0, 80, 160, 240, 320, 360], 1),
            (3, 1, &[0, 1, 2], 1),
        ] {
            let axis = Axis::of_squares(side, square, 5);
            let mut published: Vec<usize> =
                (0..side).step_by(square_step(square)).map(|x| x.min(side - square)).collect();
            if side == square {
                published.truncate(1);
            }
            let found: Vec<usize> = (0..axis.tiles()).map(|i| axis.pixels(i).start).collect();
            assert_eq!(found, expected, "{side} x {square}");
            let counted: Vec<usize> = (0..axis.tiles()).flat_map(|i| vec![found[i]; axis.times(i)]).collect();
            assert_eq!((counted, axis.times(axis.tiles() - 1)), (published, times), "{side} x {square}");
        }
    }

    #[test]
    fn a_cell_comes_from_the_most_central_square_and_its_place_in_it() {
        for (side, square, tile) in [(150, 90, 5), (110, 90, 7), (1000, 37, 15), (91, 90, 3), (90, 90, 5), (64, 7, 5)] {
            let axis = Axis::of_squares(side, square, tile);
            assert!(axis.cells.abs_diff(side * tile / square) <= 1, "{axis:?}");
            let mut next = 0;
            for i in 0..axis.tiles() {
                assert_eq!((axis.own(i).start, axis.pixels(i).len()), (next, square), "{axis:?}");
                for cell in axis.own(i) {
                    let centre = (cell as f64 + 0.5) * side as f64 / axis.cells as f64;
                    let away = |tile: &usize| (centre - axis.pixels(*tile).start as f64 - square as f64 / 2.0).abs();
                    let nearest = (0..axis.tiles()).map(|tile| away(&tile)).fold(f64::INFINITY, f64::min);
                    assert!(away(&i) <= nearest + 1e-9, "{axis:?}, cell {cell}");
                    let inside = (centre - axis.pixels(i).start as f64) * tile as f64 / square as f64;
                    assert!((inside - 0.5 - axis.cell_of(i, cell) as f64).abs() <= 0.5 + 1e-9, "{axis:?}, cell {cell}");
                }
                next = axis.own(i).end;
            }
            assert_eq!(next, axis.cells);
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
