//! Missing and broken NVIDIA libraries, and ones that lack a function. Emulated only.
//!
//! With `--device cuda`, the program says what is missing and which version has it. With `--device auto`, it uses the
//! CPU and says why.

use std::path::Path;

use crate::commands::{SCORE, bench};
use crate::emulator::build::{Exports, libraries_with};
use crate::program::{Bench, Run};
use crate::{Turn, turn};

/// The list that is asked for, in its own words.
const LISTED: &str = include_str!("../../../../src/backend/cuda/libraries.rs");

fn emulated() -> Option<Turn> {
    turn().filter(Turn::is_emulated)
}

/// Every name in quotes that is a function's of one of the libraries.
fn listed() -> Vec<&'static str> {
    let quoted = LISTED.split('"').skip(1).step_by(2);
    let of_driver = |name: &str| name.strip_prefix("cu").is_some_and(|rest| rest.starts_with(char::is_uppercase));
    let mut names: Vec<_> = quoted
        .filter(|name| of_driver(name) || name.starts_with("cublasLt") || name.starts_with("nvrtc"))
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn run(bench: &Bench, libraries: &Path, args: &[&str]) -> Run {
    let mut command = bench.command(args);
    command.env("LD_LIBRARY_PATH", libraries).env("XDG_CACHE_HOME", bench.path("cache")).env_remove("RUST_BACKTRACE");
    command.output().unwrap().into()
}

/// `args` on the GPU are refused with these words, and on whatever there is succeed with the same words as the reason.
fn refused_or_said(bench: &Bench, libraries: &Path, words: &[&str]) {
    run(bench, libraries, &[&SCORE[..], &["query.png"]].concat()).refused(words);
    let auto: Vec<&str> = SCORE.iter().map(|&arg| if arg == "cuda:0" { "auto" } else { arg }).collect();
    let found = run(bench, libraries, &[&auto[..], &["query.png"]].concat());
    assert!(found.code == 0 && !found.stderr.contains("panicked"), "{}", found.stderr);
    for word in ["device: CPU", "no CUDA device"].iter().chain(words) {
        assert!(found.stderr.contains(word), "no {word:?} in: {}", found.stderr);
    }
    assert!(found.rows()[0]["score"].is_f64());
}

#[test]
fn cuda_what_is_listed_is_all_that_is_called() {
    let Some(_turn) = emulated() else { return };
    let bench = bench();
    let names = listed();
    assert!(names.len() > 60, "{names:?}");
    let libraries = libraries_with(&Exports::Only(&names)).unwrap();
    run(&bench, &libraries, &[&SCORE[..], &["query.png"]].concat()).succeeded();
    let tune = ["tune", "--weights", "w.safetensors", "--batches", "1", "-o", "table.json"];
    run(&bench, &libraries, &tune).succeeded();
    run(&bench, &libraries, &[&SCORE[..], &["--algorithms", "table.json", "query.png"]].concat()).succeeded();
    run(&bench, &libraries, &[&SCORE[..], &["--fast", "query.png"]].concat()).succeeded();
    // The failing calls too, with the names of their codes.
    let mut failing = bench.command(&[&SCORE[..], &["query.png"]].concat());
    failing.env("LD_LIBRARY_PATH", &libraries).env("XDG_CACHE_HOME", bench.path("cache"));
    failing.env("INCTRL_EMULATOR_FAIL", "cuLaunchKernel:0:700");
    Run::from(failing.output().unwrap()).refused(&["CUDA_ERROR_ILLEGAL_ADDRESS"]);
}

#[test]
fn cuda_a_function_that_a_library_lacks_is_named_with_the_version_that_has_it() {
    let Some(_turn) = emulated() else { return };
    let bench = bench();
    let without = |names: &[&str]| libraries_with(&Exports::Without(names)).unwrap();
    // A driver of before 12.1, one from which something else is missing, and a library that only has a driver's name.
    refused_or_said(&bench, &without(&["cuCtxSetFlags"]), &["lacks `cuCtxSetFlags`,", "CUDA 12.1", "driver 530"]);
    refused_or_said(&bench, &without(&["cuGraphLaunch"]), &["lacks `cuGraphLaunch`,", "CUDA 12.0", "driver 525"]);
    let nothing = libraries_with(&Exports::Only(&[])).unwrap();
    refused_or_said(&bench, &nothing, &["more of the functions", "CUDA 12.1", "driver 530"]);
    // The other two libraries.
    let without_product = without(&["cublasLtMatmul"]);
    refused_or_said(&bench, &without_product, &["cuBLASLt was found but lacks `cublasLtMatmul`,", "CUDA 12.0"]);
    // Asked for only where the program was built without nvcc.
    let without_compiler = without(&["nvrtcGetPTX"]);
    let prebuilt = run(&bench, &without_compiler, &[&SCORE[..], &["query.png"]].concat()).code == 0;
    if !prebuilt {
        refused_or_said(&bench, &without_compiler, &["runtime compiler", "lacks `nvrtcGetPTX`,", "CUDA 12.0"]);
    }
}

#[test]
fn cuda_timing_takes_either_name_of_its_function() {
    let Some(_turn) = emulated() else { return };
    let bench = bench();
    let tune = ["tune", "--weights", "w.safetensors", "--batches", "1", "-o", "table.json"];
    let old = libraries_with(&Exports::Without(&["cuEventElapsedTime_v2"])).unwrap();
    run(&bench, &old, &tune).succeeded();
    let neither = libraries_with(&Exports::Without(&["cuEventElapsedTime_v2", "cuEventElapsedTime"])).unwrap();
    run(&bench, &neither, &tune).refused(&["lacks `cuEventElapsedTime`", "driver"]);
    // Nothing is timed to score.
    run(&bench, &neither, &[&SCORE[..], &["query.png"]].concat()).succeeded();
}

#[test]
fn cuda_a_file_that_is_no_library_is_said_to_be_none() {
    let Some(_turn) = emulated() else { return };
    let bench = bench();
    let good = libraries_with(&Exports::All).unwrap();
    let whole = std::fs::read(good.join("libcuda.so")).unwrap();
    // A class and a machine that this one is not: 32 bits, and an old one.
    let foreign = [&whole[..4], &[1], &whole[5..18], &[8, 0], &whole[20..64]].concat();
    let files: [(&str, &[u8]); 4] =
        [("empty", b""), ("text", b"#!/bin/sh\nexit 0\n"), ("foreign", &foreign), ("cut", &whole[..40])];
    for (kind, content) in files {
        for library in ["libcuda.so", "libcublasLt.so"] {
            let folder = bench.path(format!("{kind} {library}"));
            std::fs::create_dir(&folder).unwrap();
            for name in ["libcuda.so", "libcublasLt.so", "libnvrtc.so"] {
                std::os::unix::fs::symlink(good.join(name), folder.join(name)).unwrap();
            }
            std::fs::remove_file(folder.join(library)).unwrap();
            std::fs::write(folder.join(library), content).unwrap();
            let what = if library == "libcuda.so" { "NVIDIA driver" } else { "cuBLASLt" };
            refused_or_said(&bench, &folder, &[what, "install"]);
            if kind != "foreign" {
                // What the system says of the file; it passes over libraries for other machines.
                refused_or_said(&bench, &folder, &["cannot be loaded", library]);
            }
        }
    }
}
