//! The architecture of a foreign checkpoint: from open_clip's or Hugging Face's JSON, our own metadata, or shapes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::names::Naming;
use crate::error::{Error, ErrorKind, Result};
use crate::weights::{Arch, Family, MAX_CONFIG, Mlp, is_hugging_face, is_timm, read_config, read_text};

/// The named configuration file, or the one beside the checkpoint.
pub(super) fn find(named: Option<&Path>, checkpoint: &Path) -> Option<PathBuf> {
    let beside = [
        // An index of files is a JSON file, too.
        checkpoint.with_extension("json"),
        checkpoint.with_file_name("open_clip_config.json"),
        checkpoint.with_file_name("config.json"),
    ];
    named.map(Path::to_path_buf).or_else(|| beside.into_iter().find(|path| path != checkpoint && path.is_file()))
}

/// Reads any form of configuration file. Returns the architecture and whether the file says how pixels are prepared.
/// `None` for timm's files, which name a model but not its sizes.
pub(super) fn read(path: &Path) -> Result<Option<(Arch, bool)>> {
    let text = read_text(path, "a model's configuration", MAX_CONFIG)?;
    match serde_json::from_str::<Value>(&text) {
        Ok(root) if is_timm(&root) => Ok(None),
        _ => parse(&text).map(Some).map_err(|error| error.at(path)),
    }
}

/// Reads either form of configuration. Returns the architecture and whether the text says how pixels are prepared.
pub(super) fn parse(text: &str) -> Result<(Arch, bool)> {
    if text.len() as u64 > MAX_CONFIG {
        let message =
            format!("the model configuration has more than {MAX_CONFIG} bytes: this is not a model configuration");
        return Err(Error::new(ErrorKind::Config, message));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(root) if is_dinov2(&root) => hugging_face_dinov2(&root),
        Ok(root) if is_hugging_face(&root) => hugging_face(&root),
        _ => read_config(text),
    }
}

/// The architecture from shapes. The naming settles some of what shapes do not show.
pub(super) fn infer<'a>(naming: Naming, shapes: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Result<Arch> {
    if naming == Naming::HuggingFace {
        let message = "has Hugging Face's names, so its activation and heads are in its config.json: put that file \
            beside it, or give it with --config";
        return Err(Error::new(ErrorKind::Config, message));
    }
    Arch::infer(shapes)
}

/// The model types of DINOv2 in transformers.
const DINOV2: [&str; 2] = ["dinov2", "dinov2_with_registers"];

fn is_dinov2(root: &Value) -> bool {
    DINOV2.iter().any(|name| root["model_type"] == *name)
}

/// A `Dinov2Config` or `Dinov2WithRegistersConfig` of transformers; missing values have the class's defaults.
fn hugging_face_dinov2(root: &Value) -> Result<(Arch, bool)> {
    let wrong = |key: &str, expected: &str, found: &Value| {
        Error::new(ErrorKind::Config, format!("{key}: expected {expected}, found {found}"))
    };
    let count = |key: &str, default: usize| match &root[key] {
        Value::Null => Ok(default),
        value => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| wrong(key, "a whole number", value)),
    };
    for (key, plain) in [
        ("hidden_act", json!("gelu")),
        ("layer_norm_eps", json!(1e-6)),
        ("num_channels", json!(3)),
        ("qkv_bias", json!(true)),
    ] {
        if !root[key].is_null() && root[key] != plain {
            return Err(wrong(key, &plain.to_string(), &root[key]));
        }
    }
    let registers = root["model_type"] == DINOV2[1];
    let (width, layers) = (count("hidden_size", 768)?, count("num_hidden_layers", 12)?);
    let ratio = match &root["mlp_ratio"] {
        Value::Null => 4.0,
        value => value.as_f64().ok_or_else(|| wrong("mlp_ratio", "a number", value))?,
    };
    let inner = (width as f64 * ratio) as usize;
    let gated = root["use_swiglu_ffn"] == true;
    let config = json!({
        "family": Family::Dinov2.name(),
        "image_size": count("image_size", 224)?,
        "patch_size": count("patch_size", if registers { 16 } else { 14 })?,
        "width": width,
        "layers": layers,
        "heads": count("num_attention_heads", 12)?,
        "registers": if registers { count("num_register_tokens", 4)? } else { 0 },
        "mlp": if gated { Mlp::SwiGlu.name() } else { Mlp::Gelu.name() },
        // As the class computes it, with integer truncation.
        "mlp_width": if gated { ((inner as f64 * 2.0 / 3.0) as usize).next_multiple_of(8) } else { inner },
        "taps": root["taps"],
        "preprocess_cfg": root["preprocess_cfg"],
    });
    read_config(&config.to_string())
}

/// A `CLIPConfig` of transformers; missing values have the class's defaults.
fn hugging_face(root: &Value) -> Result<(Arch, bool)> {
    check_type(root)?;
    let mut merged = root.clone();
    for section in ["vision_config", "text_config"] {
        // Old files hold a second copy, which takes precedence in transformers.
        let last = root.get(format!("{section}_dict")).and_then(Value::as_object);
        let Some(last) = last else { continue };
        if merged[section].is_null() {
            merged[section] = json!({});
        }
        if let Some(first) = merged[section].as_object_mut() {
            first.extend(last.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
    }
    let root = &merged;
    let wrong = |key: &str, expected: &str, found: &Value| {
        Error::new(ErrorKind::Config, format!("{key}: expected {expected}, found {found}"))
    };
    let count = |section: &str, key: &str, default: usize| {
        let value = if section.is_empty() { &root[key] } else { &root[section][key] };
        match value {
            Value::Null => Ok(default),
            _ => value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .filter(|&number| number > 0)
                .ok_or_else(|| wrong(&format!("{section}.{key}"), "a positive whole number", value)),
        }
    };
    let mut quick = Vec::new();
    for section in ["vision_config", "text_config"] {
        quick.push(match &root[section]["hidden_act"] {
            Value::Null => true,
            name if name == "quick_gelu" => true,
            name if name == "gelu" => false,
            other => return Err(wrong(&format!("{section}.hidden_act"), "quick_gelu or gelu", other)),
        });
        let eps = &root[section]["layer_norm_eps"];
        if !eps.is_null() && eps != 1e-5 {
            return Err(wrong(&format!("{section}.layer_norm_eps"), "1e-5", eps));
        }
    }
    if quick[0] != quick[1] {
        return Err(Error::new(ErrorKind::Config, "the two towers have different activations (hidden_act)"));
    }
    // Half a unit more than the width, so that truncation gives the width despite rounding.
    let ratio = |hidden: usize, inner: usize| (inner as f64 + 0.5) / hidden as f64;
    let (width, heads) =
        (count("vision_config", "hidden_size", 768)?, count("vision_config", "num_attention_heads", 12)?);
    if width % heads != 0 {
        let message = format!("vision_config: hidden_size {width} is not a multiple of num_attention_heads {heads}");
        return Err(Error::new(ErrorKind::Config, message));
    }
    let text_width = count("text_config", "hidden_size", 512)?;
    let config = json!({
        "embed_dim": count("", "projection_dim", 512)?,
        "quick_gelu": quick[0],
        "vision_cfg": {
            "image_size": count("vision_config", "image_size", 224)?,
            "patch_size": count("vision_config", "patch_size", 32)?,
            "layers": count("vision_config", "num_hidden_layers", 12)?,
            "width": width,
            "head_width": width / heads,
            "mlp_ratio": ratio(width, count("vision_config", "intermediate_size", 3072)?),
        },
        "text_cfg": {
            "context_length": count("text_config", "max_position_embeddings", 77)?,
            "vocab_size": count("text_config", "vocab_size", 49408)?,
            "width": text_width,
            "heads": count("text_config", "num_attention_heads", 8)?,
            "layers": count("text_config", "num_hidden_layers", 12)?,
            "mlp_ratio": ratio(text_width, count("text_config", "intermediate_size", 2048)?),
        },
        "inctrl": root["inctrl"],
        "preprocess_cfg": root["preprocess_cfg"],
    });
    read_config(&config.to_string())
}

/// Refuses models with CLIP's sections but a different computation, by their stated type.
fn check_type(root: &Value) -> Result<()> {
    let other = |key: &str, found: &Value, expected: &str| {
        let message =
            format!("{key} = {found}, expected {expected}: this engine runs only CLIP models of OpenAI and open_clip");
        Err(Error::new(ErrorKind::Config, message))
    };
    for (pointer, expected) in [
        ("/model_type", "clip"),
        ("/vision_config/model_type", "clip_vision_model"),
        ("/text_config/model_type", "clip_text_model"),
    ] {
        let found = root.pointer(pointer).unwrap_or(&Value::Null);
        if !(found.is_null() || found == expected) {
            return other(&pointer[1..].replace('/', "."), found, expected);
        }
    }
    let known =
        |name: &Value| name.as_str().is_some_and(|name| name.starts_with("CLIP") && !name.starts_with("CLIPSeg"));
    if let Some(name) = root["architectures"].as_array().and_then(|names| names.iter().find(|name| !known(name))) {
        return other("architectures", name, "CLIPModel");
    }
    // In transformers 2 means "the largest id", which is CLIP's rule.
    for (pointer, expected) in [("/vision_config/num_channels", &[3][..]), ("/text_config/eos_token_id", &[49_407, 2])]
    {
        let found = root.pointer(pointer).unwrap_or(&Value::Null);
        if !(found.is_null() || expected.iter().any(|value| found == value)) {
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            return other(&pointer[1..].replace('/', "."), found, &expected.join(" or "));
        }
    }
    Ok(())
}
