//! Integration tests: the library from outside, and the binary as a user runs it.

mod bank_files;
mod checkpoints;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod cli_bad_input;
mod compare;
mod datasets;
#[cfg(feature = "cli")]
mod evaluation;
mod external;
mod goldens;
mod invariance;
mod metrics;
mod ops;
#[cfg(feature = "cli")]
mod program;
mod tiny;
