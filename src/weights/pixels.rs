//! Preprocessing as stated in checkpoints: open_clip's `preprocess_cfg`, Hugging Face's `preprocessor_config.json` and
//! `processor_config.json`, and timm's `pretrained_cfg`.
//!
//! As for the architecture ([`super::config`]), a file that other libraries would compute differently must not be
//! accepted. So every key is read, or known to change nothing, or switched off, or an error that names it.

use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::view::{Filter, Preprocessing, ResizeMode};

/// Keys of an image processor that do not change the result for a square 8-bit RGB input.
const HARMLESS: [&str; 16] = [
    "_valid_processor_keys",
    "auto_map",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "feature_extractor_type",
    "fill_color",
    "image_processor_type",
    "image_seq_length",
    "input_data_format",
    "processor_class",
    "return_tensors",
    "return_row_col_info",
    "size_divisor",
];

/// Collects everything that is wrong with a section for one error.
struct Reader<'a> {
    section: &'static str,
    entries: &'a Map<String, Value>,
    wrong: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(section: &'static str, value: &'a Value) -> Result<Self> {
        let entries = value.as_object().ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("{section}: expected a JSON object, found {value}"))
        })?;
        Ok(Reader { section, entries, wrong: Vec::new() })
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.entries.get(key).filter(|value| !value.is_null())
    }

    fn refuse(&mut self, key: &str, expected: &str, found: &Value) {
        self.wrong.push(format!("{}.{key} = {found}, expected {expected}", self.section));
    }

    /// Three numbers, or one for all channels.
    fn channels(&mut self, key: &str, default: [f32; 3]) -> [f32; 3] {
        let Some(value) = self.get(key) else { return default };
        let number = |value: &Value| value.as_f64().map(|number| number as f32);
        let found = match value {
            Value::Array(list) => list.iter().map(number).collect::<Option<Vec<f32>>>().and_then(|v| v.try_into().ok()),
            single => number(single).map(|number| [number; 3]),
        };
        found.unwrap_or_else(|| {
            self.refuse(key, "three numbers, for red, green and blue", value);
            default
        })
    }

    fn flag(&mut self, key: &str, default: bool) -> bool {
        match self.get(key).map(|value| (value, value.as_bool())) {
            None => default,
            Some((_, Some(flag))) => flag,
            Some((value, None)) => {
                self.refuse(key, "true or false", value);
                default
            }
        }
    }

    /// Refuses keys that were not read, are not known to be harmless and are not switched off.
    fn rest(&mut self, read: &[&str], harmless: &[&str]) {
        for (key, value) in self.entries {
            let off = matches!(value, Value::Null | Value::Bool(false)) || value.as_object().is_some_and(Map::is_empty);
            if !(off || read.contains(&key.as_str()) || harmless.contains(&key.as_str())) {
                self.wrong.push(format!("{}.{key} = {value}", self.section));
            }
        }
    }

    fn finish(self, found: Preprocessing) -> Result<Preprocessing> {
        if !self.wrong.is_empty() {
            let message = format!(
                "the model's preprocessing is not supported: {} (a key that changes nothing can be removed from the \
                file)",
                self.wrong.join("; ")
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        found.validate().map_err(|error| error.prefixed(&format!("{}:", self.section)))?;
        Ok(found)
    }
}

/// Whether a size is that of the square input: a number, or a pair of equal numbers.
fn is_side(value: &Value, side: usize) -> bool {
    *value == json!(side) || *value == json!([side, side])
}

/// open_clip's `preprocess_cfg` of a model with an input of `side` x `side` pixels.
///
/// # Errors
/// [`ErrorKind::Config`] naming every value that this engine does not support.
pub(super) fn open_clip(value: &Value, side: usize) -> Result<Preprocessing> {
    let mut reader = Reader::new("preprocess_cfg", value)?;
    let clip = Preprocessing::CLIP;
    let (mean, std) = (reader.channels("mean", clip.mean), reader.channels("std", clip.std));
    let filter = match reader.get("interpolation") {
        None => Filter::Bicubic,
        Some(name) if name == "bicubic" => Filter::Bicubic,
        Some(name) if name == "bilinear" => Filter::Bilinear,
        Some(other) => {
            reader.refuse("interpolation", "bicubic or bilinear", other);
            Filter::Bicubic
        }
    };
    let resize = match reader.get("resize_mode") {
        None => ResizeMode::Shortest,
        Some(name) if name == "shortest" => ResizeMode::Shortest,
        Some(name) if name == "squash" => ResizeMode::Squash,
        Some(name) if name == "margin" => ResizeMode::Margin,
        Some(other) => {
            reader.refuse("resize_mode", "shortest, squash or margin", other);
            ResizeMode::Shortest
        }
    };
    if let Some(size) = reader.get("size").filter(|size| !is_side(size, side)) {
        reader.refuse("size", &format!("the model's image_size, {side}"), size);
    }
    if let Some(mode) = reader.get("mode").filter(|mode| *mode != "RGB") {
        reader.refuse("mode", "RGB", mode);
    }
    // `fill_color` surrounds a picture only in the mode `longest`, which is refused.
    reader.rest(&["mean", "std", "interpolation", "resize_mode", "size", "mode", "fill_color"], &[]);
    reader.finish(Preprocessing { mean, std, filter, resize })
}

/// timm's configuration of a pretrained model of a family that is prepared as in `usual`. Its sizes are ignored.
///
/// # Errors
/// As [`open_clip`].
pub(super) fn timm(value: &Value, usual: &Preprocessing) -> Result<Preprocessing> {
    let mut reader = Reader::new("pretrained_cfg", value)?;
    let (mean, std) = (reader.channels("mean", usual.mean), reader.channels("std", usual.std));
    let filter = usual.filter.name();
    if let Some(other) = reader.get("interpolation").filter(|name| *name != filter) {
        reader.refuse("interpolation", filter, other);
    }
    // DINOv2 sees pictures of any size; a ResNet the middle of a larger one.
    if usual.resize == ResizeMode::Margin
        && let Some(other) = reader.get("crop_pct").filter(|share| share.as_f64() != Some(0.875))
    {
        reader.refuse("crop_pct", "0.875", other);
    }
    // The rest describes the model's origin, its classifier, and the size at which it was evaluated.
    reader.finish(Preprocessing { mean, std, ..*usual })
}

/// Hugging Face's image processor, of a model with an input of `side` x `side` pixels (CLIP) or of any size (DINOv2).
/// Missing values have the class's defaults.
///
/// # Errors
/// As [`open_clip`].
pub(super) fn hugging_face(value: &Value, side: Option<usize>) -> Result<Preprocessing> {
    let mut reader = Reader::new("image processor", value)?;
    // Other classes have other defaults and another order of steps.
    let class = if side.is_some() { "CLIP" } else { "Bit" };
    for key in ["image_processor_type", "feature_extractor_type"] {
        let known = |name: &str| {
            let rest = name.strip_prefix(class);
            rest.is_some_and(|rest| {
                ["ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor"].contains(&rest)
            })
        };
        if let Some(other) = reader.get(key).filter(|name| !name.as_str().is_some_and(known)) {
            reader.refuse(key, &format!("{class}ImageProcessor"), other);
        }
    }
    for key in ["do_resize", "do_rescale"] {
        if !reader.flag(key, true) {
            reader.refuse(key, "true", &Value::Bool(false));
        }
    }
    // 1 / 255, to however many digits it is written.
    let factor = reader
        .get("rescale_factor")
        .filter(|factor| !factor.as_f64().is_some_and(|factor| (factor * 255.0 - 1.0).abs() <= 1e-6));
    if let Some(factor) = factor {
        reader.refuse("rescale_factor", "1/255", factor);
    }
    let (mut mean, mut std) = ([0.0; 3], [1.0; 3]);
    if reader.flag("do_normalize", true) {
        let clip = Preprocessing::CLIP;
        (mean, std) = (reader.channels("image_mean", clip.mean), reader.channels("image_std", clip.std));
    }
    // Pillow's numbers of its kernels.
    let filter = match reader.get("resample") {
        None => Filter::Bicubic,
        Some(code) if *code == 3 || code == "bicubic" => Filter::Bicubic,
        Some(code) if *code == 2 || code == "bilinear" => Filter::Bilinear,
        Some(other) => {
            reader.refuse("resample", "3 (bicubic) or 2 (bilinear)", other);
            Filter::Bicubic
        }
    };
    let resize = side.map_or(ResizeMode::Shortest, |side| fixed_size(&mut reader, side));
    let read = [
        "do_resize",
        "do_rescale",
        "do_normalize",
        "do_center_crop",
        "rescale_factor",
        "image_mean",
        "image_std",
        "resample",
        "size",
        "crop_size",
    ];
    reader.rest(&read, &HARMLESS);
    reader.finish(Preprocessing { mean, std, filter, resize })
}

/// How a processor makes a square of `side` x `side` pixels.
fn fixed_size(reader: &mut Reader<'_>, side: usize) -> ResizeMode {
    let (default_size, default_crop) = (json!({"shortest_edge": 224}), json!({"height": 224, "width": 224}));
    let crops = reader.flag("do_center_crop", true);
    let square = |value: &Value| is_side(value, side) || *value == json!({"height": side, "width": side});
    let size = reader.get("size").unwrap_or(&default_size);
    let resize = if *size == json!({"shortest_edge": side}) || *size == json!(side) {
        if !crops {
            reader.refuse("do_center_crop", "true where the shortest edge is resized", &Value::Bool(false));
        }
        ResizeMode::Shortest
    } else if square(size) {
        ResizeMode::Squash
    } else {
        reader.refuse(
            "size",
            &format!("the model's image_size, {side}, as shortest_edge or as height and width"),
            size,
        );
        ResizeMode::Shortest
    };
    let crop = reader.get("crop_size").unwrap_or(&default_crop);
    if crops && !square(crop) {
        reader.refuse("crop_size", &format!("the model's image_size, {side}"), crop);
    }
    resize
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: [f32; 3] = [0.5; 3];

    #[test]
    fn what_files_say_is_read() {
        let read = |value: Value| open_clip(&value, 224).unwrap();
        assert_eq!(read(json!({})), Preprocessing::CLIP);
        let clips = json!({"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
            "interpolation": "bicubic", "resize_mode": "shortest", "size": [224, 224], "mode": "RGB", "fill_color": 0});
        assert_eq!(read(clips), Preprocessing::CLIP);
        let other = json!({"mean": 0.5, "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"});
        let squash = ResizeMode::Squash;
        let expected = Preprocessing { mean: HALF, std: HALF, filter: Filter::Bilinear, resize: squash };
        assert_eq!(read(other), expected);

        let read = |value: Value| hugging_face(&value, Some(224)).unwrap();
        assert_eq!(read(json!({})), Preprocessing::CLIP);
        let clips = json!({"crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "do_convert_rgb": true,
            "do_normalize": true, "do_rescale": true, "do_resize": true, "image_processor_type": "CLIPImageProcessorFast",
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
            "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 224}, "do_pad": null});
        assert_eq!(read(clips), Preprocessing::CLIP);
        // The form of early versions.
        let old =
            json!({"crop_size": 224, "size": 224, "feature_extractor_type": "CLIPFeatureExtractor", "resample": 2});
        assert_eq!(read(old), Preprocessing { filter: Filter::Bilinear, ..Preprocessing::CLIP });
        let square = json!({"size": {"height": 224, "width": 224}, "do_center_crop": false, "image_mean": HALF, "image_std": HALF});
        assert_eq!(read(square), Preprocessing { mean: HALF, std: HALF, resize: squash, ..Preprocessing::CLIP });
        let plain = read(json!({"do_normalize": false}));
        assert_eq!((plain.mean, plain.std), ([0.0; 3], [1.0; 3]));

        let imagenet = Preprocessing::IMAGENET;
        let dinov2 = json!({"crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "do_convert_rgb": true,
            "do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": imagenet.mean, "resample": 3,
            "image_processor_type": "BitImageProcessor", "image_std": imagenet.std, "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 256}});
        assert_eq!(hugging_face(&dinov2, None).unwrap(), imagenet);
        assert!(hugging_face(&dinov2, Some(256)).unwrap_err().to_string().contains("CLIPImageProcessor"));
        let pretrained = json!({"tag": "lvd142m", "input_size": [3, 518, 518], "interpolation": "bicubic", "crop_pct": 1.0,
            "mean": imagenet.mean, "std": HALF, "num_classes": 0});
        assert_eq!(timm(&pretrained, &imagenet).unwrap(), Preprocessing { std: HALF, ..imagenet });
        assert!(timm(&json!({"interpolation": "bilinear"}), &imagenet).is_err());
        let torchvision = Preprocessing::TORCHVISION;
        assert_eq!(timm(&json!({"interpolation": "bilinear", "crop_pct": 0.875}), &torchvision).unwrap(), torchvision);
        assert!(timm(&json!({"crop_pct": 0.95}), &torchvision).unwrap_err().to_string().contains("0.875"));
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        for (key, value) in [
            ("interpolation", json!("nearest")),
            ("interpolation", json!("random")),
            ("resize_mode", json!("longest")),
            ("size", json!(336)),
            ("size", json!([224, 256])),
            ("mode", json!("L")),
            ("mean", json!([0.5, 0.5])),
            ("mean", json!([123.675, 116.28, 103.53])),
            ("std", json!([0.5, 0.0, 0.5])),
            ("std", json!("half")),
            ("gamma", json!(2.2)),
        ] {
            let error = open_clip(&json!({key: value}), 224).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("preprocess_cfg") && error.to_string().contains(key), "{error}");
        }
        for (key, value) in [
            ("resample", json!(1)),
            ("resample", json!(0)),
            ("size", json!({"longest_edge": 224})),
            ("size", json!({"shortest_edge": 256})),
            ("crop_size", json!(256)),
            ("do_center_crop", json!(false)),
            ("do_rescale", json!(false)),
            ("do_resize", json!(false)),
            ("rescale_factor", json!(0.0078125)),
            ("image_processor_type", json!("SiglipImageProcessor")),
            ("feature_extractor_type", json!("ViTFeatureExtractor")),
            ("do_pad", json!(true)),
            ("crop_pct", json!(0.9)),
            ("image_std", json!([0.5, 0.5, -0.5])),
        ] {
            let error = hugging_face(&json!({key: value}), Some(224)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let name = if key == "image_std" { "std" } else { key };
            assert!(error.to_string().contains(name), "{error}");
        }
        // A file without sizes means 224.
        assert!(hugging_face(&json!({}), Some(240)).unwrap_err().to_string().contains("shortest_edge"));
        // All problems in one error.
        let error = open_clip(&json!({"interpolation": "lanczos", "resize_mode": "longest"}), 224).unwrap_err();
        assert!(error.to_string().contains("lanczos") && error.to_string().contains("longest"), "{error}");
    }
}
