//! Model configurations in JSON, to and from an [`Arch`]: the part that all families share. Each family's file
//! documents its keys.
//!
//! Without `preprocess_cfg` pixels are prepared by the family's default. open_clip's form on the Hugging Face hub, with
//! `model_cfg` and `preprocess_cfg` side by side, is read too.

use std::cell::RefCell;

use serde::Serialize;
use serde_json::{Map, Value};

use super::arch::Arch;
use super::families::Family;
use super::pixels;
use crate::error::{Error, ErrorKind, Result};
use crate::view::Preprocessing;

impl Arch {
    /// Reads a model's JSON: open_clip's with the optional section `inctrl: {"taps": [..], "alpha": 1}`, or the form of
    /// the family that it names (`"family": "dinov2"`).
    ///
    /// Default taps of a CLIP tower are 7, 9, 11 for 12 blocks, 14, 18, 22 for 24 blocks, and none for other depths:
    /// only InCTRL's heads need them ([`Arch::trained_taps`]). Taps are sorted and repeats are removed.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for malformed JSON, a missing or wrong value, an option that this engine does not support,
    /// and values that [`Arch::validate`] refuses.
    pub fn from_json(text: &str) -> Result<Arch> {
        Ok(read(text)?.0)
    }

    fn from_value(json: &Value) -> Result<Arch> {
        let arch = Family::read_config(&Section::new("", json)?)?;
        arch.validate()?;
        Ok(arch)
    }

    /// The configuration as JSON on one line, in a fixed order; [`Arch::from_json`] returns an equal architecture.
    pub fn to_json(&self) -> String {
        self.family.write_config(self)
    }
}

/// How pixels are prepared, in a configuration's form.
#[derive(Serialize)]
pub(super) struct PixelsJson {
    mean: [f32; 3],
    std: [f32; 3],
    interpolation: &'static str,
    resize_mode: &'static str,
}

impl PixelsJson {
    /// `None` for the default.
    pub fn unless(pixels: &Preprocessing, usual: &Preprocessing) -> Option<Self> {
        (pixels != usual).then(|| PixelsJson {
            mean: pixels.mean,
            std: pixels.std,
            interpolation: pixels.filter.name(),
            resize_mode: pixels.resize.name(),
        })
    }
}

/// The section `preprocess_cfg` of a model with an input of `side` x `side` pixels.
pub(super) fn pixels_of(root: &Section<'_>, side: usize) -> Result<Option<Preprocessing>> {
    root.optional("preprocess_cfg").map(|value| pixels::open_clip(value, side)).transpose()
}

/// An error for options that this engine does not support, if there are any. `only` names what it supports.
pub(super) fn refuse(refused: Vec<String>, only: &str) -> Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the model configuration has options that this engine does not support: {}; only {only} are supported (an \
        option that changes nothing can be removed from the file)",
        refused.join(", ")
    );
    Err(Error::new(ErrorKind::Config, message))
}

/// Reads a configuration. Returns the architecture and whether the text says how pixels are prepared.
///
/// # Errors
/// As [`Arch::from_json`].
pub(crate) fn read(text: &str) -> Result<(Arch, bool)> {
    let mut json: Value = serde_json::from_str(text)
        .map_err(|source| Error::new(ErrorKind::Config, "the model configuration is not JSON").because(source))?;
    if is_hugging_face(&json) {
        let message =
            "is one of Hugging Face's configurations: convert its folder to a file for --weights with `inctrl convert`";
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

/// Whether this is timm's file beside a model: a name, and how its pixels are prepared.
pub(crate) fn is_timm(json: &Value) -> bool {
    json["architecture"].is_string() && json["pretrained_cfg"].is_object()
}

/// A ratio for which `width * ratio`, truncated as in open_clip, gives `mlp_width`.
pub(super) fn mlp_ratio(width: usize, mlp_width: usize) -> f64 {
    let ratio = mlp_width as f64 / width as f64;
    // A short fraction such as 4 or 2.5 survives any decimal round trip. Otherwise the ratio is the middle of those
    // that truncate to the same width, so that rounding does not matter.
    if (ratio * 256.0).fract() == 0.0 { ratio } else { (mlp_width as f64 + 0.5) / width as f64 }
}

/// One object of the configuration. It records which keys were read, so that the rest can be checked.
pub(super) struct Section<'a> {
    /// The prefix of a key in messages: `vision_cfg.`, or empty at the top.
    prefix: &'static str,
    entries: &'a Map<String, Value>,
    read: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub fn new(prefix: &'static str, value: &'a Value) -> Result<Self> {
        let entries = value.as_object().ok_or_else(|| {
            let name = if prefix.is_empty() { "the model configuration" } else { prefix.trim_end_matches('.') };
            Error::new(ErrorKind::Config, format!("{name}: expected a JSON object, found {value}"))
        })?;
        Ok(Section { prefix, entries, read: RefCell::default() })
    }

    /// The value of `key`, if it is present and not null.
    pub fn optional(&self, key: &'static str) -> Option<&'a Value> {
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

    pub fn section(&self, key: &'static str) -> Result<Section<'a>> {
        let prefix = if key == "vision_cfg" { "vision_cfg." } else { "text_cfg." };
        Section::new(prefix, self.required(key, "an object")?)
    }

    /// A positive whole number.
    pub fn count(&self, key: &'static str, default: Option<usize>) -> Result<usize> {
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
                "a positive whole number (a list means a CLIP with a ResNet, which this engine does not support)",
                value,
            ));
        }
        whole(value).filter(|&count| count > 0).ok_or_else(|| self.wrong(key, EXPECTED, value))
    }

    /// The side of a square: a number or a pair of equal numbers.
    pub fn side(&self, key: &'static str) -> Result<usize> {
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

    pub fn number(&self, key: &'static str, default: f64) -> Result<f64> {
        match self.optional(key) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| self.wrong(key, "a number", value)),
        }
    }

    pub fn flag(&self, key: &'static str) -> Result<bool> {
        match self.optional(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value)),
        }
    }

    /// `int(width * mlp_ratio)`, open_clip's hidden width.
    pub fn mlp_width(&self, width: usize) -> Result<usize> {
        Ok((width as f64 * self.number("mlp_ratio", 4.0)?) as usize)
    }

    /// Keys, with their section, that were not read and may change the computation: all except those that are
    /// `harmless`, switched off, or `plain` by their value (section, key, value).
    pub fn refused(&self, harmless: &'a [&str], plain: &'a [(&str, &str, &str)]) -> impl Iterator<Item = String> {
        let read = self.read.borrow().clone();
        let is_plain = |prefix: &str, key: &str, value: &Value| {
            plain.iter().any(|&(section, known, plain)| section == prefix && known == key && value == plain)
        };
        let prefix = self.prefix;
        self.entries
            .iter()
            .filter(move |&(key, value)| {
                !(read.contains(&key.as_str())
                    || harmless.contains(&key.as_str())
                    || is_off(value)
                    || is_plain(prefix, key, value))
            })
            .map(move |(key, value)| format!("{prefix}{key} = {value}"))
    }
}

fn is_off(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value.as_object().is_some_and(Map::is_empty)
}

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}

/// The block numbers of the list `name`, sorted, without repeats.
pub(super) fn taps_of(name: &str, value: &Value) -> Result<Vec<usize>> {
    let list = value.as_array().filter(|list| !list.is_empty());
    let taps = list.and_then(|list| list.iter().map(whole).collect::<Option<Vec<usize>>>());
    let mut taps = taps.ok_or_else(|| {
        let message = format!("{name}: expected a list of block numbers counted from 1, found {value}");
        Error::new(ErrorKind::Config, message)
    })?;
    taps.sort_unstable();
    taps.dedup();
    Ok(taps)
}

#[cfg(test)]
mod tests;
