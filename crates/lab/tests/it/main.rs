//! The laboratory from outside.

#[path = "../../../../tests/common/mod.rs"]
mod common;
mod data_folder;
mod datasets;
mod downloads;
mod followers;
mod metrics;
mod training;
