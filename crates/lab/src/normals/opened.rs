//! Normal images that a finished bank is held against.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use inctrl::pictures::{PictureId, Thumbnail};
use inctrl::{Frame, Image, PromptBank, Result, WhiteLevel};

use super::{Normal, all_or_none};

/// A readable image, and what it is to the bank.
pub struct Opened<'a> {
    /// Its file, or what messages call it.
    pub path: PathBuf,
    picture: Picture<'a>,
    /// What it shows, to the pixel.
    pub id: PictureId,
    /// What it shows, roughly.
    pub thumbnail: Thumbnail,
    /// Whether it is a prompt of the bank.
    pub prompt: bool,
}

enum Picture<'a> {
    Decoded(Image),
    Borrowed(Frame<'a>),
}

impl Opened<'_> {
    /// Its pixels.
    pub fn frame(&self) -> Frame<'_> {
        match &self.picture {
            Picture::Decoded(image) => image.frame(),
            Picture::Borrowed(frame) => *frame,
        }
    }
}

/// Opens all images; 16-bit pictures of files are white at `white`.
///
/// # Errors
/// As [`Image::open`] and [`PromptBank::check_depth`]: the kind is that of the first image that is no good, the message names all.
pub fn open_all<'a>(normals: &[Normal<'a>], white: Option<WhiteLevel>, bank: &PromptBank) -> Result<Vec<Opened<'a>>> {
    let (mut opened, mut bad) = (Vec::new(), Vec::new());
    for normal in normals {
        match open(normal, white, bank) {
            Ok(image) => opened.push(image),
            Err(error) => bad.push(error.at(normal.name())),
        }
    }
    all_or_none(bad, None)?;
    Ok(opened)
}

fn open<'a>(normal: &Normal<'a>, white: Option<WhiteLevel>, bank: &PromptBank) -> Result<Opened<'a>> {
    let picture = match normal {
        Normal::File(path) => Picture::Decoded(Image::open_with(path, white)?),
        Normal::Frame(_, frame) => Picture::Borrowed(*frame),
    };
    let frame = match &picture {
        Picture::Decoded(image) => image.frame(),
        Picture::Borrowed(frame) => *frame,
    };
    bank.check_depth(&frame)?;
    let prompt = PictureId::is_prompt(frame, bank.prompt_hashes())?;
    let (id, thumbnail) = (PictureId::of(frame)?, Thumbnail::of(frame)?);
    Ok(Opened { path: Path::new(normal.name()).to_owned(), picture, id, thumbnail, prompt })
}

/// The first of each picture among `images`, and how many others are copies of them.
pub fn distinct(images: Vec<Opened<'_>>) -> (Vec<Opened<'_>>, usize) {
    let (all, mut seen) = (images.len(), HashSet::new());
    let kept: Vec<Opened<'_>> = images.into_iter().filter(|image| seen.insert(image.id)).collect();
    let copies = all - kept.len();
    (kept, copies)
}
