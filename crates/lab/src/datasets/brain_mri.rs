//! BrainMRI as it is downloaded: `yes` (tumour) and `no`, sometimes with a second copy of both in a folder beside them.

use std::path::{Path, PathBuf};

use super::split::quarter;
use super::walk::{entries, folders, named, pictures};
use super::{Item, Label, Parts, Problem, Split};
use inctrl::{Error, ErrorKind, Result};

/// The published name of the class.
const CLASS: &str = "brain";

/// The folder that holds `yes` and `no`.
fn base(root: &Path) -> Option<PathBuf> {
    let holds = |folder: &PathBuf| named(folder, &["yes"]).is_some() && named(folder, &["no"]).is_some();
    std::iter::once(root.to_path_buf()).chain(folders(root)).find(holds)
}

pub fn fits(root: &Path) -> bool {
    base(root).is_some()
}

pub fn read(root: &Path, seed: u64, parts: &mut Parts) -> Result<()> {
    let found = base(root).and_then(|base| Some((named(&base, &["yes"])?, named(&base, &["no"])?, base)));
    let Some((yes, no, base)) = found else {
        let message = "the folders yes and no are missing";
        return Err(Error::new(ErrorKind::Argument, message).at(root));
    };
    let mut read = |folder: &Path, label, kind: &str| -> Vec<Item> {
        let item = |path| {
            let mut item = Item::new(root, path, CLASS, label, Split::Test);
            item.kind = kind.to_owned();
            item
        };
        pictures(folder, &mut parts.problems).into_iter().map(item).collect()
    };
    let mut normals = read(&no, Label::Normal, "no");
    let mut anomalous = read(&yes, Label::Anomalous, "yes");
    quarter(&mut normals, seed);
    parts.items.append(&mut normals);
    parts.items.append(&mut anomalous);
    for other in entries(&base, &mut parts.problems) {
        if other != yes && other != no {
            // The usual download has the same images once more in brain_tumor_dataset.
            parts.problems.push(Problem::remark(other, "neither yes nor no: passed over"));
        }
    }
    Ok(())
}
