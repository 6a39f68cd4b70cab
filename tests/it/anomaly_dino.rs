//! AnomalyDINO on DINOv2 against the oracle in f64 (scripts/fixtures/anomaly_dino.py): pictures of several shapes,
//! prompts with and without rotation.

use std::fs;
use std::sync::Arc;

use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use inctrl::{BankSpec, ErrorKind, Frame, PixelFormat};
use safetensors::SafeTensors;

use crate::common::root;
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
