//! The library's errors as exceptions: the classes are those of `inctrl._errors`, the texts those of the command line.

use std::path::Path;

use inctrl::{Error, ErrorKind};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// The name of the class for an error.
fn class_of(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Io if is_missing(error) => "MissingFileError",
        ErrorKind::Io => "IoError",
        ErrorKind::Weights => "WeightsError",
        ErrorKind::Config => "ConfigError",
        ErrorKind::Image => "ImageError",
        ErrorKind::Bank => "BankError",
        ErrorKind::Argument => "ArgumentError",
        ErrorKind::Device => "DeviceError",
        ErrorKind::Numeric => "NumericError",
        // Kinds that are new to this file are no fault of the caller's either.
        _ => "InternalError",
    }
}

/// Whether the cause underneath is a file that is not there.
fn is_missing(error: &Error) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let is = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::NotFound;
    causes.filter_map(|cause| cause.downcast_ref()).any(is)
}

/// The file that the error, or the first of its causes that names one, is about.
fn path_of(error: &Error) -> Option<&Path> {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    error.path().or_else(|| causes.filter_map(|cause| cause.downcast_ref()).find_map(Error::path))
}

/// The exception for an error.
pub fn exception(py: Python<'_>, error: &Error) -> PyErr {
    // As Python's text, which can also hold names that are not UTF-8.
    let path = path_of(error).map(Path::as_os_str);
    let made = || -> PyResult<Bound<'_, PyAny>> {
        let exception = py.import("inctrl._errors")?.getattr(class_of(error))?.call1((error.chain(),))?;
        exception.setattr("path", path)?;
        Ok(exception)
    };
    made().map_or_else(|broken| broken, PyErr::from_value)
}

/// An [`ErrorKind::Argument`] of this crate.
pub fn argument(py: Python<'_>, message: impl Into<String>) -> PyErr {
    exception(py, &Error::new(ErrorKind::Argument, message))
}

/// Turns errors of the library into exceptions.
pub trait OrRaise<T> {
    /// The value, or the exception for the error.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for inctrl::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| exception(py, &error))
    }
}

/// What is raised where an object is to be pickled that cannot be.
pub fn not_pickled(what: &str, instead: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{what} cannot be pickled or copied: it holds a model's memory, threads and device. {instead}"
    ))
}
