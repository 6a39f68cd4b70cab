//! The kernels: their image, compiled at build time or at first use, and every symbol of it, resolved at load.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;

use cudarc::driver::sys::{CUfunction, CUfunction_attribute_enum, CUmodule};
use cudarc::driver::{CudaContext, result};
use cudarc::nvrtc::{self, CompileOptions, compile_ptx_with_opts};

use super::buffer::Storage;
use super::context::device_error;
use super::error::driver;
use super::libraries;
use crate::atomic_file::write_atomically;
use crate::error::{Error, ErrorKind, Result};

// `SOURCE`, all kernels in one text, and `FATBIN`, their machine code where nvcc was there at build time.
include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// Shared memory that a kernel may have without asking.
const STATIC_SHARED_LIMIT: i32 = 48 << 10;

/// What the driver loads.
pub(super) struct Image {
    bytes: Cow<'static, [u8]>,
    origin: &'static str,
}

impl Image {
    /// Where the machine code comes from, for people.
    pub fn origin(&self) -> &'static str {
        self.origin
    }
}

/// The CUDA version that a driver must be made for to load the image, as 1000 * major + 10 * minor.
pub(super) fn needed_driver() -> i32 {
    if FATBIN.is_some() { FATBIN_VERSION } else { 0 }
}

/// The kernels for a device of `capability`.
pub(super) fn image(driver_version: i32, capability: (i32, i32)) -> Result<Image> {
    if let Some(fatbin) = FATBIN {
        return Ok(Image { bytes: Cow::Borrowed(fatbin), origin: "prebuilt kernels" });
    }
    libraries::nvrtc()?;
    let options = [format!("--gpu-architecture=compute_{}{}", capability.0, capability.1), "--std=c++17".to_owned()];
    let mut hasher = blake3::Hasher::new();
    for part in [SOURCE, &options[0], &nvrtc_version(), &driver_version.to_string()] {
        hasher.update(part.as_bytes()).update(b"\0");
    }
    let cached = cache_folder().map(|folder| folder.join(format!("kernels-{}.ptx", &hasher.finalize().to_hex()[..32])));
    if let Some(bytes) =
        cached.as_ref().and_then(|path| std::fs::read(path).ok()).filter(|bytes| bytes.ends_with(b"\0"))
    {
        return Ok(Image { bytes: Cow::Owned(bytes), origin: "kernels compiled earlier" });
    }
    let compiled = compile_ptx_with_opts(SOURCE, CompileOptions { options: options.to_vec(), ..Default::default() });
    let ptx = compiled.map_err(|error| {
        device_error("NVRTC cannot compile the kernels: install a newer CUDA toolkit").because(error)
    })?;
    let bytes = ptx.as_bytes().unwrap_or_default().to_vec();
    if let Some(path) = cached {
        // A cache that cannot be written costs a second at the next start, no more.
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = write_atomically(&path, |out| out.write_all(&bytes).map_err(|error| Error::io("write", &path, error)));
    }
    Ok(Image { bytes: Cow::Owned(bytes), origin: "kernels compiled at first use" })
}

fn nvrtc_version() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is there; both places are valid.
    let _ = unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    format!("{major}.{minor}")
}

/// Where this user's programs keep what they can make again.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else {
        folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))
    };
    base.map(|base| base.join("inctrl"))
}

/// The kernels of an operation that has one for each type of operands.
#[derive(Clone, Copy)]
pub(crate) struct ByType {
    name: &'static str,
    f16: CUfunction,
    f32: CUfunction,
}

impl ByType {
    /// The kernel for this storage.
    pub fn of(&self, storage: Storage) -> Result<CUfunction> {
        match storage {
            Storage::F16 => Ok(self.f16),
            Storage::F32 => Ok(self.f32),
            other => {
                let message = format!("there is no kernel `{}` for {other:?}", self.name);
                Err(Error::new(ErrorKind::Internal, message).in_operation(self.name))
            }
        }
    }
}

/// A kernel that a method brings: looked up when its weights are loaded, so that a missing one is no fault of a score.
#[derive(Clone, Copy)]
pub(crate) struct MethodKernel(CUfunction);

impl MethodKernel {
    /// What [`Cuda::launch`](super::Cuda::launch) takes.
    pub fn function(self) -> CUfunction {
        self.0
    }
}

// SAFETY: a handle of the driver, which may be used from any thread; it is only read.
unsafe impl Send for MethodKernel {}
// SAFETY: as above.
unsafe impl Sync for MethodKernel {}

/// Declares the table of kernels: a field for each operation that has a kernel a type, and one for each other symbol.
macro_rules! kernels {
    (by_type [$($op:ident),+ $(,)?] single [$($symbol:ident),+ $(,)?]) => {
        /// Every kernel.
        pub(crate) struct Kernels {
            context: Arc<CudaContext>,
            module: CUmodule,
            shared_limit: i32,
            $(pub $op: ByType,)+
            $(pub $symbol: CUfunction,)+
        }

        impl Kernels {
            /// Loads the image and resolves every symbol. `shared_limit` is what the device lets a block have at most.
            pub(super) fn load(context: &Arc<CudaContext>, image: &Image, shared_limit: i32) -> Result<Self> {
                super::context::bind(context)?;
                // SAFETY: the image is a fat binary, or PTX that ends with a zero byte; the driver copies it.
                let module = unsafe { result::module::load_data(image.bytes.as_ptr().cast()) };
                let module = driver("cuModuleLoadData", module)?;
                let mut kernels = Kernels {
                    context: Arc::clone(context),
                    module,
                    shared_limit,
                    $($op: ByType { name: stringify!($op), f16: std::ptr::null_mut(), f32: std::ptr::null_mut() },)+
                    $($symbol: std::ptr::null_mut(),)+
                };
                $(
                    kernels.$op.f16 = function(module, concat!(stringify!($op), "_f16"), shared_limit)?;
                    kernels.$op.f32 = function(module, concat!(stringify!($op), "_f32"), shared_limit)?;
                )+
                $(kernels.$symbol = function(module, stringify!($symbol), shared_limit)?;)+
                Ok(kernels)
            }
        }
    };
}

kernels! {
    by_type [
        patch_rows, embed, layer_norm, unit_patches, gelu_exact, gelu_quick, swiglu, class_attention, pool_rows, patch_nn,
        join_layers, nearest_distance, unfold, unfold_pixels,
    ]
    single [
        resize_horizontal,
        attention_f16_64, attention_f16_208, attention_f16_240, attention_f16_272, attention_online_f16, attention_f32,
        residual_mean,
        plain_patches,
        subspace_distance,
        enlarge_columns, enlarge_rows,
        mean_of_largest,
        window_tokens,
        rectify, max_pool, mean_cells, pool_neighbours, pool_columns, resample_maps,
        nearest_euclidean, euclidean_map,
    ]
}

impl Kernels {
    /// The kernel `symbol`, which no operation of this folder launches.
    pub(super) fn of_method(&self, symbol: &str) -> Result<MethodKernel> {
        super::context::bind(&self.context)?;
        Ok(MethodKernel(function(self.module, symbol, self.shared_limit)?))
    }
}

fn function(module: CUmodule, symbol: &str, shared_limit: i32) -> Result<CUfunction> {
    let name = CString::new(symbol).unwrap_or_default();
    // SAFETY: the module is loaded: its owner is `self`, or about to be made.
    let function = unsafe { result::module::get_function(module, name) };
    let function = driver(&format!("cuModuleGetFunction of `{symbol}`"), function)?;
    if shared_limit > STATIC_SHARED_LIMIT {
        let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function belongs to the loaded module.
        let raised = unsafe { result::function::set_function_attribute(function, attribute, shared_limit) };
        driver("cuFuncSetAttribute", raised)?;
    }
    Ok(function)
}

// SAFETY: handles of the driver, which may be used from any thread; they are only read.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Drop for Kernels {
    fn drop(&mut self) {
        if super::context::bind(&self.context).is_ok() {
            // SAFETY: loaded by `load`, unloaded once; queues, which launch its functions, hold the owner.
            let _ = unsafe { result::module::unload(self.module) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_code_lies_where_drivers_want_it() {
        // Nothing to see where the program was built without nvcc.
        assert!(FATBIN.is_none_or(|bytes| (bytes.as_ptr() as usize).is_multiple_of(64)));
    }
}
