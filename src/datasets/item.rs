//! One image of a data set.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::image::{Image, WhiteLevel};

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
    /// The mask of the defect.
    pub mask: Option<PathBuf>,
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
        let name = parts.join("/");
        let (class, kind) = (class.to_owned(), String::new());
        Item { name, path, class, kind, label, split, mask: None, white_level: None }
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
    /// As [`Item::image`], and [`ErrorKind::Argument`] as [`Frame::check_depth`](crate::Frame::check_depth).
    pub fn certain_image(&self) -> Result<Image> {
        let image = self.image()?;
        image.frame().check_depth().map_err(|error| error.at(&self.path))?;
        Ok(image)
    }

    /// Decodes the mask alone, stretched to `width` x `height` pixels: whether each belongs to the defect.
    ///
    /// # Errors
    /// As [`Item::open`].
    pub fn read_mask(&self, width: usize, height: usize) -> Result<Option<Vec<bool>>> {
        self.mask.as_deref().map(|path| Ok(sample_mask(&Image::open(path)?, width, height))).transpose()
    }
}

/// A mask stretched to these sides: the nearest pixel, which is not 0 on a defect.
fn sample_mask(mask: &Image, width: usize, height: usize) -> Vec<bool> {
    let frame = mask.frame();
    let channels = frame.format().channels();
    let mut out = Vec::with_capacity(width * height);
    for y in 0..height {
        let row = frame.row((2 * y + 1) * frame.height() / (2 * height));
        let at = |x: usize| (2 * x + 1) * frame.width() / (2 * width) * channels;
        out.extend((0..width).map(|x| row[at(x)..at(x) + channels].iter().any(|&value| value != 0)));
    }
    out
}

/// The values that a mask has beside 0, as far as they are grey.
pub(super) fn mask_values(mask: &Image) -> Vec<u8> {
    let mut seen = [false; 256];
    let frame = mask.frame();
    let channels = frame.format().channels();
    for y in 0..frame.height() {
        frame
            .row(y)
            .chunks_exact(channels)
            .for_each(|p| seen[usize::from(p.iter().copied().max().unwrap_or(0))] = true);
    }
    (1..=255).filter(|&value| seen[usize::from(value)]).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PixelFormat;

    #[test]
    fn a_mask_of_another_size_is_stretched() {
        let pixels = vec![0, 7, 0, 0];
        let mask = Image::from_pixels(pixels, 2, 2, PixelFormat::Grey8).unwrap();
        let expected = [false, false, true, true, false, false, true, true];
        assert_eq!(sample_mask(&mask, 4, 4)[..8], expected);
        assert!(sample_mask(&mask, 4, 4)[8..].iter().all(|inside| !inside));
        assert_eq!(sample_mask(&mask, 2, 1), [false, false]);
        assert_eq!(mask_values(&mask), [7]);
    }
}
