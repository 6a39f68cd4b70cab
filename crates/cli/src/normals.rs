//! From files and folders of normal images to a bank.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use inctrl::checkpoint::PromptList;
use inctrl::pictures::{Depth, EXTENSIONS, Found, NEAR, PictureId, Thumbnail, different, summary};
use inctrl::{BankBuilder, BankSize, Error, ErrorKind, Fit, Image, PromptBank, WhiteLevel};

use super::console::{Progress, say};

/// The name of a class, for methods that read one.
pub const CLASS_HELP: &str = "The class in words, such as 'metal nut'; only a label for methods that do not read it \
    [default: object, for methods that read it]";

/// How images that are not square are fitted to the model's input.
pub const FIT_HELP: &str = "How an image is fitted to the model: crop (the middle square, as published), letterbox \
    (the whole image, padded), stretch (the whole image, stretched to a square) or trim (keeps the shape) [default: \
    anomaly-dino: trim; inctrl: as in the model's training; CLIP: crop]";

/// The message for a folder without pictures.
pub fn no_pictures(found: &Found) -> String {
    let rest = found.summary().map(|summary| format!("; {summary}")).unwrap_or_default();
    format!("the folder contains no picture file ({}){rest}", EXTENSIONS.join(", "))
}

/// Parses a fit, for clap.
pub fn parse_fit(text: &str) -> Result<Fit, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

/// The files of `paths`: a file itself, or a folder's pictures sorted by name, without subfolders. Reports what is
/// ignored. The error lists everything that cannot be read.
pub fn list(paths: &[PathBuf], progress: &Progress) -> anyhow::Result<Vec<PathBuf>> {
    let (mut files, mut passed_over, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        // A missing file is reported later, together with all other bad ones.
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Found::below(path, Depth::One, None);
        if found.pictures.is_empty() && found.failed.is_empty() {
            bail!("{}: {}: K = 0, but at least one normal image is needed", path.display(), no_pictures(&found));
        }
        files.append(&mut found.pictures);
        passed_over.append(&mut found.passed_over);
        failed.append(&mut found.failed);
    }
    if !failed.is_empty() {
        let list: String = failed.iter().map(|(path, why)| format!("\n  {}: {why}", path.display())).collect();
        bail!("{} normal images cannot be used:{list}", failed.len());
    }
    if let Some(summary) = summary(passed_over.iter().map(|(path, why)| (path.as_path(), *why))) {
        progress.aside(|| say(&format!("note: among the normal images: {summary}")));
    }
    Ok(files)
}

/// Reports the share of pictures that are near-copies of others, if there are any, and the consequence.
pub fn say_near_copies<'a>(pictures: impl Iterator<Item = &'a Thumbnail>, so: &str) {
    let pictures: Vec<Thumbnail> = pictures.cloned().collect();
    let (all, different) = (pictures.len(), different(&pictures));
    if different < all {
        let near = all - different;
        let share = 100.0 * near as f64 / all as f64;
        say(&format!(
            "note: {near} of {all} pictures ({share:.0} %) are near-copies of others: reduced to 32 x 32 cells they \
            differ by less than {NEAR} of 255 levels on average; if they are frames of a part at rest, there are \
            {different} parts, and {so}"
        ));
    }
}

/// The images of a bank, to find copies.
struct Copies<'a> {
    /// Hashes of the prompts that the bank already had.
    before: &'a [String],
    seen: HashSet<PictureId>,
    found: usize,
}

impl Copies<'_> {
    fn count(&mut self, id: PictureId, is_prompt: bool) {
        self.found += usize::from(!self.seen.insert(id) || is_prompt);
    }
}

/// Encodes the image of a file, or all images of a prompt list. Only checks the file if there are no `copies` to count.
fn add(
    builder: &mut BankBuilder<'_>,
    file: &Path,
    white: Option<WhiteLevel>,
    mut copies: Option<&mut Copies<'_>>,
) -> inctrl::Result<()> {
    if !is_prompt_list(file) {
        let image = Image::open_with(file, white)?;
        let frame = image.frame();
        let Some(copies) = copies else { return frame.check_depth() };
        builder.add(frame)?;
        copies.count(PictureId::of(frame), PictureId::is_prompt(frame, copies.before));
        return Ok(());
    }
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

/// Whether a file is a few-shot prompt list of PyTorch: by its extension.
fn is_prompt_list(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|e| e.eq_ignore_ascii_case("pt") || e.eq_ignore_ascii_case("pth"))
}

/// Says how large a bank of `files` becomes where all are like the first picture, before any is encoded; nothing where that cannot
/// be said, as of a prompt list or of a file that is no picture. Fails where there is no memory for it.
pub fn say_size(
    builder: &BankBuilder<'_>,
    files: &[PathBuf],
    white: Option<WhiteLevel>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let Some(first) = files.first().filter(|file| !is_prompt_list(file)) else { return Ok(()) };
    let Ok(image) = Image::open_with(first, white) else { return Ok(()) };
    let BankSize { rows, bytes, building, .. } = match builder.size_with(files.len(), image.width(), image.height()) {
        Err(error) if error.kind() == ErrorKind::Device => return Err(error.into()),
        // Whatever else is wrong with it is said with all others.
        Err(_) => return Ok(()),
        Ok(size) => size,
    };
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    let text = format!(
        "note: {} normal images like the first make {rows} rows, a bank of {:.1} MB; building it takes up to {:.1} MB",
        files.len(),
        megabytes(bytes),
        megabytes(building)
    );
    progress.aside(|| say(&text));
    Ok(())
}

/// Encodes `files` into the builder's bank, which already has the prompts `before`. The error lists every bad file.
pub fn finish(
    mut builder: BankBuilder<'_>,
    files: &[PathBuf],
    white: Option<WhiteLevel>,
    before: &[String],
    progress: &Progress,
) -> anyhow::Result<PromptBank> {
    let mut bad: Vec<String> = Vec::new();
    let mut copies = Copies { before, seen: HashSet::new(), found: 0 };
    for (i, file) in files.iter().enumerate() {
        progress.step(format!("encoding normal image {} of {}", i + 1, files.len()));
        // After a failure the remaining files are only checked.
        let counted = bad.is_empty().then_some(&mut copies);
        let added = add(&mut builder, file, white, counted).map_err(|error| error.at(file));
        bad.extend(added.err().map(|error| error.chain()));
    }
    if !bad.is_empty() {
        let list: String = bad.iter().map(|line| format!("\n  {line}")).collect();
        bail!("{} of {} normal images cannot be used:{list}", bad.len(), files.len());
    }
    let bank = builder.finish().context("cannot build the bank")?;
    if copies.found > 0 {
        say(&format!("note: {} of the {} normal images are copies of others", copies.found, bank.info().prompts));
    }
    Ok(bank)
}
