//! `<class>/{train/good, test/good, test/<defect>}` with masks in `ground_truth/<defect>/<stem>_mask.png`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::walk::{entries, folders, name, pictures};
use super::{Item, Label, Parts, Problem, Split};
use crate::error::Result;

pub fn fits(root: &Path) -> bool {
    is_class(root) || folders(root).iter().any(|folder| is_class(folder))
}

fn is_class(folder: &Path) -> bool {
    folder.join("train/good").is_dir() && folder.join("test").is_dir()
}

pub fn read(root: &Path, parts: &mut Parts) -> Result<()> {
    if is_class(root) {
        let real = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
        read_class(root, root, &name(&real), parts);
        return Ok(());
    }
    for path in entries(root, &mut parts.problems) {
        if !path.is_dir() {
            parts.problems.push(Problem::remark(path, "beside the classes: passed over"));
        } else if is_class(&path) {
            read_class(root, &path, &name(&path), parts);
        } else {
            parts.problems.push(Problem::fault(path, "not a class, as train/good or test is missing: passed over"));
        }
    }
    Ok(())
}

fn read_class(root: &Path, folder: &Path, class: &str, parts: &mut Parts) {
    for path in entries(folder, &mut parts.problems) {
        if !["train", "test", "ground_truth"].contains(&name(&path).as_str()) {
            parts.problems.push(Problem::remark(path, "neither train, test nor ground_truth: passed over"));
        }
    }
    for path in entries(&folder.join("train"), &mut parts.problems) {
        if name(&path) != "good" {
            parts.problems.push(Problem::remark(path, "training images are normal, in train/good: passed over"));
        }
    }
    for path in pictures(&folder.join("train/good"), &mut parts.problems) {
        let mut item = Item::new(root, path, class, Label::Normal, Split::Train);
        item.kind = "good".to_owned();
        parts.items.push(item);
    }
    let truth = folder.join("ground_truth");
    for path in entries(&folder.join("test"), &mut parts.problems) {
        if !path.is_dir() {
            parts.problems.push(Problem::fault(path, "in test, but in no folder that tells its kind: passed over"));
            continue;
        }
        let kind = name(&path);
        let label = if kind == "good" { Label::Normal } else { Label::Anomalous };
        let mut masks = match label {
            Label::Anomalous if truth.is_dir() => Some(Masks::below(&truth.join(&kind), parts)),
            _ => None,
        };
        for picture in pictures(&path, &mut parts.problems) {
            let mut item = Item::new(root, picture, class, label, Split::Test);
            item.kind.clone_from(&kind);
            if let Some(masks) = &mut masks {
                item.mask = masks.of(&path, &item.path);
                if item.mask.is_none() {
                    let message = "has no mask in ground_truth: it does not count in pixel metrics";
                    parts.problems.push(Problem::fault(&item.path, message));
                }
            }
            parts.items.push(item);
        }
        masks.into_iter().for_each(|masks| masks.tell_unused(parts));
    }
}

/// The masks of a folder, by their path below it without extension and without the ending `_mask`.
pub(super) struct Masks {
    by_stem: BTreeMap<PathBuf, PathBuf>,
    used: HashSet<PathBuf>,
}

impl Masks {
    pub fn below(folder: &Path, parts: &mut Parts) -> Self {
        let found = if folder.is_dir() { pictures(folder, &mut parts.problems) } else { Vec::new() };
        let mut by_stem = BTreeMap::new();
        for path in found {
            let below = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
            let stem = name(&below);
            let key = below.with_file_name(stem.strip_suffix("_mask").unwrap_or(&stem));
            if let Some(first) = by_stem.insert(key, path.clone()) {
                parts.problems.push(Problem::fault(first, format!("a second mask, beside {}", path.display())));
            }
        }
        Masks { by_stem, used: HashSet::new() }
    }

    /// The mask of an image in `folder`: of the same path below it, else of the same name.
    pub fn of(&mut self, folder: &Path, image: &Path) -> Option<PathBuf> {
        let below = image.strip_prefix(folder).unwrap_or(image).with_extension("");
        let key = [below.clone(), name(&below).into()].into_iter().find(|key| self.by_stem.contains_key(key))?;
        let mask = self.by_stem.get(&key).cloned();
        self.used.insert(key);
        mask
    }

    pub fn tell_unused(self, parts: &mut Parts) {
        let unused = self.by_stem.into_iter().filter(|(key, _)| !self.used.contains(key));
        parts.problems.extend(unused.map(|(_, path)| Problem::fault(path, "a mask of no image")));
    }
}
