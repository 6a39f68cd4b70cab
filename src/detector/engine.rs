//! The engine: a model's weights on a device.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{BankBuilder, PromptBank, Scorer};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::error::{Error, ErrorKind, Result};
use crate::method::{Detector, Lane};
use crate::preprocess::{Fit, Frame};
use crate::weights::{Arch, LoadOptions, Weights};

/// Most images that a scorer encodes at once; more are no faster.
const MAX_CAPACITY: usize = 1024;

/// Where an engine runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The fastest device that is there.
    #[default]
    Auto,
    /// The processor.
    Cpu,
}

/// How to open an [`Engine`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineOptions {
    /// The weights: files and configuration.
    pub weights: LoadOptions,
    /// Where to run.
    pub device: Device,
    /// Threads of each scorer; all cores where absent.
    pub threads: Option<NonZeroUsize>,
}

impl EngineOptions {
    /// Everything in one safetensors file, on the fastest device, with all cores.
    pub fn new(weights: impl Into<PathBuf>) -> Self {
        let weights = LoadOptions { weights: weights.into(), heads: None, config: None };
        EngineOptions { weights, device: Device::Auto, threads: None }
    }
}

/// A model on a device. `Send` and `Sync`: open one, share it, make a [`Scorer`] for each thread.
///
/// The weights file stays mapped (the text tower is read from it when a bank is built) and must not be changed meanwhile.
pub struct Engine {
    weights: Weights,
    backend: Cpu,
    detector: Arc<Detector<Cpu>>,
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
    /// [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Weights`] for files that cannot be read or are not this
    /// architecture's, all tensors in one error; [`crate::ErrorKind::Config`] for a configuration that this engine does not
    /// run; [`crate::ErrorKind::Device`] where the device is not there.
    pub fn with(options: &EngineOptions) -> Result<Self> {
        let weights = Weights::open(&options.weights)?;
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut backend = Cpu::new(options.threads.map_or_else(cores, NonZeroUsize::get))?;
        let detector = Arc::new(Detector::load(&mut backend, &weights)?);
        Ok(Engine { weights, backend, detector })
    }

    /// The model's architecture.
    pub fn arch(&self) -> &Arch {
        self.weights.arch()
    }

    /// Identity of the model: a hash of its architecture and of every tensor that it uses, in hexadecimal.
    pub fn model_hash(&self) -> &str {
        self.weights.hash()
    }

    /// One line for people: the device and how it is used.
    pub fn device(&self) -> String {
        self.backend.describe()
    }

    /// Builds the bank of one class from its normal images; [`Engine::bank_builder`] takes them one by one.
    ///
    /// # Errors
    /// As [`BankBuilder::add`] and [`BankBuilder::finish`].
    pub fn build_bank(&self, class: &str, fit: Fit, prompts: &[Frame<'_>]) -> Result<PromptBank> {
        let mut builder = self.bank_builder(class, fit)?;
        for frame in prompts {
            builder.add(*frame)?;
        }
        builder.finish()
    }

    /// Begins a bank: encodes the text prompts of `class` (a name in words, such as `metal nut`).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for an empty class name.
    pub fn bank_builder(&self, class: &str, fit: Fit) -> Result<BankBuilder<'_>> {
        BankBuilder::new(self, class, fit)
    }

    /// Begins a bank with the prompts of an existing one, to append to it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bank`] if the bank was built with another model.
    pub fn append_to(&self, bank: &PromptBank) -> Result<BankBuilder<'_>> {
        bank.check_model(self.model_hash(), self.arch())?;
        BankBuilder::from_bank(self, bank)
    }

    /// A scorer for one image a call.
    ///
    /// # Errors
    /// As [`Engine::batch_scorer`].
    pub fn scorer(&self, bank: Arc<PromptBank>) -> Result<Scorer> {
        self.batch_scorer(bank, NonZeroUsize::MIN)
    }

    /// A scorer that encodes up to `capacity` images at once. Scores do not depend on it, speed and memory do.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for a capacity over 1024, [`crate::ErrorKind::Bank`] if the bank was built with
    /// another model, [`crate::ErrorKind::Device`] where the
    /// device has no more memory or threads.
    pub fn batch_scorer(&self, bank: Arc<PromptBank>, capacity: NonZeroUsize) -> Result<Scorer> {
        if capacity.get() > MAX_CAPACITY {
            let message = format!("a capacity of {capacity} images asked for, at most {MAX_CAPACITY} are supported");
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let lane = self.lane(capacity.get())?;
        Scorer::new(lane, self.model_hash(), self.arch(), bank)
    }

    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(super) fn lane(&self, capacity: usize) -> Result<Lane<Cpu>> {
        Lane::new(self.backend.fork()?, Arc::clone(&self.detector), capacity)
    }
}
