//! What a bank's file holds beside the tensors.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::file;
use super::prompt_facts::{PromptFacts, PromptsShown};
use crate::calibration::{Calibration, Thresholds};
use crate::image::IgnoreMask;
use crate::methods::{Setting, Setup};
use crate::view::{Fit, Grid, Look, Tiling};

/// The header of a bank's file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub version: u32,
    /// Name of the method. Absent in version 1, which knew only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The values of the method's options. Absent where it has none, so that older banks keep their identity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Setting>,
    pub class: String,
    pub fit: Fit,
    pub model: String,
    /// Content hash of each prompt image, in hexadecimal, ascending.
    pub prompts: Vec<String>,
    /// Absent from the file if there are none, so that older files keep their identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// The scores that the thresholds were made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Width and height of the frames that the ignore mask is for. Its runs are a tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<[usize; 2]>,
    /// Rows of each prompt in the row tensors, where the bank keeps prompts apart; those of one position of a tile
    /// after those of another. In version 1 all prompts have equally many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<usize>,
    /// How the prompts were shown to the model; absent where all values are defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<PromptsShown>,
    /// How frames are cut into tiles; from version 3 on, which only such banks have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiling: Option<Tiling>,
    /// The frames of a bank for each position of a tile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions: Option<Positions>,
}

impl Header {
    /// The version of the file format that a bank of this setup has. Older programs read banks without tiles.
    pub fn version_of(setup: &Setup) -> u32 {
        if setup.tiling().is_some() { file::VERSION } else { file::UNTILED }
    }
}

/// The frames of a bank for each position of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Positions {
    /// The map of a frame; of squares their rows and columns.
    pub grid: Grid,
    /// Tiles that an ignore mask does not cover.
    pub tiles: usize,
}

impl Positions {
    /// The positions of frames that `look` shows, if it shows tiles.
    pub fn of(look: &Look, patch: usize) -> Option<Self> {
        look.tiled.as_ref().map(|tiled| Positions { grid: look.positions(patch), tiles: tiled.tiles.len() })
    }
}

/// What a bank's header holds beside its method and prompts.
pub(crate) struct BankFacts {
    pub class: String,
    pub fit: Fit,
    pub model: String,
    pub mask: Option<Arc<IgnoreMask>>,
    /// How each prompt was shown to the model, in the order in which they were given.
    pub shown: Vec<PromptFacts>,
    /// The frames of a bank for each position of a tile.
    pub positions: Option<Positions>,
}
