//! Figures of each method, and the comparison of methods.

use serde::Serialize;

use super::noise::{LEAST, difference, half_width};
use super::run::{Comparison, Judged, Line};
use crate::metrics::auroc;
use inctrl::calibration::{Calibration, GoodPart, Source, needed, spread};
use inctrl::pictures::PictureId;

/// Figures of one method.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Good images that were judged.
    pub good: usize,
    /// Defective ones.
    pub defective: usize,
    /// Images that could not be judged.
    pub failed: usize,
    /// Median score of the good images.
    pub median: Option<f64>,
    /// Their standard deviation, estimated from the median distance to the median.
    pub deviation: Option<f64>,
    /// The largest good score above the median, in deviations.
    pub strangest: Option<f64>,
    /// The limit, if there are enough good images for the rate.
    pub limit: Option<f64>,
    /// Good images past the limit that is computed from the other good images.
    pub rejected: Option<usize>,
    /// Defective images past the limit.
    pub found: Option<usize>,
    /// How often a defective image scores above a good one.
    pub auroc: Option<f64>,
    /// Half the width of its 95 % interval.
    pub auroc_half_width: Option<f64>,
    /// Median time to score a decoded picture, in milliseconds.
    pub milliseconds: f64,
    /// Bytes of the bank in memory.
    pub bank_bytes: usize,
}

impl Figures {
    /// The figures of a method.
    pub fn of(comparison: &Comparison, judged: &Judged) -> Self {
        let [good, bad] = kinds(comparison, judged);
        let rate = comparison.options.max_false_reject;
        let mut figures = Figures {
            good: good.len(),
            defective: bad.len(),
            failed: judged.scores.iter().filter(|scored| scored.score.is_err()).count(),
            milliseconds: judged.milliseconds,
            bank_bytes: judged.bank_bytes,
            ..Figures::default()
        };
        if let Some((median, deviation)) = spread(&good) {
            let most = good.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            figures.median = Some(f64::from(median));
            figures.deviation = Some(f64::from(deviation));
            figures.strangest = Some(f64::from((most - median) / deviation));
        }
        let limit = |scores: &[f32]| limit(scores, rate);
        if let Some(reject) = limit(&good) {
            figures.limit = Some(f64::from(reject));
            figures.found = (!bad.is_empty()).then(|| bad.iter().filter(|score| **score >= reject).count());
        }
        if good.len() > needed(rate) {
            let past = |at: &usize| {
                let mut others = good.clone();
                let own = others.remove(*at);
                limit(&others).is_some_and(|reject| own >= reject)
            };
            figures.rejected = Some((0..good.len()).filter(past).count());
        }
        let scores: Vec<f32> = good.iter().chain(&bad).copied().collect();
        let truth: Vec<bool> = (0..scores.len()).map(|at| at >= good.len()).collect();
        figures.auroc = auroc(&scores, &truth).ok();
        figures.auroc_half_width = half_width(&good, &bad);
        figures
    }
}

/// The scores of good and of defective images.
pub(super) fn kinds(comparison: &Comparison, judged: &Judged) -> [Vec<f32>; 2] {
    let of = |defective: bool| {
        let wanted = comparison.pictures.iter().zip(&judged.scores).filter(|(p, _)| p.defective == defective);
        wanted.filter_map(|(_, scored)| scored.score.as_ref().ok()).map(|score| score.score).collect()
    };
    [of(false), of(true)]
}

/// The limit from good scores, as in `bank calibrate`; `None` with too few of them for the rate.
fn limit(good: &[f32], rate: f64) -> Option<f32> {
    let part = |(at, score): (usize, &f32)| {
        // The pictures are distinct, so their indices identify them.
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(at as u64).to_le_bytes());
        GoodPart { picture: PictureId::from_bytes(id), score: *score, patch_max: *score }
    };
    let parts: Vec<GoodPart> = good.iter().enumerate().map(part).collect();
    Some(Calibration::new(Source::HeldOut, rate, &parts).ok()?.thresholds().reject)
}

/// A method beside the best one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// Its place among [`Comparison::lines`].
    pub line: usize,
    /// Its AUROC.
    pub auroc: f64,
    /// The best method's AUROC minus this one.
    pub behind: f64,
    /// Half the width of the 95 % interval of that difference; absent with too few images.
    pub half_width: Option<f64>,
}

impl Ranked {
    /// Whether the difference may be chance.
    pub fn within_noise(&self) -> bool {
        self.half_width.is_none_or(|half| self.behind <= half)
    }
}

/// The comparison of the methods.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No defective image was scored, so nothing shows which method finds more.
    NoDefects,
    /// By AUROC, the best first. Methods within its noise may be better.
    Ranked(Vec<Ranked>),
}

/// Compares all methods with the best one, on the images that both have judged.
pub fn verdict(comparison: &Comparison) -> Verdict {
    let judged: Vec<(usize, &Judged, f64)> = comparison
        .lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| {
            let judged = line.judged.as_ref().ok()?;
            Some((at, judged, Figures::of(comparison, judged).auroc?))
        })
        .collect();
    // Of equal ones the first stays first.
    let Some(best) = judged.iter().reduce(|best, next| if next.2 > best.2 { next } else { best }) else {
        return Verdict::NoDefects;
    };
    let ranked = |(line, judged, auroc): &(usize, &Judged, f64)| {
        let both = |defective: bool| -> (Vec<f32>, Vec<f32>) {
            let pairs = best.1.scores.iter().zip(&judged.scores).zip(&comparison.pictures);
            let of_kind = pairs.filter(|(_, picture)| picture.defective == defective).map(|(pair, _)| pair);
            let scored = of_kind.filter_map(|(a, b)| Some((a.score.as_ref().ok()?, b.score.as_ref().ok()?)));
            scored.map(|(a, b)| (a.score, b.score)).unzip()
        };
        let ((good_a, good_b), (bad_a, bad_b)) = (both(false), both(true));
        let (behind, half_width) = match good_a.is_empty() || bad_a.is_empty() {
            true => (best.2 - auroc, None),
            false => difference([&good_a, &bad_a], [&good_b, &bad_b]),
        };
        Ranked { line: *line, auroc: *auroc, behind, half_width }
    };
    let mut all: Vec<Ranked> = judged.iter().map(ranked).collect();
    all.sort_by(|a, b| (b.line == best.0).cmp(&(a.line == best.0)).then(b.auroc.total_cmp(&a.auroc)));
    Verdict::Ranked(all)
}

/// The verdict in sentences.
pub(super) fn sentences(comparison: &Comparison, verdict: &Verdict) -> Vec<String> {
    let name = |line: usize| title(&comparison.lines[line], comparison);
    let percent = |value: f64| format!("{:.1}", 100.0 * value);
    let Verdict::Ranked(ranked) = verdict else {
        return vec![
            "No defective image was given: the figures show how stable the methods are on good parts, not which of them finds \
             more defects. For that, add a few defective images (--defects)."
                .to_owned(),
        ];
    };
    let Some((best, rest)) = ranked.split_first() else { return Vec::new() };
    let Ok(judged) = &comparison.lines[best.line].judged else { return Vec::new() };
    let [good, bad] = kinds(comparison, judged).map(|scores| scores.len());
    let mut sentences = vec![format!(
        "The largest AUROC on these {good} good and {bad} defective images is that of {}: {}.",
        name(best.line),
        percent(best.auroc)
    )];
    for other in rest {
        let told = match other.half_width {
            None => format!(
                "{}; with fewer than {LEAST} images of a kind nobody can tell whether this is more than chance",
                percent(other.behind)
            ),
            Some(half) if other.within_noise() => format!(
                "{}, which is within the noise of these images (± {}): it may be the better one",
                percent(other.behind),
                percent(half)
            ),
            Some(half) => {
                format!("{}, which is more than the noise of these images (± {})", percent(other.behind), percent(half))
            }
        };
        sentences.push(format!("{} has {}, behind by {told}.", name(other.line), percent(other.auroc)));
    }
    if rest.iter().any(Ranked::within_noise) {
        sentences.push(
            "Among methods within the noise, choose by speed, memory or the look of the maps, or add more defective images."
                .to_owned(),
        );
    }
    sentences
}

/// What a line is called: its method, and its model where another line has the same method.
pub(super) fn title(line: &Line, comparison: &Comparison) -> String {
    let same = comparison.lines.iter().filter(|other| other.method == line.method).count();
    let model = line.model.strip_suffix(".safetensors").unwrap_or(&line.model);
    if same > 1 { format!("{} on {model}", line.method) } else { line.method.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_that_of_the_calibration() {
        let scores: Vec<f32> = (0..20).map(|i| i as f32 / 20.0).collect();
        // k = floor(0.1 x 21) = 2: the second largest.
        assert_eq!(limit(&scores, 0.1), Some(0.9f32.next_up()));
        assert_eq!(limit(&scores[..8], 0.1), None);
    }
}
