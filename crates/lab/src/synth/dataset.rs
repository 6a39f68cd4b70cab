//! Data sets of synthetic images, in MVTec AD's layout.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use serde::Serialize;

use super::{Defect, Family, Fault, Severity, Split, sample};
use inctrl::internals::without_signals;
use inctrl::{Error, ErrorKind, Result};

/// The contents of a data set: `<family>_<product>/{train/good, test/good, test/<defect>}` with the masks in
/// `ground_truth/<defect>/<number>_mask.png`; `synth.json`, which describes how it was made; and `class_texts.json`,
/// with the names of the classes for text prompts.
///
/// The defects are small, medium and large in turn, from image 000 on. No specimen occurs twice.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The split of families and defects.
    pub split: Split,
    /// Families of the split; all of them if empty.
    pub families: Vec<Family>,
    /// Products of each family.
    pub products: usize,
    /// Images in `train/good` of each product.
    pub normals: usize,
    /// Images in `test/good` of each product.
    pub test_normals: usize,
    /// Images of each defect of each product.
    pub defective: usize,
    /// Width and height in pixels.
    pub side: usize,
    /// Another seed gives other products.
    pub seed: u64,
}

/// An image to draw.
struct Job {
    /// Paths in the data set, of the image and of its mask.
    paths: [Option<PathBuf>; 2],
    family: Family,
    fault: Option<Fault>,
    seed: u64,
    index: u64,
}

/// The contents of `synth.json`.
#[derive(Serialize)]
struct Description {
    generator: &'static str,
    version: &'static str,
    split: &'static str,
    seed: u64,
    side: usize,
    /// Kinds of defect that the training split never has.
    held_out_defects: Vec<&'static str>,
    /// Severity of the defect in images 000, 001, 002 and so on, in turn.
    severities: [&'static str; 3],
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    folder: String,
    family: &'static str,
    /// Its name in prompts.
    class: &'static str,
    product: usize,
    product_seed: u64,
    normals: usize,
    test_normals: usize,
    defective: usize,
    defects: Vec<&'static str>,
}

impl Recipe {
    /// How many images the data set has, masks not counted.
    pub fn images(&self) -> usize {
        let of = |family: Family| self.normals + self.test_normals + self.split.defects(family).len() * self.defective;
        self.families().into_iter().map(of).sum::<usize>() * self.products
    }

    /// Draws the data set into `folder` with `threads` threads; `drawn` is called after every image.
    ///
    /// The folder appears when every image is written. Until then there is a folder `.inctrl-*` beside it. It is
    /// removed on failure, and left behind if a signal ends the process.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a family of the other split, a count of 0 or a side outside [`super::SIDES`];
    /// [`ErrorKind::Io`] if `folder` exists and is not empty, or cannot be written.
    pub fn write(&self, folder: &Path, threads: NonZeroUsize, drawn: impl Fn() + Sync) -> Result<()> {
        self.check()?;
        vacant(folder)?;
        let parent = match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        create(parent)?;
        let draft = tempfile::Builder::new()
            .prefix(".inctrl-")
            .tempdir_in(parent)
            .map_err(|error| Error::io("create a folder in", parent, error))?;
        // A folder in the temporary one, so that it has the permissions of any new folder.
        let root = draft.path().join("set");
        create(&root)?;
        let (jobs, classes) = self.jobs();
        for job in &jobs {
            job.paths.iter().flatten().filter_map(|path| path.parent()).try_for_each(|at| create(&root.join(at)))?;
        }
        self.draw(&root, &jobs, threads, drawn)?;
        let description = Description {
            generator: "inctrl synth",
            version: env!("CARGO_PKG_VERSION"),
            split: self.split.name(),
            seed: self.seed,
            side: self.side,
            held_out_defects: Defect::ALL
                .iter()
                .filter(|defect| defect.split() == Split::HeldOut)
                .map(|defect| defect.name())
                .collect(),
            severities: Severity::ALL.map(Severity::name),
            classes,
        };
        let texts: BTreeMap<&str, &str> = description.classes.iter().map(|c| (c.folder.as_str(), c.class)).collect();
        write_json(&root.join("class_texts.json"), &texts)?;
        write_json(&root.join("synth.json"), &description)?;
        vacant(folder)?;
        fs::rename(&root, folder).map_err(|error| Error::io("give its name to the finished folder", folder, error))
    }

    fn families(&self) -> Vec<Family> {
        if self.families.is_empty() { self.split.families() } else { self.families.clone() }
    }

    fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::new(ErrorKind::Argument, message));
        if let Some(family) = self.families.iter().find(|family| family.split() != self.split) {
            let known: Vec<&str> = self.split.families().iter().map(|family| family.name()).collect();
            return fail(format!(
                "{} is not a family of the split {}: use {}",
                family.name(),
                self.split.name(),
                known.join(", ")
            ));
        }
        if let Some((i, family)) = self.families.iter().enumerate().find(|(i, f)| self.families[..*i].contains(f)) {
            return fail(format!("family {} is {} again: name each once", i + 1, family.name()));
        }
        let counts = [("products", self.products), ("normals", self.normals), ("test normals", self.test_normals)];
        if let Some((what, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return fail(format!("a data set with 0 {what} cannot be used: use 1 or more"));
        }
        if !super::SIDES.contains(&self.side) {
            let (least, most) = (super::SIDES.start(), super::SIDES.end());
            return fail(format!("the side of a synthetic image is {} pixels: use {least} to {most}", self.side));
        }
        Ok(())
    }

    fn jobs(&self) -> (Vec<Job>, Vec<Class>) {
        let (mut jobs, mut classes) = (Vec::new(), Vec::new());
        for family in self.families() {
            for product in 0..self.products {
                let folder = format!("{}_{product:02}", family.name());
                let seed = self.split.product_seed(self.seed, product as u64);
                let defects = self.split.defects(family);
                let mut index = 0;
                let mut add = |place: String, mask: Option<String>, fault| {
                    let paths = [Some(place), mask].map(|place| place.map(|place| Path::new(&folder).join(place)));
                    jobs.push(Job { paths, family, fault, seed, index });
                    index += 1;
                };
                (0..self.normals).for_each(|n| add(format!("train/good/{n:03}.png"), None, None));
                (0..self.test_normals).for_each(|n| add(format!("test/good/{n:03}.png"), None, None));
                for &defect in &defects {
                    for n in 0..self.defective {
                        let kind = defect.name();
                        let fault = Fault { defect, severity: Severity::ALL[n % Severity::ALL.len()] };
                        let mask = format!("ground_truth/{kind}/{n:03}_mask.png");
                        add(format!("test/{kind}/{n:03}.png"), Some(mask), Some(fault));
                    }
                }
                classes.push(Class {
                    family: family.name(),
                    class: family.class(),
                    product,
                    product_seed: seed,
                    normals: self.normals,
                    test_normals: self.test_normals,
                    defective: self.defective,
                    defects: defects.iter().map(|defect| defect.name()).collect(),
                    folder,
                });
            }
        }
        (jobs, classes)
    }

    /// Draws every job; each thread takes the next free one. If several fail, the error of the first job is returned.
    fn draw(&self, root: &Path, jobs: &[Job], threads: NonZeroUsize, drawn: impl Fn() + Sync) -> Result<()> {
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None::<(usize, Error)>));
        let work = || {
            while let Some((number, job)) = {
                let number = next.fetch_add(1, Ordering::Relaxed);
                jobs.get(number).map(|job| (number, job))
            } {
                if let Err(error) = self.draw_one(root, job) {
                    next.store(jobs.len(), Ordering::Relaxed);
                    let mut failed = failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    if failed.as_ref().is_none_or(|(first, _)| number < *first) {
                        *failed = Some((number, error));
                    }
                    return;
                }
                drawn();
            }
        };
        thread::scope(|scope| {
            without_signals(|| {
                for _ in 0..threads.get().min(jobs.len()) {
                    scope.spawn(work);
                }
            });
        });
        match failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn draw_one(&self, root: &Path, job: &Job) -> Result<()> {
        let sample = sample(job.family, job.fault, self.side, job.seed, job.index)?;
        let pictures = [(&sample.pixels, ExtendedColorType::Rgb8), (&sample.mask, ExtendedColorType::L8)];
        for (path, (bytes, kind)) in job.paths.iter().zip(pictures) {
            let Some(path) = path else { continue };
            write_picture(&root.join(path), bytes, self.side, kind)?;
        }
        Ok(())
    }
}

/// Writes a PNG fast. It need not be atomic, because the folder is.
fn write_picture(path: &Path, bytes: &[u8], side: usize, kind: ExtendedColorType) -> Result<()> {
    let side = u32::try_from(side).map_err(|_| Error::new(ErrorKind::Argument, "the side is too large"))?;
    let mut file = Vec::new();
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Sub)
        .write_image(bytes, side, side, kind)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot encode the picture").at(path).because(error))?;
    fs::write(path, file).map_err(|error| Error::io("write", path, error))
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::io("create the folder", folder, error))
}

/// Checks that `folder` does not exist or is empty.
fn vacant(folder: &Path) -> Result<()> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("read the folder", folder, error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => {
                let message = "already exists and is not empty: remove it or choose another folder";
                Err(Error::new(ErrorKind::Io, message).at(folder))
            }
        },
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot write JSON").because(error))?;
    fs::write(path, text + "\n").map_err(|error| Error::io("write", path, error))
}
