//! Builds a bank: encodes the class name once, then each prompt image once.

use std::sync::Arc;

use super::device::Session;
use super::frame_prep::FramePrep;
use super::growth::Growth;
use super::held::Held;
use crate::bank::PromptBank;
use crate::bank::header::{BankFacts, Positions};
use crate::bank::prompt_bank::of_class;
use crate::bank::prompt_facts::PromptFacts;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DepthDoubt, Frame, IgnoreMask, WhiteLevel};
use crate::memory;
use crate::methods::{Fitting, NamedTensor, Prompt, Setup};
use crate::view::{Fit, Grid, Layout, Look, Normalised, Placement, Preprocessing, Tiling, rotate, rotate_mask};

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
    pub(super) setup: Setup,
    class: String,
    fit: Fit,
    class_tensors: Vec<NamedTensor>,
    mask: Option<Arc<IgnoreMask>>,
    /// What each normal image contributes to each content of the bank.
    pub(super) prompts: Vec<Vec<Prompt>>,
    /// The frames of a bank for each position of a tile, once there is one.
    positions: Option<Positions>,
    /// How each prompt was shown to the model.
    pub(super) facts: Vec<PromptFacts>,
    prep: FramePrep,
    /// A rotated prompt.
    turned: Vec<u8>,
    /// The white level declared for the prompts.
    white: Option<WhiteLevel>,
    /// Whether a 16-bit prompt had no declared white level.
    undeclared: bool,
    /// How a bank grows that it began with.
    pub(super) growth: Option<Growth>,
}

impl<'e> BankBuilder<'e> {
    pub(super) fn new(engine: impl Into<Held<'e>>, setup: Setup, class: &str, fit: Fit) -> Result<Self> {
        let engine = engine.into();
        // The text tower always runs on the CPU: it runs once per class and is not worth a GPU's memory.
        let method = setup.method();
        let class_tensors = if method.reads_class() {
            method.class_tensors(&mut engine.options().text_cpu()?, engine.weights(), class)?
        } else {
            Vec::new()
        };
        Ok(BankBuilder {
            session: engine.session(Some(&setup), 1, 1)?,
            engine,
            setup,
            class: class.to_owned(),
            fit,
            class_tensors,
            mask: None,
            prompts: Vec::new(),
            positions: None,
            facts: Vec::new(),
            prep: FramePrep::default(),
            turned: Vec::new(),
            white: None,
            undeclared: false,
            growth: None,
        })
    }

    pub(super) fn from_bank(engine: impl Into<Held<'e>>, bank: &PromptBank) -> Result<Self> {
        let engine = engine.into();
        let all: Vec<usize> = (0..bank.prompt_hashes().len()).collect();
        let (prompts, class_tensors) = bank.take_apart(&all)?;
        Ok(BankBuilder {
            session: engine.session(Some(bank.setup()), 1, 1)?,
            engine,
            setup: bank.setup().clone(),
            class: bank.class().to_owned(),
            fit: bank.fit(),
            class_tensors,
            mask: bank.shared_mask(),
            facts: (0..prompts.len()).map(|k| bank.prompt_facts(k)).collect(),
            prompts,
            positions: bank.frame_positions(),
            prep: FramePrep::default(),
            turned: Vec::new(),
            white: bank.white_level(),
            undeclared: false,
            growth: Some(Growth::of(bank)),
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
        let (tiles, grid) = self.views_of(width, height)?;
        // All tiles of an image side by side.
        let all = Grid::new(grid.rows, grid.cols * tiles.cells());
        self.expect_of(images, all)?;
        let turns = method.turns(options)?;
        let rows = turns.saturating_mul(all.cells()).saturating_mul(images);
        let (bytes, here) = self.bytes_with(images, all);
        let note = method.announce(arch, options, prompts, all.cells());
        let encodings = turns.saturating_mul(tiles.cells()).saturating_mul(images);
        Ok(BankSize { rows, bytes, building: bytes.saturating_mul(2) - here, note, tiles, encodings })
    }

    /// Rows and columns of tiles of an image of `width` x `height` pixels, and the grid of each.
    fn views_of(&self, width: usize, height: usize) -> Result<(Grid, Grid)> {
        let vision = &self.engine.arch().vision;
        let Some(tiling) = self.setup.tiling() else {
            let grid = self.setup.plan(vision, width, height, self.fit)?.grid(self.setup.cell(vision));
            return Ok((Grid::square(1), grid));
        };
        let layout = Layout::new(tiling, self.setup.cell(vision), width, height)?;
        Ok((layout.tiles(), layout.tile_grid()))
    }

    /// How images are cut into tiles; `None` where each is one view.
    pub fn tiling(&self) -> Option<&Tiling> {
        self.setup.tiling()
    }

    /// How scale and overlap of tiles follow from the size of a defect, in words, where they do.
    pub fn tiling_reason(&self) -> Option<String> {
        self.setup.tiling()?.reason(self.setup.cell(&self.engine.arch().vision))
    }

    /// Bytes of the bank with `images` more images whose views are of `grid`, and of the prompts that are here.
    fn bytes_with(&self, images: usize, grid: Grid) -> (usize, usize) {
        let each = self.setup.method().prompt_bytes(self.engine.arch(), self.setup.options(), grid.cells());
        let here = self.prompts.iter().flatten().flat_map(|prompt| &prompt.tensors);
        let here: usize = here.map(|tensor| size_of_val(&tensor.values[..])).sum();
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
        let (width, height) = (frame.width(), frame.height());
        let (tiles, grid) = self.views_of(width, height)?;
        self.expect_of(1, Grid::new(grid.rows, grid.cols * tiles.cells()))?;
        let mut prep = std::mem::take(&mut self.prep);
        let added = prep
            .on_host(&mut *self.session, frame, self.mask.as_deref())
            .and_then(|frame| self.add_prepared(frame, grid));
        self.prep = prep;
        added
    }

    /// Adds an image as the model sees it, whose views are of `grid`.
    fn add_prepared(&mut self, frame: Frame<'_>, grid: Grid) -> Result<()> {
        let (engine, mask) = (self.engine.clone(), self.mask.clone());
        let (vision, mask) = (&engine.arch().vision, mask.as_deref());
        let (width, height) = (frame.width(), frame.height());
        let (white, undeclared) = (frame.white_level(), frame.is_undeclared());
        if let Some(doubt) = frame.depth_doubt_beside(self.white) {
            return Err(doubt.refuse());
        }
        let look = self.setup.look(vision, width, height, self.fit, mask)?;
        let facts = PromptFacts::new(seen_of(&look, self.setup.cell(vision)), width, height, white);
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
        let per_tile = self.setup.has_bank_per_tile();
        if per_tile {
            self.check_positions(&look, width, height)?;
        }
        let turns = self.setup.method().views(self.setup.options(), &hash)?;
        // Of each content, its views of this image.
        let mut found: Vec<Vec<Vec<NamedTensor>>> = vec![Vec::new(); if per_tile { look.views.len() } else { 1 }];
        let mut keep = |view: usize, tensors| found[if per_tile { view } else { 0 }].push(tensors);
        for (i, &turn) in turns.iter().enumerate() {
            match i {
                0 => encode(&mut *self.session, frame, &look, &mut keep)?,
                _ => {
                    let frame = rotate(&frame, turn, &mut self.turned)?;
                    match mask {
                        // Without a mask the views of a turned frame are the same.
                        None => encode(&mut *self.session, frame, &look, &mut keep)?,
                        Some(mask) => {
                            let mask = rotate_mask(mask, turn)?;
                            let look = self.setup.look(vision, width, height, self.fit, Some(&mask))?;
                            encode(&mut *self.session, frame, &look, &mut keep)?;
                        }
                    }
                }
            }
        }
        self.keep(hash, found, facts)?;
        self.positions = if per_tile { Positions::of(&look, self.setup.cell(vision)) } else { None };
        self.white = self.white.max(white.filter(|_| facts.white > 0));
        self.undeclared |= undeclared;
        Ok(())
    }

    /// Refuses an image whose tiles are not those of the images before it, where each position has its own bank.
    fn check_positions(&self, look: &Look, width: usize, height: usize) -> Result<()> {
        let own = Positions::of(look, self.setup.cell(&self.engine.arch().vision));
        if self.positions.is_none() || self.positions == own {
            return Ok(());
        }
        let grid = |positions: Option<Positions>| positions.map_or_else(Grid::default, |positions| positions.grid);
        if self.setup.tiling().is_some_and(|tiling| tiling.squares) {
            let message = format!(
                "an image of {width} x {height} pixels is cut into {} squares, and the images before it into {}: with a bank for each \
                 position all images must have one shape; use bank-per=frame for others",
                grid(own),
                grid(self.positions)
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let message = format!(
            "an image of {width} x {height} pixels is tiled over {} patches, and the images before it over {}: with a bank for each \
             position all images must have one shape; use bank-per=frame for others",
            grid(own),
            grid(self.positions)
        );
        Err(Error::new(ErrorKind::Argument, message))
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
        if self.setup.tiling().is_some() {
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
        let (method, own) = (self.setup.method(), &self.engine.arch().vision);
        if method.turns(self.setup.options())? > 1 || self.setup.size(own)? != own.image_size {
            let message = format!(
                "the method `{}` rotates and resizes its pictures, and this image is already cropped: give the \
                original pictures",
                method.name()
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        if self.setup.cell(own) != own.patch_size {
            let message = format!(
                "the method `{}` looks at cells of {} pixels of this model, and this image is already cut into patches of {}: give \
                the original pictures",
                method.name(),
                self.setup.cell(own),
                own.patch_size
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.session.place_normalised(image)?;
        self.session.encode(1)?;
        let all = vec![1.0; self.engine.arch().vision.patches()];
        let view = self.session.prompt(&all)?;
        self.keep(image.content_hash(), vec![vec![view]], PromptFacts::default())
    }

    /// An error where the method takes no normal images at all.
    fn takes_prompts(&self) -> Result<()> {
        let method = self.setup.method();
        if method.takes_prompts() { Ok(()) } else { method.check_prompts(1, self.setup.options()) }
    }

    /// Keeps the features of an image's views: of each content its own.
    fn keep(&mut self, hash: [u8; 32], found: Vec<Vec<Vec<NamedTensor>>>, facts: PromptFacts) -> Result<()> {
        let mut cpu = || self.engine.options().text_cpu();
        let mut with = Fitting { options: self.setup.options(), cpu: &mut cpu, progress: &mut |_, _| {} };
        let method = self.setup.method();
        let prompt = |views| Ok(Prompt { hash, tensors: method.join_views(views, &mut with)? });
        let is_new = !self.has(&hash);
        self.prompts.push(found.into_iter().map(prompt).collect::<Result<_>>()?);
        self.facts.push(facts);
        if let Some(growth) = self.growth.as_mut().filter(|_| is_new) {
            growth.arrivals.push(hex(&hash));
        }
        Ok(())
    }

    /// Whether there is a prompt with this content hash.
    pub(super) fn has(&self, hash: &[u8; 32]) -> bool {
        self.prompts.iter().any(|prompt| hash_of(prompt) == *hash)
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
        let bank = self.bank_of_places(self.staying()?, &mut progress)?;
        match &self.growth {
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
        let place = |hash: &&str| {
            let is = |prompt: &Prompt| blake3::Hash::from_bytes(prompt.hash).to_hex() == **hash;
            let found = self.prompts.iter().position(|prompt| prompt.first().is_some_and(is));
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
            positions: self.positions,
        };
        let prompts = places.iter().map(|&place| self.prompts[place].clone()).collect();
        let mut cpu = || self.engine.options().text_cpu();
        PromptBank::assemble(self.setup.clone(), facts, self.class_tensors.clone(), prompts, &mut cpu, progress)
    }
}

/// The content hash of a prompt, of which these are the contributions to each content.
pub(super) fn hash_of(prompt: &[Prompt]) -> [u8; 32] {
    prompt.first().map_or([0; 32], |part| part.hash)
}

pub(super) fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// Encodes the views of a frame one by one; `keep` is called with each view's index and what it contributes to a bank.
fn encode(
    session: &mut dyn Session,
    frame: Frame<'_>,
    look: &Look,
    keep: &mut impl FnMut(usize, Vec<NamedTensor>),
) -> Result<()> {
    for (i, view) in look.views.iter().enumerate() {
        session.place(frame.into(), std::slice::from_ref(view), 0)?;
        session.encode(1)?;
        keep(i, session.prompt(view.valid())?);
    }
    Ok(())
}

/// The part of a frame that is looked at.
fn seen_of(look: &Look, patch: usize) -> Placement {
    match (&look.tiled, look.views.first()) {
        (Some(tiled), _) => tiled.layout.placement(),
        (None, Some(view)) => view.placement(patch),
        (None, None) => Placement { x: 0.0, y: 0.0, width: 0.0, height: 0.0 },
    }
}
