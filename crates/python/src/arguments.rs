//! Numbers and paths as callers from Python give them.

use std::path::PathBuf;

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::argument;

/// A whole number from 0 on. A number out of range is an error that names the keyword, instead of an overflow that does
/// not.
pub struct Whole(Result<usize, String>);

impl Whole {
    /// The number, of the argument `name`.
    pub fn get<T: TryFrom<usize>>(&self, py: Python<'_>, name: &str) -> PyResult<T> {
        let found = match &self.0 {
            Ok(number) => T::try_from(*number).map_err(|_| number.to_string()),
            Err(text) => Err(text.clone()),
        };
        found.map_err(|found| {
            let most = usize::MAX >> (8 * size_of::<usize>().saturating_sub(size_of::<T>()));
            argument(py, format!("{name} is {found}: it must be a whole number from 0 to {most}"))
        })
    }
}

impl From<usize> for Whole {
    fn from(number: usize) -> Self {
        Whole(Ok(number))
    }
}

impl FromPyObject<'_, '_> for Whole {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        match object.extract() {
            Ok(number) => Ok(Whole(Ok(number))),
            Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => {
                Ok(Whole(Err(object.str()?.to_string())))
            }
            Err(error) => Err(error),
        }
    }
}

/// The path that an object is: text, or anything with `__fspath__`, which may give bytes. `None` for anything else.
pub fn path_of(object: &Bound<'_, PyAny>) -> PyResult<Option<PathBuf>> {
    let py = object.py();
    let path: PathBuf = if object.is_instance_of::<PyString>() {
        object.extract()?
    } else if object.hasattr("__fspath__")? {
        py.import("os")?.call_method1("fsdecode", (object,))?.extract()?
    } else {
        return Ok(None);
    };
    if path.as_os_str().is_empty() {
        return Err(argument(py, "the path is empty: give the path of a file"));
    }
    Ok(Some(path))
}
