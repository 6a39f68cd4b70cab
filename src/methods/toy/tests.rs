//! The toy method through every door of the engine.

use std::num::NonZeroUsize;
use std::sync::Arc;

use safetensors::SafeTensors;

use crate::tensor::DType;
use crate::weights::{Arch, random};
use crate::{Device, Engine, EngineOptions, ErrorKind, Fit, Frame, PixelFormat, PromptBank, Thresholds};

const CONFIG: &str = r#"{"embed_dim": 24, "vision_cfg": {"image_size": 48, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2]}}"#;

fn picture(seed: usize) -> Vec<u8> {
    (0..60 * 50).map(|i| ((i * 37 + seed * 101) ^ ((i >> 3) * (11 + seed))) as u8).collect()
}

fn frame(pixels: &[u8]) -> Frame<'_> {
    Frame::packed(pixels, 60, 50, PixelFormat::Grey8).unwrap()
}

#[test]
fn another_method_needs_its_folder_and_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("w.safetensors");
    random::write(&weights, &Arch::from_json(CONFIG).unwrap(), 3, DType::F32).unwrap();
    let mut options = EngineOptions::new(&weights);
    options.device = Device::Cpu;
    let engine = Engine::with(&options).unwrap();
    let pictures: Vec<Vec<u8>> = (0..4).map(picture).collect();

    let mut builder = engine.bank_builder_for("mean-nearest", "", Fit::Crop).unwrap();
    pictures[..2].iter().for_each(|pixels| builder.add(frame(pixels)).unwrap());
    let bank = builder.finish().unwrap();
    assert_eq!(bank.tensor("rows").unwrap().1, [2, 18, 64]);
    let path = folder.path().join("bank");
    bank.save(&path).unwrap();
    let bank = Arc::new(PromptBank::open(&path).unwrap());
    assert_eq!(bank.method(), "mean-nearest");

    let mut scorer = engine.batch_scorer(Arc::clone(&bank), const { NonZeroUsize::new(3).unwrap() }).unwrap();
    let frames: Vec<Frame<'_>> = pictures.iter().map(|pixels| frame(pixels)).collect();
    let scores = scorer.score_batch(&frames).unwrap();
    // A prompt has no residual against itself; what is new has, and the score is the mean of its map.
    assert!(scores[..2].iter().all(|score| score.score < 1e-6), "{scores:?}");
    for (score, frame) in scores.iter().zip(&frames) {
        let mean = score.map.cells.iter().sum::<f32>() / 9.0;
        assert!((score.score - mean).abs() <= 1e-6, "{} is not the mean {mean}", score.score);
        let alone = engine.scorer(Arc::clone(&bank)).unwrap().score(*frame).unwrap().clone();
        assert_eq!(alone.score.to_bits(), score.score.to_bits());
        assert_eq!((score.outputs().len(), score.output("patch_max")), (1, None));
    }
    assert!(scores[2].score > 1e-3 && scores[3].score > 1e-3, "{scores:?}");

    // Prompts that cannot be told apart are not shared between banks, which changes no bit.
    let mut many = engine.multi_bank_scorer(&[Arc::clone(&bank), Arc::clone(&bank)]).unwrap();
    for score in many.score(frames[2]).unwrap() {
        assert_eq!(score.score.to_bits(), scores[2].score.to_bits());
    }
    assert_eq!(engine.append_to(&bank).err().unwrap().kind(), ErrorKind::Argument);

    // Limits, and banks of different methods: one scorer is of one method.
    let judged = bank.with_thresholds(Some(Thresholds { review: 0.0005, reject: 0.5, cell: 0.2 })).unwrap();
    scorer.set_bank(Arc::new(judged)).unwrap();
    assert!(scorer.score(frames[3]).unwrap().decision.is_some());
    let other = Arc::new(engine.build_bank("cat", Fit::Crop, &frames[..1]).unwrap());
    let error = scorer.set_bank(Arc::clone(&other)).unwrap_err();
    assert!(error.kind() == ErrorKind::Bank && error.to_string().contains("mean-nearest"), "{error}");
    assert!(engine.scorer(other).unwrap().score(frames[3]).unwrap().output("patch_max").is_some());
}

/// An engine opens on an encoder alone; the method says what it lacks, and another serves.
#[test]
fn an_encoder_without_heads_serves_the_methods_that_need_none() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, bare] = ["whole.safetensors", "bare.safetensors"].map(|name| folder.path().join(name));
    random::write(&whole, &Arch::from_json(CONFIG).unwrap(), 3, DType::F32).unwrap();
    let bytes = std::fs::read(&whole).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let is_head = |name: &str| name.starts_with("adapter.") || name.starts_with("diff_head");
    let towers = tensors.iter().filter(|(name, _)| !is_head(name));
    std::fs::write(&bare, safetensors::serialize(towers, metadata.metadata().clone()).unwrap()).unwrap();

    let engine = |path: &std::path::Path| {
        let mut options = EngineOptions::new(path);
        options.device = Device::Cpu;
        Engine::with(&options).unwrap()
    };
    let (whole, bare) = (engine(&whole), engine(&bare));
    let pixels = picture(1);
    let error = bare.build_bank("cat", Fit::Crop, &[frame(&pixels)]).unwrap_err();
    let text = error.chain();
    assert!(
        text.contains("needs trained heads") && text.contains("name one that it can serve: anomaly-dino, patchcore"),
        "{text}"
    );
    assert_eq!(bare.bank_builder_for("inctrl", "cat", Fit::Crop).err().unwrap().kind(), ErrorKind::Weights);
    assert_eq!(bare.bank_builder_for("magic", "cat", Fit::Crop).err().unwrap().kind(), ErrorKind::Argument);
    let score = |engine: &Engine| {
        let mut builder = engine.bank_builder_for("mean-nearest", "", Fit::Crop).unwrap();
        builder.add(frame(&pixels)).unwrap();
        let bank = Arc::new(builder.finish().unwrap());
        engine.scorer(bank).unwrap().score(frame(&picture(2))).unwrap().score
    };
    assert_eq!(score(&bare).to_bits(), score(&whole).to_bits());
}
