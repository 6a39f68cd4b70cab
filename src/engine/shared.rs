//! The engine: a model's weights on a device.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::batch::Batch;
use super::device::{self, DeviceBank, Model, Session};
use super::estimate::{self, PipelineSize};
use super::pipeline;
use super::{BankBuilder, Looks, MultiBankBuilder, MultiBankScorer, MultiMethodScorer, RoiScorer, Scorer, SharedBank};
use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::CudaOptions;
use crate::backend::{MAX_BANKS, Precision, Role};
use crate::bank::PromptBank;
use crate::error::{Error, ErrorKind, Result};
use crate::image::AnyFrame;
use crate::memory;
use crate::methods::{self, Setup};
use crate::tensor::DType;
use crate::view::{Fit, Grid};
use crate::weights::{Arch, LoadOptions, Weights};

/// The largest number of images that a scorer encodes at once. Larger batches are no faster.
const MAX_CAPACITY: usize = 1024;

/// How often scoring against many banks holds a bank: its rows, the bytes for the search, and the groups of prompts that
/// banks share, with theirs.
pub const SCORING_COPIES: usize = 3;

/// How many tiles of an image a scorer encodes at once, at least.
const TILES_AT_ONCE: usize = 8;

/// Where an engine runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The fastest device available.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU, counted from 0 as the driver counts them.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    /// `auto`, `cpu`, `cuda` (the first GPU) or `cuda:N`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => return Ok(Device::Auto),
            "cpu" => return Ok(Device::Cpu),
            "cuda" => return Ok(Device::Cuda(0)),
            _ => {}
        }
        let ordinal = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        ordinal.map(Device::Cuda).ok_or_else(|| {
            Error::new(ErrorKind::Argument, format!("{text:?} is not a device: use auto, cpu, cuda or cuda:N"))
        })
    }
}

/// How to open an [`Engine`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineOptions {
    /// The weights: files and configuration.
    pub weights: LoadOptions,
    /// Where to run.
    pub device: Device,
    /// CPU threads for all scorers of the engine together: the threads that call scorers, and the engine's own that
    /// help them. Default: all cores. If more scorers are called at once than there are threads, each works on its
    /// caller's thread alone.
    pub threads: Option<NonZeroUsize>,
    /// The arithmetic. Default: what the device usually computes in, f16 on a GPU and f32 on the CPU.
    pub precision: Option<Precision>,
    /// Lets cuBLASLt choose its algorithms for each batch size. This is faster, but the bits of a score then depend on
    /// its batch.
    pub fast: bool,
    /// A table of GPU algorithms written by `inctrl tune`.
    pub algorithms: Option<PathBuf>,
}

impl EngineOptions {
    /// Everything in one safetensors file, on the fastest device, with all cores.
    pub fn new(weights: impl Into<PathBuf>) -> Self {
        let weights = LoadOptions { weights: weights.into(), heads: None, config: None };
        EngineOptions { weights, device: Device::Auto, threads: None, precision: None, fast: false, algorithms: None }
    }

    #[doc(hidden)]
    pub fn cpu(&self) -> Result<Cpu> {
        self.cpu_in(self.precision)
    }

    /// The CPU in f32, on which the text tower always runs.
    #[doc(hidden)]
    pub fn text_cpu(&self) -> Result<Cpu> {
        self.cpu_in(Some(Precision::F32))
    }

    fn cpu_in(&self, precision: Option<Precision>) -> Result<Cpu> {
        let threads = self.cpu_threads();
        let what = format!("a CPU engine with {threads} threads");
        memory::check(&what, estimate::threads_bytes(threads), "ask for fewer threads")?;
        Cpu::with_precision(threads, precision)
    }

    #[doc(hidden)]
    pub fn cpu_threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(cores, NonZeroUsize::get)
    }

    #[cfg(feature = "cuda")]
    #[doc(hidden)]
    pub fn cuda(&self) -> CudaOptions {
        CudaOptions { precision: self.precision, fast: self.fast, algorithms: self.algorithms.clone() }
    }
}

/// What a bank is built for. See [`Engine::bank_builder_of`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BankSpec {
    /// The method's name. Default: the usual method, if it is the first that the model can serve.
    pub method: Option<String>,
    /// The name of the class in words, such as `metal nut`. Default: `object` for methods that read it; for the others
    /// it is only a label, and there is none. Methods without normal images need it.
    pub class: Option<String>,
    /// How pictures are fitted to the encoder. Default: the method's usual fit, or the one the model was trained with.
    pub fit: Option<Fit>,
    /// Options of the method, each `name=value`. Options not given have their defaults. Any option of
    /// [`TILING`](crate::view::TILING) among them, such as `tile=448` or `scale=0.5`, asks for tiles.
    pub options: Vec<String>,
}

/// A model on a device. `Send` and `Sync`: open one, share it, make a [`Scorer`] for each thread.
///
/// The weights file stays open: the text tower is read from it when a bank is built. If the file was overwritten in the
/// meantime, that is an error ([`ErrorKind::Weights`]). Renaming another file over it does not affect this engine.
pub struct Engine {
    options: EngineOptions,
    weights: Weights,
    model: Arc<dyn Model>,
    device: Device,
    reason: String,
}

impl Engine {
    /// Opens a model whose tensors and configuration are in one file or beside it.
    ///
    /// # Errors
    /// As [`Engine::with`].
    pub fn open(weights: impl AsRef<Path>) -> Result<Self> {
        Self::with(&EngineOptions::new(weights.as_ref()))
    }

    /// Opens a model.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Weights`] for files that cannot be read or do not fit the
    /// architecture, with all wrong tensors in one error; [`crate::ErrorKind::Config`] for a configuration that this
    /// engine does not support; [`crate::ErrorKind::Device`] where the device is not available.
    pub fn with(options: &EngineOptions) -> Result<Self> {
        let weights = Weights::open(&options.weights)?;
        let (model, device, reason) = device::load(options, &weights)?;
        Ok(Engine { options: options.clone(), weights, model, device, reason })
    }

    /// The model's architecture.
    pub fn arch(&self) -> &Arch {
        self.weights.arch()
    }

    /// How pictures were made square when the model was trained. Use this fit for a bank unless there is a reason for
    /// another.
    pub fn trained_fit(&self) -> Fit {
        self.arch().vision.preprocessing.resize.fit()
    }

    /// The identity of the model: a hexadecimal hash of its architecture and of every tensor that it uses.
    pub fn model_hash(&self) -> &str {
        self.weights.hash()
    }

    /// A one-line description of the device and how it is used.
    pub fn device(&self) -> String {
        self.model.describe()
    }

    /// The device in use, never [`Device::Auto`].
    pub fn device_used(&self) -> Device {
        self.device
    }

    /// The arithmetic that it runs in.
    pub fn precision(&self) -> Precision {
        self.model.precision()
    }

    /// Why [`Device::Auto`] chose this device, for people; empty where the options named a device.
    pub fn device_reason(&self) -> &str {
        &self.reason
    }

    /// Builds the bank of one class from its normal images; [`Engine::bank_builder`] takes them one by one.
    ///
    /// # Errors
    /// As [`BankBuilder::add`] and [`BankBuilder::finish`].
    pub fn build_bank<'a>(
        &self,
        class: &str,
        fit: Fit,
        prompts: &[impl Into<AnyFrame<'a>> + Copy],
    ) -> Result<PromptBank> {
        let mut builder = self.bank_builder(class, fit)?;
        for frame in prompts {
            builder.add(*frame)?;
        }
        builder.finish()
    }

    /// Begins a bank and encodes the text prompts of `class`, a name in words such as `metal nut`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for an empty class name.
    pub fn bank_builder(&self, class: &str, fit: Fit) -> Result<BankBuilder<'_>> {
        BankBuilder::new(self, Setup::new(methods::default_for(&self.weights)?, self.arch()), class, fit)
    }

    /// Begins a bank for the method of this name.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for an unknown method; [`crate::ErrorKind::Config`] where the model cannot serve
    /// it; otherwise as [`Engine::bank_builder`].
    pub fn bank_builder_for(&self, method: &str, class: &str, fit: Fit) -> Result<BankBuilder<'_>> {
        let method = methods::by_name(method)?;
        method.check_model(&self.weights)?;
        BankBuilder::new(self, Setup::new(method, self.arch()), class, fit)
    }

    /// Begins a bank for `spec`.
    ///
    /// # Errors
    /// As [`Engine::bank_builder_for`], and [`crate::ErrorKind::Argument`] for an unknown option, a value out of range,
    /// or no class name where the method has nothing else.
    pub fn bank_builder_of(&self, spec: &BankSpec) -> Result<BankBuilder<'_>> {
        let (setup, class, fit) = self.draft_of(spec)?;
        BankBuilder::new(self, setup, &class, fit)
    }

    /// Begins a bank for each of `specs`, which must [look](Engine::looks) at images alike: an image is encoded once for
    /// all of them.
    ///
    /// # Errors
    /// As [`Engine::bank_builder_of`], and [`crate::ErrorKind::Argument`] where they look at images in different ways.
    pub fn multi_bank_builder(&self, specs: &[BankSpec]) -> Result<MultiBankBuilder<'_>> {
        Looks::check_alike(&specs.iter().map(|spec| self.looks(spec)).collect::<Result<Vec<_>>>()?)?;
        MultiBankBuilder::new(self, specs.iter().map(|spec| self.draft_of(spec)).collect::<Result<_>>()?)
    }

    /// The setup, the class in words and the fit of a bank.
    fn draft_of(&self, spec: &BankSpec) -> Result<(Setup, String, Fit)> {
        let (setup, fit) = self.setup_of(spec)?;
        let method = setup.method();
        let class = match spec.class.as_deref() {
            Some(class) => class,
            None if !method.takes_prompts() => {
                let message = format!(
                    "the method `{}` knows a class by its name alone, and no class was named: name the object in the images, such as \
                     \"metal nut\"",
                    method.name()
                );
                return Err(Error::new(ErrorKind::Argument, message));
            }
            None => {
                if method.reads_class() {
                    "object"
                } else {
                    ""
                }
            }
        };
        let class = class.to_owned();
        Ok((setup, class, fit))
    }

    /// Fills the defaults of `spec` in: the method, the fit and every option for this model.
    ///
    /// # Errors
    /// As [`Engine::bank_builder_of`].
    pub fn settle(&self, spec: &BankSpec) -> Result<BankSpec> {
        let (setup, fit) = self.setup_of(spec)?;
        Ok(BankSpec {
            method: Some(setup.method().name().to_owned()),
            class: spec.class.clone(),
            fit: Some(fit),
            options: setup.texts(),
        })
    }

    fn setup_of(&self, spec: &BankSpec) -> Result<(Setup, Fit)> {
        let method = match &spec.method {
            Some(name) => methods::by_name(name)?,
            None => methods::default_for(&self.weights)?,
        };
        method.check_model(&self.weights)?;
        let setup = Setup::parse(method, self.arch(), spec.options.iter().map(String::as_str))?;
        if setup.tiling().is_some() {
            // The region of a tile becomes its square; it is one already, but for a pixel.
            if let Some(fit) = spec.fit.filter(|fit| *fit != Fit::Stretch) {
                let message = format!("the fit {fit} and tiles: tiles cover the whole frame, leave the fit out");
                return Err(Error::new(ErrorKind::Argument, message));
            }
            return Ok((setup, Fit::Stretch));
        }
        let fit = spec.fit.or(method.usual_fit(self.arch())).unwrap_or_else(|| self.trained_fit());
        Ok((setup, fit))
    }

    /// Begins a bank with the prompts of an existing one, so that more can be appended
    /// ([`BankBuilder::limit_rows`], [`BankBuilder::keep_limits`]).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bank`] if the bank was built with another model, [`crate::ErrorKind::Argument`] for a method whose
    /// banks do not keep prompts apart.
    pub fn append_to(&self, bank: &PromptBank) -> Result<BankBuilder<'_>> {
        bank.check_model(self.model_hash(), self.arch())?;
        BankBuilder::from_bank(self, bank)
    }

    /// Makes a scorer for one image per call.
    ///
    /// # Errors
    /// As [`Engine::batch_scorer`].
    pub fn scorer(&self, bank: Arc<PromptBank>) -> Result<Scorer> {
        self.batch_scorer(bank, NonZeroUsize::MIN)
    }

    /// Makes a scorer that encodes up to `capacity` images at once. Speed and memory depend on `capacity`; scores do
    /// not. With tiles, an image's tiles are encoded eight at once, or `capacity` if that is more.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for a capacity over 1024, [`crate::ErrorKind::Bank`] if the bank was built with
    /// another model, [`crate::ErrorKind::Device`] where the device runs out of memory or threads.
    pub fn batch_scorer(&self, bank: Arc<PromptBank>, capacity: NonZeroUsize) -> Result<Scorer> {
        self.scorer_of(&Arc::new(self.shared_bank(bank)?), capacity)
    }

    /// Uploads a bank for several scorers. [`SharedBank::swap`] replaces it while they run.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bank`] if the bank was built with another model, [`crate::ErrorKind::Device`] where the
    /// device has not enough memory for it.
    pub fn shared_bank(&self, bank: Arc<PromptBank>) -> Result<SharedBank> {
        SharedBank::new(Arc::clone(&self.model), self.model_hash(), self.arch(), bank)
    }

    /// Makes a scorer, as [`Engine::batch_scorer`] does, that uses whichever bank is in `slot`. Other scorers may share
    /// the slot.
    ///
    /// # Errors
    /// As [`Engine::batch_scorer`].
    pub fn scorer_of(&self, slot: &Arc<SharedBank>, capacity: NonZeroUsize) -> Result<Scorer> {
        check_capacity(capacity)?;
        self.check_slot(slot)?;
        let (bank, _) = slot.current();
        let views = views_of(&bank, capacity);
        let session = self.session(&[(bank.setup(), views)], views)?;
        Scorer::new(session, self.arch(), Arc::clone(slot), capacity.get())
    }

    /// Makes a scorer that scores regions of a frame, each against whichever of the banks in `slots` a call names, and
    /// encodes up to `capacity` regions at once. Scores do not depend on `capacity`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for no slots; [`crate::ErrorKind::Bank`] for slots of different methods, options or
    /// tiles; otherwise as [`Engine::batch_scorer`].
    pub fn roi_scorer(&self, slots: &[Arc<SharedBank>], capacity: NonZeroUsize) -> Result<RoiScorer> {
        check_capacity(capacity)?;
        let Some(first) = slots.first() else {
            return Err(Error::new(ErrorKind::Argument, "no slots with banks were given: at least one is needed"));
        };
        let (bank, _) = first.current();
        for slot in slots {
            self.check_slot(slot)?;
            bank.setup().check_same(slot.current().0.setup(), "the scorer's other slots")?;
        }
        let views = views_of(&bank, capacity);
        // As many results at once as there are banks in one comparison.
        let results = views.max(slots.len().min(MAX_BANKS));
        let session = self.session(&[(bank.setup(), results)], views)?;
        RoiScorer::new(session, self.arch(), slots, results)
    }

    fn check_slot(&self, slot: &SharedBank) -> Result<()> {
        if slot.model_hash() == self.model_hash() {
            return Ok(());
        }
        let message = format!(
            "the slot holds banks of model {}, the engine is model {}: make the slot with this engine",
            slot.model_hash(),
            self.model_hash()
        );
        Err(Error::new(ErrorKind::Bank, message))
    }

    /// Makes a scorer that scores each image against all of `banks`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for no banks, or banks of different fits; otherwise as [`Engine::batch_scorer`].
    pub fn multi_bank_scorer(&self, banks: &[Arc<PromptBank>]) -> Result<MultiBankScorer> {
        Ok(MultiBankScorer::of(self.multi_method_scorer(&[banks])?))
    }

    /// Makes a scorer that encodes each image once and scores it against the banks of several methods: each element of
    /// `methods` has the banks of one. All must [look](Engine::looks) at images alike.
    ///
    /// # Errors
    /// As [`Engine::multi_bank_scorer`], and [`crate::ErrorKind::Argument`] for methods that look at images in different
    /// ways.
    pub fn multi_method_scorer(&self, methods: &[&[Arc<PromptBank>]]) -> Result<MultiMethodScorer> {
        let firsts: Vec<&Arc<PromptBank>> = methods.iter().filter_map(|banks| banks.first()).collect();
        if firsts.is_empty() || firsts.len() < methods.len() {
            return Err(Error::new(ErrorKind::Argument, "no banks were given: at least one is needed"));
        }
        let vision = &self.arch().vision;
        let looks =
            firsts.iter().map(|bank| Looks::new(bank.setup(), bank.fit(), vision)).collect::<Result<Vec<_>>>()?;
        Looks::check_alike(&looks)?;
        let served: Vec<(&Setup, usize)> =
            methods.iter().zip(&firsts).map(|(banks, first)| (first.setup(), banks.len())).collect();
        let session = self.session(&served, 1)?;
        MultiMethodScorer::new(session, &*self.model, self.model_hash(), self.arch(), methods)
    }

    /// How a bank for `spec` looks at images: methods that look alike can [share](Engine::multi_method_scorer) an
    /// encoding.
    ///
    /// # Errors
    /// As [`Engine::settle`].
    pub fn looks(&self, spec: &BankSpec) -> Result<Looks> {
        let (setup, fit) = self.setup_of(spec)?;
        Looks::new(&setup, fit, &self.arch().vision)
    }

    /// How often an image, a tile or a rotated view of one was encoded since the engine was opened.
    pub fn encoded_views(&self) -> u64 {
        self.model.encoded()
    }

    /// Bytes of what a bank for `spec` keeps of a normal image of `width` x `height` pixels, before the method chooses
    /// from it. Scoring against a bank of it takes three times as much.
    ///
    /// # Errors
    /// As [`Engine::settle`], and [`crate::ErrorKind::Argument`] for images that cannot be resized or tiled.
    pub fn prompt_bytes(&self, spec: &BankSpec, width: usize, height: usize) -> Result<usize> {
        let (setup, fit) = self.setup_of(spec)?;
        let (tiles, grid) = setup.views_of(&self.arch().vision, width, height, fit)?;
        let cells = tiles.cells().saturating_mul(grid.cells());
        Ok(setup.method().prompt_bytes(self.arch(), setup.options(), cells))
    }

    /// Batches of up to `views` views in up to `slots` comparisons with banks of the setup of `bank`.
    ///
    /// # Errors
    /// As [`Engine::batch_scorer`].
    #[doc(hidden)]
    pub fn batch(&self, bank: &PromptBank, views: usize, slots: usize) -> Result<Batch> {
        Ok(Batch::new(self.session(&[(bank.setup(), slots)], views)?))
    }

    /// Uploads a bank for [`Batch::score`]: where each position of a tile has its own, that of the first.
    ///
    /// # Errors
    /// As [`Engine::shared_bank`].
    #[doc(hidden)]
    pub fn device_bank(&self, bank: &PromptBank) -> Result<DeviceBank> {
        bank.check_model(self.model_hash(), self.arch())?;
        bank.check_precision(self.precision())?;
        self.model.upload(&bank.device_tensors(0)?)
    }

    #[doc(hidden)]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    #[doc(hidden)]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// A pipeline for the views that the methods look at, with memory for as many results of each.
    pub(super) fn session(&self, methods: &[(&Setup, usize)], views: usize) -> Result<Box<dyn Session>> {
        let (grid, bytes) = self.pipeline_of(methods, views)?;
        let threads = self.options.cpu_threads();
        let what = format!("work on {views} images at once with {threads} threads");
        memory::check(&what, bytes, "use a smaller capacity or fewer threads")?;
        self.model.session(methods, &self.weights, grid, views)
    }

    /// An upper bound of the host memory, in bytes, that a scorer of `capacity` images takes for square pictures and
    /// banks like `bank`. GPU memory comes on top.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] where the bank's options are not for this model.
    pub fn scorer_bytes(&self, bank: &PromptBank, capacity: NonZeroUsize) -> Result<usize> {
        let views = views_of(bank, capacity);
        Ok(self.pipeline_of(&[(bank.setup(), views)], views)?.1)
    }

    /// The grid of a square picture, and the bytes of a pipeline for it.
    fn pipeline_of(&self, methods: &[(&Setup, usize)], views: usize) -> Result<(Grid, usize)> {
        let own = Grid::square(self.arch().vision.grid());
        let grid = methods.first().map_or(Ok(own), |(setup, _)| setup.grid(&self.arch().vision))?;
        let setups: Vec<&Setup> = methods.iter().map(|(setup, _)| *setup).collect();
        let wants = pipeline::wants(&setups, self.arch())?;
        let slots = methods.iter().map(|(_, slots)| slots).sum();
        let patches = grid.cells();
        if self.device != Device::Cpu {
            let taps = wants.iter().map(|wants| wants.taps.len()).max().unwrap_or(0);
            return Ok((grid, estimate::results_bytes(taps, patches, slots)));
        }
        let threads = self.options.cpu_threads();
        let bytes =
            estimate::pipeline_bytes(self.arch(), PipelineSize { wants: &wants, patches, views, slots, threads });
        let rounds = self.precision().stores(Role::Operand) != DType::F32;
        let rounded = |wants| estimate::rounded_bytes(self.arch(), wants, patches, views);
        let rounded = if rounds { wants.iter().map(rounded).max().unwrap_or(0) } else { 0 };
        let own = |(setup, slots): &(&Setup, usize)| {
            setup.method().slot_bytes(self.arch(), setup.options(), patches).saturating_mul(*slots)
        };
        let own = methods.iter().map(own).fold(0, usize::saturating_add);
        Ok((grid, bytes.saturating_add(rounded).saturating_add(own)))
    }
}

fn check_capacity(capacity: NonZeroUsize) -> Result<()> {
    if capacity.get() <= MAX_CAPACITY {
        return Ok(());
    }
    let message = format!("a capacity of {capacity} images: at most {MAX_CAPACITY} are supported");
    Err(Error::new(ErrorKind::Argument, message))
}

/// The views that a scorer of `capacity` images encodes at once.
fn views_of(bank: &PromptBank, capacity: NonZeroUsize) -> usize {
    if bank.tiling().is_some() { capacity.get().max(TILES_AT_ONCE) } else { capacity.get() }
}
