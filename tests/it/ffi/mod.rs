//! The C interface, from Rust, and from C and C++ as an integrator uses it.
#![allow(unsafe_code)]

mod banks;
mod calls;
#[cfg(target_os = "linux")]
mod clients;
mod depth;
#[cfg(target_os = "linux")]
mod examples;
mod fail_safe;
mod handles;
mod header;
mod log;
#[cfg(target_os = "linux")]
mod memory;
mod process;
mod products;
mod swap;

use crate::common::clients::{has, libraries, run};
use crate::common::root;
