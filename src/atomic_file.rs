//! Files that appear complete or not at all.
//!
//! On Linux a file has no name until every byte is on disk. If the process ends, even by SIGKILL, the system removes
//! the unfinished file. A finished file that replaces another one has a temporary name between linking and renaming.
//! File systems without unnamed files, and other systems, use a named temporary file (`.inctrl-*`). Failures remove it;
//! a signal that ends the process leaves it behind.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, ErrorKind, Result};

/// Writes `path` through an unfinished file in the same folder, which gets its name only when every byte is on disk.
///
/// `fill` gets the buffered file. If it fails, or the disk is full, nothing is left behind and an existing file at
/// `path` stays unchanged; the error names `path`. A device, pipe or folder at `path` is refused, as it cannot be
/// replaced by renaming.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let write_error = |source| Error::io("write", path, source);
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let message = "is a folder or a device, not a regular file; choose another output file";
        return Err(Error::new(ErrorKind::Io, message).at(path));
    }
    let mut draft = Draft::create(folder_of(path)).map_err(|source| Error::io("create", path, source))?;
    let mut out = BufWriter::with_capacity(1 << 20, draft.file());
    fill(&mut out).map_err(|error| error.at(path))?;
    out.flush().map_err(write_error)?;
    drop(out);
    draft.file().sync_all().map_err(write_error)?;
    draft.publish(path).map_err(|source| Error::io("give the finished file its name", path, source))
}

/// A file that is being written.
enum Draft {
    /// Without a name; gone when closed.
    #[cfg(target_os = "linux")]
    Unnamed(File),
    /// With a temporary name; removed when dropped.
    Named(NamedTempFile),
}

impl Draft {
    fn create(folder: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed(folder) {
            return Ok(Draft::Unnamed(file));
        }
        named().tempfile_in(folder).map(Draft::Named)
    }

    fn file(&mut self) -> &mut File {
        match self {
            #[cfg(target_os = "linux")]
            Draft::Unnamed(file) => file,
            Draft::Named(file) => file.as_file_mut(),
        }
    }

    /// Gives the file its name and replaces a file of that name.
    fn publish(self, path: &Path) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Draft::Unnamed(file) => match link(&file, path) {
                // A link does not replace a file; renaming does.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let linked = named().make_in(folder_of(path), |temporary| link(&file, temporary))?;
                    linked.persist(path).map_err(|failed| failed.error)
                }
                linked => linked,
            },
            Draft::Named(file) => file.persist(path).map(drop).map_err(|failed| failed.error),
        }
    }
}

/// The folder that `path` lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn named() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(".inctrl-");
    #[cfg(unix)]
    {
        // A temporary file is private by default. An output gets the permissions of the user's umask.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder
}

/// Where the system lists open files by number. Without it an unnamed file cannot get a name.
#[cfg(target_os = "linux")]
const OPEN_FILES: &str = "/proc/self/fd";

/// A new file without a name, where the file system supports this.
#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    if !Path::new(OPEN_FILES).is_dir() {
        return None;
    }
    let flags = rustix::fs::OFlags::TMPFILE.bits();
    // The mode of `File::create`, less the umask.
    File::options().write(true).mode(0o666).custom_flags(flags.cast_signed()).open(folder).ok()
}

/// Gives an unnamed file a name that no other file has.
#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD, linkat};
    let open = format!("{OPEN_FILES}/{}", file.as_raw_fd());
    Ok(linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_file_has_no_name_or_a_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        // What the file system offers, new and in place of the last; then what every system has.
        let best = || Draft::create(folder.path()).unwrap();
        let drafts: [&dyn Fn() -> Draft; 3] =
            [&best, &best, &|| Draft::Named(named().tempfile_in(folder.path()).unwrap())];
        for (i, draft) in drafts.into_iter().enumerate() {
            let mut draft = draft();
            draft.file().write_all(&[i as u8]).unwrap();
            assert_eq!(path.exists(), i > 0);
            draft.publish(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), [i as u8]);
            assert_eq!(entries(folder.path()), 1);
        }
    }

    #[cfg(unix)]
    #[test]
    fn outputs_have_the_permissions_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        File::create(folder.path().join("plain")).unwrap();
        for _ in ["new", "replaced"] {
            write_atomically(&folder.path().join("out"), |_| Ok(())).unwrap();
            assert_eq!(mode("out"), mode("plain"));
        }
    }

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
