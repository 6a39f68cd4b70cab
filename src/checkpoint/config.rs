//! The architecture of a foreign checkpoint: a JSON file of open_clip or Hugging Face, our own metadata, or shapes.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::names::Naming;
use crate::error::{Error, ErrorKind, Result};
use crate::weights::Arch;

/// The longest configuration; what is read from it takes a multiple of its size.
const MAX_CONFIG: u64 = 64 << 10;

/// The configuration file that was named, else the one beside the checkpoint.
pub(super) fn find(named: Option<&Path>, checkpoint: &Path) -> Option<PathBuf> {
    let beside = [
        checkpoint.with_extension("json"),
        checkpoint.with_file_name("open_clip_config.json"),
        checkpoint.with_file_name("config.json"),
    ];
    named.map(Path::to_path_buf).or_else(|| beside.into_iter().find(|path| path.is_file()))
}

/// Reads either form of configuration file.
pub(super) fn read(path: &Path) -> Result<Arch> {
    let unread = |source| Error::io("read the model configuration", path, source);
    let mut text = String::new();
    fs::File::open(path).map_err(unread)?.take(MAX_CONFIG + 1).read_to_string(&mut text).map_err(unread)?;
    parse(&text).map_err(|error| error.at(path))
}

/// Reads either form of configuration.
pub(super) fn parse(text: &str) -> Result<Arch> {
    if text.len() as u64 > MAX_CONFIG {
        let message = format!("the model configuration has more than {MAX_CONFIG} bytes, which none has");
        return Err(Error::new(ErrorKind::Config, message));
    }
    match serde_json::from_str::<Value>(text) {
        // open_clip's on the Hugging Face hub, with the preprocessing beside it.
        Ok(Value::Object(root)) if root.contains_key("model_cfg") => {
            let mut model = root["model_cfg"].clone();
            if let (Some(inctrl), Some(model)) = (root.get("inctrl"), model.as_object_mut()) {
                model.insert("inctrl".into(), inctrl.clone());
            }
            Arch::from_json(&model.to_string())
        }
        Ok(root) if root.get("vision_config").is_some() || root["model_type"] == "clip" => hugging_face(&root),
        _ => Arch::from_json(text),
    }
}

/// The architecture from shapes, whose blind spots the naming fills or not.
pub(super) fn infer<'a>(naming: Naming, shapes: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Result<Arch> {
    if naming == Naming::HuggingFace {
        let message = "has Hugging Face's names, and its activation and heads are in its config.json: put that file \
                       beside it or give it with --config";
        return Err(Error::new(ErrorKind::Config, message));
    }
    Arch::infer(shapes)
}

/// A `CLIPConfig` of transformers; what it leaves out has the defaults of that class.
fn hugging_face(root: &Value) -> Result<Arch> {
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
    // Half a unit more than the width, so that truncation gives the width whatever the last digit.
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
    });
    Arch::from_json(&config.to_string())
}
