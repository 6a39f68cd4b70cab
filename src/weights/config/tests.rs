use serde_json::json;

use super::*;
use crate::weights::tests::tiny;

fn plus_240() -> Value {
    json!({
        "embed_dim": 640,
        "vision_cfg": {"image_size": 240, "layers": 12, "width": 896, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 640, "heads": 10, "layers": 12}
    })
}

fn read(json: &Value) -> Result<Arch> {
    Arch::from_json(&json.to_string())
}

#[test]
fn open_clips_file_is_the_named_model() {
    assert_eq!(Some(read(&plus_240()).unwrap()), Arch::named("vit-b-16-plus-240"));
}

#[test]
fn preprocessing_is_a_part_of_the_model_and_clips_is_not_said() {
    use crate::view::{Filter, ResizeMode};
    let plain = read(&plus_240()).unwrap();
    assert!(!plain.to_json().contains("preprocess_cfg"));
    let mut said = plus_240();
    said["preprocess_cfg"] = json!({"mean": [0.48145466, 0.4578275, 0.40821073], "interpolation": "bicubic"});
    assert_eq!(read(&said).unwrap().to_json(), plain.to_json());

    let pixels = json!({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "interpolation": "bilinear",
        "resize_mode": "squash", "size": [240, 240]});
    let hub = json!({"model_cfg": plus_240(), "preprocess_cfg": pixels, "inctrl": {"taps": [1, 2]}});
    let arch = read(&hub).unwrap();
    let expected = Preprocessing {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        filter: Filter::Bilinear,
        resize: ResizeMode::Squash,
    };
    assert_eq!((arch.vision.preprocessing, &*arch.taps), (expected, &[1, 2][..]));
    assert_eq!(Arch::from_json(&arch.to_json()).unwrap(), arch);
    assert_ne!(arch.to_json(), Arch { taps: vec![1, 2], ..plain }.to_json());
}

#[test]
fn configurations_of_other_libraries_name_the_way() {
    for json in [json!({"model_type": "clip"}), json!({"architectures": ["CLIPModel"], "projection_dim": 8})] {
        assert!(read(&json).unwrap_err().to_string().contains("inctrl convert"));
    }
    let mut json = plus_240();
    json["preprocess_cfg"] = json!({"resize_mode": "longest"});
    assert!(read(&json).unwrap_err().to_string().contains("preprocess_cfg.resize_mode = \"longest\""));
    let mut json = plus_240();
    json["text_cfg"]["vocab_size"] = json!(49_409);
    assert!(read(&json).unwrap_err().to_string().contains("vocab_size is 49409, expected 1 to 49408"));
}

#[test]
fn json_round_trips_whatever_the_ratio() {
    for mlp_width in (1..400).chain([6144, 8191]) {
        for width in [1, 2, 3, 32, 48, 49, 1408] {
            let mut arch = tiny();
            (arch.vision.width, arch.vision.heads, arch.vision.mlp_width) = (width, 1, mlp_width);
            (arch.alpha, arch.quick_gelu) = (0.1, true);
            assert_eq!(Arch::from_json(&arch.to_json()).unwrap(), arch);
        }
    }
}

#[test]
fn equal_pairs_harmless_and_switched_off_options_change_nothing() {
    let mut json = plus_240();
    json["vision_cfg"]["image_size"] = json!([240, 240]);
    json["vision_cfg"]["patch_dropout"] = json!(0.5);
    json["vision_cfg"]["ls_init_value"] = Value::Null;
    json["vision_cfg"]["attentional_pool"] = json!(false);
    json["vision_cfg"]["pool_type"] = json!("tok");
    json["text_cfg"]["pool_type"] = json!("argmax");
    json["text_cfg"]["norm_kwargs"] = json!({});
    json["inctrl"] = json!({"taps": [11, 7, 9, 7]});
    assert_eq!(Some(read(&json).unwrap()), Arch::named("vit-b-16-plus-240"));
}

#[test]
fn options_that_change_the_computation_are_refused_by_name() {
    for (section, key, value) in [
        ("vision_cfg", "timm_model_name", json!("vit_base")),
        ("vision_cfg", "ls_init_value", json!(1e-5)),
        ("vision_cfg", "attentional_pool", json!(true)),
        ("vision_cfg", "pool_type", json!("avg")),
        ("vision_cfg", "no_ln_pre", json!(true)),
        ("vision_cfg", "act_kwargs", json!({"approximate": "tanh"})),
        ("vision_cfg", "some_new_option", json!(3)),
        ("text_cfg", "hf_model_name", json!("roberta")),
        ("text_cfg", "no_causal_mask", json!(true)),
        ("text_cfg", "embed_cls", json!(true)),
        ("text_cfg", "pool_type", json!("tok")),
        ("text_cfg", "norm_kwargs", json!({"eps": 1e-6})),
    ] {
        let mut json = plus_240();
        json[section][key] = value;
        let error = read(&json).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&format!("{section}.{key}")), "{error}");
    }
    let mut json = plus_240();
    json["multimodal_cfg"] = json!({"width": 512});
    assert!(read(&json).unwrap_err().to_string().contains("multimodal_cfg"));
}

#[test]
fn a_depth_without_published_taps_is_a_model_without_heads() {
    let mut json = plus_240();
    json["vision_cfg"]["layers"] = json!(10);
    let arch = read(&json).unwrap();
    assert!(arch.taps.is_empty() && read(&serde_json::from_str(&arch.to_json()).unwrap()).unwrap() == arch);
    let error = arch.trained_taps().unwrap_err().to_string();
    assert!(error.contains("no default taps for a vision tower of 10 blocks"), "{error}");
    json["inctrl"] = json!({"taps": [3, 1]});
    assert_eq!(read(&json).unwrap().trained_taps().unwrap(), [1, 3]);
}

#[test]
fn malformed_values_are_named() {
    for (pointer, value, part) in [
        ("/embed_dim", json!("640"), "embed_dim: expected a positive whole number, found \"640\""),
        ("/vision_cfg/layers", json!([3, 4, 6, 3]), "ResNet"),
        ("/vision_cfg/image_size", json!([240, 320]), "vision_cfg.image_size"),
        ("/vision_cfg/image_size", json!(-1), "vision_cfg.image_size"),
        ("/vision_cfg/image_size", Value::Null, "vision_cfg.image_size is missing"),
        ("/vision_cfg", json!(1), "vision_cfg: expected a JSON object"),
        ("/text_cfg/heads", json!(0), "text_cfg.heads"),
        ("/text_cfg/vocab_size", json!(u64::MAX), "vocab_size"),
    ] {
        let mut json = plus_240();
        *json.pointer_mut(pointer).unwrap() = value;
        let error = read(&json).unwrap_err();
        assert!(error.to_string().contains(part), "{error} does not say {part:?}");
    }
    for inctrl in [json!([]), json!({"taps": 7}), json!({"taps": []}), json!({"taps": [13]}), json!({"alpha": -1})] {
        let mut json = plus_240();
        json["inctrl"] = inctrl;
        assert_eq!(read(&json).unwrap_err().kind(), ErrorKind::Config);
    }
    for text in ["", "[]", "nonsense", "{}"] {
        assert_eq!(Arch::from_json(text).unwrap_err().kind(), ErrorKind::Config);
    }
}
