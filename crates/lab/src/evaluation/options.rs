//! What an evaluation is asked for, and what it reports.

use serde::Serialize;

use super::Draws;
use crate::datasets::Dataset;
use inctrl::methods::by_name;
use inctrl::{BankSpec, Error, ErrorKind, Result};

/// What to evaluate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Numbers of prompts.
    pub shots: Vec<usize>,
    /// Independent draws of the prompts.
    pub runs: usize,
    /// Another seed gives other draws.
    pub seed: u64,
    /// The method, its options and the fit; the class names are the data set's.
    pub spec: BankSpec,
    /// The classes; all where empty.
    pub classes: Vec<String>,
    /// Longest side of maps and masks for the metrics of pixels; 0 for the images' own.
    pub mask_side: usize,
    /// Draws of an earlier run, to be repeated.
    pub draws: Option<Draws>,
    /// Whether to measure [`Costs`](super::Costs), unless they are known.
    pub costs: bool,
}

/// What a run reports while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Before anything is encoded: the bytes of memory that the banks which are scored together take at most, and how
    /// often the images are encoded because the banks of all evaluations would take more than is allowed.
    Banks {
        /// Bytes.
        bytes: usize,
        /// Encodings of each image.
        passes: usize,
    },
    /// The number of images to encode next.
    Images(usize),
    /// One more image is done.
    Done,
}

/// An image that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The image's name in the data set.
    pub name: String,
    /// The error.
    pub error: String,
}

impl Options {
    /// Whether the method compares with normal images. Others have no shots, and nothing to draw.
    pub fn takes_prompts(&self) -> bool {
        self.spec.method.as_deref().and_then(|name| by_name(name).ok()).is_none_or(|method| method.takes_prompts())
    }

    /// The banks of a class: run and shots of each, in the order of an entry's scores.
    pub fn banks(&self) -> Vec<(usize, usize)> {
        (0..self.runs).flat_map(|run| self.shots.iter().map(move |&shots| (run, shots))).collect()
    }

    /// The classes of a data set to evaluate.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an unknown class, and for numbers out of range.
    pub fn classes<'a>(&self, dataset: &'a Dataset) -> Result<Vec<&'a str>> {
        let fail = |message: String| Err(Error::new(ErrorKind::Argument, message));
        let least = usize::from(self.takes_prompts());
        if self.shots.is_empty() || self.shots.iter().any(|shots| *shots < least) || self.runs == 0 {
            return fail("the numbers of shots and runs must be at least 1".to_owned());
        }
        let all = dataset.classes();
        if let Some(unknown) = self.classes.iter().find(|class| !all.contains(&class.as_str())) {
            return fail(format!("the data set has no class `{unknown}`; it has {}", all.join(", ")));
        }
        let wanted = |class: &&str| self.classes.is_empty() || self.classes.iter().any(|wanted| wanted == class);
        Ok(all.into_iter().filter(wanted).collect())
    }
}
