//! The CUDA emulator for tests: builds `tests/emulator` and `kernels` with the machine's C++ compiler, and loads the
//! result instead of NVIDIA's libraries.
//!
//! cudarc loads `libcuda.so` and the other libraries by name. If a library of that name is already loaded, the system
//! returns it, wherever its file is. So [`load`] must be called before the first use of a CUDA device in the process.
//! Processes that a test starts find the files through [`folder`] in `LD_LIBRARY_PATH`.
//!
//! | environment | meaning |
//! |---|---|
//! | `CXX` | the compiler, otherwise `c++`, `g++` or `clang++` |
//! | `INCTRL_EMULATOR` | a folder with libraries to load instead of building |
//! | `INCTRL_EMULATOR_KERNELS` | a folder with kernels instead of `kernels` |
//! | `INCTRL_EMULATOR_SANITIZE=1` | build with AddressSanitizer and UndefinedBehaviorSanitizer; the process needs their library in `LD_PRELOAD` |
//! | `INCTRL_EMULATOR_COPIES`, `_STREAMS` | `eager`: as [`Emulation`] |
//! | `INCTRL_EMULATOR_SCHEDULE`, `_MEMORY`, `_FAIL` | a schedule, a size in bytes, `function:after:code` |
#![allow(unsafe_code)]
#![allow(dead_code, reason = "each program uses its own part")]

use std::ffi::{CString, c_char, c_int, c_uint};
use std::path::PathBuf;
use std::sync::OnceLock;

use libloading::Library;

pub mod build;

/// How the emulator orders what CUDA leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emulation {
    /// Asynchronous copies of a kernel land when issued; otherwise when waited for.
    pub eager_copies: bool,
    /// 0: warps take turns; otherwise the seed of random priorities and orders.
    pub schedule: u32,
    /// Work of a stream is done when queued; otherwise when waited for.
    pub eager_streams: bool,
}

impl Emulation {
    /// Each way in which an error was seen to hide from the others.
    pub const ALL: [Emulation; 4] = [
        Emulation { eager_copies: false, schedule: 0, eager_streams: false },
        Emulation { eager_copies: false, schedule: 1, eager_streams: false },
        Emulation { eager_copies: true, schedule: 2, eager_streams: false },
        Emulation { eager_copies: true, schedule: 3, eager_streams: true },
    ];
}

/// The emulator's functions for tests, of the library that is loaded.
struct Controls {
    configure: unsafe extern "C" fn(c_int, c_uint, c_int),
    fail: unsafe extern "C" fn(*const c_char, c_int, c_int),
    memory: unsafe extern "C" fn(usize),
    memory_in_use: unsafe extern "C" fn() -> usize,
    disguise: unsafe extern "C" fn(u64, c_int, c_int, c_int),
}

static CONTROLS: OnceLock<Result<Controls, String>> = OnceLock::new();

/// Makes the emulator the CUDA of this process, building it if need be.
///
/// # Errors
/// Why there is none: no compiler, say, or a kernel that does not compile.
pub fn load() -> Result<(), String> {
    CONTROLS.get_or_init(open).as_ref().map(|_| ()).map_err(Clone::clone)
}

/// The folder of the libraries, built if need be.
pub fn folder() -> Result<PathBuf, String> {
    match std::env::var_os("INCTRL_EMULATOR") {
        Some(folder) => Ok(folder.into()),
        None => build::libraries(),
    }
}

fn open() -> Result<Controls, String> {
    let folder = folder()?;
    // The driver first: the others link to it by its name.
    let [cuda, ..] = ["libcuda.so", "libcublasLt.so", "libnvrtc.so"].map(|name| {
        let path = folder.join(name);
        // SAFETY: the library's initialisers register kernels in a table of its own. It stays loaded for good.
        let library = unsafe { Library::new(&path) };
        library.map(|library| &*Box::leak(Box::new(library))).map_err(|error| format!("{}: {error}", path.display()))
    });
    let cuda = cuda?;
    // SAFETY: the types are those of `device.cpp`.
    unsafe {
        let missing = |error: libloading::Error| error.to_string();
        Ok(Controls {
            configure: *cuda.get(b"inctrl_emulator_configure\0").map_err(missing)?,
            fail: *cuda.get(b"inctrl_emulator_fail\0").map_err(missing)?,
            memory: *cuda.get(b"inctrl_emulator_memory\0").map_err(missing)?,
            memory_in_use: *cuda.get(b"inctrl_emulator_memory_in_use\0").map_err(missing)?,
            disguise: *cuda.get(b"inctrl_emulator_disguise\0").map_err(missing)?,
        })
    }
}

fn controls() -> &'static Controls {
    match CONTROLS.get_or_init(open) {
        Ok(controls) => controls,
        Err(error) => panic!("the emulator is not loaded: {error}"),
    }
}

/// Sets how launches from now on are ordered.
pub fn configure(emulation: Emulation) {
    let Emulation { eager_copies, schedule, eager_streams } = emulation;
    // SAFETY: takes plain numbers.
    unsafe { (controls().configure)(eager_copies.into(), schedule, eager_streams.into()) }
}

/// Lets call number `after`, counted from 0, of a function return `code`, once, or all its calls where `after` is
/// negative; `*` stands for every call of the driver, for good, as on a lost device. An empty name takes the fault
/// away.
pub fn fail(function: &str, after: i32, code: i32) {
    let function = CString::new(function).unwrap();
    // SAFETY: the name ends with a zero byte and is copied.
    unsafe { (controls().fail)(function.as_ptr(), after, code) }
}

/// Sets the size of the device's memory.
pub fn set_memory(bytes: usize) {
    // SAFETY: takes a number.
    unsafe { (controls().memory)(bytes) }
}

/// Device memory that is allocated, in bytes.
pub fn memory_in_use() -> usize {
    // SAFETY: returns a number.
    unsafe { (controls().memory_in_use)() }
}

/// What the driver says of an allocation that a test has made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disguise {
    pub managed: bool,
    /// Of a context other than the device's primary one.
    pub foreign: bool,
    pub ordinal: i32,
}

/// Lets the driver say something else of the allocation that begins at `address`.
pub fn disguise(address: u64, disguise: Disguise) {
    let Disguise { managed, foreign, ordinal } = disguise;
    // SAFETY: takes plain numbers.
    unsafe { (controls().disguise)(address, managed.into(), foreign.into(), ordinal) }
}
