//! `inctrl eval`, `data check`, `bank calibrate` and `bank report` as a user runs them.

use image::{GrayImage, Luma};
use serde_json::Value;

use crate::program::{Bench, Run};

/// A data set of two classes in MVTec's layout, with masks, and one image that is no image.
fn dataset(bench: &Bench) {
    for (c, class) in ["nut", "bolt"].into_iter().enumerate() {
        let seed = 100 * c as u32;
        for i in 0..5 {
            bench.picture(&format!("set/{class}/train/good/{i}.png"), 40, 40, seed + i);
        }
        for i in 0..4 {
            bench.picture(&format!("set/{class}/test/good/{i}.png"), 40, 50, seed + 10 + i);
            bench.picture(&format!("set/{class}/test/bent/{i}.png"), 50, 40, seed + 20 + i);
            let mask = GrayImage::from_fn(50, 40, |x, y| Luma([if x / 10 == 2 && y > 20 { 255 } else { 0 }]));
            let path = bench.path(format!("set/{class}/ground_truth/bent/{i}_mask.png"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            mask.save(path).unwrap();
        }
    }
}

fn eval(bench: &Bench, out: &str, args: &[&str]) -> Run {
    let first =
        ["eval", "--weights", "w.safetensors", "--threads", "1", "--dataset", "set", "--shots", "1,3", "-o", out];
    bench.run(&[&first[..], args].concat())
}

fn results(bench: &Bench, out: &str) -> Value {
    serde_json::from_slice(&bench.read(&format!("{out}/results.json"))).unwrap()
}

const FILES: [&str; 7] =
    ["journal.jsonl", "prompts.json", "report.html", "results.csv", "results.json", "results.md", "scores.csv"];

#[test]
fn twice_killed_and_repeated_gives_the_same_bytes() {
    let bench = Bench::new();
    dataset(&bench);
    assert_eq!(eval(&bench, "a", &[]).code, 0);
    assert_eq!(bench.names("a"), FILES);
    assert_eq!(eval(&bench, "b", &[]).code, 0);
    assert_eq!(eval(&bench, "repeated", &["--prompts", "a/prompts.json"]).code, 0);
    // As a kill leaves it: some lines, and one cut short.
    let journal = bench.read("a/journal.jsonl");
    let lines: Vec<_> = journal.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(lines.len(), 1 + 16);
    std::fs::create_dir(bench.path("killed")).unwrap();
    bench.write("killed/journal.jsonl", [lines[..6].concat(), lines[6][..40].to_vec()].concat());
    assert_eq!(eval(&bench, "killed", &[]).code, 0);
    for file in FILES {
        let first = bench.read(&format!("a/{file}"));
        for other in ["b", "repeated", "killed"] {
            assert!(first == bench.read(&format!("{other}/{file}")), "{other}/{file}");
        }
    }
    // Another seed draws other prompts, and does not go on in the same folder.
    eval(&bench, "a", &["--seed", "5"]).refused(&["journal of another evaluation", "a/journal.jsonl"]);
    assert_eq!(eval(&bench, "seed", &["--seed", "5"]).code, 0);
    assert_ne!(bench.read("a/prompts.json"), bench.read("seed/prompts.json"));
}

#[test]
fn a_class_can_have_other_words_than_its_name() {
    let bench = Bench::new();
    dataset(&bench);
    bench.write("texts.json", r#"{"nut": "steel hex nut"}"#);
    assert_eq!(eval(&bench, "names", &[]).code, 0);
    assert_eq!(eval(&bench, "words", &["--class-texts", "texts.json"]).code, 0);
    assert_eq!(results(&bench, "words")["classes"][1]["text"], "steel hex nut");
    assert_eq!(results(&bench, "words")["classes"][0]["text"], "bolt");
    let scores = |out: &str, class: &str| -> Vec<String> {
        let table = String::from_utf8(bench.read(&format!("{out}/scores.csv"))).unwrap();
        table.lines().filter(|line| line.starts_with(class)).map(str::to_owned).collect()
    };
    assert_eq!(scores("names", "bolt,"), scores("words", "bolt,"));
    assert!(!scores("names", "nut,").is_empty());
    assert_ne!(scores("names", "nut,"), scores("words", "nut,"));

    for (text, expected) in
        [(r#"{"nit": "a nut"}"#, "`nit`"), (r#"["nut"]"#, "JSON object"), (r#"{"nut": " "}"#, "empty")]
    {
        bench.write("texts.json", text);
        let run = eval(&bench, "bad", &["--class-texts", "texts.json"]);
        assert!(run.code == 1 && run.stderr.contains(expected), "{text}: {}", run.stderr);
    }
}

#[test]
fn figures_come_from_the_scores_and_undefined_ones_say_why() {
    let bench = Bench::new();
    dataset(&bench);
    std::fs::remove_dir_all(bench.path("set/bolt/ground_truth")).unwrap();
    let run = eval(&bench, "out", &["--runs", "2"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("## nut (4 normal, 4 anomalous)"), "{}", run.stdout);
    let found = results(&bench, "out");
    let [bolt, nut] = [&found["classes"][0], &found["classes"][1]];
    assert_eq!((bolt["class"].as_str(), nut["masks"].as_u64()), (Some("bolt"), Some(4)));
    let metric = |class: &Value, name: &str| class["shots"][1]["metrics"][name].clone();
    for name in
        ["image_auroc", "image_auprc", "image_f1_max", "pixel_auroc", "pixel_auprc", "pixel_f1_max", "pixel_aupro"]
    {
        let spread = metric(nut, name);
        assert!((0.0..=1.0).contains(&spread["mean"].as_f64().unwrap()), "{name}: {spread}");
        assert_eq!(spread["runs"].as_array().unwrap().len(), 2);
    }
    let missing = metric(bolt, "pixel_aupro");
    assert!(missing["mean"].is_null() && missing["reason"] == "no masks of the defects", "{missing}");
    // The overall figure is undefined as well, not that of half of the classes.
    assert!(metric(&found["overall"], "pixel_aupro")["mean"].is_null());

    // AUROC of class nut, 3 shots, run 0, counted from the scores of the table.
    let table = String::from_utf8(bench.read("out/scores.csv")).unwrap();
    let rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let mine: Vec<_> = rows.filter(|row| row[0] == "nut" && row[4] == "0" && row[5] == "3").collect();
    let of = |label: &str| -> Vec<f32> {
        mine.iter().filter(|row| row[3] == label).map(|row| row[6].parse().unwrap()).collect()
    };
    let (good, bad) = (of("normal"), of("anomalous"));
    assert_eq!((good.len(), bad.len()), (4, 4));
    let wins = bad.iter().flat_map(|b| {
        good.iter().map(move |g| {
            if b > g {
                1.0
            } else if b == g {
                0.5
            } else {
                0.0
            }
        })
    });
    assert_eq!(metric(nut, "image_auroc")["runs"][0].as_f64(), Some(wins.sum::<f64>() / 16.0));
    let html = String::from_utf8(bench.read("out/report.html")).unwrap();
    assert!(html.contains("data:image/jpeg;base64,") && !html.contains("http") && !html.contains("<script"));
}

#[test]
fn what_cannot_be_used_is_named_and_costs_nothing_else() {
    let bench = Bench::new();
    dataset(&bench);
    bench.write("set/nut/test/good/9.png", "no picture");
    bench.write("set/nut/train/good/9.png", "no picture");
    std::fs::copy(bench.path("set/nut/train/good/0.png"), bench.path("set/nut/test/good/copy.png")).unwrap();
    let run = eval(&bench, "out", &["--classes", "nut", "--shots", "5"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("warning: nut/test/good/copy.png has the pixels of prompt"), "{}", run.stderr);
    let found = results(&bench, "out");
    let failures: Vec<_> = found["failures"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert!(failures.contains(&"nut/test/good/9.png") && failures.contains(&"nut/train/good/9.png"), "{failures:?}");
    assert_eq!(found["leaks"].as_array().unwrap().len(), 1);
    assert_eq!(found["classes"].as_array().unwrap().len(), 1);
    eval(&bench, "x", &["--classes", "screw"]).refused(&["no class `screw`", "bolt, nut"]);
    eval(&bench, "y", &["--classes", "nut", "--shots", "6"]).refused(&["5 usable normal training images", "6"]);

    let check = bench.run(&["data", "check", "set"]);
    assert_eq!(check.code, 2);
    assert!(
        check.stdout.contains("layout mvtec") && check.stdout.contains("fault: set/nut/test/good/9.png"),
        "{}",
        check.stdout
    );
    let json = bench.run(&["data", "check", "set", "--format", "json"]);
    assert_eq!(json.rows()[0]["classes"][1]["train"], 6);
    bench.run(&["data", "check", "good"]).refused(&["the layout of no data set", "split_csv/1cls.csv"]);
}

#[test]
fn what_data_check_calls_a_fault_is_said_by_eval() {
    let bench = Bench::new();
    dataset(&bench);
    let copy = |from: &str, to: &str| image::open(bench.path(from)).unwrap().save(bench.path(to)).unwrap();
    // Every good image is a prompt of one of the runs: a copy of one in another file, and in three colours.
    let grey = image::open(bench.path("set/nut/train/good/0.png")).unwrap().to_luma8();
    grey.save(bench.path("set/nut/train/good/0.png")).unwrap();
    image::DynamicImage::from(grey).to_rgb8().save(bench.path("set/nut/test/good/twin.bmp")).unwrap();
    copy("set/nut/test/bent/0.png", "set/nut/test/good/bent.tif");
    let run = eval(&bench, "out", &["--classes", "nut", "--shots", "5"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let page = String::from_utf8(bench.read("out/report.html")).unwrap();
    let tables = String::from_utf8(bench.read("out/results.md")).unwrap();
    for fault in [
        "set/nut/train/good/0.png: the same pixels as nut/test/good/twin.bmp, of which one is to train and one to test",
        "set/nut/test/good/bent.tif: the same pixels as nut/test/bent/0.png, of which one is normal and one anomalous",
    ] {
        assert!(run.stderr.contains(&format!("fault: {fault}")), "{}", run.stderr);
        assert!(
            page.contains(&format!("<li>Fault: {fault}")) && tables.contains(&format!("- fault: {fault}")),
            "{fault}"
        );
    }
    let leak = "nut/test/good/twin.bmp has the pixels of prompt nut/train/good/0.png";
    assert_eq!(results(&bench, "out")["leaks"][0], leak);
    assert!(run.stderr.contains(&format!("warning: {leak}")), "{}", run.stderr);
    let faults = results(&bench, "out")["problems"].as_array().unwrap().iter().filter(|p| p["fault"] == true).count();
    assert_eq!(faults, 2);
    // Inverted masks are figures of the ground: the console says so, as they are no fault of a file.
    for i in 0..4 {
        let path = bench.path(format!("set/bolt/ground_truth/bent/{i}_mask.png"));
        let mut mask = image::open(&path).unwrap().to_luma8();
        image::imageops::invert(&mut mask);
        mask.save(path).unwrap();
    }
    let run = eval(&bench, "inverted", &["--classes", "bolt"]);
    assert!(run.code == 0 && run.stderr.contains("note: set: the masks of class `bolt` cover 9"), "{}", run.stderr);
    // The other class is as it should be, and is not blamed.
    let run = eval(&bench, "bolt", &["--classes", "bolt"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    // Many faults are all in the page, which folds what is over twenty, and the console says how many more there are.
    (0..25).for_each(|i| bench.write(&format!("set/bolt/test/stray{i:02}.png"), "no picture"));
    let run = eval(&bench, "many", &["--classes", "bolt"]);
    assert!(run.code == 2 && run.stderr.contains("and 5 more faults, listed in the report"), "{}", run.stderr);
    let page = String::from_utf8(bench.read("many/report.html")).unwrap();
    assert_eq!(page.matches("<li>Fault: set/bolt/test/stray").count(), 25);
    assert!(page.contains("<summary>5 more</summary>"));
}

/// A data set of which a part is missing: the rest is judged, and the mean over all classes has no value.
#[test]
fn a_class_without_enough_normals_is_left_out_and_named() {
    let bench = Bench::new();
    dataset(&bench);
    (1..5).for_each(|i| std::fs::remove_file(bench.path(format!("set/bolt/train/good/{i}.png"))).unwrap());
    let run = eval(&bench, "out", &["--runs", "1"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("not evaluated: class `bolt` has 1 usable normal training images"), "{}", run.stderr);
    assert!(!run.stderr.contains("images could not be used"), "{}", run.stderr);
    let found = results(&bench, "out");
    let auroc = |part: &Value| part["shots"][0]["metrics"]["image_auroc"]["mean"].clone();
    let [bolt, nut] = [&found["classes"][0], &found["classes"][1]];
    assert!(auroc(bolt).is_null() && auroc(nut).is_f64() && auroc(&found["overall"]).is_null(), "{found}");
    let page = String::from_utf8(bench.read("out/report.html")).unwrap();
    assert!(page.contains("Not used: bolt: class `bolt` has 1 usable"));
    // The same again from the journal, and from the draws.
    assert_eq!(eval(&bench, "out", &["--runs", "1"]).code, 2);
    assert_eq!(eval(&bench, "again", &["--runs", "1", "--prompts", "out/prompts.json"]).code, 2);
    assert_eq!(bench.read("out/results.json"), bench.read("again/results.json"));
}

/// What calling everything defective has, from the counts of images and pixels, stands beside every metric.
#[test]
fn metrics_stand_beside_their_level_of_chance_and_the_patch_maximum() {
    let bench = Bench::new();
    dataset(&bench);
    for i in 4..8 {
        bench.picture(&format!("set/nut/test/bent/{i}.png"), 50, 40, 60 + i);
    }
    let run = eval(&bench, "out", &["--mask-side", "0"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let found = results(&bench, "out");
    let (bolt, nut) = (&found["classes"][0], &found["classes"][1]);
    let close = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() <= 1e-12, "{found} is not {expected}");
    };
    // Four good and eight bent: p = 2/3.
    for (metric, expected) in
        [("image_auroc", 0.5), ("image_auprc", 2.0 / 3.0), ("image_f1_max", 0.8), ("pixel_aupro", 0.15)]
    {
        close(&nut["chance"][metric], expected);
    }
    close(&bolt["chance"]["patch_max_f1_max"], 2.0 / 3.0);
    close(&found["overall"]["chance"]["image_auprc"], 0.5 * (2.0 / 3.0 + 0.5));
    // Of 4 masks with 10 x 19 pixels each, the images being judged in their middle of 40 x 40: columns 5 to 44.
    close(&bolt["chance"]["pixel_auprc"], 190.0 / 1600.0 / 2.0);
    // The patch maximum's AUROC, counted from the table of scores.
    let table = String::from_utf8(bench.read("out/scores.csv")).unwrap();
    let rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let mine: Vec<_> = rows.filter(|row| row[0] == "bolt" && row[4] == "1" && row[5] == "3").collect();
    let of = |label: &str| -> Vec<f32> {
        mine.iter().filter(|row| row[3] == label).map(|row| row[7].parse().unwrap()).collect()
    };
    let (good, bad) = (of("normal"), of("anomalous"));
    let won = |b: &f32, g: &f32| if b > g { 2 } else { i32::from(b == g) };
    let wins: i32 = bad.iter().flat_map(|b| good.iter().map(move |g| won(b, g))).sum();
    close(&bolt["shots"][1]["metrics"]["patch_max_auroc"]["runs"][1], f64::from(wins) / 32.0);
    let tables = String::from_utf8(bench.read("out/results.md")).unwrap();
    assert!(tables.contains("| shots | AUROC | patch max AUROC | AUPRC | F1-max |"), "{tables}");
    assert!(tables.contains("| chance | 50.0 | 50.0 | 66.7 | 80.0 |"), "{tables}");
    let page = String::from_utf8(bench.read("out/report.html")).unwrap();
    assert!(page.contains("<th>chance</th><td>50.0</td><td>50.0</td><td>66.7</td><td>80.0</td>"));
    assert!(page.contains(">patch max</text>") && page.contains("<th>patch max, 3 shots</th>"));
    let lines = String::from_utf8(bench.read("out/results.csv")).unwrap();
    assert!(lines.lines().any(|line| line.starts_with("nut,1,image_f1_max,") && line.ends_with(",0.8")), "{lines}");
}

#[test]
fn a_bank_is_calibrated_on_good_images_it_does_not_know() {
    let bench = Bench::new();
    for i in 0..9 {
        bench.picture(&format!("more/{i}.png"), 40, 40, 50 + i);
    }
    let model = ["--weights", "w.safetensors", "--threads", "1"];
    let run = |args: &[&str], rest: &[&str]| bench.run(&[args, &model, rest].concat());
    run(&["bank", "build"], &["--normals", "good", "-o", "b"]).succeeded();
    run(&["bank", "calibrate"], &["--bank", "b", "--normals", "more"])
        .refused(&["9 distinct pictures", "99 are needed"]);
    let done = run(
        &["bank", "calibrate"],
        &["--bank", "b", "--normals", "more", "good", "--max-false-reject", "0.1", "-o", "c"],
    );
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stdout.contains("9 held-out images") && done.stderr.contains("3 images are prompts"),
        "{}",
        done.stdout
    );

    let rows = bench.score(&["--bank", "c", "more", "query.png", "absent.png", "--format", "jsonl"]).rows();
    let most = rows[..9].iter().map(|row| row["score"].as_f64().unwrap()).fold(0.0, f64::max);
    for row in &rows[..10] {
        let (score, scaled) = (row["score"].as_f64().unwrap(), row["scaled"].as_f64().unwrap());
        // No calibration image is past the limit, which is just above the largest of them at this rate.
        assert_eq!(scaled >= 0.5, score > most, "{row}");
        assert_eq!(scaled >= 0.5, row["p_value"].as_f64().unwrap() <= 0.1, "{row}");
    }
    assert!(rows[10]["p_value"].is_null() && rows[10]["error"].is_string());
    let csv = bench.score(&["--bank", "c", "query.png", "--format", "csv"]).stdout;
    assert!(csv.lines().next().unwrap().ends_with(",error,p_value,scaled"), "{csv}");
    let bare = bench.score(&["--bank", "b", "query.png", "--format", "jsonl"]).rows();
    assert!(bare[0].get("p_value").is_none());

    // The prompts alone: each against the others.
    let own =
        run(&["bank", "calibrate"], &["--bank", "b", "--normals", "good", "--max-false-reject", "0.25", "-o", "d"]);
    assert!(
        own.stdout.contains("3 prompts, each against the others") && own.stderr.contains("approximate"),
        "{}",
        own.stderr
    );
}

#[test]
fn the_bank_report_judges_each_prompt_by_the_others() {
    let bench = Bench::new();
    let model = ["--weights", "w.safetensors", "--threads", "1"];
    let run = |args: &[&str], rest: &[&str]| bench.run(&[args, &model, rest].concat());
    run(&["bank", "build"], &["--normals", "good", "-o", "b"]).succeeded();
    run(&["bank", "build"], &["--normals", "good/b.png", "good/c.png", "-o", "others"]).succeeded();
    let args = ["--bank", "b", "--normals", "good", "query.png", "--picture", "p.png", "--format", "json"];
    let report = run(&["bank", "report"], &args).succeeded().rows().remove(0);
    let prompts = report["prompts"].as_array().unwrap();
    assert_eq!(prompts.len(), 3);
    let alone = bench.score(&["--bank", "others", "good/a.png", "--format", "jsonl"]).rows();
    let line = prompts.iter().find(|line| line["path"].as_str().unwrap().ends_with("a.png")).unwrap();
    assert_eq!(line["score"], alone[0]["score"]);
    assert_eq!(report["mean_map"].as_array().unwrap().len(), 36);
    assert_eq!(report["least_covered"].as_array().unwrap().len(), 5);
    assert!(image::open(bench.path("p.png")).unwrap().width() > 300);
    let text = run(&["bank", "report"], &["--bank", "b", "--normals", "good"]).succeeded().stdout;
    assert!(text.contains("least covered") && text.contains("good/a.png"), "{text}");
    run(&["bank", "report"], &["--bank", "b", "--normals", "query.png"]).refused(&["none of the images is a prompt"]);
}
