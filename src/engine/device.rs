//! The choice of device. The layers below are generic over the device; the layers above do not know it.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard};

use super::estimate;
use super::pipeline::{EachResult, HostFeatures, Pipeline, StageTimes};
use super::shared::{Device, EngineOptions};
#[cfg(feature = "cuda")]
use crate::backend::cuda::{self, Cuda};
#[cfg(feature = "cuda")]
use crate::backend::{Backend, Role};
use crate::backend::{BankTensor, Precision};
use crate::encoder::Vision;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DeviceFrame};
use crate::memory;
use crate::methods::{Loaded, Method, NamedTensor, Run, Runs, Setup};
use crate::process::{self, Origin};
use crate::view::{Grid, Normalised, View};
use crate::weights::Weights;

/// A bank on a device, in the form of that device's backend. Every pipeline of the device can use it.
pub type DeviceBank = Box<dyn Any + Send + Sync>;

/// A model's weights on a device.
pub(super) trait Model: Send + Sync {
    /// A one-line description for people.
    fn describe(&self) -> String;

    /// The arithmetic of the device.
    fn precision(&self) -> Precision;

    /// Uploads a bank for all pipelines of the device.
    fn upload(&self, tensors: &[BankTensor<'_>]) -> Result<DeviceBank>;

    /// Makes a pipeline with memory for `views` images of `grid` and, for each method, as many results.
    fn session(
        &self,
        methods: &[(&Setup, usize)],
        weights: &Weights,
        grid: Grid,
        views: usize,
    ) -> Result<Box<dyn Session>>;

    /// Images that were encoded so far.
    fn encoded(&self) -> u64;
}

/// A pipeline on a device: one thread, one method or several that look at one encoding. Where a function has no number of
/// a method, it means the first.
pub trait Session: Send {
    /// The largest number of images that are encoded at once.
    fn capacity(&self) -> usize;

    /// The arithmetic behind the features: the kind of device and how it stores operands.
    fn arithmetic(&self) -> String;

    /// Waits until the pipeline has no work left.
    fn wait(&mut self) -> Result<()>;

    /// [`crate::backend::Backend::copy_to_host`].
    fn copy_to_host(&mut self, frame: &DeviceFrame, out: &mut Vec<u8>) -> Result<()>;

    /// Sets the grid of the next batch. Returns whether this took memory: a new grid does, and the pipeline keeps the
    /// most recent grids.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where memory is short, [`crate::ErrorKind::Argument`] for a grid for which the
    /// encoder has no positions; the pipeline stays as it was.
    fn prepare(&mut self, grid: Grid) -> Result<bool>;

    /// Places the views of a frame as numbers `first ..` of the next batch. They must have the batch's grid.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for more views than the pipeline has memory for, or a frame on another device.
    fn place(&mut self, frame: AnyFrame<'_>, views: &[View], first: usize) -> Result<()>;

    /// Places an image that is already normalised, as view 0.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Image`] for an image that does not have the model's size.
    fn place_normalised(&mut self, image: &Normalised) -> Result<()>;

    /// Sets which cells of `slot` count in the next batches: `valid` is `[N]`, with 0 where a cell is ignored and 1
    /// elsewhere. It holds for this slot until it is replaced. At first all cells count.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for a slot for which the pipeline has no memory.
    fn set_valid(&mut self, slot: usize, valid: &[f32]) -> Result<()>;

    /// Encodes the first `views` placed images.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for more images than the pipeline has memory for.
    fn encode(&mut self, views: usize) -> Result<()>;

    /// Encodes the first `views` placed images and compares them with banks. On a GPU this is one recorded graph.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Numeric`] where a result is not finite; [`crate::ErrorKind::Argument`] for more images or
    /// results than the pipeline has memory for.
    fn score(&mut self, views: usize, runs: &[Run], banks: &[&DeviceBank], each: &mut EachResult<'_>) -> Result<()>;

    /// Compares images that [`Session::encode`] encoded.
    ///
    /// # Errors
    /// As [`Session::score`].
    fn compare(&mut self, runs: &[Run], banks: &[&DeviceBank], each: &mut EachResult<'_>) -> Result<()>;

    /// Compares the one encoded image with each bank of the method with this number. The banks' prompts are the `groups`
    /// listed in `members`. Without groups each bank is compared by itself.
    ///
    /// # Errors
    /// As [`Session::score`]; [`crate::ErrorKind::Argument`] for a grid that the method does not support.
    fn compare_groups(
        &mut self,
        method: usize,
        banks: &[&DeviceBank],
        groups: &[&DeviceBank],
        members: &[Vec<usize>],
        each: &mut EachResult<'_>,
    ) -> Result<()>;

    /// Scores one view of a frame step by step, waits after each, and returns how long each took. The sum is larger than the time
    /// of [`Session::score`], which does not wait in between.
    ///
    /// # Errors
    /// As [`Session::score`].
    fn stage_times(&mut self, frame: AnyFrame<'_>, view: &View, bank: &DeviceBank) -> Result<StageTimes>;

    /// What the one encoded image contributes to a bank of the method with this number. `valid`, `[N]`, is 0 for patches
    /// that contribute nothing.
    ///
    /// # Errors
    /// As [`crate::methods::Compare::prompt`]; [`crate::ErrorKind::Argument`] for a grid that the method does not support.
    fn prompt(&mut self, method: usize, valid: &[f32]) -> Result<Vec<NamedTensor>>;

    /// Downloads the features of the one encoded image.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Numeric`] where they are not finite.
    fn features(&mut self) -> Result<HostFeatures>;

    /// Uploads unit rows as a bank for [`Session::nearest_of`]. `shape` is (layers, rows per layer, width).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device has not enough memory.
    fn rows_bank(&mut self, rows: &Arc<Vec<f32>>, shape: [usize; 3]) -> Result<DeviceBank>;

    /// Largest cosines `[L, N]` between an image's unit taps `[L, N, W]`, encoded earlier, and a bank's rows.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for a bank on another device.
    fn nearest_of(&mut self, taps: &[f32], bank: &DeviceBank, cosines: &mut [f32]) -> Result<()>;
}

/// Weights on a device, the device, and why it was chosen if the options left the choice open.
type Loading = Result<(Arc<dyn Model>, Device, String)>;

/// Loads the weights onto the device that the options ask for.
pub(super) fn load(options: &EngineOptions, weights: &Weights) -> Loading {
    match options.device {
        Device::Cpu => on_cpu(options, weights, String::new()),
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => {
            let cuda = Cuda::new(ordinal, options.cuda())?;
            cuda.check_arch(weights.arch())?;
            check_memory(&cuda, weights)?;
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

/// Whether the GPU has memory for the model.
#[cfg(feature = "cuda")]
fn check_memory(cuda: &Cuda, weights: &Weights) -> Result<()> {
    let operand = cuda.precision().stores(Role::Weight).size();
    cuda.check_memory("the model", estimate::model_bytes_on_device(weights.arch(), operand))
}

#[cfg(feature = "cuda")]
fn auto(options: &EngineOptions, weights: &Weights) -> Loading {
    if let Some(precision) = options.precision.filter(|precision| !cuda::PRECISIONS.contains(precision)) {
        return on_cpu(options, weights, format!("a GPU does not compute in {precision}"));
    }
    // A machine without an NVIDIA GPU is normal, and so is a GPU that other programs have filled. The error becomes
    // part of the reason.
    let cuda = Cuda::new(0, options.cuda()).and_then(|cuda| {
        cuda.check_arch(weights.arch())?;
        Ok(cuda)
    });
    let cuda = match cuda {
        Ok(cuda) => cuda,
        Err(error) if is_users(&error) => return Err(error),
        Err(error) => return on_cpu(options, weights, format!("no CUDA device: {}", error.chain())),
    };
    match check_memory(&cuda, weights).and_then(|()| OnDevice::new(cuda, weights)) {
        Ok(model) => Ok((Arc::new(model), Device::Cuda(0), "the first CUDA device".to_owned())),
        Err(error) if is_users(&error) => Err(error),
        // The CPU refuses weights that are wrong for every device.
        Err(error) => on_cpu(options, weights, format!("the CUDA device cannot hold the model: {}", error.chain())),
    }
}

/// Whether the cause is a file or a value that the user gave, such as a table of algorithms, rather than a device.
#[cfg(feature = "cuda")]
fn is_users(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Argument)
}

#[cfg(not(feature = "cuda"))]
fn auto(options: &EngineOptions, weights: &Weights) -> Loading {
    on_cpu(options, weights, "built without CUDA".to_owned())
}

fn on_cpu(options: &EngineOptions, weights: &Weights, reason: String) -> Loading {
    let bytes = estimate::model_bytes(weights.arch());
    memory::check("the model", bytes, "use a smaller model, or a machine with more memory")?;
    Ok((Arc::new(OnDevice::new(options.cpu()?, weights)?), Device::Cpu, reason))
}

/// [`Model`] on one kind of device.
struct OnDevice<B: Runs> {
    /// Loads weights and banks; sessions are forks of it.
    backend: Mutex<B>,
    origin: Origin,
    /// The device, described for people.
    description: String,
    precision: Precision,
    encoder: Arc<Vision<B>>,
    methods: Mutex<Vec<LoadedMethod<B>>>,
}

/// A method's name, and the weights of its own that it has loaded.
type LoadedMethod<B> = (&'static str, Arc<dyn Loaded<B>>);

impl<B: Runs> OnDevice<B> {
    fn new(mut backend: B, weights: &Weights) -> Result<Self> {
        let encoder = Arc::new(Vision::load(&mut backend, weights)?);
        let (description, precision, origin) = (backend.describe(), backend.precision(), Origin::here());
        let (backend, methods) = (Mutex::new(backend), Mutex::new(Vec::new()));
        Ok(OnDevice { backend, origin, description, precision, encoder, methods })
    }

    /// A panic while the lock was held leaves the pipeline usable: every operation writes its inputs before it reads
    /// them.
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

    fn precision(&self) -> Precision {
        self.precision
    }

    fn upload(&self, tensors: &[BankTensor<'_>]) -> Result<DeviceBank> {
        Ok(Box::new(self.lock(&self.backend)?.bank(tensors)?))
    }

    fn session(
        &self,
        methods: &[(&Setup, usize)],
        weights: &Weights,
        grid: Grid,
        views: usize,
    ) -> Result<Box<dyn Session>> {
        let mut served = Vec::with_capacity(methods.len());
        for (setup, slots) in methods {
            served.push((*setup, self.method(setup.method(), weights)?, *slots));
        }
        let backend = {
            let mut backend = self.lock(&self.backend)?;
            for (setup, _) in methods {
                self.encoder.serve(&mut *backend, weights, &setup.wants(self.encoder.arch())?)?;
            }
            backend.fork()?
        };
        Ok(Box::new(Pipeline::new(backend, Arc::clone(&self.encoder), served, grid, views)?))
    }

    fn encoded(&self) -> u64 {
        self.encoder.encoded()
    }
}

/// An owner of a session.
pub(super) trait HasSession {
    fn session(&mut self) -> &mut dyn Session;
}

/// Runs `work` on frames that the caller owns. If it fails or panics, waits until the device no longer reads them: the
/// caller may free them as soon as this returns.
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
                // A device that cannot be waited for has no work left, and the call already has an error to report.
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
