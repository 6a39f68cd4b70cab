//! The result for one image.

use super::slot::Prepared;
use super::verdict::Regions;
use super::{BankId, Decision, Region};
use crate::method::Parts;
use crate::preprocess::Placement;

/// How anomalous an image is, and why: equation 7 and its parts. Larger is more anomalous.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// s(x) = (s_h + α s_p) / (1 + α): the score to rank and threshold by.
    pub score: f32,
    /// s_h in [0, 1]: the holistic head on `map + image_residual + text_prior`.
    pub holistic: f32,
    /// s_p in [0, 1]: the largest residual of a patch, the maximum of the map.
    pub patch_max: f32,
    /// s_i in [0, 1]: the image-level residual score, equation 5.
    pub image_residual: f32,
    /// s_a in [0, 1]: the text prior, equation 6.
    pub text_prior: f32,
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
    /// The bank that it was scored against.
    pub bank: BankId,
    /// Which of its slot's banks that was, counted from 1.
    pub generation: u64,
}

/// The residual map M_x (equations 1 and 2) on the patch grid, and the place of that grid in the original image.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyMap {
    /// Cells of a side.
    pub grid: usize,
    /// `grid * grid` residuals, row by row, in [0, 1]: 0 where a prompt has the same patch.
    pub cells: Vec<f32>,
    /// The rectangle of the original image that the grid covers. With [`crate::Fit::Crop`] the image's ends lie outside
    /// it and are not judged; with [`crate::Fit::Letterbox`] it reaches beyond the image.
    pub placement: Placement,
}

impl Score {
    /// A score to be filled, with memory for a map of `grid` cells a side.
    pub(super) fn empty(grid: usize) -> Self {
        let placement = Placement { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
        let map = AnomalyMap { grid, cells: vec![0.0; grid * grid], placement };
        Score {
            score: 0.0,
            holistic: 0.0,
            patch_max: 0.0,
            image_residual: 0.0,
            text_prior: 0.0,
            map,
            width: 0,
            height: 0,
            decision: None,
            regions: Vec::with_capacity(Regions::most(grid)),
            ignored: vec![false; grid * grid],
            bank: BankId::default(),
            generation: 0,
        }
    }

    /// Takes the numbers of an image. Rounding leaves residuals of identical patches at ±1e-7, which are shown as 0.
    pub(super) fn fill(&mut self, parts: Parts, map: &[f32], prepared: &Prepared, regions: &mut Regions) {
        self.score = parts.score;
        self.holistic = parts.holistic;
        self.patch_max = parts.patch_max.max(0.0);
        self.image_residual = parts.image_residual;
        self.text_prior = parts.text_prior;
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
