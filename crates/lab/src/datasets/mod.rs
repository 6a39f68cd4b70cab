//! Data sets as they lie on disk: every image with its label, its class and the mask of its defect.
//!
//! A [`Dataset`] is found, not loaded: [`Dataset::open`] reads folders and lists, [`Item::open`] decodes one image with its
//! mask. Nothing is passed over in silence: what cannot be used is a [`Problem`] that names the file.
//!
//! | layout | looks like | source |
//! |---|---|---|
//! | [`Layout::Mvtec`] | `<class>/train/good`, `test/<defect>`, `ground_truth/<defect>/<stem>_mask.png` | MVTec AD, MVTec LOCO AD, BTAD, MPDD and many others |
//! | [`Layout::MvtecAd2`] | the same with `test_public/{good,bad,ground_truth}` | MVTec AD 2 |
//! | [`Layout::Visa`] | `split_csv/1cls.csv`: object, split, label, image, mask | VisA |
//! | [`Layout::Folder`] | `normal` or `good`, `abnormal` or `bad`, `mask`, `normal_test`; also one such folder a class | anomalib's Folder, plain folders |
//! | [`Layout::Lists`] | `<class>_{train,val}_{normal,outlier}.json`, also without `train` or `val` | InCTRL |
//! | [`Layout::RealIad`] | `realiad_jsons/<class>.json` and `realiad_1024/<class>` | Real-IAD |
//! | [`Layout::Elpv`] | `labels.csv` and `images/`; defect probability 0 is normal, 1 anomalous | ELPV |
//! | [`Layout::BrainMri`] | `yes/` and `no/` | BrainMRI |
//! | [`Layout::HeadCt`] | `labels.csv` (id, hemorrhage) and `head_ct/` | HeadCT |
//! | [`Layout::Sdd`] | `kos01/Part0.jpg` and `Part0_label.bmp`; thirds | SDD (KolektorSDD) |
//! | [`Layout::Aitex`] | `NODefect_images`, `Defect_images`, `Mask_images`; squares | AITEX (AFID) |
//! | [`Layout::Mnist`], [`Layout::MnistMulti`] | `train-images-idx3-ubyte` and the files beside it, `.gz` or not | MNIST |
//! | [`Layout::Cifar10`], [`Layout::Cifar10Multi`] | `data_batch_1.bin`, or the pickle `data_batch_1`, and the files beside it | CIFAR-10 |
//!
//! Where a layout does not say which normal images are for training, a quarter of them, rounded up, is for testing, as in
//! the published code. Which ones follows from the seed and the names alone. The published code leaves it to scikit-learn's
//! `train_test_split`, whose order is NumPy's generator run over the operating system's order of the files: neither is
//! repeated here, so the counts are the published ones and the members are not. A mask's pixel belongs to the defect unless
//! it is 0.

mod aitex;
mod brain_mri;
mod check;
mod cifar10;
mod elpv;
mod folder;
mod head_ct;
mod item;
mod lists;
mod masks;
mod mnist;
mod mvtec;
mod mvtec_ad2;
mod part;
mod published;
mod real_iad;
mod sdd;
mod semantic;
mod split;
mod text_file;
mod visa;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

pub use check::{ClassCounts, Report, check};
use inctrl::{Error, ErrorKind, Result, WhiteLevel};
pub use item::{Item, Label, Sample, Split};
pub use part::{Part, Pictures};
pub use published::Published;
use semantic::Protocol;
pub use split::draw;
pub use text_file::read_text;

/// How a data set lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Layout {
    /// A folder for each class with `train/good`, `test/<defect>` and `ground_truth`.
    Mvtec,
    /// The same, of whose images to test a part is not published.
    #[serde(rename = "mvtec-ad2")]
    MvtecAd2,
    /// A table of the files: `split_csv/1cls.csv`.
    Visa,
    /// A folder of good and one of bad images.
    Folder,
    /// InCTRL's JSON lists.
    Lists,
    /// Real-IAD's JSON lists.
    RealIad,
    /// Solar cells, as they are downloaded.
    Elpv,
    /// Brain scans, as they are downloaded.
    BrainMri,
    /// Head scans, as they are downloaded.
    HeadCt,
    /// Thirds of electrical commutators, as they are downloaded.
    Sdd,
    /// Squares of fabrics, as they are downloaded.
    Aitex,
    /// Digits, as they are downloaded: each in turn against the others.
    Mnist,
    /// The same, where the even ones are normal.
    MnistMulti,
    /// Objects, as they are downloaded: each kind in turn against the others.
    #[serde(rename = "cifar10")]
    Cifar10,
    /// The same, where the animals are normal.
    #[serde(rename = "cifar10-multi")]
    Cifar10Multi,
}

impl Layout {
    /// All layouts, in the order in which they are looked for.
    pub const ALL: [Layout; 15] = [
        Layout::Visa,
        Layout::Elpv,
        Layout::HeadCt,
        Layout::BrainMri,
        Layout::Sdd,
        Layout::Aitex,
        Layout::Mnist,
        Layout::MnistMulti,
        Layout::Cifar10,
        Layout::Cifar10Multi,
        Layout::RealIad,
        Layout::Lists,
        Layout::MvtecAd2,
        Layout::Mvtec,
        Layout::Folder,
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Mvtec => "mvtec",
            Layout::MvtecAd2 => "mvtec-ad2",
            Layout::Visa => "visa",
            Layout::Folder => "folder",
            Layout::Lists => "lists",
            Layout::RealIad => "real-iad",
            Layout::Elpv => "elpv",
            Layout::BrainMri => "brain-mri",
            Layout::HeadCt => "head-ct",
            Layout::Sdd => "sdd",
            Layout::Aitex => "aitex",
            Layout::Mnist => "mnist",
            Layout::MnistMulti => "mnist-multi",
            Layout::Cifar10 => "cifar10",
            Layout::Cifar10Multi => "cifar10-multi",
        }
    }

    /// What a folder of this layout has in it, in a few words.
    pub fn signature(self) -> &'static str {
        match self {
            Layout::Mvtec => "<class>/train/good",
            Layout::MvtecAd2 => "<class>/train/good and <class>/test_public",
            Layout::Visa => "split_csv/1cls.csv",
            Layout::Folder => "folders of good (good, normal, ok) and bad (bad, abnormal, defect, ng) images",
            Layout::Lists => "<class>_val_normal.json",
            Layout::RealIad => "realiad_jsons/<class>.json",
            Layout::Elpv => "labels.csv with lines such as `images/cell0001.png 1.0 mono`",
            Layout::BrainMri => "folders yes and no",
            Layout::HeadCt => "labels.csv with columns id and hemorrhage",
            Layout::Sdd => "folders kos01, kos02, .. with Part0.jpg and Part0_label.bmp",
            Layout::Aitex => "folders NODefect_images, Defect_images and Mask_images",
            Layout::Mnist => "train-images-idx3-ubyte, also with .gz; one digit against the others",
            Layout::MnistMulti => "the files of mnist; the even digits against the odd ones",
            Layout::Cifar10 => "data_batch_1.bin, or the pickle data_batch_1; one kind against the others",
            Layout::Cifar10Multi => "the files of cifar10; the animals against the rest",
        }
    }

    fn fits(self, root: &Path) -> bool {
        match self {
            Layout::Mvtec => mvtec::fits(root),
            Layout::MvtecAd2 => mvtec_ad2::fits(root),
            Layout::Visa => visa::fits(root),
            Layout::Folder => folder::fits(root),
            Layout::Lists => lists::fits(root),
            Layout::RealIad => real_iad::fits(root),
            Layout::Elpv => elpv::fits(root),
            Layout::BrainMri => brain_mri::fits(root),
            Layout::HeadCt => head_ct::fits(root),
            Layout::Sdd => sdd::fits(root),
            Layout::Aitex => aitex::fits(root),
            Layout::Mnist | Layout::MnistMulti => mnist::fits(root),
            Layout::Cifar10 | Layout::Cifar10Multi => cifar10::fits(root),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Layout::ALL.into_iter().find(|layout| layout.name() == text).ok_or_else(|| {
            let names = Layout::ALL.map(Layout::name).join(", ");
            Error::new(ErrorKind::Argument, format!("{text:?} is not a layout: use auto, {names}"))
        })
    }
}

/// Something about a file that its user should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file or folder.
    pub path: PathBuf,
    /// Whether something that belongs to the data set is missing or unusable; otherwise it is a remark.
    pub fault: bool,
    /// What is the matter, and what becomes of the file.
    pub message: String,
}

impl Problem {
    pub(crate) fn fault(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Problem { path: path.into(), fault: true, message: message.into() }
    }

    pub(crate) fn remark(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Problem { path: path.into(), fault: false, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.message)
    }
}

/// A data set on disk: which images it has, what they are, and what is the matter with it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dataset {
    /// How it lies on disk.
    pub layout: Layout,
    /// Its folder.
    pub root: PathBuf,
    /// Its images, by class and name.
    pub items: Vec<Item>,
    /// What was found on the way, by path.
    pub problems: Vec<Problem>,
    /// Classes whose words in text prompts are not their name.
    texts: BTreeMap<String, String>,
}

impl Dataset {
    /// Looks through the data set in `root`. Where `layout` is absent it is told from what is there. `seed` decides which normal
    /// images are for testing where the layout does not.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if the folder has none of the layouts, or not the one asked for, or no usable image;
    /// [`ErrorKind::Io`] if it or its list cannot be read.
    pub fn open(root: impl AsRef<Path>, layout: Option<Layout>, seed: u64) -> Result<Self> {
        let root = root.as_ref();
        std::fs::read_dir(root).map_err(|error| Error::io("read the folder", root, error))?;
        let found = layout.or_else(|| Layout::ALL.into_iter().find(|layout| layout.fits(root)));
        let Some(layout) = found else {
            let known = Layout::ALL.map(|l| format!("\n  {l}: {}", l.signature())).concat();
            let tables = ["labels.csv", "split_csv/1cls.csv", "1cls.csv"].map(|name| root.join(name));
            let unread = tables.iter().filter(|path| path.is_file()).find_map(|path| read_text(path).err());
            let unread = unread.map(|error| format!("\n{}", error.chain())).unwrap_or_default();
            let message = format!("the folder has the layout of no data set; looked for{known}{unread}");
            return Err(Error::new(ErrorKind::Argument, message).at(root));
        };
        let mut parts = Parts::default();
        match layout {
            Layout::Mvtec => mvtec::read(root, &mut parts)?,
            Layout::MvtecAd2 => mvtec_ad2::read(root, &mut parts)?,
            Layout::Visa => visa::read(root, &mut parts)?,
            Layout::Folder => folder::read(root, seed, &mut parts)?,
            Layout::Lists => lists::read(root, seed, &mut parts)?,
            Layout::RealIad => real_iad::read(root, &mut parts)?,
            Layout::Elpv => elpv::read(root, seed, &mut parts)?,
            Layout::BrainMri => brain_mri::read(root, seed, &mut parts)?,
            Layout::HeadCt => head_ct::read(root, seed, &mut parts)?,
            Layout::Sdd => sdd::read(root, seed, &mut parts)?,
            Layout::Aitex => aitex::read(root, seed, &mut parts)?,
            Layout::Mnist => mnist::read(root, Protocol::OneVsAll, &mut parts)?,
            Layout::MnistMulti => mnist::read(root, mnist::TOGETHER, &mut parts)?,
            Layout::Cifar10 => cifar10::read(root, Protocol::OneVsAll, &mut parts)?,
            Layout::Cifar10Multi => cifar10::read(root, cifar10::TOGETHER, &mut parts)?,
        }
        let Parts { mut items, mut problems } = parts;
        if items.is_empty() {
            let message = format!("no image of layout {layout} is there, which has {}", layout.signature());
            let first = problems.iter().find(|problem| problem.fault).map(|problem| format!("; {problem}"));
            return Err(Error::new(ErrorKind::Argument, message + &first.unwrap_or_default()).at(root));
        }
        items.sort_by(|a, b| (&a.class, &a.name).cmp(&(&b.class, &b.name)));
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Dataset { layout, root: root.to_path_buf(), items, problems, texts: BTreeMap::new() })
    }

    /// The classes, in order.
    pub fn classes(&self) -> Vec<&str> {
        let mut classes: Vec<&str> = self.items.iter().map(|item| item.class.as_str()).collect();
        classes.dedup();
        classes
    }

    /// What text prompts call a class: its name, unless [`Dataset::describe`] said something else.
    pub fn text<'a>(&'a self, class: &'a str) -> &'a str {
        self.texts.get(class).map_or(class, String::as_str)
    }

    /// Says what text prompts call some of the classes: `pcb1` may be a "printed circuit board".
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a class that the data set does not have.
    pub fn describe(&mut self, texts: BTreeMap<String, String>) -> Result<()> {
        let all = self.classes();
        if let Some(unknown) = texts.keys().find(|class| !all.contains(&class.as_str())) {
            let message =
                format!("words for the class `{unknown}`, which the data set does not have; it has {}", all.join(", "));
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.texts = texts;
        Ok(())
    }

    /// Says at which value pictures of 16 bits are white; see [`Image::decode_with`](inctrl::Image::decode_with). Masks are not
    /// touched.
    pub fn set_white_level(&mut self, white: Option<WhiteLevel>) {
        self.items.iter_mut().for_each(|item| item.white_level = white);
    }

    /// The image of this class and name; [`Dataset::items`] are in that order.
    pub fn item(&self, class: &str, name: &str) -> Option<&Item> {
        let at = self.items.binary_search_by(|item| (&*item.class, &*item.name).cmp(&(class, name)));
        at.ok().map(|at| &self.items[at])
    }

    /// The images of a class that `split` holds.
    pub fn of<'a>(&'a self, class: &'a str, split: Split) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.class == class && item.split == split)
    }
}

/// What a layout has found so far.
#[derive(Default)]
struct Parts {
    items: Vec<Item>,
    problems: Vec<Problem>,
}

/// A file below the root as a list names it, whatever the separators.
fn listed(root: &Path, name: &str) -> PathBuf {
    let name = name.trim().replace('\\', "/");
    root.join(name)
}
