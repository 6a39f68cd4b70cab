//! How well scores separate anomalous images from normal ones, as the papers report it.
//!
//! A metric takes scores (larger is more anomalous) beside the truth. Invariants: the order of the samples does not
//! matter, and only the order of the scores does, not their scale. Where a metric is undefined the answer is `None`,
//! never a number that looks like one.

mod auroc;

pub use auroc::auroc;
