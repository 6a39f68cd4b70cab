//! A table of the files: `split_csv/1cls.csv` with the columns object, split, label, image, mask.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::text_file::read_text;
use super::walk::{folders, name, pictures};
use super::{Item, Label, Parts, Problem, Split, listed};
use inctrl::{Error, ErrorKind, Result};

fn table(root: &Path) -> Option<PathBuf> {
    ["split_csv/1cls.csv", "1cls.csv"].map(|name| root.join(name)).into_iter().find(|path| path.is_file())
}

pub fn fits(root: &Path) -> bool {
    table(root).is_some()
}

pub fn read(root: &Path, parts: &mut Parts) -> Result<()> {
    let Some(path) = table(root) else {
        let message = "split_csv/1cls.csv is missing, which lists the images";
        return Err(Error::new(ErrorKind::Argument, message).at(root));
    };
    let bad = |error: csv::Error| Error::new(ErrorKind::Argument, "cannot read the table").at(&path).because(error);
    let text = read_text(&path)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(bad)?.clone();
    let column = |wanted: &str| {
        let at = header.iter().position(|found| found.eq_ignore_ascii_case(wanted));
        at.ok_or_else(|| {
            let found = header.iter().collect::<Vec<_>>().join(",");
            let message =
                format!("the table has no column `{wanted}`: expected object,split,label,image,mask, found {found}");
            Error::new(ErrorKind::Argument, message).at(&path)
        })
    };
    let columns = [column("object")?, column("split")?, column("label")?, column("image")?, column("mask")?];
    let mut seen = HashSet::new();
    for record in reader.records() {
        let record = record.map_err(bad)?;
        let line = record.position().map_or(0, csv::Position::line);
        let [class, split, label, image, mask] = columns.map(|at| record.get(at).unwrap_or_default());
        let fault = |message: String| Problem::fault(&path, format!("line {line}: {message}: passed over"));
        let split = match split.to_ascii_lowercase().as_str() {
            "train" => Split::Train,
            "test" => Split::Test,
            _ => {
                parts.problems.push(fault(format!("split {split:?} is neither train nor test")));
                continue;
            }
        };
        let label: Label = match label.parse() {
            Ok(label) => label,
            Err(error) => {
                parts.problems.push(fault(Error::to_string(&error)));
                continue;
            }
        };
        let file = listed(root, image);
        if image.is_empty() || !file.is_file() {
            parts.problems.push(fault(format!("there is no image `{image}`")));
            continue;
        }
        if !seen.insert(file.clone()) {
            parts.problems.push(fault(format!("`{image}` is listed twice")));
            continue;
        }
        let mut item = Item::new(root, file, class, label, split);
        item.kind = if label == Label::Normal { "good" } else { "anomaly" }.to_owned();
        match (label, mask) {
            (Label::Normal, "") => {}
            // A mask of a good image says so too if it is empty; looking at it tells.
            (Label::Normal, mask) => {
                item.masks = vec![listed(root, mask)].into_iter().filter(|m| m.is_file()).collect()
            }
            (Label::Anomalous, "") => {
                let message = "the table names no mask: it does not count in pixel metrics";
                parts.problems.push(Problem::fault(&item.path, message));
            }
            (Label::Anomalous, mask) => {
                let mask = listed(root, mask);
                if mask.is_file() {
                    item.masks = vec![mask];
                } else {
                    let message = "its mask is missing: it does not count in pixel metrics";
                    parts.problems.push(Problem::fault(mask, message));
                }
            }
        }
        parts.items.push(item);
    }
    let unlisted = folders(root).into_iter().map(|folder| folder.join("Data/Images")).filter(|folder| folder.is_dir());
    for folder in unlisted {
        for picture in pictures(&folder, &mut parts.problems).into_iter().filter(|picture| !seen.contains(picture)) {
            let message = format!("not in {}: passed over", name(&path));
            parts.problems.push(Problem::remark(picture, message));
        }
    }
    Ok(())
}
