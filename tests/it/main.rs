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
#[path = "../common/foreground.rs"]
mod foreground_cases;
mod fuzz;
mod goldens;
mod grids;
mod invariance;
#[path = "../common/larger.rs"]
mod larger;
mod memory_methods;
mod ops;
mod precision;
mod preprocessing;
mod rooms;
mod verdicts;

use common::{compare, tiny};
