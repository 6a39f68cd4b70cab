//! Folders to picture files, with a word on everything else.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Problem;

/// File name extensions of the formats that are decoded, in lower case; they count in either case.
pub const EXTENSIONS: [&str; 11] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "pnm", "pbm", "pgm", "ppm"];

/// Whether a file in a folder counts as a picture: by its extension, and hidden files never do.
pub fn is_picture(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|e| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(e)))
}

/// The pictures below a folder, with its subfolders, in the order of their paths. Links are followed, each folder once. Files
/// that are no pictures, and whatever cannot be read, are problems.
pub fn pictures(folder: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let (mut found, mut open, mut entered) = (Vec::new(), vec![folder.to_path_buf()], HashSet::new());
    while let Some(folder) = open.pop() {
        let new = match folder.canonicalize() {
            Ok(real) => entered.insert(real),
            Err(error) => {
                problems.push(Problem::fault(folder, format!("cannot read the folder: {error}")));
                continue;
            }
        };
        if !new {
            problems.push(Problem::remark(folder, "leads to a folder that was searched already: passed over"));
            continue;
        }
        for path in entries(&folder, problems) {
            match fs::metadata(&path) {
                Err(error) => {
                    let link = if path.is_symlink() { "a link that leads nowhere" } else { "cannot be read" };
                    problems.push(Problem::fault(path, format!("{link}: {error}")));
                }
                Ok(meta) if meta.is_dir() => open.push(path),
                Ok(_) if is_picture(&path) => found.push(path),
                Ok(_) => problems.push(Problem::remark(path, "not a picture by its name: passed over")),
            }
        }
    }
    found.sort();
    found
}

/// What a folder holds, sorted.
pub fn entries(folder: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = read.unwrap_or_else(|error| {
        problems.push(Problem::fault(folder, format!("cannot read the folder: {error}")));
        Vec::new()
    });
    paths.sort();
    paths
}

/// The folders in a folder, sorted, none of them hidden.
pub fn folders(folder: &Path) -> Vec<PathBuf> {
    let hidden = |path: &Path| path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    entries(folder, &mut Vec::new()).into_iter().filter(|path| path.is_dir() && !hidden(path)).collect()
}

/// A file's or folder's own name, with what is not Unicode replaced.
pub fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The first folder in `parent` whose name is one of `names`, in either case.
pub fn named(parent: &Path, names: &[&str]) -> Option<PathBuf> {
    let found = folders(parent);
    names.iter().find_map(|wanted| found.iter().find(|path| name(path).eq_ignore_ascii_case(wanted)).cloned())
}
