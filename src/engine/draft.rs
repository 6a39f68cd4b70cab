//! [`Draft`]: what is kept of normal images until they become a bank, and how they are encoded for one or several banks.

use std::sync::Arc;

use super::device::Session;
use super::growth::Growth;
use super::shared::Engine;
use crate::bank::PromptBank;
use crate::bank::header::{BankFacts, Positions};
use crate::bank::prompt_bank::of_class;
use crate::bank::prompt_facts::PromptFacts;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{DepthDoubt, Frame, IgnoreMask, WhiteLevel};
use crate::memory;
use crate::methods::{Fitting, NamedTensor, Prompt, Setup};
use crate::view::{Fit, Grid, Look, Placement, Turn, rotate, rotate_mask};

/// The normal images of a class, as one method sees them.
pub(super) struct Draft {
    pub setup: Setup,
    pub class: String,
    pub fit: Fit,
    class_tensors: Vec<NamedTensor>,
    pub mask: Option<Arc<IgnoreMask>>,
    /// What each normal image contributes to each content of the bank.
    pub prompts: Vec<Vec<Prompt>>,
    /// The frames of a bank for each position of a tile, once there is one.
    positions: Option<Positions>,
    /// How each prompt was shown to the model.
    pub facts: Vec<PromptFacts>,
    /// What was declared of the brightness of the prompts.
    pub brightness: Brightness,
    /// How a bank grows that it began with.
    pub growth: Option<Growth>,
}

/// What was declared of the brightness of images.
#[derive(Clone, Copy, Default)]
pub(super) struct Brightness {
    /// Their white level.
    pub white: Option<WhiteLevel>,
    /// Whether one of 16 bits had none.
    undeclared: bool,
}

/// A normal image that is being encoded.
struct Pending {
    look: Look,
    facts: PromptFacts,
    white: Option<WhiteLevel>,
    undeclared: bool,
    hash: [u8; 32],
    /// Its rotations; `None` is the image as it is.
    turns: Vec<Option<Turn>>,
    /// What each view of each of them contributes.
    found: Vec<Vec<Vec<NamedTensor>>>,
}

impl Pending {
    /// Keeps what a view of a rotation contributes.
    fn keep(&mut self, turn: Option<Turn>, tensors: &[NamedTensor]) {
        for (_, found) in self.turns.iter().zip(&mut self.found).filter(|(own, _)| **own == turn) {
            found.push(tensors.to_vec());
        }
    }
}

impl Draft {
    pub fn new(engine: &Engine, setup: Setup, class: &str, fit: Fit) -> Result<Self> {
        // The text tower always runs on the CPU: it runs once per class and is not worth a GPU's memory.
        let method = setup.method();
        let class_tensors = if method.reads_class() {
            method.class_tensors(&mut engine.options().text_cpu()?, engine.weights(), class)?
        } else {
            Vec::new()
        };
        Ok(Draft {
            setup,
            class: class.to_owned(),
            fit,
            class_tensors,
            mask: None,
            prompts: Vec::new(),
            positions: None,
            facts: Vec::new(),
            brightness: Brightness::default(),
            growth: None,
        })
    }

    /// That of a finished bank.
    pub fn of_bank(bank: &PromptBank) -> Result<Self> {
        let all: Vec<usize> = (0..bank.prompt_hashes().len()).collect();
        let (prompts, class_tensors) = bank.take_apart(&all)?;
        Ok(Draft {
            setup: bank.setup().clone(),
            class: bank.class().to_owned(),
            fit: bank.fit(),
            class_tensors,
            mask: bank.shared_mask(),
            facts: (0..prompts.len()).map(|k| bank.prompt_facts(k)).collect(),
            prompts,
            positions: bank.frame_positions(),
            brightness: Brightness { white: bank.white_level(), undeclared: false },
            growth: Some(Growth::of(bank)),
        })
    }

    /// Rows and columns of tiles of an image of `width` x `height` pixels, and the grid of each.
    pub fn views_of(&self, engine: &Engine, width: usize, height: usize) -> Result<(Grid, Grid)> {
        self.setup.views_of(&engine.arch().vision, width, height, self.fit)
    }

    /// Bytes of the bank with `images` more images whose views are of `grid`, and of the prompts that are here.
    pub fn bytes_with(&self, engine: &Engine, images: usize, grid: Grid) -> (usize, usize) {
        let each = self.setup.method().prompt_bytes(engine.arch(), self.setup.options(), grid.cells());
        let here = self.prompts.iter().flatten().flat_map(|prompt| &prompt.tensors);
        let here: usize = here.map(|tensor| size_of_val(&tensor.values[..])).sum();
        (here.saturating_add(each.saturating_mul(images)), here)
    }

    /// Checks that there is memory for a bank with `images` more images whose views are of `grid`.
    pub fn expect_of(&self, engine: &Engine, images: usize, grid: Grid) -> Result<()> {
        let prompts = self.prompts.len().saturating_add(images);
        let (bytes, here) = self.bytes_with(engine, images, grid);
        // Features exist twice (per image, in the bank's order), less those already held.
        let bytes = bytes.saturating_mul(2) - here;
        memory::check(
            &format!("a bank of {prompts} normal images"),
            bytes,
            "use fewer normal images, or fewer rotations",
        )
    }

    /// Refuses a frame of this size, or one for which there is no memory.
    pub fn check_frame(&self, engine: &Engine, width: usize, height: usize) -> Result<()> {
        self.takes_prompts()?;
        let (tiles, grid) = self.views_of(engine, width, height)?;
        self.expect_of(engine, 1, Grid::new(grid.rows, grid.cols * tiles.cells()))
    }

    /// How a frame, as the model sees it, will be encoded.
    fn begin(&self, engine: &Engine, frame: &Frame<'_>) -> Result<Pending> {
        let vision = &engine.arch().vision;
        let (width, height) = (frame.width(), frame.height());
        let (white, undeclared) = (frame.white_level(), frame.is_undeclared());
        if let Some(doubt) = frame.depth_doubt_beside(self.brightness.white) {
            return Err(doubt.refuse());
        }
        let look = self.setup.look(vision, width, height, self.fit, self.mask.as_deref())?;
        let facts = PromptFacts::new(seen_of(&look, self.setup.cell(vision)), width, height, white);
        if let Some(prompts) = white.filter(|_| self.brightness.undeclared && facts.white > 0) {
            return Err(Error::new(
                ErrorKind::Argument,
                format!(
                    "the white level is {prompts}, but earlier 16-bit images had none: {}",
                    DepthDoubt::Undeclared { prompts }
                ),
            ));
        }
        let hash = frame.content_hash()?;
        if self.setup.has_bank_per_tile() {
            self.check_positions(engine, &look, width, height)?;
        }
        let turns = self.setup.method().views(self.setup.options(), &hash)?;
        let turns: Vec<Option<Turn>> = turns.into_iter().enumerate().map(|(i, turn)| (i > 0).then_some(turn)).collect();
        let found = vec![Vec::with_capacity(look.views.len()); turns.len()];
        Ok(Pending { look, facts, white, undeclared, hash, turns, found })
    }

    /// Keeps a frame whose views are all encoded.
    fn finish(&mut self, engine: &Engine, pending: Pending) -> Result<()> {
        let Pending { look, facts, white, undeclared, hash, found, .. } = pending;
        let per_tile = self.setup.has_bank_per_tile();
        // Of each content, its views of this image.
        let mut contents: Vec<Vec<Vec<NamedTensor>>> = vec![Vec::new(); if per_tile { look.views.len() } else { 1 }];
        for (view, tensors) in found.into_iter().flat_map(|views| views.into_iter().enumerate()) {
            contents[if per_tile { view } else { 0 }].push(tensors);
        }
        self.keep(engine, hash, contents, facts)?;
        self.positions = if per_tile { Positions::of(&look, self.setup.cell(&engine.arch().vision)) } else { None };
        let all = &mut self.brightness;
        all.white = all.white.max(white.filter(|_| facts.white > 0));
        all.undeclared |= undeclared;
        Ok(())
    }

    /// Refuses an image whose tiles are not those of the images before it, where each position has its own bank.
    fn check_positions(&self, engine: &Engine, look: &Look, width: usize, height: usize) -> Result<()> {
        let own = Positions::of(look, self.setup.cell(&engine.arch().vision));
        if self.positions.is_none() || self.positions == own {
            return Ok(());
        }
        let grid = |positions: Option<Positions>| positions.map_or_else(Grid::default, |positions| positions.grid);
        if self.setup.tiling().is_some_and(|tiling| tiling.squares) {
            let message = format!(
                "an image of {width} x {height} pixels is cut into {} squares, and the images before it into {}: with a bank for each \
                 position all images must have as many; use images of one shape, or bank-per=frame",
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

    /// An error where the method takes no normal images at all.
    pub fn takes_prompts(&self) -> Result<()> {
        let method = self.setup.method();
        if method.takes_prompts() { Ok(()) } else { method.check_prompts(1, self.setup.options()) }
    }

    /// Keeps the features of an image's views: of each content its own.
    pub fn keep(
        &mut self,
        engine: &Engine,
        hash: [u8; 32],
        found: Vec<Vec<Vec<NamedTensor>>>,
        facts: PromptFacts,
    ) -> Result<()> {
        let mut cpu = || engine.options().text_cpu();
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
    pub fn has(&self, hash: &[u8; 32]) -> bool {
        self.prompts.iter().any(|prompt| hash_of(prompt) == *hash)
    }

    /// The bank of those prompts whose content hashes, in hexadecimal, are `hashes`: its bits are those of a bank that
    /// is built from these images alone.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a hash that no prompt has; otherwise as [`BankBuilder::finish`].
    pub fn bank_of(&self, engine: &Engine, hashes: &[&str]) -> Result<PromptBank> {
        let place = |hash: &&str| {
            let is = |prompt: &Prompt| blake3::Hash::from_bytes(prompt.hash).to_hex() == **hash;
            let found = self.prompts.iter().position(|prompt| prompt.first().is_some_and(is));
            found.ok_or_else(|| Error::new(ErrorKind::Argument, format!("no prompt has the content hash {hash}")))
        };
        self.bank_of_places(engine, hashes.iter().map(place).collect::<Result<_>>()?, &mut |_, _| {})
    }

    pub fn bank_of_places(
        &self,
        engine: &Engine,
        places: Vec<usize>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<PromptBank> {
        if places.is_empty() && self.setup.method().takes_prompts() {
            let message = format!("no normal image{}: a bank needs at least one", of_class(&self.class));
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let facts = BankFacts {
            class: self.class.clone(),
            fit: self.fit,
            model: engine.model_hash().to_owned(),
            mask: self.mask.clone(),
            shown: places.iter().map(|&place| self.facts[place]).collect(),
            positions: self.positions,
        };
        let prompts = places.iter().map(|&place| self.prompts[place].clone()).collect();
        let mut cpu = || engine.options().text_cpu();
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

/// Encodes each view of a normal image, as the model sees it, once for all `drafts`, which look at it alike: the image, and
/// its rotations, of which each draft takes its own. With each draft stands the number of its method in the session. Returns
/// how each fared.
///
/// # Errors
/// As [`Session::place`] and [`Session::encode`]; then no draft has the image.
pub(super) fn encode_prompt(
    engine: &Engine,
    session: &mut dyn Session,
    turned: &mut Vec<u8>,
    drafts: &mut [(usize, &mut Draft)],
    frame: Frame<'_>,
) -> Result<Vec<Result<()>>> {
    let vision = &engine.arch().vision;
    let mut all: Vec<Result<Pending>> = drafts.iter().map(|(_, draft)| draft.begin(engine, &frame)).collect();
    let mut turns: Vec<Option<Turn>> = Vec::new();
    for turn in all.iter().flatten().flat_map(|pending| &pending.turns) {
        if !turns.contains(turn) {
            turns.push(*turn);
        }
    }
    for turn in turns {
        let is_its = |pending: &&Result<Pending>| pending.as_ref().is_ok_and(|own| own.turns.contains(&turn));
        // Those that are alike have one look. An earlier rotation may have failed for them.
        let Some((first, Ok(pending))) = all.iter().enumerate().find(|(_, pending)| is_its(pending)) else { continue };
        let mut look = pending.look.clone();
        let mut shown = frame;
        if let Some(turn) = turn {
            shown = rotate(&frame, turn, turned)?;
            // Without a mask the views of a turned frame are the same.
            if let Some(mask) = &drafts[first].1.mask {
                let mask = rotate_mask(mask, turn)?;
                let (setup, fit) = (&drafts[first].1.setup, drafts[first].1.fit);
                look = setup.look(vision, frame.width(), frame.height(), fit, Some(&mask))?;
            }
        }
        for view in &look.views {
            session.prepare(view.grid(drafts[first].1.setup.cell(vision)))?;
            session.place(shown.into(), std::slice::from_ref(view), 0)?;
            session.encode(1)?;
            for ((method, _), entry) in drafts.iter().zip(&mut all) {
                let Some(pending) = entry.as_mut().ok().filter(|own| own.turns.contains(&turn)) else { continue };
                match session.prompt(*method, view.valid()) {
                    Ok(tensors) => pending.keep(turn, &tensors),
                    Err(error) => *entry = Err(error),
                }
            }
        }
    }
    let finished = all.into_iter().zip(drafts).map(|(pending, (_, draft))| draft.finish(engine, pending?));
    Ok(finished.collect())
}

/// The part of a frame that is looked at.
fn seen_of(look: &Look, patch: usize) -> Placement {
    match (&look.tiled, look.views.first()) {
        (Some(tiled), _) => tiled.layout.placement(),
        (None, Some(view)) => view.placement(patch),
        (None, None) => Placement { x: 0.0, y: 0.0, width: 0.0, height: 0.0 },
    }
}
