//! Status codes of the driver and of cuBLASLt to errors: one place, which names the call that failed.

use cudarc::cublaslt::result::CublasError;
use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

use crate::error::{Error, ErrorKind, Result};

/// The result of a driver call, with the call's name in the error.
pub(super) fn driver<T>(call: &str, result: std::result::Result<T, DriverError>) -> Result<T> {
    result.map_err(|error| {
        let advice = match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                ": the GPU's memory is full; score smaller batches, use fewer scorers or a smaller bank"
            }
            CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
            | CUresult::CUDA_ERROR_INVALID_PTX
            | CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
                ": the driver cannot run these kernels; install a newer NVIDIA driver"
            }
            CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
            | CUresult::CUDA_ERROR_LAUNCH_FAILED
            | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
            | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
            | CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE
            | CUresult::CUDA_ERROR_DEINITIALIZED
            | CUresult::CUDA_ERROR_UNKNOWN => {
                ": the GPU has failed, and every further call in this process will; start the process again"
            }
            _ => "",
        };
        Error::new(ErrorKind::Device, format!("{call} failed with {}{advice}", name(error)))
    })
}

/// The result of a cuBLASLt call, with the call's name in the error.
pub(super) fn blas<T>(call: &str, result: std::result::Result<T, CublasError>) -> Result<T> {
    result.map_err(|error| Error::new(ErrorKind::Device, format!("{call} failed with {:?}", error.0)))
}

/// Whether the device's memory is full.
pub(super) fn is_full(error: DriverError) -> bool {
    error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY
}

/// The driver's name of a status, such as `CUDA_ERROR_NO_DEVICE`.
pub(super) fn name(error: DriverError) -> String {
    match error.error_name() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", error.0),
    }
}
