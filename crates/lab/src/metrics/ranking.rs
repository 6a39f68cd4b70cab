//! Samples sorted by score, and the metrics of this order.

use super::{Metric, Undefined};

/// Scored samples with their truth, sorted once.
///
/// A sample is one integer. The upper half is the score, encoded so that integers rise as scores fall; the lower half
/// is the sample's region, 0 for a normal sample. Equal scores, including 0.0 and -0.0, have the same upper half.
#[derive(Clone, Debug)]
pub struct Ranking {
    samples: Vec<u64>,
    normal: u64,
    anomalous: u64,
}

/// What a threshold at `score` finds: all samples with this score or a higher one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The threshold, one of the scores.
    pub score: f32,
    /// Anomalous samples found.
    pub true_positives: u64,
    /// Normal samples found.
    pub false_positives: u64,
}

/// The best value over all thresholds, and the highest threshold that has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// The value.
    pub value: f64,
    /// Samples with this score or a higher one are called anomalous.
    pub threshold: f32,
}

/// How many samples a threshold gets right and wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Confusion {
    /// Anomalous, called anomalous.
    pub true_positives: u64,
    /// Normal, called anomalous: false rejects.
    pub false_positives: u64,
    /// Normal, called normal.
    pub true_negatives: u64,
    /// Anomalous, called normal: misses.
    pub false_negatives: u64,
}

impl Ranking {
    /// Sorts the samples.
    ///
    /// # Errors
    /// [`Undefined::Lengths`] if the slices differ in length, [`Undefined::NotANumber`] if a score is NaN.
    pub fn new(scores: &[f32], anomalous: &[bool]) -> Result<Self, Undefined> {
        if scores.len() != anomalous.len() {
            return Err(Undefined::Lengths);
        }
        if scores.iter().any(|score| score.is_nan()) {
            return Err(Undefined::NotANumber);
        }
        Ok(Self::sorted(scores.iter().zip(anomalous).map(|(&score, &truth)| pack(score, u32::from(truth))).collect()))
    }

    /// Sorts packed samples.
    pub(super) fn sorted(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let anomalous = samples.iter().filter(|&&sample| region(sample) != 0).count() as u64;
        Ranking { normal: samples.len() as u64 - anomalous, anomalous, samples }
    }

    /// Number of normal samples.
    pub fn normal(&self) -> u64 {
        self.normal
    }

    /// Number of anomalous samples.
    pub fn anomalous(&self) -> u64 {
        self.anomalous
    }

    /// Every distinct threshold, highest first: the points of the ROC and precision-recall curves.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        self.tied().scan((0, 0), |(found, wrong), tied| {
            let here = tied.iter().filter(|&&sample| region(sample) != 0).count() as u64;
            *found += here;
            *wrong += tied.len() as u64 - here;
            Some(Step { score: score(tied[0]), true_positives: *found, false_positives: *wrong })
        })
    }

    /// Samples with the same score, the highest score first.
    pub(super) fn tied(&self) -> impl Iterator<Item = &[u64]> {
        self.samples.chunk_by(|a, b| a >> 32 == b >> 32)
    }

    /// The probability that an anomalous sample scores higher than a normal one, a tie counting half.
    ///
    /// This is the Mann-Whitney statistic divided by the number of pairs, and equals scikit-learn's `roc_auc_score`.
    /// Pairs are counted in integers; the only rounding is that of the final quotient.
    ///
    /// # Errors
    /// [`Undefined::NoNormal`], [`Undefined::NoAnomalous`].
    pub fn auroc(&self) -> Metric {
        self.both_kinds()?;
        let (mut half_wins, mut found, mut wrong) = (0u128, 0u128, 0u128);
        for step in self.steps() {
            let (tp, fp) = (u128::from(step.true_positives), u128::from(step.false_positives));
            half_wins += (fp - wrong) * (found + tp);
            (found, wrong) = (tp, fp);
        }
        let pairs = u128::from(self.normal) * u128::from(self.anomalous);
        Ok(half_wins as f64 / (2 * pairs) as f64)
    }

    /// The precision averaged over the recall gained at each threshold: AUPRC as papers report it, and scikit-learn's
    /// `average_precision_score`.
    ///
    /// # Errors
    /// [`Undefined::NoAnomalous`]; also [`Undefined::NoNormal`], where every ranking would be perfect.
    pub fn average_precision(&self) -> Metric {
        self.both_kinds()?;
        let (mut sum, mut found) = (0.0, 0);
        for step in self.steps() {
            let precision = step.true_positives as f64 / (step.true_positives + step.false_positives) as f64;
            sum += (step.true_positives - found) as f64 * precision;
            found = step.true_positives;
        }
        Ok(sum / self.anomalous as f64)
    }

    /// The largest F1, the harmonic mean of precision and recall, of any threshold.
    ///
    /// # Errors
    /// As [`Ranking::average_precision`].
    pub fn f1_max(&self) -> Result<Best, Undefined> {
        self.both_kinds()?;
        let mut best = Best { value: 0.0, threshold: f32::INFINITY };
        for step in self.steps() {
            let called = step.true_positives + step.false_positives;
            let value = (2 * step.true_positives) as f64 / (called + self.anomalous) as f64;
            if value > best.value {
                best = Best { value, threshold: step.score };
            }
        }
        Ok(best)
    }

    /// The confusion matrix for calling samples with score `threshold` or more anomalous.
    pub fn confusion(&self, threshold: f32) -> Confusion {
        let last = self.steps().take_while(|step| step.score >= threshold).last();
        let (tp, fp) = last.map_or((0, 0), |step| (step.true_positives, step.false_positives));
        Confusion {
            true_positives: tp,
            false_positives: fp,
            true_negatives: self.normal - fp,
            false_negatives: self.anomalous - tp,
        }
    }

    pub(super) fn both_kinds(&self) -> Result<(), Undefined> {
        match (self.normal, self.anomalous) {
            (_, 0) => Err(Undefined::NoAnomalous),
            (0, _) => Err(Undefined::NoNormal),
            _ => Ok(()),
        }
    }
}

/// A sample as an integer; `score` is not NaN.
pub(super) fn pack(score: f32, region: u32) -> u64 {
    // Adding 0.0 makes -0.0 equal to it. Of positive numbers the bits rise with the value, of negative ones they fall.
    let bits = (score + 0.0).to_bits();
    let rising = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(!rising) << 32 | u64::from(region)
}

pub(super) fn region(sample: u64) -> u32 {
    sample as u32
}

fn score(sample: u64) -> f32 {
    let rising = !((sample >> 32) as u32);
    f32::from_bits(if rising >> 31 == 1 { rising & !(1 << 31) } else { !rising })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::auroc;
    use super::*;

    #[test]
    fn the_example_of_the_scikit_learn_manual() {
        assert_eq!(auroc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]), Ok(0.75));
    }

    #[test]
    fn ties_count_half() {
        assert_eq!(auroc(&[0.5, 0.5], &[true, false]), Ok(0.5));
        assert_eq!(auroc(&[0.0, -0.0, 1.0], &[true, false, true]), Ok(0.75));
        assert_eq!(auroc(&[1.0, 2.0, 2.0, 3.0], &[false, true, false, true]), Ok(0.875));
        assert_eq!(auroc(&[f32::NEG_INFINITY, f32::INFINITY], &[false, true]), Ok(1.0));
    }

    #[test]
    fn undefined_says_why() {
        assert_eq!(auroc(&[], &[]), Err(Undefined::NoAnomalous));
        assert_eq!(auroc(&[1.0, 2.0], &[true, true]), Err(Undefined::NoNormal));
        assert_eq!(auroc(&[1.0, 2.0], &[false, false]), Err(Undefined::NoAnomalous));
        assert_eq!(auroc(&[1.0], &[true, false]), Err(Undefined::Lengths));
        assert_eq!(auroc(&[1.0, f32::NAN], &[true, false]), Err(Undefined::NotANumber));
        let ranking = Ranking::new(&[1.0, 2.0], &[true, true]).unwrap();
        assert_eq!(ranking.average_precision(), Err(Undefined::NoNormal));
        assert_eq!(ranking.f1_max(), Err(Undefined::NoNormal));
    }

    #[test]
    fn a_threshold_takes_what_scores_as_much() {
        let ranking = Ranking::new(&[0.1, 0.4, 0.4, 0.8], &[false, false, true, true]).unwrap();
        let counts = |threshold| {
            let c = ranking.confusion(threshold);
            [c.true_positives, c.false_positives, c.true_negatives, c.false_negatives]
        };
        assert_eq!(counts(0.9), [0, 0, 2, 2]);
        assert_eq!(counts(0.8), [1, 0, 2, 1]);
        assert_eq!(counts(0.4), [2, 1, 1, 0]);
        assert_eq!(counts(0.0), [2, 2, 0, 0]);
        assert_eq!(ranking.f1_max(), Ok(Best { value: 0.8, threshold: 0.4 }));
    }

    #[test]
    fn a_packed_score_comes_back_and_falls_as_the_integer_rises() {
        let scores = [f32::INFINITY, 3.5, 1e-40, 0.0, -1e-40, -2.0, f32::NEG_INFINITY];
        let packed = scores.map(|x| pack(x, 7));
        assert!(packed.is_sorted());
        assert_eq!(packed.map(score), scores);
        assert_eq!(pack(-0.0, 1), pack(0.0, 1));
    }

    proptest! {
        /// Few distinct scores, so that ties are common.
        #[test]
        fn auroc_equals_the_count_over_all_pairs(samples in prop::collection::vec((0u8..6, any::<bool>()), 0..40)) {
            let (scores, truth): (Vec<f32>, Vec<bool>) = samples.iter().map(|&(s, t)| (f32::from(s), t)).unzip();
            let (mut wins, mut pairs) = (0.0, 0.0);
            for &(a, _) in samples.iter().filter(|sample| sample.1) {
                for &(n, _) in samples.iter().filter(|sample| !sample.1) {
                    pairs += 1.0;
                    wins += if a > n { 1.0 } else if a == n { 0.5 } else { 0.0 };
                }
            }
            prop_assert_eq!(auroc(&scores, &truth).ok(), (pairs > 0.0).then(|| wins / pairs));
        }
    }
}
