//! NVIDIA's libraries: a check that they can be loaded and have every function that we call.
//!
//! cudarc looks a function up at its first call, and panics if it is missing. So all functions are looked up before,
//! and an error says which version has a missing one. `tests/cuda/libraries.rs` runs with libraries that have only the
//! functions listed here: each function that we call must be listed.
#![allow(unsafe_code)]

use std::ffi::c_void;

use cudarc::driver::sys::{CUevent, CUresult};
use cudarc::{cublaslt, driver, nvrtc};
use libloading::Library;

use super::context::device_error;
use crate::error::Result;

/// Functions that the drivers of all CUDA versions from 12.0 on have.
const DRIVER: [&str; 42] = [
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemHostGetDevicePointer_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoH_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyHtoD_v2",
    "cuMemsetD8Async",
    "cuMemsetD8_v2",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuPointerGetAttributes",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
];
/// Those that came later, with the CUDA version of the first driver that has them, as 1000 * major + 10 * minor.
const LATER: [(&str, i32); 1] = [("cuCtxSetFlags", 12_010)];
/// The oldest CUDA version whose driver has all of them.
pub(super) const MIN_VERSION: i32 = {
    let (mut version, mut i) = (12_000, 0);
    while i < LATER.len() {
        if LATER[i].1 > version {
            version = LATER[i].1;
        }
        i += 1;
    }
    version
};
/// Which driver has which CUDA version, newest first.
const BRANCHES: [(i32, u32); 10] = [
    (13_000, 580),
    (12_090, 575),
    (12_080, 570),
    (12_060, 560),
    (12_050, 555),
    (12_040, 550),
    (12_030, 545),
    (12_020, 535),
    (12_010, 530),
    (12_000, 525),
];
/// Functions of cuBLASLt; all versions for CUDA 12 and 13 have them.
const CUBLASLT: [&str; 15] = [
    "cublasLtCreate",
    "cublasLtDestroy",
    "cublasLtGetVersion",
    "cublasLtMatmul",
    "cublasLtMatmulAlgoCheck",
    "cublasLtMatmulAlgoConfigGetAttribute",
    "cublasLtMatmulAlgoGetHeuristic",
    "cublasLtMatmulDescCreate",
    "cublasLtMatmulDescDestroy",
    "cublasLtMatmulDescSetAttribute",
    "cublasLtMatmulPreferenceCreate",
    "cublasLtMatmulPreferenceDestroy",
    "cublasLtMatmulPreferenceSetAttribute",
    "cublasLtMatrixLayoutCreate",
    "cublasLtMatrixLayoutDestroy",
];
/// Functions of the runtime compiler; all versions for CUDA 12 and 13 have them.
const NVRTC: [&str; 8] = [
    "nvrtcCompileProgram",
    "nvrtcCreateProgram",
    "nvrtcDestroyProgram",
    "nvrtcGetPTX",
    "nvrtcGetPTXSize",
    "nvrtcGetProgramLog",
    "nvrtcGetProgramLogSize",
    "nvrtcVersion",
];

/// `major.minor` of a CUDA version.
pub(super) fn words(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// The oldest driver for a CUDA version.
pub(super) fn branch(version: i32) -> u32 {
    BRANCHES.iter().rev().find(|(cuda, _)| *cuda >= version).map_or(BRANCHES[0].1, |(_, driver)| *driver)
}

/// Checks the driver's library and all its functions.
///
/// # Errors
/// [`crate::ErrorKind::Device`] with what is missing and the version that has it.
pub(super) fn driver() -> Result<()> {
    let needed = format!("install NVIDIA's driver {} or newer", branch(MIN_VERSION));
    if let Some(reason) = absent(&["cuda", "nvcuda"]) {
        return Err(device_error(match reason {
            Absent::NotFound => format!("no NVIDIA driver was found (libcuda.so): for a GPU, {needed}"),
            Absent::Unusable(why) => format!(
                "the NVIDIA driver's library cannot be loaded ({why}): {needed}, and see that no other file of this name comes \
                 first where the system looks for libraries"
            ),
        }));
    }
    // SAFETY: the library was just found, so that cudarc finds it as well.
    let library = unsafe { driver::sys::culib() };
    let functions = DRIVER.into_iter().map(|name| (name, 12_000)).chain(LATER);
    let missing: Vec<_> = functions.filter(|(name, _)| !has(library, name)).collect();
    let Some((name, since)) = missing.iter().max_by_key(|(_, since)| *since) else { return Ok(()) };
    Err(device_error(format!(
        "the NVIDIA driver's library lacks `{name}`{}, which drivers for CUDA {} and newer have: install NVIDIA's driver {} or \
         newer, and see that no other library of this name comes first where the system looks",
        others(missing.len() - 1),
        words(*since),
        branch(*since),
    )))
}

/// Checks cuBLASLt and all its functions.
///
/// # Errors
/// As [`driver`].
pub(super) fn cublaslt() -> Result<()> {
    let advice = "install NVIDIA's cuBLAS (libcublasLt.so.13 or .12, part of the CUDA toolkit), and put its folder into \
                  LD_LIBRARY_PATH if it is not where the system looks";
    if let Some(reason) = absent(&["cublasLt"]) {
        return Err(device_error(format!("cuBLASLt {reason}: {advice}")));
    }
    // SAFETY: as above.
    complete("cuBLASLt", unsafe { cublaslt::sys::culib() }, &CUBLASLT, advice)
}

/// Checks the runtime compiler and all its functions, for a program that was built without nvcc.
///
/// # Errors
/// As [`driver`].
pub(super) fn nvrtc() -> Result<()> {
    let advice = "install NVRTC (libnvrtc.so.13 or .12, part of the CUDA toolkit), or build with nvcc in PATH";
    if let Some(reason) = absent(&["nvrtc"]) {
        return Err(device_error(format!(
            "this program was built without nvcc, and NVIDIA's runtime compiler {reason}: {advice}"
        )));
    }
    // SAFETY: as above.
    complete("NVIDIA's runtime compiler", unsafe { nvrtc::sys::culib() }, &NVRTC, advice)
}

fn complete(what: &str, library: &Library, functions: &[&str], advice: &str) -> Result<()> {
    let missing: Vec<_> = functions.iter().filter(|name| !has(library, name)).collect();
    let Some(name) = missing.first() else { return Ok(()) };
    let others = others(missing.len() - 1);
    Err(device_error(format!(
        "{what} was found but lacks `{name}`{others}, which its versions for CUDA 12.0 and newer have: {advice}"
    )))
}

fn others(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more of the functions that are called") }
}

fn has(library: &Library, name: &str) -> bool {
    // SAFETY: the address is only asked for.
    unsafe { library.get::<*const c_void>(name.as_bytes()) }.is_ok()
}

/// Why a library cannot be used.
enum Absent {
    NotFound,
    /// A file of this name is there; what the system says of it.
    Unusable(String),
}

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Absent::NotFound => f.write_str("was not found"),
            Absent::Unusable(why) => write!(f, "cannot be loaded ({why})"),
        }
    }
}

/// Whether cudarc finds a library under none of the file names that it tries for these.
fn absent(names: &[&str]) -> Option<Absent> {
    let mut found = Absent::NotFound;
    for file in names.iter().flat_map(|name| cudarc::get_lib_name_candidates(name)) {
        // SAFETY: initialisers run as they do when cudarc loads the library, which it does right after.
        let Err(error) = (unsafe { Library::new(&file) }) else { return None };
        // The system's own words stand behind the loader's.
        let why = std::error::Error::source(&error).unwrap_or(&error).to_string();
        // Unix only: Windows says the same of a file that is missing and of one whose own libraries are.
        let missing = why.starts_with(&file) && why.ends_with("No such file or directory");
        if cfg!(unix) && !missing && matches!(found, Absent::NotFound) {
            found = Absent::Unusable(why);
        }
    }
    Some(found)
}

/// Milliseconds between two events, by whichever name the driver has the function: `_v2` came with CUDA 12.8, and takes
/// and means the same.
///
/// # Errors
/// [`crate::ErrorKind::Device`] where the call fails or the driver has neither.
///
/// # Safety
/// Both events are alive, timed and recorded.
pub(super) unsafe fn elapsed(start: CUevent, end: CUevent) -> Result<f32> {
    type Elapsed = unsafe extern "C" fn(*mut f32, CUevent, CUevent) -> CUresult;
    // SAFETY: the driver was found before an event could be made; both functions are of this type.
    let function = unsafe {
        let library = driver::sys::culib();
        library.get::<Elapsed>("cuEventElapsedTime_v2").or_else(|_| library.get::<Elapsed>("cuEventElapsedTime"))
    };
    let function = function.map_err(|_| {
        device_error(
            "the NVIDIA driver's library lacks `cuEventElapsedTime`, without which nothing is timed: install \
                      NVIDIA's driver again",
        )
    })?;
    let mut milliseconds = 0.0;
    // SAFETY: the caller vouches for the events, and the place is valid.
    super::error::driver("cuEventElapsedTime", unsafe { function(&mut milliseconds, start, end) }.result())?;
    Ok(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_the_driver_that_first_had_it() {
        for (version, driver) in
            [(12_000, 525), (12_010, 530), (12_060, 560), (12_070, 570), (13_000, 580), (14_000, 580)]
        {
            assert_eq!(branch(version), driver, "{version}");
        }
        assert!(BRANCHES.is_sorted_by(|a, b| a > b), "newest first");
        assert_eq!(words(12_080), "12.8");
    }
}
