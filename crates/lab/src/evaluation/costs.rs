//! [`Costs`]: the time of a frame and the size of a bank.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Options;
use super::draws::write_json;
use crate::datasets::{Item, read_text};
use inctrl::{Engine, Error, ErrorKind, Image, PromptBank, Result};

/// The file of the costs in the folder of an evaluation.
pub(super) const FILE: &str = "costs.json";

/// Test images that are scored to take the time; the first warms up.
const FRAMES: usize = 5;

/// What a result costs, at one number of shots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Prompts.
    pub shots: usize,
    /// Median time to score a decoded image against one bank, in milliseconds; `null` if no image could be scored.
    pub milliseconds: Option<f64>,
    /// Bytes of that bank in memory.
    pub bank_bytes: usize,
}

/// What the results of an evaluation cost: measured once, on its first class and the prompts of its first run.
///
/// Times differ between two runs, so they are in a file of their own, and no other file of an evaluation depends on
/// them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// The class whose images were scored.
    pub class: String,
    /// By number of shots.
    pub shots: Vec<Cost>,
}

impl Costs {
    /// Reads the costs in the folder of an evaluation.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] and [`ErrorKind::Argument`].
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bad = |error| Error::new(ErrorKind::Argument, "is not a file of costs").at(&path).because(error);
        serde_json::from_str(&read_text(&path)?).map_err(bad)
    }

    /// The cost at a number of shots.
    pub fn at(&self, shots: usize) -> Option<&Cost> {
        self.shots.iter().find(|cost| cost.shots == shots)
    }

    /// Whether they are known for all shots of an evaluation.
    pub(super) fn cover(&self, options: &Options) -> bool {
        options.shots.iter().all(|&shots| self.at(shots).is_some())
    }

    /// Scores the first images of `items` against the banks of the first run.
    ///
    /// # Errors
    /// As [`Engine::scorer`]. An image that cannot be scored is left out: its own entry has the error.
    pub(super) fn measure(
        engine: &Engine,
        class: &str,
        options: &Options,
        banks: &[Arc<PromptBank>],
        items: &[&Item],
    ) -> Result<Self> {
        let images: Vec<Image> = items.iter().filter_map(|item| item.certain_image().ok()).take(FRAMES).collect();
        let first = options.banks().into_iter().zip(banks).filter(|((run, _), _)| *run == 0);
        let cost = |((_, shots), bank): ((usize, usize), &Arc<PromptBank>)| {
            let mut scorer = engine.scorer(Arc::clone(bank))?;
            let mut times = Vec::new();
            for image in &images {
                let start = Instant::now();
                if scorer.score(image.frame()).is_ok() {
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
            let warm = usize::from(times.len() > 1);
            let times = &mut times[warm..];
            times.sort_by(f64::total_cmp);
            Ok(Cost { shots, milliseconds: times.get(times.len() / 2).copied(), bank_bytes: bank.info().bytes })
        };
        Ok(Costs { class: class.to_owned(), shots: first.map(cost).collect::<Result<_>>()? })
    }

    /// Writes them into the folder of an evaluation.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(FILE), self)
    }
}
