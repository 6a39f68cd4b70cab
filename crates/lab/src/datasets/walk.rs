//! Folders to picture files, with a word on everything else.

use std::fs;
use std::path::{Path, PathBuf};

use super::Problem;
use inctrl::pictures::{Depth, Found};

/// The pictures below a folder, with its subfolders, in the order of their paths, by the rule of [`inctrl::pictures`]. Files that
/// are no pictures, and whatever cannot be read, are problems.
pub fn pictures(folder: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let found = Found::below(folder, Depth::All, None);
    problems
        .extend(found.passed_over.into_iter().map(|(path, why)| Problem::remark(path, format!("{why}: passed over"))));
    problems.extend(found.failed.into_iter().map(|(path, why)| Problem::fault(path, why)));
    found.pictures
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
