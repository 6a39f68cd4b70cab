//! Files beside a model's file with facts that it lacks: how pixels are prepared, and which tokeniser the text tower
//! needs. Many libraries write a checkpoint as a folder.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::arch::Arch;
use super::families::Family;
use super::pixels;
use crate::error::{Error, ErrorKind, Result};
use crate::text::Tokeniser;
use crate::view::Preprocessing;

/// The longest configuration. Parsing takes a multiple of its size.
pub(crate) const MAX_CONFIG: u64 = 64 << 10;
/// The longest vocabulary; CLIP's `tokenizer.json` has 3.6 MB.
const MAX_VOCABULARY: u64 = 16 << 20;

/// Files of other models' tokenisers.
const OTHER_TOKENISERS: [&str; 5] =
    ["vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "tiktoken.model"];

/// The folder that a file is in.
pub(crate) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Reads a text of at most `most` bytes.
///
/// # Errors
/// [`ErrorKind::Io`], and [`ErrorKind::Config`] for a longer one.
pub(crate) fn read_text(path: &Path, what: &str, most: u64) -> Result<String> {
    let unread = |source| Error::io(&format!("read {what}"), path, source);
    let mut text = String::new();
    fs::File::open(path).map_err(unread)?.take(most + 1).read_to_string(&mut text).map_err(unread)?;
    if text.len() as u64 > most {
        let message = format!("has more than {most} bytes, so it is not {what}");
        return Err(Error::new(ErrorKind::Config, message).at(path));
    }
    Ok(text)
}

fn read_json(path: &Path, what: &str, most: u64) -> Result<Value> {
    let text = read_text(path, what, most)?;
    serde_json::from_str(&text).map_err(|source| {
        Error::new(ErrorKind::Config, format!("is not JSON, expected {what}")).at(path).because(source)
    })
}

/// The preprocessing stated by the files in `folder`, if there is one. Sizes are ignored for a model without a fixed
/// input size.
///
/// # Errors
/// [`ErrorKind::Config`] for one that this engine does not support, or two that differ.
pub(crate) fn preprocessing(folder: &Path, arch: &Arch) -> Result<Option<Preprocessing>> {
    let mut found: Option<(Preprocessing, PathBuf)> = None;
    let side = arch.vision.image_size;
    let fixed = (arch.family == Family::OpenClip).then_some(side);
    let open_clip = |json: &Value| json.get("preprocess_cfg").map(|value| pixels::open_clip(value, side));
    let processor = |json: &Value| json.get("image_processor").map(|value| pixels::hugging_face(value, fixed));
    let preprocessor = |json: &Value| Some(pixels::hugging_face(json, fixed));
    let usual = arch.family.preprocessing();
    let timm = |json: &Value| json.get("pretrained_cfg").map(|value| pixels::timm(value, &usual));
    type Read<'a> = &'a dyn Fn(&Value) -> Option<Result<Preprocessing>>;
    let files: [(&str, Read<'_>); 4] = [
        ("open_clip_config.json", &open_clip),
        ("processor_config.json", &processor),
        ("preprocessor_config.json", &preprocessor),
        ("config.json", &timm),
    ];
    for (name, read) in files {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        let json = read_json(&path, "a model's preprocessing", MAX_CONFIG)?;
        let Some(this) = read(&json).transpose().map_err(|error| error.at(&path))? else { continue };
        match &found {
            Some((other, before)) if *other != this => {
                let message = format!(
                    "says about the model's pixels: {this}; but {} says: {other}. Remove the wrong one, or put \
                    `preprocess_cfg` into a configuration given with --config",
                    before.display()
                );
                return Err(Error::new(ErrorKind::Config, message).at(&path));
            }
            Some(_) => {}
            None => found = Some((this, path)),
        }
    }
    Ok(found.map(|(preprocessing, _)| preprocessing))
}

/// Checks that the tokeniser in `folder`, if there is one, is CLIP's.
///
/// # Errors
/// [`ErrorKind::Config`] with the file and the difference.
pub(crate) fn check_tokeniser(folder: &Path) -> Result<()> {
    let other = |path: &Path, how: String| {
        let message = format!("{how}: this is the tokeniser of another model, but this engine has only CLIP's");
        Error::new(ErrorKind::Config, message).at(path)
    };
    for name in OTHER_TOKENISERS {
        let path = folder.join(name);
        if path.is_file() {
            return Err(other(&path, "is not a file of CLIP's tokeniser".into()));
        }
    }
    let path = folder.join("tokenizer_config.json");
    if path.is_file() {
        let json = read_json(&path, "a tokeniser's configuration", MAX_VOCABULARY)?;
        let class = &json["tokenizer_class"];
        if !(class.is_null() || class.as_str().is_some_and(|class| class.starts_with("CLIPTokenizer"))) {
            return Err(other(&path, format!("tokenizer_class = {class}, expected CLIPTokenizer")));
        }
    }
    let vocabularies: [(&str, &[&str]); 2] = [("vocab.json", &[]), ("tokenizer.json", &["model", "vocab"])];
    let mut tokeniser = None;
    for (name, place) in vocabularies {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        let json = read_json(&path, "a tokeniser's vocabulary", MAX_VOCABULARY)?;
        let vocabulary = place.iter().fold(&json, |json, key| &json[*key]);
        let Some(entries) = vocabulary.as_object() else {
            return Err(other(&path, "has no list of tokens and their ids".into()));
        };
        let clip = match &mut tokeniser {
            Some(clip) => clip,
            none => none.insert(Tokeniser::new()?),
        };
        let differs =
            entries.iter().find(|(token, id)| clip.id(token).is_none_or(|known| id.as_u64() != Some(u64::from(known))));
        if let Some((token, id)) = differs {
            return Err(other(&path, format!("token {token:?} has id {id}, which differs from CLIP's vocabulary")));
        }
        if entries.len() != crate::text::VOCABULARY {
            return Err(other(&path, format!("has {} tokens, expected {}", entries.len(), crate::text::VOCABULARY)));
        }
    }
    let path = folder.join("merges.txt");
    if path.is_file() {
        let text = read_text(&path, "a tokeniser's merges", MAX_VOCABULARY)?;
        if let Some(line) = Tokeniser::other_merge(&text) {
            return Err(other(&path, format!("line {line} differs from CLIP's merges")));
        }
    }
    Ok(())
}
