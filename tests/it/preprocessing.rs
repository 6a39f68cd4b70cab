//! The preprocessing in a model's files applies to every score, is a part of the model's identity, and survives
//! conversion.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use inctrl::checkpoint::{ConvertOptions, convert};
use inctrl::tensor::DType;
use inctrl::view::{Filter, Preprocessing, ResizeMode};
use inctrl::weights::{Arch, LoadOptions, Weights, inspect, random};
use inctrl::{ErrorKind, Fit, Result};

use crate::tiny::{MODELS, bank, frames, on_the_processor, pictures, score};

const HALF: &str = r#""preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear",
    "resize_mode": "squash"}"#;

fn half() -> Preprocessing {
    Preprocessing { mean: [0.5; 3], std: [0.5; 3], filter: Filter::Bilinear, resize: ResizeMode::Squash }
}

/// A model without a configuration of its own in a folder with these files beside it.
fn beside(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    random::write(&path, &Arch::from_json(MODELS[1].1).unwrap(), 3, DType::F32).unwrap();
    // The same tensors without metadata.
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    fs::write(&path, safetensors::serialize(file.iter(), None).unwrap()).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn open(folder: &Path) -> Result<Weights> {
    Weights::open(&LoadOptions { weights: folder.join("w.safetensors"), heads: None, config: None })
}

fn hub() -> String {
    format!("{{\"model_cfg\": {}, {HALF}}}", MODELS[1].1)
}

#[test]
fn files_beside_the_model_are_honoured_through_every_door() {
    let plain = beside(&[("config.json", MODELS[1].1)]);
    let hugging = r#"{"image_processor_type": "CLIPImageProcessor", "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "resample": 2, "size": {"height": 48, "width": 48}, "do_center_crop": false}"#;
    let nested = format!("{{\"processor_class\": \"CLIPProcessor\", \"image_processor\": {hugging}}}");
    let hub = hub();
    let mut hashes = Vec::new();
    for files in [
        &[("open_clip_config.json", &*hub)][..],
        &[("config.json", MODELS[1].1), ("preprocessor_config.json", hugging)],
        &[("config.json", MODELS[1].1), ("processor_config.json", &nested), ("preprocessor_config.json", hugging)],
        &[("w.json", &*hub)],
    ] {
        let folder = beside(files);
        let weights = open(folder.path()).unwrap();
        assert_eq!(weights.arch().vision.preprocessing, half());
        hashes.push(weights.hash().to_owned());
        // Converted, the model says it itself, whatever lies beside.
        let output = folder.path().join("out.safetensors");
        let source = folder.path().join("w.safetensors");
        let converted =
            convert(&ConvertOptions { source, heads: None, config: None, dtype: None }, &output, |_, _| ()).unwrap();
        assert_eq!(converted.arch.vision.preprocessing, half());
        let alone = tempfile::tempdir().unwrap();
        fs::copy(&output, alone.path().join("w.safetensors")).unwrap();
        assert_eq!(open(alone.path()).unwrap().hash(), hashes[0]);
        // A configuration that does not speak of pixels does not take that back.
        fs::write(alone.path().join("config.json"), MODELS[1].1).unwrap();
        assert_eq!(open(alone.path()).unwrap().hash(), hashes[0]);
        let options = LoadOptions { weights: output, heads: None, config: None };
        assert!(
            inspect(&options).unwrap().to_string().contains("bilinear, squash (fit stretch), mean [0.5, 0.5, 0.5]")
        );
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 1, "the identity of a model does not depend on who says it");
    assert_ne!(hashes[0], open(plain.path()).unwrap().hash());
}

#[test]
fn scores_are_those_of_the_preprocessing_and_banks_of_another_are_refused() {
    let (plain, other) = (beside(&[("config.json", MODELS[1].1)]), beside(&[("open_clip_config.json", &hub())]));
    let [plain, other] = [&plain, &other].map(|folder| on_the_processor(folder.path().join("w.safetensors")));
    assert_eq!((plain.trained_fit(), other.trained_fit()), (Fit::Crop, Fit::Stretch));
    let prompts = pictures(0..2);
    let query = &pictures(6..7)[0];
    let (ours, theirs) = (bank(&plain, &frames(&prompts)), bank(&other, &frames(&prompts)));
    let error = other.scorer(Arc::clone(&ours)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bank);
    assert_eq!(plain.scorer(Arc::clone(&theirs)).map(drop).unwrap_err().kind(), ErrorKind::Bank);
    let before = score(&mut plain.scorer(ours).unwrap(), query.frame());
    let after = score(&mut other.scorer(theirs).unwrap(), query.frame());
    assert_ne!(before.map.cells, after.map.cells);
}

#[test]
fn what_cannot_be_honoured_is_refused_through_every_door() {
    let lanczos = hub().replace("bilinear", "lanczos");
    for (name, text, part) in [
        ("preprocessor_config.json", r#"{"resample": 1}"#, "resample = 1"),
        ("preprocessor_config.json", r#"{"size": {"shortest_edge": 48}, "do_center_crop": false}"#, "do_center_crop"),
        ("processor_config.json", r#"{"image_processor": {"image_processor_type": "SiglipImageProcessor"}}"#, "Siglip"),
        ("open_clip_config.json", &lanczos, "lanczos"),
        ("preprocessor_config.json", "{", "is not JSON"),
        ("vocab.txt", "[PAD]", "another model"),
        ("tokenizer_config.json", r#"{"tokenizer_class": "T5Tokenizer"}"#, "T5Tokenizer"),
        ("vocab.json", r#"{"!": 0, "the</w>": 7}"#, "CLIP's vocabulary"),
        ("tokenizer.json", r#"{"model": {"vocab": {"!": 0}}}"#, "has 1 tokens, expected 49408"),
        ("merges.txt", "#version: 0.2\ni n\nt h\nq q\n", "line 4"),
    ] {
        let folder = beside(&[("config.json", MODELS[1].1), (name, text)]);
        let path = folder.path().join(name);
        let source = folder.path().join("w.safetensors");
        let options = ConvertOptions { source, heads: None, config: None, dtype: None };
        let converted = convert(&options, &folder.path().join("out"), |_, _| ()).map(drop);
        for error in [open(folder.path()).map(drop).unwrap_err(), converted.unwrap_err()] {
            assert_eq!((error.kind(), error.path()), (ErrorKind::Config, Some(&*path)), "{error}");
            assert!(error.to_string().contains(part), "{error} does not say {part:?}");
        }
    }
    // Two files that contradict each other.
    let folder = beside(&[
        ("config.json", MODELS[1].1),
        ("open_clip_config.json", &hub()),
        ("preprocessor_config.json", r#"{"size": 48, "crop_size": 48}"#),
    ]);
    assert!(open(folder.path()).unwrap_err().to_string().contains("Remove the wrong one"));
}

#[test]
fn heads_of_a_model_with_other_pixels_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["clip", "heads"].map(|name| folder.path().join(name).with_extension("safetensors"));
    for (path, config) in paths.iter().zip([hub(), MODELS[1].1.to_owned()]) {
        random::write(path, &Arch::from_json(&config).unwrap(), 3, DType::F32).unwrap();
    }
    let [weights, heads] = paths;
    let error = Weights::open(&LoadOptions { weights, heads: Some(heads), config: None }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("was made for a model with pixels prepared as"), "{error}");
}
