//! `inctrl compare` as a user runs it.

use serde_json::Value;

use crate::program::{Bench, Run};

fn compare(bench: &Bench, out: &str, args: &[&str]) -> Run {
    let first = ["compare", "--weights", "w.safetensors", "--threads", "1", "--size", "48", "-o", out];
    bench.run(&[&first[..], args].concat())
}

fn found(bench: &Bench, out: &str) -> Value {
    serde_json::from_slice(&bench.read(&format!("{out}/compare.json"))).unwrap()
}

/// Ten good images and six defective ones.
fn parts(bench: &Bench) {
    for i in 0..10 {
        bench.picture(&format!("parts/{i}.png"), 40, 40, 50 + i);
    }
    for i in 0..6 {
        bench.picture(&format!("bad/deep/{i}.png"), 40, 40, 80 + i);
    }
}

#[test]
fn every_method_that_the_model_serves_judges_the_same_images() {
    let bench = Bench::new();
    parts(&bench);
    std::fs::copy(bench.path("parts/3.png"), bench.path("parts/copy.png")).unwrap();
    let args = ["--normals", "parts", "--defects", "bad", "--max-false-reject", "0.2", "--prompts", "6"];
    let run = compare(&bench, "out", &args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("1 images are copies of others and do not count"), "{}", run.stderr);
    let table = String::from_utf8(bench.read("out/scores.csv")).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let result = found(&bench, "out");
    let methods = result["methods"].as_array().unwrap();
    assert!(methods.len() >= 2, "{methods:?}");
    for method in methods {
        let name = method["method"].as_str().unwrap();
        let of = |label: &str| -> Vec<f32> {
            rows.iter().filter(|row| row[0] == name && row[3] == label).map(|row| row[5].parse().unwrap()).collect()
        };
        let (good, bad) = (of("normal"), of("anomalous"));
        assert_eq!((good.len(), bad.len()), (10, 6), "{name}");
        let prompts = if name == "winclip-zero" { 0 } else { 6 };
        assert_eq!(rows.iter().filter(|row| row[0] == name && row[4] == "yes").count(), prompts, "{name}");
        let won = |b: &f32, g: &f32| if b > g { 2 } else { i32::from(b == g) };
        let wins: i32 = bad.iter().flat_map(|b| good.iter().map(move |g| won(b, g))).sum();
        let figures = &method["figures"];
        assert!((figures["auroc"].as_f64().unwrap() - f64::from(wins) / 120.0).abs() <= 1e-12, "{name}: {figures}");
        // floor(0.2 x 11) = 2: the limit is just above the second largest good score.
        let mut ordered = good.clone();
        ordered.sort_by(f32::total_cmp);
        assert_eq!(figures["limit"].as_f64().map(|limit| limit as f32), Some(ordered[8].next_up()), "{name}");
        let past = bad.iter().filter(|score| **score > ordered[8]).count();
        assert_eq!(figures["found"].as_u64(), Some(past as u64), "{name}");
        // Of nine others floor(0.2 x 10) = 2 may be past: the two largest good scores are past the limit of the others.
        assert_eq!(figures["rejected"].as_u64(), Some(2), "{name}");
        assert!(figures["bank_bytes"].as_u64() > Some(0) && figures["milliseconds"].as_f64() > Some(0.0));
    }
    // The prompts are a draw of the seed, and judged by the others: as a bank without them judges them.
    let prompts: Vec<&str> = rows.iter().filter(|r| r[0] == "inctrl" && r[4] == "yes").map(|r| r[2]).collect();
    let (first, others) = prompts.split_first().unwrap();
    let bank = [&["bank", "build", "--weights", "w.safetensors", "--normals"][..], others, &["-o", "b"]].concat();
    bench.run(&bank).succeeded();
    let alone = bench.score(&["--bank", "b", first, "--format", "jsonl"]).rows()[0]["score"].as_f64().unwrap();
    let row = rows.iter().find(|row| row[0] == "inctrl" && row[2] == *first).unwrap();
    assert_eq!(row[5].parse::<f32>().unwrap(), alone as f32);

    let page = String::from_utf8(bench.read("out/compare.html")).unwrap();
    assert!(page.contains("data:image/jpeg;base64,") && !page.contains("http") && !page.contains("<script"));
    assert!(run.stdout.contains("The largest AUROC on these 10 good and 6 defective images"), "{}", run.stdout);
    assert!(run.stdout.contains("noise of these images"), "{}", run.stdout);
    // The same arguments give the same scores.
    assert_eq!(compare(&bench, "again", &args).code, 0);
    assert_eq!(bench.read("again/scores.csv"), table.as_bytes());
}

#[test]
fn what_cannot_take_part_is_named_and_the_rest_goes_on() {
    let bench = Bench::new();
    parts(&bench);
    let run = compare(&bench, "good", &["--normals", "parts"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("No defective image was given"), "{}", run.stdout);
    let result = found(&bench, "good");
    assert_eq!(result["verdict"], "no-defects");
    // Of ten images none keeps a rate of 0.05.
    assert!(result["methods"][0]["figures"]["limit"].is_null());

    bench.write("parts/torn.png", "torn");
    let model = ["compare", "--weights", "w.safetensors", "absent.safetensors", "--threads", "1", "--method", "inctrl"];
    let run =
        bench.run(&[&model[..], &["--normals", "parts", "--defects", "bad", "--prompts", "4", "-o", "out"]].concat());
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("absent.safetensors") && run.stderr.contains("torn.png"), "{}", run.stderr);
    let result = found(&bench, "out");
    assert_eq!(result["methods"].as_array().unwrap().len(), 1);
    assert_eq!(result["methods"][0]["figures"]["failed"], 1);

    // A picture cannot be good and defective; it judges no method.
    std::fs::copy(bench.path("parts/5.png"), bench.path("bad/deep/twin.png")).unwrap();
    std::fs::remove_file(bench.path("parts/torn.png")).unwrap();
    let run = compare(&bench, "twins", &["--normals", "parts", "--defects", "bad", "--method", "patchcore"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("5.png is good and ") && run.stderr.contains("twin.png defective"), "{}", run.stderr);
    let table = String::from_utf8(bench.read("twins/scores.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 9 + 6, "{table}");

    compare(&bench, "no", &["--normals", "parts/0.png"]).refused(&["1 good images can be prompts", "two are needed"]);
    compare(&bench, "no", &["--normals", "parts", "--method", "magic"]).refused(&["no method `magic`"]);
    compare(&bench, "no", &["--normals", "parts", "--method", "inctrl"])
        .refused(&["the option `size`", "inctrl has it"]);

    // Options of tiles are not passed over, and a method that cannot use them does not end the rest.
    let tiles = ["--normals", "parts", "--method", "patchcore,padim", "--tile", "48", "--scale", "2"];
    let run = compare(&bench, "tiles", &[&tiles[..], &["--bank-per", "frame"]].concat());
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("error: padim on w.safetensors: "), "{}", run.stderr);
    let result = found(&bench, "tiles");
    assert_eq!(result["methods"].as_array().unwrap().len(), 1);
    let options = result["methods"][0]["options"].as_str().unwrap();
    assert!(options.contains("tile=48 overlap=8 scale=2 bank-per=frame"), "{options}");
    compare(&bench, "no", &["--normals", "parts", "--max-false-reject", "2"]).refused(&["must lie between 0 and 1"]);
}
