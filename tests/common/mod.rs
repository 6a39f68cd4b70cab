//! Shared by several test programs: small models and pictures, numbers, and comparison with expected results.
#![allow(dead_code, reason = "each program uses its own part")]

use std::path::Path;

pub mod clients;
pub mod compare;
pub mod converted;
pub mod folder;
pub mod numbers;
pub mod tiny;

/// The folder of the workspace, whose `tests/fixtures` every member uses.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(own)
}
