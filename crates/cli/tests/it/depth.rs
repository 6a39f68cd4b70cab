//! Pictures of 10, 12, 14 and 16 bits through every entry of the command line and of Rust, and the parts that a crop
//! cuts off.

use std::sync::Arc;

use image::{ImageBuffer, Luma};
use inctrl::{DepthDoubt, ErrorKind, Fit, Frame, Image, PixelFormat, PromptBank, WhiteLevel};

use crate::program::{Bench, Run};
use crate::tiny::on_the_processor;

/// A grey PNG with each value of a textured picture shifted up by `shift` in 16 bits, or in 8 bits where there is none.
fn picture(bench: &Bench, name: &str, [width, height]: [u32; 2], seed: u32, shift: Option<u32>) {
    let path = bench.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let value =
        |x: u32, y: u32| 40 + ((x / 5 + 31 * (y / 4) + 977 * seed).wrapping_mul(2_654_435_761) >> 24) as u16 % 200;
    match shift {
        None => ImageBuffer::from_fn(width, height, |x, y| Luma([value(x, y) as u8])).save(path).unwrap(),
        Some(shift) => ImageBuffer::from_fn(width, height, |x, y| Luma([value(x, y) << shift])).save(path).unwrap(),
    }
}

/// A model, and the same good parts and query at 8, 10, 12 and 14 bits.
fn bench() -> Bench {
    let bench = Bench::empty();
    bench.model("w.safetensors", 1);
    for (folder, shift) in [("8", None), ("10", Some(2)), ("12", Some(4)), ("14", Some(6))] {
        for seed in 0..3 {
            picture(&bench, &format!("{folder}/good/{seed}.png"), [40, 40], seed, shift);
        }
        picture(&bench, &format!("{folder}/query.png"), [40, 40], 7, shift);
    }
    bench
}

fn build(bench: &Bench, normals: &str, out: &str, more: &[&str]) -> Run {
    let first = ["bank", "build", "--weights", "w.safetensors", "--threads", "1", "--normals", normals, "-o", out];
    bench.run(&[&first[..], more].concat())
}

fn scores(run: &Run) -> Vec<f64> {
    run.rows().iter().map(|row| row["score"].as_f64().unwrap()).collect()
}

#[test]
fn a_declared_depth_scores_as_its_eight_bit_twin() {
    let bench = bench();
    let score = |normals: &str, query: &str, more: &[&str]| {
        let query = format!("{query}/query.png");
        let run =
            bench.score(&[&["--normals", &format!("{normals}/good"), &query, "--format", "jsonl"], more].concat());
        scores(&run.succeeded())
    };
    let expected = score("8", "8", &[]);
    for (folder, level) in [("10", "1023"), ("12", "4095"), ("14", "16383")] {
        let level = ["--white-level", level];
        assert_eq!(score(folder, folder, &level), expected, "{folder}");
        assert_eq!(score("8", folder, &level), expected, "{folder}");
        assert_eq!(score(folder, "8", &level), expected, "{folder}");
    }
    // Undeclared: 14 bits differ and cannot be told from a darker picture; 12 bits are told.
    assert_ne!(score("8", "14", &[]), expected);
    let run =
        bench.score(&["--normals", "8/good", "12/query.png", "12/good/0.png", "8/query.png", "--format", "jsonl"]);
    assert_eq!(run.code, 0);
    for part in ["warning: 12/query.png", "12-bit", "--white-level", "4095", "2 of 3"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    // Whoever says that it is right is left alone.
    score("8", "12", &["--white-level", "65535"]);
}

#[test]
fn banks_and_calibrations_of_an_undeclared_depth_are_refused() {
    let bench = bench();
    let refused = |run: Run, file: &str| {
        run.refused(&[file, "16-bit", "12-bit", "--white-level", "4095", "65535"]);
    };
    refused(build(&bench, "12/good", "b.bank", &[]), "12/good/2.png");
    assert!(!bench.path("b.bank").exists());
    refused(bench.score(&["--normals", "12/good", "8/query.png"]), "12/good/0.png");
    build(&bench, "8/good", "b.bank", &[]).succeeded();
    let with_bank = |command: &str, normals: &str, more: &[&str]| {
        let first =
            ["bank", command, "--weights", "w.safetensors", "--threads", "1", "--bank", "b.bank", "--normals", normals];
        bench.run(&[&first[..], more].concat())
    };
    refused(with_bank("append", "12/query.png", &[]), "12/query.png");
    refused(with_bank("calibrate", "12/good", &["--max-false-reject", "0.5"]), "12/good/1.png");
    refused(with_bank("report", "12/good", &[]), "12/good/0.png");
    // Declared, the same pictures are the bank's prompts.
    let report = with_bank("report", "12/good", &["--white-level", "4095", "--format", "json"]);
    assert_eq!(report.code, 0, "{}", report.stderr);
    assert_eq!(report.rows()[0]["prompts"].as_array().unwrap().len(), 3);
}

/// A bank remembers what its prompts were declared to be, and asks the same of queries of 16 bits, however bright.
#[test]
fn a_bank_knows_the_white_level_of_its_prompts() {
    let bench = bench();
    build(&bench, "14/good", "b.bank", &["--white-level", "16383"]).succeeded();
    build(&bench, "8/good", "eight.bank", &[]).succeeded();
    let info = bench.run(&["bank", "info", "b.bank"]).succeeded();
    assert!(info.stdout.contains("white    16383"), "{}", info.stdout);
    let json = bench.run(&["bank", "info", "b.bank", "--format", "json"]).succeeded();
    assert_eq!(json.rows()[0]["white_level"], 16_383);
    let run = bench.score(&["--bank", "b.bank", "14/query.png", "--format", "jsonl"]);
    assert!(run.stderr.contains("16383") && run.stderr.contains("without a white level"), "{}", run.stderr);
    let right = bench.score(&["--bank", "b.bank", "14/query.png", "--format", "jsonl", "--white-level", "16383"]);
    assert_eq!(
        scores(&right.succeeded()),
        scores(&bench.score(&["--bank", "b.bank", "8/query.png", "--format", "jsonl"]))
    );
    // It is in no score, and a bank of eight bits is what it was.
    let [fourteen, eight] = ["b.bank", "eight.bank"].map(|name| PromptBank::open(bench.path(name)).unwrap());
    assert_eq!(fourteen.prompt_hashes(), eight.prompt_hashes());
    assert_ne!(fourteen.id(), eight.id());
    assert_eq!(
        (eight.white_level(), fourteen.subset(&[1]).unwrap().white_level().map(WhiteLevel::get)),
        (None, Some(16_383))
    );
    let first = [
        "bank",
        "append",
        "--weights",
        "w.safetensors",
        "--bank",
        "b.bank",
        "--normals",
        "14/query.png",
        "-o",
        "c.bank",
    ];
    bench.run(&first).refused(&["14/query.png", "16383", "--white-level"]);
    bench.run(&[&first[..], &["--white-level", "16383"]].concat()).succeeded();
}

#[test]
fn data_sets_evaluations_and_trainings_take_the_level_or_name_the_pictures() {
    let bench = bench();
    for (set, shift) in [("eight", None), ("twelve", Some(4))] {
        for seed in 0..5 {
            picture(&bench, &format!("{set}/nut/train/good/{seed}.png"), [40, 40], seed, shift);
        }
        for seed in 0..2 {
            picture(&bench, &format!("{set}/nut/test/good/{seed}.png"), [40, 40], 10 + seed, shift);
            picture(&bench, &format!("{set}/nut/test/bent/{seed}.png"), [40, 40], 20 + seed, shift);
        }
    }
    let check = bench.run(&["data", "check", "twelve"]);
    assert_eq!(check.code, 2);
    assert_eq!(check.stdout.matches("fault: ").count(), 9, "{}", check.stdout);
    assert!(check.stdout.contains("--white-level") && check.stdout.contains("4095"), "{}", check.stdout);
    let check = bench.run(&["data", "check", "twelve", "--white-level", "4095"]);
    assert!(!check.stdout.contains("16-bit"), "{}", check.stdout);

    let eval = |set: &str, out: &str, more: &[&str]| {
        let first =
            ["eval", "--weights", "w.safetensors", "--threads", "1", "--shots", "2", "--runs", "1", "--dataset"];
        bench.run(&[&first[..], &[set, "-o", out], more].concat())
    };
    // The reason comes with the refusal.
    eval("twelve", "undeclared", &[]).refused(&["0 usable", "fault: ", "12-bit", "4095"]);
    let compare =
        ["compare", "--weights", "w.safetensors", "--threads", "1", "--normals", "twelve/nut/train/good", "-o", "c"];
    bench.run(&compare).refused(&["0 good images can be prompts", "12-bit", "4095"]);
    assert_eq!(bench.run(&[&compare[..], &["--white-level", "4095", "--method", "inctrl"]].concat()).code, 0);
    assert_eq!(eval("eight", "a", &[]).code, 0);
    assert_eq!(eval("twelve", "b", &["--white-level", "4095"]).code, 0);
    assert_eq!(bench.read("a/scores.csv"), bench.read("b/scores.csv"));
    // Another level is another evaluation.
    assert_eq!(eval("twelve", "b", &["--white-level", "8191"]).code, 1);
    // Prompts of 8 bits and test pictures of undeclared 12: each is an error of its own.
    picture(&bench, "eight/nut/test/good/9.png", [40, 40], 30, Some(4));
    let run = eval("eight", "mixed", &[]);
    assert_eq!(run.code, 2);
    assert!(String::from_utf8(bench.read("mixed/results.json")).unwrap().contains("12-bit"), "{}", run.stderr);
    std::fs::remove_file(bench.path("eight/nut/test/good/9.png")).unwrap();

    let train = |set: &str, out: &str, more: &[&str]| {
        let first = ["train", "--device", "cpu", "--weights", "w.safetensors", "--dataset", set, "-o", out];
        let short = ["--epochs", "1", "--steps", "2", "--batch", "4", "--shots", "2", "--cache", "cache"];
        bench.run(&[&first[..], &short, more].concat())
    };
    let run = train("twelve", "h.safetensors", &[]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("12-bit") && run.stderr.contains("4095"), "{}", run.stderr);
    // One cache for two levels: the features of one are not taken for those of the other.
    assert_eq!(train("twelve", "dim.safetensors", &["--white-level", "65535"]).code, 0);
    assert_eq!(train("twelve", "twelve.safetensors", &["--white-level", "4095"]).code, 0);
    assert_eq!(train("eight", "eight.safetensors", &[]).code, 0);
    assert!(bench.read("twelve.safetensors") == bench.read("eight.safetensors"));
    assert!(bench.read("twelve.safetensors") != bench.read("dim.safetensors"));
}

#[test]
fn a_picture_that_is_timed_is_shown_as_it_is_declared() {
    let bench = bench();
    let timed = |picture: &str, more: &[&str]| {
        let first = ["bench", "--weights", "w.safetensors", "--threads", "1", "--no-operations", "--image", picture];
        let short = ["--batches", "1", "--prompts", "1", "--gaps", "0", "--frames", "1", "--seconds", "1"];
        let run = bench.run(&[&first[..], &short, more].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stderr
    };
    let warned = timed("12/query.png", &[]);
    for part in ["warning: 12/query.png", "12-bit", "--white-level", "4095"] {
        assert!(warned.contains(part), "{warned}");
    }
    for (picture, more) in [("12/query.png", &["--white-level", "4095"][..]), ("8/query.png", &[])] {
        let said = timed(picture, more);
        assert!(!said.contains("warning"), "{said}");
    }
    let first = ["bench", "--weights", "w.safetensors", "--image", "12/query.png", "--white-level", "100"];
    bench.run(&first).refused(&["--white-level", "100"]);
}

#[test]
fn rust_refuses_in_a_bank_and_tells_with_a_score() {
    let bench = bench();
    let engine = on_the_processor(bench.path("w.safetensors"));
    let open = |name: &str, white| Image::open_with(bench.path(name), white).unwrap();
    let (eight, twelve) = (open("8/good/0.png", None), open("12/good/0.png", None));
    let level = WhiteLevel::new(4095).unwrap();
    let declared = open("12/good/0.png", Some(level));
    assert_eq!(declared.frame().content_hash().unwrap(), eight.frame().content_hash().unwrap());

    let error = engine.build_bank("cat", Fit::Crop, &[twelve.frame()]).unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("white level 4095"), "{error}");
    // Wherever it stands among the others, a picture without a level does not go with those that have one.
    let bright = vec![0x80; 2 * 40 * 40];
    let bright = Frame::packed(&bright, 40, 40, PixelFormat::Grey16).unwrap();
    for frames in [[bright, declared.frame()], [declared.frame(), bright]] {
        let error = engine.build_bank("cat", Fit::Crop, &frames).unwrap_err().to_string();
        assert!(error.contains("4095") && error.contains("16-bit"), "{error}");
    }
    let bank = Arc::new(engine.build_bank("cat", Fit::Crop, &[declared.frame(), eight.frame()]).unwrap());
    assert_eq!((bank.white_level(), bank.info().duplicates), (Some(level), 1));
    let swapped = engine.build_bank("cat", Fit::Crop, &[eight.frame(), declared.frame()]).unwrap();
    assert_eq!(swapped.id(), bank.id(), "the order of prompts changes no bit");

    let mut scorer = engine.scorer(Arc::clone(&bank)).unwrap();
    let mut doubt = |frame: Frame<'_>| scorer.score(frame).unwrap().depth_doubt;
    assert!(matches!(doubt(twelve.frame()), Some(DepthDoubt::Sliver { .. })));
    assert_eq!(doubt(bright), Some(DepthDoubt::Undeclared { prompts: level }));
    assert_eq!([doubt(eight.frame()), doubt(declared.frame())], [None, None]);
    assert_eq!(doubt(bright.with_white_level(WhiteLevel::FULL).unwrap()), None);
    let mut many = engine.multi_bank_scorer(&[bank]).unwrap();
    assert!(many.score(twelve.frame()).unwrap()[0].depth_doubt.is_some());
    // A warm-up of any format is grey, and no doubt is left of it.
    for format in PixelFormat::ALL {
        scorer.warm_up(13, 5, format, 1).unwrap();
    }
}

#[test]
fn a_bank_says_what_its_crop_leaves_out() {
    let bench = bench();
    picture(&bench, "wide/0.png", [80, 40], 3, None);
    picture(&bench, "wide/1.png", [40, 40], 4, None);
    let run = build(&bench, "wide", "wide.bank", &[]).succeeded();
    let info = bench.run(&["bank", "info", "wide.bank"]).succeeded();
    assert_eq!(run.stdout, info.stdout);
    for part in ["50 % of it cut off", "unseen   25 % of the area of all prompts", "letterbox"] {
        assert!(info.stdout.contains(part), "{}", info.stdout);
    }
    assert_eq!(info.stdout.matches("of it cut off").count(), 1);
    let json = bench.run(&["bank", "info", "wide.bank", "--format", "json"]).succeeded();
    let mut unseen: Vec<f64> =
        json.rows()[0]["unseen"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    unseen.sort_by(f64::total_cmp);
    assert_eq!(unseen, [0.0, 0.5]);
    // The lists follow the prompts.
    let bank = PromptBank::open(bench.path("wide.bank")).unwrap();
    let places: Vec<usize> = bank.unseen().enumerate().filter(|(_, unseen)| *unseen == 0.0).map(|(k, _)| k).collect();
    build(&bench, "wide/1.png", "square.bank", &[]).succeeded();
    assert_eq!(bank.subset(&places).unwrap().id(), PromptBank::open(bench.path("square.bank")).unwrap().id());
    for fit in ["letterbox", "stretch"] {
        let run = build(&bench, "wide", "other.bank", &["--fit", fit]).succeeded();
        assert!(!run.stdout.contains("unseen"), "{}", run.stdout);
    }
}
