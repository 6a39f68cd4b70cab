//! The C interface, from Rust, and from C and C++ as an integrator uses it.
#![allow(unsafe_code)]

mod calls;
#[cfg(all(target_os = "linux", feature = "cli"))]
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
mod swap;

use std::path::PathBuf;
use std::process::Command;

/// The folder of this package.
fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Where the build put `libinctrl.so` and `libinctrl.a`: beside the test itself.
fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

/// Whether a program is there; says aloud where it is not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIP: no {program}");
    }
    found
}

/// Runs a program that must succeed, and returns what it wrote to standard output.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}
