//! Data sets whose images are parts of files, as a user meets them.

use image::{GrayImage, Luma};
use serde_json::Value;

use crate::program::{Bench, Run};

fn eval(bench: &Bench, dataset: &str, out: &str, shots: &str) -> Run {
    let model = ["eval", "--weights", "w.safetensors", "--threads", "1", "--runs", "1"];
    bench.run(&[&model[..], &["--dataset", dataset, "--shots", shots, "-o", out]].concat())
}

/// Class, image, kind, label and score of each line of scores.csv.
fn scores(bench: &Bench, out: &str) -> Vec<(String, String, f32)> {
    let table = String::from_utf8(bench.read(&format!("{out}/scores.csv"))).unwrap();
    let rows = table.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    rows.map(|row| (row[1].clone(), row[3].clone(), row[6].parse().unwrap())).collect()
}

/// Thirds of three pictures, of which the second has a defect in its last third; and the same thirds as files of their own.
#[test]
fn thirds_are_scored_as_files_of_their_own() {
    let bench = Bench::new();
    for part in 0..3 {
        bench.picture(&format!("sdd/kos01/Part{part}.png"), 40, 121, 7 * part);
        let label = GrayImage::from_fn(40, 121, |_, y| Luma([if part == 1 && y == 100 { 255 } else { 0 }]));
        label.save(bench.path(format!("sdd/kos01/Part{part}_label.bmp"))).unwrap();
    }
    let run = eval(&bench, "sdd", "out", "6");
    // There is more of SDD than that, which is a fault; all that is there is judged.
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(
        run.stderr.contains("class `SDD` has 6 + 2 + 1 images (to train, normal and anomalous to test)"),
        "{}",
        run.stderr
    );
    let found = scores(&bench, "out");
    let expected = ("kos01/Part1.png#third=2".to_owned(), "anomalous".to_owned());
    assert!(
        found.len() == 3 && found.iter().any(|(name, label, _)| (name.clone(), label.clone()) == expected),
        "{found:?}"
    );
    let tables = String::from_utf8(bench.read("out/results.md")).unwrap();
    // The paper's figures are of all of SDD.
    assert!(tables.contains("layout sdd") && !tables.contains("paper: AUROC"), "{tables}");

    // All training images are prompts, so that the draw has no say.
    let cut = |name: &str, to: String| {
        let (file, third) = name.split_once("#third=").unwrap();
        let third: u32 = third.parse().unwrap();
        let (top, bottom) = (third * 121 / 3, (third + 1) * 121 / 3);
        let picture = image::open(bench.path(format!("sdd/{file}"))).unwrap();
        let path = bench.path(to);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture.crop_imm(0, top, 40, bottom - top).save(path).unwrap();
    };
    let draws: Value = serde_json::from_slice(&bench.read("out/prompts.json")).unwrap();
    let prompts = draws["draws"][0]["prompts"].as_array().unwrap();
    assert_eq!(prompts.len(), 6);
    for (number, prompt) in prompts.iter().enumerate() {
        cut(prompt["name"].as_str().unwrap(), format!("files/SDD/train/good/{number}.png"));
    }
    for (number, (name, label, _)) in found.iter().enumerate() {
        let kind = if label == "normal" { "good" } else { "defect" };
        cut(name, format!("files/SDD/test/{kind}/{number}.png"));
    }
    assert_eq!(eval(&bench, "files", "again", "6").code, 0);
    for (name, _, score) in scores(&bench, "again") {
        let number: usize = name.rsplit('/').next().unwrap().trim_end_matches(".png").parse().unwrap();
        // The prompts come in another order, and so do the terms of their mean.
        assert!((score - found[number].2).abs() <= 1e-5, "{name}: {score}, {:?}", found[number]);
    }
}

/// Pictures in one file, whose half for training is all there is of the labels that are asked for.
#[test]
fn mnist_is_checked_and_judged_from_its_files() {
    let bench = Bench::new();
    let idx = |extents: &[u32], values: Vec<u8>| {
        let mut file = vec![0, 0, 8, extents.len() as u8];
        extents.iter().for_each(|extent| file.extend(extent.to_be_bytes()));
        [file, values].concat()
    };
    std::fs::create_dir(bench.path("mnist")).unwrap();
    for (part, labels) in [("train", vec![0, 1, 2, 4, 6]), ("t10k", vec![8, 3, 2])] {
        let count = labels.len() as u32;
        let pixels = (0..count * 784).map(|at| (at * at / 97 + at / 784 * 31) as u8).collect();
        bench.write(&format!("mnist/{part}-images-idx3-ubyte"), idx(&[count, 28, 28], pixels));
        bench.write(&format!("mnist/{part}-labels-idx1-ubyte"), idx(&[count], labels));
    }
    let check = bench.run(&["data", "check", "mnist", "--layout", "mnist-multi"]);
    assert_eq!(check.code, 2, "{}", check.stderr);
    assert!(check.stdout.contains("layout mnist-multi, MNIST multi-class"), "{}", check.stdout);
    assert!(check.stdout.contains("29492 + 4926 + 5074"), "{}", check.stdout);
    let found = bench.run(&["data", "check", "mnist", "--layout", "mnist-multi", "--format", "json"]).stdout;
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["classes"][0]["published"], serde_json::json!([29492, 4926, 5074]));
    assert_eq!((&found["layout"], &found["known"]), (&"mnist-multi".into(), &"MNIST multi-class".into()));

    let model = ["eval", "--weights", "w.safetensors", "--threads", "1", "--runs", "1", "--shots", "2"];
    let run = bench.run(&[&model[..], &["--dataset", "mnist", "--layout", "mnist-multi", "-o", "out"]].concat());
    assert_eq!(run.code, 2, "{}", run.stderr);
    let names: Vec<String> = scores(&bench, "out").into_iter().map(|(name, label, _)| name + " " + &label).collect();
    let image = |number: u32, label: &str| format!("t10k-images-idx3-ubyte#image={number:05} {label}");
    assert_eq!(names, [image(0, "normal"), image(1, "anomalous"), image(2, "normal")]);
}
