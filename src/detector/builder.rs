//! Building a bank: texts once, then each prompt image once.

use super::bank::{PromptBank, PromptFeatures};
use super::engine::Engine;
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::preprocess::{Fit, Frame, Normalised, Plan};

/// Takes the normal images of a class one by one. Made by [`Engine::bank_builder`] or [`Engine::append_to`].
pub struct BankBuilder<'e> {
    engine: &'e Engine,
    session: Session,
    class: String,
    fit: Fit,
    text_prototypes: Vec<f32>,
    prompts: Vec<PromptFeatures>,
}

impl<'e> BankBuilder<'e> {
    pub(super) fn new(engine: &'e Engine, class: &str, fit: Fit) -> Result<Self> {
        let mut session = engine.session(1)?;
        let text_prototypes = session.text_prototypes(engine.options(), engine.weights(), class)?;
        Ok(BankBuilder { engine, session, class: class.to_owned(), fit, text_prototypes, prompts: Vec::new() })
    }

    pub(super) fn from_bank(engine: &'e Engine, bank: &PromptBank) -> Result<Self> {
        Ok(BankBuilder {
            engine,
            session: engine.session(1)?,
            class: bank.class().to_owned(),
            fit: bank.fit(),
            text_prototypes: bank.text_prototypes().to_vec(),
            prompts: bank.prompt_features().collect(),
        })
    }

    /// Encodes one normal image. The same image twice counts twice in the class mean and changes nothing in a map.
    ///
    /// # Errors
    /// [`ErrorKind::Image`] for a frame that cannot be resized, [`ErrorKind::Numeric`] where the model overflows on it.
    pub fn add(&mut self, frame: Frame<'_>) -> Result<()> {
        let plan = Plan::new(frame.width(), frame.height(), self.engine.arch().vision.image_size, self.fit)?;
        self.session.place(frame, &plan, 0)?;
        self.encode(frame.content_hash())
    }

    /// Encodes one normal image that is already cropped and normalised, such as those of
    /// [`PromptList`](crate::checkpoint::PromptList). Where it comes from an 8-bit RGB picture of the model's size, the bank
    /// is the one that the picture gives, to the bit. The bank's fit says only how queries will be fitted.
    ///
    /// # Errors
    /// [`ErrorKind::Image`] for an image of another size than the model's, [`ErrorKind::Numeric`] where the model overflows
    /// on it.
    pub fn add_normalised(&mut self, image: &Normalised) -> Result<()> {
        self.session.place_normalised(image)?;
        self.encode(image.content_hash())
    }

    /// Encodes the placed image and keeps its features.
    fn encode(&mut self, hash: [u8; 32]) -> Result<()> {
        let (taps, adapted) = self.session.prompt_features()?;
        self.prompts.push(PromptFeatures { hash, taps, adapted });
        Ok(())
    }

    /// Number of prompts so far.
    pub fn len(&self) -> usize {
        self.prompts.len()
    }

    /// Whether there is no prompt yet.
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty()
    }

    /// The bank.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if no prompt was added.
    pub fn finish(self) -> Result<PromptBank> {
        if self.prompts.is_empty() {
            let message = format!("no normal image of class `{}`: a bank needs at least one", self.class);
            return Err(Error::new(ErrorKind::Argument, message));
        }
        PromptBank::assemble(
            self.class,
            self.fit,
            self.engine.model_hash().to_owned(),
            self.engine.arch(),
            self.text_prototypes,
            self.prompts,
        )
    }
}
