//! Files that are read where needed, at an offset: what another process does to such a file shows as other bytes or as an
//! error, never as a signal that ends this process, which a map of it could bring.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Opens the regular file at `path`, of at least one byte, and says how long it is; `expected` ("a safetensors file") says in
/// errors what it should be.
pub(crate) fn open(path: &Path, expected: &str) -> Result<(File, u64)> {
    let broken = |message: &str| Error::new(ErrorKind::Weights, format!("{message}, expected {expected}")).at(path);
    let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
    let found = file.metadata().map_err(|source| Error::io("read", path, source))?;
    if found.is_dir() {
        return Err(broken("is a folder (of a checkpoint: see `inctrl convert`)"));
    }
    if !found.is_file() {
        return Err(broken("is not a regular file"));
    }
    if found.len() == 0 {
        return Err(broken("is empty (0 bytes)"));
    }
    Ok((file, found.len()))
}

/// Fills `out` with the bytes from `offset` on, whatever the file's own position is.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] where the file ends before.
#[cfg(unix)]
pub fn read_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

/// As elsewhere.
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

/// `len` zero bytes, or an error that says what they were for.
pub(crate) fn bytes(len: usize, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(len).is_err() {
        let megabytes = len.div_ceil(1_000_000);
        return Err(Error::new(
            ErrorKind::Device,
            format!("{what} needs {megabytes} MB, which this machine does not give"),
        ));
    }
    bytes.resize(len, 0);
    Ok(bytes)
}
