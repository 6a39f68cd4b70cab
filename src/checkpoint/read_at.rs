//! A checkpoint's bytes, read when needed. None stay in memory. If the file changes, reads return other bytes or an
//! error.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::weights::TensorFile;

/// Bytes of a fixed length that are read at offsets.
pub(super) trait ReadAt {
    /// Number of bytes.
    fn len(&self) -> usize;

    /// Fills `out` with the bytes from `start` on.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] where the bytes end too early; [`ErrorKind::Io`].
    fn read_into(&self, start: usize, out: &mut [u8]) -> Result<()>;

    /// The bytes of a range.
    ///
    /// # Errors
    /// As [`ReadAt::read_into`], and [`ErrorKind::Device`] if there is not enough memory.
    fn read(&self, range: Range<usize>) -> Result<Vec<u8>> {
        let mut bytes = memory::zeros("a part of a checkpoint", range.len())?;
        self.read_into(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// The first `most` bytes, or all if there are fewer.
    ///
    /// # Errors
    /// As [`ReadAt::read`].
    fn head(&self, most: usize) -> Result<Vec<u8>> {
        self.read(0..most.min(self.len()))
    }
}

/// A file with its length when it was opened.
pub(super) struct SourceFile {
    path: PathBuf,
    file: File,
    len: usize,
}

impl SourceFile {
    /// Opens the regular file at `path`. `expected` ("a checkpoint") is what error messages call it.
    pub fn open(path: &Path, expected: &str) -> Result<SourceFile> {
        let (file, len) = disk::open(path, expected)?;
        let len = usize::try_from(len).map_err(|_| {
            let message = format!("has {len} bytes, more than this machine can address");
            Error::new(ErrorKind::Weights, message).at(path)
        })?;
        Ok(SourceFile { path: path.to_path_buf(), file, len })
    }
}

impl From<TensorFile> for SourceFile {
    fn from(tensors: TensorFile) -> SourceFile {
        let (path, file, len) = tensors.into_parts();
        SourceFile { path, file, len }
    }
}

impl ReadAt for SourceFile {
    fn len(&self) -> usize {
        self.len
    }

    fn read_into(&self, start: usize, out: &mut [u8]) -> Result<()> {
        disk::read_at(&self.file, start as u64, out).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                let message = "has become shorter since it was opened: try again when no program writes to it";
                Error::new(ErrorKind::Weights, message).at(&self.path)
            }
            _ => Error::io("read", &self.path, source),
        })
    }
}

/// Files that tests make.
#[cfg(test)]
impl ReadAt for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn read_into(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let found = self.get(start..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(found.ok_or_else(|| Error::new(ErrorKind::Internal, "a read beyond the end"))?);
        Ok(())
    }
}
