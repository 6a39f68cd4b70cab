//! Verdicts and regions in the program's output.

use std::sync::Arc;

use inctrl::{Image, PromptBank, Thresholds};

use crate::program::Bench;

#[test]
fn the_command_line_says_the_verdict_and_the_regions() {
    let bench = Bench::new();
    let model = ["--weights", "w.safetensors"];
    bench.run(&[&["bank", "build", "--normals", "good", "-o", "plain.bank"], &model[..]].concat()).succeeded();
    let limits = Thresholds { review: 0.0, reject: 1.0, cell: 0.01 };
    let bank = PromptBank::open(bench.path("plain.bank")).unwrap().with_thresholds(Some(limits)).unwrap();
    bank.save(bench.path("judged.bank")).unwrap();
    let score = |format| {
        bench.run(
            &[&["score", "--bank", "judged.bank", "--format", format, "query.png", "none.png"], &model[..]].concat(),
        )
    };
    let rows = score("jsonl").rows();
    let engine = crate::tiny::on_the_processor(bench.path("w.safetensors"));
    let image = Image::open(bench.path("query.png")).unwrap();
    let mut scorer = engine.scorer(Arc::new(bank)).unwrap();
    let found = scorer.score(image.frame()).unwrap();
    assert_eq!(rows[0]["verdict"], "review");
    let reason = if found.regions.is_empty() { "score" } else { "score_and_regions" };
    assert_eq!(rows[0]["reason"], reason);
    let regions = rows[0]["regions"].as_array().unwrap();
    assert_eq!(regions.len(), found.regions.len());
    for (json, region) in regions.iter().zip(&found.regions) {
        assert_eq!((json["x"].as_u64(), json["width"].as_u64()), (Some(region.x as u64), Some(region.width as u64)));
        assert_eq!(json["peak"].as_f64().unwrap() as f32, region.peak);
    }
    assert_eq!((&rows[1]["verdict"], &rows[1]["reason"]), (&"review".into(), &"error".into()));
    let csv = score("csv").stdout;
    assert!(csv.lines().nth(1).unwrap().contains(&format!(",review,{reason},{},", regions.len())), "{csv}");
    assert!(score("table").stdout.lines().nth(1).unwrap().ends_with("  review"));
}
