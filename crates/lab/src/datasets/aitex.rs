//! AITEX (AFID) as downloaded: `NODefect_images/<fabric>/*.png`, `Defect_images/NNNN_DDD_FF.png` and
//! `Mask_images/NNNN_DDD_FF_mask.png`, where DDD is the code of the defect.
//!
//! As in the published code, each picture is cut into squares, mostly sixteen. A square of a defective picture is anomalous if
//! the mask marks a pixel in it; the other squares of that picture are not used. Two pictures have two mask files, which are
//! joined, and `0100_025_08` has none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::masks::Mask;
use super::part::{Part, sides};
use super::split::quarter;
use super::walk::{entries, folders, name, named, pictures};
use super::{Item, Label, Parts, Problem, Split};
use inctrl::{Error, ErrorKind, Result};

/// The published name of the class.
const CLASS: &str = "AITEX";

const NORMAL: &str = "NODefect_images";
const DEFECT: &str = "Defect_images";
const MASK: &str = "Mask_images";

/// The picture without a published mask.
const WITHOUT_MASK: &str = "0100_025_08";

/// The defect codes in the names of defective pictures.
const DEFECTS: [(&str, &str); 12] = [
    ("002", "broken_end"),
    ("006", "broken_yarn"),
    ("010", "broken_pick"),
    ("016", "weft_curling"),
    ("019", "fuzzyball"),
    ("022", "cut_selvage"),
    ("023", "crease"),
    ("025", "warp_ball"),
    ("027", "knots"),
    ("029", "contamination"),
    ("030", "nep"),
    ("036", "weft_crack"),
];

/// The folder that contains the three. The archive may add a folder around them.
fn base(root: &Path) -> Option<PathBuf> {
    std::iter::once(root.to_path_buf()).chain(folders(root)).find(|folder| named(folder, &[NORMAL, DEFECT]).is_some())
}

pub fn fits(root: &Path) -> bool {
    base(root).is_some()
}

pub fn read(root: &Path, seed: u64, parts: &mut Parts) -> Result<()> {
    let Some(base) = base(root) else {
        let message = format!("the folders {NORMAL}, {DEFECT} and {MASK} are missing");
        return Err(Error::new(ErrorKind::Argument, message).at(root));
    };
    let mut folder = |wanted: &str| {
        let found = named(&base, &[wanted]);
        if found.is_none() {
            parts
                .problems
                .push(Problem::fault(base.join(wanted), "the folder is missing, and the images that it holds"));
        }
        found
    };
    let [normal, defect, mask] = [NORMAL, DEFECT, MASK].map(&mut folder);
    for path in entries(&base, &mut parts.problems) {
        if ![&normal, &defect, &mask].contains(&&Some(path.clone())) {
            parts.problems.push(Problem::remark(path, format!("none of {NORMAL}, {DEFECT} and {MASK}: passed over")));
        }
    }
    let mut below = |folder: &Option<PathBuf>| -> Vec<PathBuf> {
        folder.as_ref().map(|folder| pictures(folder, &mut parts.problems)).unwrap_or_default()
    };
    let [normal, defect, mask] = [below(&normal), below(&defect), below(&mask)];
    read_normals(root, normal, seed, parts);
    read_defects(root, defect, mask, parts);
    Ok(())
}

fn read_normals(root: &Path, pictures: Vec<PathBuf>, seed: u64, parts: &mut Parts) {
    let mut normals = Vec::new();
    for path in pictures {
        match sides(&path) {
            Err(error) => parts.problems.push(Problem::fault(&path, format!("{error}: its squares are left out"))),
            Ok(sides) => normals.extend((0..Part::squares(sides)).map(|square| {
                let mut item = Item::new(root, path.clone(), CLASS, Label::Normal, Split::Train);
                item.kind = "good".to_owned();
                item.in_part(Part::Square(square))
            })),
        }
    }
    quarter(&mut normals, seed);
    parts.items.append(&mut normals);
}

/// The masks by the name of their picture.
fn masks_of(pictures: Vec<PathBuf>, parts: &mut Parts) -> BTreeMap<String, Vec<PathBuf>> {
    let mut masks: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in pictures {
        let stem = name(&path.with_extension(""));
        match stem.split_once("_mask") {
            Some((of, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                masks.entry(of.to_owned()).or_default().push(path);
            }
            _ => parts.problems.push(Problem::remark(path, "its name is not that of a mask: passed over")),
        }
    }
    masks
}

fn read_defects(root: &Path, pictures: Vec<PathBuf>, masks: Vec<PathBuf>, parts: &mut Parts) {
    let mut masks = masks_of(masks, parts);
    for path in pictures {
        let stem = name(&path.with_extension(""));
        let Some(masks) = masks.remove(&stem) else {
            let message =
                format!("there is no {MASK}/{stem}_mask.png, so that it is not known where the defect is: left out");
            parts.problems.push(if stem == WITHOUT_MASK {
                Problem::remark(&path, message + ", as published")
            } else {
                Problem::fault(&path, message)
            });
            continue;
        };
        let squares = match sides(&path).and_then(|sides| marked(&masks, Part::squares(sides))) {
            Ok(squares) => squares,
            Err(error) => {
                parts.problems.push(Problem::fault(&path, format!("{}: left out", error.chain())));
                continue;
            }
        };
        if !squares.contains(&true) {
            let message = "its mask marks nothing, so that it is not known where the defect is: left out";
            parts.problems.push(Problem::remark(&path, message));
        }
        let code = stem.split('_').nth(1).unwrap_or_default();
        let kind = DEFECTS.iter().find(|(known, _)| *known == code).map_or(code, |(_, kind)| kind);
        for (square, _) in squares.iter().enumerate().filter(|(_, marked)| **marked) {
            let item = Item::new(root, path.clone(), CLASS, Label::Anomalous, Split::Test);
            let mut item = item.in_part(Part::Square(square));
            item.kind = kind.to_owned();
            item.masks.clone_from(&masks);
            parts.items.push(item);
        }
    }
    parts.problems.extend(masks.into_values().flatten().map(|path| Problem::fault(path, "a mask of no image")));
}

/// For each square, whether any of the masks marks a pixel in it.
fn marked(masks: &[PathBuf], squares: usize) -> Result<Vec<bool>> {
    let mut marked = vec![false; squares];
    for path in masks {
        let mask = Mask::open(path)?;
        for (square, marked) in marked.iter_mut().enumerate() {
            // A mask that is narrower than its picture does not have the last squares.
            *marked |= Part::Square(square).of_mask(&mask).is_ok_and(|part| part.values.is_some());
        }
    }
    Ok(marked)
}
