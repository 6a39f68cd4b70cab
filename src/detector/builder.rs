//! Building a bank: texts once, then each prompt image once.

use std::sync::Arc;

use super::bank::{PromptBank, PromptFeatures};
use super::engine::Engine;
use super::session::Session;
use super::shown::Shown;
use crate::error::{Error, ErrorKind, Result};
use crate::preprocess::{AnyFrame, Fit, IgnoreMask, Normalised, Plan, judged};

/// Takes the normal images of a class one by one. Made by [`Engine::bank_builder`] or [`Engine::append_to`].
pub struct BankBuilder<'e> {
    engine: &'e Engine,
    session: Session,
    class: String,
    fit: Fit,
    text_prototypes: Vec<f32>,
    mask: Option<Arc<IgnoreMask>>,
    prompts: Vec<PromptFeatures>,
    shown: Shown,
}

impl<'e> BankBuilder<'e> {
    pub(super) fn new(engine: &'e Engine, class: &str, fit: Fit) -> Result<Self> {
        let mut session = engine.session(1)?;
        let text_prototypes = session.text_prototypes(engine.options(), engine.weights(), class)?;
        Ok(BankBuilder {
            engine,
            session,
            class: class.to_owned(),
            fit,
            text_prototypes,
            mask: None,
            prompts: Vec::new(),
            shown: Shown::default(),
        })
    }

    pub(super) fn from_bank(engine: &'e Engine, bank: &PromptBank) -> Result<Self> {
        Ok(BankBuilder {
            engine,
            session: engine.session(1)?,
            class: bank.class().to_owned(),
            fit: bank.fit(),
            text_prototypes: bank.text_prototypes().to_vec(),
            mask: bank.shared_mask(),
            prompts: bank.prompt_features().collect(),
            shown: Shown::default(),
        })
    }

    /// Pixels that are not judged, in the prompts to come and in every query: all must have the size of the mask.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] once there is a prompt, which was encoded without it.
    pub fn set_mask(&mut self, mask: IgnoreMask) -> Result<()> {
        if !self.prompts.is_empty() {
            return Err(Error::new(
                ErrorKind::Argument,
                "the ignore mask comes after a prompt that was encoded without it: begin the bank with the mask",
            ));
        }
        self.mask = Some(Arc::new(mask));
        Ok(())
    }

    /// Encodes one normal image, a [`Frame`](crate::Frame) or a [`DeviceFrame`](crate::DeviceFrame). The same image twice
    /// counts twice in the class mean and changes nothing in a map.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a frame that cannot be resized, is not of the ignore mask's size, or of which nothing is
    /// left to be judged; [`ErrorKind::Numeric`] where the model overflows on it.
    pub fn add<'a>(&mut self, frame: impl Into<AnyFrame<'a>>) -> Result<()> {
        let frame = frame.into();
        let vision = &self.engine.arch().vision;
        let plan = Plan::new(frame.width(), frame.height(), vision.image_size, self.fit)?;
        let judged = judged(&plan, self.mask.as_deref(), vision.patch_size);
        let frame = self.shown.on_host(&mut self.session, frame, self.mask.as_deref())?;
        self.session.place(frame.into(), &plan, 0)?;
        let hash = frame.content_hash();
        self.encode(hash, Some(&judged))
    }

    /// Encodes one normal image that is already cropped and normalised, such as those of
    /// [`PromptList`](crate::checkpoint::PromptList). Where it comes from an 8-bit RGB picture of the model's size, the bank
    /// is the one that the picture gives, to the bit. The bank's fit says only how queries will be fitted.
    ///
    /// # Errors
    /// [`ErrorKind::Image`] for an image of another size than the model's, [`ErrorKind::Argument`] where the bank has an ignore
    /// mask, which is for whole pictures, [`ErrorKind::Numeric`] where the model overflows on it.
    pub fn add_normalised(&mut self, image: &Normalised) -> Result<()> {
        if self.mask.is_some() {
            let message = "an ignore mask is for whole pictures, and this image is already cropped: give the pictures";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.session.place_normalised(image)?;
        self.encode(image.content_hash(), None)
    }

    /// Encodes the placed image and keeps its features, those of ignored patches replaced.
    fn encode(&mut self, hash: [u8; 32], judged: Option<&[f32]>) -> Result<()> {
        let (mut taps, adapted) = self.session.prompt_features()?;
        if let Some(judged) = judged {
            repeat_judged(&mut taps, judged, self.engine.arch().vision.width)?;
        }
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
            self.mask,
            self.text_prototypes,
            self.prompts,
        )
    }
}

/// Puts a judged patch in the place of every ignored one, so that no query finds its counterpart in what is ignored: a candidate
/// twice changes no maximum. `taps` is `[L, N, width]`, `judged` `[N]`.
pub(super) fn repeat_judged(taps: &mut [f32], judged: &[f32], width: usize) -> Result<()> {
    let Some(first) = judged.iter().position(|judged| *judged > 0.0) else {
        return Err(Error::new(
            ErrorKind::Argument,
            "the ignore mask leaves no cell of this image to be judged: ignore less of it",
        ));
    };
    for layer in taps.chunks_exact_mut(judged.len() * width) {
        for ignored in (0..judged.len()).filter(|patch| judged[*patch] == 0.0) {
            layer.copy_within(first * width..(first + 1) * width, ignored * width);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_patches_become_copies_of_a_judged_one() {
        let mut taps: Vec<f32> = (0..16).map(|i| i as f32).collect();
        repeat_judged(&mut taps, &[0.0, 1.0, 0.0, 1.0], 2).unwrap();
        assert_eq!(taps[..8], [2.0, 3.0, 2.0, 3.0, 2.0, 3.0, 6.0, 7.0]);
        assert_eq!(taps[8..], [10.0, 11.0, 10.0, 11.0, 10.0, 11.0, 14.0, 15.0]);
        assert_eq!(repeat_judged(&mut taps, &[0.0; 4], 2).unwrap_err().kind(), ErrorKind::Argument);
    }
}
