//! A bank against good images: limits from them, and its prompts against each other.

use std::sync::Arc;

use super::{AnomalyMap, Engine, Score, Scorer};
use crate::bank::PromptBank;
use crate::calibration::{Calibration, GoodImages, GoodPart, Source, enough, outliers};
use crate::error::{Error, ErrorKind, Result};
use crate::image::Frame;
use crate::pictures::PictureId;

/// A prompt scored against the others.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptCheck {
    /// Its index in [`PromptBank::prompt_hashes`].
    pub place: usize,
    /// Its score against the bank of the others.
    pub score: Score,
}

/// Each prompt of a bank against the others.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BankReport {
    /// The prompts, in the order of their images.
    pub prompts: Vec<ReportedPrompt>,
    /// The mean of those maps that have the rows and columns of the first one. Where it is large, the bank covers the
    /// object badly.
    pub mean_map: AnomalyMap,
    /// Prompts of which no image was given.
    pub missing: usize,
    /// Prompts that are copies of others.
    pub copies: usize,
}

/// A prompt of a [`BankReport`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReportedPrompt {
    /// Its place among the given images.
    pub image: usize,
    /// Its index, and its score against the others.
    pub check: PromptCheck,
    /// Whether its score sticks out ([`outliers`]): it may show a defect, or a kind of good part that needs more
    /// prompts.
    pub outlier: bool,
}

/// Called with the place of an image and whether it could be scored. What it returns ends the work if it is an error.
pub type AfterImage<'a> = dyn FnMut(usize, Result<()>) -> Result<()> + 'a;

impl Scorer {
    /// Scores a prompt of `bank`, with the image `frame`, against the bank without it and its copies. The scorer's slot
    /// keeps that smaller bank.
    ///
    /// # Errors
    /// As [`PromptBank::without`] and [`Scorer::score`].
    pub fn leave_one_out(&mut self, bank: &PromptBank, frame: Frame<'_>) -> Result<PromptCheck> {
        let (place, others) = bank.without(frame)?;
        self.set_bank(Arc::new(others))?;
        Ok(PromptCheck { place, score: self.score(frame)?.clone() })
    }
}

impl Engine {
    /// The bank with limits from good images: at most the share `max_false_reject` of good parts will be rejected
    /// ([`crate::calibration`]). Only images that are not prompts of the bank count; if all are prompts, each is scored
    /// against the others, and the bound is approximate. Images of a region are [`Frame::region`]s, as they are scored.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a rate out of range, too few different images for it, a frame with a
    /// [`Frame::depth_doubt`], prompts of a method that cannot separate them, and images that score as high as an image
    /// can; otherwise as [`Engine::scorer`] and [`Scorer::score`]. The message names the image.
    pub fn calibrate(&self, bank: &PromptBank, frames: &[Frame<'_>], max_false_reject: f64) -> Result<PromptBank> {
        let id = |(i, frame): (usize, &Frame<'_>)| {
            let id = bank
                .check_depth(frame)
                .and_then(|()| Ok((PictureId::of(*frame)?, PictureId::is_prompt(*frame, bank.prompt_hashes())?)));
            id.map_err(|error| of_image(error, i))
        };
        let good = GoodImages::among(&frames.iter().enumerate().map(id).collect::<Result<Vec<_>>>()?);
        good.enough(max_false_reject)?;
        let parts = good.used.iter().map(|&i| Ok((PictureId::of(frames[i])?, frames[i])));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        self.calibrate_with(bank, good.source, &parts, max_false_reject, &mut |i, scored| {
            scored.map_err(|error| of_image(error, good.used[i]))
        })
    }

    /// [`Engine::calibrate`] with images that were chosen by [`GoodImages`]; `after` is called after each.
    ///
    /// # Errors
    /// As [`Engine::calibrate`], and what `after` returns.
    pub fn calibrate_with(
        &self,
        bank: &PromptBank,
        source: Source,
        parts: &[(PictureId, Frame<'_>)],
        max_false_reject: f64,
        after: &mut AfterImage<'_>,
    ) -> Result<PromptBank> {
        enough(parts.len(), parts.len(), max_false_reject)?;
        // Limits from before may be for another precision, which a scorer refuses.
        let plain = Arc::new(bank.with_thresholds(None)?);
        let mut scorer = self.scorer(Arc::clone(&plain))?;
        let mut scored = Vec::with_capacity(parts.len());
        for (i, &(picture, frame)) in parts.iter().enumerate() {
            let score = match source {
                Source::HeldOut => scorer.score(frame).cloned(),
                Source::LeaveOneOut => scorer.leave_one_out(&plain, frame).map(|check| check.score),
            };
            let part = score.map(|score| {
                scored.push(GoodPart { picture, score: score.score, patch_max: score.map.largest() });
            });
            after(i, part)?;
        }
        let calibration = Calibration::new(source, max_false_reject, &scored)?;
        plain.with_calibration(calibration.computed_in(self.precision()))
    }

    /// Scores each prompt of a bank against the others, by its image. Images that are not prompts, and copies of an image
    /// before them, are passed over.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where no image is a prompt of the bank, and as [`Scorer::leave_one_out`]. The message
    /// names the image.
    pub fn report(&self, bank: &PromptBank, frames: &[Frame<'_>]) -> Result<BankReport> {
        self.report_with(bank, frames, &mut |i, checked| checked.map_err(|error| of_image(error, i)))
    }

    /// [`Engine::report`]; `after` is called after each image that is a prompt.
    ///
    /// # Errors
    /// As [`Engine::report`], and what `after` returns.
    pub fn report_with(
        &self,
        bank: &PromptBank,
        frames: &[Frame<'_>],
        after: &mut AfterImage<'_>,
    ) -> Result<BankReport> {
        let mut seen = Vec::new();
        let mut images = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            let places: Vec<usize> = PictureId::prompt_places(*frame, bank.prompt_hashes())?.collect();
            if places.iter().all(|place| !seen.contains(place)) && !places.is_empty() {
                images.push(i);
                seen.extend(places);
            }
        }
        if images.is_empty() {
            let message = "none of the images is a prompt of the bank: give the images that it was built from";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let plain = Arc::new(bank.with_thresholds(None)?);
        let mut scorer = self.scorer(Arc::clone(&plain))?;
        let mut checks: Vec<(usize, PromptCheck)> = Vec::with_capacity(images.len());
        for i in images {
            let check = scorer.leave_one_out(&plain, frames[i]).map(|check| checks.push((i, check)));
            after(i, check)?;
        }
        let scores: Vec<f32> = checks.iter().map(|(_, check)| check.score.score).collect();
        let copies = bank.info().duplicates;
        Ok(BankReport {
            mean_map: mean_map(&checks)?,
            missing: (bank.prompt_hashes().len() - copies).saturating_sub(checks.len()),
            copies,
            prompts: (checks.into_iter().zip(outliers(&scores)))
                .map(|((image, check), outlier)| ReportedPrompt { image, check, outlier })
                .collect(),
        })
    }
}

/// The mean of the maps that have the grid of the first one.
fn mean_map(checks: &[(usize, PromptCheck)]) -> Result<AnomalyMap> {
    let Some((_, first)) = checks.first() else {
        return Err(Error::new(ErrorKind::Internal, "a report of no prompts"));
    };
    let mut mean = first.score.map.clone();
    let maps = checks.iter().map(|(_, check)| &check.score.map).filter(|map| map.grid == mean.grid);
    let maps: Vec<&AnomalyMap> = maps.collect();
    for (i, cell) in mean.cells.iter_mut().enumerate() {
        let sum: f64 = maps.iter().map(|map| f64::from(map.cells[i])).sum();
        *cell = (sum / maps.len() as f64) as f32;
    }
    Ok(mean)
}

fn of_image(error: Error, i: usize) -> Error {
    error.prefixed(&format!("image {i}:"))
}
