//! A folder for one test, with pictures and files in it.

use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};
use tempfile::TempDir;

/// A folder that goes when the test ends.
pub struct Folder(TempDir);

impl Folder {
    pub fn empty() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    /// A textured PNG that depends on all arguments.
    pub fn picture(&self, name: &str, width: u32, height: u32, seed: u32) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let pixel = |x: u32, y: u32| {
            let mixed = (x / 5 + 31 * (y / 4) + 977 * seed).wrapping_mul(2_654_435_761);
            image::Rgb([(mixed >> 24) as u8, (mixed >> 16) as u8, (3 * x + 2 * y) as u8])
        };
        RgbImage::from_fn(width, height, pixel).save_with_format(path, ImageFormat::Png).unwrap();
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The names in a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Two classes in MVTec's layout, images of several sizes: five normal ones for training, two for testing, and
    /// three anomalous ones each.
    pub fn training_set(&self) {
        for (c, class) in ["nut", "bolt"].into_iter().enumerate() {
            let seed = 100 * c as u32;
            for i in 0..5 {
                self.picture(&format!("set/{class}/train/good/{i}.png"), 40 + 8 * i, 56 - 3 * i, seed + i);
            }
            for i in 0..2 {
                self.picture(&format!("set/{class}/test/good/{i}.png"), 40, 50, seed + 10 + i);
            }
            for i in 0..3 {
                self.picture(&format!("set/{class}/test/bent/{i}.png"), 50, 40, seed + 20 + i);
            }
        }
    }
}
