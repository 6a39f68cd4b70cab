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
use crate::methods::{NamedTensor, Prompt, Setup};
use crate::view::{Fit, Grid, Normalised, Preprocessing, judged, rotate, rotate_mask};

/// Takes the normal images of a class one by one. Made by [`Engine::bank_builder`] or [`Engine::append_to`].
pub struct BankBuilder<'e> {
    engine: &'e Engine,
    session: Box<dyn Session>,
    setup: Setup,
    class: String,
    fit: Fit,
    class_tensors: Vec<NamedTensor>,
    mask: Option<Arc<IgnoreMask>>,
    prompts: Vec<Prompt>,
    /// How each of them was shown.
    facts: Vec<PromptFacts>,
    shown: FramePrep,
    /// A turned prompt.
    turned: Vec<u8>,
    /// The white level that prompts were declared to have.
    white: Option<WhiteLevel>,
    /// Whether a prompt was 16-bit without one.
    undeclared: bool,
}

impl<'e> BankBuilder<'e> {
    pub(super) fn new(engine: &'e Engine, setup: Setup, class: &str, fit: Fit) -> Result<Self> {
        // The text tower runs on the processor on every device: once a class, it is not worth the memory elsewhere.
        let method = setup.method();
        let class_tensors = if method.reads_class() {
            method.class_tensors(&mut engine.options().cpu()?, engine.weights(), class)?
        } else {
            Vec::new()
        };
        Ok(BankBuilder {
            engine,
            session: engine.session(Some(&setup), 1, 1)?,
            setup,
            class: class.to_owned(),
            fit,
            class_tensors,
            mask: None,
            prompts: Vec::new(),
            facts: Vec::new(),
            shown: FramePrep::default(),
            turned: Vec::new(),
            white: None,
            undeclared: false,
        })
    }

    pub(super) fn from_bank(engine: &'e Engine, bank: &PromptBank) -> Result<Self> {
        let all: Vec<usize> = (0..bank.prompt_hashes().len()).collect();
        let (prompts, class_tensors) = bank.take_apart(&all)?;
        Ok(BankBuilder {
            engine,
            session: engine.session(Some(bank.setup()), 1, 1)?,
            setup: bank.setup().clone(),
            class: bank.class().to_owned(),
            fit: bank.fit(),
            class_tensors,
            mask: bank.shared_mask(),
            facts: (0..prompts.len()).map(|k| bank.prompt_facts(k)).collect(),
            prompts,
            shown: FramePrep::default(),
            turned: Vec::new(),
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
        self.expect_of(images, self.setup.grid(&self.engine.arch().vision)?)
    }

    /// [`BankBuilder::expect`] for images whose views are of `grid`.
    fn expect_of(&self, images: usize, grid: Grid) -> Result<()> {
        let prompts = self.prompts.len().saturating_add(images);
        let each = self.setup.method().prompt_bytes(self.engine.arch(), self.setup.options(), grid.cells());
        // The features one by one, in the order of the bank, and shared, less those that are here.
        let here = self.prompts.iter().flat_map(|prompt| &prompt.tensors).map(|tensor| size_of_val(&*tensor.values));
        let here: usize = here.sum();
        let bytes = here.saturating_add(each.saturating_mul(images)).saturating_mul(3) - here;
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
        let vision = &self.engine.arch().vision;
        let plan = self.setup.plan(vision, frame.width(), frame.height(), self.fit)?;
        let grid = plan.grid(vision.patch_size);
        self.expect_of(1, grid)?;
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
        let hash = frame.content_hash();
        self.session.prepare(grid)?;
        let turns = self.setup.method().turns(self.setup.options())?;
        let mut views = Vec::with_capacity(turns);
        for turn in 0..turns {
            let degrees = 360.0 * turn as f64 / turns as f64;
            let (shown, mask) = match turn {
                0 => (frame, self.mask.clone()),
                _ => (
                    rotate(&frame, degrees, &mut self.turned)?,
                    self.mask.as_ref().map(|mask| rotate_mask(mask, degrees).map(Arc::new)).transpose()?,
                ),
            };
            let judged = judged(&plan, mask.as_deref(), vision.patch_size);
            self.session.place(shown.into(), &plan, 0)?;
            self.session.encode(1)?;
            views.push(self.session.prompt(&judged)?);
        }
        self.keep(hash, views, facts)?;
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
        let (method, own) = (self.setup.method(), &self.engine.arch().vision);
        if method.turns(self.setup.options())? > 1 || self.setup.size(own)? != own.image_size {
            let message = format!(
                "the method `{}` turns and resizes its pictures, and this image is already cropped: give the pictures",
                method.name()
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.session.place_normalised(image)?;
        self.session.encode(1)?;
        let all = vec![1.0; self.engine.arch().vision.patches()];
        let view = self.session.prompt(&all)?;
        self.keep(image.content_hash(), vec![view], PromptFacts::default())
    }

    /// Keeps what the views of an image left.
    fn keep(&mut self, hash: [u8; 32], views: Vec<Vec<NamedTensor>>, facts: PromptFacts) -> Result<()> {
        let tensors = self.setup.method().join_views(views)?;
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
        PromptBank::assemble(self.setup, facts, self.class_tensors, self.prompts)
    }
}
