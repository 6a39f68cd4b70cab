//! Metrics against scikit-learn and a plain per-region overlap: cases of `scripts/fixtures/metrics.py`.

use inctrl_lab::metrics::{Metric, Pixels, Ranking};
use serde_json::Value;

/// Both sides compute in f64 from the same counts; what differs is the order of sums.
const TOLERANCE: f64 = 1e-9;

/// splitmix64, as in the script.
struct Stream(u64);

impl Stream {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) % count
    }

    fn value(&mut self, case: &Value, anomalous: bool) -> f32 {
        let shift = if anomalous { number(case, "shift") } else { 0 };
        (self.below(number(case, "levels")) + shift) as f32 / number(case, "levels") as f32
    }
}

fn number(case: &Value, field: &str) -> u64 {
    case[field].as_u64().unwrap()
}

fn cases(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../../../../tests/fixtures/metrics.json")).unwrap();
    all[kind].as_array().unwrap().clone()
}

#[track_caller]
fn check(case: &Value, field: &str, found: Metric) {
    match (case[field].as_f64(), found) {
        (None, Err(_)) => assert!(case[field].is_null(), "{case}"),
        (Some(expected), Ok(found)) => {
            assert!((found - expected).abs() <= TOLERANCE, "{field}: found {found}, expected {expected}: {case}");
        }
        (expected, found) => panic!("{field}: found {found:?}, expected {expected:?}: {case}"),
    }
}

fn check_ranking(case: &Value, ranking: &Ranking) {
    check(case, "auroc", ranking.auroc());
    check(case, "average_precision", ranking.average_precision());
    check(case, "f1_max", ranking.f1_max().map(|best| best.value));
    if let Ok(best) = ranking.f1_max() {
        let c = ranking.confusion(best.threshold);
        let f1 = (2 * c.true_positives) as f64 / (2 * c.true_positives + c.false_positives + c.false_negatives) as f64;
        assert_eq!(f1, best.value);
    }
}

#[test]
fn rankings_are_scored_as_scikit_learn_does() {
    let cases = cases("rankings");
    let mut defined = 0;
    for case in &cases {
        let mut stream = Stream(number(case, "seed"));
        let both = case["both_kinds"].as_bool().unwrap();
        let samples = (0..number(case, "count")).map(|i| {
            let drawn = stream.below(1000) < number(case, "anomalous_per_mille");
            let anomalous = if both && i < 2 { i == 0 } else { drawn };
            (stream.value(case, anomalous), anomalous)
        });
        let (scores, truth): (Vec<f32>, Vec<bool>) = samples.unzip();
        let ranking = Ranking::new(&scores, &truth).unwrap();
        check_ranking(case, &ranking);
        defined += usize::from(ranking.auroc().is_ok());
    }
    assert_eq!(cases.len(), 200);
    assert!(defined > 150, "{defined}");
}

#[test]
fn maps_are_scored_as_the_definition_of_the_overlap_reads() {
    let cases = cases("maps");
    for case in &cases {
        let mut stream = Stream(number(case, "seed"));
        let (width, height) = (number(case, "width"), number(case, "height"));
        let mut pixels = Pixels::new();
        for _ in 0..number(case, "count") {
            let mut mask = vec![false; (width * height) as usize];
            for _ in 0..stream.below(number(case, "rectangles") + 1) {
                let (x, y) = (stream.below(width), stream.below(height));
                let (w, h) = (1 + stream.below(width / 3), 1 + stream.below(height / 3));
                for y in y..(y + h).min(height) {
                    mask[(y * width + x) as usize..(y * width + (x + w).min(width)) as usize].fill(true);
                }
            }
            let values: Vec<f32> = mask.iter().map(|&defect| stream.value(case, defect)).collect();
            pixels.add(&values, Some(&mask), width as usize).unwrap();
        }
        let ranking = pixels.rank().unwrap();
        check_ranking(case, ranking.ranking());
        for (field, limit) in [("aupro_0.05", 0.05), ("aupro_0.3", 0.3), ("aupro_1.0", 1.0)] {
            check(case, field, ranking.aupro(limit));
        }
    }
    assert_eq!(cases.len(), 60);
}

/// What evaluations wrote down, by method: `scripts/fixtures/written_scores.py`.
#[test]
fn figures_of_written_scores_are_those_of_scikit_learn() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/written_scores");
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
    let expected: Value = serde_json::from_str(&read("metrics.json")).unwrap();
    let mut banks = 0;
    for (method, cases) in expected["methods"].as_object().unwrap() {
        let table = read(&format!("{method}.csv"));
        let mut reader = csv::Reader::from_reader(table.as_bytes());
        let header = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let field = |row: &csv::StringRecord, name: &str| {
            row[header.iter().position(|column| column == name).unwrap()].to_owned()
        };
        for case in cases.as_array().unwrap() {
            let of_bank = |row: &&csv::StringRecord| {
                ["run", "shots"].iter().all(|name| field(row, name).parse().ok() == case[*name].as_u64())
                    && field(row, "class") == case["class"].as_str().unwrap()
            };
            let mine: Vec<_> = rows.iter().filter(of_bank).collect();
            let scores: Vec<f32> = mine.iter().map(|row| field(row, "score").parse().unwrap()).collect();
            let truth: Vec<bool> = mine.iter().map(|row| field(row, "label") == "anomalous").collect();
            let ranking = Ranking::new(&scores, &truth).unwrap();
            check(case, "image_auroc", ranking.auroc());
            check(case, "image_auprc", ranking.average_precision());
            check(case, "image_f1_max", ranking.f1_max().map(|best| best.value));
            banks += 1;
        }
    }
    let methods: Vec<&str> = expected["methods"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut all: Vec<&str> = inctrl::methods::ALL.iter().map(|method| method.name()).collect();
    all.sort_unstable();
    assert_eq!(methods, all, "every method has written scores");
    // Of each method two classes, runs and numbers of shots; without prompts there is one run.
    assert_eq!(banks, (methods.len() - 1) * 2 * 2 * 2 + 2);
}
