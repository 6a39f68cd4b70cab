//! The result for one image.

use super::slot::LoadedBank;
use super::verdict::Regions;
use super::{Decision, Region};
use crate::bank::BankId;
use crate::image::DepthDoubt;
use crate::methods::Output;
use crate::view::{Grid, Placement};

/// How anomalous an image is, and why. Larger is more anomalous.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// The score to rank and threshold by: the first of [`Score::outputs`].
    pub score: f32,
    names: &'static [Output],
    values: Vec<f32>,
    /// Where the image differs from the prompts.
    pub map: AnomalyMap,
    /// Width of the image in pixels.
    pub width: usize,
    /// Height of the image in pixels.
    pub height: usize,
    /// Pass, review or reject, and why; nothing where the bank has no thresholds.
    pub decision: Option<Decision>,
    /// Where the image is defective by the bank's threshold `cell`, largest residual first; empty where the bank has none.
    pub regions: Vec<Region>,
    /// Cells of the map that an ignore mask or padding takes out: their residual is 0, and they take part in nothing.
    pub ignored: Vec<bool>,
    /// Why the image may have been shown to the model at a wrong brightness, where its values' range is in doubt.
    pub depth_doubt: Option<DepthDoubt>,
    /// The bank that it was scored against.
    pub bank: BankId,
    /// Which of its slot's banks that was, counted from 1.
    pub generation: u64,
}

/// The residual map M_x (equations 1 and 2) on the patch grid, and the place of that grid in the original image.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyMap {
    /// Rows and columns of cells.
    pub grid: Grid,
    /// `rows * cols` residuals, row by row, in [0, 1]: 0 where a prompt has the same patch.
    pub cells: Vec<f32>,
    /// The rectangle of the original image that the grid covers. With [`crate::Fit::Crop`] the image's ends lie outside
    /// it and are not judged; with [`crate::Fit::Letterbox`] it reaches beyond the image.
    pub placement: Placement,
}

impl AnomalyMap {
    /// The largest residual of a cell.
    pub fn largest(&self) -> f32 {
        self.cells.iter().copied().fold(0.0, f32::max)
    }
}

impl Score {
    /// A score to be filled, with memory for a map of `grid`.
    pub(super) fn empty(names: &'static [Output], grid: Grid) -> Self {
        let placement = Placement { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
        let map = AnomalyMap { grid, cells: vec![0.0; grid.cells()], placement };
        Score {
            score: 0.0,
            names,
            values: vec![0.0; names.len()],
            map,
            width: 0,
            height: 0,
            decision: None,
            regions: Vec::with_capacity(Regions::most(grid)),
            ignored: vec![false; grid.cells()],
            depth_doubt: None,
            bank: BankId::default(),
            generation: 0,
        }
    }

    /// Memory for a map of `grid`.
    pub(super) fn reserve(&mut self, grid: Grid) {
        let more = |len: usize| grid.cells().saturating_sub(len);
        self.map.cells.reserve_exact(more(self.map.cells.len()));
        self.ignored.reserve_exact(more(self.ignored.len()));
        self.regions.clear();
        self.regions.reserve_exact(Regions::most(grid));
    }

    /// Prepares for a map of `grid`, of which `judged` says which cells count, over an image of `width` x `height` pixels.
    pub(super) fn begin(&mut self, grid: Grid, judged: &[f32], [width, height]: [usize; 2]) {
        self.map.grid = grid;
        self.map.cells.resize(grid.cells(), 0.0);
        self.ignored.clear();
        self.ignored.extend(judged.iter().map(|judged| *judged == 0.0));
        (self.width, self.height) = (width, height);
    }

    /// Every number that the method gives for the image, with its name and range, the score first.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&'static Output, f32)> + '_ {
        self.names.iter().zip(self.values.iter().copied())
    }

    /// The number that the method calls `name`; none where it has no such number.
    pub fn output(&self, name: &str) -> Option<f32> {
        self.outputs().find(|(output, _)| output.name == name).map(|(_, value)| value)
    }

    /// Copies the outputs and the map of an image. Rounding leaves some a little outside their ranges, such as residuals of
    /// identical patches at ±1e-7: they are clamped.
    pub(super) fn fill(&mut self, values: &[f32], map: &[f32], prepared: &LoadedBank, regions: &mut Regions) {
        for ((own, value), output) in self.values.iter_mut().zip(values).zip(self.names) {
            *own = value.max(output.low).min(output.high);
        }
        self.score = self.values.first().copied().unwrap_or(f32::NAN);
        self.map.cells.iter_mut().zip(map).for_each(|(cell, m)| *cell = m.max(0.0));
        (self.bank, self.generation) = (prepared.id, prepared.generation);
        self.regions.clear();
        self.decision = prepared.bank.thresholds().map(|thresholds| {
            let size = [self.width, self.height];
            regions.find(&self.map, &self.ignored, thresholds.cell, size, &mut self.regions);
            Decision::of(self.score, !self.regions.is_empty(), thresholds)
        });
    }
}
