//! The clients of `tests/clients` find nothing wrong, and an old client still works.

use std::process::Command;

use inctrl::{Fit, Frame, PixelFormat};

use super::{has, run};
use crate::common::clients::{bits, compile, runtime};
use crate::tiny::{MODELS, Model};

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
