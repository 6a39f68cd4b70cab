//! Thresholds from good parts alone: split conformal prediction.
//!
//! Given the scores of n good parts that are exchangeable with future ones, the next good part exceeds the k-th largest
//! score with probability at most k / (n + 1). A part is rejected if it scores *more* than the k-th largest with k =
//! floor(a (n + 1)), so the chance of a false reject is at most a, whatever the distribution of the scores. For k >= 1
//! this needs n >= 1 / a - 1 good parts. With fewer, no threshold keeps the promise, and none is given.
//!
//! The same count gives each score a p-value, (1 + #{calibration scores >= s}) / (n + 1): how often a good part scores
//! at least as high.
//!
//! **Held-out** scores come from good parts that are not prompts. Without such parts, **leave-one-out** scores are
//! used: each prompt is scored against the bank of the others. A prompt then sees one prompt fewer than a future part
//! does, so its score tends to be larger and the threshold a little high. With few prompts the scores depend on each
//! other, and the bound is only approximate.
//!
//! A repeated picture adds no information: n counts *distinct* pictures, by their decoded pixels. Near-copies, such as
//! successive frames of a part at rest, count separately, since pixels cannot distinguish them from similar parts.
//! [`different`](crate::pictures::different) counts how many there are.

mod good_images;
mod outliers;
mod thresholds;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::backend::Precision;
use crate::error::{Error, ErrorKind, Result};
use crate::methods::Output;
use crate::pictures::PictureId;

pub use good_images::GoodImages;
pub use outliers::{outliers, spread};
pub use thresholds::Thresholds;

/// How much more often than a reject a good part may be sent to review.
const REVIEW_FACTOR: f64 = 5.0;
/// A review limit that flags more than this share of good parts is useless.
const MOST_REVIEWED: f64 = 0.5;

/// Which good parts were scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Good parts that are not prompts.
    HeldOut,
    /// The prompts, each against all others.
    LeaveOneOut,
}

/// The score of one good part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoodPart {
    /// Its picture. A repeated picture counts once.
    pub picture: PictureId,
    /// [`Score::score`](crate::Score::score).
    pub score: f32,
    /// The largest residual of its map.
    pub patch_max: f32,
}

/// The scores of good parts, and the false-reject rate that thresholds made from them must keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    source: Source,
    max_false_reject: f64,
    /// Ascending.
    scores: Vec<f32>,
    /// The largest cell of each map, ascending.
    patch_max: Vec<f32>,
    /// The precision that the scores were computed in, where it is one that older releases do not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
}

impl Calibration {
    /// Takes the scores of good parts, in any order. `max_false_reject` is the share of good parts that may be
    /// rejected, between 0 and 1. Of parts with the same picture only the one with the largest values counts.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the share is out of range, a score is not finite, or there are too few distinct
    /// pictures for the share. The error says how many are needed.
    pub fn new(source: Source, max_false_reject: f64, parts: &[GoodPart]) -> Result<Self> {
        let mut distinct: HashMap<PictureId, GoodPart> = HashMap::new();
        for part in parts {
            let kept = distinct.entry(part.picture).or_insert(*part);
            // `f32::max` would drop a NaN, which must be refused.
            for (kept, new) in [(&mut kept.score, part.score), (&mut kept.patch_max, part.patch_max)] {
                *kept = if new > *kept || new.is_nan() { new } else { *kept };
            }
        }
        let max_false_reject = rate(max_false_reject)?;
        enough(distinct.len(), parts.len(), max_false_reject)?;
        let scores = distinct.values().map(|part| part.score).collect();
        let patch_max = distinct.values().map(|part| part.patch_max).collect();
        Self::ordered(source, max_false_reject, scores, patch_max)
    }

    fn ordered(source: Source, max_false_reject: f64, mut scores: Vec<f32>, mut patch_max: Vec<f32>) -> Result<Self> {
        if scores.len() != patch_max.len() || scores.iter().chain(&patch_max).any(|score| !score.is_finite()) {
            return fail("the calibration scores are not finite numbers, one pair for each image");
        }
        scores.sort_by(f32::total_cmp);
        patch_max.sort_by(f32::total_cmp);
        Ok(Calibration { source, max_false_reject, scores, patch_max, precision: None })
    }

    /// Checks that this is a value that [`Calibration::new`] makes.
    pub(crate) fn check(&self) -> Result<()> {
        let rate = rate(self.max_false_reject)?;
        enough(self.scores.len(), self.scores.len(), rate)?;
        let made = Self::ordered(self.source, rate, self.scores.clone(), self.patch_max.clone())?;
        if (Calibration { precision: self.precision, ..made }) == *self {
            return Ok(());
        }
        fail("the calibration scores are not in order")
    }

    /// The same of scores that were computed in `precision`: [`crate::Engine::precision`] of the engine that scored
    /// them.
    pub fn computed_in(self, precision: Precision) -> Self {
        Calibration { precision: distinct(precision), ..self }
    }

    /// Whether its limits hold for scores in `precision`. bf16 and int8 stand alone; f32 and f16, which earlier
    /// releases did not tell apart, stand for each other.
    pub fn holds_in(&self, precision: Precision) -> bool {
        distinct(precision) == self.precision
    }

    /// The precision that its scores were computed in; `None` for f32 or f16.
    pub fn precision(&self) -> Option<Precision> {
        self.precision
    }

    /// Which good parts were scored.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The share of good parts that may be rejected.
    pub fn max_false_reject(&self) -> f64 {
        self.max_false_reject
    }

    /// The scores, ascending.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The limits that keep the promise.
    ///
    /// `reject` is the smallest number above the k-th largest score, since a score equal to a limit is past it.
    /// `review` is the same for a rate five times as large, but at most one half: at most that share of good parts is
    /// sent to manual review or rejected. `cell` is computed from the largest cells of the maps as `reject` is from the
    /// scores: at most the promised share of good parts has a cell past it.
    pub fn thresholds(&self) -> Thresholds {
        let review = (REVIEW_FACTOR * self.max_false_reject).min(MOST_REVIEWED).max(self.max_false_reject);
        Thresholds {
            review: limit(&self.scores, review),
            reject: limit(&self.scores, self.max_false_reject),
            cell: limit(&self.patch_max, self.max_false_reject),
        }
    }

    /// The p-value of `score`: how often a good part scores this high or higher. Small values are suspicious. Never
    /// below 1 / (n + 1).
    pub fn p_value(&self, score: f32) -> f64 {
        let below = self.scores.partition_point(|calibrated| *calibrated < score);
        (1 + self.scores.len() - below) as f64 / (self.scores.len() + 1) as f64
    }
}

/// Maps a score to a scale from 0 to 1 on which `reject` is 0.5, linear on both sides. Displays can show scores of
/// different banks and methods on this scale. Scores outside `range` do not occur and are clamped.
pub fn scaled(score: f32, reject: f32, range: &Output) -> f32 {
    let Output { low, high, .. } = *range;
    let (score, reject) = (score.max(low).min(high), reject.max(low).min(high));
    if score < reject {
        0.5 * (score - low) / (reject - low)
    } else if high == f32::INFINITY && score > low {
        1.0 - 0.5 * (reject - low) / (score - low)
    } else if reject < high {
        0.5 + 0.5 * (score - reject) / (high - reject)
    } else {
        0.5
    }
}

/// The precision, where limits hold in it alone.
fn distinct(precision: Precision) -> Option<Precision> {
    matches!(precision, Precision::Bf16 | Precision::Int8).then_some(precision)
}

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Argument, message))
}

/// The rate rounded to six decimals, which a file stores exactly.
fn rate(max_false_reject: f64) -> Result<f64> {
    let rate = (max_false_reject * 1e6).round() / 1e6;
    if rate > 0.0 && rate < 1.0 {
        return Ok(rate);
    }
    fail(format!("the false-reject rate is {rate}, rounded to six decimals: it must lie between 0 and 1, such as 0.01"))
}

/// Checks that `distinct` pictures, out of `all`, are enough for a false-reject rate.
///
/// # Errors
/// [`ErrorKind::Argument`] if they are not, with the number that is needed, or for a rate out of range.
pub fn enough(distinct: usize, all: usize, max_false_reject: f64) -> Result<()> {
    let needed = needed(rate(max_false_reject)?);
    if distinct >= needed {
        return Ok(());
    }
    let copies = if distinct == all { String::new() } else { format!(", as there are copies among the {all} images") };
    let pictures = if distinct == 1 { "picture" } else { "pictures" };
    fail(format!(
        "{distinct} distinct {pictures} cannot promise a false-reject rate of {max_false_reject}{copies}: {needed} are needed; \
         with {distinct}, the smallest possible rate is {:.3}",
        1.0 / (distinct as f64 + 1.0)
    ))
}

/// How many good parts a false-reject rate needs: the smallest n with rate (n + 1) >= 1.
pub fn needed(rate: f64) -> usize {
    let mut n = (1.0 / rate - 1.0).ceil().max(1.0) as usize;
    // 1 / rate is rounded, so `place` decides.
    while place(n, rate) == 0 {
        n += 1;
    }
    while n > 1 && place(n - 1, rate) > 0 {
        n -= 1;
    }
    n
}

/// k = floor(rate (n + 1)). A product within rounding of a whole number counts as that number.
fn place(n: usize, rate: f64) -> usize {
    (rate * (n as f64 + 1.0) * (1.0 + 4.0 * f64::EPSILON)) as usize
}

/// The smallest number above the k-th largest of `ascending`.
fn limit(ascending: &[f32], rate: f64) -> f32 {
    let k = place(ascending.len(), rate).clamp(1, ascending.len());
    ascending[ascending.len() - k].next_up()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split_mix::{STEP, mix};

    fn calibration(rate: f64, scores: Vec<f32>) -> Result<Calibration> {
        let parts: Vec<GoodPart> =
            scores.into_iter().enumerate().map(|(i, score)| part(i as u64, score, score)).collect();
        Calibration::new(Source::HeldOut, rate, &parts)
    }

    fn part(picture: u64, score: f32, patch_max: f32) -> GoodPart {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&picture.to_le_bytes());
        GoodPart { picture: PictureId::from_bytes(bytes), score, patch_max }
    }

    #[test]
    fn copies_count_once_and_the_promise_is_of_what_is_left() {
        let copies: Vec<GoodPart> = (0..99).map(|_| part(7, 0.2, 0.1)).collect();
        let error = Calibration::new(Source::HeldOut, 0.01, &copies).unwrap_err().to_string();
        assert!(error.contains("1 distinct picture cannot") && error.contains("99 are needed"), "{error}");
        // 99 of which one is there twice are 98; with one more they are enough, and the calibration is that of 99.
        let mut parts: Vec<GoodPart> = (0..98).map(|i| part(i, i as f32 / 100.0, i as f32 / 200.0)).collect();
        parts.push(part(3, 0.99, 0.0));
        let error = Calibration::new(Source::LeaveOneOut, 0.01, &parts).unwrap_err().to_string();
        assert!(error.contains("98 distinct pictures cannot") && error.contains("the 99 images"), "{error}");
        parts.push(part(98, 0.5, 0.5));
        let made = Calibration::new(Source::LeaveOneOut, 0.01, &parts).unwrap();
        assert_eq!(made.scores().len(), 99);
        // Of the two scores of one picture the larger counts.
        assert_eq!(made.thresholds().reject, 0.99f32.next_up());
        parts.push(part(5, f32::NAN, 0.0));
        assert!(Calibration::new(Source::LeaveOneOut, 0.01, &parts).is_err());
    }

    /// splitmix64 to a number in [0, 1).
    fn uniform(state: &mut u64) -> f64 {
        *state = state.wrapping_add(STEP);
        (mix(*state) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Of exchangeable scores the expected share past the limit is k / (n + 1) if there are no ties. Over many
    /// calibrations the mean of a rate whose standard deviation is known must lie within 4 standard errors of it; with
    /// ties it may only be smaller.
    #[test]
    fn the_realised_false_reject_rate_keeps_the_promise() {
        let mut state = 7;
        for (n, rate) in [(19, 0.05), (99, 0.01), (150, 0.01), (50, 0.1), (30, 0.2)] {
            for levels in [None, Some(40.0)] {
                let mut draw = || {
                    let score = uniform(&mut state).powi(3);
                    levels.map_or(score, |levels: f64| (score * levels).floor() / levels) as f32
                };
                let (trials, queries) = (4000, 20);
                let mut rejected = 0;
                for _ in 0..trials {
                    let limits = calibration(rate, (0..n).map(|_| draw()).collect()).unwrap().thresholds();
                    rejected += (0..queries).filter(|_| draw() >= limits.reject).count();
                }
                let realised = rejected as f64 / (trials * queries) as f64;
                let expected = place(n, rate) as f64 / (n + 1) as f64;
                assert!(expected <= rate + 1e-12);
                // The rate past the limit of one calibration is Beta(k, n + 1 - k); its queries are binomial on top.
                let beta = expected * (1.0 - expected) / (n + 2) as f64;
                let error = ((beta + expected * (1.0 - expected) / queries as f64) / trials as f64).sqrt();
                assert!(realised <= expected + 4.0 * error, "n {n}, rate {rate}: {realised} over {expected}");
                if levels.is_none() {
                    assert!(realised >= expected - 4.0 * error, "n {n}, rate {rate}: {realised} under {expected}");
                }
            }
        }
    }

    #[test]
    fn too_few_images_are_refused_with_the_number_that_is_enough() {
        for (rate, enough) in [(0.01, 99), (0.05, 19), (0.1, 9), (0.5, 1), (0.001, 999), (0.3, 3)] {
            assert_eq!(needed(rate), enough, "{rate}");
            assert!(calibration(rate, vec![0.5; enough]).is_ok());
            if enough > 1 {
                let error = calibration(rate, vec![0.5; enough - 1]).unwrap_err();
                assert!(error.to_string().contains(&format!("{enough} are needed")), "{error}");
            }
        }
        for rate in [0.0, 1.0, -0.1, f64::NAN] {
            assert_eq!(calibration(rate, vec![0.5; 100]).unwrap_err().kind(), ErrorKind::Argument);
        }
        assert!(calibration(0.5, vec![f32::NAN; 10]).is_err());
    }

    #[test]
    fn p_values_count_and_agree_with_the_limit() {
        let scores: Vec<f32> = (0..99).map(|i| i as f32 / 100.0).collect();
        let calibration = calibration(0.05, scores).unwrap();
        let limits = calibration.thresholds();
        assert_eq!(calibration.p_value(2.0), 0.01);
        assert_eq!(calibration.p_value(0.0), 1.0);
        for i in 0..1200 {
            let score = i as f32 / 1000.0;
            assert_eq!(score >= limits.reject, calibration.p_value(score) <= 0.05, "{score}");
        }
        assert!(limits.review <= limits.reject);
        assert!((0.0..=1.0).contains(&limits.review) && (0.0..=1.0).contains(&limits.cell));
    }

    const SHARE: Output = Output { name: "score", low: 0.0, high: 1.0 };

    #[test]
    fn the_scale_rises_and_is_a_half_at_the_limit() {
        for reject in [0.0, 0.2, 0.9, 1.0] {
            let values: Vec<f32> = (0..=100).map(|i| scaled(i as f32 / 100.0, reject, &SHARE)).collect();
            assert!(values.is_sorted() && values[0] >= 0.0 && values[100] <= 1.0);
            assert_eq!(scaled(reject, reject, &SHARE), 0.5);
        }
        assert_eq!((scaled(0.0, 0.3, &SHARE), scaled(1.0, 0.3, &SHARE)), (0.0, 1.0));
        let distance = Output { high: 2.0, ..SHARE };
        assert_eq!([0.0, 0.5, 1.25, 2.0].map(|score| scaled(score, 0.5, &distance)), [0.0, 0.5, 0.75, 1.0]);
    }
}
