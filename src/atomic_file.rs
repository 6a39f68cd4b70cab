//! Files that appear whole or not at all.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use tempfile::Builder;

use crate::error::{Error, ErrorKind, Result};

/// Writes `path` through a temporary file in the same folder that takes its name only when every byte is on disk.
///
/// `fill` gets the buffered file. If it fails, or the disk is full, nothing is left behind and a file that was at
/// `path` stays as it was; the error names `path`. A device, pipe or folder at `path` is refused: it cannot be
/// replaced by renaming.
pub(crate) fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let write_error = |source| Error::io("write", path, source);
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let message = "is a folder or a device, not a regular file; choose another output file";
        return Err(Error::new(ErrorKind::Io, message).at(path));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = Builder::new();
    builder.prefix(".inctrl-");
    #[cfg(unix)]
    {
        // A temporary file is private by default; an output has the permissions that the user's umask gives.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(|source| Error::io("create", path, source))?;
    let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    fill(&mut out).map_err(|error| error.at(path))?;
    out.flush().map_err(write_error)?;
    drop(out);
    file.as_file().sync_all().map_err(write_error)?;
    file.persist(path).map_err(|failed| Error::io("rename the finished file to", path, failed.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn replaces_the_old_file_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for text in ["first", "second"] {
            write_atomically(&path, |out| {
                out.write_all(text.as_bytes()).map_err(|source| Error::io("write", &path, source))
            })
            .unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |out| {
            out.write_all(&vec![0; 3 << 20]).map_err(|source| Error::io("write", &path, source))?;
            Err(Error::new(ErrorKind::Numeric, "stop"))
        })
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Numeric);
        assert_eq!(error.path(), Some(path.as_path()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn folders_and_missing_parents_are_errors_that_name_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let parentless = folder.path().join("absent").join("out");
        for path in [folder.path(), parentless.as_path()] {
            let error = write_atomically(path, |_| Ok(())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io);
            assert_eq!(error.path(), Some(path));
        }
        assert_eq!(entries(folder.path()), 0);
    }
}
