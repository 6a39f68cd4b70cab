//! Builds a bank: encodes the class name once, then each prompt image once.

use std::sync::Arc;

use super::device::Session;
use super::draft::{Draft, encode_prompt};
use super::frame_prep::FramePrep;
use super::held::Held;
use crate::bank::PromptBank;
use crate::bank::prompt_facts::PromptFacts;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, IgnoreMask};
use crate::methods::Setup;
use crate::view::{Fit, Grid, Normalised, Preprocessing, Tiling};

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
    /// Rows and columns of tiles of an image; 1 x 1 without tiles.
    pub tiles: Grid,
    /// How often the encoder runs for these images: their tiles and rotations.
    pub encodings: usize,
}

/// Takes the normal images of a class one by one. Made by [`crate::Engine::bank_builder`] or
/// [`crate::Engine::append_to`].
pub struct BankBuilder<'e> {
    engine: Held<'e>,
    session: Box<dyn Session>,
    pub(super) draft: Draft,
    prep: FramePrep,
    /// A rotated prompt.
    turned: Vec<u8>,
}

impl<'e> BankBuilder<'e> {
    pub(super) fn new(engine: impl Into<Held<'e>>, setup: Setup, class: &str, fit: Fit) -> Result<Self> {
        let engine = engine.into();
        let draft = Draft::new(&engine, setup, class, fit)?;
        Self::of(engine, draft)
    }

    pub(super) fn from_bank(engine: impl Into<Held<'e>>, bank: &PromptBank) -> Result<Self> {
        Self::of(engine.into(), Draft::of_bank(bank)?)
    }

    fn of(engine: Held<'e>, draft: Draft) -> Result<Self> {
        let session = engine.session(&[(&draft.setup, 1)], 1)?;
        Ok(BankBuilder { engine, session, draft, prep: FramePrep::default(), turned: Vec::new() })
    }

    /// Sets the pixels that are ignored in later prompts and in every query. All images must have the mask's size.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] after the first prompt, which was encoded without the mask.
    pub fn set_mask(&mut self, mask: IgnoreMask) -> Result<()> {
        if !self.draft.prompts.is_empty() {
            return Err(Error::new(
                ErrorKind::Argument,
                "a prompt was already encoded without the ignore mask: set the mask before the first prompt",
            ));
        }
        self.draft.mask = Some(Arc::new(mask));
        Ok(())
    }

    /// Checks that the method makes a bank of `images` more normal images, and that there is enough memory for it.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for too many or too few images for the method, [`ErrorKind::Device`] if there is not enough
    /// memory for a bank of all of them.
    pub fn expect(&self, images: usize) -> Result<()> {
        let prompts = self.draft.prompts.len().saturating_add(images);
        self.draft.setup.method().check_prompts(prompts, self.draft.setup.options())?;
        self.draft.expect_of(&self.engine, images, self.draft.setup.grid(&self.engine.arch().vision)?)
    }

    /// How large the bank of `images` more normal images of `width` x `height` pixels becomes.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where there is no memory for it, [`ErrorKind::Argument`] for frames that cannot be resized.
    pub fn size_with(&self, images: usize, width: usize, height: usize) -> Result<BankSize> {
        let (arch, method, options) = (self.engine.arch(), self.draft.setup.method(), self.draft.setup.options());
        let prompts = self.draft.prompts.len().saturating_add(images);
        let (tiles, grid) = self.draft.views_of(&self.engine, width, height)?;
        // All tiles of an image side by side.
        let all = Grid::new(grid.rows, grid.cols * tiles.cells());
        self.draft.expect_of(&self.engine, images, all)?;
        let turns = method.turns(options)?;
        let rows = turns.saturating_mul(all.cells()).saturating_mul(images);
        let (bytes, here) = self.draft.bytes_with(&self.engine, images, all);
        let note = method.announce(arch, options, prompts, all.cells());
        let encodings = turns.saturating_mul(tiles.cells()).saturating_mul(images);
        Ok(BankSize { rows, bytes, building: bytes.saturating_mul(2) - here, note, tiles, encodings })
    }

    /// How images are cut into tiles; `None` where each is one view.
    pub fn tiling(&self) -> Option<&Tiling> {
        self.draft.setup.tiling()
    }

    /// How scale and overlap of tiles follow from the size of a defect, in words, where they do.
    pub fn tiling_reason(&self) -> Option<String> {
        self.draft.setup.tiling()?.reason(self.draft.setup.cell(&self.engine.arch().vision))
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
        let BankBuilder { engine, session, draft, prep, turned } = self;
        let frame = frame.into();
        draft.check_frame(engine, frame.width(), frame.height())?;
        let frame = prep.on_host(&mut **session, frame, draft.mask.as_deref())?;
        let mut results = encode_prompt(engine, &mut **session, turned, &mut [(0, draft)], frame)?;
        results.pop().unwrap_or(Ok(()))
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
        if self.draft.mask.is_some() {
            let message = "an ignore mask applies to whole pictures, and this image is already cropped: give the \
                original pictures";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.draft.takes_prompts()?;
        if self.draft.setup.tiling().is_some() {
            let message =
                "tiles are cut from whole pictures, and this image is already cropped: give the original pictures";
            return Err(Error::new(ErrorKind::Argument, message));
        }
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
        let (method, own) = (self.draft.setup.method(), &self.engine.arch().vision);
        if method.turns(self.draft.setup.options())? > 1 || self.draft.setup.size(own)? != own.image_size {
            let message = format!(
                "the method `{}` rotates and resizes its pictures, and this image is already cropped: give the \
                original pictures",
                method.name()
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        if self.draft.setup.cell(own) != own.patch_size {
            let message = format!(
                "the method `{}` looks at cells of {} pixels of this model, and this image is already cut into patches of {}: give \
                the original pictures",
                method.name(),
                self.draft.setup.cell(own),
                own.patch_size
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.session.place_normalised(image)?;
        self.session.encode(1)?;
        let all = vec![1.0; self.engine.arch().vision.patches()];
        let view = self.session.prompt(0, &all)?;
        self.draft.keep(&self.engine, image.content_hash(), vec![vec![view]], PromptFacts::default())
    }

    /// Number of prompts so far.
    pub fn len(&self) -> usize {
        self.draft.prompts.len()
    }

    /// Whether there is no prompt yet.
    pub fn is_empty(&self) -> bool {
        self.draft.prompts.is_empty()
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
        let bank = self.draft.bank_of_places(&self.engine, self.staying()?, &mut progress)?;
        match &self.draft.growth {
            Some(growth) => growth.finish(bank),
            None => Ok(bank),
        }
    }

    /// The bank of those prompts whose content hashes, in hexadecimal, are `hashes`: its bits are those of a bank that
    /// is built from these images alone.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a hash that no prompt has; otherwise as [`BankBuilder::finish`].
    pub fn bank_of(&self, hashes: &[&str]) -> Result<PromptBank> {
        self.draft.bank_of(&self.engine, hashes)
    }
}
