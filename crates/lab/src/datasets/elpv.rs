//! ELPV as it is downloaded: `labels.csv` with lines `images/cell0001.png 1.0 mono`, which name the image, the probability of
//! a defect and the kind of cell. As published, 0 is normal, 1 anomalous, and what lies between is left out.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::split::quarter;
use super::text_file::read_text;
use super::walk::{entries, name, pictures};
use super::{Item, Label, Parts, Problem, Split, listed};
use inctrl::{Error, ErrorKind, Result};

/// The published name of the class.
const CLASS: &str = "elpv";

/// The table, which the download keeps some folders deep.
fn table(root: &Path) -> Option<PathBuf> {
    let places = ["labels.csv", "data/labels.csv", "src/elpv_dataset/data/labels.csv"];
    places.map(|place| root.join(place)).into_iter().find(|path| path.is_file() && first_line(path).is_some())
}

fn first_line(path: &Path) -> Option<()> {
    let text = read_text(path).ok()?;
    parse(text.lines().find(|line| !line.trim().is_empty())?).map(|_| ())
}

/// Image, probability and kind of a line.
fn parse(line: &str) -> Option<(&str, f64, &str)> {
    let mut words = line.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    let (image, probability, kind) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    words.next().is_none().then_some((image, probability, kind))
}

pub fn fits(root: &Path) -> bool {
    table(root).is_some()
}

pub fn read(root: &Path, seed: u64, parts: &mut Parts) -> Result<()> {
    let Some(path) = table(root) else {
        let message = "labels.csv is missing, or its lines are not `images/cell0001.png 1.0 mono`";
        return Err(Error::new(ErrorKind::Argument, message).at(root));
    };
    let base = path.parent().unwrap_or(root).to_path_buf();
    let text = read_text(&path)?;
    let (mut normals, mut seen, mut doubtful) = (Vec::new(), HashSet::new(), 0);
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fault = |message: String| Problem::fault(&path, format!("line {}: {message}: passed over", number + 1));
        let Some((image, probability, kind)) = parse(line) else {
            parts.problems.push(fault(format!("{line:?} is not an image, a probability and a kind")));
            continue;
        };
        let file = listed(&base, image);
        if !file.is_file() {
            parts.problems.push(fault(format!("there is no image `{image}`")));
            continue;
        }
        if !seen.insert(file.clone()) {
            parts.problems.push(fault(format!("`{image}` is listed twice")));
            continue;
        }
        let label = match probability {
            0.0 => Label::Normal,
            1.0 => Label::Anomalous,
            _ => {
                doubtful += 1;
                continue;
            }
        };
        let mut item = Item::new(root, file, CLASS, label, Split::Test);
        item.kind = kind.to_owned();
        if label == Label::Normal { &mut normals } else { &mut parts.items }.push(item);
    }
    quarter(&mut normals, seed);
    parts.items.append(&mut normals);
    if doubtful > 0 {
        let message = format!("{doubtful} images with a probability between 0 and 1 are left out, as published");
        parts.problems.push(Problem::remark(&path, message));
    }
    let folder = base.join("images");
    for picture in if folder.is_dir() { pictures(&folder, &mut parts.problems) } else { Vec::new() } {
        if !seen.contains(&picture) {
            parts.problems.push(Problem::remark(picture, "not in labels.csv: passed over"));
        }
    }
    for other in entries(&base, &mut parts.problems) {
        if !["images", "labels.csv"].contains(&name(&other).as_str()) {
            parts.problems.push(Problem::remark(other, "neither labels.csv nor images: passed over"));
        }
    }
    Ok(())
}
