//! The result for one image.

use super::shared_bank::LoadedBank;
use super::verdict::Regions;
use super::{Decision, Region};
use crate::bank::BankId;
use crate::calibration::{Thresholds, scaled};
use crate::error::Result;
use crate::image::DepthDoubt;
use crate::memory;
use crate::methods::Output;
use crate::view::{Grid, Placement, Tiled, View};

/// The output that is the largest cell of the map, in every method.
const PATCH_MAX: &str = "patch_max";

/// How anomalous an image is, and why. Larger is more anomalous.
///
/// With tiles the outputs are those of the tile with the largest score (the first, if several have it), over the cells
/// that the map takes from this tile. Only `patch_max` is the largest cell of the whole map.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// The score for ranking and thresholds: the first of [`Score::outputs`].
    pub score: f32,
    names: &'static [Output],
    values: Vec<f32>,
    /// Where the image differs from the prompts.
    pub map: AnomalyMap,
    /// Width of the image in pixels.
    pub width: usize,
    /// Height of the image in pixels.
    pub height: usize,
    /// Pass, review or reject, and why; none where the bank has no thresholds.
    pub decision: Option<Decision>,
    /// Regions whose cells reach the bank's threshold `cell`, largest residual first; empty where the bank has no
    /// thresholds.
    pub regions: Vec<Region>,
    /// Cells of the map that an ignore mask or padding excludes. Their residual is 0 and they influence nothing.
    pub ignored: Vec<bool>,
    /// Why the model may have seen the image at a wrong brightness, where the range of its values is in doubt.
    pub depth_doubt: Option<DepthDoubt>,
    /// How often a good part scores this high or higher; none where the bank has no calibration.
    pub p_value: Option<f64>,
    /// The score on a scale from 0 to 1 with 0.5 at the limit `reject`, on which scores of different banks can be
    /// compared; none where there are no limits.
    pub scaled: Option<f32>,
    /// The bank that it was scored against.
    pub bank: BankId,
    /// The generation of that bank in its slot, counted from 1.
    pub generation: u64,
}

/// The residual map M_x (equations 1 and 2) on the patch grid, and where that grid lies in the original image.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyMap {
    /// Rows and columns of cells.
    pub grid: Grid,
    /// `rows * cols` residuals, row by row, in [0, 1]: 0 where a prompt contains the same patch.
    pub cells: Vec<f32>,
    /// The rectangle of the original image that the grid covers. With [`crate::Fit::Crop`] the ends of the longer side
    /// lie outside it and are not scored. With [`crate::Fit::Letterbox`] it extends beyond the image. With tiles it is
    /// the whole image.
    pub placement: Placement,
}

impl AnomalyMap {
    /// The largest residual of a cell.
    pub fn largest(&self) -> f32 {
        self.cells.iter().copied().fold(0.0, f32::max)
    }
}

impl Score {
    /// An empty score with memory for a map of `grid`.
    ///
    /// # Errors
    /// As [`Score::reserve`].
    pub(super) fn empty(names: &'static [Output], grid: Grid) -> Result<Self> {
        let placement = Placement { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
        let mut score = Score {
            score: 0.0,
            names,
            values: vec![0.0; names.len()],
            map: AnomalyMap { grid, cells: Vec::new(), placement },
            width: 0,
            height: 0,
            decision: None,
            regions: Vec::new(),
            ignored: Vec::new(),
            depth_doubt: None,
            p_value: None,
            scaled: None,
            bank: BankId::default(),
            generation: 0,
        };
        score.reserve(grid)?;
        score.map.cells.resize(grid.cells(), 0.0);
        score.ignored.resize(grid.cells(), false);
        Ok(score)
    }

    /// Takes memory for a map of `grid`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(super) fn reserve(&mut self, grid: Grid) -> Result<()> {
        const WHAT: &str = "the result for an image";
        memory::reserve(WHAT, &mut self.map.cells, grid.cells())?;
        memory::reserve(WHAT, &mut self.ignored, grid.cells())?;
        memory::reserve(WHAT, &mut self.regions, Regions::most(grid))
    }

    /// Prepares for the map of a view, in cells of `patch` pixels, of an image of `width` x `height` pixels.
    ///
    /// # Errors
    /// As [`Score::reserve`].
    pub(super) fn begin(&mut self, view: &View, patch: usize, [width, height]: [usize; 2]) -> Result<()> {
        let (grid, valid) = (view.grid(patch), view.valid());
        self.reserve(grid)?;
        self.map.placement = view.placement(patch);
        self.map.grid = grid;
        self.map.cells.resize(grid.cells(), 0.0);
        self.ignored.clear();
        self.ignored.extend(valid.iter().map(|valid| *valid == 0.0));
        (self.width, self.height) = (width, height);
        Ok(())
    }

    /// Every number that the method gives for the image, with its name and range. The score comes first.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&'static Output, f32)> + '_ {
        self.names.iter().zip(self.values.iter().copied())
    }

    /// The output with this name; none where the method has no such output.
    pub fn output(&self, name: &str) -> Option<f32> {
        self.outputs().find(|(output, _)| output.name == name).map(|(_, value)| value)
    }

    /// Prepares for the maps of the tiles in `views`, of an image of `width` x `height` pixels. Until one is added the
    /// score is that of no tile.
    ///
    /// # Errors
    /// As [`Score::reserve`].
    pub(super) fn begin_tiles(&mut self, tiled: &Tiled, views: &[View], [width, height]: [usize; 2]) -> Result<()> {
        let Tiled { layout, tiles } = tiled;
        let grid = layout.grid();
        self.reserve(grid)?;
        self.map.placement = layout.placement();
        self.map.grid = grid;
        // Cells of tiles that are not looked at stay so.
        self.map.cells.clear();
        self.map.cells.resize(grid.cells(), 0.0);
        self.ignored.clear();
        self.ignored.resize(grid.cells(), true);
        for (tile, view) in tiles.iter().zip(views) {
            layout.stitch(*tile, view.valid(), &mut self.ignored, |valid| *valid == 0.0);
        }
        (self.width, self.height) = (width, height);
        self.score = f32::NEG_INFINITY;
        self.values.fill(0.0);
        Ok(())
    }

    /// Copies the outputs and the map of an image. Rounding leaves some a little outside their ranges, such as ±1e-7
    /// for residuals of identical patches. They are clamped.
    pub(super) fn fill(&mut self, values: &[f32], map: &[f32], judge: Judge<'_>, regions: &mut Regions) {
        self.keep(values);
        self.map.cells.iter_mut().zip(map).for_each(|(cell, m)| *cell = m.max(0.0));
        self.judge(judge, regions);
    }

    /// Copies the cells that the image's map takes from a tile, and the outputs of the tile if its score is the largest
    /// so far: an image is as anomalous as its worst tile. The outputs of squares are added up.
    pub(super) fn add_tile(&mut self, tiled: &Tiled, view: usize, values: &[f32], map: &[f32]) {
        tiled.layout.stitch(tiled.tiles[view], map, &mut self.map.cells, |m| m.max(0.0));
        if tiled.layout.is_of_squares() {
            let times = tiled.layout.times(tiled.tiles[view]) as f32;
            let each = self.values.iter_mut().zip(values).zip(self.names);
            return each.for_each(|((sum, value), output)| *sum += times * clamped(*value, output));
        }
        // As it would be kept, so that rounding past the range does not decide between tiles.
        let score = values.first().zip(self.names.first()).map(|(score, output)| clamped(*score, output));
        if score.is_some_and(|score| score > self.score) {
            self.keep(values);
        }
    }

    /// Decides when all tiles are added. The largest cell is that of the whole map, and may be in another tile than the
    /// score. All outputs of squares are means.
    pub(super) fn finish_tiles(&mut self, tiled: &Tiled, judge: Judge<'_>, regions: &mut Regions) {
        if tiled.layout.is_of_squares() {
            let all: usize = tiled.tiles.iter().map(|tile| tiled.layout.times(*tile)).sum();
            self.values.iter_mut().for_each(|value| *value /= all as f32);
            self.score = self.values.first().copied().unwrap_or(f32::NAN);
        } else {
            let largest = self.map.largest();
            let own = self.values.iter_mut().zip(self.names).find(|(_, output)| output.name == PATCH_MAX);
            if let Some((value, output)) = own {
                *value = clamped(largest, output);
            }
        }
        self.judge(judge, regions);
    }

    fn keep(&mut self, values: &[f32]) {
        for ((own, value), output) in self.values.iter_mut().zip(values).zip(self.names) {
            *own = clamped(*value, output);
        }
        self.score = self.values.first().copied().unwrap_or(f32::NAN);
    }

    fn judge(&mut self, Judge { loaded, limits }: Judge<'_>, regions: &mut Regions) {
        (self.bank, self.generation) = (loaded.id, loaded.generation);
        self.p_value = loaded.bank.calibration().map(|calibration| calibration.p_value(self.score));
        self.scaled = limits.zip(self.names.first()).map(|(limits, range)| scaled(self.score, limits.reject, range));
        self.regions.clear();
        self.decision = limits.map(|thresholds| {
            let size = [self.width, self.height];
            regions.find(&self.map, &self.ignored, thresholds.cell, size, &mut self.regions);
            Decision::of(self.score, !self.regions.is_empty(), thresholds)
        });
    }
}

/// A bank and the limits that apply, its own or others.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub loaded: &'a LoadedBank,
    pub limits: Option<&'a Thresholds>,
}

/// A value in the range of its output.
fn clamped(value: f32, output: &Output) -> f32 {
    value.max(output.low).min(output.high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{BankPer, Layout, Tiling};

    #[test]
    fn the_first_tile_of_the_largest_score_within_the_range_is_kept() {
        static NAMES: [Output; 2] =
            [Output { name: "score", low: 0.0, high: 1.0 }, Output { name: "other", low: 0.0, high: f32::INFINITY }];
        let tiling =
            Tiling { tile: 32, overlap: 0, scale: 1.0, bank_per: BankPer::Frame, defect: None, squares: false };
        let layout = Layout::new(&tiling, 8, 128, 32).unwrap();
        let tiled = Tiled { tiles: (0..layout.tiles().cells()).collect(), layout };
        let mut score = Score::empty(&NAMES, tiled.layout.grid()).unwrap();
        score.begin_tiles(&tiled, &[], [128, 32]).unwrap();
        for (view, values) in [[0.5, 0.0], [1.1, 1.0], [1.3, 2.0], [0.9, 3.0]].iter().enumerate() {
            score.add_tile(&tiled, view, values, &[0.0; 16]);
        }
        assert_eq!((score.score, score.output("other")), (1.0, Some(1.0)));
    }
}
