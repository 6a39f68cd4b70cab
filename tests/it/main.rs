//! Integration tests: the engine from outside.

mod anomaly_dino;
mod bank_files;
mod changed_weights;
mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod converted_scores;
mod dinov2;
#[path = "../common/dinov2.rs"]
mod dinov2_cases;
mod external;
mod ffi;
mod fuzz;
mod goldens;
mod grids;
mod invariance;
mod memory_methods;
mod ops;
mod precision;
mod preprocessing;
mod rooms;
mod verdicts;

use common::{compare, tiny};
