//! Programs in C and C++ against the libraries of this build.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::root;

pub const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// Where the build put `libinctrl.so` and `libinctrl.a`: beside the test itself.
pub fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

/// Whether a program is there; says aloud where it is not.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIP: no {program}");
    }
    found
}

/// Runs a program that must succeed, and returns what it wrote to standard output.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

/// Compiles a source against the headers and the shared library of this build.
pub fn compile(compiler: &str, standard: &str, source: &str, out: &Path, flags: &[&str]) {
    run(Command::new(compiler)
        .args(STRICT)
        .args([standard, "-I"])
        .arg(root().join("include"))
        .arg(root().join(source))
        .arg("-L")
        .arg(libraries())
        .args(flags)
        .arg("-o")
        .arg(out));
}

#[cfg(unix)]
/// A folder in which the shared library has the name that programs look for.
pub fn runtime(folder: &Path) -> PathBuf {
    let link = folder.join(format!("libinctrl.so.{}", inctrl::ffi::INCTRL_ABI_VERSION));
    std::os::unix::fs::symlink(libraries().join("libinctrl.so"), link).unwrap();
    folder.to_path_buf()
}

/// The bits of the score that a client says.
pub fn bits(said: &str) -> u32 {
    let digits = said.trim().rsplit(' ').next().unwrap();
    u32::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{said}: {error}"))
}
