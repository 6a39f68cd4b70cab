//! The error type: what failed and where, what was expected, and what to do.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

/// The kind of failure. Callers branch on this; people read the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused: a file is missing, unreadable, or the disk is full.
    Io,
    /// A weights file is damaged, or its tensors do not fit the architecture.
    Weights,
    /// A model configuration is malformed or describes a model that this engine does not support.
    Config,
    /// An image cannot be decoded or exceeds the limits.
    Image,
    /// A prompt bank is damaged, has another format version, or belongs to another model.
    Bank,
    /// An argument is out of range, or arguments contradict each other.
    Argument,
    /// The requested device is not available or has failed, or memory is short.
    Device,
    /// A result is not finite.
    Numeric,
    /// A bug in this library: an internal invariant does not hold.
    Internal,
}

/// The error of every fallible function in this crate.
///
/// The message names the thing (file, tensor, argument), what was expected and found, and what to do. Code reads
/// [`Error::kind`], [`Error::path`], [`Error::tensor`], [`Error::shapes`] and [`Error::operation`];
/// [`std::error::Error::source`] is the underlying cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    path: Option<PathBuf>,
    tensor: Option<String>,
    shapes: Option<[Vec<usize>; 2]>,
    operation: Option<&'static str>,
    result: Option<usize>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` says what was expected, what was found and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (path, tensor, shapes, operation, result, source) = (None, None, None, None, None, None);
        Error(Box::new(Inner { kind, path, tensor, shapes, operation, result, message: message.into(), source }))
    }

    /// An operating-system error while doing `action` ("read", "create") to `path`.
    pub fn io(action: &str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::new(ErrorKind::Io, format!("cannot {action}")).at(path).because(source)
    }

    /// Names the file that the error is about. An error that already names a file keeps it.
    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.0.path.get_or_insert_with(|| path.as_ref().to_path_buf());
        self
    }

    /// Names the tensor that the error is about.
    #[must_use]
    pub fn of_tensor(mut self, name: impl Into<String>) -> Self {
        self.0.tensor = Some(name.into());
        self
    }

    /// Sets the expected shape and the found one, as in [`Error::shapes`].
    #[must_use]
    pub fn with_shapes(mut self, expected: &[usize], found: &[usize]) -> Self {
        self.0.shapes = Some([expected.to_vec(), found.to_vec()]);
        self
    }

    /// Names the backend operation that failed.
    #[must_use]
    pub fn in_operation(mut self, name: &'static str) -> Self {
        self.0.operation = Some(name);
        self
    }

    /// Puts the thing inside the file that it is about before the message.
    #[must_use]
    pub(crate) fn prefixed(mut self, thing: &str) -> Self {
        self.0.message = format!("{thing} {}", self.0.message);
        self
    }

    /// Says which result of a batch the error is about, counted from 0. Callers who know what it shows name that.
    #[must_use]
    pub(crate) fn of_result(mut self, result: usize) -> Self {
        self.0.result = Some(result);
        self
    }

    /// Puts the name of the result that the error is about, if there is one, before the message.
    #[must_use]
    pub(crate) fn naming_result(mut self, name: impl FnOnce(usize) -> String) -> Self {
        match self.0.result.take() {
            Some(result) => self.prefixed(&format!("{}:", name(result))),
            None => self,
        }
    }

    /// Counts the result that the error is about in another way.
    #[must_use]
    pub(crate) fn renumbering_result(mut self, number: impl FnOnce(usize) -> usize) -> Self {
        self.0.result = self.0.result.map(number);
        self
    }

    /// Attaches the underlying cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file that the error is about, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The tensor that the error is about, if there is one. Of several, this is the first.
    pub fn tensor(&self) -> Option<&str> {
        self.0.tensor.as_deref()
    }

    /// The expected and the found shape, if shapes differ. A picture is `[height, width]`. A buffer of unknown shape is
    /// given by its number of elements.
    pub fn shapes(&self) -> Option<[&[usize]; 2]> {
        self.0.shapes.as_ref().map(|[expected, found]| [&expected[..], &found[..]])
    }

    /// The device operation that failed, if one did.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The message and all underlying causes on one line, for a log or a result row.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.path {
            Some(path) => write!(f, "{}: {}", path.display(), self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_named_once_by_who_knows_it() {
        let error = || Error::new(ErrorKind::Numeric, "the score is not finite").of_result(1);
        let named = error().renumbering_result(|slot| 8 + slot).naming_result(|view| format!("tile {view}"));
        assert_eq!(named.to_string(), "tile 9: the score is not finite");
        assert_eq!(named.naming_result(|_| "another".to_owned()).to_string(), "tile 9: the score is not finite");
        let other = Error::new(ErrorKind::Argument, "no").naming_result(|_| "another".to_owned());
        assert_eq!(other.to_string(), "no");
    }
}
