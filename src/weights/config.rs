//! open_clip's model JSON, with an `inctrl` section, to and from an [`Arch`].
//!
//! ```json
//! {"embed_dim": 640, "quick_gelu": false,
//!  "vision_cfg": {"image_size": 240, "layers": 12, "width": 896, "patch_size": 16, "head_width": 64, "mlp_ratio": 4.0},
//!  "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 640, "heads": 10, "layers": 12, "mlp_ratio": 4.0},
//!  "inctrl": {"taps": [7, 9, 11], "alpha": 1.0},
//!  "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}}
//! ```
//!
//! Without `preprocess_cfg` pixels are prepared as for CLIP. The form of open_clip's models on the Hugging Face hub, with
//! `model_cfg` and `preprocess_cfg` side by side, is read too.
//!
//! A configuration that would be computed differently by open_clip must not be run as if it were plain CLIP. Hence every
//! key is either read, or known to change nothing (the lists below), or switched off (`null`, `false`, `{}`), or it is an
//! error that names it.

use std::cell::RefCell;

use serde::Serialize;
use serde_json::{Map, Value};

use super::arch::{Arch, HEAD_WIDTH, TextArch, VisionArch, default_taps, no_default_taps};
use super::pixels;
use crate::error::{Error, ErrorKind, Result};
use crate::view::Preprocessing;

/// Options that change nothing at inference, whatever their value: start values of trained scalars, storage, training
/// regularisation, extra outputs, and details of options that are refused themselves.
const HARMLESS: [&str; 19] = [
    "attn_pooler_heads",
    "attn_pooler_queries",
    "cast_dtype",
    "eos_id",
    "hf_model_pretrained",
    "hf_pooler_type",
    "hf_proj_type",
    "init_logit_bias",
    "init_logit_scale",
    "nonscalar_logit_scale",
    "output_tokens",
    "pad_id",
    "patch_dropout",
    "timm_drop",
    "timm_drop_path",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
];

/// Options that describe plain CLIP when they have this value: section, key, value.
const PLAIN: [(&str, &str, &str); 4] = [
    ("vision_cfg.", "pool_type", "tok"),
    ("vision_cfg.", "pos_embed_type", "learnable"),
    ("text_cfg.", "pool_type", "argmax"),
    ("text_cfg.", "proj_type", "linear"),
];

impl Arch {
    /// Reads open_clip's model JSON with the optional section `inctrl: {"taps": [..], "alpha": 1}`.
    ///
    /// Without taps a tower of 12 blocks gets 7, 9, 11 and one of 24 blocks 14, 18, 22. Taps are sorted and made unique.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for malformed JSON, a missing or misplaced value, an option that this engine does not run,
    /// taps missing at another depth, and whatever [`Arch::validate`] refuses.
    pub fn from_json(text: &str) -> Result<Arch> {
        Ok(read(text)?.0)
    }

    fn from_value(json: &Value) -> Result<Arch> {
        let root = Section::new("", json)?;
        let (vision, text) = (root.section("vision_cfg")?, root.section("text_cfg")?);
        let inctrl = root.optional("inctrl").map(|value| Section::new("inctrl.", value)).transpose()?;

        let image_size = vision.side("image_size")?;
        let preprocessing =
            root.optional("preprocess_cfg").map(|value| pixels::open_clip(value, image_size)).transpose()?;
        let width = vision.count("width", None)?;
        let head_width = vision.count("head_width", Some(HEAD_WIDTH))?;
        let vision_arch = VisionArch {
            image_size,
            patch_size: vision.side("patch_size")?,
            width,
            layers: vision.count("layers", None)?,
            heads: width / head_width,
            mlp_width: vision.mlp_width(width)?,
            preprocessing: preprocessing.unwrap_or_default(),
        };
        let width = text.count("width", None)?;
        let text_arch = TextArch {
            context_length: text.count("context_length", Some(77))?,
            vocab_size: text.count("vocab_size", Some(49408))?,
            width,
            heads: text.count("heads", None)?,
            layers: text.count("layers", None)?,
            mlp_width: text.mlp_width(width)?,
        };
        let mut taps = match inctrl.as_ref().and_then(|section| section.optional("taps")) {
            Some(value) => taps(value)?,
            None => default_taps(vision_arch.layers).ok_or_else(|| no_default_taps(vision_arch.layers))?,
        };
        taps.sort_unstable();
        taps.dedup();
        let arch = Arch {
            embed_dim: root.count("embed_dim", None)?,
            vision: vision_arch,
            text: text_arch,
            quick_gelu: root.flag("quick_gelu")?,
            taps,
            alpha: inctrl.as_ref().map_or(Ok(1.0), |section| section.number("alpha", 1.0))? as f32,
        };
        let refused: Vec<String> = [Some(&root), Some(&vision), Some(&text), inctrl.as_ref()]
            .into_iter()
            .flatten()
            .flat_map(Section::refused)
            .collect();
        if !refused.is_empty() {
            let message = format!(
                "the model configuration has options that this engine does not run: {}; only plain CLIP vision \
                 transformers are supported (an option that changes nothing can be removed from the file)",
                refused.join(", ")
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        arch.validate()?;
        Ok(arch)
    }

    /// The configuration as JSON on one line, in a fixed order; [`Arch::from_json`] gives an equal architecture back.
    pub fn to_json(&self) -> String {
        let (v, t) = (&self.vision, &self.text);
        let json = ModelJson {
            embed_dim: self.embed_dim,
            quick_gelu: self.quick_gelu,
            vision_cfg: VisionJson {
                image_size: v.image_size,
                layers: v.layers,
                width: v.width,
                patch_size: v.patch_size,
                head_width: v.width.checked_div(v.heads).unwrap_or(0),
                mlp_ratio: mlp_ratio(v.width, v.mlp_width),
            },
            text_cfg: TextJson {
                context_length: t.context_length,
                vocab_size: t.vocab_size,
                width: t.width,
                heads: t.heads,
                layers: t.layers,
                mlp_ratio: mlp_ratio(t.width, t.mlp_width),
            },
            inctrl: InctrlJson { taps: &self.taps, alpha: self.alpha },
            preprocess_cfg: PixelsJson::of(&v.preprocessing),
        };
        serde_json::to_string(&json).expect("numbers, flags and lists under string keys always serialise")
    }
}

// Structs rather than a `Value`, whose key order depends on a feature that any other crate may turn on.
#[derive(Serialize)]
struct ModelJson<'a> {
    embed_dim: usize,
    quick_gelu: bool,
    vision_cfg: VisionJson,
    text_cfg: TextJson,
    inctrl: InctrlJson<'a>,
    /// Left out where it is CLIP's, so that the identity of a CLIP model does not depend on whether it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocess_cfg: Option<PixelsJson>,
}

#[derive(Serialize)]
struct PixelsJson {
    mean: [f32; 3],
    std: [f32; 3],
    interpolation: &'static str,
    resize_mode: &'static str,
}

impl PixelsJson {
    fn of(pixels: &Preprocessing) -> Option<Self> {
        (*pixels != Preprocessing::CLIP).then(|| PixelsJson {
            mean: pixels.mean,
            std: pixels.std,
            interpolation: pixels.filter.name(),
            resize_mode: pixels.resize.name(),
        })
    }
}

#[derive(Serialize)]
struct VisionJson {
    image_size: usize,
    layers: usize,
    width: usize,
    patch_size: usize,
    head_width: usize,
    mlp_ratio: f64,
}

#[derive(Serialize)]
struct TextJson {
    context_length: usize,
    vocab_size: usize,
    width: usize,
    heads: usize,
    layers: usize,
    mlp_ratio: f64,
}

#[derive(Serialize)]
struct InctrlJson<'a> {
    taps: &'a [usize],
    alpha: f32,
}

/// Reads a configuration, and whether it says how pixels are prepared.
///
/// # Errors
/// As [`Arch::from_json`].
pub(crate) fn read(text: &str) -> Result<(Arch, bool)> {
    let mut json: Value = serde_json::from_str(text)
        .map_err(|source| Error::new(ErrorKind::Config, "the model configuration is not JSON").because(source))?;
    if is_hugging_face(&json) {
        let message = "is a configuration of Hugging Face's: `inctrl convert` makes of its folder a file for --weights";
        return Err(Error::new(ErrorKind::Config, message));
    }
    if let Some(Value::Object(mut model)) = json.get_mut("model_cfg").map(Value::take) {
        for key in ["preprocess_cfg", "inctrl"] {
            if let Some(value) = json.get_mut(key).map(Value::take) {
                model.insert(key.into(), value);
            }
        }
        json = Value::Object(model);
    }
    let says = json.get("preprocess_cfg").is_some_and(|value| !value.is_null());
    Ok((Arch::from_value(&json)?, says))
}

/// Whether this is a configuration of Hugging Face's transformers.
pub(crate) fn is_hugging_face(json: &Value) -> bool {
    ["model_type", "vision_config", "text_config", "architectures", "transformers_version"]
        .iter()
        .any(|key| json.get(key).is_some())
}

/// A ratio from which `width * ratio`, truncated as open_clip does it, gives `mlp_width` back.
fn mlp_ratio(width: usize, mlp_width: usize) -> f64 {
    let ratio = mlp_width as f64 / width as f64;
    // A short fraction such as 4 or 2.5 survives any decimal round trip. Any other is taken from the middle of those that
    // truncate to the same width, out of reach of a last digit.
    if (ratio * 256.0).fract() == 0.0 { ratio } else { (mlp_width as f64 + 0.5) / width as f64 }
}

/// One object of the configuration; remembers which keys were read, so that the rest can be judged.
struct Section<'a> {
    /// What stands before a key in messages: `vision_cfg.`, or nothing at the top.
    prefix: &'static str,
    entries: &'a Map<String, Value>,
    read: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    fn new(prefix: &'static str, value: &'a Value) -> Result<Self> {
        let entries = value.as_object().ok_or_else(|| {
            let name = if prefix.is_empty() { "the model configuration" } else { prefix.trim_end_matches('.') };
            Error::new(ErrorKind::Config, format!("{name}: expected a JSON object, found {value}"))
        })?;
        Ok(Section { prefix, entries, read: RefCell::default() })
    }

    /// The value of `key`, if it is there and not null.
    fn optional(&self, key: &'static str) -> Option<&'a Value> {
        self.read.borrow_mut().push(key);
        self.entries.get(key).filter(|value| !value.is_null())
    }

    fn required(&self, key: &'static str, expected: &str) -> Result<&'a Value> {
        self.optional(key).ok_or_else(|| {
            let message =
                format!("{}{key} is missing, expected {expected}, as in open_clip's model configurations", self.prefix);
            Error::new(ErrorKind::Config, message)
        })
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        Error::new(ErrorKind::Config, format!("{}{key}: expected {expected}, found {found}", self.prefix))
    }

    fn section(&self, key: &'static str) -> Result<Section<'a>> {
        let prefix = if key == "vision_cfg" { "vision_cfg." } else { "text_cfg." };
        Section::new(prefix, self.required(key, "an object")?)
    }

    /// A positive whole number.
    fn count(&self, key: &'static str, default: Option<usize>) -> Result<usize> {
        const EXPECTED: &str = "a positive whole number";
        let value = match (self.entries.get(key), default) {
            (None | Some(Value::Null), Some(default)) => {
                self.optional(key);
                return Ok(default);
            }
            _ => self.required(key, EXPECTED)?,
        };
        if key == "layers" && value.is_array() {
            return Err(self.wrong(
                key,
                "a positive whole number (a list is a ResNet, which this engine does not run)",
                value,
            ));
        }
        whole(value).filter(|&count| count > 0).ok_or_else(|| self.wrong(key, EXPECTED, value))
    }

    /// The side of a square: a number or a pair of equal numbers.
    fn side(&self, key: &'static str) -> Result<usize> {
        match self.entries.get(key) {
            Some(Value::Array(pair)) if pair.len() == 2 && pair[0] == pair[1] => {
                let value = self.required(key, "a number")?;
                whole(&pair[0])
                    .filter(|&side| side > 0)
                    .ok_or_else(|| self.wrong(key, "a pair of equal positive whole numbers", value))
            }
            Some(value @ Value::Array(_)) => {
                Err(self.wrong(key, "a number or a pair of equal numbers (only squares are supported)", value))
            }
            _ => self.count(key, None),
        }
    }

    fn number(&self, key: &'static str, default: f64) -> Result<f64> {
        match self.optional(key) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| self.wrong(key, "a number", value)),
        }
    }

    fn flag(&self, key: &'static str) -> Result<bool> {
        match self.optional(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value)),
        }
    }

    /// `int(width * mlp_ratio)`, open_clip's hidden width.
    fn mlp_width(&self, width: usize) -> Result<usize> {
        Ok((width as f64 * self.number("mlp_ratio", 4.0)?) as usize)
    }

    /// Keys that were not read and may change the computation, with their section.
    fn refused(&self) -> Vec<String> {
        let read = self.read.borrow();
        let is_plain = |key: &str, value: &Value| {
            PLAIN.iter().any(|&(prefix, known, plain)| prefix == self.prefix && known == key && value == plain)
        };
        self.entries
            .iter()
            .filter(|&(key, value)| {
                !(read.contains(&key.as_str())
                    || HARMLESS.contains(&key.as_str())
                    || is_off(value)
                    || is_plain(key, value))
            })
            .map(|(key, value)| format!("{}{key} = {value}", self.prefix))
            .collect()
    }
}

fn is_off(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value.as_object().is_some_and(Map::is_empty)
}

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}

fn taps(value: &Value) -> Result<Vec<usize>> {
    let taps = value.as_array().and_then(|list| list.iter().map(whole).collect());
    taps.ok_or_else(|| {
        let message = format!("inctrl.taps: expected a list of block numbers counted from 1, found {value}");
        Error::new(ErrorKind::Config, message)
    })
}

#[cfg(test)]
mod tests;
