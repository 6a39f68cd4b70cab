//! Which normal images are the prompts of each run.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::datasets::{draw, read_text};
use inctrl::internals::write_atomically;
use inctrl::{Error, ErrorKind, Result};

/// One prompt of a draw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The image's name in the data set.
    pub name: String,
    /// Hash of its pixels, in hexadecimal.
    pub hash: String,
}

/// The prompts of one class in one run, in the order in which they were drawn: K shots are the first K.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// The class.
    pub class: String,
    /// The run, from 0.
    pub run: usize,
    /// As many as the largest number of shots.
    pub prompts: Vec<Prompt>,
}

/// All draws of an evaluation: enough to repeat it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draws {
    /// Draws by class, then by run.
    pub draws: Vec<Draw>,
}

impl Draws {
    /// Reads a file of [`Draws::write`].
    ///
    /// # Errors
    /// [`ErrorKind::Io`] and [`ErrorKind::Argument`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let bad = |error| {
            let message = "is not a file of prompts, such as prompts.json of an evaluation";
            Error::new(ErrorKind::Argument, message).at(path).because(error)
        };
        serde_json::from_str(&text).map_err(bad)
    }

    /// Writes the draws as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// The draw of a class in a run.
    pub fn of(&self, class: &str, run: usize) -> Option<&Draw> {
        self.draws.iter().find(|draw| draw.class == class && draw.run == run)
    }
}

/// The order in which the normals `names` of a class become prompts of a run.
pub(super) fn order<'a>(class: &str, seed: u64, run: usize, names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    draw(&format!("prompts of run {run} of {class}"), seed, names)
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot write JSON").because(error))?;
    write_atomically(path, |out| writeln!(out, "{text}").map_err(|error| Error::io("write", path, error)))
}
