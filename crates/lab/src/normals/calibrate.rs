//! A bank's thresholds from good images.

use inctrl::calibration::{GoodImages, Source, enough};
use inctrl::pictures::PictureId;
use inctrl::{Engine, Frame, PromptBank, Result};

use super::opened::Opened;

/// The images that a bank is calibrated with, as [`GoodImages`] chooses them.
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
        let ids: Vec<(PictureId, bool)> = images.iter().map(|image| (image.id, image.prompt)).collect();
        let GoodImages { used, source, prompts, copies } = GoodImages::among(&ids);
        let is_used = |(i, image): (usize, Opened<'a>)| used.contains(&i).then_some(image);
        let used = images.into_iter().enumerate().filter_map(is_used).collect();
        GoodParts { used, source, prompts, copies }
    }

    /// Whether they are enough for a false-reject rate, which can be told before any is scored.
    ///
    /// # Errors
    /// As [`enough`].
    pub fn enough(&self, max_false_reject: f64) -> Result<()> {
        enough(self.used.len(), self.used.len() + self.copies, max_false_reject)
    }

    /// The bank with the thresholds that keep the promise ([`Engine::calibrate`]). `scored` is called after each image,
    /// and its error ends the work.
    ///
    /// # Errors
    /// As [`Engine::calibrate`] and `scored`.
    pub fn calibrate(
        &self,
        engine: &Engine,
        bank: &PromptBank,
        max_false_reject: f64,
        mut scored: impl FnMut() -> Result<()>,
    ) -> Result<PromptBank> {
        self.enough(max_false_reject)?;
        let parts: Vec<(PictureId, Frame<'_>)> = self.used.iter().map(|image| (image.id, image.frame())).collect();
        engine.calibrate_with(bank, self.source, &parts, max_false_reject, &mut |i, outcome| {
            outcome.map_err(|error| error.at(&self.used[i].path))?;
            scored()
        })
    }
}
