//! The examples and the installed package, as an integrator builds them.

use std::path::Path;
use std::process::Command;

use super::{has, libraries, root, run};
use crate::common::clients::{STRICT, compile, runtime};
use crate::tiny::{MODELS, Model};

/// A PNM picture with a defect or without; grey, or grey as colour.
fn write_pnm(path: &Path, colour: bool, defect: bool) {
    let mut file = format!("P{} 48 40 255\n", if colour { 6 } else { 5 }).into_bytes();
    for i in 0..48 * 40 {
        let (x, y) = (i % 48, i / 48);
        let value =
            if defect && (16..32).contains(&x) && (8..24).contains(&y) { 240 } else { (100 + x * 3 % 17 + y) as u8 };
        file.extend(std::iter::repeat_n(value, if colour { 3 } else { 1 }));
    }
    std::fs::write(path, file).unwrap();
}

#[test]
fn the_c_example_gives_the_score_of_rust() {
    if !has("gcc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("score_pnm");
    compile("gcc", "-std=c99", "examples/c/score_pnm.c", &program, &["-linctrl"]);
    let model = Model::new(MODELS[1].1, 7);
    let paths = ["query", "normal_a", "normal_b"].map(|name| folder.path().join(name));
    write_pnm(&paths[0], true, true);
    write_pnm(&paths[1], false, false);
    write_pnm(&paths[2], true, false);
    let mut command = Command::new(&program);
    command.env("LD_LIBRARY_PATH", runtime(folder.path())).arg(&model.path).arg("cat").args(&paths);
    let said = run(&mut command);

    let images = paths.map(|path| inctrl::Image::open(path).unwrap());
    let engine = model.engine(1);
    let bank = engine.build_bank("cat", inctrl::Fit::Crop, &[images[1].frame(), images[2].frame()]).unwrap();
    let id = bank.id().to_owned();
    let mut scorer = engine.scorer(bank.into()).unwrap();
    let score = scorer.score(images[0].frame()).unwrap();
    let words: Vec<_> = said.split([' ', ',', '\n']).collect();
    let number = |at: usize| words[at].parse::<f32>().unwrap().to_bits();
    assert_eq!(number(1), score.score.to_bits(), "{said}");
    assert!(said.contains(&format!("bank {id}")), "{said}");

    std::fs::write(folder.path().join("normal_b"), "P6 4000 4000 255\nshort").unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("normal_b"), "{output:?}");
    let output = Command::new(&program).env("LD_LIBRARY_PATH", folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_cpp_example_runs() {
    if !has("g++") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("camera_loop");
    compile("g++", "-std=c++17", "examples/cpp/camera_loop.cpp", &program, &["-linctrl", "-pthread"]);
    let model = Model::new(MODELS[1].1, 7);
    let mut command = Command::new(&program);
    let said = run(command.env("LD_LIBRARY_PATH", runtime(folder.path())).arg(&model.path).arg("40"));
    assert!(said.contains("is generation 2") && said.matches("frames 40,").count() == 2, "{said}");
    let output = Command::new(&program).env("LD_LIBRARY_PATH", folder.path()).arg("absent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("absent"));
}

#[test]
fn the_example_of_products_tells_them_apart() {
    if !has("g++") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("products");
    compile("g++", "-std=c++17", "examples/cpp/products.cpp", &program, &["-linctrl"]);
    let model = Model::new(MODELS[1].1, 7);
    let mut command = Command::new(&program);
    let said = run(command.env("LD_LIBRARY_PATH", runtime(folder.path())).arg(&model.path));
    assert!(said.contains("at the right: bolt"), "{said}");
    // The image that was appended is its own nearest.
    assert!(said.contains("nut 0.000 with") && said.contains("of 3 images"), "{said}");
}

#[test]
fn the_installed_package_is_found() {
    if !has("gcc") || !has("pkg-config") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("opt");
    let script = root().join("scripts/install.sh");
    run(Command::new("sh").arg(&script).arg("--libraries").arg(libraries()).arg("--prefix").arg(&prefix));
    let lib = prefix.join("lib");
    let flags = |more: &[&str]| {
        run(Command::new("pkg-config").args(more).arg("inctrl").env("PKG_CONFIG_PATH", lib.join("pkgconfig")))
    };
    assert_eq!(flags(&["--modversion"]).trim(), env!("CARGO_PKG_VERSION"));
    let model = Model::new(MODELS[1].1, 7);
    let picture = folder.path().join("a.pnm");
    write_pnm(&picture, false, false);
    for kind in [&["--cflags", "--libs"][..], &["--cflags", "--libs", "--static"]] {
        let program = folder.path().join("program");
        let words = flags(kind);
        let mut gcc = Command::new("gcc");
        gcc.args(STRICT).arg("-std=c99").arg(root().join("examples/c/score_pnm.c"));
        for word in words.split_whitespace() {
            // The archive where the shared library would be taken.
            if kind.contains(&"--static") && word == "-linctrl" {
                gcc.arg(lib.join("libinctrl.a"))
            } else {
                gcc.arg(word)
            };
        }
        run(gcc.arg("-o").arg(&program));
        let mut command = Command::new(&program);
        if !kind.contains(&"--static") {
            command.env("LD_LIBRARY_PATH", &lib);
        }
        let said = run(command.arg(&model.path).arg("cat").arg(&picture).arg(&picture));
        assert!(said.starts_with("score "), "{said}");
    }
    if has("cmake") {
        let build = folder.path().join("build");
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(root().join("examples/cpp")).arg("-B").arg(&build);
        run(configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
        run(Command::new("cmake").arg("--build").arg(&build));
        let said = run(Command::new(build.join("camera_loop")).arg(&model.path).arg("10"));
        assert!(said.contains("is generation 2"), "{said}");
    }
}
