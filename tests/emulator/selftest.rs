//! Checks that the emulator detects faults: each kernel of `selftest/main.cpp` has one.

use std::process::{Command, Output};

use crate::emulator::build;

/// The cases that run one after the other, copies late and at once, under several schedules.
const SETTINGS: [(&str, &str); 8] = [
    ("lazy", "0"),
    ("lazy", "1"),
    ("lazy", "2"),
    ("lazy", "3"),
    ("eager", "0"),
    ("eager", "1"),
    ("eager", "2"),
    ("eager", "3"),
];

/// What became of a case under each setting; empty, said aloud, without a compiler.
fn outcomes(case: &str) -> Vec<(&'static str, Output)> {
    let program = match build::selftest() {
        Ok(program) => program,
        Err(reason) if reason.starts_with("no C++ compiler") || reason.contains("for Linux") => {
            println!("SKIP: {reason}");
            return Vec::new();
        }
        Err(reason) => panic!("{reason}"),
    };
    let run = |(copies, schedule)| {
        let output = Command::new(&program).args([case, copies, schedule]).output().unwrap();
        assert_ne!(output.status.code(), Some(2), "there is no case {case}");
        (copies, output)
    };
    SETTINGS.into_iter().map(run).collect()
}

#[test]
fn right_kernels_are_right_under_every_setting() {
    for case in ["halves", "product", "pipeline", "warp_sums"] {
        for (copies, output) in outcomes(case) {
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{case}, {copies}: {} {message}", output.status);
        }
    }
}

#[test]
fn faults_of_order_show_in_the_results_under_some_setting() {
    for (case, shows_when) in [
        ("wait", "lazy"),
        ("first_barrier", "lazy"),
        ("second_barrier", "eager"),
        ("unwritten", "lazy"),
        ("tail", "lazy"),
    ] {
        let outcomes = outcomes(case);
        let shown = outcomes.iter().any(|(copies, output)| *copies == shows_when && output.status.code() == Some(1));
        assert!(shown || outcomes.is_empty(), "{case} went unseen");
    }
}

#[test]
fn faults_of_kernels_end_the_process_and_say_where() {
    for (case, message) in [
        ("misaligned", "cu::cp16 at main.cpp:"),
        ("divergent_barrier", "at another barrier"),
        ("divergent_shuffle", "deadlock"),
        ("in_flight", "never waited for"),
        ("overrun", "thread (100, 0, 0): bad address"),
    ] {
        for (copies, output) in outcomes(case) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code().is_none(), "{case}, {copies}: {}", output.status);
            assert!(said.contains(message) && said.contains("kernel `"), "{case}, {copies}: {said}");
        }
    }
}

#[test]
fn sanitizers_see_what_guards_do_not() {
    if std::env::var_os("INCTRL_EMULATOR_SANITIZE").is_none_or(|value| value == "0") {
        println!("SKIP: not built with sanitizers");
        return;
    }
    for (case, message) in [("read_before", "AddressSanitizer"), ("shift", "runtime error: shift")] {
        for (copies, output) in outcomes(case) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{case}, {copies}: {said}");
            assert!(said.contains(message) && said.contains("main.cpp"), "{case}, {copies}: {said}");
        }
    }
}
