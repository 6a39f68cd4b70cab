//! MVTec AD 2: as MVTec AD, but with `test_public/{good,bad}` and its masks in `test_public/ground_truth`, and with images whose
//! labels are not published in `test_private` and `test_private_mixed`.

use std::path::{Path, PathBuf};

use super::mvtec::{read_normals, read_test};
use super::walk::{entries, folders, name, named, pictures};
use super::{Parts, Problem};
use inctrl::{Error, ErrorKind, Result};

const PUBLIC: &str = "test_public";

/// The folder of the normal images, and that of the public test, of a class.
fn class(folder: &Path) -> Option<[PathBuf; 2]> {
    Some([named(&named(folder, &["train"])?, &["good"])?, named(folder, &[PUBLIC])?])
}

pub fn fits(root: &Path) -> bool {
    class(root).is_some() || folders(root).iter().any(|folder| class(folder).is_some())
}

pub fn read(root: &Path, parts: &mut Parts) -> Result<()> {
    if !fits(root) {
        let message = format!("no folder with train/good and {PUBLIC} is there");
        return Err(Error::new(ErrorKind::Argument, message).at(root));
    }
    if class(root).is_some() {
        let real = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
        read_class(root, root, &name(&real), parts);
        return Ok(());
    }
    for path in entries(root, &mut parts.problems) {
        if !path.is_dir() {
            parts.problems.push(Problem::remark(path, "beside the classes: passed over"));
        } else if class(&path).is_some() {
            read_class(root, &path, &name(&path), parts);
        } else {
            let message = format!("not a class, as train/good or {PUBLIC} is missing: passed over");
            parts.problems.push(Problem::fault(path, message));
        }
    }
    Ok(())
}

fn read_class(root: &Path, folder: &Path, name_of_class: &str, parts: &mut Parts) {
    let Some([normals, public]) = class(folder) else { return };
    read_normals(root, &normals, name_of_class, parts);
    let truth = named(&public, &["ground_truth"]);
    read_test(root, &public, truth.as_deref(), name_of_class, parts);
    for path in entries(folder, &mut parts.problems) {
        if path == public || normals.starts_with(&path) {
            continue;
        }
        let message = match name(&path).as_str() {
            "test_private" | "test_private_mixed" => {
                let count = pictures(&path, &mut Vec::new()).len();
                format!(
                    "{count} images whose labels are not published, to be judged by the authors' server: passed over"
                )
            }
            "validation" => "normal images to choose thresholds by: passed over".to_owned(),
            _ => format!("none of train, validation, {PUBLIC} and test_private: passed over"),
        };
        parts.problems.push(Problem::remark(path, message));
    }
}
