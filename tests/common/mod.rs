//! What several test programs share: small models and pictures, numbers, and comparison with what is expected.
#![allow(dead_code, reason = "each program uses its own part")]

pub mod compare;
pub mod numbers;
#[cfg(feature = "cli")]
pub mod program;
pub mod tiny;
