//! The C interface: thin shells around [`crate::Engine`], [`crate::PromptBank`], [`crate::SharedBank`] and
//! [`crate::Scorer`].
//!
//! cbindgen makes `include/inctrl.h` from the comments of this folder; a test regenerates and compares it. Every
//! function goes through one guard (`status.rs`): no panic crosses the interface, the status is 0 or the kind of the
//! error, and [`inctrl_last_error`] has the error's text. Handles carry a tag, so that a handle of another kind is an
//! error. Structures carry their size, so that they can grow (`abi.rs`).
//!
//! Adding a function: write it in the file of its handle with its comment, add it to `tests/ffi_symbols.txt`, and run
//! the test `ffi::` with `INCTRL_WRITE_HEADER=1`.
#![allow(unsafe_code, non_camel_case_types)]
#![allow(
    clippy::missing_safety_doc,
    reason = "the C header documents the caller's obligations, at its top and for each function"
)]

mod abi;
mod appender;
mod bank;
mod calibration;
mod engine;
mod exclusive;
mod frame;
mod health;
mod log;
mod places;
mod result;
mod roi_scorer;
mod scorer;
mod scorer_state;
mod slot;
mod status;

pub use abi::{INCTRL_ABI_VERSION, inctrl_abi_version, inctrl_version};
pub use appender::*;
pub use bank::*;
pub use calibration::*;
pub use engine::*;
pub use frame::*;
pub use health::*;
pub use log::*;
pub use result::*;
pub use roi_scorer::*;
pub use scorer::*;
pub use slot::*;
pub use status::*;
