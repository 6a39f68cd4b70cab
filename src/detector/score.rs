//! The result for one image.

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
        }
    }

    /// Takes the numbers of an image. Rounding leaves residuals of identical patches at ±1e-7, which are shown as 0.
    pub(super) fn fill(&mut self, parts: Parts, map: &[f32]) {
        self.score = parts.score;
        self.holistic = parts.holistic;
        self.patch_max = parts.patch_max.max(0.0);
        self.image_residual = parts.image_residual;
        self.text_prior = parts.text_prior;
        self.map.cells.iter_mut().zip(map).for_each(|(cell, m)| *cell = m.max(0.0));
    }
}
