//! `<class>/{train/good, test/good, test/<defect>}` with masks in `ground_truth/<defect>/<stem>_mask.png`, or several of an
//! image in `ground_truth/<defect>/<stem>/`, as MVTec LOCO has them. `good` may be called `normal` or `ok`, in either case, and
//! where `train` has no such folder its own pictures are the normal ones.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::folder::NORMAL;
use super::walk::{entries, folders, name, named, pictures};
use super::{Item, Label, Parts, Problem, Split};
use inctrl::Result;

pub fn fits(root: &Path) -> bool {
    is_class(root) || folders(root).iter().any(|folder| is_class(folder))
}

/// The folder of the normal training images.
fn normals(folder: &Path) -> Option<PathBuf> {
    let (train, test) = (named(folder, &["train"])?, named(folder, &["test"])?);
    named(&train, &NORMAL).or_else(|| {
        let flat = folders(&train).is_empty() && named(&test, &NORMAL).is_some();
        flat.then_some(train)
    })
}

fn is_class(folder: &Path) -> bool {
    normals(folder).is_some()
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
    let (Some(normals), Some(test)) = (normals(folder), named(folder, &["test"])) else { return };
    let (train, truth) = (named(folder, &["train"]).unwrap_or_default(), named(folder, &["ground_truth", "masks"]));
    for path in entries(folder, &mut parts.problems) {
        if path != train && path != test && truth.as_ref() != Some(&path) {
            let message = match name(&path).as_str() {
                "validation" => "normal images to choose thresholds by: passed over",
                _ => "neither train, test nor ground_truth: passed over",
            };
            parts.problems.push(Problem::remark(path, message));
        }
    }
    if normals != train {
        for path in entries(&train, &mut parts.problems).into_iter().filter(|path| *path != normals) {
            parts.problems.push(Problem::remark(path, "training images are normal, in train/good: passed over"));
        }
    }
    read_normals(root, &normals, class, parts);
    read_test(root, &test, truth.as_deref(), class, parts);
}

/// The normal images to train.
pub(super) fn read_normals(root: &Path, folder: &Path, class: &str, parts: &mut Parts) {
    for path in pictures(folder, &mut parts.problems) {
        let mut item = Item::new(root, path, class, Label::Normal, Split::Train);
        item.kind = "good".to_owned();
        parts.items.push(item);
    }
}

/// The images to test, a folder for each kind, and their masks in `truth`, which may be one of these folders.
pub(super) fn read_test(root: &Path, test: &Path, truth: Option<&Path>, class: &str, parts: &mut Parts) {
    let mut kinds = Vec::new();
    for path in entries(test, &mut parts.problems).into_iter().filter(|path| Some(path.as_path()) != truth) {
        if !path.is_dir() {
            parts.problems.push(Problem::fault(path, "in test, but in no folder that tells its kind: passed over"));
            continue;
        }
        let kind = name(&path);
        let label = if is_normal(&kind) { Label::Normal } else { Label::Anomalous };
        let mut masks = truth.map(|truth| Masks::below(&truth.join(&kind), parts));
        for picture in pictures(&path, &mut parts.problems) {
            let mut item = Item::new(root, picture, class, label, Split::Test);
            item.kind.clone_from(&kind);
            if let Some(masks) = &mut masks {
                item.masks = masks.of(&path, &item.path);
                if item.masks.is_empty() && label == Label::Anomalous {
                    let message = "has no mask in ground_truth: it does not count in pixel metrics";
                    parts.problems.push(Problem::fault(&item.path, message));
                }
            }
            parts.items.push(item);
        }
        masks.into_iter().for_each(|masks| masks.tell_unused(parts));
        kinds.push(kind);
    }
    let truths = truth.map(|truth| entries(truth, &mut parts.problems)).unwrap_or_default();
    for path in truths {
        if !kinds.contains(&name(&path)) {
            parts.problems.push(Problem::fault(path, "masks of no folder in test: passed over"));
        }
    }
}

fn is_normal(kind: &str) -> bool {
    NORMAL.iter().any(|known| known.eq_ignore_ascii_case(kind))
}

/// The masks of a folder, by their path below it without extension and without the ending `_mask`. An image has one of these,
/// or all in a folder of its name.
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

    /// The masks of an image in `folder`: of the same path below it, else of the same name.
    pub fn of(&mut self, folder: &Path, image: &Path) -> Vec<PathBuf> {
        let below = image.strip_prefix(folder).unwrap_or(image).with_extension("");
        for key in [below.clone(), name(&below).into()] {
            if let Some(mask) = self.by_stem.get(&key).cloned() {
                self.used.insert(key);
                return vec![mask];
            }
            let within = self.by_stem.iter().filter(|(stem, _)| stem.parent() == Some(&key));
            let (keys, masks): (Vec<PathBuf>, Vec<PathBuf>) = within.map(|(k, m)| (k.clone(), m.clone())).unzip();
            if !masks.is_empty() {
                self.used.extend(keys);
                return masks;
            }
        }
        Vec::new()
    }

    pub fn tell_unused(self, parts: &mut Parts) {
        let unused = self.by_stem.into_iter().filter(|(key, _)| !self.used.contains(key));
        parts.problems.extend(unused.map(|(_, path)| Problem::fault(path, "a mask of no image")));
    }
}
