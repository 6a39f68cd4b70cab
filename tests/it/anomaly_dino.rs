//! AnomalyDINO on DINOv2 against the oracle in f64 (scripts/fixtures/anomaly_dino.py): pictures of several shapes,
//! prompts with and without rotation.

use std::fs;
use std::sync::Arc;

use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use inctrl::{BankSpec, ErrorKind, Frame, PixelFormat, PromptBank};
use safetensors::SafeTensors;

use crate::common::root;
use crate::larger;
use crate::tiny::on_the_processor;

/// The bound of distances and scores.
const TOLERANCE: f64 = 1e-5;

fn numbers(file: &SafeTensors<'_>, name: &str) -> (Vec<f32>, Vec<usize>) {
    let tensor = file.tensor(name).unwrap();
    let values = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    (values.collect(), tensor.shape().to_vec())
}

fn spec(options: &[&str]) -> BankSpec {
    let mut spec = BankSpec::default();
    spec.method = Some("anomaly-dino".to_owned());
    spec.options = options.iter().map(|option| (*option).to_owned()).collect();
    spec
}

#[test]
fn distances_and_scores_are_those_of_the_oracle() {
    let bytes = fs::read(root().join("tests/fixtures/anomaly_dino.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let pictures = ["prompt_0", "prompt_1", "good", "defect"].map(|name| {
        let tensor = file.tensor(&format!("picture.{name}")).unwrap();
        (tensor.data().to_vec(), tensor.shape()[1], tensor.shape()[0])
    });
    let frames = pictures
        .each_ref()
        .map(|(pixels, width, height)| Frame::packed(pixels, *width, *height, PixelFormat::Rgb8).unwrap());
    let folder = tempfile::tempdir().unwrap();
    for kind in ["plain", "swiglu"] {
        let config = fs::read_to_string(root().join(format!("tests/fixtures/dinov2/{kind}.json"))).unwrap();
        let path = folder.path().join(kind);
        random::write(&path, &Arch::from_json(&config).unwrap(), 11, DType::F32).unwrap();
        let engine = on_the_processor(&path);
        for (view, rotations) in [("upright", "rotations=1"), ("turned", "rotations=8")] {
            let mut builder = engine.bank_builder_of(&spec(&["size=84", rotations])).unwrap();
            frames[..2].iter().for_each(|frame| builder.add(*frame).unwrap());
            let mut scorer = engine.scorer(Arc::new(builder.finish().unwrap())).unwrap();
            for (name, frame) in ["good", "defect"].into_iter().zip(&frames[2..]) {
                let what = format!("{kind}, {view}, {name}");
                let (distances, shape) = numbers(&file, &format!("{kind}.{view}.{name}"));
                let (score, _) = numbers(&file, &format!("{kind}.{view}.{name}.score"));
                let found = scorer.score(*frame).unwrap();
                assert_eq!([found.map.grid.rows, found.map.grid.cols], shape[..], "{what}");
                for (cell, (a, b)) in found.map.cells.iter().zip(&distances).enumerate() {
                    let away = f64::from(a - b).abs();
                    assert!(away <= TOLERANCE, "{what}, cell {cell}: {a} is not {b}");
                }
                let away = f64::from(found.score - score[0]).abs();
                assert!(away <= TOLERANCE, "{what}: score {} is not {}", found.score, score[0]);
            }
        }
    }
}

/// Cells whose component lies so near the threshold may be on either side of it.
const NEAR: f32 = 1e-2;

/// Whether a cell that is near the threshold can decide on this one: it is dilated, then closed.
fn is_unsure(component: &[f32], [rows, cols]: [usize; 2], cell: usize) -> bool {
    let far = |a: usize, b: usize| a.abs_diff(b) > 3;
    (0..rows * cols).any(|other| {
        (component[other].abs() - 10.0).abs() < NEAR
            && !far(cell / cols, other / cols)
            && !far(cell % cols, other % cols)
    })
}

#[test]
fn masked_distances_and_scores_are_those_of_the_oracle() {
    let bytes = fs::read(root().join("tests/fixtures/anomaly_dino.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let pictures = ["prompt_0", "prompt_1", "good", "defect"].map(|name| {
        let tensor = file.tensor(&format!("picture.{name}")).unwrap();
        (tensor.data().to_vec(), tensor.shape()[1], tensor.shape()[0])
    });
    let frames = pictures
        .each_ref()
        .map(|(pixels, width, height)| Frame::packed(pixels, *width, *height, PixelFormat::Rgb8).unwrap());
    let folder = tempfile::tempdir().unwrap();
    for kind in ["plain", "swiglu"] {
        let path = folder.path().join(kind);
        let config = fs::read_to_string(root().join(format!("tests/fixtures/dinov2/{kind}.json"))).unwrap();
        larger::write(&path, &config, 11, 1.75);
        let engine = on_the_processor(&path);
        let mut builder = engine.bank_builder_of(&spec(&["size=168", "rotations=1", "mask=on"])).unwrap();
        frames[..2].iter().for_each(|frame| builder.add(*frame).unwrap());
        let mut scorer = engine.scorer(Arc::new(builder.finish().unwrap())).unwrap();
        for (name, frame) in ["good", "defect"].into_iter().zip(&frames[2..]) {
            let what = format!("{kind}, {name}");
            let (distances, shape) = numbers(&file, &format!("{kind}.masked.{name}"));
            let (component, _) = numbers(&file, &format!("{kind}.masked.{name}.component"));
            let (score, _) = numbers(&file, &format!("{kind}.masked.{name}.score"));
            let grid = [shape[0], shape[1]];
            let found = scorer.score(*frame).unwrap();
            assert_eq!([found.map.grid.rows, found.map.grid.cols], grid, "{what}");
            let (mut sure, mut masked) = (true, 0);
            for (cell, (a, b)) in found.map.cells.iter().zip(&distances).enumerate() {
                masked += usize::from(*a == 0.0);
                if is_unsure(&component, grid, cell) {
                    sure = false;
                    continue;
                }
                assert!(f64::from(a - b).abs() <= TOLERANCE, "{what}, cell {cell}: {a} is not {b}");
            }
            assert!(masked > 0 && masked < distances.len(), "{what}: {masked} cells are masked");
            assert!(!sure || f64::from(found.score - score[0]).abs() <= TOLERANCE, "{what}: {}", found.score);
        }
    }
}

/// A picture that is all background costs an error that says so, and the scorer goes on.
#[test]
fn a_mask_that_leaves_nothing_is_an_error() {
    let config = fs::read_to_string(root().join("tests/fixtures/dinov2/plain.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    larger::write(&path, &config, 11, 1.75);
    let engine = on_the_processor(&path);
    let busy: Vec<u8> = (0..60 * 60 * 3).map(|i| (i * 7 + (i / 180) * (i / 180) * 11) as u8).collect();
    let flat = vec![127; 60 * 60 * 3];
    let [busy, flat] = [&busy, &flat].map(|pixels| Frame::packed(pixels, 60, 60, PixelFormat::Rgb8).unwrap());
    // Every token is the same where there is one.
    let mut builder = engine.bank_builder_of(&spec(&["size=14", "rotations=1", "mask=on"])).unwrap();
    builder.add(busy).unwrap();
    let mut scorer = engine.scorer(Arc::new(builder.finish().unwrap())).unwrap();
    for frame in [busy, flat] {
        let error = scorer.score(frame).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.to_string().contains("mask=on finds no part"), "{error}");
    }
}

/// A bank of a million rows: its size is said before it is built, it goes through a file, and the search is exact.
#[test]
fn a_bank_of_a_million_rows_is_built_opened_and_searched() {
    const SIDE: usize = 128;
    const WIDTH: usize = 16;
    const TINY: &str =
        r#"{"family": "dinov2", "image_size": 32, "patch_size": 4, "width": 16, "layers": 1, "heads": 2}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    random::write(&path, &Arch::from_json(TINY).unwrap(), 5, DType::F32).unwrap();
    let engine = on_the_processor(&path);
    let picture = |seed: usize| -> Vec<u8> {
        (0..SIDE * SIDE).map(|i| ((i * (37 + seed)) ^ ((i / SIDE) * (i / SIDE + seed)) ^ (i >> 5)) as u8).collect()
    };
    let pictures: Vec<Vec<u8>> = (0..17).map(picture).collect();
    let frame = |pixels| Frame::packed(pixels, SIDE, SIDE, PixelFormat::Grey8).unwrap();
    let mut builder = engine.bank_builder_of(&spec(&["size=128", "rotations=64"])).unwrap();
    let size = builder.size_with(16, SIDE, SIDE).unwrap();
    assert_eq!((size.rows, size.bytes), (1 << 20, (1 << 20) * WIDTH * 4));
    pictures[..16].iter().for_each(|pixels| builder.add(frame(pixels)).unwrap());
    let file = folder.path().join("bank");
    let built = builder.finish().unwrap();
    built.save(&file).unwrap();
    let opened = Arc::new(PromptBank::open(&file).unwrap());
    assert_eq!(opened.id(), built.id());
    drop(built);
    let rows = opened.tensor("patches").unwrap();
    assert_eq!(rows.1, [1 << 20, WIDTH]);

    let own = {
        let mut builder = engine.bank_builder_of(&spec(&["size=128", "rotations=1"])).unwrap();
        builder.add(frame(&pictures[16])).unwrap();
        builder.finish().unwrap()
    };
    let mut scorer = engine.scorer(Arc::clone(&opened)).unwrap();
    let found = scorer.score(frame(&pictures[16])).unwrap().clone();
    let queries = own.tensor("patches").unwrap().0;
    // Every 97th cell against all rows, by loops in f64; two roundings of a product of unit vectors each term.
    for (cell, query) in queries.chunks_exact(WIDTH).enumerate().step_by(97) {
        let dot = |row: &[f32]| row.iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let nearest = rows.0.chunks_exact(WIDTH).map(dot).fold(f64::NEG_INFINITY, f64::max);
        let away = (f64::from(found.map.cells[cell]) - (1.0 - nearest)).abs();
        assert!(away <= 2.0 * WIDTH as f64 * f64::from(f32::EPSILON), "cell {cell}: {away:e}");
    }
    assert!(found.score > 0.0);
    let known = scorer.score(frame(&pictures[3])).unwrap();
    assert!(known.score <= 2.0 * WIDTH as f32 * f32::EPSILON, "a prompt has no distance to itself: {}", known.score);
    // What no machine has is refused before anything is encoded.
    let builder = engine.bank_builder_of(&spec(&["size=128", "rotations=64"])).unwrap();
    if cfg!(target_os = "linux") {
        let error = builder.size_with(1 << 40, SIDE, SIDE).unwrap_err();
        assert!(error.kind() == ErrorKind::Device && error.to_string().contains("MB"), "{error}");
    }
}

/// Sizes that make no sense cost an error that names them, and the scorer goes on.
#[test]
fn frames_of_strange_shapes_are_refused_or_judged() {
    let config = fs::read_to_string(root().join("tests/fixtures/dinov2/plain.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    random::write(&path, &Arch::from_json(&config).unwrap(), 11, DType::F32).unwrap();
    let engine = on_the_processor(&path);
    let pixels: Vec<u8> = (0..4000).map(|i| (i * 31 % 251) as u8).collect();
    let frame = |width: usize, height: usize| {
        Frame::packed(&pixels[..width * height], width, height, PixelFormat::Grey8).unwrap()
    };
    let mut builder = engine.bank_builder_of(&spec(&["size=42", "rotations=2"])).unwrap();
    let error = builder.add(frame(1, 4000)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Argument | ErrorKind::Device), "{}", error.chain());
    builder.add(frame(50, 60)).unwrap();
    let mut scorer = engine.scorer(Arc::new(builder.finish().unwrap())).unwrap();
    let before = scorer.score(frame(60, 50)).unwrap().clone();
    for (width, height) in [(1, 4000), (4000, 1)] {
        let error = scorer.score(frame(width, height)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Argument | ErrorKind::Device), "{}", error.chain());
    }
    assert_eq!(scorer.score(frame(60, 50)).unwrap().score.to_bits(), before.score.to_bits());
    // No method is usual for a model without heads: it says what there is.
    let error = engine.bank_builder_of(&BankSpec::default()).err().unwrap();
    assert!(error.chain().contains("name one that it can serve: anomaly-dino"), "{}", error.chain());
    assert_eq!(engine.bank_builder_of(&spec(&["size=13"])).err().unwrap().kind(), ErrorKind::Argument);
}
