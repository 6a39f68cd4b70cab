//! Where the device is chosen: everything below is generic over it, everything above does not know it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::PromptBank;
use super::engine::{Device, EngineOptions};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;
use crate::error::{Error, ErrorKind, Result};
use crate::method::{Detector, Lane, Parts, StageTimes, text_prototypes};
use crate::preprocess::{Frame, Normalised, Plan};
use crate::text::Tokeniser;
use crate::weights::Weights;
#[cfg(feature = "cli")]
use crate::{
    measure::{self, OperationTime, Peak},
    weights::Arch,
};

/// A model's weights on a device.
pub(super) enum Model {
    Cpu(Loaded<Cpu>),
    #[cfg(feature = "cuda")]
    Cuda(Box<Loaded<Cuda>>),
}

/// One thread's lane of a device, with the bank that it scores against.
pub(super) enum Session {
    Cpu(Box<Bound<Cpu>>),
    #[cfg(feature = "cuda")]
    Cuda(Box<Bound<Cuda>>),
}

pub(super) struct Loaded<B: Backend> {
    /// The lane that others are forked from: one thread at a time, as a lane is.
    backend: Mutex<B>,
    detector: Arc<Detector<B>>,
    /// Why this device, where the user left the choice.
    reason: String,
}

pub(super) struct Bound<B: Backend> {
    lane: Lane<B>,
    bank: Option<B::Bank>,
}

/// `$call` on whichever device `$either` is.
macro_rules! on_device {
    ($kind:ident, $either:expr, $inner:ident => $call:expr) => {
        match $either {
            $kind::Cpu($inner) => $call,
            #[cfg(feature = "cuda")]
            $kind::Cuda($inner) => $call,
        }
    };
}

impl<B: Backend> Loaded<B> {
    fn new(mut backend: B, weights: &Weights, reason: String) -> Result<Self> {
        let detector = Arc::new(Detector::load(&mut backend, weights)?);
        Ok(Loaded { backend: Mutex::new(backend), detector, reason })
    }

    /// A panic in another thread leaves the lane as it was: nothing that is run on it is half done.
    fn backend(&self) -> MutexGuard<'_, B> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bind(&self, capacity: usize) -> Result<Bound<B>> {
        Ok(Bound { lane: Lane::new(self.backend().fork()?, Arc::clone(&self.detector), capacity)?, bank: None })
    }
}

impl Model {
    /// Loads the weights on the device that the options ask for.
    pub fn load(options: &EngineOptions, weights: &Weights) -> Result<Self> {
        match options.device {
            Device::Cpu => Self::on_cpu(options, weights, String::new()),
            #[cfg(feature = "cuda")]
            Device::Cuda(ordinal) => {
                let cuda = Cuda::new(ordinal, options.cuda())?;
                cuda.check_arch(weights.arch())?;
                Ok(Model::Cuda(Box::new(Loaded::new(cuda, weights, String::new())?)))
            }
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(Error::new(
                ErrorKind::Device,
                "this program was built without CUDA: build it with the feature `cuda`, or ask for the device `cpu`",
            )),
            Device::Auto => Self::auto(options, weights),
        }
    }

    #[cfg(feature = "cuda")]
    fn auto(options: &EngineOptions, weights: &Weights) -> Result<Self> {
        let found = Cuda::new(0, options.cuda()).and_then(|cuda| {
            cuda.check_arch(weights.arch())?;
            Ok(cuda)
        });
        match found {
            Ok(cuda) => Ok(Model::Cuda(Box::new(Loaded::new(cuda, weights, "the first CUDA device".to_owned())?))),
            // A machine without an NVIDIA GPU is an ordinary one: what is missing there goes into the reason.
            Err(error) => Self::on_cpu(options, weights, format!("no CUDA device: {}", error.chain())),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn auto(options: &EngineOptions, weights: &Weights) -> Result<Self> {
        Self::on_cpu(options, weights, "built without CUDA".to_owned())
    }

    fn on_cpu(options: &EngineOptions, weights: &Weights, reason: String) -> Result<Self> {
        Ok(Model::Cpu(Loaded::new(options.cpu()?, weights, reason)?))
    }

    pub fn describe(&self) -> String {
        on_device!(Model, self, loaded => loaded.backend().describe())
    }

    pub fn reason(&self) -> &str {
        on_device!(Model, self, loaded => &loaded.reason)
    }

    /// [`measure::peak`] and [`measure::operations`] on this device.
    #[cfg(feature = "cli")]
    pub fn operation_times(
        &self,
        arch: &Arch,
        images: usize,
        prompts: &[usize],
        each: impl FnMut(OperationTime),
    ) -> Result<Peak> {
        // Larger than any cache, and a product large enough for the device to show what it can.
        let (copy, side) = match self {
            Model::Cpu(_) => (32 << 20, 1024),
            #[cfg(feature = "cuda")]
            Model::Cuda(_) => (128 << 20, 8192),
        };
        on_device!(Model, self, loaded => {
            let mut lane = loaded.backend().fork()?;
            let peak = measure::peak(&mut lane, copy, side)?;
            measure::operations(&mut lane, arch, images, prompts, each)?;
            Ok(peak)
        })
    }

    /// A lane with memory for `capacity` images.
    pub fn session(&self, capacity: usize) -> Result<Session> {
        match self {
            Model::Cpu(loaded) => Ok(Session::Cpu(Box::new(loaded.bind(capacity)?))),
            #[cfg(feature = "cuda")]
            Model::Cuda(loaded) => Ok(Session::Cuda(Box::new(loaded.bind(capacity)?))),
        }
    }
}

impl Session {
    pub fn capacity(&self) -> usize {
        on_device!(Session, self, bound => bound.lane.capacity())
    }

    /// Text prototypes of a class, `[2, E]`. The text tower runs on the processor on every device: once a class, it is not
    /// worth the memory elsewhere.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "another device needs them"))]
    pub fn text_prototypes(&mut self, options: &EngineOptions, weights: &Weights, class: &str) -> Result<Vec<f32>> {
        let tokeniser = Tokeniser::new()?;
        match self {
            Session::Cpu(bound) => text_prototypes(bound.lane.backend(), weights, &tokeniser, class),
            #[cfg(feature = "cuda")]
            Session::Cuda(_) => text_prototypes(&mut options.cpu()?, weights, &tokeniser, class),
        }
    }

    /// Scores against `bank` from now on.
    pub fn set_bank(&mut self, bank: &PromptBank) -> Result<()> {
        on_device!(Session, self, bound => {
            bound.bank = Some(bank.upload(&mut bound.lane)?);
            Ok(())
        })
    }

    pub fn place(&mut self, frame: Frame<'_>, plan: &Plan, image: usize) -> Result<()> {
        on_device!(Session, self, bound => bound.lane.place(frame, plan, image))
    }

    /// Places an image that is already normalised, as image 0.
    pub fn place_normalised(&mut self, image: &Normalised) -> Result<()> {
        on_device!(Session, self, bound => bound.lane.place_normalised(image))
    }

    /// [`Lane::score`] against the bank in use.
    pub fn score(&mut self, images: usize, each: impl FnMut(usize, Parts, &[f32])) -> Result<()> {
        on_device!(Session, self, bound => {
            let bank = bound.bank.as_ref().ok_or_else(no_bank)?;
            bound.lane.score(images, bank, each)
        })
    }

    /// [`Lane::stage_times`] against the bank in use.
    pub fn stage_times(&mut self, frame: Frame<'_>, plan: &Plan) -> Result<StageTimes> {
        on_device!(Session, self, bound => {
            let bank = bound.bank.as_ref().ok_or_else(no_bank)?;
            bound.lane.stage_times(frame, plan, bank)
        })
    }

    /// Unit taps `[L, N, W]` and adapted class embedding `[E]` of the one placed image.
    pub fn prompt_features(&mut self) -> Result<(Vec<f32>, Vec<f32>)> {
        on_device!(Session, self, bound => {
            bound.lane.encode(1, |_, _| ())?;
            bound.lane.prompt_features()
        })
    }
}

fn no_bank() -> Error {
    Error::new(ErrorKind::Internal, "a session scores before it has a bank")
}
