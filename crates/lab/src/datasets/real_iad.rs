//! Real-IAD as downloaded: one list per class in `realiad_jsons`, and the images in `realiad_1024/<class>`, or in `realiad_512` or
//! `realiad_256`. For other lists, such as `realiad_jsons_sv`, the root is the folder of these lists.
//!
//! A list is `{"meta": {"prefix", "normal_class"}, "train": [..], "test": [..]}` of `{"image_path", "mask_path", "anomaly_class"}`,
//! paths below the prefix.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::text_file::read_text;
use super::walk::{entries, folders, name};
use super::{Item, Label, Parts, Problem, Split, listed};
use inctrl::{Error, ErrorKind, Result};

/// Folders of images, in order of preference.
const IMAGES: [&str; 4] = ["realiad_1024", "realiad_512", "realiad_256", ""];
/// Folders of lists, in order of preference. The archive may nest its folder once more.
const LISTS: [&str; 4] = ["realiad_jsons/realiad_jsons", "realiad_jsons", "realiad_jsons_sv", ""];

#[derive(Deserialize)]
struct List {
    meta: Meta,
    train: Vec<Entry>,
    test: Vec<Entry>,
}

#[derive(Deserialize)]
struct Meta {
    prefix: String,
    normal_class: String,
}

#[derive(Deserialize)]
struct Entry {
    image_path: String,
    mask_path: Option<String>,
    anomaly_class: String,
}

/// Whether a file begins like such a list.
fn is_list(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(512).read_to_end(&mut start));
    let has = |word: &[u8]| start.windows(word.len()).any(|found| found == word);
    read.is_ok() && has(b"\"meta\"") && has(b"\"normal_class\"")
}

fn lists(folder: &Path) -> Vec<PathBuf> {
    let json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json") && is_list(path);
    entries(folder, &mut Vec::new()).into_iter().filter(json).collect()
}

/// The folder of the lists.
fn base(root: &Path) -> Option<PathBuf> {
    LISTS.map(|place| root.join(place)).into_iter().find(|folder| folder.is_dir() && !lists(folder).is_empty())
}

pub fn fits(root: &Path) -> bool {
    base(root).is_some()
}

pub fn read(root: &Path, parts: &mut Parts) -> Result<()> {
    let Some(base) = base(root) else {
        let message = "realiad_jsons with a list such as audiojack.json is missing";
        return Err(Error::new(ErrorKind::Argument, message).at(root));
    };
    for path in lists(&base) {
        let read = read_text(&path).map_err(|error| error.to_string());
        let parsed = read.and_then(|text| {
            let what = "not a list with meta, train and test";
            serde_json::from_str::<List>(&text).map_err(|error| format!("{what}: {error}"))
        });
        match parsed {
            Ok(list) => read_list(root, &path, list, parts),
            Err(why) => parts.problems.push(Problem::fault(path, format!("{why}: passed over"))),
        }
    }
    for path in folders(root).into_iter().filter(|path| name(path).starts_with("realiad_jsons")) {
        if !base.starts_with(&path) {
            let message =
                "other lists than those that are read: give this folder in place of the data set's to read them";
            parts.problems.push(Problem::remark(path, message));
        }
    }
    Ok(())
}

/// The number of entries with one problem, and the first of them.
struct Count {
    what: &'static str,
    fault: bool,
    first: String,
    count: usize,
}

impl Count {
    fn new(what: &'static str, fault: bool) -> Self {
        Count { what, fault, first: String::new(), count: 0 }
    }

    fn add(&mut self, path: &str) {
        if self.count == 0 {
            self.first = path.to_owned();
        }
        self.count += 1;
    }

    fn tell(self, list: &Path, of: usize, parts: &mut Parts) {
        if self.count > 0 {
            let message = format!("{} of {of} {}, the first `{}`", self.count, self.what, self.first);
            let problem = if self.fault { Problem::fault(list, message) } else { Problem::remark(list, message) };
            parts.problems.push(problem);
        }
    }
}

fn read_list(root: &Path, path: &Path, list: List, parts: &mut Parts) {
    let class = name(&path.with_extension(""));
    let List { meta: Meta { prefix, normal_class }, train, test } = list;
    // If the root is the folder of the lists, the images are next to it.
    let near = [Some(root), root.parent()].into_iter().flatten();
    let places: Vec<PathBuf> = near.flat_map(|near| IMAGES.map(|size| listed(&near.join(size), &prefix))).collect();
    let first = places.first().cloned().unwrap_or_default();
    let Some(folder) = places.into_iter().find(|place| place.is_dir()) else {
        let message = format!("the folder of its images is missing, such as {}: passed over", first.display());
        parts.problems.push(Problem::fault(path, message));
        return;
    };
    let of = train.len() + test.len();
    let mut missing = Count::new("images are not there: passed over", true);
    let mut twice = Count::new("images are listed before: passed over", true);
    let mut unmasked = Count::new("images are anomalous and have no mask: they do not count in pixel metrics", true);
    let mut noise = Count::new("images are to train and anomalous: passed over", false);
    let mut seen = HashSet::new();
    let train = train.into_iter().map(|entry| (entry, Split::Train));
    for (entry, split) in train.chain(test.into_iter().map(|entry| (entry, Split::Test))) {
        let label = if entry.anomaly_class == normal_class { Label::Normal } else { Label::Anomalous };
        let image = listed(&folder, &entry.image_path);
        if split == Split::Train && label == Label::Anomalous {
            noise.add(&entry.image_path);
        } else if !image.is_file() {
            missing.add(&entry.image_path);
        } else if !seen.insert(image.clone()) {
            twice.add(&entry.image_path);
        } else {
            let mut item = Item::new(root, image, &class, label, split);
            if label == Label::Anomalous {
                let mask = entry.mask_path.map(|mask| listed(&folder, &mask));
                item.masks = mask.into_iter().filter(|mask| mask.is_file()).collect();
                if item.masks.is_empty() {
                    unmasked.add(&entry.image_path);
                }
            }
            item.kind = entry.anomaly_class;
            parts.items.push(item);
        }
    }
    [missing, twice, unmasked, noise].into_iter().for_each(|count| count.tell(path, of, parts));
}
