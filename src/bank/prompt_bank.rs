//! A class's normal images, reduced to what scoring needs.

use std::path::Path;
use std::sync::Arc;

use super::arrivals::Arrivals;
use super::contents::fit_each;
use super::file;
use super::header::{BankFacts, Header};
use super::prompt_facts::{PromptFacts, PromptsShown};
use crate::atomic_file::write_atomically;
use crate::backend::Precision;
use crate::backend::cpu::Cpu;
use crate::calibration::{Calibration, Thresholds};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Frame, IgnoreMask, WhiteLevel};
use crate::memory;
use crate::methods::{BankContent, Fitting, Method, NamedTensor, Options, Output, Prompt, Setup};
use crate::view::{Fit, Grid, Layout, Look, Tiling};
use crate::weights::{Arch, VisionArch};

/// The prompts of one class for one model and method. It is immutable: put it in an [`Arc`] and share it between
/// scorers.
///
/// It holds what the method keeps of each prompt and of the class name, so scoring needs neither the prompt images nor
/// the text. Prompts are sorted by content hash, so the order in which they were given changes no bit.
pub struct PromptBank {
    pub(super) header: Header,
    pub(super) id: String,
    pub(super) setup: Setup,
    /// What the method keeps: one content, or one for each position of a tile.
    pub(super) contents: Vec<BankContent>,
    pub(super) mask: Option<Arc<IgnoreMask>>,
    pub(super) arrivals: Arrivals,
}

/// Identity of a bank: the first 64 bits of a hash of all its content. Displayed as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BankId(pub u64);

impl std::fmt::Display for BankId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Facts about a bank, for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BankInfo {
    /// Number of prompts, K.
    pub prompts: usize,
    /// How many prompts are copies of another.
    pub duplicates: usize,
    /// The tensors of the method: name and shape. Where each position of a tile has its own, those of the first.
    pub tensors: Vec<(&'static str, Vec<usize>)>,
    /// How many positions of a tile have tensors of their own; 1 where all share them.
    pub positions: usize,
    /// Bytes of all tensors in memory.
    pub bytes: usize,
}

impl PromptBank {
    /// Sorts the prompts and lets the method make a bank of them. There is at least one prompt, if the method takes
    /// any. Each is a list: what it contributes to each content.
    pub(crate) fn assemble(
        setup: Setup,
        facts: BankFacts,
        class_tensors: Vec<NamedTensor>,
        prompts: Vec<Vec<Prompt>>,
        cpu: &mut dyn FnMut() -> Result<Cpu>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        setup.method().check_prompts(prompts.len(), setup.options())?;
        let hash = |prompt: &[Prompt]| prompt.first().map_or([0; 32], |part| part.hash);
        let mut prompts: Vec<(PromptFacts, Vec<Prompt>)> = facts.shown.into_iter().zip(prompts).collect();
        prompts.sort_by_key(|(shown, prompt)| (hash(prompt), *shown));
        let (shown, prompts): (Vec<PromptFacts>, Vec<Vec<Prompt>>) = prompts.into_iter().unzip();
        let hashes = prompts.iter().map(|prompt| hex(&hash(prompt))).collect();
        let mut with = Fitting { options: setup.options(), cpu, progress };
        let count = facts.positions.map_or(1, |positions| positions.tiles);
        let contents = fit_each(setup.method(), count, prompts, &class_tensors, &mut with)?;
        let header = Header {
            version: Header::version_of(&setup),
            method: Some(setup.method().name().to_owned()),
            options: setup.options().to_header(),
            class: facts.class,
            fit: facts.fit,
            model: facts.model,
            prompts: hashes,
            thresholds: None,
            calibration: None,
            mask: facts.mask.as_ref().map(|mask| [mask.width(), mask.height()]),
            rows: Vec::new(),
            shown: PromptsShown::of(&shown),
            tiling: setup.tiling().copied(),
            positions: facts.positions,
        };
        Self::new(setup, header, contents, facts.mask)
    }

    /// A bank of the current version. Its identity follows from its content.
    pub(super) fn new(
        setup: Setup,
        mut header: Header,
        contents: Vec<BankContent>,
        mask: Option<Arc<IgnoreMask>>,
    ) -> Result<Self> {
        header.version = Header::version_of(&setup);
        header.method = Some(setup.method().name().to_owned());
        header.options = setup.options().to_header();
        header.rows = contents.iter().flat_map(|content| content.rows.iter().copied()).collect();
        let id = file::identity(&header, &contents, mask.as_deref())?;
        Ok(PromptBank { header, id, setup, contents, mask, arrivals: Arrivals::default() })
    }

    /// A bank that was read from a file, with the file's identity.
    pub(super) fn from_file(
        setup: Setup,
        header: Header,
        id: String,
        contents: Vec<BankContent>,
        mask: Option<Arc<IgnoreMask>>,
    ) -> Self {
        PromptBank { header, id, setup, contents, mask, arrivals: Arrivals::default() }
    }

    /// Reads a bank that [`PromptBank::save`] wrote, of this or an earlier version.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be read; [`ErrorKind::Bank`] if it is not a bank, has a later format
    /// version, is truncated, does not match its checksum, or has limits outside the range of its outputs. Such a limit
    /// would never reject anything; [`PromptBank::open_without_thresholds`] reads such a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_as(path.as_ref(), Self::from_bytes)
    }

    /// Reads a bank and drops the limits in its file. The identity is that of a bank without limits. Use it to set new
    /// limits in a file that [`PromptBank::open`] refuses because of its limits.
    ///
    /// # Errors
    /// As [`PromptBank::open`], except for the limits.
    pub fn open_without_thresholds(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_as(path.as_ref(), |bytes| file::read(bytes)?.with_thresholds(None))
    }

    fn open_as(path: &Path, parse: impl Fn(&[u8]) -> Result<Self>) -> Result<Self> {
        let size = std::fs::metadata(path).map_or(0, |file| file.len() as usize);
        memory::check("reading a bank", size, "use a bank of fewer normal images").map_err(|error| error.at(path))?;
        let file = std::fs::read(path).map_err(|error| Error::io("read the bank", path, error))?;
        parse(&file).map_err(|error| error.at(path))
    }

    /// Reads a bank from the bytes of its file.
    ///
    /// # Errors
    /// [`ErrorKind::Bank`], as [`PromptBank::open`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bank = file::read(bytes)?;
        if let Some(thresholds) = bank.thresholds() {
            bank.check_limits(thresholds).map_err(|error| {
                let message = "the bank's thresholds are not valid: set others with `inctrl bank calibrate`, or \
                    build the bank again";
                Error::new(ErrorKind::Bank, message).because(error)
            })?;
        }
        Ok(bank)
    }

    /// Writes the bank as one safetensors file, which appears complete or not at all.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let bytes = self.to_bytes()?;
        let path = path.as_ref();
        write_atomically(path, |out| out.write_all(&bytes).map_err(|error| Error::io("write the bank", path, error)))
    }

    /// The bytes of the bank's file, for [`PromptBank::from_bytes`].
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the content does not fit the format.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        file::write(self)
    }

    /// Identity of the bank: the first 64 bits of a hash of all its content, in hexadecimal.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The same identity as a number.
    pub fn bank_id(&self) -> BankId {
        BankId(u64::from_str_radix(&self.id, 16).expect("an identity is 16 digits of a hash in hexadecimal"))
    }

    /// Name of the method that it was built for.
    pub fn method(&self) -> &'static str {
        self.method_entry().name()
    }

    pub(crate) fn method_entry(&self) -> &'static dyn Method {
        self.setup.method()
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// How frames are cut into tiles; `None` where each is one view.
    pub fn tiling(&self) -> Option<&Tiling> {
        self.setup.tiling()
    }

    /// Rows and columns of the map of frames of `width` x `height` pixels, which are looked at in the same way as the
    /// prompts.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for frames that cannot be resized or tiled, or whose map the bank cannot judge.
    pub(crate) fn grid(&self, vision: &VisionArch, width: usize, height: usize) -> Result<Grid> {
        let patch = self.setup.cell(vision);
        let (grid, positions) = match self.tiling() {
            Some(tiling) => {
                let layout = Layout::new(tiling, patch, width, height)?;
                (layout.grid(), layout.positions())
            }
            None => {
                let grid = self.setup.plan(vision, width, height, self.header.fit)?.grid(patch);
                (grid, grid)
            }
        };
        self.check_grid(positions, width, height)?;
        Ok(grid)
    }

    /// The views of a frame of `width` x `height` pixels that are compared with the bank: all of it, or its tiles.
    ///
    /// # Errors
    /// As [`PromptBank::grid`]; [`ErrorKind::Argument`] for a frame that does not have the ignore mask's size,
    /// [`ErrorKind::Device`] where there is no memory for so many tiles.
    pub(crate) fn look(&self, vision: &VisionArch, width: usize, height: usize) -> Result<Look> {
        let look = self.setup.look(vision, width, height, self.header.fit, self.mask())?;
        self.check_grid(look.positions(self.setup.cell(vision)), width, height)?;
        if self.setup.has_bank_per_tile() && look.views.len() != self.positions() {
            let message = format!(
                "the bank has {} positions of a tile, and its frames have {}: build the bank again",
                self.positions(),
                look.views.len()
            );
            return Err(Error::new(ErrorKind::Bank, message));
        }
        Ok(look.of_query())
    }

    /// Refuses a frame whose map, or whose squares, the bank cannot judge.
    fn check_grid(&self, grid: Grid, width: usize, height: usize) -> Result<()> {
        let Some(bound) = self.bound_grid().filter(|bound| *bound != grid) else { return Ok(()) };
        if self.tiling().is_some_and(|tiling| tiling.squares) {
            let message = format!(
                "a frame of {width} x {height} pixels is cut into {grid} squares, but the normal images of the bank into {bound}, and a \
                square is compared with the one at its place: give frames of their shape, or build the bank with bank-per=frame"
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let remedy = match self.tiling() {
            Some(_) => "or build the bank with bank-per=frame, where the method can share tiles",
            None => "or build the bank with a fit that makes all alike, such as stretch",
        };
        let message = format!(
            "a frame of {width} x {height} pixels has {grid} patches, and the bank of the method `{}` knows each place of {bound}: \
             give frames of the shape of its normal images, {remedy}",
            self.method()
        );
        Err(Error::new(ErrorKind::Argument, message))
    }

    /// The one grid of a frame's map, or of its squares, that it judges, if it is bound to one.
    pub(crate) fn bound_grid(&self) -> Option<Grid> {
        match (self.header.positions, self.tiling(), &self.contents[..]) {
            (Some(positions), ..) => Some(positions.grid),
            (None, None, [content]) => self.method_entry().bound_grid(content),
            _ => None,
        }
    }

    /// The method's options that it was built with.
    pub fn options(&self) -> &Options {
        self.setup.options()
    }

    /// The mask of pixels that are ignored in prompts and queries, if there is one.
    pub fn mask(&self) -> Option<&IgnoreMask> {
        self.mask.as_deref()
    }

    pub(crate) fn shared_mask(&self) -> Option<Arc<IgnoreMask>> {
        self.mask.clone()
    }

    /// The class name that it was built with.
    pub fn class(&self) -> &str {
        &self.header.class
    }

    /// " of class `nut`" for messages; nothing if it was built without a class.
    pub(crate) fn of_class(&self) -> String {
        of_class(&self.header.class)
    }

    /// How its images were fitted to the model's input. Queries are fitted in the same way.
    pub fn fit(&self) -> Fit {
        self.header.fit
    }

    /// The outputs of its scores, with the ranges that limits must lie in. The first is the score.
    pub fn outputs(&self) -> &'static [Output] {
        self.method_entry().outputs()
    }

    pub(crate) fn check_limits(&self, thresholds: &Thresholds) -> Result<()> {
        thresholds.check(&self.method_entry().outputs()[0], &self.method_entry().cells())
    }

    /// The limits for its scores, if it has any.
    pub fn thresholds(&self) -> Option<&Thresholds> {
        self.header.thresholds.as_ref()
    }

    /// The same bank with other limits, or without limits. Its identity changes; the features are shared.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] as [`Thresholds::check`].
    pub fn with_thresholds(&self, thresholds: Option<Thresholds>) -> Result<Self> {
        if let Some(thresholds) = &thresholds {
            self.check_limits(thresholds)?;
        }
        self.with_limits(thresholds, None)
    }

    /// The scores of good parts that its thresholds were computed from, if they were.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.header.calibration.as_ref()
    }

    /// The same bank with a calibration and its thresholds.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where no limit keeps the calibration's promise, because good parts have the largest
    /// possible score.
    pub fn with_calibration(&self, calibration: Calibration) -> Result<Self> {
        let thresholds = calibration.thresholds();
        self.check_limits(&thresholds).map_err(|error| {
            let message = "no limit lies above the scores of these good images: look at those that score highest, or \
                add prompts that are similar to them";
            Error::new(ErrorKind::Argument, message).because(error)
        })?;
        self.with_limits(Some(thresholds), Some(calibration))
    }

    /// The same bank with these limits, which hold for all its prompts.
    pub(crate) fn with_limits(&self, thresholds: Option<Thresholds>, calibration: Option<Calibration>) -> Result<Self> {
        let header = Header { thresholds, calibration, ..self.header.clone() };
        let changed = Self::new(self.setup.clone(), header, self.contents.clone(), self.mask.clone())?;
        Ok(changed.with_arrivals(self.arrivals.limits_set()))
    }

    /// Content hashes, in hexadecimal, of the prompts that were appended under a cap on rows, oldest first: the first of
    /// them leaves first ([`crate::BankBuilder::limit_rows`]).
    pub fn appended(&self) -> &[String] {
        self.arrivals.order()
    }

    /// The same bank, whose prompts were appended in this order.
    pub(crate) fn with_arrivals(self, arrivals: Arrivals) -> Self {
        PromptBank { arrivals, ..self }
    }

    pub(crate) fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// How many rows all prompts have together: the patches of their views. 0 for banks that do not keep prompts apart.
    pub fn rows(&self) -> usize {
        self.header.rows.iter().sum()
    }

    /// Hash of the model that it was built with.
    pub fn model_hash(&self) -> &str {
        &self.header.model
    }

    /// Content hash of each prompt image (size, channels and pixels), in hexadecimal, ascending.
    pub fn prompt_hashes(&self) -> &[String] {
        &self.header.prompts
    }

    /// For each prompt image the share of its area, from 0 to 1, that the fit left out, in the order of
    /// [`PromptBank::prompt_hashes`]. Empty where nothing was left out. Queries of the same shape are cut in the same
    /// way.
    pub fn unseen(&self) -> impl Iterator<Item = f64> + '_ {
        self.header.shown.iter().flat_map(PromptsShown::unseen)
    }

    /// The white level declared for the prompts, or the largest if there are several. Also `None` where it is the full
    /// 16 bits.
    pub fn white_level(&self) -> Option<WhiteLevel> {
        self.header.shown.as_ref().and_then(PromptsShown::white_level)
    }

    /// Checks the brightness of a picture that is to be used with this bank, for example in a calibration.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a frame with a [`Frame::depth_doubt`], and for a 16-bit frame without a white level
    /// where the prompts have one.
    pub fn check_depth(&self, frame: &Frame<'_>) -> Result<()> {
        frame.depth_doubt_beside(self.white_level()).map_or(Ok(()), |doubt| Err(doubt.refuse()))
    }

    pub(crate) fn prompt_facts(&self, k: usize) -> PromptFacts {
        self.header.shown.as_ref().map_or_else(PromptFacts::default, |shown| shown.prompt(k))
    }

    /// Sizes, for display.
    pub fn info(&self) -> BankInfo {
        let duplicates = self.header.prompts.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let tensors = self.contents.iter().flat_map(|content| &content.tensors);
        let first = self.contents.iter().take(1).flat_map(|content| &content.tensors);
        BankInfo {
            prompts: self.header.prompts.len(),
            duplicates,
            tensors: first.map(|tensor| (tensor.name, tensor.shape.clone())).collect(),
            positions: self.contents.len(),
            bytes: tensors.map(|tensor| size_of_val(&tensor.values[..])).sum(),
        }
    }

    /// The method's tensor of this name, with its shape. Where each position of a tile has its own, that of the first;
    /// [`PromptBank::tensor_at`] gives the others.
    pub fn tensor(&self, name: &str) -> Option<(&[f32], &[usize])> {
        self.tensor_at(0, name)
    }

    /// The method's tensor of this name at a position of a tile, counted row by row over the tiles that an ignore mask
    /// does not cover.
    pub fn tensor_at(&self, position: usize, name: &str) -> Option<(&[f32], &[usize])> {
        let tensor = self.contents.get(position)?.tensors.iter().find(|tensor| tensor.name == name)?;
        Some((&tensor.values, &tensor.shape))
    }

    /// Checks that the bank belongs to this model.
    pub(crate) fn check_model(&self, model: &str, arch: &Arch) -> Result<()> {
        if self.header.model == model {
            self.setup.check_tile(&arch.vision).map_err(|error| {
                Error::new(ErrorKind::Bank, "the bank's tiles are not for this model: build the bank again")
                    .because(error)
            })?;
            let (method, prompts) = (self.method_entry(), self.header.prompts.len());
            let mut contents = self.contents.iter();
            return contents.try_for_each(|content| method.check_bank(content, prompts, arch, self.options()));
        }
        Err(Error::new(
            ErrorKind::Bank,
            format!(
                "the bank{} was built with model {}, but the weights are model {model}: build the bank \
                again with these weights",
                self.of_class(),
                self.header.model
            ),
        ))
    }

    /// An error where the bank's limits come from scores in another precision.
    pub(crate) fn check_precision(&self, precision: Precision) -> Result<()> {
        let Some(calibration) = self.calibration().filter(|calibration| !calibration.holds_in(precision)) else {
            return Ok(());
        };
        let other = calibration.precision().map_or("f32 or f16", Precision::name);
        Err(Error::new(
            ErrorKind::Bank,
            format!(
                "the limits of the bank{} were calibrated on scores in {other}, the engine computes in {precision}: \
                 calibrate the bank again with an engine in {precision} (`inctrl verify` says what would change, and does it with -o), \
                 or open the engine in {other}",
                self.of_class()
            ),
        ))
    }
}

impl std::fmt::Debug for PromptBank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromptBank").field("id", &self.id).field("header", &self.header).finish_non_exhaustive()
    }
}

fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// " of class `nut`" for messages; nothing if the class has no name.
pub(crate) fn of_class(class: &str) -> String {
    if class.is_empty() { String::new() } else { format!(" of class `{class}`") }
}
