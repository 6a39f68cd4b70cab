//! The C interface: thin shells around [`crate::Engine`], [`crate::PromptBank`], [`crate::SharedBank`] and [`crate::Scorer`].
//!
//! `include/inctrl.h` is made from the comments of this folder by cbindgen; a test makes it again and compares. Every function
//! goes through one guard (`status.rs`): no panic crosses the border, the status is 0 or the kind of the error, and the text of
//! the error waits in [`inctrl_last_error`]. Handles carry a tag, so that one of another kind is an error; structures
//! carry their size, so that they can grow (`abi.rs`).
//!
//! Adding a function: write it in the file of its handle with its comment, add it to `tests/ffi_symbols.txt`, and run the test
//! `ffi::` with `INCTRL_WRITE_HEADER=1`.
#![allow(unsafe_code, non_camel_case_types)]
#![allow(
    clippy::missing_safety_doc,
    reason = "what callers owe is the C header's first comment, and that of each function"
)]

mod abi;
mod bank;
mod engine;
mod frame;
mod health;
mod log;
mod places;
mod result;
mod scorer;
mod slot;
mod status;

pub use abi::{INCTRL_ABI_VERSION, inctrl_abi_version, inctrl_version};
pub use bank::*;
pub use engine::*;
pub use frame::*;
pub use health::*;
pub use log::*;
pub use result::*;
pub use scorer::*;
pub use slot::*;
pub use status::*;
