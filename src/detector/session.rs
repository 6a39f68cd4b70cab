//! Where the device is chosen: everything below is generic over it, everything above does not know it.

use std::sync::{Arc, Mutex, MutexGuard};

use super::PromptBank;
use super::engine::{Device, EngineOptions};
use crate::backend::Backend;
#[cfg(feature = "cli")]
use crate::backend::BankVectors;
use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;
use crate::error::{Error, ErrorKind, Result};
use crate::method::{Detector, Lane, Parts, StageTimes, text_prototypes};
use crate::preprocess::{AnyFrame, DeviceFrame, Normalised, Plan};
use crate::process::{self, Origin};
use crate::text::Tokeniser;
use crate::weights::Weights;
#[cfg(feature = "cli")]
use crate::{
    measure::{self, OperationTime, Peak},
    weights::Arch,
};

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

/// A model's weights on a device.
pub(super) enum Model {
    Cpu(Loaded<Cpu>),
    #[cfg(feature = "cuda")]
    Cuda(Box<Loaded<Cuda>>),
}

/// One thread's lane of a device.
pub(super) enum Session {
    Cpu(Box<Lane<Cpu>>),
    #[cfg(feature = "cuda")]
    Cuda(Box<Lane<Cuda>>),
}

/// What scores with a session of its own.
pub(super) trait HasSession {
    fn session(&mut self) -> &mut Session;
}

/// Does `work` on frames of the caller's. If it fails or panics, waits for what may still read those in device memory: the
/// caller may free them as soon as it has its answer.
pub(super) fn on_lent<'a, O: HasSession, T>(
    owner: &mut O,
    frames: &[impl Into<AnyFrame<'a>> + Copy],
    work: impl FnOnce(&mut O) -> Result<T>,
) -> Result<T> {
    struct Lent<'o, O: HasSession> {
        owner: &'o mut O,
        wait: bool,
    }
    impl<O: HasSession> Drop for Lent<'_, O> {
        fn drop(&mut self) {
            if self.wait {
                // A device that cannot be waited for has no work left, and the call has an error to tell already.
                let _ = on_device!(Session, self.owner.session(), lane => lane.backend().wait());
            }
        }
    }
    let wait = frames.iter().any(|frame| matches!((*frame).into(), AnyFrame::Device(_)));
    let mut lent = Lent { owner, wait };
    let outcome = work(lent.owner);
    lent.wait &= outcome.is_err();
    outcome
}

/// A bank on a device: any lane of the device can use it.
pub(super) enum DeviceBank {
    Cpu(<Cpu as Backend>::Bank),
    #[cfg(feature = "cuda")]
    Cuda(<Cuda as Backend>::Bank),
}

/// A lane beside all sessions that brings banks to the device.
pub(super) enum Uploader {
    Cpu(Arc<Loader<Cpu>>),
    #[cfg(feature = "cuda")]
    Cuda(Arc<Loader<Cuda>>),
}

/// A lane that loads weights and banks, and is forked for sessions.
pub(super) struct Loader<B> {
    backend: Mutex<B>,
    origin: Origin,
}

pub(super) struct Loaded<B: Backend> {
    loader: Arc<Loader<B>>,
    detector: Arc<Detector<B>>,
    /// The device, in words.
    description: String,
    /// Why this device, where the user left the choice.
    reason: String,
}

/// `$call` on a lane and a bank of one device.
macro_rules! on_one_device {
    ($session:expr, $bank:expr, $lane:ident, $on_device:ident => $call:expr) => {
        match ($session, $bank) {
            (Session::Cpu($lane), DeviceBank::Cpu($on_device)) => $call,
            #[cfg(feature = "cuda")]
            (Session::Cuda($lane), DeviceBank::Cuda($on_device)) => $call,
            #[cfg(feature = "cuda")]
            _ => Err(Error::new(
                ErrorKind::Argument,
                "the bank is on another device than the scorer: make both with one engine",
            )),
        }
    };
}

impl<B: Backend> Loaded<B> {
    fn new(mut backend: B, weights: &Weights, reason: String) -> Result<Self> {
        let detector = Arc::new(Detector::load(&mut backend, weights)?);
        let description = backend.describe();
        let loader = Loader { backend: Mutex::new(backend), origin: Origin::here() };
        Ok(Loaded { loader: Arc::new(loader), detector, description, reason })
    }

    fn lane(&self, capacity: usize) -> Result<Lane<B>> {
        let backend = self.loader.lock()?.fork()?;
        Lane::new(backend, Arc::clone(&self.detector), capacity)
    }
}

impl<B> Loader<B> {
    /// A lane that panicked while it was locked is as good as before: its operations begin by writing what they read.
    fn lock(&self) -> Result<MutexGuard<'_, B>> {
        process::lock(&self.backend, self.origin, "the engine")
    }
}

impl Uploader {
    /// The bank on the device, ready for every lane.
    pub fn upload(&self, bank: &PromptBank) -> Result<DeviceBank> {
        match self {
            Uploader::Cpu(loader) => Ok(DeviceBank::Cpu(bank.upload(&mut *loader.lock()?)?)),
            #[cfg(feature = "cuda")]
            Uploader::Cuda(loader) => Ok(DeviceBank::Cuda(bank.upload(&mut *loader.lock()?)?)),
        }
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
        on_device!(Model, self, loaded => loaded.description.clone())
    }

    pub fn reason(&self) -> &str {
        on_device!(Model, self, loaded => &loaded.reason)
    }

    /// Brings banks to this device.
    pub fn uploader(&self) -> Uploader {
        match self {
            Model::Cpu(loaded) => Uploader::Cpu(Arc::clone(&loaded.loader)),
            #[cfg(feature = "cuda")]
            Model::Cuda(loaded) => Uploader::Cuda(Arc::clone(&loaded.loader)),
        }
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
            let mut lane = loaded.loader.lock()?.fork()?;
            let peak = measure::peak(&mut lane, copy, side)?;
            measure::operations(&mut lane, arch, images, prompts, each)?;
            Ok(peak)
        })
    }

    /// A lane with memory for `capacity` images.
    pub fn session(&self, capacity: usize) -> Result<Session> {
        match self {
            Model::Cpu(loaded) => Ok(Session::Cpu(Box::new(loaded.lane(capacity)?))),
            #[cfg(feature = "cuda")]
            Model::Cuda(loaded) => Ok(Session::Cuda(Box::new(loaded.lane(capacity)?))),
        }
    }
}

impl Session {
    pub fn capacity(&self) -> usize {
        on_device!(Session, self, lane => lane.capacity())
    }

    /// Text prototypes of a class, `[2, E]`. The text tower runs on the processor on every device: once a class, it is not
    /// worth the memory elsewhere.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "another device needs them"))]
    pub fn text_prototypes(&mut self, options: &EngineOptions, weights: &Weights, class: &str) -> Result<Vec<f32>> {
        let tokeniser = Tokeniser::new()?;
        match self {
            Session::Cpu(lane) => text_prototypes(lane.backend(), weights, &tokeniser, class),
            #[cfg(feature = "cuda")]
            Session::Cuda(_) => text_prototypes(&mut options.cpu()?, weights, &tokeniser, class),
        }
    }

    /// [`Lane::nearest`] of the one placed frame, after [`Session::encode`].
    pub fn nearest(&mut self, bank: &DeviceBank, cosines: &mut [f32]) -> Result<()> {
        on_one_device!(self, bank, lane, bank => lane.nearest(bank, cosines))
    }

    /// [`Lane::score_nearest`].
    pub fn score_nearest(
        &mut self,
        cosines: &[f32],
        bank: &DeviceBank,
        each: impl FnMut(usize, Parts, &[f32]),
    ) -> Result<()> {
        on_one_device!(self, bank, lane, bank => lane.score_nearest(cosines, bank, each))
    }

    /// Encodes the one placed frame.
    pub fn encode(&mut self) -> Result<()> {
        on_device!(Session, self, lane => lane.encode(1, |_, _| ()))
    }

    pub fn place(&mut self, frame: AnyFrame<'_>, plan: &Plan, image: usize) -> Result<()> {
        on_device!(Session, self, lane => lane.place(frame, plan, image))
    }

    /// [`Backend::copy_to_host`].
    pub fn copy_to_host(&mut self, frame: &DeviceFrame, out: &mut Vec<u8>) -> Result<()> {
        on_device!(Session, self, lane => lane.backend().copy_to_host(frame, out))
    }

    /// [`Lane::judge`].
    pub fn judge(&mut self, image: usize, judged: &[f32]) {
        on_device!(Session, self, lane => lane.judge(image, judged));
    }

    /// [`Lane::score`].
    pub fn score(&mut self, images: usize, bank: &DeviceBank, each: impl FnMut(usize, Parts, &[f32])) -> Result<()> {
        on_one_device!(self, bank, lane, bank => lane.score(images, bank, each))
    }

    /// [`Lane::stage_times`].
    pub fn stage_times(&mut self, frame: AnyFrame<'_>, plan: &Plan, bank: &DeviceBank) -> Result<StageTimes> {
        on_one_device!(self, bank, lane, bank => lane.stage_times(frame, plan, bank))
    }

    /// Places an image that is already normalised, as image 0.
    pub fn place_normalised(&mut self, image: &Normalised) -> Result<()> {
        on_device!(Session, self, lane => lane.place_normalised(image))
    }

    /// Unit taps `[L, N, W]` and class embedding `[E]` of the one placed image.
    #[cfg(feature = "cli")]
    pub fn features(&mut self) -> Result<(Vec<f32>, Vec<f32>)> {
        on_device!(Session, self, lane => {
            lane.encode(1, |_, _| ())?;
            lane.features()
        })
    }

    /// [`Lane::nearest_of`].
    #[cfg(feature = "cli")]
    pub fn nearest_of(&mut self, taps: &[f32], bank: &DeviceBank, cosines: &mut [f32]) -> Result<()> {
        on_one_device!(self, bank, lane, bank => lane.nearest_of(taps, bank, cosines))
    }

    /// A bank of one prompt for [`Session::nearest_of`], from its unit taps `[L, N, W]`; it has no vectors for the heads.
    #[cfg(feature = "cli")]
    pub fn prompt_bank(&mut self, taps: &Arc<[f32]>, vectors: BankVectors<'_>) -> Result<DeviceBank> {
        match self {
            Session::Cpu(lane) => Ok(DeviceBank::Cpu(lane.bank(taps, 1, vectors)?)),
            #[cfg(feature = "cuda")]
            Session::Cuda(lane) => Ok(DeviceBank::Cuda(lane.bank(taps, 1, vectors)?)),
        }
    }

    /// The arithmetic of features: the kind of device and how it stores operands.
    #[cfg(feature = "cli")]
    pub fn arithmetic(&mut self) -> String {
        let kind = match self {
            Session::Cpu(_) => "cpu",
            #[cfg(feature = "cuda")]
            Session::Cuda(_) => "cuda",
        };
        let precision = on_device!(Session, self, lane => lane.backend().precision());
        format!("{kind} {}", precision.name())
    }

    /// Unit taps `[L, N, W]` and adapted class embedding `[E]` of the one placed image.
    pub fn prompt_features(&mut self) -> Result<(Vec<f32>, Vec<f32>)> {
        on_device!(Session, self, lane => {
            lane.encode(1, |_, _| ())?;
            lane.prompt_features()
        })
    }
}
