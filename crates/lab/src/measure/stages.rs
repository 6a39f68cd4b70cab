//! The steps of a score, timed one by one.

use std::time::{Duration, Instant};

use super::Distribution;
use inctrl::{Image, Result, Scorer, WhiteLevel};

/// Warm-up passes.
const WARM_UP: usize = 3;

/// How long each step took over many frames.
#[derive(Clone, Debug)]
pub struct StageDistributions {
    /// The steps by name, in their order: decode, upload, resize, encode, then those of the method. `None` for a step
    /// without work on this device.
    pub steps: Vec<(&'static str, Option<Distribution>)>,
    /// The cost of the bank relative to the encoder: the median over frames of the method's steps over encode.
    pub bank_over_encode: f64,
}

/// Scores the picture file `file`, given as its bytes and the white level of 16-bit values, `count` times step by step,
/// each `gap` after the previous one was done, and stops early after `limit`. `None` for no frames.
///
/// The file is decoded on the calling thread. Resizing includes everything else from a frame to patch rows. A pass
/// takes longer than a score, as it waits after each step.
///
/// # Errors
/// As [`Image::decode_with`] and [`Scorer::score`].
pub fn stage_distributions(
    scorer: &mut Scorer,
    (file, white): (&[u8], Option<WhiteLevel>),
    gap: Duration,
    count: usize,
    limit: Duration,
) -> Result<Option<StageDistributions>> {
    let mut names = vec!["decode", "upload", "resize", "encode"];
    for _ in 0..WARM_UP {
        let found = scorer.stage_times(Image::decode_with(file, white)?.frame())?;
        names.truncate(4);
        names.extend(found.compare.iter().map(|(name, _)| *name));
    }
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); names.len()];
    let mut shares = Vec::with_capacity(count);
    let began = Instant::now();
    while shares.len() < count && (shares.is_empty() || began.elapsed() < limit) {
        if !gap.is_zero() {
            std::thread::sleep(gap);
        }
        let start = Instant::now();
        let image = Image::decode_with(file, white)?;
        let decode = start.elapsed();
        let found = scorer.stage_times(image.frame())?;
        let steps = [Some(decode), found.upload, Some(found.preprocess), Some(found.encode)];
        let compare = found.compare.iter().map(|(_, time)| Some(*time));
        times.iter_mut().zip(steps.into_iter().chain(compare)).for_each(|(times, step)| times.extend(step));
        let bank: Duration = found.compare.iter().map(|(_, time)| *time).sum();
        shares.push(bank.as_secs_f64() / found.encode.as_secs_f64());
    }
    shares.sort_unstable_by(f64::total_cmp);
    let median = shares.get(shares.len().saturating_sub(1) / 2).copied();
    let steps = names.into_iter().zip(times.into_iter().map(Distribution::of)).collect();
    Ok(median.map(|bank_over_encode| StageDistributions { steps, bank_over_encode }))
}
