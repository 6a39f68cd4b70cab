//! The one error type: what failed, in what thing, what was expected, and what to do.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

/// What sort of thing failed. Callers branch on this; people read the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused: a file is missing, unreadable, or the disk is full.
    Io,
    /// A weights file is damaged, or its tensors are not those of the architecture.
    Weights,
    /// A model configuration is malformed or describes something that this engine does not run.
    Config,
    /// An image cannot be decoded, or is outside the limits.
    Image,
    /// A prompt bank is damaged, of another format version, or of another model.
    Bank,
    /// An argument is out of range, or arguments contradict each other.
    Argument,
    /// The requested device is not there or has failed.
    Device,
    /// A result is not a finite number.
    Numeric,
    /// A bug in this library: an internal invariant does not hold.
    Internal,
}

/// The error of every fallible function in this crate.
///
/// The message is a sentence that names the thing (file, tensor, argument), what was expected and found, and what to
/// do. [`Error::kind`], [`Error::path`], [`Error::tensor`], [`Error::shapes`] and [`Error::operation`] are for code,
/// [`std::error::Error::source`] for the cause underneath.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    path: Option<PathBuf>,
    tensor: Option<String>,
    shapes: Option<[Vec<usize>; 2]>,
    operation: Option<&'static str>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` says what was expected, what was found and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (path, tensor, shapes, operation, source) = (None, None, None, None, None);
        Error(Box::new(Inner { kind, path, tensor, shapes, operation, message: message.into(), source }))
    }

    /// An operating-system error while doing `action` ("read", "create") to `path`.
    pub fn io(action: &str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::new(ErrorKind::Io, format!("cannot {action}")).at(path).because(source)
    }

    /// Names the file that the error is about; an error that already names one keeps it.
    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.0.path.get_or_insert_with(|| path.as_ref().to_path_buf());
        self
    }

    /// Names the tensor that the error is about.
    #[must_use]
    pub(crate) fn of_tensor(mut self, name: impl Into<String>) -> Self {
        self.0.tensor = Some(name.into());
        self
    }

    /// The shape that was expected, and the one that was found.
    #[must_use]
    pub(crate) fn with_shapes(mut self, expected: &[usize], found: &[usize]) -> Self {
        self.0.shapes = Some([expected.to_vec(), found.to_vec()]);
        self
    }

    /// Names the operation of a backend that failed.
    #[must_use]
    pub(crate) fn in_operation(mut self, name: &'static str) -> Self {
        self.0.operation = Some(name);
        self
    }

    /// Begins the message with the thing inside the file that it is about.
    #[must_use]
    pub(crate) fn prefixed(mut self, thing: &str) -> Self {
        self.0.message = format!("{thing} {}", self.0.message);
        self
    }

    /// Attaches the cause underneath.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What sort of thing failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file that the error is about, where there is one.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The tensor that the error is about, where it is about one.
    pub fn tensor(&self) -> Option<&str> {
        self.0.tensor.as_deref()
    }

    /// The shape that was expected and the one that was found, where shapes differ. The extents of a buffer whose shape is not
    /// known are its number of elements.
    pub fn shapes(&self) -> Option<[&[usize]; 2]> {
        self.0.shapes.as_ref().map(|[expected, found]| [&expected[..], &found[..]])
    }

    /// The operation that failed, where a device's operation did.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The message and every cause underneath on one line, for a log or a result row.
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
