//! One image of a data set.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::masks::{Mask, join};
use super::part::Part;
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
    /// Which part of the file the image is, and of each of its masks, by its own sides.
    #[serde(skip)]
    pub part: Part,
    /// The file's path below the data set's folder, with `/` between folders, and the part of it: its name in lists and reports.
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
        Item { name, path, part: Part::Whole, class, kind, label, split, masks: Vec::new(), white_level: None }
    }

    /// The same for a part of the file.
    pub(super) fn in_part(mut self, part: Part) -> Self {
        self.name += &part.to_string();
        self.part = part;
        self
    }

    /// The file, and the part of it, for messages.
    pub(super) fn place(&self) -> PathBuf {
        let mut place = self.path.clone().into_os_string();
        place.push(self.part.to_string());
        place.into()
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
        match &self.part {
            Part::Record(pictures, index) => pictures.image(*index).map_err(|error| error.at(self.place())),
            part => part.of(Image::open_with(&self.path, self.white_level)?).map_err(|error| error.at(&self.path)),
        }
    }

    /// Reads what the image is made of, without decoding it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub(crate) fn stored(&self) -> Result<Stored<'_>> {
        let bytes = match &self.part {
            Part::Record(pictures, index) => Cow::Borrowed(pictures.bytes(*index)),
            _ => Cow::Owned(fs::read(&self.path).map_err(|error| Error::io("read", &self.path, error))?),
        };
        Ok(Stored { item: self, bytes })
    }

    /// Decodes the image alone, to judge others by or to be judged: as [`Item::image`], but no doubt about its range is allowed.
    ///
    /// # Errors
    /// As [`Item::image`], and [`ErrorKind::Argument`] as [`Frame::check_depth`](inctrl::Frame::check_depth).
    pub fn certain_image(&self) -> Result<Image> {
        let image = self.image()?;
        image.frame().check_depth().map_err(|error| error.at(self.place()))?;
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
            join(&self.open_mask(path)?, &mut joined, width, height);
        }
        Ok(Some(joined))
    }

    /// The image's part of one of its masks.
    pub(super) fn open_mask(&self, path: &Path) -> Result<Mask> {
        self.part.of_mask(&Mask::open(path)?).map_err(|error| error.at(path))
    }
}

/// An image that was read and not decoded.
pub(crate) struct Stored<'a> {
    item: &'a Item,
    bytes: Cow<'a, [u8]>,
}

impl Stored<'_> {
    /// A hash of all that decides over the pixels: the bytes, which part of them it is, and the white level.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.bytes);
        match &self.item.part {
            Part::Whole => {}
            // A record's bytes do not tell its sides; which record it is plays no part.
            Part::Record(pictures, _) => {
                for length in pictures.shape() {
                    hasher.update(&(length as u64).to_le_bytes());
                }
            }
            part => {
                hasher.update(part.to_string().as_bytes());
            }
        }
        // Pixels at another white level are others.
        if let Some(white) = self.item.white_level {
            hasher.update(&white.get().to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Decodes it; no doubt about its range is allowed.
    ///
    /// # Errors
    /// As [`Item::certain_image`].
    pub fn certain_image(&self) -> Result<Image> {
        let image = match &self.item.part {
            Part::Record(pictures, index) => pictures.image(*index),
            part => Image::decode_with(&self.bytes, self.item.white_level).and_then(|image| part.of(image)),
        };
        let checked = image.and_then(|image| {
            image.frame().check_depth()?;
            Ok(image)
        });
        checked.map_err(|error| error.at(self.item.place()))
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Split::Train { "train" } else { "test" })
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

#[cfg(test)]
mod tests {
    use super::super::part::{Pictures, Records};
    use super::*;

    #[test]
    fn what_is_stored_tells_parts_apart_and_decodes_to_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        image::GrayImage::from_fn(4, 6, |x, y| image::Luma([(x + 16 * y) as u8])).save(&path).unwrap();
        let item = |part| Item::new(folder.path(), path.clone(), "c", Label::Normal, Split::Train).in_part(part);
        // One picture twice, in other places; and the same bytes at other sides.
        let records = Records { start: 0, stride: 6, width: 3, height: 2, planes: 1 };
        let twice = Pictures::new([[7, 8, 9, 7, 8, 8]; 2].concat(), 2, records).unwrap();
        let turned = Pictures::new(vec![7, 8, 9, 7, 8, 8], 1, Records { width: 2, height: 3, ..records }).unwrap();
        let record = |pictures: &std::sync::Arc<Pictures>, index| item(Part::Record(pictures.clone(), index));
        let items = [
            item(Part::Whole),
            item(Part::Third(0)),
            item(Part::Third(1)),
            item(Part::Square(0)),
            record(&twice, 0),
            record(&turned, 0),
        ];
        let hashes: std::collections::HashSet<_> = items.iter().map(|item| item.stored().unwrap().hash()).collect();
        assert_eq!(hashes.len(), items.len());
        assert_eq!(record(&twice, 1).stored().unwrap().hash(), items[4].stored().unwrap().hash());
        for item in &items {
            let (image, stored) = (item.image().unwrap(), item.stored().unwrap().certain_image().unwrap());
            assert_eq!(image.frame().content_hash().unwrap(), stored.frame().content_hash().unwrap(), "{}", item.name);
        }
        assert_eq!(items[2].name, "a.png#third=1");
        assert_eq!(items[2].place(), folder.path().join("a.png#third=1"));
    }
}
