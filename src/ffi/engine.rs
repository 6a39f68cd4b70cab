//! Engines from C.

use std::ffi::{CString, c_char};
use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::abi::{Tagged, Versioned, close, hand_out, handle, object, path, read, string};
use super::log::{INCTRL_LOG_INFO, log};
use super::status::{Failure, guard};
use crate::backend::Precision;
use crate::engine::{Device, Engine, EngineOptions};

/// What the device usually computes in: half precision on a GPU, f32 on the CPU. The default.
pub const INCTRL_PRECISION_F16: i32 = 0;
/// Single precision on every device; on a GPU for diagnosis.
pub const INCTRL_PRECISION_F32: i32 = 1;
/// Products of bf16, on a CPU with AVX512-BF16: about twice as fast as f32, scores within 2e-3 of it.
pub const INCTRL_PRECISION_BF16: i32 = 2;
/// Products of bytes, on a CPU with VNNI: about three times as fast as f32, scores mostly within 5e-3 of it; check with inctrl verify.
pub const INCTRL_PRECISION_INT8: i32 = 3;

/// How to open an engine. Begin with `inctrl_engine_options options = {0}; options.struct_size = sizeof options;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_engine_options {
    /// sizeof(inctrl_engine_options).
    pub struct_size: usize,
    /// The weights, a safetensors file. It stays open until the engine and everything made from it are closed. To
    /// replace it, rename another file over it. A file that was overwritten or cut short is an error.
    pub weights: *const c_char,
    /// The heads, if they are in a separate file, or NULL.
    pub heads: *const c_char,
    /// The configuration, if it is neither in the weights file nor beside it, or NULL.
    pub config: *const c_char,
    /// "auto", "cpu", "cuda" or "cuda:N"; NULL is "auto".
    pub device: *const c_char,
    /// CPU threads for all scorers together; 0 for all cores. The engine starts one fewer, as the calling thread
    /// counts. If as many scorers as threads are working, each works on its caller's thread alone.
    pub threads: u32,
    /// One of INCTRL_PRECISION_*; one that the device lacks is an error.
    pub precision: i32,
}

// SAFETY: `repr(C)`, begins with its size; numbers and pointers, which any bits are.
unsafe impl Versioned for inctrl_engine_options {
    const NAME: &'static str = "inctrl_engine_options";
    const FIRST: usize = offset_of!(inctrl_engine_options, precision) + size_of::<i32>();
}

/// A model on a device. Any number of threads may use it at once.
pub struct inctrl_engine {
    tagged: Tagged<Opened>,
}

/// What the handle holds.
pub(super) struct Opened {
    pub(super) engine: Arc<Engine>,
    model_hash: CString,
    device: CString,
}

handle!(inctrl_engine, Opened, 1, "engine");

/// Text without zeros as a C string.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// Opens a model. This takes seconds. All scorers share one copy of the weights.
///
/// @param options what to open; may be freed afterwards
/// @param engine receives the engine, NULL after an error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_engine_open(
    options: *const inctrl_engine_options,
    engine: *mut *mut inctrl_engine,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's structure and variable, as the header asks; so are its strings.
        unsafe {
            hand_out(engine, || {
                let given = read(options)?;
                let mut options = EngineOptions::new(path(given.weights, "weights file")?);
                let optional = |text: *const c_char, name| (!text.is_null()).then(|| path(text, name)).transpose();
                options.weights.heads = optional(given.heads, "heads file")?;
                options.weights.config = optional(given.config, "configuration file")?;
                if !given.device.is_null() {
                    options.device = string(given.device, "device")?.parse::<Device>()?;
                }
                options.threads = NonZeroUsize::new(given.threads as usize);
                options.precision = match given.precision {
                    INCTRL_PRECISION_F16 => None,
                    INCTRL_PRECISION_F32 => Some(Precision::F32),
                    INCTRL_PRECISION_BF16 => Some(Precision::Bf16),
                    INCTRL_PRECISION_INT8 => Some(Precision::Int8),
                    other => {
                        return Err(Failure::argument(format!(
                            "{other} is not a precision: use one of INCTRL_PRECISION_*"
                        )));
                    }
                };
                let engine = Arc::new(Engine::with(&options)?);
                log(INCTRL_LOG_INFO, &format!("model {} on {}", engine.model_hash(), engine.device()));
                Ok(inctrl_engine::from(Opened {
                    model_hash: c_string(engine.model_hash()),
                    device: c_string(&engine.device()),
                    engine,
                }))
            })
        }
    })
}

/// Checks this device with pictures whose results are known. This takes seconds; call it at the start of a shift.
///
/// INCTRL_ERROR_DEVICE means that a check failed. Do not inspect with this device then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_engine_self_test(engine: *const inctrl_engine) -> i32 {
    // SAFETY: a handle of the caller's.
    guard(|| Ok(unsafe { object(engine) }?.engine.self_test()?))
}

/// Identity of the model, in hexadecimal. Valid until the engine is closed; NULL if `engine` is not an engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_engine_model_hash(engine: *const inctrl_engine) -> *const c_char {
    // SAFETY: a handle of the caller's.
    unsafe { object(engine) }.map_or(std::ptr::null(), |engine| engine.model_hash.as_ptr())
}

/// The device and how it is used, one line. Valid until the engine is closed; NULL if `engine` is not an engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_engine_device(engine: *const inctrl_engine) -> *const c_char {
    // SAFETY: a handle of the caller's.
    unsafe { object(engine) }.map_or(std::ptr::null(), |engine| engine.device.as_ptr())
}

/// Cells of a side of the map at the model's own size. For banks with another size or the fit INCTRL_FIT_TRIM use
/// inctrl_scorer_grid(). 0 if `engine` is not an engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_engine_grid(engine: *const inctrl_engine) -> u32 {
    // SAFETY: a handle of the caller's.
    unsafe { object(engine) }.map_or(0, |engine| engine.engine.arch().vision.grid() as u32)
}

/// Closes an engine and sets the variable to NULL. Closing NULL does nothing. Its banks, slots and scorers stay usable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_engine_close(engine: *mut *mut inctrl_engine) -> i32 {
    // SAFETY: a variable of the caller's, whose handle nobody uses any more.
    guard(|| unsafe { close(engine) })
}
