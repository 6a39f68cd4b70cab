//! The program as a user runs it.

mod bad_input;
mod bench_op;
mod checkpoints;
#[path = "../../../../tests/common/mod.rs"]
mod common;
mod comparison;
mod copies;
mod depth;
mod downloads;
mod evaluation;
mod folders;
#[cfg(target_os = "linux")]
mod four_ways;
#[cfg(target_os = "linux")]
mod interruption;
mod methods;
mod precision;
mod products;
#[path = "../../../../tests/common/program.rs"]
mod program;
mod scoring;
mod table;
mod tiles;
mod together;
mod training;
mod verdicts;

use common::{compare, folder, tiny};
