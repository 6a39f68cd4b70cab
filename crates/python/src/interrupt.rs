//! Python's signals, Ctrl-C among them, while work runs without the interpreter's lock.

use std::sync::{Mutex, PoisonError};

use inctrl::{Error, ErrorKind, Result};
use pyo3::prelude::*;

use crate::errors::OrRaise;

/// Ends work between two of its steps if a signal handler raises an exception, and keeps that exception.
#[derive(Default)]
pub struct Interrupt(Mutex<Option<PyErr>>);

impl Interrupt {
    /// Runs the handlers of pending signals, which Python does only in its main thread.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if one of them raised an exception; [`Interrupt::or_raise`] raises that instead.
    pub fn check(&self) -> Result<()> {
        // An interpreter that is shutting down has no handlers left to run.
        match Python::try_attach(|py| py.check_signals()) {
            Some(Err(exception)) => {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(exception);
                Err(Error::new(ErrorKind::Io, "interrupted by a signal"))
            }
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// The value, or the exception that ended the work.
    pub fn or_raise<T>(self, py: Python<'_>, result: Result<T>) -> PyResult<T> {
        match (self.0.into_inner().unwrap_or_else(PoisonError::into_inner), result) {
            (Some(exception), Err(_)) => Err(exception),
            (_, result) => result.or_raise(py),
        }
    }
}
