//! `inctrl bench op`: one operation at any size, without weights.

use serde_json::Value;

use crate::program::Bench;

const SHORT: [&str; 4] = ["--turns", "3", "--turn-ms", "1"];

#[test]
fn an_operation_is_checked_and_timed_without_weights() {
    let bench = Bench::new();
    let search = ["bench", "op", "patch_nn", "--q", "37", "--rows", "300", "--width", "48"];
    let found = bench.run(&[&search[..], &SHORT, &["--rivals", "product", "--json", "-o", "op.json"]].concat());
    let found: Value = serde_json::from_str(&found.succeeded().stdout).unwrap();
    assert_eq!(found["sizes"], serde_json::json!({"taps": 1, "q": 37, "rows": 300, "width": 48, "directions": 0}));
    assert_eq!((&found["work"]["flop"], &found["dtype"]), (&(2 * 37 * 300 * 48).into(), &"f32".into()));
    assert_eq!(found["agreement"]["compared"], 37);
    assert_eq!(found["turns"].as_array().unwrap().len(), 3);
    assert_eq!(found["rivals"][0]["name"], "product");
    for number in [&found["seconds"], &found["share_of_peak_flop"], &found["rivals"][0]["ratio"]] {
        assert!(number.as_f64().is_some_and(|x| x > 0.0), "{found}");
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(bench.path("op.json")).unwrap()).unwrap();
    assert_eq!(file, found);

    let table = bench.run(&[&["bench", "op", "gelu", "--rows", "9"][..], &SHORT].concat()).succeeded().stdout;
    assert!(table.starts_with("gelu   x = x Φ(x)") && table.contains("of a plain copy"), "{table}");
}

#[test]
fn what_an_operation_does_not_have_is_named() {
    let bench = Bench::new();
    let refused = |arguments: &[&str], part: &str| {
        bench.run(&[&["bench", "op"], arguments].concat()).refused(&[part]);
    };
    refused(&["gelu", "--q", "3"], "gelu has no size \"q\": it has rows, width, quick");
    refused(&["nearest-of-all"], "mean_of_largest");
    refused(&["gelu", "--device", "auto"], "name a device");
    refused(&["attention", "--head-width", "0"], "give 1 to 128");
    refused(&["gelu", "--rivals", "product"], "leave this rival out");
    let help = bench.run(&["bench", "op", "--help"]).succeeded().stdout;
    assert!(help.contains("--head-width [64]") && help.contains("softmax(Q Kᵀ"), "{help}");
}
