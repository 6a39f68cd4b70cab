//! From numbers to a decision: one rule for the image and for the places on it.
//!
//! - Regions are the connected cells whose residual reaches `cell`.
//! - The score alone says pass, review or reject by the limits `review` and `reject`.
//! - An image with a region never passes: it is at least a review. If an image without regions does not pass, its
//!   [`Reason`] is the score of the whole image.

use std::fmt;

use super::AnomalyMap;
use crate::calibration::Thresholds;
use crate::error::Result;
use crate::memory;
use crate::view::Grid;

/// What to do with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Below every limit.
    Pass,
    /// Doubtful: send the part to manual review. An image that could not be scored is doubtful too.
    Review,
    /// The score reaches the limit `reject`.
    Reject,
}

/// The reason for a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing reaches its limit. Every pass has this reason.
    Below,
    /// The score of the image reaches a limit; no cell of the map does.
    Score,
    /// There are regions; the score alone would pass.
    Regions,
    /// Both: the score reaches a limit, and there are regions.
    ScoreAndRegions,
    /// Scoring failed with an error.
    Error,
    /// The score came after its deadline, and [`Late::Review`](super::Late::Review) was set.
    Late,
}

/// A verdict and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do with the part.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
}

impl Decision {
    /// The decision about an image that could not be scored: never a pass.
    pub const FAILED: Decision = Decision { verdict: Verdict::Review, reason: Reason::Error };

    /// The decision about a score with or without regions.
    pub(super) fn of(score: f32, regions: bool, thresholds: &Thresholds) -> Self {
        // In this order a NaN would not pass, although no score is NaN.
        let by_score = if score < thresholds.review {
            Verdict::Pass
        } else if score < thresholds.reject {
            Verdict::Review
        } else {
            Verdict::Reject
        };
        let reason = match (by_score, regions) {
            (Verdict::Pass, false) => Reason::Below,
            (Verdict::Pass, true) => Reason::Regions,
            (_, false) => Reason::Score,
            (_, true) => Reason::ScoreAndRegions,
        };
        let verdict = if regions { by_score.max(Verdict::Review) } else { by_score };
        Decision { verdict, reason }
    }
}

impl Verdict {
    /// The lower-case word that files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Review => "review",
            Verdict::Reject => "reject",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Reason {
    /// The lower-case word that files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Below => "below",
            Reason::Score => "score",
            Reason::Regions => "regions",
            Reason::ScoreAndRegions => "score_and_regions",
            Reason::Error => "error",
            Reason::Late => "late",
        }
    }
}

/// Connected cells of the map that reach the limit `cell`, in pixels of the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// First column of the box around it.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns of the box.
    pub width: usize,
    /// Rows of the box.
    pub height: usize,
    /// Area of its cells inside the image, in square pixels.
    pub area: f64,
    /// Its largest residual.
    pub peak: f32,
    /// Number of its cells.
    pub cells: usize,
}

/// Finds regions in memory that it reuses and that [`Regions::reserve`] takes.
#[derive(Default)]
pub(super) struct Regions {
    todo: Vec<bool>,
    stack: Vec<usize>,
}

impl Regions {
    /// Takes memory for maps of `grid` as well.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub fn reserve(&mut self, grid: Grid) -> Result<()> {
        memory::reserve("the regions of a map", &mut self.todo, grid.cells())?;
        memory::reserve("the regions of a map", &mut self.stack, grid.cells())
    }

    /// The largest number of regions that a map of `grid` can have. Regions never touch, not even at a corner.
    pub fn most(grid: Grid) -> usize {
        grid.rows.div_ceil(2) * grid.cols.div_ceil(2)
    }

    /// Writes the regions of a map to `out`, largest residual first. Ignored cells belong to no region. `size` is the
    /// image's width and height in pixels.
    pub fn find(&mut self, map: &AnomalyMap, ignored: &[bool], limit: f32, size: [usize; 2], out: &mut Vec<Region>) {
        out.clear();
        let Grid { rows: height, cols: width } = map.grid;
        self.todo.resize(map.grid.cells(), false);
        for ((todo, cell), ignored) in self.todo.iter_mut().zip(&map.cells).zip(ignored) {
            *todo = *cell >= limit && !ignored;
        }
        for start in 0..height * width {
            if !std::mem::take(&mut self.todo[start]) {
                continue;
            }
            let (mut columns, mut rows) = ((width, 0), (height, 0));
            let (mut peak, mut cells, mut area) = (f32::NEG_INFINITY, 0, 0.0);
            self.stack.push(start);
            while let Some(cell) = self.stack.pop() {
                let (x, y) = (cell % width, cell / width);
                columns = (columns.0.min(x), columns.1.max(x + 1));
                rows = (rows.0.min(y), rows.1.max(y + 1));
                peak = peak.max(map.cells[cell]);
                cells += 1;
                let [(left, right), (top, bottom)] = in_pixels(map, (x, x + 1), (y, y + 1), size);
                area += (right - left) * (bottom - top);
                for y in y.saturating_sub(1)..(y + 2).min(height) {
                    for x in x.saturating_sub(1)..(x + 2).min(width) {
                        if std::mem::take(&mut self.todo[y * width + x]) {
                            self.stack.push(y * width + x);
                        }
                    }
                }
            }
            let [(left, right), (top, bottom)] = in_pixels(map, columns, rows, size);
            let (x, y) = (left.floor() as usize, top.floor() as usize);
            let (width, height) = (right.ceil() as usize - x, bottom.ceil() as usize - y);
            // Sums of parts of pixels round up.
            let area = f64::min(area, (width * height) as f64);
            out.push(Region { x, y, width, height, area, peak, cells });
        }
        // Unstable, as a stable sort allocates. Equal peaks are ordered by position.
        out.sort_unstable_by(|a, b| b.peak.total_cmp(&a.peak).then((a.y, a.x).cmp(&(b.y, b.x))));
    }
}

/// Where cells lie in the image, clipped to its edges: start and end of columns and of rows.
fn in_pixels(map: &AnomalyMap, columns: (usize, usize), rows: (usize, usize), size: [usize; 2]) -> [(f64, f64); 2] {
    let place = map.placement;
    let span = |start: f64, extent: f64, cells: (usize, usize), all: usize, side: usize| {
        let at = |cell: usize| (start + cell as f64 * extent / all as f64).clamp(0.0, side as f64);
        (at(cells.0), at(cells.1))
    };
    [
        span(place.x, place.width, columns, map.grid.cols, size[0]),
        span(place.y, place.height, rows, map.grid.rows, size[1]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Placement;

    const LIMITS: Thresholds = Thresholds { review: 0.4, reject: 0.6, cell: 0.5 };

    #[test]
    fn a_pass_has_no_regions_and_the_rest_a_reason() {
        for (score, regions, verdict, reason) in [
            (0.39, false, Verdict::Pass, Reason::Below),
            (0.39, true, Verdict::Review, Reason::Regions),
            (0.4, false, Verdict::Review, Reason::Score),
            (0.5, true, Verdict::Review, Reason::ScoreAndRegions),
            (0.6, false, Verdict::Reject, Reason::Score),
            (0.9, true, Verdict::Reject, Reason::ScoreAndRegions),
            (f32::NAN, false, Verdict::Reject, Reason::Score),
        ] {
            assert_eq!(Decision::of(score, regions, &LIMITS), Decision { verdict, reason }, "{score} {regions}");
        }
        let none = Thresholds { review: 0.6, ..LIMITS };
        assert_eq!(Decision::of(0.59, false, &none).verdict, Verdict::Pass);
        assert_ne!(Decision::FAILED.verdict, Verdict::Pass);
    }

    fn regions_of(cells: &str, ignored: &[usize], place: Placement, size: [usize; 2]) -> Vec<Region> {
        let cells: Vec<f32> = cells.bytes().filter(u8::is_ascii_digit).map(|b| f32::from(b - b'0') / 10.0).collect();
        let grid = Grid::square(cells.len().isqrt());
        let ignored: Vec<bool> = (0..grid.cells()).map(|cell| ignored.contains(&cell)).collect();
        let mut out = Vec::with_capacity(Regions::most(grid));
        let start = out.as_ptr();
        let map = AnomalyMap { grid, cells, placement: place };
        let mut regions = Regions::default();
        // Twice: nothing is left behind in the memory.
        for _ in 0..2 {
            regions.find(&map, &ignored, 0.5, size, &mut out);
        }
        assert_eq!(out.as_ptr(), start, "the list grew");
        out
    }

    #[test]
    fn cells_that_touch_are_one_region() {
        let place = Placement { x: 0.0, y: 0.0, width: 40.0, height: 80.0 };
        let found = regions_of("7 0 0 5 | 0 6 0 0 | 0 0 0 4 | 9 0 0 5", &[15], place, [40, 80]);
        let expected = [
            Region { x: 0, y: 60, width: 10, height: 20, area: 200.0, peak: 0.9, cells: 1 },
            Region { x: 0, y: 0, width: 20, height: 40, area: 400.0, peak: 0.7, cells: 2 },
            Region { x: 30, y: 0, width: 10, height: 20, area: 200.0, peak: 0.5, cells: 1 },
        ];
        assert_eq!(found, expected);
        assert!(regions_of("1 2 3 4", &[], place, [40, 80]).is_empty());
        assert_eq!(regions_of("9 0 9 0 9 0 0 0 0 0 9 0 9 0 9 0 0 0 0 0 9 0 9 0 9", &[], place, [40, 80]).len(), 9);
    }

    #[test]
    fn boxes_end_at_the_image() {
        // A map that reaches over the image on both sides, as with a letterbox, and cells that end between pixels.
        let place = Placement { x: -5.0, y: 0.0, width: 20.0, height: 7.0 };
        let found = regions_of("9 9 9 9", &[], place, [10, 7]);
        assert_eq!(found, [Region { x: 0, y: 0, width: 10, height: 7, area: 70.0, peak: 0.9, cells: 4 }]);
        let found = regions_of("0 0 9 0", &[], place, [10, 7]);
        assert_eq!(found, [Region { x: 0, y: 3, width: 5, height: 4, area: 17.5, peak: 0.9, cells: 1 }]);
    }
}
