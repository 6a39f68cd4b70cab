//! A folder in which a test builds a data set, and what is asked of one.

use std::fs;
use std::path::Path;

use image::{GrayImage, Luma, RgbImage};
use inctrl_lab::datasets::{Dataset, Label, Report, Split};
use tempfile::TempDir;

/// A folder to build a data set in.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A picture whose pixels depend on its name; the format follows the extension.
    pub fn picture(&self, name: &str) {
        let seed = name.bytes().fold(7u32, |a, b| a.wrapping_mul(31).wrapping_add(u32::from(b)));
        let image = RgbImage::from_fn(12, 10, |x, y| image::Rgb([(seed >> 8) as u8, (x * y) as u8, seed as u8]));
        let format =
            if name.to_lowercase().ends_with("png") { image::ImageFormat::Png } else { image::ImageFormat::Jpeg };
        image.save_with_format(self.path(name), format).unwrap();
    }

    pub fn pictures(&self, names: &[&str]) {
        names.iter().for_each(|name| self.picture(name));
    }

    /// A mask of `width` pixels with `values` along its first row.
    pub fn mask(&self, name: &str, width: u32, values: &[u8]) {
        let value = |x: u32, y: u32| if y == 0 { values.get(x as usize).copied().unwrap_or(0) } else { 0 };
        let image = GrayImage::from_fn(width, 10, |x, y| Luma([value(x, y)]));
        image.save_with_format(self.path(name), image::ImageFormat::Png).unwrap();
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn open(&self) -> Dataset {
        Dataset::open(self.0.path(), None, 0).unwrap()
    }
}

pub fn names(dataset: &Dataset, split: Split, label: Label) -> Vec<&str> {
    dataset.items.iter().filter(|i| i.split == split && i.label == label).map(|i| i.name.as_str()).collect()
}

pub fn counts(dataset: &Dataset) -> Vec<(String, [usize; 4])> {
    dataset.counts().into_iter().map(|c| (c.class, [c.train, c.normal, c.anomalous, c.masks])).collect()
}

/// Fails unless the report says `message` of a file that ends in `name`, as a fault or a remark.
#[track_caller]
pub fn says(report: &Report, fault: bool, name: &str, message: &str) {
    let found = report.problems.iter().any(|problem| {
        problem.fault == fault
            && (name.is_empty() || problem.path.ends_with(Path::new(name)))
            && problem.message.contains(message)
    });
    assert!(found, "no {name}: {message} in {:#?}", report.problems);
}
