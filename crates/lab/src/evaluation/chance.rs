//! [`Chance`]: the chance level of each metric.

use std::collections::BTreeMap;

use serde::Serialize;

use super::MetricName;
use super::results::AUPRO_LIMIT;

/// How many normal and anomalous samples there are.
pub(super) type Counts = [u64; 2];

/// The value of each metric, by name, without any knowledge of the images. Undefined metrics have none.
///
/// Let p be the share of anomalous samples. With random scores the area under the ROC curve is 0.5 on average, and the
/// average precision is p for many samples. Calling every sample anomalous has an F1 of 2 p / (1 + p), and the largest
/// F1 is never below it. With random scores the overlap with regions equals the false positive rate, so its mean up to
/// the limit is half of the limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Chance(BTreeMap<&'static str, f64>);

impl Chance {
    /// The chance level of a class, from its numbers of images and, if it has masks, of pixels.
    pub(super) fn of(images: Counts, pixels: Option<Counts>) -> Self {
        use MetricName::*;
        let mut found = BTreeMap::new();
        for (counts, metrics) in [
            (Some(images), [ImageAuroc, ImageAuprc, ImageF1Max]),
            (Some(images), [PatchAuroc, PatchAuprc, PatchF1Max]),
            (pixels, [PixelAuroc, PixelAuprc, PixelF1Max]),
        ] {
            if let Some([normal, anomalous]) = counts
                && normal > 0
                && anomalous > 0
            {
                let share = anomalous as f64 / (normal + anomalous) as f64;
                let values = [0.5, share, 2.0 * share / (1.0 + share)];
                found.extend(metrics.map(MetricName::name).into_iter().zip(values));
            }
        }
        if found.contains_key(PixelAuroc.name()) {
            found.insert(PixelAupro.name(), AUPRO_LIMIT / 2.0);
        }
        Chance(found)
    }

    /// The mean over classes of the metrics that all classes have.
    pub(super) fn mean<'a>(classes: impl Iterator<Item = &'a Chance> + Clone) -> Self {
        let mean = |metric: MetricName| {
            let values: Vec<f64> = classes.clone().map(|class| class.get(metric)).collect::<Option<_>>()?;
            (!values.is_empty()).then(|| (metric.name(), values.iter().sum::<f64>() / values.len() as f64))
        };
        Chance(MetricName::ALL.into_iter().filter_map(mean).collect())
    }

    /// The chance level of one metric.
    pub fn get(&self, metric: MetricName) -> Option<f64> {
        self.0.get(metric.name()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Pixels, Ranking};

    fn close(found: Option<f64>, expected: f64, tolerance: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
    }

    /// A constant score knows nothing and has no luck: the metrics themselves are the oracle.
    #[test]
    fn a_constant_score_has_the_level_of_chance() {
        let truth: Vec<bool> = (0..40).map(|i| i % 5 != 0).collect();
        let ranking = Ranking::new(&[0.3; 40], &truth).unwrap();
        let mut pixels = Pixels::new();
        pixels.add(&[0.3; 40], Some(&truth), 8).unwrap();
        let pixels = pixels.rank().unwrap();
        let chance = Chance::of([8, 32], Some([8, 32]));
        for (metric, found) in [
            (MetricName::ImageAuroc, ranking.auroc()),
            (MetricName::ImageAuprc, ranking.average_precision()),
            (MetricName::PatchF1Max, ranking.f1_max().map(|best| best.value)),
            (MetricName::PixelF1Max, ranking.f1_max().map(|best| best.value)),
            (MetricName::PixelAupro, pixels.aupro(AUPRO_LIMIT)),
        ] {
            // Rounding of two quotients.
            close(chance.get(metric), found.unwrap(), 1e-15);
        }
    }

    /// Scores that are drawn at random, many times: the means of AUROC and average precision.
    #[test]
    fn random_scores_have_it_on_average() {
        let (rounds, count) = (400, 300);
        let truth: Vec<bool> = (0..count).map(|i| i % 3 == 0).collect();
        let mut state = 1u64;
        let mut sums = [0.0; 2];
        for _ in 0..rounds {
            let mut draw = || {
                state = state.wrapping_add(inctrl::internals::STEP);
                (inctrl::internals::mix(state) >> 40) as f32
            };
            let scores: Vec<f32> = (0..count).map(|_| draw()).collect();
            let ranking = Ranking::new(&scores, &truth).unwrap();
            sums[0] += ranking.auroc().unwrap() / f64::from(rounds);
            sums[1] += ranking.average_precision().unwrap() / f64::from(rounds);
        }
        let chance = Chance::of([200, 100], None);
        // Deviation of an AUROC: sqrt((n + m + 1) / (12 n m)) = 0.035; of its mean 0.0018, of which four are allowed.
        close(chance.get(MetricName::ImageAuroc), sums[0], 0.0071);
        // Few samples lift the average precision by about (1 - p) H(N) / N = 0.014 over the share.
        close(chance.get(MetricName::ImageAuprc), sums[1] - 0.014, 0.01);
    }

    #[test]
    fn what_is_not_defined_has_none() {
        let chance = Chance::of([3, 0], Some([5, 5]));
        assert_eq!((chance.get(MetricName::ImageAuroc), chance.get(MetricName::PixelAuroc)), (None, Some(0.5)));
        let both = [Chance::of([3, 1], None), Chance::of([1, 3], Some([1, 1]))];
        let mean = Chance::mean(both.iter());
        close(mean.get(MetricName::ImageAuprc), 0.5, 1e-15);
        assert_eq!(mean.get(MetricName::PixelAupro), None);
        assert_eq!(Chance::mean([].iter()), Chance::default());
    }
}
