//! The model that four programs saved and scored (`scripts/fixtures/scored_checkpoints.py`), and its conversion.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use inctrl::checkpoint::{ConvertOptions, convert};
use serde::Deserialize;

use super::root;

/// For a score and its parts but one; a rounding in f32 of a number below 1 is 6e-8.
pub const TOLERANCE: f32 = 1e-6;

#[derive(Deserialize)]
pub struct Facts {
    pub class: String,
    pub normals: Vec<String>,
    pub queries: Vec<String>,
    /// For each file and query: score, holistic, patch_max, image_residual, text_prior.
    pub scores: BTreeMap<String, Vec<[f32; 5]>>,
}

pub fn facts() -> Facts {
    serde_json::from_slice(&fs::read(fixture("scores.json")).unwrap()).unwrap()
}

pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/checkpoints/scored").join(name)
}

pub fn picture(name: &str) -> PathBuf {
    root().join("tests/fixtures/model").join(name)
}

/// Converts a source, with the heads where it has none.
pub fn converted(source: &str, output: &Path) {
    let heads = (source != "inctrl.pyth").then(|| fixture("heads.pth"));
    // Hugging Face's configuration lies beside its file.
    let config = (!source.starts_with("hf/")).then(|| fixture("model.json"));
    convert(&ConvertOptions { source: fixture(source), heads, config, dtype: None }, output, |_, _| ()).unwrap();
}
