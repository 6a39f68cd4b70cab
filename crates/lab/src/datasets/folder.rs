//! A folder of good and one of bad images, for one class or, in folders of their own, for several.

use std::path::Path;

use super::mvtec::Masks;
use super::split::quarter;
use super::walk::{entries, folders, name, named, pictures};
use super::{Item, Label, Parts, Problem, Split};
use inctrl::{Error, ErrorKind, Result};

/// Names of folders of good images.
pub(super) const NORMAL: [&str; 3] = ["good", "normal", "ok"];
const ANOMALOUS: [&str; 9] =
    ["bad", "abnormal", "anomaly", "anomalous", "defect", "defects", "defective", "ng", "not_good"];
const TEST: [&str; 4] = ["normal_test", "good_test", "test_normal", "ok_test"];
/// Names that parts of a data set have, and classes have not.
const PARTS: [&str; 7] = ["train", "training", "test", "testing", "val", "valid", "validation"];
const MASKS: [&str; 4] = ["mask", "masks", "ground_truth", "abnormal_mask"];

pub fn fits(root: &Path) -> bool {
    is_class(root) || folders(root).iter().any(|folder| is_class(folder))
}

fn is_class(folder: &Path) -> bool {
    named(folder, &NORMAL).is_some() && named(folder, &ANOMALOUS).is_some()
}

pub fn read(root: &Path, seed: u64, parts: &mut Parts) -> Result<()> {
    if is_class(root) {
        let real = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
        return read_class(root, root, &name(&real), seed, parts);
    }
    for path in entries(root, &mut parts.problems) {
        if is_class(&path) {
            if PARTS.iter().any(|part| part.eq_ignore_ascii_case(&name(&path))) {
                let message = "named like a part of a data set, but read as a class of its own, whose prompts come from this \
                               very folder: give train/good and test/{good,bad}, or another name";
                parts.problems.push(Problem::fault(&path, message));
            }
            read_class(root, &path, &name(&path), seed, parts)?;
        } else {
            let message = "neither a class nor a folder of one: passed over";
            parts.problems.push(if path.is_dir() {
                Problem::fault(path, message)
            } else {
                Problem::remark(path, message)
            });
        }
    }
    Ok(())
}

fn read_class(root: &Path, folder: &Path, class: &str, seed: u64, parts: &mut Parts) -> Result<()> {
    let missing = |names: &[&str]| {
        let message = format!("no folder of the names {} is there", names.join(", "));
        Error::new(ErrorKind::Argument, message).at(folder)
    };
    let normal = named(folder, &NORMAL).ok_or_else(|| missing(&NORMAL))?;
    let anomalous = named(folder, &ANOMALOUS).ok_or_else(|| missing(&ANOMALOUS))?;
    let (test, masks) = (named(folder, &TEST), named(folder, &MASKS));
    for path in entries(folder, &mut parts.problems) {
        let known = [Some(&normal), Some(&anomalous), test.as_ref(), masks.as_ref()];
        if !known.contains(&Some(&path)) {
            parts.problems.push(Problem::remark(path, "a folder or file of no known meaning: passed over"));
        }
    }
    let item = |path, label, split| {
        let mut item = Item::new(root, path, class, label, split);
        item.kind = if label == Label::Normal { "good" } else { "bad" }.to_owned();
        item
    };
    let found = pictures(&normal, &mut parts.problems).into_iter();
    let mut normals: Vec<Item> = found.map(|path| item(path, Label::Normal, Split::Train)).collect();
    match &test {
        Some(test) => {
            let found = pictures(test, &mut parts.problems).into_iter();
            normals.extend(found.map(|path| item(path, Label::Normal, Split::Test)));
        }
        None => quarter(&mut normals, seed),
    }
    parts.items.append(&mut normals);
    let mut masks = masks.map(|folder| Masks::below(&folder, parts));
    for path in pictures(&anomalous, &mut parts.problems) {
        let mut item = item(path, Label::Anomalous, Split::Test);
        // A subfolder of the bad images is a kind of defect.
        let below = item.path.strip_prefix(&anomalous).ok().and_then(Path::parent);
        if let Some(kind) = below.filter(|kind| !kind.as_os_str().is_empty()) {
            item.kind = kind.to_string_lossy().into_owned();
        }
        if let Some(masks) = &mut masks {
            item.masks = masks.of(&anomalous, &item.path);
            if item.masks.is_empty() {
                let message = "has no mask: it does not count in pixel metrics";
                parts.problems.push(Problem::fault(&item.path, message));
            }
        }
        parts.items.push(item);
    }
    masks.into_iter().for_each(|masks| masks.tell_unused(parts));
    Ok(())
}
