//! Normal images from files, folders and memory: what a bank is built from, and what it is calibrated and judged by.
//!
//! Of a list of normal images all count or none does: [`build`] and [`open_all`] fail with every image that is no good,
//! not only the first, so that one look at the error is enough to put the list right.

mod calibrate;
mod opened;

pub use calibrate::GoodParts;
pub use opened::{Opened, distinct, open_all};

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use inctrl::checkpoint::PromptList;
use inctrl::pictures::{Depth, EXTENSIONS, Found, PictureId, summary};
use inctrl::{BankBuilder, Error, ErrorKind, Frame, Image, PromptBank, Result, WhiteLevel};

/// A normal image, or several of them.
#[derive(Clone, Debug)]
pub enum Normal<'a> {
    /// A picture file, or a few-shot prompt list of PyTorch, which its extension `.pt` or `.pth` tells.
    File(PathBuf),
    /// A picture in memory, and what messages call it.
    Frame(String, Frame<'a>),
}

impl Normal<'_> {
    /// Whether it is a few-shot prompt list of PyTorch, which holds several images: by the file's extension.
    pub fn is_prompt_list(&self) -> bool {
        let Normal::File(path) = self else { return false };
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|e| e.eq_ignore_ascii_case("pt") || e.eq_ignore_ascii_case("pth"))
    }

    /// What messages call it.
    fn name(&self) -> &Path {
        match self {
            Normal::File(path) => path,
            Normal::Frame(name, _) => Path::new(name),
        }
    }
}

/// The files that paths name.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Files as they are named, and the pictures of folders in the order of their names.
    pub files: Vec<PathBuf>,
    /// What folders hold besides, in words.
    pub passed_over: Option<String>,
}

/// The files that `paths` name: a file itself, whether it is there or not, and a folder's pictures, not its
/// subfolders'.
///
/// # Errors
/// [`ErrorKind::Argument`] for a folder without a picture; [`ErrorKind::Io`] with everything that cannot be read.
pub fn list(paths: &[PathBuf]) -> Result<Listed> {
    let (mut files, mut passed_over, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        // A missing file is reported later, together with all other bad ones.
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Found::below(path, Depth::One, None);
        if found.pictures.is_empty() && found.failed.is_empty() {
            let message = format!("{}: K = 0, but at least one normal image is needed", no_pictures(&found));
            return Err(Error::new(ErrorKind::Argument, message).at(path));
        }
        files.append(&mut found.pictures);
        passed_over.append(&mut found.passed_over);
        failed.append(&mut found.failed);
    }
    let failed = failed.into_iter().map(|(path, why)| Error::new(ErrorKind::Io, why).at(path)).collect();
    all_or_none(failed, None)?;
    Ok(Listed { files, passed_over: summary(passed_over.iter().map(|(path, why)| (path.as_path(), *why))) })
}

/// What to say of a folder without pictures, of which this was found.
pub fn no_pictures(found: &Found) -> String {
    let rest = found.summary().map(|summary| format!("; {summary}")).unwrap_or_default();
    format!("the folder contains no picture file ({}){rest}", EXTENSIONS.join(", "))
}

/// An error with all that is no good, where there is any; `of` is how many there are, where that is known.
fn all_or_none(bad: Vec<Error>, of: Option<usize>) -> Result<()> {
    let Some(first) = bad.first() else { return Ok(()) };
    let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
    let list: String = bad.iter().map(|error| format!("\n  {}", error.chain())).collect();
    Err(Error::new(first.kind(), format!("{}{of} normal images cannot be used:{list}", bad.len())))
}

/// Encodes `normals` into the builder's bank. Returns the bank, and how many of the images are copies of others, or of
/// the prompts with the hashes `before`, which the bank had already. 16-bit pictures of files are white at `white`.
/// `next` is called before each image with its number, counted from 0; its error ends the work.
///
/// # Errors
/// As [`BankBuilder::add`], [`Image::open`] and `next`. The kind is that of the first image that cannot be used; the
/// message names all of them.
pub fn build(
    builder: BankBuilder<'_>,
    normals: &[Normal<'_>],
    white: Option<WhiteLevel>,
    before: &[String],
    next: impl FnMut(usize) -> Result<()>,
) -> Result<(PromptBank, usize)> {
    build_with(builder, normals, white, before, next, |_, _| {})
}

/// As [`build`]; `making` is told how much of how much is done, for methods that take long to make a bank of encoded
/// images.
///
/// # Errors
/// As [`build`].
pub fn build_with(
    mut builder: BankBuilder<'_>,
    normals: &[Normal<'_>],
    white: Option<WhiteLevel>,
    before: &[String],
    mut next: impl FnMut(usize) -> Result<()>,
    making: impl FnMut(usize, usize),
) -> Result<(PromptBank, usize)> {
    let mut bad: Vec<Error> = Vec::new();
    let mut copies = Copies { before, seen: HashSet::new(), found: 0 };
    for (i, normal) in normals.iter().enumerate() {
        next(i)?;
        // After a failure the remaining images are only checked.
        let counted = bad.is_empty().then_some(&mut copies);
        bad.extend(add(&mut builder, normal, white, counted).err().map(|error| error.at(normal.name())));
    }
    all_or_none(bad, Some(normals.len()))?;
    Ok((builder.finish_with(making)?, copies.found))
}

/// The images that a bank is made of, to tell copies.
struct Copies<'a> {
    /// Hashes of the prompts that the bank had before.
    before: &'a [String],
    seen: HashSet<PictureId>,
    found: usize,
}

impl Copies<'_> {
    fn count(&mut self, id: PictureId, is_prompt: bool) {
        self.found += usize::from(!self.seen.insert(id) || is_prompt);
    }
}

/// Encodes a normal image, or all those of a prompt list; only checks it where there are no `copies` to count.
fn add(
    builder: &mut BankBuilder<'_>,
    normal: &Normal<'_>,
    white: Option<WhiteLevel>,
    mut copies: Option<&mut Copies<'_>>,
) -> Result<()> {
    let mut add_frame = |frame: Frame<'_>| {
        let Some(copies) = &mut copies else { return frame.check_depth() };
        builder.add(frame)?;
        copies.count(PictureId::of(frame)?, PictureId::is_prompt(frame, copies.before)?);
        Ok(())
    };
    let file = match normal {
        Normal::Frame(_, frame) => return add_frame(*frame),
        Normal::File(file) if !normal.is_prompt_list() => return add_frame(Image::open_with(file, white)?.frame()),
        Normal::File(file) => file,
    };
    let list = PromptList::open(file)?;
    for i in 0..list.len() {
        let image = list.get(i)?;
        if let Some(copies) = &mut copies {
            builder.add_normalised(&image)?;
            // A tensor made from a picture has the picture's hash.
            let id = PictureId::from_bytes(image.content_hash());
            copies.count(id, copies.before.contains(&id.to_string()));
        }
    }
    Ok(())
}
