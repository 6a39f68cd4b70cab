//! `--precision` and `INCTRL_CPU` as a user meets them. Plain Rust computes in bf16 on every machine, if it is asked for by name.

use crate::program::{Bench, Run};

const MODEL: [&str; 6] = ["--weights", "w.safetensors", "--device", "cpu", "--threads", "1"];

/// Runs the program at a level of the CPU.
fn run(bench: &Bench, level: &str, args: &[&str]) -> Run {
    bench.command(&[args, &MODEL[..]].concat()).env("INCTRL_CPU", level).output().unwrap().into()
}

fn numbers(run: &Run) -> Vec<f64> {
    assert_eq!(run.code, 0, "{}", run.stderr);
    run.rows().iter().map(|row| row["score"].as_f64().unwrap()).collect()
}

#[test]
fn a_precision_that_the_device_lacks_says_what_it_has() {
    let bench = Bench::new();
    let score = |precision| ["score", "--normals", "good", "--precision", precision, "query.png"];
    run(&bench, "", &score("f16")).refused(&["does not compute in f16; it has f32"]);
    run(&bench, "", &score("f8")).refused(&["\"f8\" is not a precision: use one of f32, f16, bf16"]);
    run(&bench, "avx9", &score("f32")).refused(&["INCTRL_CPU is \"avx9\": use one of portable, avx2, avx512"]);
    // At a level without such instructions, or one that this machine does not have.
    assert_eq!(run(&bench, "avx2", &score("bf16")).code, 1);
}

#[test]
fn scores_in_bf16_and_limits_that_hold_in_it_alone() {
    let bench = Bench::new();
    run(&bench, "", &["bank", "build", "--normals", "good", "-o", "b"]).succeeded();
    let score =
        |precision| ["score", "--bank", "b", "--precision", precision, "--format", "jsonl", "query.png", "wide.png"];
    let expected = numbers(&run(&bench, "portable", &score("f32")));
    let found = numbers(&run(&bench, "portable", &score("bf16")));
    assert_ne!(found, expected, "bf16 is f32");
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= 2e-3, "{found}, in f32 {expected}");
    }
    let limits =
        ["bank", "calibrate", "--bank", "b", "--normals", "query.png", "wide.png", "--max-false-reject", "0.4"];
    let calibrated = run(&bench, "portable", &[&limits[..], &["--precision", "bf16"]].concat());
    assert_eq!(calibrated.code, 0, "{}", calibrated.stderr);
    assert_eq!(numbers(&run(&bench, "portable", &score("bf16"))), found);
    run(&bench, "portable", &score("f32")).refused(&["calibrated on scores in bf16", "calibrate the bank again"]);
    let calibrated = run(&bench, "portable", &limits);
    assert_eq!(calibrated.code, 0, "{}", calibrated.stderr);
    assert_eq!(numbers(&run(&bench, "portable", &score("f32"))), expected);
    run(&bench, "portable", &score("bf16")).refused(&["calibrated on scores in f32 or f16"]);
}
