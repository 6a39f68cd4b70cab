//! Integration tests: the library from outside, and the binary as a user runs it.

mod bank_files;
mod changed_weights;
mod checkpoints;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod cli_bad_input;
#[cfg(feature = "cli")]
mod cli_checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod converted_scores;
#[cfg(feature = "cli")]
mod copies;
mod datasets;
#[cfg(feature = "cli")]
mod depth;
#[cfg(feature = "cli")]
mod evaluation;
mod external;
mod ffi;
#[cfg(feature = "cli")]
mod folders;
mod fuzz;
mod goldens;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod interruption;
mod invariance;
mod metrics;
mod ops;
mod preprocessing;
#[cfg(feature = "cli")]
mod training;
mod verdicts;

#[cfg(feature = "cli")]
use common::program;
use common::{compare, tiny};
