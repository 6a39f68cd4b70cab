//! Several banks in one run, and banks that grow under a cap.

use crate::program::{Bench, Run};

const MODEL: [&str; 4] = ["--weights", "w.safetensors", "--threads", "1"];

fn bank(bench: &Bench, command: &str, args: &[&str]) -> Run {
    bench.run(&[&["bank", command], &MODEL[..], args].concat())
}

fn build(bench: &Bench, image: &str, output: &str) {
    let args = ["--method", "anomaly-dino", "--rotations", "1", "--fit", "stretch", "--normals", image, "-o", output];
    let built = bank(bench, "build", &args);
    assert_eq!(built.code, 0, "{}", built.stderr);
}

#[test]
fn each_image_is_shown_with_the_bank_that_it_fits_best() {
    let bench = Bench::new();
    build(&bench, "good/a.png", "a.bank");
    build(&bench, "good/b.png", "b.bank");
    let scored = |banks: &[&str]| {
        bench
            .score(&[banks, &["good/a.png", "good/b.png", "query.png", "absent.png", "--format", "jsonl"]].concat())
            .rows()
    };
    let both = scored(&["--bank", "a.bank", "--bank", "b.bank"]);
    let alone = [scored(&["--bank", "a.bank"]), scored(&["--bank", "b.bank"])];
    for (i, row) in both[..3].iter().enumerate() {
        let scores = [0, 1].map(|bank: usize| alone[bank][i]["score"].as_f64().unwrap());
        let best = usize::from(scores[1] < scores[0]);
        assert_eq!(row["product"], ["a.bank", "b.bank"][best], "{row}");
        assert_eq!((&row["score"], &row["bank"]), (&alone[best][i]["score"], &alone[best][i]["bank"]));
        let margin = (scores[1] as f32 - scores[0] as f32).abs();
        assert_eq!(row["margin"].as_f64().unwrap() as f32, margin, "{row}");
    }
    assert_eq!([&both[0]["product"], &both[1]["product"]], ["a.bank", "b.bank"]);
    assert!(both[3]["product"].is_null() && both[3]["error"].is_string() && both[3]["verdict"] == "review");
    assert!(alone[0][0].get("product").is_none());
    let told = bench.score(&["--bank", "a.bank", "--bank", "b.bank", "query.png"]).stderr;
    assert!(told.contains("note: without limits: a.bank, b.bank; so the banks are compared by their scores"), "{told}");
    assert!(!bench.score(&["--bank", "a.bank", "query.png"]).stderr.contains("without limits"));
    let csv = bench.score(&["--bank", "a.bank", "--bank", "b.bank", "query.png", "--format", "csv"]).stdout;
    assert!(csv.lines().next().unwrap().ends_with(",error,product,margin"), "{csv}");
    assert_eq!(csv.lines().map(|line| line.split(',').count()).collect::<Vec<_>>(), [12, 12], "{csv}");
    let table = bench.score(&["--bank", "a.bank", "--bank", "b.bank", "good/b.png"]).stdout;
    assert!(table.lines().nth(1).unwrap().contains("  b.bank (0."), "{table}");
    // Banks of other methods do not go together.
    let normals = bank(&bench, "build", &["--normals", "good", "-o", "c.bank"]);
    assert_eq!(normals.code, 0);
    bench.score(&["--bank", "a.bank", "--bank", "c.bank", "query.png"]).refused(&["a.bank, c.bank", "another slot"]);
}

#[test]
fn a_bank_grows_up_to_a_cap_and_keeps_its_limits() {
    let bench = Bench::new();
    build(&bench, "good/a.png", "b");
    let info = |name: &str| bench.run(&["bank", "info", name, "--format", "json"]).succeeded().rows().remove(0);
    let rows = info("b")["rows"].as_u64().unwrap();
    for i in 0..4 {
        bench.picture(&format!("more/{i}.png"), 40, 40, 50 + i);
    }
    let limits = ["--bank", "b", "--normals", "more", "--max-false-reject", "0.25", "-o", "c"];
    assert_eq!(bank(&bench, "calibrate", &limits).code, 0);
    let cap = (2 * rows).to_string();
    let append = |from: &str, image: &str, to: &str, rest: &[&str]| {
        bank(&bench, "append", &[&["--bank", from, "--normals", image, "-o", to, "--max-rows", &cap], rest].concat())
    };
    let keep = ["--keep-thresholds"];
    append("c", "good/b.png", "d", &keep).succeeded();
    assert_eq!(info("d")["appended"].as_array().unwrap().len(), 1);
    let last = append("d", "good/c.png", "e", &keep);
    assert!(
        last.code == 0 && last.stderr.contains("note: 1 of the images that were appended earlier left"),
        "{}",
        last.stderr
    );
    assert_eq!(info("e")["prompts"].as_array().unwrap().len(), 2);
    let row = bench.score(&["--bank", "e", "query.png", "--format", "jsonl"]).rows().remove(0);
    assert!(row["p_value"].is_number() && row["verdict"].is_string());
    let dropped = append("c", "good/b.png", "f", &[]);
    assert!(dropped.code == 0 && dropped.stderr.contains("calibrate it again"), "{}", dropped.stderr);
    let one = rows.to_string();
    bank(&bench, "append", &["--bank", "c", "--normals", "good/b.png", "--max-rows", &one]).refused(&["a cap of"]);
    // Scores of the usual method may rise.
    assert_eq!(bank(&bench, "build", &["--normals", "good", "-o", "g"]).code, 0);
    let limits = ["--bank", "g", "--normals", "more", "--max-false-reject", "0.25"];
    assert_eq!(bank(&bench, "calibrate", &limits).code, 0);
    append("g", "query.png", "h", &keep).refused(&["may rise"]);
}
