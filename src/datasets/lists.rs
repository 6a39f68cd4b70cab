//! InCTRL's lists: `<class>_{train,val}_{normal,outlier}.json`, each `[{"image_path", "target", "type"}]`.
//!
//! The lists of the published data sets have absolute paths of the authors' machine. A path that is not there is looked for
//! below the folder, by ever fewer of its leading parts.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::walk::{entries, folders, name};
use super::{Item, Label, Parts, Problem, Split};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Entry {
    image_path: String,
    target: u8,
    #[serde(rename = "type")]
    class: Option<String>,
}

/// Class, part and label that a list's name tells.
fn meaning(path: &Path) -> Option<(String, Split, Label)> {
    let name = name(path);
    let stem = name.strip_suffix(".json")?;
    for (part, split) in [("train", Split::Train), ("val", Split::Test), ("test", Split::Test)] {
        for (kind, label) in [("normal", Label::Normal), ("outlier", Label::Anomalous)] {
            if let Some(class) = stem.strip_suffix(&format!("_{part}_{kind}")) {
                return Some((class.to_owned(), split, label));
            }
        }
    }
    None
}

/// The lists in the folder, and in its folders.
fn lists(root: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut found = entries(root, problems);
    found.extend(folders(root).iter().flat_map(|folder| entries(folder, problems)));
    found.retain(|path| meaning(path).is_some());
    found
}

pub fn fits(root: &Path) -> bool {
    lists(root, &mut Vec::new()).iter().any(|path| meaning(path).is_some_and(|(_, split, _)| split == Split::Test))
}

pub fn read(root: &Path, parts: &mut Parts) -> Result<()> {
    let mut seen = HashSet::new();
    for list in lists(root, &mut parts.problems) {
        let Some((class, split, label)) = meaning(&list) else { continue };
        let text = fs::read_to_string(&list).map_err(|error| Error::io("read the list", &list, error))?;
        let entries: Vec<Entry> = match serde_json::from_str(&text) {
            Ok(entries) => entries,
            Err(error) => {
                let message = format!("not a list of image_path, target and type: {error}: passed over");
                parts.problems.push(Problem::fault(&list, message));
                continue;
            }
        };
        for entry in entries {
            let fault = |message: String| Problem::fault(&list, format!("{}: {message}", entry.image_path));
            if split == Split::Train && label == Label::Anomalous {
                // Training outliers are for training the heads, which happens elsewhere.
                parts
                    .problems
                    .push(Problem::remark(&list, format!("{}: not for testing: passed over", entry.image_path)));
                continue;
            }
            if (entry.target == 1) != (label == Label::Anomalous) {
                parts.problems.push(fault(format!("target {} in a list of the other kind: passed over", entry.target)));
                continue;
            }
            let Some(path) = locate(root, &list, &entry.image_path) else {
                parts.problems.push(fault("there is no such image: passed over".to_owned()));
                continue;
            };
            if !seen.insert(path.clone()) {
                parts.problems.push(fault("listed twice: passed over".to_owned()));
                continue;
            }
            let class = entry.class.as_deref().unwrap_or(&class);
            parts.items.push(Item::new(root, path, class, label, split));
        }
    }
    Ok(())
}

fn locate(root: &Path, list: &Path, written: &str) -> Option<PathBuf> {
    let written = PathBuf::from(written.replace('\\', "/"));
    if written.is_absolute() && written.is_file() {
        return Some(written);
    }
    let normal = |part: &std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
    let names: Vec<_> = written.components().filter(normal).collect();
    (0..names.len()).find_map(|skipped| {
        let rest: PathBuf = names[skipped..].iter().collect();
        [root.join(&rest), list.with_file_name("").join(&rest)].into_iter().find(|path| path.is_file())
    })
}
