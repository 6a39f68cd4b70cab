//! All four ways to a score give the same bits.

use std::process::Command;

use inctrl::{Fit, Image, PromptBank};

use crate::common::clients::{bits, compile, has, run, runtime};
use crate::program::program;
use crate::tiny::{MODELS, Model};

/// The bits of the score in a JSON line.
fn bits_of_row(row: &str) -> u32 {
    let (_, rest) = row.split_once("\"score\":").unwrap_or_else(|| panic!("{row}"));
    let number = rest.split([',', '}']).next().unwrap();
    number.trim().parse::<f32>().unwrap_or_else(|error| panic!("{row}: {error}")).to_bits()
}

#[test]
fn one_frame_has_the_same_bits_through_rust_the_command_line_c_and_cpp() {
    if !has("gcc") || !has("g++") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (c, cpp) = (at("c"), at("cpp"));
    std::fs::create_dir(&c).unwrap();
    std::fs::create_dir(&cpp).unwrap();
    compile("gcc", "-std=c99", "tests/clients/stranger.c", &at("stranger"), &["-linctrl"]);
    compile("g++", "-std=c++17", "tests/clients/everything.cpp", &at("everything"), &["-linctrl"]);
    let (model, other) = (Model::new(MODELS[1].1, 7), Model::new(MODELS[1].1, 8));
    let runtime = runtime(folder.path());
    let client = |name: &str| {
        let mut command = Command::new(at(name));
        command.env("LD_LIBRARY_PATH", &runtime).arg(&model.path);
        command
    };
    let through_c = bits(&run(client("stranger").arg(&other.path).arg(&c)));
    let through_cpp = bits(&run(client("everything").arg(&cpp)));

    // The pictures and the bank that the clients left behind.
    let engine = model.engine(1);
    let open = |name: &str| Image::open(c.join(name)).unwrap();
    let (query, normals) = (open("query.pgm"), [open("normal_0.pgm"), open("normal_1.pgm")]);
    let bank = engine.build_bank("plate", Fit::Crop, &[normals[0].frame(), normals[1].frame()]).unwrap();
    for folder in [&c, &cpp] {
        assert_eq!(PromptBank::open(folder.join("two.bank")).unwrap().id(), bank.id());
    }
    let through_rust = engine.scorer(bank.into()).unwrap().score(query.frame()).unwrap().score.to_bits();
    assert_eq!((through_c, through_cpp), (through_rust, through_rust), "C and C++ beside Rust");

    let score = |bank: &[&str]| {
        let mut command = Command::new(program());
        command.current_dir(&c).arg("score").arg("--weights").arg(&model.path).args(["--device", "cpu"]);
        bits_of_row(&run(command.args(bank).args(["--format", "jsonl", "query.pgm"])))
    };
    assert_eq!(score(&["--bank", "two.bank"]), through_rust, "the bank that C made");
    let normals = ["--class", "plate", "--normals", "normal_0.pgm", "--normals", "normal_1.pgm"];
    assert_eq!(score(&normals), through_rust, "the normal images themselves");
}
