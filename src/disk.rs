//! Files that are read at offsets, when needed. If another process changes such a file, reads return other bytes or an
//! error. A memory map could end this process by a signal instead.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Opens the regular, non-empty file at `path` and returns its length. `expected` ("a safetensors file") is what error
/// messages call it.
pub(crate) fn open(path: &Path, expected: &str) -> Result<(File, u64)> {
    let broken = |message: &str| Error::new(ErrorKind::Weights, format!("{message}, expected {expected}")).at(path);
    // First what it is: opening a pipe would wait for its other end.
    let found = fs::metadata(path).map_err(|source| Error::io("open", path, source))?;
    if found.is_dir() {
        return Err(broken("is a folder (for a checkpoint folder use `inctrl convert`)"));
    }
    if !found.is_file() {
        return Err(broken("is not a regular file"));
    }
    let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
    let found = file.metadata().map_err(|source| Error::io("read", path, source))?;
    if found.len() == 0 {
        return Err(broken("is empty (0 bytes)"));
    }
    Ok((file, found.len()))
}

/// Fills `out` with the bytes from `offset` on. The file's own position does not matter.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] where the file ends too early.
#[cfg(unix)]
pub fn read_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

/// As on Unix.
#[cfg(windows)]
pub fn read_at(file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                offset += count as u64;
                out = &mut out[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        if !std::process::Command::new("mkfifo").arg(&path).status().is_ok_and(|status| status.success()) {
            return;
        }
        let error = open(&path, "a bank").unwrap_err();
        assert!(error.to_string().contains("is not a regular file, expected a bank"), "{error}");
    }
}
