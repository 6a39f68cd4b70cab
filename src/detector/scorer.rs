//! Scoring: the hot path.

use std::sync::Arc;

use super::session::Session;
use super::{PromptBank, Score};
use crate::error::Result;
use crate::preprocess::{Fit, Frame, Placement, Plan};
use crate::weights::{Arch, VisionArch};

/// Scores images against a bank. Make one for each thread or camera with [`crate::Engine::scorer`]; it is `Send`.
///
/// A score has the same bits for every batch size and position in the batch, thread count and order of the prompts. From the
/// second image on, for as long as images keep their size, [`Scorer::score`] allocates nothing and takes no lock.
pub struct Scorer {
    session: Session,
    model_hash: String,
    arch: Arch,
    bank: Arc<PromptBank>,
    plan: Option<Plan>,
    scores: Vec<Score>,
}

impl Scorer {
    pub(super) fn new(mut session: Session, model_hash: &str, arch: &Arch, bank: Arc<PromptBank>) -> Result<Self> {
        bank.check_model(model_hash, arch)?;
        session.set_bank(&bank)?;
        Ok(Scorer {
            scores: vec![Score::empty(arch.vision.grid()); session.capacity()],
            session,
            model_hash: model_hash.to_owned(),
            arch: arch.clone(),
            bank,
            plan: None,
        })
    }

    /// Scores one image.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Image`] for a frame that cannot be resized; [`crate::ErrorKind::Numeric`] where the model
    /// overflows on it. The scorer stays usable.
    pub fn score(&mut self, frame: Frame<'_>) -> Result<&Score> {
        self.run(&[frame])?;
        Ok(&self.scores[0])
    }

    /// Scores images in order, as many at a time as the scorer has memory for.
    ///
    /// # Errors
    /// As [`Scorer::score`], for the first image that fails.
    pub fn score_batch(&mut self, frames: &[Frame<'_>]) -> Result<Vec<Score>> {
        let mut scores = Vec::with_capacity(frames.len());
        for frames in frames.chunks(self.session.capacity()) {
            self.run(frames)?;
            scores.extend_from_slice(&self.scores[..frames.len()]);
        }
        Ok(scores)
    }

    /// The bank in use.
    pub fn bank(&self) -> &Arc<PromptBank> {
        &self.bank
    }

    /// Scores against another bank of the same model from the next image on.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bank`] if the bank was built with another model; the old one stays in use.
    pub fn set_bank(&mut self, bank: Arc<PromptBank>) -> Result<()> {
        bank.check_model(&self.model_hash, &self.arch)?;
        self.session.set_bank(&bank)?;
        self.bank = bank;
        Ok(())
    }

    /// Scores up to a batch into `self.scores`.
    fn run(&mut self, frames: &[Frame<'_>]) -> Result<()> {
        for (image, frame) in frames.iter().enumerate() {
            let plan = plan(&mut self.plan, frame, self.arch.vision.image_size, self.bank.fit())?;
            self.session.place(*frame, plan, image)?;
            let score = &mut self.scores[image];
            score.map.placement = seen_by_patches(plan.placement(), &self.arch.vision);
            (score.width, score.height) = (frame.width(), frame.height());
        }
        let scores = &mut self.scores;
        self.session.score(frames.len(), |image, parts, map| scores[image].fill(parts, map))
    }
}

/// The plan of the last frame where it fits this one, else a new one.
pub(super) fn plan<'a>(kept: &'a mut Option<Plan>, frame: &Frame<'_>, size: usize, fit: Fit) -> Result<&'a Plan> {
    let (width, height) = (frame.width(), frame.height());
    let plan = match kept.take() {
        Some(plan) if plan.matches(width, height) && plan.fit() == fit => plan,
        _ => Plan::new(width, height, size, fit)?,
    };
    Ok(kept.insert(plan))
}

/// The part of the model's input that whole patches cover: pixels beyond the last one are not looked at.
pub(super) fn seen_by_patches(input: Placement, vision: &VisionArch) -> Placement {
    let share = (vision.grid() * vision.patch_size) as f64 / vision.image_size as f64;
    Placement { width: input.width * share, height: input.height * share, ..input }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_lies_over_the_whole_patches_only() {
        let vision = VisionArch { image_size: 50, patch_size: 7, width: 64, layers: 1, heads: 1, mlp_width: 64 };
        let input = Placement { x: 10.0, y: 0.0, width: 100.0, height: 200.0 };
        let seen = seen_by_patches(input, &vision);
        assert_eq!(seen, Placement { x: 10.0, y: 0.0, width: 98.0, height: 196.0 });
    }
}
