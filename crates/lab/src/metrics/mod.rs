//! Metrics for how well scores separate anomalous images or pixels from normal ones, as in the papers.
//!
//! A metric takes scores (larger is more anomalous) and the truth. Invariants: the order of the samples does not
//! matter, and of the scores only their order matters. An undefined metric is an [`Undefined`] with the reason, never a
//! number.
//!
//! | metric | of images | of pixels | equals |
//! |---|---|---|---|
//! | area under the ROC curve | [`auroc`], [`Ranking::auroc`] | the same of [`Pixels`] | scikit-learn's `roc_auc_score` |
//! | average precision (AUPRC) | [`Ranking::average_precision`] | the same | `average_precision_score` |
//! | largest F1 of any threshold | [`Ranking::f1_max`] | the same | the largest F1 of `precision_recall_curve` |
//! | area under the per-region overlap | - | [`PixelRanking::aupro`] | MVTec's `evaluate_experiment.py`, divided by the limit |
//!
//! A [`Ranking`] sorts once and computes all metrics.

mod pixels;
mod rank_correlation;
mod ranking;
mod regions;

pub use pixels::{PixelRanking, Pixels};
pub use rank_correlation::rank_correlation;
pub use ranking::{Best, Confusion, Ranking, Step};
pub use regions::regions;

/// Why a metric has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Undefined {
    /// There is no normal sample.
    NoNormal,
    /// There is no anomalous sample.
    NoAnomalous,
    /// A score is NaN.
    NotANumber,
    /// The numbers of scores and labels differ.
    Lengths,
    /// The data set has no masks of the defects.
    NoMasks,
}

impl std::fmt::Display for Undefined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Undefined::NoNormal => "no normal sample",
            Undefined::NoAnomalous => "no anomalous sample",
            Undefined::NotANumber => "a score is NaN",
            Undefined::Lengths => "there are not as many scores as labels",
            Undefined::NoMasks => "no masks of the defects",
        })
    }
}

impl std::error::Error for Undefined {}

/// The value of a metric, or why it has none.
pub type Metric = Result<f64, Undefined>;

/// The probability that an anomalous sample scores higher than a normal one, a tie counting half.
///
/// # Errors
/// As [`Ranking::new`] and [`Ranking::auroc`].
pub fn auroc(scores: &[f32], anomalous: &[bool]) -> Metric {
    Ranking::new(scores, anomalous)?.auroc()
}
