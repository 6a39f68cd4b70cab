//! One image of a data set.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::masks::Mask;
use inctrl::{Error, ErrorKind, Image, Result, WhiteLevel};

/// Whether an image is known to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Good.
    Normal,
    /// Defective, or of another kind.
    Anomalous,
}

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Prompts are drawn from the normal images of this part.
    Train,
    /// Images to be judged.
    Test,
}

/// An image of a data set, not yet decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The file.
    pub path: PathBuf,
    /// The file's path below the data set's folder, with `/` between folders: its name in lists and reports.
    pub name: String,
    /// The class, from which the text prompts are made.
    pub class: String,
    /// What kind of image, such as the defect; empty where the layout does not say.
    pub kind: String,
    /// Good or not.
    pub label: Label,
    /// To draw prompts from, or to judge.
    pub split: Split,
    /// The masks of the defect, which are joined; none where it is not known where the defect is.
    pub masks: Vec<PathBuf>,
    /// The value of white where the image is of 16 bits; see [`Image::decode_with`].
    #[serde(skip)]
    pub white_level: Option<WhiteLevel>,
}

/// A decoded image of a data set.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The image.
    pub image: Image,
    /// Whether each pixel of the image belongs to the defect, where there is a mask; a mask of another size is stretched.
    pub mask: Option<Vec<bool>>,
}

impl Item {
    /// An image in `root`, without a kind and a mask.
    pub(super) fn new(root: &Path, path: PathBuf, class: &str, label: Label, split: Split) -> Self {
        let below = path.strip_prefix(root).unwrap_or(&path);
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        // The root of an absolute path is a part of its own.
        let name = parts.join("/").replacen("//", "/", 1);
        let (class, kind) = (class.to_owned(), String::new());
        Item { name, path, class, kind, label, split, masks: Vec::new(), white_level: None }
    }

    /// Decodes the image and its mask.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] and [`ErrorKind::Image`] for either file.
    pub fn open(&self) -> Result<Sample> {
        let image = self.image()?;
        let mask = self.read_mask(image.width(), image.height())?;
        Ok(Sample { image, mask })
    }

    /// Decodes the image alone.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] and [`ErrorKind::Image`].
    pub fn image(&self) -> Result<Image> {
        Image::open_with(&self.path, self.white_level)
    }

    /// Decodes the image alone, to judge others by or to be judged: as [`Item::image`], but no doubt about its range is allowed.
    ///
    /// # Errors
    /// As [`Item::image`], and [`ErrorKind::Argument`] as [`Frame::check_depth`](inctrl::Frame::check_depth).
    pub fn certain_image(&self) -> Result<Image> {
        let image = self.image()?;
        image.frame().check_depth().map_err(|error| error.at(&self.path))?;
        Ok(image)
    }

    /// Decodes the masks alone, stretched to `width` x `height` pixels and joined: whether each pixel belongs to the defect.
    ///
    /// # Errors
    /// As [`Item::open`].
    pub fn read_mask(&self, width: usize, height: usize) -> Result<Option<Vec<bool>>> {
        if self.masks.is_empty() {
            return Ok(None);
        }
        let mut joined = vec![false; width * height];
        for path in &self.masks {
            Mask::open(path)?.join(&mut joined, width, height);
        }
        Ok(Some(joined))
    }
}

impl std::str::FromStr for Label {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "normal" | "good" | "ok" | "0" => Ok(Label::Normal),
            "anomaly" | "anomalous" | "abnormal" | "bad" | "1" => Ok(Label::Anomalous),
            _ => {
                let message = format!("{text:?} is not a label: expected normal or anomaly");
                Err(Error::new(ErrorKind::Argument, message))
            }
        }
    }
}
