//! The clients of `tests/clients`: what they find surprising, and that all four ways to a score give the same bits.

use std::process::Command;

use inctrl::{Fit, Frame, Image, PixelFormat, PromptBank};

use super::examples::{compile, runtime};
use super::{has, run};
use crate::tiny::{MODELS, Model};

/// The bits of the score that a client says.
fn bits(said: &str) -> u32 {
    let digits = said.trim().rsplit(' ').next().unwrap();
    u32::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{said}: {error}"))
}

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

    let program = std::env::var_os("INCTRL_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_inctrl").into());
    let score = |bank: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(&c).arg("score").arg("--weights").arg(&model.path).args(["--device", "cpu"]);
        bits_of_row(&run(command.args(bank).args(["--format", "jsonl", "query.pgm"])))
    };
    assert_eq!(score(&["--bank", "two.bank"]), through_rust, "the bank that C made");
    let normals = ["--class", "plate", "--normals", "normal_0.pgm", "--normals", "normal_1.pgm"];
    assert_eq!(score(&normals), through_rust, "the normal images themselves");
}

/// The clients fail where something is not as they expect, so that their success says something.
#[test]
fn the_clients_notice_a_surprise() {
    if !has("gcc") || !has("g++") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = |name: &str| folder.path().join(name);
    compile("gcc", "-std=c99", "tests/clients/stranger.c", &program("stranger"), &["-linctrl"]);
    compile("g++", "-std=c++17", "tests/clients/everything.cpp", &program("everything"), &["-linctrl"]);
    let model = Model::new(MODELS[1].1, 7);
    let runtime = runtime(folder.path());
    let fails = |name: &str, arguments: &[&std::path::Path], word: &str| {
        let output = Command::new(program(name)).env("LD_LIBRARY_PATH", &runtime).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(word), "{said}");
    };
    // The other model is the same one, whose bank is not refused.
    fails("stranger", &[&model.path, &model.path, folder.path()], "inctrl_slot_swap");
    fails("everything", &[&model.path, &folder.path().join("absent")], "not so");
}

/// A program of the first header goes on working, to the last bit.
#[test]
fn a_program_of_the_first_header_still_works() {
    if !has("gcc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("client");
    compile("gcc", "-std=c99", "tests/clients/first/client.c", &program, &["-linctrl", "-Wno-unused-function"]);
    let model = Model::new(MODELS[1].1, 7);
    let mut client = Command::new(&program);
    client.env("LD_LIBRARY_PATH", runtime(folder.path())).arg(&model.path);
    let through_c = bits(&run(&mut client));

    let pixel = |x: usize, y: usize| (100 + x * 3 % 17 + y % 7) as u8;
    let normal: Vec<u8> = (0..96 * 64).map(|i| pixel(i % 96, i / 96)).collect();
    let mut query = normal.clone();
    query.chunks_exact_mut(96).skip(20).take(16).for_each(|row| row[40..60].fill(250));
    let frame = |pixels| Frame::packed(pixels, 96, 64, PixelFormat::Grey8).unwrap();
    let engine = model.engine(1);
    let bank = engine.build_bank("plate", Fit::Crop, &[frame(&normal)]).unwrap();
    let score = engine.scorer(bank.into()).unwrap().score(frame(&query)).unwrap().score;
    assert_eq!(through_c, score.to_bits());
}
