//! InCTRL's lists: `<class>_val_{normal,outlier}.json` of what is judged, `<class>_train_{normal,outlier}.json`, and
//! `<class>_{normal,outlier}.json`, which its script for training lists writes; each `[{"image_path", "target", "type"}]`.
//!
//! That script puts the normal images of `train/good` and of `test/good` into one list, so that many of them are in the list for
//! validation as well. Lists for validation are read first: what is in one is judged, and no prompt, whatever other lists say.
//!
//! The scripts write paths from the folder that they run in, or absolute ones of their machine. A path is looked for from the
//! data set's folder, the list's, the folders around it and the current one, then below the first two by ever fewer of its
//! leading parts.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::split::quarter;
use super::text_file::read_text;
use super::walk::{entries, folders, name};
use super::{Item, Label, Parts, Problem, Split};
use inctrl::Result;

#[derive(Deserialize)]
struct Entry {
    image_path: String,
    target: u8,
    #[serde(rename = "type")]
    class: Option<String>,
}

/// What a list is for, by its name; in the order in which lists are read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Validation,
    Training,
    /// Neither is in the name: all images of a kind, as the script for training lists writes them.
    All,
}

struct List {
    purpose: Purpose,
    path: PathBuf,
    class: String,
    label: Label,
}

/// What a file's name tells, if it is that of a list.
fn list(path: PathBuf) -> Option<List> {
    let name = name(&path);
    let stem = name.strip_suffix(".json")?;
    let (rest, label) = [("_normal", Label::Normal), ("_outlier", Label::Anomalous)]
        .into_iter()
        .find_map(|(kind, label)| Some((stem.strip_suffix(kind)?, label)))?;
    let parts = [("_train", Purpose::Training), ("_val", Purpose::Validation), ("_test", Purpose::Validation)];
    let named = parts.into_iter().find_map(|(part, purpose)| Some((rest.strip_suffix(part)?, purpose)));
    let (class, purpose) = named.unwrap_or((rest, Purpose::All));
    (!class.is_empty()).then(|| List { purpose, class: class.to_owned(), label, path })
}

/// The lists in the folder, and in its folders, in the order in which they are read.
fn lists(root: &Path, problems: &mut Vec<Problem>) -> Vec<List> {
    let mut found = entries(root, problems);
    found.extend(folders(root).iter().flat_map(|folder| entries(folder, problems)));
    let mut found: Vec<List> = found.into_iter().filter_map(list).collect();
    // A name of so few words may be that of another file; but the script writes two, and other lists of the class tell.
    let twin = |of: &List| {
        let kind = if of.label == Label::Normal { "outlier" } else { "normal" };
        of.path.with_file_name(format!("{}_{kind}.json", of.class)).is_file()
    };
    let told: HashSet<String> =
        found.iter().filter(|list| list.purpose != Purpose::All).map(|list| list.class.clone()).collect();
    found.retain(|list| list.purpose != Purpose::All || twin(list) || told.contains(&list.class));
    found.sort_by(|a, b| (a.purpose, &a.path).cmp(&(b.purpose, &b.path)));
    found
}

pub fn fits(root: &Path) -> bool {
    lists(root, &mut Vec::new()).iter().any(|list| list.purpose != Purpose::Training)
}

pub fn read(root: &Path, seed: u64, parts: &mut Parts) -> Result<()> {
    let lists = lists(root, &mut parts.problems);
    let validated: HashSet<&str> =
        lists.iter().filter(|list| list.purpose == Purpose::Validation).map(|list| list.class.as_str()).collect();
    // By class and file: what is good in one class may be the defect of another.
    let mut seen: HashMap<(String, PathBuf), (&List, Use)> = HashMap::new();
    for list in &lists {
        let read = read_text(&list.path).map_err(|error| error.to_string());
        let parsed = read.and_then(|text| {
            let what = "not a list of image_path, target and type";
            serde_json::from_str::<Vec<Entry>>(&text).map_err(|error| format!("{what}: {error}"))
        });
        let entries = match parsed {
            Ok(entries) => entries,
            Err(why) => {
                parts.problems.push(Problem::fault(&list.path, format!("{why}: passed over")));
                continue;
            }
        };
        let places = Places::of(root, &list.path);
        let (mut judged_already, mut left_out) = (0, 0);
        let mut divided = Vec::new();
        for entry in entries {
            let fault = |message: String| Problem::fault(&list.path, format!("{}: {message}", entry.image_path));
            if (entry.target == 1) != (list.label == Label::Anomalous) {
                parts.problems.push(fault(format!("target {} in a list of the other kind: passed over", entry.target)));
                continue;
            }
            let Some(path) = places.locate(&entry.image_path) else {
                parts.problems.push(fault("there is no such image: passed over".to_owned()));
                continue;
            };
            let class = entry.class.as_deref().unwrap_or(&list.class);
            let key = (class.to_owned(), path.canonicalize().unwrap_or_else(|_| path.clone()));
            let used = list.used(&entry.image_path, validated.contains(list.class.as_str()));
            match seen.get(&key) {
                Some((other, _)) if other.label != list.label => {
                    let other = other.path.display();
                    parts.problems.push(fault(format!("also in {other}, a list of the other kind: passed over")));
                    continue;
                }
                Some((other, _)) if other.path == list.path => {
                    parts.problems.push(fault("listed twice: passed over".to_owned()));
                    continue;
                }
                Some((_, Use::Judged)) if matches!(used, Use::Prompt | Use::Divided) => {
                    judged_already += 1;
                    continue;
                }
                // Such a list repeats others, as it has all images.
                Some(_) if used == Use::LeftOut || list.purpose == Purpose::All => continue,
                Some((other, _)) => {
                    parts.problems.push(fault(format!("also in {}: passed over", other.path.display())));
                    continue;
                }
                None => {}
            }
            seen.insert(key, (list, used));
            let item = |split| Item::new(root, path, class, list.label, split);
            match used {
                Use::Judged => parts.items.push(item(Split::Test)),
                Use::Prompt => parts.items.push(item(Split::Train)),
                Use::Divided => divided.push(item(Split::Train)),
                Use::LeftOut => left_out += 1,
            }
        }
        quarter(&mut divided, seed);
        parts.items.append(&mut divided);
        if left_out > 0 {
            let message = format!("{left_out} anomalous images for training heads, not for testing: passed over");
            parts.problems.push(Problem::remark(&list.path, message));
        }
        if judged_already > 0 {
            let message = format!(
                "{judged_already} images are in a list for validation as well: they are judged, and no prompts"
            );
            parts.problems.push(match list.purpose {
                Purpose::All => Problem::remark(&list.path, message),
                // A list of its own for training ought to have none of them.
                _ => Problem::fault(&list.path, message),
            });
        }
    }
    Ok(())
}

/// What becomes of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Judged,
    Prompt,
    /// Prompt or judged, as the seed decides.
    Divided,
    LeftOut,
}

impl List {
    /// What becomes of an image of this list, which calls it `written`; `validated` if its class has a list for validation.
    fn used(&self, written: &str, validated: bool) -> Use {
        match (self.purpose, self.label) {
            (Purpose::Validation, _) => Use::Judged,
            (Purpose::Training, Label::Normal) => Use::Prompt,
            (Purpose::Training, Label::Anomalous) => Use::LeftOut,
            (Purpose::All, Label::Normal) if validated => Use::Prompt,
            (Purpose::All, Label::Anomalous) if validated => Use::LeftOut,
            (Purpose::All, Label::Anomalous) => Use::Judged,
            // The script takes the folders train/good and test/good.
            (Purpose::All, Label::Normal) => {
                let mut folders = written.rsplit(['/', '\\']).skip(1);
                match folders.find(|folder| matches!(*folder, "train" | "test")) {
                    Some("train") => Use::Prompt,
                    Some(_) => Use::Judged,
                    None => Use::Divided,
                }
            }
        }
    }
}

/// Where the images of a list may lie.
struct Places<'a> {
    root: &'a Path,
    /// The data set's folder and the list's.
    near: [PathBuf; 2],
    /// The folders around the list's, from the inside out, and the current one.
    around: Vec<PathBuf>,
}

impl<'a> Places<'a> {
    fn of(root: &'a Path, list: &Path) -> Self {
        let folder = list.with_file_name("");
        let real = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let around = real.ancestors().skip(1).map(Path::to_path_buf).chain([PathBuf::new()]).collect();
        Places { root, near: [root.to_path_buf(), folder], around }
    }

    fn locate(&self, written: &str) -> Option<PathBuf> {
        let written = PathBuf::from(written.replace('\\', "/"));
        let normal = |part: &Component<'_>| matches!(part, Component::Normal(_));
        let names: Vec<_> = written.components().filter(normal).collect();
        let whole = self.near.iter().chain(&self.around).map(|place| place.join(&written));
        let parts = (0..names.len()).flat_map(|skipped| {
            let rest: PathBuf = names[skipped..].iter().collect();
            self.near.iter().map(move |place| place.join(&rest))
        });
        let found = whole.chain(parts).find(|path| path.is_file())?;
        // What lies in the data set has a name in it, by whichever way it was found.
        let below = || {
            let (found, root) = (found.canonicalize().ok()?, self.root.canonicalize().ok()?);
            Some(self.root.join(found.strip_prefix(root).ok()?))
        };
        Some(below().unwrap_or(found))
    }
}
