//! One image against many banks.

use std::collections::HashMap;
use std::sync::Arc;

use super::scorer::{plan, seen_by_patches};
use super::session::Session;
use super::{PromptBank, Score};
use crate::error::{Error, ErrorKind, Result};
use crate::preprocess::{Frame, Plan};
use crate::weights::Arch;

/// Scores each image against several banks: the image is encoded once, and compared once with each prompt, however many of the
/// banks share it. Made by [`crate::Engine::panel`]; this is how many draws of prompts are judged for the price of one.
///
/// Scores have the same bits as those of a [`crate::Scorer`] with the bank.
pub struct Panel {
    session: Session,
    arch: Arch,
    banks: Vec<Arc<PromptBank>>,
    /// The prompts of each bank, as indices of the session's.
    members: Vec<Vec<usize>>,
    plan: Option<Plan>,
    scores: Vec<Score>,
}

impl Panel {
    pub(super) fn new(mut session: Session, model_hash: &str, arch: &Arch, banks: &[Arc<PromptBank>]) -> Result<Self> {
        let Some(first) = banks.first() else {
            return Err(Error::new(ErrorKind::Argument, "a panel of no banks: at least one is needed"));
        };
        let (mut prompts, mut known, mut members) = (Vec::new(), HashMap::new(), Vec::new());
        for bank in banks {
            bank.check_model(model_hash, arch)?;
            if bank.fit() != first.fit() {
                let message =
                    format!("a bank of fit {} beside one of fit {}: an image is encoded once", bank.fit(), first.fit());
                return Err(Error::new(ErrorKind::Argument, message));
            }
            let places = bank.prompt_features().map(|prompt| {
                *known.entry(prompt.hash).or_insert_with(|| {
                    prompts.push(prompt.taps.into());
                    prompts.len() - 1
                })
            });
            members.push(places.collect());
        }
        session.set_panel(&prompts, banks)?;
        Ok(Panel {
            scores: vec![Score::empty(arch.vision.grid()); banks.len()],
            session,
            arch: arch.clone(),
            banks: banks.to_vec(),
            members,
            plan: None,
        })
    }

    /// The banks, in the order of the scores.
    pub fn banks(&self) -> &[Arc<PromptBank>] {
        &self.banks
    }

    /// Scores one image against each bank.
    ///
    /// # Errors
    /// As [`crate::Scorer::score`].
    pub fn score(&mut self, frame: Frame<'_>) -> Result<&[Score]> {
        let plan = plan(&mut self.plan, &frame, self.arch.vision.image_size, self.banks[0].fit())?;
        self.session.place(frame, plan, 0)?;
        let placement = seen_by_patches(plan.placement(), &self.arch.vision);
        for score in &mut self.scores {
            score.map.placement = placement;
            (score.width, score.height) = (frame.width(), frame.height());
        }
        let scores = &mut self.scores;
        self.session.score_panel(&self.members, |bank, parts, map| scores[bank].fill(parts, map))?;
        Ok(&self.scores)
    }
}
