//! DINOv2 on the CPU against PyTorch in f64: with and without registers, with SwiGLU, on grids that are not square or
//! not the stored one, and of 1,025 and 2,305 tokens.

use std::fs;
use std::path::Path;

use inctrl::backend::cpu::Cpu;
use inctrl::checkpoint::{ConvertOptions, Converted, convert};
use inctrl::tensor::DType;
use inctrl::view::Preprocessing;
use inctrl::weights::{Arch, Family, LoadOptions, Mlp, Weights, inspect, random, table};
use inctrl::{Engine, ErrorKind, Fit, Result};

use crate::dinov2_cases::{check, check_stream, folder};

/// The bound of the CPU path: per tensor `max|a - b| <= 2e-5 max|b|`.
const TENSOR: f32 = 2e-5;

#[test]
fn dinov2_is_the_official_model() {
    for name in ["plain", "wide", "registers", "swiglu", "gated"] {
        let mut cpu = Cpu::new(2).unwrap();
        check_stream(&mut cpu, name, TENSOR);
        check(&mut cpu, name, TENSOR);
    }
}

#[test]
fn dinov2_of_many_tokens() {
    for name in ["large", "larger"] {
        let mut cpu = Cpu::new(2).unwrap();
        check_stream(&mut cpu, name, TENSOR);
        check(&mut cpu, name, TENSOR);
    }
}

/// The fixtures' tiny models.
const TINY: &str = r#""family": "dinov2", "image_size": 12, "patch_size": 4, "width": 16, "layers": 2, "heads": 2"#;
/// Kind, and what its configuration adds.
const KINDS: [(&str, &str); 3] = [
    ("plain", r#""registers": 0"#),
    ("registers", r#""registers": 4"#),
    ("swiglu", r#""registers": 4, "mlp": "swiglu""#),
];

/// Converts a file of the fixtures to `out`. Files that say nothing of heads get a configuration; a folder has one.
fn to_file(source: &str, config: Option<&Path>, out: &Path) -> Result<Converted> {
    let source = folder().join("layouts").join(source);
    let config = config.map(Path::to_path_buf);
    convert(&ConvertOptions { source, heads: None, config, dtype: None }, out, |_, _| ())
}

fn open(path: &Path) -> Result<Weights> {
    Weights::open(&LoadOptions { weights: path.to_path_buf(), heads: None, config: None })
}

#[test]
fn every_layout_of_a_model_becomes_the_same_file() {
    let temporary = tempfile::tempdir().unwrap();
    for (kind, more) in KINDS {
        let config = temporary.path().join(format!("{kind}.json"));
        fs::write(&config, format!("{{{TINY}, {more}}}")).unwrap();
        let official = temporary.path().join("official.safetensors");
        to_file(&format!("{kind}.pth"), Some(&config), &official).unwrap();
        let official = fs::read(&official).unwrap();
        for (name, config) in [
            (format!("{kind}_chunked.pth"), Some(config.as_path())),
            (format!("{kind}_hf"), None),
            (format!("{kind}_hf5.bin"), Some(&config)),
            (format!("{kind}_timm.safetensors"), Some(&config)),
            (format!("{kind}_timm.pth"), Some(&config)),
        ] {
            let out = temporary.path().join("out.safetensors");
            let converted = to_file(&name, config, &out).unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
            assert!(!converted.heads && converted.arch.family == Family::Dinov2);
            assert!(fs::read(&out).unwrap() == official, "{name} is another file than {kind}.pth gives");
        }
    }
}

#[test]
fn classifiers_are_left_out_and_said_and_anything_else_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let config = temporary.path().join("c.json");
    fs::write(&config, format!("{{{TINY}}}")).unwrap();
    let (plain, out) = (temporary.path().join("plain.safetensors"), temporary.path().join("out.safetensors"));
    to_file("plain.pth", Some(&config), &plain).unwrap();
    for (source, left_out) in [
        ("classifier_hf", "classifier.bias, classifier.weight, mask_token"),
        ("classifier_timm.safetensors", "head.bias, head.weight"),
        ("classifier_hub.pth", "linear_head.bias, linear_head.weight, mask_token"),
    ] {
        let converted = to_file(source, Some(&config), &out).unwrap_or_else(|e| panic!("{source}: {}", e.chain()));
        let note = format!("left out, because nothing here uses it: {left_out}");
        assert!(converted.notes.contains(&note), "{source}: {:?}", converted.notes);
        assert!(fs::read(&out).unwrap() == fs::read(&plain).unwrap(), "{source} is another file than plain.pth gives");
    }
    // timm's names of an encoder without registers are the official ones: the file opens as it is.
    let timm = folder().join("layouts/classifier_timm.safetensors");
    let opened =
        Weights::open(&LoadOptions { weights: timm.clone(), heads: None, config: Some(config.clone()) }).unwrap();
    assert_eq!(opened.hash(), open(&plain).unwrap().hash());
    // A tensor that nobody knows may be a part of the function.
    let bytes = fs::read(&timm).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for name in ["neck.weight", "head.scale", "headless.weight", "fc_norm.weight"] {
        let known = file.iter().map(|(name, tensor)| (name.to_owned(), tensor));
        let all = known.chain([(name.to_owned(), file.tensor("norm.weight").unwrap())]);
        let source = temporary.path().join("more.safetensors");
        fs::write(&source, safetensors::serialize(all, None).unwrap()).unwrap();
        let options = ConvertOptions { source, heads: None, config: Some(config.clone()), dtype: None };
        let error = convert(&options, &temporary.path().join("none"), |_, _| ()).unwrap_err();
        assert!(error.to_string().contains(&format!("1 unexpected:\n  {name} [16]")), "{error}");
    }
}

#[test]
fn a_converted_model_has_the_saved_numbers() {
    let temporary = tempfile::tempdir().unwrap();
    let out = temporary.path().join("out.safetensors");
    // Hugging Face's file holds every number of the official one, by itself: read it without our converter.
    for (kind, _) in KINDS {
        to_file(&format!("{kind}_hf"), None, &out).unwrap();
        let (weights, saved) = (open(&out).unwrap(), folder().join(format!("layouts/{kind}_hf/model.safetensors")));
        let bytes = fs::read(saved).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let numbers = |name: &str| -> Vec<f32> {
            let data = file.tensor(name).unwrap().data().to_vec();
            data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let found = |name: &str| weights.tensor(name).unwrap().to_f32().unwrap();
        let parts = ["query", "key", "value"].map(|part| format!("encoder.layer.1.attention.attention.{part}.weight"));
        assert_eq!(found("blocks.1.attn.qkv.weight"), parts.map(|part| numbers(&part)).concat());
        assert_eq!(found("blocks.0.ls2.gamma"), numbers("encoder.layer.0.layer_scale2.lambda1"));
        assert_eq!(found("patch_embed.proj.bias"), numbers("embeddings.patch_embeddings.projection.bias"));
        assert_eq!(found("norm.weight"), numbers("layernorm.weight"));
        let (class, positions) = (numbers("embeddings.cls_token"), numbers("embeddings.position_embeddings"));
        if weights.arch().vision.registers == 0 {
            assert_eq!((found("cls_token"), found("pos_embed")), (class, positions));
        } else {
            let sum: Vec<f32> = class.iter().zip(&positions).map(|(class, position)| class + position).collect();
            assert_eq!(found("cls_token"), sum);
            assert_eq!(found("pos_embed"), [&[0.0; 16][..], &positions[16..]].concat());
            assert_eq!(found("register_tokens"), numbers("embeddings.register_tokens"));
        }
        if weights.arch().vision.mlp == Mlp::SwiGlu {
            assert_eq!(found("blocks.1.mlp.w12.bias"), numbers("encoder.layer.1.mlp.weights_in.bias"));
            assert_eq!(found("blocks.1.mlp.w3.weight"), numbers("encoder.layer.1.mlp.weights_out.weight"));
        }
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let temporary = tempfile::tempdir().unwrap();
    let out = temporary.path().join("out.safetensors");
    // Width 16 has no heads of 64: a configuration is needed.
    let error = to_file("plain.pth", None, &out).unwrap_err();
    assert!(error.to_string().contains("multiple of 64"), "{error}");
    let config = temporary.path().join("c.json");
    fs::write(&config, format!("{{{TINY}, \"registers\": 3}}")).unwrap();
    let error = to_file("registers.pth", Some(&config), &out).unwrap_err();
    assert!(error.to_string().contains("register_tokens: expected [1, 3, 16], found [1, 4, 16]"), "{error}");
    // Files of other layouts name the way; official ones open as they are.
    for (source, part) in [("plain_hf/model.safetensors", "Hugging Face's"), ("registers_timm.safetensors", "timm's")] {
        let path = temporary.path().join("w.safetensors");
        fs::copy(folder().join("layouts").join(source), &path).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.to_string().contains(part) && error.to_string().contains("inctrl convert"), "{error}");
    }
    let mut options =
        ConvertOptions { source: folder().join("layouts/plain.pth"), heads: None, config: None, dtype: None };
    options.heads = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints/heads.pth"));
    fs::write(&config, format!("{{{TINY}}}")).unwrap();
    options.config = Some(config);
    let error = convert(&options, &out, |_, _| ()).unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("no text tower"), "{error}");
    assert!(!out.exists());
}

#[test]
fn published_pixels_are_read_beside_a_model() {
    let temporary = tempfile::tempdir().unwrap();
    let arch = Arch::from_json(r#"{"family": "dinov2", "image_size": 28, "patch_size": 14, "width": 64, "layers": 1}"#)
        .unwrap();
    let model = temporary.path().join("model.safetensors");
    random::write(&model, &arch, 1, DType::F32).unwrap();
    // Without its own metadata, as others store it.
    let bytes = fs::read(&model).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    fs::write(&model, safetensors::serialize(file.iter(), None).unwrap()).unwrap();
    assert_eq!(open(&model).unwrap().arch(), &arch);
    let timm = r#"{"architecture": "vit_small_patch14_dinov2", "num_classes": 0,
        "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"}}"#;
    fs::write(temporary.path().join("config.json"), timm).unwrap();
    let half = Preprocessing { mean: [0.5; 3], std: [0.5; 3], ..Preprocessing::IMAGENET };
    assert_eq!(open(&model).unwrap().arch().vision.preprocessing, half);
    let out = temporary.path().join("out.safetensors");
    let options = ConvertOptions { source: model.clone(), heads: None, config: None, dtype: None };
    assert_eq!(convert(&options, &out, |_, _| ()).unwrap().arch.vision.preprocessing, half);
    let processor = r#"{"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "resample": 2}"#;
    fs::write(temporary.path().join("preprocessor_config.json"), processor).unwrap();
    let error = open(&model).unwrap_err();
    assert!(error.to_string().contains("says about the model's pixels"), "{error}");
}

#[test]
fn an_engine_opens_and_says_what_it_cannot_do() {
    let temporary = tempfile::tempdir().unwrap();
    let arch = r#"{"family": "dinov2", "image_size": 56, "patch_size": 14, "width": 64, "layers": 2, "registers": 4}"#;
    let arch = Arch::from_json(arch).unwrap();
    let path = temporary.path().join("model.safetensors");
    random::write(&path, &arch, 1, DType::F16).unwrap();
    let engine = Engine::open(&path).unwrap();
    assert_eq!(engine.arch(), &arch);
    let error = engine.bank_builder_for("inctrl", "bottle", Fit::Crop).err().unwrap();
    assert!(error.to_string().contains("family dinov2") && error.to_string().contains("no text tower"), "{error}");
    let report = inspect(&LoadOptions { weights: path, heads: None, config: None }).unwrap();
    assert!(report.problems.is_empty(), "{report}");
    let text = report.to_string();
    assert!(text.contains("DINOv2") && text.contains("4 registers") && !text.contains("heads 0"), "{text}");
    let parameters: usize = table(&arch).iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
    assert!(text.contains(&format!("parameters {parameters}")), "{text}");
}
