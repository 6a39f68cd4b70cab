//! Tiles on the command line: built, looked at, scored, evaluated, and refused.

use serde_json::Value;

use crate::program::{Bench, Run};

const METHOD: [&str; 4] = ["--method", "anomaly-dino", "--rotations", "1"];
const TILES: [&str; 6] = ["--tile", "48", "--overlap", "16", "--scale", "0.5"];

/// With larger pictures: two good ones, and one to score.
fn bench() -> Bench {
    let bench = Bench::new();
    for (i, name) in ["large/a.png", "large/b.png", "other.png"].into_iter().enumerate() {
        bench.picture(name, 240, 180, 30 + i as u32);
    }
    bench
}

fn build(bench: &Bench, options: &[&str]) -> Run {
    let words = ["bank", "build", "--weights", "w.safetensors", "--normals", "large", "-o", "tiled.bank"];
    bench.run(&[&words[..], &METHOD, options].concat())
}

#[test]
fn a_bank_with_tiles_says_so_and_scores_the_whole_image() {
    let bench = bench();
    let run = build(&bench, &TILES);
    assert_eq!(run.code, 0, "{}", run.stderr);
    // 15 x 11 cells of 16 pixels, in tiles of six cells, four apart.
    assert!(run.stderr.contains("4 x 3 tiles; encoding 2 of them runs the encoder 24 times"), "{}", run.stderr);
    assert!(run.stdout.contains("tiles    tile=48 overlap=16 scale=0.5 bank-per=frame"), "{}", run.stdout);
    let info = bench.run(&["bank", "info", "tiled.bank", "--format", "json"]).succeeded().stdout;
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!((&info["tiling"]["scale"], &info["positions"]), (&Value::from(0.5), &Value::from(1)));
    assert_eq!(info["tensors"]["patches"][0], 2 * 12 * 36);

    let words =
        ["--bank", "tiled.bank", "--format", "jsonl", "--maps", "maps", "other.png", "large/a.png", "query.png"];
    let run = bench.score(&words);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let rows = run.rows();
    assert!(rows[0]["score"].as_f64().unwrap() > 1e-3 && rows[1]["score"].as_f64().unwrap() < 1e-5, "{rows:?}");
    assert!(
        rows[2]["error"].as_str().unwrap().contains("96 x 96 pixels of the frame, which has 40 x 40"),
        "{}",
        rows[2]
    );
    assert!(bench.path("maps/other.overlay.png").exists());
    // Without a file in between, and with several at once, the same scores.
    let direct =
        [&METHOD[..], &TILES, &["--normals", "large", "--format", "jsonl", "--jobs", "2", "other.png"]].concat();
    assert_eq!(bench.score(&direct).rows()[0]["score"], rows[0]["score"]);
}

#[test]
fn a_bank_for_each_position_and_one_for_a_size_of_defect() {
    let bench = bench();
    let run = build(&bench, &[&TILES[..], &["--bank-per", "tile"]].concat());
    assert!(run.code == 0 && run.stdout.contains("in the first of 12 positions"), "{} {}", run.stdout, run.stderr);
    let rows = bench.score(&["--bank", "tiled.bank", "--format", "jsonl", "other.png", "large/b.png"]).rows();
    assert!(rows[0]["score"].as_f64().unwrap() > 1e-3 && rows[1]["score"].as_f64().unwrap() < 1e-5, "{rows:?}");
    let run = build(&bench, &["--defect-size", "16", "--tile", "48"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("defects of 16 pixels: at scale 0.5 they are as wide as a patch of 8 pixels"),
        "{}",
        run.stderr
    );
    assert!(
        run.stdout.contains("overlap=16 scale=0.5") && run.stdout.contains("for defects of 16 pixels"),
        "{}",
        run.stdout
    );
}

#[test]
fn an_evaluation_with_tiles_scores_as_its_bank_does() {
    let bench = Bench::new();
    for i in 0..2 {
        bench.picture(&format!("set/nut/train/good/{i}.png"), 240, 180, i);
        bench.picture(&format!("set/nut/test/good/{i}.png"), 240, 180, 10 + i);
        bench.picture(&format!("set/nut/test/bent/{i}.png"), 240, 180, 20 + i);
    }
    let eval = ["eval", "--weights", "w.safetensors", "--dataset", "set", "--shots", "2", "--runs", "1", "-o", "out"];
    let run = bench.run(&[&eval[..], &METHOD, &TILES].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let results: Value = serde_json::from_slice(&bench.read("out/results.json")).unwrap();
    assert!(results["options"].as_str().unwrap().contains("tile=48 overlap=16 scale=0.5"), "{}", results["options"]);
    let words = ["--normals", "set/nut/train/good", "--format", "jsonl", "set/nut/test/bent/1.png"];
    let direct = bench.score(&[&METHOD[..], &TILES, &words].concat());
    let direct = direct.rows()[0]["score"].as_f64().unwrap();
    let scores = String::from_utf8(bench.read("out/scores.csv")).unwrap();
    let place = scores.lines().next().unwrap().split(',').position(|field| field == "score").unwrap();
    let row = scores.lines().find(|row| row.contains("bent/1.png")).unwrap();
    let score: f64 = row.split(',').nth(place).unwrap().parse().unwrap();
    assert!((score - direct).abs() <= 1e-6, "{row} and {direct}");
}

#[test]
fn winclip_cuts_wide_pictures_into_squares() {
    let bench = bench();
    let words =
        ["bank", "build", "--weights", "w.safetensors", "--class", "nut", "--squares", "on", "-o", "squares.bank"];
    let run = bench.run(&[&words[..], &["--method", "winclip", "--normals", "large"]].concat());
    // Of 180 pixels, one at the left and one at the right edge.
    assert!(run.code == 0 && run.stderr.contains("2 x 1 tiles"), "{} {}", run.stdout, run.stderr);
    assert!(run.stdout.contains("tiles    squares=on bank-per=tile"), "{}", run.stdout);
    let rows = bench.score(&["--bank", "squares.bank", "--format", "jsonl", "other.png", "large/a.png"]).rows();
    assert!(rows[0]["patch_max"].as_f64() > Some(0.0) && rows[1]["patch_max"] == 0.0, "{rows:?}");
    let run = bench.run(&[&words[..], &["--method", "winclip-zero"]].concat());
    assert!(run.code == 0 && run.stdout.contains("squares=on bank-per=frame"), "{} {}", run.stdout, run.stderr);
    let zero = bench.score(&["--bank", "squares.bank", "--format", "jsonl", "other.png"]).rows();
    assert_eq!(zero[0]["score"], rows[0]["text_prior"]);
    let run = bench.run(&[&words[..], &["--method", "patchcore", "--normals", "large"]].concat());
    assert!(run.code == 1 && run.stderr.contains("does not cut pictures into squares"), "{}", run.stderr);
}

#[test]
fn tiles_that_cannot_be_are_refused_before_an_image_is_encoded() {
    let bench = bench();
    for (options, expected) in [
        (&["--tile", "50"][..], "multiple of the encoder's patch of 8"),
        (&["--tile", "48", "--overlap", "48"], "smaller than the tile"),
        (&["--scale", "many"], "must be a number"),
        (&["--tile", "48", "--fit", "crop"], "tiles cover the whole frame"),
        (&["--tile", "480"], "is 480 x 480 pixels of the frame, which has 240 x 180"),
    ] {
        let run = build(&bench, options);
        assert!(run.code == 1 && run.stderr.contains(expected), "{options:?}: {}", run.stderr);
    }
    assert!(!bench.path("tiled.bank").exists());
    assert_eq!(build(&bench, &TILES).code, 0);
    bench
        .score(&["--bank", "tiled.bank", "--tile", "24", "other.png"])
        .refused(&["tiled.bank", "--tile 24 given with --bank"]);
}
