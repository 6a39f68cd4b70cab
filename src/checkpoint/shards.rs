//! A checkpoint as a folder or in several files: finds the file, and joins the files that an index names.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::{Checkpoint, Content};
use crate::error::{Error, ErrorKind, Result};
use crate::weights::read_text;

/// The suffix of an index, after its weights' name.
const INDEX: &str = ".index.json";
/// The longest index; a large model's has 200 KB.
const MAX_INDEX: u64 = 4 << 20;
/// The largest number of files of one model.
const MAX_FILES: usize = 256;
/// Names of weights files in folders of Hugging Face and open_clip, preferred ones first.
const FOLDERS: [&[&str]; 2] = [
    &["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"],
    &["open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin"],
];

/// The file at `path`, or the weights in the folder at `path`.
///
/// # Errors
/// [`ErrorKind::Weights`] for a folder with no weights or with those of two libraries.
pub(super) fn locate(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let first = |names: &&[&str]| names.iter().map(|name| path.join(name)).find(|file| file.is_file());
    let mut found: Vec<PathBuf> = FOLDERS.iter().filter_map(first).collect();
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => {
            let message = "is a folder without model.safetensors, pytorch_model.bin or open_clip_model.safetensors: \
                give the checkpoint's file itself";
            Err(Error::new(ErrorKind::Weights, message).at(path))
        }
        _ => {
            let names: Vec<String> = found.iter().map(|file| file.display().to_string()).collect();
            let message = format!("is a folder with the files of two libraries: give one of {}", names.join(", "));
            Err(Error::new(ErrorKind::Weights, message).at(path))
        }
    }
}

pub(super) fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INDEX))
}

/// Opens the files that an index names as one checkpoint.
///
/// # Errors
/// [`ErrorKind::Weights`] for an index that is malformed, names files in other folders, or does not match its files.
pub(super) fn join(path: &Path) -> Result<Checkpoint> {
    let broken = |message: String| Error::new(ErrorKind::Weights, message).at(path);
    let text = read_text(path, "the index of a checkpoint", MAX_INDEX)?;
    let json: Value = serde_json::from_str(&text)
        .map_err(|source| broken("is not an index: it is not JSON".into()).because(source))?;
    let map = json["weight_map"].as_object();
    let map = map.ok_or_else(|| broken("is not the index of a checkpoint: it has no `weight_map`".into()))?;
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, file) in map {
        let name = file.as_str().filter(|name| {
            let mut parts = Path::new(name).components();
            matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none() && !name.ends_with(INDEX)
        });
        let name = name.ok_or_else(|| {
            broken(format!(
                "says that tensor `{}` is in {file}, expected the name of a file in the same folder",
                tensor.escape_debug()
            ))
            .of_tensor(tensor)
        })?;
        files.entry(name).or_default().push(tensor);
    }
    if !(1..=MAX_FILES).contains(&files.len()) {
        return Err(broken(format!("names {} files, expected 1 to {MAX_FILES}", files.len())));
    }
    let mut whole = Checkpoint { path: path.to_path_buf(), files: Vec::new(), content: Content::default() };
    for (at, (name, tensors)) in files.into_iter().enumerate() {
        let mut part = Checkpoint::open_file(&path.with_file_name(name))?;
        whole.files.append(&mut part.files);
        for tensor in tensors {
            let mut found = part.content.tensors.remove(tensor).ok_or_else(|| {
                let message = format!("says that tensor `{}` is in {name}, but it is not there", tensor.escape_debug());
                broken(message).of_tensor(tensor)
            })?;
            found.file = at;
            whole.content.tensors.insert(tensor.to_owned(), found);
        }
        if let Some(rest) = part.content.tensors.keys().next() {
            let message = format!("does not list tensor `{}`, which is in {name}", rest.escape_debug());
            return Err(broken(message).of_tensor(rest));
        }
    }
    Ok(whole)
}
