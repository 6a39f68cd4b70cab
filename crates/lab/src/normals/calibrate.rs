//! A bank's thresholds from good images.

use inctrl::calibration::{Calibration, GoodPart, Source, enough};
use inctrl::{Precision, PromptBank, Result, Scorer};

use super::opened::{Opened, distinct};
use crate::prompt_check::leave_one_out;

/// The images that a bank is calibrated with: those that are no prompts of it, or, where all are, the prompts.
pub struct GoodParts<'a> {
    /// Different images, all held out or all prompts.
    pub used: Vec<Opened<'a>>,
    /// Which of the two.
    pub source: Source,
    /// Prompts beside images that are held out: they do not count.
    pub prompts: usize,
    /// Images that are copies of those used: they do not count.
    pub copies: usize,
}

impl<'a> GoodParts<'a> {
    /// Chooses among `images`.
    pub fn of(images: Vec<Opened<'a>>) -> Self {
        let all = images.len();
        let held_out = images.iter().filter(|image| !image.prompt).count();
        let source = if held_out > 0 { Source::HeldOut } else { Source::LeaveOneOut };
        let used = images.into_iter().filter(|image| image.prompt == (source == Source::LeaveOneOut)).collect();
        let (used, copies) = distinct(used);
        let prompts = if source == Source::HeldOut { all - held_out } else { 0 };
        GoodParts { used, source, prompts, copies }
    }

    /// Whether they are enough for a false-reject rate, which can be told before any is scored.
    ///
    /// # Errors
    /// As [`enough`].
    pub fn enough(&self, max_false_reject: f64) -> Result<()> {
        enough(self.used.len(), self.used.len() + self.copies, max_false_reject)
    }

    /// The bank with the thresholds that keep the promise: each image is scored by the bank, or each prompt by the
    /// others. `scorer` has the bank, and is left with a smaller one where prompts were scored. `scored` is called
    /// after each image, and its error ends the work; `precision` is that of the scorer's engine, in which alone the
    /// thresholds hold.
    ///
    /// # Errors
    /// As [`Calibration::new`], [`PromptBank::with_calibration`], [`Scorer::score`] and `scored`.
    pub fn calibrate(
        &self,
        scorer: &mut Scorer,
        bank: &PromptBank,
        max_false_reject: f64,
        precision: Precision,
        mut scored: impl FnMut() -> Result<()>,
    ) -> Result<PromptBank> {
        self.enough(max_false_reject)?;
        let mut parts = Vec::new();
        for opened in &self.used {
            let score = match self.source {
                Source::HeldOut => scorer.score(opened.frame()).cloned(),
                Source::LeaveOneOut => leave_one_out(scorer, bank, opened.frame()).map(|check| check.score),
            };
            let score = score.map_err(|error| error.at(&opened.path))?;
            parts.push(GoodPart { picture: opened.id, score: score.score, patch_max: score.map.largest() });
            scored()?;
        }
        bank.with_calibration(Calibration::new(self.source, max_false_reject, &parts)?.computed_in(precision))
    }
}
