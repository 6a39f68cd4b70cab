//! One bank on one's own images in several precisions and on several devices: how far scores and maps lie apart, and
//! which verdicts change at the limits of the bank.

mod agreement;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use inctrl::pictures::PictureId;
use inctrl::{Engine, Image, Precision, PromptBank, Result, Score, WhiteLevel};

pub use agreement::{Agreement, Change};

/// An image that is scored.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its file.
    pub path: PathBuf,
    /// Whether it is known to be defective.
    pub defective: bool,
}

/// The score of an image.
pub struct Scored {
    /// The score.
    pub score: Score,
    /// Whether the image is a prompt of the bank: its map is then nothing but rounding errors.
    pub prompt: bool,
}

/// The scores of one engine.
pub struct Judged {
    /// What computed them.
    pub device: String,
    /// Its precision.
    pub precision: Precision,
    /// One for each image, or why there is none.
    pub scores: Vec<std::result::Result<Scored, String>>,
    /// Median time to score a decoded picture, in milliseconds; absent where none was scored.
    pub milliseconds: Option<f64>,
}

/// Scores images against a bank, whose limits are applied in whatever precision the engine has. 16-bit pictures are
/// white at `white`. `scored` is called after each image.
///
/// # Errors
/// As [`Engine::scorer`]. An image that cannot be scored is no error.
pub fn judge(
    engine: &Engine,
    bank: &PromptBank,
    images: &[Shown],
    white: Option<WhiteLevel>,
    mut scored: impl FnMut(),
) -> Result<Judged> {
    // Limits without a calibration hold in every precision.
    let hashes = bank.prompt_hashes().to_vec();
    let bank = bank.with_thresholds(bank.thresholds().copied())?;
    let mut scorer = engine.scorer(Arc::new(bank))?;
    let mut times = Vec::new();
    let mut score = |path: &Path| {
        let image = Image::open_with(path, white)?;
        let start = Instant::now();
        let score = scorer.score(image.frame())?.clone();
        times.push(start.elapsed().as_secs_f64() * 1e3);
        Ok(Scored { score, prompt: PictureId::is_prompt(image.frame(), &hashes)? })
    };
    let scores = images.iter().map(|image| {
        let score = score(&image.path).map_err(|error: inctrl::Error| error.chain());
        scored();
        score
    });
    let scores = scores.collect();
    times.sort_by(f64::total_cmp);
    let milliseconds = times.get(times.len() / 2).copied();
    Ok(Judged { device: engine.device(), precision: engine.precision(), scores, milliseconds })
}
