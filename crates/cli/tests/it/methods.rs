//! A method other than the default, from a folder of good pictures to rows, maps and limits. Its options come from its
//! table.

use serde_json::Value;

use crate::program::{Bench, Run};

const BUILD: [&str; 9] =
    ["bank", "build", "--weights", "w.safetensors", "--method", "anomaly-dino", "--normals", "good", "--fit"];

fn build(bench: &Bench, options: &[&str]) -> Run {
    bench.run(&[&BUILD[..], &["crop", "-o", "dino.bank"], options].concat())
}

#[test]
fn a_bank_of_another_method_is_built_looked_at_and_scored() {
    let bench = Bench::new();
    let told = build(&bench, &["--size", "48", "--rotations", "2"]).succeeded().stdout;
    assert!(told.contains("method   anomaly-dino") && told.contains("size=48 rotations=2 mask=off"), "{told}");
    let info = bench.run(&["bank", "info", "dino.bank", "--format", "json"]).succeeded().stdout;
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["options"]["rotations"], "2");
    // Three pictures of 36 patches, at two turns.
    assert_eq!(info["tensors"]["patches"][0], 216);

    // The bank knows its method.
    let rows = bench.score(&["--bank", "dino.bank", "--format", "jsonl", "--maps", "maps", "query.png", "good/a.png"]);
    let rows: Vec<Value> = rows.succeeded().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers = |row: &Value| [&row["score"], &row["patch_max"]].map(|x| x.as_f64().unwrap());
    let [query, prompt] = [numbers(&rows[0]), numbers(&rows[1])];
    assert!(query[0] > 1e-3 && query[0] == query[1], "36 patches: the largest is the score: {query:?}");
    assert!(prompt[0] < 1e-5, "a prompt has no distance to itself: {prompt:?}");
    assert!(rows[0].get("holistic").is_none() && rows[0].get("text_prior").is_none(), "{}", rows[0]);
    assert!(bench.path("maps/query.overlay.png").exists());
    let csv = bench.score(&["--bank", "dino.bank", "--format", "csv", "query.png"]).succeeded().stdout;
    let header = csv.lines().next().unwrap();
    assert_eq!(header, "path,score,patch_max,width,height,verdict,reason,regions,bank,error");
    let table = bench.score(&["--bank", "dino.bank", "query.png"]).succeeded().stdout;
    assert!(table.starts_with("path        score  patch_max  size"), "{table}");

    // Without a file in between, the same scores.
    let direct = bench.score(&[
        "--method",
        "anomaly-dino",
        "--size",
        "48",
        "--rotations",
        "2",
        "--fit",
        "crop",
        "--normals",
        "good",
        "--format",
        "jsonl",
        "query.png",
    ]);
    let direct: Value = serde_json::from_str(direct.succeeded().stdout.trim()).unwrap();
    assert_eq!((&direct["score"], &direct["bank"]), (&rows[0]["score"], &rows[0]["bank"]));
}

#[test]
fn limits_come_from_its_own_prompts() {
    let bench = Bench::new();
    build(&bench, &["--size", "48", "--rotations", "1"]).succeeded();
    bench.run(&[
        "bank",
        "calibrate",
        "--weights",
        "w.safetensors",
        "--bank",
        "dino.bank",
        "--normals",
        "good",
        "--max-false-reject",
        "0.3",
        "--device",
        "cpu",
    ]);
    let rows = bench.score(&["--bank", "dino.bank", "--format", "jsonl", "query.png"]).stdout;
    let row: Value = serde_json::from_str(rows.trim()).unwrap();
    assert!(row["verdict"].is_string() && (0.0..=1.0).contains(&row["scaled"].as_f64().unwrap()), "{row}");
}

#[test]
fn an_evaluation_of_another_method_scores_as_its_bank_does() {
    let bench = Bench::new();
    for i in 0..3 {
        bench.picture(&format!("set/nut/train/good/{i}.png"), 48, 50, i);
        bench.picture(&format!("set/nut/test/good/{i}.png"), 50, 48, 10 + i);
        bench.picture(&format!("set/nut/test/bent/{i}.png"), 48, 48, 20 + i);
    }
    let method = ["--method", "anomaly-dino", "--size", "48", "--rotations", "2", "--fit", "crop"];
    let eval = ["eval", "--weights", "w.safetensors", "--dataset", "set", "--shots", "1,3", "-o", "out"];
    let run = bench.run(&[&eval[..], &method].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let results: Value = serde_json::from_slice(&bench.read("out/results.json")).unwrap();
    let text = results.to_string();
    assert!(text.contains("anomaly-dino") && text.contains("rotations"), "{text}");
    let scores = String::from_utf8(bench.read("out/scores.csv")).unwrap();
    let header: Vec<&str> = scores.lines().next().unwrap().split(',').collect();
    let place = |name: &str| header.iter().position(|field| *field == name).unwrap_or_else(|| panic!("{header:?}"));
    assert!(header.contains(&"patch_max") && !header.contains(&"holistic"), "{header:?}");
    // All three pictures are the prompts of three shots: a bank of them gives the same scores.
    let direct = bench.score(
        &[&method[..], &["--normals", "set/nut/train/good", "--format", "jsonl", "set/nut/test/bent/1.png"]].concat(),
    );
    let direct: Value = serde_json::from_str(direct.succeeded().stdout.trim()).unwrap();
    let of = |row: &&str| row.contains("bent/1.png") && row.split(',').nth(place("shots")) == Some("3");
    let rows = scores.lines().skip(1).filter(of);
    let rows: Vec<f64> = rows.map(|row| row.split(',').nth(place("score")).unwrap().parse().unwrap()).collect();
    assert!(!rows.is_empty(), "{scores}");
    let away = rows.iter().map(|score| (score - direct["score"].as_f64().unwrap()).abs());
    assert!(away.fold(0.0, f64::max) <= 1e-6, "{rows:?} and {direct}");
    assert!(rows.iter().all(|score| (1e-4..=2.0).contains(score)), "{rows:?}");
}

#[test]
fn verdicts_regions_and_masks_go_through_its_bank() {
    let bench = Bench::new();
    build(&bench, &["--size", "48", "--rotations", "1"]).succeeded();
    let limits = inctrl::Thresholds { review: 0.0, reject: 2.0, cell: 0.0 };
    let path = bench.path("dino.bank");
    let bank = inctrl::PromptBank::open(&path).unwrap().with_thresholds(Some(limits)).unwrap();
    bank.save(&path).unwrap();
    let rows = bench.score(&["--bank", "dino.bank", "--format", "jsonl", "query.png"]);
    let row: Value = serde_json::from_str(rows.stdout.trim()).unwrap();
    assert!(row["verdict"] == "review" && !row["regions"].as_array().unwrap().is_empty(), "{row}");
    // A random encoder's tokens are all alike: nothing stands before a background.
    build(&bench, &["--size", "48", "--rotations", "1", "--mask", "on"]).succeeded();
    let run = bench.score(&["--bank", "dino.bank", "--format", "jsonl", "query.png", "good/a.png"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    for line in run.stdout.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert!(row["error"].as_str().unwrap().contains("mask=on finds no part"), "{row}");
    }
}

#[test]
fn what_it_cannot_do_is_said_by_name() {
    let bench = Bench::new();
    for (options, expected) in [
        (&["--rotations", "0"][..], "from 1 to 64"),
        (&["--size", "3"], "several patches"),
        (&["--mask", "maybe"], "on or off"),
    ] {
        let run = build(&bench, options);
        assert!(run.code == 1 && run.stderr.contains(expected), "{}", run.stderr);
    }
    let run = bench.run(&[
        "bank",
        "build",
        "--weights",
        "w.safetensors",
        "--normals",
        "good",
        "--rotations",
        "2",
        "-o",
        "x.bank",
    ]);
    assert!(run.code == 1 && run.stderr.contains("no option `rotations`"), "{}", run.stderr);
    let run = bench.run(&[
        "bank",
        "build",
        "--weights",
        "w.safetensors",
        "--method",
        "magic",
        "--normals",
        "good",
        "-o",
        "x",
    ]);
    assert!(run.code == 1 && run.stderr.contains("inctrl or anomaly-dino"), "{}", run.stderr);
    let help = bench.run(&["bank", "build", "--help"]).succeeded().stdout;
    assert!(help.contains("--rotations <N>") && help.contains("[default: 448]"), "{help}");
    // A bank of one method does not make a scorer of another.
    assert!(!bench.path("dino.bank").exists() && !bench.path("x.bank").exists());
}

/// From a folder to rows, without a file in between and with one; and limits from images that are not in the bank.
#[test]
fn every_method_scores_a_folder() {
    let bench = Bench::new();
    for (method, options, note) in [
        ("patchcore", &["--rows", "20"][..], "the bank keeps 20 of them"),
        ("subspace", &["--rotations", "1", "--variance", "0.9"], "encoded in 2 views each"),
        ("padim", &["--dims", "30"], "each with a mean and 2 directions"),
        ("spade", &["--taps", "1,2"], ""),
    ] {
        let bank = format!("{method}.bank");
        let build =
            ["bank", "build", "--weights", "w.safetensors", "--method", method, "--normals", "good", "--size", "48"];
        let run = bench.run(&[&build[..], &["--fit", "crop", "-o", &bank], options].concat());
        assert!(run.code == 0 && run.stderr.contains(note), "{method}: {}", run.stderr);
        let rows = bench.score(&["--bank", &bank, "--format", "jsonl", "--maps", method, "query.png", "good/a.png"]);
        let rows: Vec<Value> =
            rows.succeeded().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [query, prompt] = [&rows[0], &rows[1]].map(|row| row["score"].as_f64().unwrap());
        assert!(query > prompt && prompt >= 0.0, "{method}: {query} and {prompt}");
        assert!(rows[0]["patch_max"].is_number() && bench.path(format!("{method}/query.overlay.png")).exists());
        let csv = bench.score(&["--bank", &bank, "--format", "csv", "query.png"]).succeeded().stdout;
        assert!(csv.starts_with("path,score,patch_max,width,height"), "{csv}");
        let info = bench.run(&["bank", "info", &bank]).succeeded().stdout;
        assert!(info.contains(&format!("method   {method}")) && info.contains("size=48"), "{info}");
    }
}

/// A ResNet, from random weights to rows and an evaluation; and what does not run on one says why.
#[test]
fn a_resnet_scores_a_folder() {
    let bench = Bench::new();
    let config =
        r#"{"family": "resnet", "image_size": 32, "blocks": [1, 2, 1, 1], "stem": 4, "widths": [4, 8, 8, 16]}"#;
    std::fs::write(bench.path("r.json"), config).unwrap();
    bench.run(&["weights", "random", "--config", "r.json", "--seed", "3", "-o", "r.safetensors"]).succeeded();
    let report = bench.run(&["weights", "inspect", "r.safetensors"]).succeeded().stdout;
    assert!(report.contains("ResNet") && report.contains("problems: none"), "{report}");
    for (method, options) in [("patchcore", &["--dims", "20"][..]), ("padim", &["--dims", "9"]), ("spade", &[])] {
        let bank = format!("{method}.bank");
        let build =
            ["bank", "build", "--weights", "r.safetensors", "--method", method, "--normals", "good", "-o", &bank];
        let run = bench.run(&[&build[..], options].concat());
        assert_eq!(run.code, 0, "{method}: {}", run.stderr);
        let score = ["score", "--weights", "r.safetensors", "--bank", &bank, "--format", "jsonl", "--maps", method];
        let run = bench.run(&[&score[..], &["query.png", "good/a.png"]].concat());
        assert_eq!(run.code, 0, "{method}: {}", run.stderr);
        let rows: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [query, prompt] = [&rows[0], &rows[1]].map(|row| row["score"].as_f64().unwrap());
        assert!(query > prompt && prompt >= 0.0, "{method}: {query} and {prompt}");
        assert!(bench.path(format!("{method}/query.overlay.png")).exists(), "{method}");
    }
    for i in 0..2 {
        bench.picture(&format!("set/nut/train/good/{i}.png"), 48, 50, i);
        bench.picture(&format!("set/nut/test/good/{i}.png"), 50, 48, 10 + i);
        bench.picture(&format!("set/nut/test/bent/{i}.png"), 48, 48, 20 + i);
    }
    let eval =
        ["eval", "--weights", "r.safetensors", "--dataset", "set", "--shots", "2", "-o", "out", "--method", "spade"];
    assert_eq!(bench.run(&eval).code, 0);
    for (method, reason) in [
        ("subspace", "is a ResNet"),
        ("anomaly-dino", "is a ResNet"),
        ("winclip-zero", "no text tower"),
        ("inctrl", "no text tower"),
    ] {
        let build =
            ["bank", "build", "--weights", "r.safetensors", "--method", method, "--class", "nut", "-o", "x.bank"];
        let run = bench.run(&[&build[..], &["--normals", "good"]].concat());
        assert!(run.code == 1 && run.stderr.contains(reason), "{method}: {}", run.stderr);
    }
}

#[test]
fn what_the_other_methods_cannot_do_is_said_by_name() {
    let bench = Bench::new();
    for (options, expected) in [
        (&["--method", "patchcore", "--rows", "100000"][..], "more patches than the"),
        (&["--method", "patchcore", "--coreset", "0"], "above 0 and at most 1"),
        (&["--method", "patchcore", "--taps", "9"], "name blocks from 1 to"),
        (&["--method", "subspace", "--variance", "1"], "such as 0.99"),
        (&["--method", "spade", "--rows", "3"], "no option `rows`"),
    ] {
        let build = ["bank", "build", "--weights", "w.safetensors", "--normals", "good", "-o", "x.bank"];
        let run = bench.run(&[&build[..], options].concat());
        assert!(run.code == 1 && run.stderr.contains(expected), "{options:?}: {}", run.stderr);
    }
    let one = ["bank", "build", "--weights", "w.safetensors", "--normals", "good/a.png", "-o", "x.bank"];
    let run = bench.run(&[&one[..], &["--method", "padim"]].concat());
    assert!(run.code == 1 && run.stderr.contains("at least two") && run.stderr.contains("single=on"), "{}", run.stderr);
    assert!(!bench.path("x.bank").exists());
    let run = bench.run(&[&one[..], &["--method", "padim", "--single", "on"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("36 places of 64 channels"), "its size is said beforehand: {}", run.stderr);
}

/// A method without normal images: from a name to rows, maps, limits, verdicts and an evaluation; and with a few
/// images.
#[test]
fn winclip_needs_a_name_and_no_images() {
    let bench = Bench::new();
    let build = ["bank", "build", "--weights", "w.safetensors", "--class", "metal nut", "--method"];
    let told = bench.run(&[&build[..], &["winclip-zero", "-o", "zero.bank"]].concat()).succeeded().stdout;
    assert!(told.contains("method   winclip-zero") && told.contains("prompts  0"), "{told}");
    let rows = bench.score(&["--bank", "zero.bank", "--format", "jsonl", "--maps", "maps", "query.png", "good/a.png"]);
    let rows: Vec<Value> = rows.succeeded().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.iter().all(|row| (0.0..=1.0).contains(&row["score"].as_f64().unwrap())), "{rows:?}");
    assert!(rows[0]["patch_max"].is_number() && bench.path("maps/query.overlay.png").exists());
    // Without a file in between, the same scores.
    let direct = ["--method", "winclip-zero", "--class", "metal nut", "--format", "jsonl", "query.png"];
    let direct: Value = serde_json::from_str(bench.score(&direct).succeeded().stdout.trim()).unwrap();
    assert_eq!((&direct["score"], &direct["bank"]), (&rows[0]["score"], &rows[0]["bank"]));

    bench.run(&[&build[..], &["winclip", "--normals", "good", "-o", "few.bank"]].concat()).succeeded();
    let few = bench.score(&["--bank", "few.bank", "--format", "jsonl", "query.png", "good/a.png"]).succeeded().stdout;
    let few: Vec<Value> = few.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let number = |row: &Value, name: &str| row[name].as_f64().unwrap() as f32;
    for (row, zero) in few.iter().zip(&rows) {
        assert_eq!(row["text_prior"], zero["score"]);
        assert_eq!(number(row, "score"), 0.5 * (number(row, "patch_max") + number(row, "text_prior")));
    }
    assert!(number(&few[0], "patch_max") > 0.0 && number(&few[1], "patch_max") == 0.0, "{few:?}");

    // Good images are all held out, and the limit is that of their scores.
    let calibrate = ["bank", "calibrate", "--weights", "w.safetensors", "--bank", "zero.bank", "--normals", "good"];
    bench.run(&[&calibrate[..], &["--max-false-reject", "0.3", "--device", "cpu"]].concat()).succeeded();
    let row = bench.score(&["--bank", "zero.bank", "--format", "jsonl", "query.png"]).stdout;
    let row: Value = serde_json::from_str(row.trim()).unwrap();
    assert!(row["verdict"].is_string() && row["p_value"].is_number(), "{row}");
}

#[test]
fn an_evaluation_without_prompts_has_one_run_of_no_shots() {
    let bench = Bench::new();
    for i in 0..3 {
        bench.picture(&format!("set/nut/train/good/{i}.png"), 48, 50, i);
        bench.picture(&format!("set/nut/test/good/{i}.png"), 50, 48, 10 + i);
        bench.picture(&format!("set/nut/test/bent/{i}.png"), 48, 48, 20 + i);
    }
    let eval = ["eval", "--weights", "w.safetensors", "--dataset", "set", "--method"];
    let run = bench.run(&[&eval[..], &["winclip-zero", "-o", "zero"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let results: Value = serde_json::from_slice(&bench.read("zero/results.json")).unwrap();
    let shots = results["classes"][0]["shots"].as_array().unwrap();
    assert!(shots.len() == 1 && shots[0]["shots"] == 0 && results["runs"] == 1, "{results}");
    // A bank of that name gives the same scores.
    let direct = ["--method", "winclip-zero", "--class", "nut", "--format", "jsonl", "set/nut/test/bent/1.png"];
    let direct: Value = serde_json::from_str(bench.score(&direct).succeeded().stdout.trim()).unwrap();
    let scores = String::from_utf8(bench.read("zero/scores.csv")).unwrap();
    let place = scores.lines().next().unwrap().split(',').position(|field| field == "score").unwrap();
    let row = scores.lines().find(|row| row.contains("bent/1.png")).unwrap();
    let score: f64 = row.split(',').nth(place).unwrap().parse().unwrap();
    assert!((score - direct["score"].as_f64().unwrap()).abs() <= 1e-6, "{row} and {direct}");
    let run = bench.run(&[&eval[..], &["winclip", "--shots", "1,3", "-o", "few"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn what_winclip_cannot_do_is_said_by_name() {
    let bench = Bench::new();
    let build = ["bank", "build", "--weights", "w.safetensors", "-o", "x.bank", "--method"];
    for (options, expected) in [
        (&["winclip-zero"][..], "no class was named"),
        (&["winclip-zero", "--class", "nut", "--normals", "good"], "takes no normal images"),
        (&["winclip", "--class", "nut"], "no normal images are given"),
        (&["anomaly-dino"], "no normal images are given"),
        (&["winclip", "--class", "nut", "--normals", "good", "--size", "16"], "windows of up to 3 x 3 patches"),
        (&["winclip", "--class", "nut", "--normals", "good", "--taps", "1"], "no option `taps`"),
    ] {
        let run = bench.run(&[&build[..], options].concat());
        assert!(run.code == 1 && run.stderr.contains(expected), "{options:?}: {}", run.stderr);
    }
    assert!(!bench.path("x.bank").exists());
    // A bank without normal images has none to add to, and none to report on.
    bench.run(&[&build[..], &["winclip-zero", "--class", "nut"]].concat()).succeeded();
    let append = ["bank", "append", "--weights", "w.safetensors", "--bank", "x.bank", "--normals", "good"];
    bench.run(&append).refused(&["takes no normal images"]);
    let report = ["bank", "report", "--weights", "w.safetensors", "--bank", "x.bank", "--normals", "good"];
    assert_eq!(bench.run(&report).code, 1);
}
