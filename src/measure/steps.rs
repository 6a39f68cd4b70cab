//! The steps of a score, each waited for.

use std::time::{Duration, Instant};

use super::Distribution;
use crate::detector::Scorer;
use crate::error::Result;
use crate::preprocess::Image;

/// Passes before anything is counted.
const WARM_UP: usize = 3;

/// Names of the steps, in their order.
pub const STEPS: [&str; 6] = ["decode", "upload", "resize", "encode", "nearest neighbour", "heads"];

/// How long each step took over many frames.
#[derive(Clone, Debug)]
pub struct StepTimes {
    /// For each of [`STEPS`]; none where the device has nothing to do for it.
    pub steps: [Option<Distribution>; 6],
    /// What the bank adds to the encoder: the median over frames of (nearest neighbour + heads) / encode.
    pub bank_over_encode: f64,
}

/// Scores the picture file `file`, given as its bytes, `count` times step by step, each `gap` after the one before was done,
/// and stops early after `limit`. `None` for no frames.
///
/// A file is decoded on the calling thread; resizing includes all else that makes patch rows of a frame. A pass takes longer
/// than a score does, as each step is waited for.
///
/// # Errors
/// As [`Image::decode`] and [`Scorer::score`].
pub fn step_times(
    scorer: &mut Scorer,
    file: &[u8],
    gap: Duration,
    count: usize,
    limit: Duration,
) -> Result<Option<StepTimes>> {
    for _ in 0..WARM_UP {
        scorer.stage_times(Image::decode(file)?.frame())?;
    }
    let mut times: [Vec<Duration>; 6] = Default::default();
    let mut shares = Vec::with_capacity(count);
    let began = Instant::now();
    while shares.len() < count && (shares.is_empty() || began.elapsed() < limit) {
        if !gap.is_zero() {
            std::thread::sleep(gap);
        }
        let start = Instant::now();
        let image = Image::decode(file)?;
        let decode = start.elapsed();
        let found = scorer.stage_times(image.frame())?;
        let steps = [
            Some(decode),
            found.upload,
            Some(found.preprocess),
            Some(found.encode),
            Some(found.residual_map),
            Some(found.heads),
        ];
        times.iter_mut().zip(steps).for_each(|(times, step)| times.extend(step));
        shares.push((found.residual_map + found.heads).as_secs_f64() / found.encode.as_secs_f64());
    }
    shares.sort_unstable_by(f64::total_cmp);
    let median = shares.get(shares.len().saturating_sub(1) / 2).copied();
    Ok(median.map(|bank_over_encode| StepTimes { steps: times.map(Distribution::of), bank_over_encode }))
}
