//! From files and folders of normal images to a bank.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use inctrl::pictures::{NEAR, Thumbnail, different};
use inctrl::{BankBuilder, BankSize, Error, ErrorKind, Fit, Image, PromptBank, WhiteLevel};
use inctrl_lab::normals::{self, Normal};

use super::console::{Progress, say};
use super::method::MethodArgs;

/// Bytes for building a bank from which on they are reported beforehand.
const LARGE: usize = 32 << 20;

/// The name of a class, for methods that read one.
pub const CLASS_HELP: &str = "The class in words, such as 'metal nut'; only a label for methods that do not read it \
    [default: object, for methods that read it; winclip-zero needs a name]";

/// How images that are not square are fitted to the model's input.
pub const FIT_HELP: &str = "How an image is fitted to the model: crop (the middle square, as published), letterbox \
    (the whole image, padded), stretch (the whole image, stretched to a square) or trim (keeps the shape) [default: \
    anomaly-dino: trim; subspace: stretch; patchcore, padim and spade with DINOv2: trim; else as in the model's training; \
    CLIP: crop]";

/// Parses a fit, for clap.
pub fn parse_fit(text: &str) -> Result<Fit, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

/// An error where no normal images are given and the method needs some.
pub fn given(paths: &[PathBuf], method: &MethodArgs) -> inctrl::Result<()> {
    if !paths.is_empty() || method.takes_none() {
        return Ok(());
    }
    let message = "no normal images are given: name them with --normals (only the method winclip-zero needs none)";
    Err(Error::new(ErrorKind::Argument, message))
}

/// The files of `paths`: a file itself, or a folder's pictures sorted by name, without subfolders. Reports what is
/// ignored. The error lists everything that cannot be read.
pub fn list(paths: &[PathBuf], progress: &Progress) -> inctrl::Result<Vec<Normal<'static>>> {
    let listed = normals::list(paths)?;
    if let Some(summary) = listed.passed_over {
        progress.aside(|| say(&format!("note: among the normal images: {summary}")));
    }
    Ok(listed.files.into_iter().map(Normal::File).collect())
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

/// Reports how large a bank of `normals` becomes if all are like the first picture, before any is encoded: where the
/// method has something to say about it, or building it takes much memory. Nothing is known of a prompt list or of a
/// file that is not a picture. Fails if the method makes no bank of so many images, or there is not enough memory.
fn say_size(
    builder: &BankBuilder<'_>,
    normals: &[Normal<'_>],
    white: Option<WhiteLevel>,
    progress: &Progress,
) -> inctrl::Result<()> {
    // Only the reader of a prompt list knows how many images it has.
    if normals.iter().any(Normal::is_prompt_list) {
        return Ok(());
    }
    builder.expect(normals.len())?;
    let Some(Normal::File(first)) = normals.first() else { return Ok(()) };
    let Ok(image) = Image::open_with(first, white) else { return Ok(()) };
    let BankSize { rows, bytes, building, note, tiles, encodings, .. } =
        match builder.size_with(normals.len(), image.width(), image.height()) {
            Err(error) if error.kind() == ErrorKind::Device => return Err(error),
            // Every other error is reported with those of all files.
            Err(_) => return Ok(()),
            Ok(size) => size,
        };
    if builder.tiling().is_some() {
        if let Some(reason) = builder.tiling_reason() {
            progress.aside(|| say(&format!("note: {reason}")));
        }
        let text = format!(
            "note: images like the first are looked at in {} x {} tiles; encoding {} of them runs the encoder {encodings} times, and scoring \
             one {} times",
            tiles.cols,
            tiles.rows,
            normals.len(),
            tiles.cells()
        );
        progress.aside(|| say(&text));
    }
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    let text = note.or_else(|| {
        (building >= LARGE).then(|| {
            format!(
                "{} images like the first make {rows} rows, a bank of {:.1} MB; building it takes up to {:.1} MB",
                normals.len(),
                megabytes(bytes),
                megabytes(building)
            )
        })
    });
    if let Some(text) = text {
        progress.aside(|| say(&format!("note: {text}")));
    }
    Ok(())
}

/// How much longer `all` images take when `done` took `elapsed`, in words, if that is long.
fn left(elapsed: Duration, done: usize, all: usize) -> String {
    let seconds = elapsed.as_secs_f64() / done.max(1) as f64 * (all - done) as f64;
    match (done, seconds) {
        (0, _) | (_, ..20.0) => String::new(),
        (_, ..120.0) => format!(", about {seconds:.0} seconds left"),
        _ => format!(", about {:.0} minutes left", seconds / 60.0),
    }
}

/// Encodes `normals` into the builder's bank, which already has the prompts `before`. The error lists every bad file.
pub fn finish(
    builder: BankBuilder<'_>,
    normals: &[Normal<'_>],
    white: Option<WhiteLevel>,
    before: &[String],
    progress: &Progress,
) -> anyhow::Result<PromptBank> {
    say_size(&builder, normals, white, progress)?;
    let (began, all) = (Instant::now(), normals.len());
    let next = |i: usize| {
        progress.step(format!("encoding normal image {} of {all}{}", i + 1, left(began.elapsed(), i, all)));
        Ok(())
    };
    let mut chosen = None;
    let making = |done, of| {
        let began = *chosen.get_or_insert_with(Instant::now);
        progress.step(format!("making the bank: {done} of {of}{}", left(began.elapsed(), done, of)));
    };
    let (bank, copies) = normals::build_with(builder, normals, white, before, next, making)?;
    if copies > 0 {
        say(&format!("note: {copies} of the {} normal images are copies of others", bank.info().prompts));
    }
    Ok(bank)
}
