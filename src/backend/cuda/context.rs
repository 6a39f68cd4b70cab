//! The device: a check that it can be used, its context, and the data that all queues share.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::sys::{CUctx_flags, CUdevice_attribute as Attribute};
use cudarc::driver::{CudaContext, result, sys};

use super::CudaOptions;
use super::algorithms::Algorithms;
use super::error::{driver, name};
use super::kernels::{self, Kernels};
use super::libraries::{self, MIN_VERSION, branch, words};
use crate::backend::Precision;
use crate::error::{Error, ErrorKind, Result};
use crate::process::{Began, without_signals};

/// The oldest compute capability with the asynchronous copies and tensor-core shapes that the kernels use.
const MIN_CAPABILITY: (i32, i32) = (8, 0);

/// The process that started the driver, which does not work in its children by fork.
static STARTED: Began = Began::new();

/// A device and what is loaded on it once, for all queues.
pub(super) struct Shared {
    pub context: Arc<CudaContext>,
    pub kernels: Kernels,
    pub algorithms: Algorithms,
    pub precision: Precision,
    pub options: CudaOptions,
    /// Multiprocessors of the device.
    pub processors: usize,
    description: String,
}

impl Shared {
    /// The device `ordinal` with its kernels loaded.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] with what is missing and how to get it.
    pub fn new(ordinal: usize, options: CudaOptions) -> Result<Self> {
        // Threads of the driver's own are not for the program's signals either.
        let version = without_signals(driver_version)?;
        libraries::cublaslt()?;
        let count = driver("cuDeviceGetCount", CudaContext::device_count())?;
        if ordinal >= count as usize {
            let found =
                if count == 1 { "there is 1 CUDA device".into() } else { format!("there are {count} CUDA devices") };
            return Err(device_error(format!("device cuda:{ordinal} asked for, but {found}, counted from 0")));
        }
        let precision = Precision::choose(options.precision, "a GPU", &super::PRECISIONS)?;
        let context = driver("cuDevicePrimaryCtxRetain", without_signals(|| CudaContext::new(ordinal)))?;
        // SAFETY: no memory of cudarc's own kind is allocated; all ordering is that of one stream a queue.
        unsafe { context.disable_event_tracking() };
        // Waiting by spinning: a score takes less time than the system needs to wake a thread. A context that another
        // library made keeps its own flags.
        let _ = context.set_flags(CUctx_flags::CU_CTX_SCHED_SPIN);
        let gpu = driver("cuDeviceGetName", context.name())?;
        let (major, minor) = driver("cuDeviceGetAttribute", context.compute_capability())?;
        if (major, minor) < MIN_CAPABILITY {
            return Err(device_error(format!(
                "device cuda:{ordinal} ({gpu}) has compute capability {major}.{minor}; 8.0 (Ampere) or newer is needed: use \
                 the device `cpu`"
            )));
        }
        let attribute = |attribute| driver("cuDeviceGetAttribute", context.attribute(attribute));
        let shared_limit = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let processors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1) as usize;
        let image = kernels::image(version, (major, minor))?;
        let kernels = Kernels::load(&context, &image, shared_limit)?;
        let algorithms = Algorithms::new(&gpu, options.algorithms.as_deref(), options.fast)?;
        let description = format!(
            "CUDA device {ordinal}, {gpu}, compute {major}.{minor}, driver for CUDA {}, cuBLASLt {}, {}",
            words(version),
            algorithms.version(),
            image.origin(),
        );
        Ok(Shared { context, kernels, algorithms, precision, options, processors, description })
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        format!("{}, {}, products {}", self.description, self.precision, self.algorithms.describe())
    }

    /// Makes the context current on this thread.
    pub fn bind(&self) -> Result<()> {
        bind(&self.context)
    }
}

/// Makes the context current on this thread.
pub(super) fn bind(context: &CudaContext) -> Result<()> {
    here()?;
    driver("cuCtxSetCurrent", context.bind_to_thread())
}

/// Whether the driver may be called.
///
/// # Errors
/// [`ErrorKind::Device`] in a child process by fork.
pub(super) fn here() -> Result<()> {
    if STARTED.in_parent() {
        return Err(device_error(
            "this process was forked from one that uses the GPU, which CUDA does not allow: open the engine in a process that \
             was started anew, or before anything uses the GPU in the parent",
        ));
    }
    Ok(())
}

/// The CUDA version that the driver was made for, as 1000 * major + 10 * minor.
fn driver_version() -> Result<i32> {
    libraries::driver()?;
    STARTED.here();
    here()?;
    result::init().map_err(|error| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => device_error("the NVIDIA driver finds no GPU"),
        sys::CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => device_error(
            "the NVIDIA driver's library and its kernel module are of different versions: restart the machine",
        ),
        _ => device_error(format!("the NVIDIA driver does not start: cuInit failed with {}", name(error))),
    })?;
    let mut version = 0;
    // SAFETY: the library is there, and `version` is a valid place for an int.
    driver("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&mut version) }.result())?;
    let needed = kernels::needed_driver().max(MIN_VERSION);
    if version < needed {
        return Err(device_error(format!(
            "the NVIDIA driver is made for CUDA {}, but {} is needed: install driver {} or newer",
            words(version),
            words(needed),
            branch(needed),
        )));
    }
    Ok(version)
}

pub(super) fn device_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Device, message)
}
