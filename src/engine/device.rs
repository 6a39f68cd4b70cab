//! Where the device is chosen: the layers below are generic over it, the layers above are independent of it.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard};

use super::pipeline::{EachResult, HostFeatures, Pipeline, StageTimes, wants};
use super::shared::{Device, EngineOptions};
use crate::backend::BankTensor;
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;
use crate::encoder::Vision;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DeviceFrame};
use crate::memory;
use crate::methods::{Loaded, Method, NamedTensor, Run, Runs, Setup};
use crate::process::{self, Origin};
use crate::view::{Grid, Normalised, Plan};
use crate::weights::Weights;

/// A bank on a device, as that device's backend keeps it: any lane of the device can use it.
pub type DeviceBank = Box<dyn Any + Send + Sync>;

/// A model's weights on a device.
pub(super) trait Model: Send + Sync {
    /// One line for people.
    fn describe(&self) -> String;

    /// A bank on the device, ready for every lane.
    fn upload(&self, tensors: &[BankTensor<'_>]) -> Result<DeviceBank>;

    /// A lane, with memory for `views` images of `grid` and, where it has a method, `slots` results.
    fn session(
        &self,
        setup: Option<&Setup>,
        weights: &Weights,
        grid: Grid,
        views: usize,
        slots: usize,
    ) -> Result<Box<dyn Session>>;
}

/// One thread's lane of a device, for one method.
pub trait Session: Send {
    /// Most images that are encoded at once.
    fn capacity(&self) -> usize;

    /// The arithmetic of features: the kind of device and how it stores operands.
    fn arithmetic(&self) -> String;

    /// Waits for everything that was given to the lane.
    fn wait(&mut self) -> Result<()>;

    /// [`crate::backend::Backend::copy_to_host`].
    fn copy_to_host(&mut self, frame: &DeviceFrame, out: &mut Vec<u8>) -> Result<()>;

    /// Makes `grid` that of the batch to come, and says whether that took memory: an unseen one takes it once, and the lane
    /// keeps the grids that it saw last.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where there is no memory, [`crate::ErrorKind::Argument`] for a grid for which the encoder
    /// has no positions; the lane stays as it was.
    fn prepare(&mut self, grid: Grid) -> Result<bool>;

    /// Places a frame, whose plan is of the grid of the batch to come, at `view` of it.
    fn place(&mut self, frame: AnyFrame<'_>, plan: &Plan, view: usize) -> Result<()>;

    /// Places an image that is already normalised, as view 0.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Image`] for an image of another size than the model's.
    fn place_normalised(&mut self, image: &Normalised) -> Result<()>;

    /// Says which cells of `slot` of the batch to come count: `judged` is `[N]`, 1 or 0 where a cell is ignored. It holds
    /// for this slot until it is replaced; at first all cells count.
    fn judge(&mut self, slot: usize, judged: &[f32]);

    /// Encodes the first `views` placed images.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for more images than there is memory for.
    fn encode(&mut self, views: usize) -> Result<()>;

    /// Encodes the first `views` placed images and compares them with banks, as one recording of the device.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Numeric`] where a result is not finite; [`crate::ErrorKind::Argument`] for more than there is memory for.
    fn score(&mut self, views: usize, runs: &[Run], banks: &[&DeviceBank], each: &mut EachResult<'_>) -> Result<()>;

    /// Compares images that [`Session::encode`] encoded.
    ///
    /// # Errors
    /// As [`Session::score`].
    fn compare(&mut self, runs: &[Run], banks: &[&DeviceBank], each: &mut EachResult<'_>) -> Result<()>;

    /// Compares the one encoded image with each bank, whose prompts `members` finds in `groups`; without groups each bank by
    /// itself.
    ///
    /// # Errors
    /// As [`Session::score`].
    fn compare_groups(
        &mut self,
        banks: &[&DeviceBank],
        groups: &[&DeviceBank],
        members: &[Vec<usize>],
        each: &mut EachResult<'_>,
    ) -> Result<()>;

    /// Scores one frame step by step, waiting after each, and says how long each took. Together they take longer than
    /// [`Session::score`], which does not wait in between.
    ///
    /// # Errors
    /// As [`Session::score`].
    fn stage_times(&mut self, frame: AnyFrame<'_>, plan: &Plan, bank: &DeviceBank) -> Result<StageTimes>;

    /// What the one encoded image leaves in a bank; `judged`, `[N]`, is 0 where a patch leaves nothing.
    ///
    /// # Errors
    /// As [`crate::methods::Compare::prompt`].
    fn prompt(&mut self, judged: &[f32]) -> Result<Vec<NamedTensor>>;

    /// The features of the one encoded image.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Numeric`] where they are not finite.
    fn features(&mut self) -> Result<HostFeatures>;

    /// Unit rows of this shape (layers, rows of a layer, width) as a bank for [`Session::nearest_of`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device has no memory.
    fn rows_bank(&mut self, rows: &Arc<[f32]>, shape: [usize; 3]) -> Result<DeviceBank>;

    /// Largest cosines `[L, N]` with a bank's rows of an image that was encoded before, from its unit taps `[L, N, W]`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for a bank of another device.
    fn nearest_of(&mut self, taps: &[f32], bank: &DeviceBank, cosines: &mut [f32]) -> Result<()>;
}

/// Weights on a device, which device that is, and why that one, where the options left the choice.
type Loading = Result<(Arc<dyn Model>, Device, String)>;

/// The weights on the device that the options ask for.
pub(super) fn load(options: &EngineOptions, weights: &Weights) -> Loading {
    match options.device {
        Device::Cpu => on_cpu(options, weights, String::new()),
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => {
            let cuda = Cuda::new(ordinal, options.cuda())?;
            cuda.check_arch(weights.arch())?;
            Ok((Arc::new(OnDevice::new(cuda, weights)?), options.device, String::new()))
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(Error::new(
            ErrorKind::Device,
            "this program was built without CUDA: build it with the feature `cuda`, or ask for the device `cpu`",
        )),
        Device::Auto => auto(options, weights),
    }
}

#[cfg(feature = "cuda")]
fn auto(options: &EngineOptions, weights: &Weights) -> Loading {
    // A machine without an NVIDIA GPU is an ordinary one, and so is one whose GPU is full of other programs: what is wrong
    // there goes into the reason.
    let cuda = Cuda::new(0, options.cuda()).and_then(|cuda| {
        cuda.check_arch(weights.arch())?;
        Ok(cuda)
    });
    let cuda = match cuda {
        Ok(cuda) => cuda,
        Err(error) if is_users(&error) => return Err(error),
        Err(error) => return on_cpu(options, weights, format!("no CUDA device: {}", error.chain())),
    };
    match OnDevice::new(cuda, weights) {
        Ok(model) => Ok((Arc::new(model), Device::Cuda(0), "the first CUDA device".to_owned())),
        Err(error) if is_users(&error) => Err(error),
        // Weights that are wrong for every device are refused by the processor too.
        Err(error) => on_cpu(options, weights, format!("the CUDA device cannot hold the model: {}", error.chain())),
    }
}

/// Whether the fault lies in a file or a value that the user named, such as a table of algorithms, and in no device.
#[cfg(feature = "cuda")]
fn is_users(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Argument)
}

#[cfg(not(feature = "cuda"))]
fn auto(options: &EngineOptions, weights: &Weights) -> Loading {
    on_cpu(options, weights, "built without CUDA".to_owned())
}

fn on_cpu(options: &EngineOptions, weights: &Weights, reason: String) -> Loading {
    let bytes = memory::model_bytes(weights.arch());
    memory::check("the model", bytes, "use a smaller model, or a machine with more memory")?;
    Ok((Arc::new(OnDevice::new(options.cpu()?, weights)?), Device::Cpu, reason))
}

/// [`Model`] on one kind of device.
struct OnDevice<B: Runs> {
    /// Loads weights and banks, and is forked for sessions.
    backend: Mutex<B>,
    origin: Origin,
    /// The device, in words.
    description: String,
    encoder: Arc<Vision<B>>,
    methods: Mutex<Vec<LoadedMethod<B>>>,
}

/// A method's name, and what it has loaded.
type LoadedMethod<B> = (&'static str, Arc<dyn Loaded<B>>);

impl<B: Runs> OnDevice<B> {
    fn new(mut backend: B, weights: &Weights) -> Result<Self> {
        let encoder = Arc::new(Vision::load(&mut backend, weights)?);
        let (description, origin) = (backend.describe(), Origin::here());
        Ok(OnDevice { backend: Mutex::new(backend), origin, description, encoder, methods: Mutex::new(Vec::new()) })
    }

    /// A lane that panicked while it was locked is as good as before: its operations begin by writing what they read.
    fn lock<'m, T>(&self, mutex: &'m Mutex<T>) -> Result<MutexGuard<'m, T>> {
        process::lock(mutex, self.origin, "the engine")
    }

    fn method(&self, method: &'static dyn Method, weights: &Weights) -> Result<Arc<dyn Loaded<B>>> {
        let mut methods = self.lock(&self.methods)?;
        if let Some((_, loaded)) = methods.iter().find(|(name, _)| *name == method.name()) {
            return Ok(Arc::clone(loaded));
        }
        let loaded = self.lock(&self.backend)?.load_method(method, weights)?;
        methods.push((method.name(), Arc::clone(&loaded)));
        Ok(loaded)
    }
}

impl<B: Runs> Model for OnDevice<B> {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn upload(&self, tensors: &[BankTensor<'_>]) -> Result<DeviceBank> {
        Ok(Box::new(self.lock(&self.backend)?.bank(tensors)?))
    }

    fn session(
        &self,
        setup: Option<&Setup>,
        weights: &Weights,
        grid: Grid,
        views: usize,
        slots: usize,
    ) -> Result<Box<dyn Session>> {
        let loaded = setup.map(|setup| Ok((setup, self.method(setup.method(), weights)?))).transpose()?;
        let backend = {
            let mut backend = self.lock(&self.backend)?;
            let wants = wants(setup, self.encoder.arch())?;
            self.encoder.serve(&mut *backend, weights, &wants)?;
            backend.fork()?
        };
        Ok(Box::new(Pipeline::new(backend, Arc::clone(&self.encoder), loaded, grid, views, slots)?))
    }
}

/// What scores with a session of its own.
pub(super) trait HasSession {
    fn session(&mut self) -> &mut dyn Session;
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
                let _ = self.owner.session().wait();
            }
        }
    }
    let wait = frames.iter().any(|frame| matches!((*frame).into(), AnyFrame::Device(_)));
    let mut lent = Lent { owner, wait };
    let outcome = work(lent.owner);
    lent.wait &= outcome.is_err();
    outcome
}
