//! Building a bank: the class name once, then each prompt image once.

use std::sync::Arc;

use super::device::Session;
use super::shared::Engine;
use super::shown::FramePrep;
use crate::bank::PromptBank;
use crate::bank::prompt_bank::BankFacts;
use crate::bank::prompt_facts::PromptFacts;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DepthDoubt, IgnoreMask, WhiteLevel};
use crate::memory;
use crate::methods::{Method, NamedTensor, Prompt};
use crate::view::{Fit, Normalised, Preprocessing, judged};

/// Takes the normal images of a class one by one. Made by [`Engine::bank_builder`] or [`Engine::append_to`].
pub struct BankBuilder<'e> {
    engine: &'e Engine,
    session: Box<dyn Session>,
    method: &'static dyn Method,
    class: String,
    fit: Fit,
    class_tensors: Vec<NamedTensor>,
    mask: Option<Arc<IgnoreMask>>,
    prompts: Vec<Prompt>,
    /// How each of them was shown.
    facts: Vec<PromptFacts>,
    shown: FramePrep,
    /// The white level that prompts were declared to have.
    white: Option<WhiteLevel>,
    /// Whether a prompt was 16-bit without one.
    undeclared: bool,
}

impl<'e> BankBuilder<'e> {
    pub(super) fn new(engine: &'e Engine, method: &'static dyn Method, class: &str, fit: Fit) -> Result<Self> {
        // The text tower runs on the processor on every device: once a class, it is not worth the memory elsewhere.
        let class_tensors = method.class_tensors(&mut engine.options().cpu()?, engine.weights(), class)?;
        Ok(BankBuilder {
            engine,
            session: engine.session(Some(method), 1, 1)?,
            method,
            class: class.to_owned(),
            fit,
            class_tensors,
            mask: None,
            prompts: Vec::new(),
            facts: Vec::new(),
            shown: FramePrep::default(),
            white: None,
            undeclared: false,
        })
    }

    pub(super) fn from_bank(engine: &'e Engine, bank: &PromptBank) -> Result<Self> {
        let all: Vec<usize> = (0..bank.prompt_hashes().len()).collect();
        let (prompts, class_tensors) = bank.take_apart(&all)?;
        Ok(BankBuilder {
            engine,
            session: engine.session(Some(bank.method_entry()), 1, 1)?,
            method: bank.method_entry(),
            class: bank.class().to_owned(),
            fit: bank.fit(),
            class_tensors,
            mask: bank.shared_mask(),
            facts: (0..prompts.len()).map(|k| bank.prompt_facts(k)).collect(),
            prompts,
            shown: FramePrep::default(),
            white: bank.white_level(),
            undeclared: false,
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

    /// Says that `images` normal images are to come.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where there is no memory for a bank of them all.
    pub fn expect(&self, images: usize) -> Result<()> {
        let prompts = self.prompts.len().saturating_add(images);
        let bank = |prompts| memory::bank_bytes(self.engine.arch(), prompts);
        // The features one by one, in the order of the bank, and shared, less those that are here.
        let bytes = bank(prompts).saturating_mul(3) - bank(self.prompts.len());
        memory::check(&format!("a bank of {prompts} normal images"), bytes, "use fewer normal images")
    }

    /// Encodes one normal image, a [`Frame`](crate::Frame) or a [`DeviceFrame`](crate::DeviceFrame). The same image twice
    /// counts twice in the class mean and changes nothing in a map.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a frame that cannot be resized, is not of the ignore mask's size, or of which nothing is
    /// left to be judged, and for one whose brightness is in doubt ([`Frame::depth_doubt`](crate::Frame::depth_doubt), or 16 bits
    /// without a white level beside frames that have one); [`ErrorKind::Numeric`] where the model overflows on it.
    pub fn add<'a>(&mut self, frame: impl Into<AnyFrame<'a>>) -> Result<()> {
        let frame = frame.into();
        self.expect(1)?;
        let vision = &self.engine.arch().vision;
        let plan = vision.plan(frame.width(), frame.height(), self.fit)?;
        let judged = judged(&plan, self.mask.as_deref(), vision.patch_size);
        let (width, height) = (frame.width(), frame.height());
        let frame = self.shown.on_host(&mut *self.session, frame, self.mask.as_deref())?;
        let (white, undeclared) = (frame.white_level(), frame.is_undeclared());
        if let Some(doubt) = frame.depth_doubt_beside(self.white) {
            return Err(doubt.refuse());
        }
        let facts = PromptFacts::new(plan.placement_of_grid(vision.patch_size), width, height, white);
        if let Some(prompts) = white.filter(|_| self.undeclared && facts.white > 0) {
            return Err(Error::new(
                ErrorKind::Argument,
                format!(
                    "the white level is {prompts}, but 16-bit images before had none: {}",
                    DepthDoubt::Undeclared { prompts }
                ),
            ));
        }
        self.session.prepare(plan.grid(vision.patch_size))?;
        self.session.place(frame.into(), &plan, 0)?;
        let hash = frame.content_hash();
        self.encode(hash, &judged, facts)?;
        self.white = self.white.max(white.filter(|_| facts.white > 0));
        self.undeclared |= undeclared;
        Ok(())
    }

    /// Encodes one normal image that is already cropped and normalised, such as those of
    /// [`PromptList`](crate::checkpoint::PromptList). Where it comes from an 8-bit RGB picture of the model's size, the bank
    /// is the one that the picture gives, to the bit. The bank's fit says only how queries will be fitted.
    ///
    /// # Errors
    /// [`ErrorKind::Image`] for an image of another size than the model's, or a model whose mean and standard deviation are not
    /// CLIP's; [`ErrorKind::Argument`] where the bank has an ignore
    /// mask, which is for whole pictures, [`ErrorKind::Numeric`] where the model overflows on it.
    pub fn add_normalised(&mut self, image: &Normalised) -> Result<()> {
        if self.mask.is_some() {
            let message = "an ignore mask is for whole pictures, and this image is already cropped: give the pictures";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.expect(1)?;
        // What normalised it cannot be seen in the numbers, and is CLIP's in all that write such images.
        let pixels = &self.engine.arch().vision.preprocessing;
        if (pixels.mean, pixels.std) != (Preprocessing::CLIP.mean, Preprocessing::CLIP.std) {
            let message = format!(
                "a normalised image has CLIP's mean and standard deviation, but this model has others ({pixels}): give the \
                 pictures"
            );
            return Err(Error::new(ErrorKind::Image, message));
        }
        self.session.place_normalised(image)?;
        let all = vec![1.0; self.engine.arch().vision.patches()];
        self.encode(image.content_hash(), &all, PromptFacts::default())
    }

    /// Encodes the placed image and keeps what the method makes of it.
    fn encode(&mut self, hash: [u8; 32], judged: &[f32], facts: PromptFacts) -> Result<()> {
        self.session.encode(1)?;
        let tensors = self.session.prompt(judged)?;
        self.prompts.push(Prompt { hash, tensors });
        self.facts.push(facts);
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
        let facts = BankFacts {
            class: self.class,
            fit: self.fit,
            model: self.engine.model_hash().to_owned(),
            mask: self.mask,
            shown: self.facts,
        };
        PromptBank::assemble(self.method, facts, self.class_tensors, self.prompts)
    }
}
