//! SDD (KolektorSDD) as downloaded: folders `kos01`, `kos02`, .. with `Part0.jpg`, `Part0_label.bmp`, `Part1.jpg`, ..
//!
//! As in the published code, each picture gives three images, its thirds from top to bottom. A third is defective if its label
//! marks a pixel in it. Thirds of one picture may be in training and in test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::masks::Mask;
use super::part::Part;
use super::split::quarter;
use super::walk::{entries, folders, name, pictures};
use super::{Item, Label, Parts, Problem, Split};
use inctrl::{Error, ErrorKind, Result};

/// The published name of the class.
const CLASS: &str = "SDD";

/// The end of the name of a label file.
const LABEL: &str = "_label";

/// Whether a folder has the name of a commutator: `kos` and a number.
fn is_commutator(path: &Path) -> bool {
    let name = name(path).to_ascii_lowercase();
    name.strip_prefix("kos").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn commutators(folder: &Path) -> Vec<PathBuf> {
    folders(folder).into_iter().filter(|path| is_commutator(path)).collect()
}

/// The folder that contains those of the commutators. The archive may add a folder around them.
fn base(root: &Path) -> Option<PathBuf> {
    std::iter::once(root.to_path_buf()).chain(folders(root)).find(|folder| !commutators(folder).is_empty())
}

/// A file's name without its extension.
fn stem(path: &Path) -> String {
    name(&path.with_extension(""))
}

pub fn fits(root: &Path) -> bool {
    let labelled = |folder: &PathBuf| {
        entries(folder, &mut Vec::new()).iter().any(|path| path.is_file() && stem(path).ends_with(LABEL))
    };
    base(root).is_some_and(|base| commutators(&base).iter().any(labelled))
}

pub fn read(root: &Path, seed: u64, parts: &mut Parts) -> Result<()> {
    let Some(base) = base(root) else {
        let message = "the folders kos01, kos02, .. are missing";
        return Err(Error::new(ErrorKind::Argument, message).at(root));
    };
    let mut normals = Vec::new();
    for path in entries(&base, &mut parts.problems) {
        if path.is_dir() && is_commutator(&path) {
            read_commutator(root, &path, &mut normals, parts);
        } else {
            parts.problems.push(Problem::remark(path, "no folder of a commutator, such as kos01: passed over"));
        }
    }
    quarter(&mut normals, seed);
    parts.items.append(&mut normals);
    Ok(())
}

fn read_commutator(root: &Path, folder: &Path, normals: &mut Vec<Item>, parts: &mut Parts) {
    let (labels, images): (Vec<PathBuf>, Vec<PathBuf>) =
        pictures(folder, &mut parts.problems).into_iter().partition(|path| stem(path).ends_with(LABEL));
    let mut labels: BTreeMap<String, PathBuf> = labels.into_iter().map(|path| (stem(&path), path)).collect();
    for image in images {
        let Some(label) = labels.remove(&(stem(&image) + LABEL)) else {
            let message = format!(
                "its label {}{LABEL}.bmp is missing: it is not known whether it is good: left out",
                stem(&image)
            );
            parts.problems.push(Problem::fault(image, message));
            continue;
        };
        let thirds = [0, 1, 2].map(Part::Third);
        let marked = Mask::open(&label).and_then(|mask| {
            let part = |third: &Part| Ok(third.of_mask(&mask)?.values.is_some());
            thirds.iter().map(part).collect::<Result<Vec<bool>>>()
        });
        let marked = match marked {
            Ok(marked) => marked,
            Err(error) => {
                let message = format!("{}: left out, as it is not known whether it is good", error.chain());
                parts.problems.push(Problem::fault(image, message));
                continue;
            }
        };
        for (third, defective) in thirds.into_iter().zip(marked) {
            let kind = if defective { Label::Anomalous } else { Label::Normal };
            let mut item = Item::new(root, image.clone(), CLASS, kind, Split::Test).in_part(third);
            if defective {
                item.kind = "defect".to_owned();
                item.masks = vec![label.clone()];
                parts.items.push(item);
            } else {
                item.kind = "good".to_owned();
                normals.push(item);
            }
        }
    }
    parts.problems.extend(labels.into_values().map(|label| Problem::fault(label, "a label of no image")));
}
