//! Builds a bank: encodes the class name once, then each prompt image once.

use std::sync::Arc;

use super::device::Session;
use super::frame_prep::{FramePrep, place};
use super::shared::Engine;
use crate::bank::PromptBank;
use crate::bank::prompt_bank::{BankFacts, of_class};
use crate::bank::prompt_facts::PromptFacts;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DepthDoubt, IgnoreMask, WhiteLevel};
use crate::memory;
use crate::methods::{Fitting, NamedTensor, Prompt, Setup};
use crate::view::{Fit, Grid, Normalised, Preprocessing, View};

/// The size of a bank before it is built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BankSize {
    /// Patches of all views of all normal images, at most: cells that a mask ignores are left out.
    pub rows: usize,
    /// Bytes of these patches. A method that keeps fewer says so in `note`.
    pub bytes: usize,
    /// Bytes that building the bank takes at most.
    pub building: usize,
    /// What the method makes of them, in words, if its bank is not these rows.
    pub note: Option<String>,
}

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
    /// How each prompt was shown to the model.
    facts: Vec<PromptFacts>,
    prep: FramePrep,
    /// A rotated prompt.
    turned: Vec<u8>,
    /// The white level declared for the prompts.
    white: Option<WhiteLevel>,
    /// Whether a 16-bit prompt had no declared white level.
    undeclared: bool,
}

impl<'e> BankBuilder<'e> {
    pub(super) fn new(engine: &'e Engine, setup: Setup, class: &str, fit: Fit) -> Result<Self> {
        // The text tower always runs on the CPU: it runs once per class and is not worth a GPU's memory.
        let method = setup.method();
        let class_tensors = if method.reads_class() {
            method.class_tensors(&mut engine.options().text_cpu()?, engine.weights(), class)?
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
            prep: FramePrep::default(),
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
            prep: FramePrep::default(),
            turned: Vec::new(),
            white: bank.white_level(),
            undeclared: false,
        })
    }

    /// Sets the pixels that are ignored in later prompts and in every query. All images must have the mask's size.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] after the first prompt, which was encoded without the mask.
    pub fn set_mask(&mut self, mask: IgnoreMask) -> Result<()> {
        if !self.prompts.is_empty() {
            return Err(Error::new(
                ErrorKind::Argument,
                "a prompt was already encoded without the ignore mask: set the mask before the first prompt",
            ));
        }
        self.mask = Some(Arc::new(mask));
        Ok(())
    }

    /// Checks that the method makes a bank of `images` more normal images, and that there is enough memory for it.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for too many or too few images for the method, [`ErrorKind::Device`] if there is not enough
    /// memory for a bank of all of them.
    pub fn expect(&self, images: usize) -> Result<()> {
        let prompts = self.prompts.len().saturating_add(images);
        self.setup.method().check_prompts(prompts, self.setup.options())?;
        self.expect_of(images, self.setup.grid(&self.engine.arch().vision)?)
    }

    /// How large the bank of `images` more normal images of `width` x `height` pixels becomes.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where there is no memory for it, [`ErrorKind::Argument`] for frames that cannot be resized.
    pub fn size_with(&self, images: usize, width: usize, height: usize) -> Result<BankSize> {
        let (arch, method, options) = (self.engine.arch(), self.setup.method(), self.setup.options());
        let prompts = self.prompts.len().saturating_add(images);
        let grid = self.setup.plan(&arch.vision, width, height, self.fit)?.grid(arch.vision.patch_size);
        self.expect_of(images, grid)?;
        let rows = method.turns(options)?.saturating_mul(grid.cells()).saturating_mul(images);
        let (bytes, here) = self.bytes_with(images, grid);
        let note = method.announce(arch, options, prompts, grid.cells());
        Ok(BankSize { rows, bytes, building: bytes.saturating_mul(2) - here, note })
    }

    /// Bytes of the bank with `images` more images whose views are of `grid`, and of the prompts that are here.
    fn bytes_with(&self, images: usize, grid: Grid) -> (usize, usize) {
        let each = self.setup.method().prompt_bytes(self.engine.arch(), self.setup.options(), grid.cells());
        let here = self.prompts.iter().flat_map(|prompt| &prompt.tensors).map(|tensor| size_of_val(&tensor.values[..]));
        let here: usize = here.sum();
        (here.saturating_add(each.saturating_mul(images)), here)
    }

    /// [`BankBuilder::expect`] for images whose views are of `grid`.
    fn expect_of(&self, images: usize, grid: Grid) -> Result<()> {
        let prompts = self.prompts.len().saturating_add(images);
        let (bytes, here) = self.bytes_with(images, grid);
        // Features exist twice (per image, in the bank's order), less those already held.
        let bytes = bytes.saturating_mul(2) - here;
        memory::check(
            &format!("a bank of {prompts} normal images"),
            bytes,
            "use fewer normal images, or fewer rotations",
        )
    }

    /// Encodes one normal image, a [`Frame`](crate::Frame) or a [`DeviceFrame`](crate::DeviceFrame). An image that is
    /// added twice counts twice in the class mean and does not change a map.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a frame that cannot be resized, that does not have the ignore mask's size, that is
    /// ignored entirely, or whose brightness is in doubt ([`Frame::depth_doubt`](crate::Frame::depth_doubt), or 16 bits
    /// without a white level after frames that have one, or the reverse); [`ErrorKind::Numeric`] where the model
    /// overflows on it.
    pub fn add<'a>(&mut self, frame: impl Into<AnyFrame<'a>>) -> Result<()> {
        self.takes_prompts()?;
        let frame = frame.into();
        let vision = &self.engine.arch().vision;
        let plan = self.setup.plan(vision, frame.width(), frame.height(), self.fit)?;
        let grid = plan.grid(vision.patch_size);
        self.expect_of(1, grid)?;
        let (width, height) = (frame.width(), frame.height());
        let frame = self.prep.on_host(&mut *self.session, frame, self.mask.as_deref())?;
        let (white, undeclared) = (frame.white_level(), frame.is_undeclared());
        if let Some(doubt) = frame.depth_doubt_beside(self.white) {
            return Err(doubt.refuse());
        }
        let facts = PromptFacts::new(plan.placement_of_grid(vision.patch_size), width, height, white);
        if let Some(prompts) = white.filter(|_| self.undeclared && facts.white > 0) {
            return Err(Error::new(
                ErrorKind::Argument,
                format!(
                    "the white level is {prompts}, but earlier 16-bit images had none: {}",
                    DepthDoubt::Undeclared { prompts }
                ),
            ));
        }
        let hash = frame.content_hash()?;
        self.session.prepare(grid)?;
        let turns = self.setup.method().views(self.setup.options(), &hash)?;
        let (mask, patch) = (self.mask.as_deref(), vision.patch_size);
        let mut found = Vec::with_capacity(turns.len());
        for (i, &turn) in turns.iter().enumerate() {
            let view = match i {
                0 => View::whole(plan.clone(), mask, patch),
                _ => View::turned(turn, plan.clone(), mask, patch)?,
            };
            place(&mut *self.session, frame.into(), std::slice::from_ref(&view), 0, &mut self.turned)?;
            self.session.encode(1)?;
            found.push(self.session.prompt(view.valid())?);
        }
        self.keep(hash, found, facts)?;
        self.white = self.white.max(white.filter(|_| facts.white > 0));
        self.undeclared |= undeclared;
        Ok(())
    }

    /// Encodes one normal image that is already cropped and normalised, such as those of
    /// [`PromptList`](crate::checkpoint::PromptList). If it was made from an 8-bit RGB picture of the model's size, the
    /// bank has the same bits as one built from the picture. The bank's fit applies to queries only.
    ///
    /// # Errors
    /// [`ErrorKind::Image`] for an image that does not have the model's size, or a model whose mean and standard
    /// deviation are not CLIP's; [`ErrorKind::Argument`] where the bank has an ignore mask, which applies to whole
    /// pictures; [`ErrorKind::Numeric`] where the model overflows.
    pub fn add_normalised(&mut self, image: &Normalised) -> Result<()> {
        if self.mask.is_some() {
            let message = "an ignore mask applies to whole pictures, and this image is already cropped: give the \
                original pictures";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.takes_prompts()?;
        self.expect(1)?;
        // The numbers do not show which mean and deviation were used. All programs that write such images use CLIP's.
        let pixels = &self.engine.arch().vision.preprocessing;
        if (pixels.mean, pixels.std) != (Preprocessing::CLIP.mean, Preprocessing::CLIP.std) {
            let message = format!(
                "a normalised image has CLIP's mean and standard deviation, but this model has others ({pixels}): \
                give the original pictures"
            );
            return Err(Error::new(ErrorKind::Image, message));
        }
        let (method, own) = (self.setup.method(), &self.engine.arch().vision);
        if method.turns(self.setup.options())? > 1 || self.setup.size(own)? != own.image_size {
            let message = format!(
                "the method `{}` rotates and resizes its pictures, and this image is already cropped: give the \
                original pictures",
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

    /// An error where the method takes no normal images at all.
    fn takes_prompts(&self) -> Result<()> {
        let method = self.setup.method();
        if method.takes_prompts() { Ok(()) } else { method.check_prompts(1, self.setup.options()) }
    }

    /// Keeps the features of an image's views.
    fn keep(&mut self, hash: [u8; 32], views: Vec<Vec<NamedTensor>>, facts: PromptFacts) -> Result<()> {
        let mut cpu = || self.engine.options().text_cpu();
        let mut with = Fitting { options: self.setup.options(), cpu: &mut cpu, progress: &mut |_, _| {} };
        let tensors = self.setup.method().join_views(views, &mut with)?;
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

    /// The finished bank.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if no prompt was added, or the method makes no bank of these.
    pub fn finish(self) -> Result<PromptBank> {
        self.finish_with(|_, _| {})
    }

    /// [`BankBuilder::finish`], telling `progress` how much of how much is done where that takes long.
    ///
    /// # Errors
    /// As [`BankBuilder::finish`].
    pub fn finish_with(&self, mut progress: impl FnMut(usize, usize)) -> Result<PromptBank> {
        self.bank_of_places((0..self.prompts.len()).collect(), &mut progress)
    }

    /// The bank of those prompts whose content hashes, in hexadecimal, are `hashes`: its bits are those of a bank that
    /// is built from these images alone.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a hash that no prompt has; otherwise as [`BankBuilder::finish`].
    pub fn bank_of(&self, hashes: &[&str]) -> Result<PromptBank> {
        let place = |hash: &&str| {
            let found = self.prompts.iter().position(|prompt| blake3::Hash::from_bytes(prompt.hash).to_hex() == **hash);
            found.ok_or_else(|| Error::new(ErrorKind::Argument, format!("no prompt has the content hash {hash}")))
        };
        self.bank_of_places(hashes.iter().map(place).collect::<Result<_>>()?, &mut |_, _| {})
    }

    fn bank_of_places(&self, places: Vec<usize>, progress: &mut dyn FnMut(usize, usize)) -> Result<PromptBank> {
        if places.is_empty() && self.setup.method().takes_prompts() {
            let message = format!("no normal image{}: a bank needs at least one", of_class(&self.class));
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let facts = BankFacts {
            class: self.class.clone(),
            fit: self.fit,
            model: self.engine.model_hash().to_owned(),
            mask: self.mask.clone(),
            shown: places.iter().map(|&place| self.facts[place]).collect(),
        };
        let prompts = places.iter().map(|&place| self.prompts[place].clone()).collect();
        let mut cpu = || self.engine.options().text_cpu();
        PromptBank::assemble(self.setup.clone(), facts, self.class_tensors.clone(), prompts, &mut cpu, progress)
    }
}
