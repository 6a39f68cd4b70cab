//! AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529): the distance from each patch of an image to the nearest
//! patch of a few normal images, in the feature space of a self-supervised encoder. It needs no training and no class
//! name.
//!
//! | What | Where |
//! |---|---|
//! | the bank M: every patch token of every prompt and of its rotations, after the final norm, scaled to unit length | [`AnomalyDino`], `turns` |
//! | distance of a patch: the minimum over M of `1 - cosine` | `compare.rs` |
//! | the part and its background, an option: distances of the background are 0 | `foreground` |
//! | score of an image: the mean of the largest 1 % of its distances | `compare.rs` |
//!
//! A bank holds `patches` `[R, W]`, one prompt's rows after another's. The paper uses DINOv2 at 448 pixels and eight
//! rotations; here the method takes any encoder, size and number of rotations.

use std::sync::Arc;

use super::distances::{self, FARTHEST};
use super::{
    BankContent, Fitting, Loaded, Method, NamedTensor, Opt, OptKind, Options, Output, Prompt, find, levels,
    load_on_every_device, rows,
};
use crate::backend::BankRole;
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::view::Fit;
use crate::weights::{Arch, Weights};

mod compare;
mod foreground;
#[cfg(test)]
mod tests;

pub use foreground::{CutOut, Foreground, ForegroundOps, Tokens};

/// Name of the bank's tensor.
const PATCHES: &str = "patches";

/// Options.
const SIZE: &str = "size";
const ROTATIONS: &str = "rotations";
const MASK: &str = "mask";

/// The score is the mean of one in this many cells.
const ONE_IN: usize = 100;

/// The method.
pub struct AnomalyDino;

impl Method for AnomalyDino {
    fn name(&self) -> &'static str {
        "anomaly-dino"
    }

    fn outputs(&self) -> &'static [Output] {
        const { &distances::outputs(FARTHEST) }
    }

    /// Each distance is a minimum over the bank, and the score a mean of the largest.
    fn scores_only_fall(&self) -> bool {
        true
    }

    fn cells(&self) -> Output {
        distances::cells(FARTHEST)
    }

    fn options(&self) -> &'static [Opt] {
        &[
            Opt {
                name: SIZE,
                help: "length in pixels that the shorter side of pictures is resized to",
                kind: OptKind::Count { low: 1, high: 4096, default: 448 },
                of_prompts: false,
            },
            Opt {
                name: ROTATIONS,
                help: "views of each normal image, rotated in equal steps: 8 means every 45 degrees, 1 only the \
                    image itself",
                kind: OptKind::Count { low: 1, high: 64, default: 8 },
                of_prompts: true,
            },
            Opt {
                name: MASK,
                help: "judge the part and not the background, told apart by the first principal component of an \
                    image's tokens",
                kind: OptKind::Switch { default: false },
                of_prompts: false,
            },
        ]
    }

    fn usual_fit(&self, _: &Arch) -> Option<Fit> {
        Some(Fit::Trim)
    }

    fn size(&self, options: &Options) -> Result<Option<usize>> {
        options.count(SIZE).map(Some)
    }

    fn turns(&self, options: &Options) -> Result<usize> {
        options.count(ROTATIONS)
    }

    fn check_tiled(&self, options: &Options) -> Result<()> {
        if !options.switch(MASK)? {
            return Ok(());
        }
        let message = "mask=on tells a part from its background within one view, and a tile may show only one of them: leave it out \
                       with tiles, or mask the background by an ignore mask";
        Err(Error::new(ErrorKind::Argument, message))
    }

    fn wants(&self, arch: &Arch, options: &Options) -> Result<Wants> {
        let tokens = options.switch(MASK)?;
        Ok(Wants { taps: vec![arch.vision.layers], norm: true, class: false, unit: true, tokens, ..Wants::default() })
    }

    fn prompt_bytes(&self, arch: &Arch, options: &Options, cells: usize) -> usize {
        let turns = options.count(ROTATIONS).unwrap_or(1);
        turns.saturating_mul(cells).saturating_mul(4 * arch.vision.width)
    }

    fn check_model(&self, weights: &Weights) -> Result<()> {
        levels::refuse(weights, self.name(), "compares the tokens of a transformer after its final norm")
    }

    fn join_views(&self, views: Vec<Vec<NamedTensor>>, _: &mut Fitting<'_>) -> Result<Vec<NamedTensor>> {
        let views = views.iter().map(|view| find(view, PATCHES)).collect::<Result<Vec<_>>>()?;
        Ok(vec![rows::joined(&views)?])
    }

    fn fit(&self, prompts: &[Prompt], _: Vec<NamedTensor>, _: &mut Fitting<'_>) -> Result<BankContent> {
        let patches = prompts.iter().map(|prompt| find(&prompt.tensors, PATCHES)).collect::<Result<Vec<_>>>()?;
        let rows = patches.iter().map(|patches| patches.shape[0]).collect();
        Ok(BankContent { tensors: vec![rows::joined(&patches)?], rows })
    }

    fn take_apart(
        &self,
        bank: &BankContent,
        hashes: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)> {
        Ok((rows::prompts(bank, PATCHES, hashes, places)?, Vec::new()))
    }

    fn check_values(&self, values: &[f32]) -> Result<()> {
        foreground::nothing_left(values[0]).map_or(Ok(()), Err)
    }

    fn check_bank(&self, bank: &BankContent, prompts: usize, arch: &Arch, _: &Options) -> Result<()> {
        rows::check_counts(bank, prompts)?;
        rows::check_shape(bank, PATCHES, &[bank.rows.iter().sum(), arch.vision.width])
    }

    fn shares_prompts(&self) -> bool {
        true
    }

    fn device_tensors(&self, _: &BankContent) -> &'static [(&'static str, BankRole)] {
        &[(PATCHES, BankRole::Rows)]
    }

    fn file_tensors(&self, _: &dyn Fn(&str) -> bool) -> &'static [&'static str] {
        &[PATCHES]
    }

    load_on_every_device!(load);
}

/// The method has no weights of its own.
fn load<B: ForegroundOps>(_: &mut B, weights: &Weights) -> Result<Arc<dyn Loaded<B>>> {
    Ok(Arc::new(compare::Nothing { width: weights.arch().vision.width }))
}
