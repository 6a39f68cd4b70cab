//! The measuring commands on a GPU, and processes that share one.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use inctrl::{Device, Engine, EngineOptions, Fit, Image};
use inctrl_lab::measure;
use serde_json::Value;

use crate::emulator;
use crate::program::{Bench, Run};
use crate::tiny::MODELS;
use crate::{Turn, turn};

/// Scoring on the device, but for the queries.
#[rustfmt::skip]
pub const SCORE: [&str; 11] = [
    "score", "--weights", "w.safetensors", "--device", "cuda:0", "--normals", "good", "--class", "cat", "--format", "jsonl",
];

/// A folder with the model `w.safetensors`, which a GPU runs, and pictures.
pub fn bench() -> Bench {
    let bench = Bench::empty();
    bench.write("w.json", MODELS[1].1);
    bench.run(&["weights", "random", "--config", "w.json", "--seed", "3", "-o", "w.safetensors"]).succeeded();
    bench.picture("good/a.png", 40, 50, 1);
    bench.picture("good/b.png", 50, 40, 2);
    bench.picture("query.png", 50, 50, 3);
    bench
}

/// A command that sees the device under test and no other.
fn command(turn: &Turn, bench: &Bench, args: &[&str]) -> Command {
    let mut command = bench.command(args);
    if turn.is_emulated() {
        // Kernels of the emulator stay out of the user's cache.
        command.env("LD_LIBRARY_PATH", emulator::folder().unwrap()).env("XDG_CACHE_HOME", bench.path("cache"));
    }
    command
}

fn run(turn: &Turn, bench: &Bench, args: &[&str]) -> Run {
    command(turn, bench, args).output().unwrap().into()
}

fn json(bench: &Bench, name: &str) -> Value {
    serde_json::from_slice(&bench.read(name)).unwrap()
}

#[test]
fn cuda_bench_splits_a_score_into_its_steps() {
    let Some(turn) = turn() else { return };
    let bench = bench();
    #[rustfmt::skip]
    let run = run(&turn, &bench, &[
        "bench", "--weights", "w.safetensors", "--device", "cuda:0", "--no-operations", "--batches", "1,2", "--prompts", "2",
        "--gaps", "0,1", "--frames", "3", "--seconds", "1", "--size", "64x48", "--deadline-ms", "1e6", "--json", "bench.json",
    ])
    .succeeded();
    assert!(run.stdout.starts_with("device   CUDA device 0"), "{}", run.stdout);
    let steps = ["decode", "upload", "resize", "encode", "nearest neighbour", "heads"];
    for step in steps {
        assert!(run.stdout.lines().any(|line| line.trim_start().starts_with(step)), "no {step}: {}", run.stdout);
    }
    assert!(run.stdout.contains("deadline 1000000 ms: kept"), "{}", run.stdout);
    let report = json(&bench, "bench.json");
    for found in report["latency"].as_array().unwrap() {
        let times = found["steps"].as_object().unwrap();
        assert_eq!(times.len(), steps.len());
        for step in steps {
            assert!(times[step]["p50"].as_f64().is_some_and(|seconds| seconds > 0.0), "{step}: {found}");
        }
    }
    let counts: Vec<_> = report["latency"].as_array().unwrap().iter().map(|found| &found["seconds"]["count"]).collect();
    assert_eq!(counts, [3, 3]);
    assert_eq!(report["throughput"].as_array().unwrap().len(), 2);
}

#[test]
fn cuda_every_operation_is_timed() {
    let Some(turn) = turn() else { return };
    let mut cuda = turn.cuda(true);
    let arch = inctrl::weights::Arch::from_json(MODELS[1].1).unwrap();
    let mut found = Vec::new();
    measure::operations(&mut cuda, &arch, 1, &[1, 2], |time| found.push(time)).unwrap();
    for operation in
        ["preprocess", "attention", "class_attention", "patch_nn: 1", "patch_nn: 2", "residual_mean", "inctrl_heads"]
    {
        let times: Vec<_> = found.iter().filter(|time| time.operation.starts_with(operation)).collect();
        assert!(!times.is_empty(), "no {operation} in {found:?}");
        assert!(times.iter().all(|time| time.seconds > 0.0 && time.bytes > 0.0), "{times:?}");
    }
    let peak = measure::peak(&mut cuda, 1 << 16, 64).unwrap();
    assert!(peak.bytes_per_second > 0.0 && peak.flop_per_second > 0.0, "{peak:?}");
}

#[test]
fn cuda_every_operation_agrees_with_its_formula() {
    let Some(turn) = turn() else { return };
    for half in [true, false] {
        let mut cuda = turn.cuda(half);
        for operation in measure::op::OPERATIONS {
            // Counts that no tile divides; rows are whole pieces.
            let odd = |size: &measure::op::Size| {
                let count = size.usual.min(size.most).min(37).max(size.least);
                (size.name.to_owned(), count.next_multiple_of(size.gpu_multiple))
            };
            let given: Vec<(String, usize)> = operation.sizes.iter().map(odd).collect();
            let sizes = measure::op::Sizes::new(operation, &given).unwrap();
            let checked = measure::op::prepare(&mut cuda, &sizes).unwrap();
            assert!(checked.agreement.compared > 0, "{}", operation.name);
        }
    }
}

/// Shapes that a table of algorithms knows.
fn table_shapes(table: &Value) -> usize {
    table["algorithms"].as_array().unwrap().len()
}

#[test]
fn cuda_tune_writes_a_table_that_scoring_takes() {
    let Some(turn) = turn() else { return };
    let bench = bench();
    let tune = ["tune", "--weights", "w.safetensors", "--device", "cuda:0", "--batches", "1", "-o", "table.json"];
    let tuned = run(&turn, &bench, &tune).succeeded();
    assert!(tuned.stdout.starts_with("CUDA device 0") && tuned.stdout.contains(" us, of "), "{}", tuned.stdout);
    let score = |extra: &[&str]| run(&turn, &bench, &[&SCORE[..], extra, &["query.png"]].concat()).succeeded().rows();
    let (plain, with_table) = (score(&[]), score(&["--algorithms", "table.json"]));
    let (a, b) = (plain[0]["score"].as_f64().unwrap(), with_table[0]["score"].as_f64().unwrap());
    // Algorithms differ in the order of sums.
    assert!((a - b).abs() <= 2e-3, "{a} and {b}");

    if turn.is_emulated() {
        // An algorithm that splits sums, and one that is none.
        for (word, what) in [(2, "0000000200000004"), (0, "0000000000000000")] {
            let mut table = json(&bench, "table.json");
            for entry in table["algorithms"].as_array_mut().unwrap() {
                entry["algorithm"][word] = what.into();
            }
            bench.write("unfit.json", table.to_string());
            let args = [&SCORE[..], &["--algorithms", "unfit.json", "query.png"]].concat();
            run(&turn, &bench, &args).refused(&["unfit.json", "batches of every size", "inctrl tune"]);
        }
    }

    // What the library would take, of which nothing is measured.
    let list = ["tune", "--weights", "w.safetensors", "--batches", "1,2", "--list", "-o", "list.json"];
    run(&turn, &bench, &list).succeeded();
    let list = json(&bench, "list.json")["preferences"].as_array().unwrap().clone();
    let of =
        |rows: u64| list.iter().filter(move |found| found["rows"] == rows && found["place"] == 0).collect::<Vec<_>>();
    let tokens = 1 + 9;
    for rows in [1, 2, tokens, 2 * tokens] {
        let first = of(rows);
        assert_eq!(first.len(), table_shapes(&json(&bench, "table.json")), "{rows} rows");
        assert!(first.iter().all(|found| found["id"].is_u64() && found["tile"].is_u64() && found["split"].is_u64()));
    }
    // The stand-in splits the sums of a few rows, of which no table may know.
    assert!(!turn.is_emulated() || of(1).iter().all(|found| found["split"] != 1 && found["usable"] == false));

    // A table of another GPU is refused, with a word on what to do.
    let mut other = json(&bench, "table.json");
    other["gpu"] = "another".into();
    bench.write("other.json", other.to_string());
    let args = [&SCORE[..], &["--algorithms", "other.json", "query.png"]].concat();
    run(&turn, &bench, &args).refused(&["other.json", "inctrl tune"]);
}

#[test]
fn cuda_two_processes_score_on_one_device() {
    let Some(turn) = turn() else { return };
    let bench = bench();
    let mut options = EngineOptions::new(bench.path("w.safetensors"));
    options.device = Device::Cuda(0);
    let engine = Engine::with(&options).unwrap();
    let images = ["good/a.png", "good/b.png", "query.png"].map(|name| Image::open(bench.path(name)).unwrap());
    let frames = images.each_ref().map(Image::frame);
    let bank = Arc::new(engine.build_bank("cat", Fit::Crop, &frames[..2]).unwrap());
    let expected = engine.scorer(bank).unwrap().score(frames[2]).unwrap().score;
    let args = [&SCORE[..], &["query.png"]].concat();
    // At once, beside this process: they also meet in the cache of compiled kernels.
    let started: Vec<_> = (0..2)
        .map(|_| {
            let mut command = command(&turn, &bench, &args);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in started {
        let run = Run::from(child.wait_with_output().unwrap()).succeeded();
        let found = run.rows()[0]["score"].as_f64().unwrap() as f32;
        assert_eq!(found.to_bits(), expected.to_bits(), "{found} and {expected}");
    }
    // The first may have compiled the kernels that the second finds.
    let name = |engine: &Engine| engine.device().split(", kernels").next().map(str::to_owned);
    assert_eq!(name(&engine), name(&Engine::with(&options).unwrap()));
}

#[test]
fn cuda_a_device_that_others_have_filled_is_an_error() {
    let Some(turn) = turn() else { return };
    if !turn.is_emulated() {
        return;
    }
    let bench = bench();
    let args = [&SCORE[..], &["query.png"]].concat();
    let mut command = command(&turn, &bench, &args);
    let output: Output = command.env("INCTRL_EMULATOR_MEMORY", "200000").output().unwrap();
    Run::from(output).refused(&["of GPU memory", "are free", "close other programs on this GPU"]);
}
