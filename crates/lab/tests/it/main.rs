//! The laboratory from outside.

#[path = "../../../../tests/common/mod.rs"]
mod common;
mod datasets;
mod metrics;
mod training;
