//! Looking at every file of a data set.

use std::collections::HashMap;

use serde::Serialize;

use super::item::mask_values;
use super::{Dataset, Label, Problem, Split};
use crate::image::Image;

/// How many images of each kind a class has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    /// The class.
    pub class: String,
    /// Normal images that prompts are drawn from.
    pub train: usize,
    /// Normal images to be judged.
    pub normal: usize,
    /// Anomalous images to be judged.
    pub anomalous: usize,
    /// Those of them with a mask.
    pub masks: usize,
}

/// What a data set holds, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By class.
    pub classes: Vec<ClassCounts>,
    /// By path; faults and remarks.
    pub problems: Vec<Problem>,
}

impl Dataset {
    /// How many images of each kind there are, class by class.
    pub fn counts(&self) -> Vec<ClassCounts> {
        let count = |class: &str| {
            let normal = |split| self.of(class, split).filter(|item| item.label == Label::Normal).count();
            let anomalous = || self.of(class, Split::Test).filter(|item| item.label == Label::Anomalous);
            ClassCounts {
                class: class.to_owned(),
                train: normal(Split::Train),
                normal: normal(Split::Test),
                anomalous: anomalous().count(),
                masks: anomalous().filter(|item| item.mask.is_some()).count(),
            }
        };
        self.classes().into_iter().map(count).collect()
    }
}

/// Decodes every image and mask and says what is the matter. `each` is called after each image.
pub fn check(dataset: &Dataset, mut each: impl FnMut()) -> Report {
    let mut problems = dataset.problems.clone();
    let mut contents: HashMap<[u8; 32], &str> = HashMap::new();
    for item in &dataset.items {
        match item.certain_image() {
            Err(error) => problems.push(Problem::fault(&item.path, without_path(&error))),
            Ok(image) => {
                if let Some(first) = contents.insert(image.frame().content_hash(), &item.name) {
                    problems.push(Problem::remark(&item.path, format!("the same pixels as {first}")));
                }
                if let Some(mask) = &item.mask {
                    check_mask(mask, &image, &mut problems);
                }
            }
        }
        each();
    }
    let classes = dataset.counts();
    for counts in &classes {
        let class = &counts.class;
        for (missing, what) in [
            (counts.train == 0, "no normal image to draw prompts from"),
            (counts.normal == 0, "no normal image to judge: its metrics are undefined"),
            (counts.anomalous == 0, "no anomalous image to judge: its metrics are undefined"),
        ] {
            if missing {
                problems.push(Problem::fault(&dataset.root, format!("class `{class}` has {what}")));
            }
        }
    }
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    Report { classes, problems }
}

fn check_mask(path: &std::path::Path, image: &Image, problems: &mut Vec<Problem>) {
    let mask = match Image::open(path) {
        Ok(mask) => mask,
        Err(error) => return problems.push(Problem::fault(path, without_path(&error))),
    };
    if (mask.width(), mask.height()) != (image.width(), image.height()) {
        let message = format!(
            "the mask is {} x {} pixels, its image {} x {}: it is stretched",
            mask.width(),
            mask.height(),
            image.width(),
            image.height()
        );
        problems.push(Problem::remark(path, message));
    }
    match mask_values(&mask)[..] {
        [] => problems.push(Problem::fault(path, "the mask of an anomalous image is all 0")),
        [255] => {}
        [value] => problems.push(Problem::remark(path, format!("the mask has the value {value} in place of 255"))),
        [least, .., largest] => {
            let message = format!("the mask has several values from {least} to {largest}: all but 0 are the defect");
            problems.push(Problem::remark(path, message));
        }
    }
}

/// The error's whole text without the path, which a problem has anyway.
fn without_path(error: &crate::Error) -> String {
    let text = error.chain();
    let path = error.path().map(|path| format!("{}: ", path.display())).unwrap_or_default();
    text.strip_prefix(&path).unwrap_or(&text).to_owned()
}
