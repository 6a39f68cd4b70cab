//! The process around the library: threads, signals and forks, each with its own client.

use std::process::Command;

use crate::common::clients::{compile, has, runtime};
use crate::tiny::{MODELS, Model};

/// Runs `tests/clients/process.cpp`, which must find all as it should be, and the library must write nothing.
#[track_caller]
fn client(mode: &str) {
    if !has("g++") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("process");
    compile("g++", "-std=c++17", "tests/clients/process.cpp", &program, &["-linctrl", "-pthread"]);
    let model = Model::new(MODELS[1].1, 7);
    let mut command = Command::new(&program);
    let output = command.env("LD_LIBRARY_PATH", runtime(folder.path())).arg(&model.path).arg(mode).output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{mode}: {}\n{said}\n{wrong}", output.status);
    assert_eq!(wrong, "", "{mode}");
    print!("{said}");
}

#[test]
fn forty_scorers_have_the_threads_of_one() {
    client("threads");
}

#[test]
fn threads_of_the_library_take_no_signal() {
    client("signals");
}

#[test]
fn a_child_scores_and_closes_what_it_inherited() {
    client("fork");
}

#[test]
fn a_child_of_a_busy_process_is_refused_in_words_or_works() {
    client("busy");
}

#[test]
fn a_stack_of_64_kilobytes_is_enough() {
    client("stack");
}
