//! `--precision` and `INCTRL_CPU` as a user meets them. Plain Rust computes in bf16 on every machine, if it is asked
//! for by name.

use serde_json::Value;

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
    run(&bench, "", &score("f8")).refused(&["\"f8\" is not a precision: use one of f32, f16, bf16, int8"]);
    run(&bench, "avx9", &score("f32"))
        .refused(&["INCTRL_CPU is \"avx9\": use one of portable, avx2, avx-vnni, avx512"]);
    // At a level without such instructions, or one that this machine does not have.
    assert_eq!(run(&bench, "avx2", &score("bf16")).code, 1);
}

const LIMITS: [&str; 8] = ["bank", "calibrate", "--bank", "b", "--max-false-reject", "0.4", "--normals", "query.png"];

#[test]
fn scores_in_a_precision_and_limits_that_hold_in_it_alone() {
    let bench = Bench::new();
    let build = || run(&bench, "", &["bank", "build", "--normals", "good", "-o", "b"]).succeeded();
    build();
    let score =
        |precision| ["score", "--bank", "b", "--precision", precision, "--format", "jsonl", "query.png", "wide.png"];
    let expected = numbers(&run(&bench, "portable", &score("f32")));
    let limits = [&LIMITS[..], &["wide.png"]].concat();
    for (precision, tolerance) in [("bf16", 2e-3), ("int8", 5e-3)] {
        // Without limits.
        build();
        let found = numbers(&run(&bench, "portable", &score(precision)));
        assert_ne!(found, expected, "{precision} is f32");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= tolerance, "{precision}: {found}, in f32 {expected}");
        }
        let calibrated = run(&bench, "portable", &[&limits[..], &["--precision", precision]].concat());
        assert_eq!(calibrated.code, 0, "{}", calibrated.stderr);
        assert_eq!(numbers(&run(&bench, "portable", &score(precision))), found);
        let words = format!("calibrated on scores in {precision}");
        run(&bench, "portable", &score("f32")).refused(&[&words, "calibrate the bank again"]);
        let calibrated = run(&bench, "portable", &limits);
        assert_eq!(calibrated.code, 0, "{}", calibrated.stderr);
        assert_eq!(numbers(&run(&bench, "portable", &score("f32"))), expected);
        run(&bench, "portable", &score(precision)).refused(&["calibrated on scores in f32 or f16", "inctrl verify"]);
    }
}

/// The verdicts of a bank whose limits lie just above the scores of its good part.
#[test]
fn verify_tells_what_changes_and_writes_limits_that_hold() {
    let bench = Bench::new();
    run(&bench, "", &["bank", "build", "--normals", "good", "-o", "plain"]).succeeded();
    let verify = ["verify", "--bank", "b", "--images", "good", "query.png", "wide.png"];
    let mut changed = 0;
    for part in ["query.png", "wide.png", "good/a.png", "good/b.png"] {
        let limits =
            ["bank", "calibrate", "--bank", "plain", "-o", "b", "--max-false-reject", "0.5", "--normals", part];
        assert_eq!(run(&bench, "portable", &limits).code, 0);
        let told = run(&bench, "portable", &[&verify[..], &["--format", "json"]].concat());
        assert_eq!(told.code, 0, "{}", told.stderr);
        let told: Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!(told["reference"]["precision"], "f32");
        for (line, (precision, tolerance)) in
            told["compared"].as_array().unwrap().iter().zip([("bf16", 2e-3), ("int8", 5e-3)])
        {
            assert_eq!((&line["precision"], &line["images"]), (&precision.into(), &2.into()));
            assert_eq!(line["prompts"], 3);
            let number = |name: &str| line[name].as_f64().unwrap();
            assert!(number("score_most") > 0.0 && number("score_most") <= tolerance, "{line}");
            assert!(number("score_mean") <= number("score_most") && number("cell_most") <= 0.02, "{line}");
            assert!(number("cells_ranked") > 0.99 && line["worst_map"][0].as_f64().unwrap() > 0.97, "{line}");
            // What the change says of itself is what the limits say of its numbers.
            for change in line["changes"].as_array().unwrap() {
                let verdict = |k: usize| {
                    let past = |value: &Value, limit: &str| value[k].as_f64() >= told["limits"][limit].as_f64();
                    match past(&change["scores"], "reject") {
                        true => "reject",
                        false if past(&change["scores"], "review") || past(&change["largest"], "cell") => "review",
                        false => "pass",
                    }
                };
                assert_eq!(change["verdicts"], serde_json::json!([verdict(0), verdict(1)]), "{change}");
                assert_ne!(change["verdicts"][0], change["verdicts"][1]);
                changed += 1;
            }
        }
        assert_eq!(told["compared"].as_array().unwrap().len(), 2);
    }
    assert!(changed > 0, "no part at the limit changed its verdict");

    let recalibrate = ["verify", "--bank", "b", "--images", "query.png", "wide.png", "--precision", "int8", "-o", "c"];
    let told = run(&bench, "portable", &recalibrate);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(
        told.stdout.contains("verdicts change") && told.stderr.contains("on 2 images as good parts, at most 0.5"),
        "{}",
        told.stderr
    );
    let score = |precision| ["score", "--bank", "c", "--precision", precision, "--format", "jsonl", "query.png"];
    numbers(&run(&bench, "portable", &score("int8")));
    run(&bench, "portable", &score("f32")).refused(&["calibrated on scores in int8"]);
    // From a bank in int8 the others are told what it means to go back; without a file that can be read, the rest is
    // there.
    let back =
        ["verify", "--bank", "c", "--images", "query.png", "absent.png", "--precision", "f32", "--format", "json"];
    let told = run(&bench, "portable", &back);
    assert!(told.code == 2 && told.stderr.contains("absent.png"), "{}", told.stderr);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&told["reference"]["precision"], &told["compared"][0]["images"]), (&"int8".into(), &1.into()));
    run(&bench, "portable", &[&verify[..], &["--precision", "f32"]].concat())
        .refused(&["in f32 is the reference itself"]);
}
