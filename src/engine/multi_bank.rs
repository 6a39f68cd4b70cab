//! One image against many banks of a method.

use std::sync::Arc;

use super::{BestBank, MultiMethodScorer, Score};
use crate::bank::PromptBank;
use crate::error::Result;
use crate::image::AnyFrame;

/// Scores each image against several banks. The image is encoded once and compared once with each prompt, even if
/// several banks share the prompt. An evaluation over many draws of prompts then costs little more than one. Made by
/// [`crate::Engine::multi_bank_scorer`].
///
/// Scores have the same bits as those of a [`crate::Scorer`] with the same bank.
pub struct MultiBankScorer {
    one: MultiMethodScorer,
}

impl MultiBankScorer {
    /// Of a scorer of one method.
    pub(super) fn of(one: MultiMethodScorer) -> Self {
        MultiBankScorer { one }
    }

    /// The banks, in the order of the scores.
    pub fn banks(&self) -> &[Arc<PromptBank>] {
        self.one.banks(0)
    }

    /// Which bank the last image fits best, and by how much.
    pub fn best(&self) -> Option<BestBank> {
        BestBank::among(self.one.scores(0))
    }

    /// Scores one image against each bank.
    ///
    /// # Errors
    /// As [`crate::Scorer::score`].
    pub fn score<'a>(&mut self, frame: impl Into<AnyFrame<'a>>) -> Result<&[Score]> {
        self.one.score(frame, &[0])?.pop().unwrap_or(Ok(&[]))
    }
}
