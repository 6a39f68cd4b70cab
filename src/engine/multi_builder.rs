//! Banks of several methods from the same normal images, each encoded once.

use super::device::Session;
use super::draft::{Draft, encode_prompt};
use super::frame_prep::FramePrep;
use super::shared::Engine;
use crate::bank::PromptBank;
use crate::error::Result;
use crate::image::AnyFrame;
use crate::methods::Setup;
use crate::view::Fit;

/// Takes the normal images of a class for banks of several methods that look at images alike. An image is encoded once
/// for all of them, and each of its rotations once for those that rotate it so. Made by [`Engine::multi_bank_builder`].
///
/// Banks have the same bits as those of a [`BankBuilder`](super::BankBuilder).
pub struct MultiBankBuilder<'e> {
    engine: &'e Engine,
    session: Box<dyn Session>,
    drafts: Vec<Draft>,
    prep: FramePrep,
    /// A rotated prompt.
    turned: Vec<u8>,
}

impl<'e> MultiBankBuilder<'e> {
    /// Of methods that look alike, each with its class and fit.
    pub(super) fn new(engine: &'e Engine, methods: Vec<(Setup, String, Fit)>) -> Result<Self> {
        let draft = |(setup, class, fit): (Setup, String, Fit)| Draft::new(engine, setup, &class, fit);
        let drafts = methods.into_iter().map(draft).collect::<Result<Vec<_>>>()?;
        let served: Vec<(&Setup, usize)> = drafts.iter().map(|draft| (&draft.setup, 1)).collect();
        let session = engine.session(&served, 1)?;
        Ok(MultiBankBuilder { engine, session, drafts, prep: FramePrep::default(), turned: Vec::new() })
    }

    /// Encodes one normal image for the methods with these numbers. Returns how each fared, in their order: a method for
    /// which the image is of no use does not have it, and the others do.
    ///
    /// # Errors
    /// For an image that cannot be encoded at all. Those of a method are as of
    /// [`BankBuilder::add`](super::BankBuilder::add).
    pub fn add<'a>(&mut self, frame: impl Into<AnyFrame<'a>>, methods: &[usize]) -> Result<Vec<Result<()>>> {
        let MultiBankBuilder { engine, session, drafts, prep, turned } = self;
        let frame = frame.into();
        let mut results: Vec<Result<()>> = methods.iter().map(|_| Ok(())).collect();
        let mut able: Vec<(usize, &mut Draft)> = Vec::new();
        for (method, draft) in drafts.iter_mut().enumerate() {
            let Some(at) = methods.iter().position(|asked| *asked == method) else { continue };
            match draft.check_frame(engine, frame.width(), frame.height()) {
                Ok(()) => able.push((method, draft)),
                Err(error) => results[at] = Err(error),
            }
        }
        let frame = prep.on_host(&mut **session, frame, None)?;
        let fared = encode_prompt(engine, &mut **session, turned, &mut able, frame)?;
        for ((method, _), fared) in able.iter().zip(fared) {
            if let Some(at) = methods.iter().position(|asked| asked == method) {
                results[at] = fared;
            }
        }
        Ok(results)
    }

    /// The bank of a method from those images whose content hashes, in hexadecimal, are `hashes`.
    ///
    /// # Errors
    /// As [`BankBuilder::bank_of`](super::BankBuilder::bank_of), and [`crate::ErrorKind::Argument`] for a method that it does not have.
    pub fn bank_of(&self, method: usize, hashes: &[&str]) -> Result<PromptBank> {
        let draft = self.drafts.get(method).ok_or_else(super::workspace::without_method)?;
        draft.bank_of(self.engine, hashes)
    }
}
