//! Whole scores, as requested by a camera or for a folder.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Distribution;
use inctrl::{Engine, Frame, PromptBank, Result, Scorer};

/// Warm-up scores: recordings are made, memory is touched, clock rates rise.
const WARM_UP: usize = 3;

/// Scores `count` frames one by one, each `gap` after the previous one was done, and stops early after `limit`.
///
/// A frame's time runs from the call with a frame in host memory to the score in host memory. During a gap the thread
/// sleeps, as it would while waiting for a camera, so the next frame finds the device at rest.
///
/// # Errors
/// As [`Scorer::score`].
pub fn latency(
    scorer: &mut Scorer,
    frame: Frame<'_>,
    gap: Duration,
    count: usize,
    limit: Duration,
) -> Result<Option<Distribution>> {
    for _ in 0..WARM_UP {
        scorer.score(frame)?;
    }
    let began = Instant::now();
    let mut durations = Vec::with_capacity(count);
    while durations.len() < count && (durations.is_empty() || began.elapsed() < limit) {
        if !gap.is_zero() {
            std::thread::sleep(gap);
        }
        let start = Instant::now();
        scorer.score(frame)?;
        durations.push(start.elapsed());
    }
    Ok(Distribution::of(durations))
}

/// Images per second in batches of `batch`, over at least two batches and at most about `limit`.
///
/// # Errors
/// As [`Scorer::score_batch`], and [`inctrl::ErrorKind::Device`] where a batch does not fit in memory.
pub fn throughput(
    engine: &Engine,
    bank: &Arc<PromptBank>,
    frame: Frame<'_>,
    batch: NonZeroUsize,
    limit: Duration,
) -> Result<f64> {
    let mut scorer = engine.batch_scorer(Arc::clone(bank), batch)?;
    let frames = vec![frame; batch.get()];
    scorer.score_batch(&frames)?;
    let began = Instant::now();
    let mut batches = 0;
    while batches < 2 || began.elapsed() < limit {
        scorer.score_batch(&frames)?;
        batches += 1;
    }
    Ok((batches * batch.get()) as f64 / began.elapsed().as_secs_f64())
}
