//! HeadCT as it is downloaded: `labels.csv` with the columns id and hemorrhage, and images `000.png`, `001.png`, .. in
//! `head_ct`, which the archive nests once more.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::split::quarter;
use super::text_file::read_text;
use super::walk::pictures;
use super::{Item, Label, Parts, Problem, Split};
use inctrl::{Error, ErrorKind, Result};

/// The published name of the class.
const CLASS: &str = "headct";

fn table(root: &Path) -> Option<(PathBuf, [usize; 2])> {
    let path = root.join("labels.csv");
    let text = read_text(&path).ok()?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().ok()?;
    let column = |wanted: &str| header.iter().position(|name| name.trim().eq_ignore_ascii_case(wanted));
    let columns = [column("id")?, column("hemorrhage").or_else(|| column("label"))?];
    Some((path, columns))
}

pub fn fits(root: &Path) -> bool {
    table(root).is_some()
}

pub fn read(root: &Path, seed: u64, parts: &mut Parts) -> Result<()> {
    let Some((path, columns)) = table(root) else {
        let message = "labels.csv with the columns id and hemorrhage is missing";
        return Err(Error::new(ErrorKind::Argument, message).at(root));
    };
    // Images are found by number, wherever the archive was unpacked.
    let mut by_number: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for picture in pictures(root, &mut parts.problems) {
        let number = picture.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let Some(number) = number else {
            parts.problems.push(Problem::remark(picture, "its name is no number: passed over"));
            continue;
        };
        if let Some(first) = by_number.get(&number) {
            let message = format!("the same number as {}: passed over", first.display());
            parts.problems.push(Problem::remark(picture, message));
        } else {
            by_number.insert(number, picture);
        }
    }
    let bad = |error: csv::Error| Error::new(ErrorKind::Argument, "cannot read the table").at(&path).because(error);
    let text = read_text(&path)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let (mut normals, mut seen) = (Vec::new(), HashSet::new());
    for record in reader.records() {
        let record = record.map_err(bad)?;
        let line = record.position().map_or(0, csv::Position::line);
        let fault = |message: String| Problem::fault(&path, format!("line {line}: {message}: passed over"));
        let [id, truth] = columns.map(|at| record.get(at).unwrap_or_default());
        let Ok(number) = id.parse::<u64>() else {
            parts.problems.push(fault(format!("the id {id:?} is no number")));
            continue;
        };
        let label: Label = match truth.parse() {
            Ok(label) => label,
            Err(error) => {
                parts.problems.push(fault(Error::to_string(&error)));
                continue;
            }
        };
        if !seen.insert(number) {
            parts.problems.push(fault(format!("id {number} is listed twice")));
            continue;
        }
        let Some(image) = by_number.get(&number) else {
            parts.problems.push(fault(format!("there is no image of id {number}")));
            continue;
        };
        let mut item = Item::new(root, image.clone(), CLASS, label, Split::Test);
        item.kind = if label == Label::Normal { "normal" } else { "hemorrhage" }.to_owned();
        if label == Label::Normal { &mut normals } else { &mut parts.items }.push(item);
    }
    quarter(&mut normals, seed);
    parts.items.append(&mut normals);
    let unlisted = by_number.iter().filter(|(number, _)| !seen.contains(number));
    parts.problems.extend(unlisted.map(|(_, path)| Problem::remark(path, "not in labels.csv: passed over")));
    Ok(())
}
