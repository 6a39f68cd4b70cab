//! Anomaly detection on data sets of ten kinds of objects: MNIST and CIFAR-10.
//!
//! One against all: each kind is a class; its own pictures are normal, and those of the nine other kinds are anomalous. Several
//! together: one class, in which the pictures of some kinds are normal. Prompts come from the training part. Every class is
//! tested on the whole test part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::part::{Part, Pictures};
use super::{Item, Label, Parts, Problem, Split};

/// The pictures of one file and the kind of each.
pub struct Batch {
    /// The file of the pictures.
    pub path: PathBuf,
    pub split: Split,
    pub pictures: Arc<Pictures>,
    pub labels: Vec<u8>,
}

/// What is normal.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    /// Each kind in its own class.
    OneVsAll,
    /// Several kinds, by their numbers, in one class.
    Together { class: &'static str, normal: &'static [u8] },
}

/// Adds the items of some batches. `kinds` are the names of the labels 0 to 9.
pub fn divide(root: &Path, batches: &[Batch], kinds: &[&str; 10], protocol: Protocol, parts: &mut Parts) {
    for batch in batches {
        let mut unknown: BTreeMap<u8, usize> = BTreeMap::new();
        for (index, &label) in batch.labels.iter().enumerate() {
            let Some(kind) = kinds.get(usize::from(label)) else {
                *unknown.entry(label).or_default() += 1;
                continue;
            };
            let mut add = |class: &str, normal: bool| {
                // Anomalous training pictures are not used.
                if normal || batch.split == Split::Test {
                    let label = if normal { Label::Normal } else { Label::Anomalous };
                    let item = Item::new(root, batch.path.clone(), class, label, batch.split);
                    let mut item = item.in_part(Part::Record(batch.pictures.clone(), index));
                    item.kind = (*kind).to_owned();
                    parts.items.push(item);
                }
            };
            match protocol {
                Protocol::OneVsAll => kinds.iter().for_each(|class| add(class, class == kind)),
                Protocol::Together { class, normal } => add(class, normal.contains(&label)),
            }
        }
        parts.problems.extend(unknown.into_iter().map(|(label, count)| {
            let message = format!("{count} pictures have the label {label}, expected 0 to 9: passed over");
            Problem::fault(&batch.path, message)
        }));
    }
}
