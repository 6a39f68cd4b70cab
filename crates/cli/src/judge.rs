//! What images are scored against: one bank, or several, of which the one that an image fits best counts.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use inctrl::{BestBank, Engine, Frame, Inspection, PromptBank, RoiScorer, Score, Scorer, SharedBank};

/// A bank, and its source for messages.
pub struct Source {
    pub bank: Arc<PromptBank>,
    pub name: String,
}

/// Which of several banks an image fits best.
pub struct Product {
    /// The file of the bank, as it was given.
    pub name: String,
    /// By how much the next bank's score is larger.
    pub margin: f32,
}

/// Scores images on one thread.
pub enum Judge {
    One(Scorer),
    Many { scorer: RoiScorer, all: Vec<usize>, names: Arc<[String]> },
}

impl Judge {
    /// `count` of them, one for each thread.
    pub fn several(engine: &Engine, sources: &[Source], count: usize) -> Result<Vec<Judge>> {
        let [one] = sources else { return Self::of_many(engine, sources, count) };
        let scorer = || Ok(Judge::One(engine.scorer(Arc::clone(&one.bank))?));
        (0..count).map(|_| scorer()).collect::<inctrl::Result<_>>().with_context(|| one.name.clone())
    }

    fn of_many(engine: &Engine, sources: &[Source], count: usize) -> Result<Vec<Judge>> {
        let slot = |source: &Source| -> Result<Arc<SharedBank>> {
            let slot = engine.shared_bank(Arc::clone(&source.bank)).with_context(|| source.name.clone())?;
            Ok(Arc::new(slot))
        };
        let slots = sources.iter().map(slot).collect::<Result<Vec<_>>>()?;
        let names: Arc<[String]> = sources.iter().map(|source| source.name.clone()).collect();
        let judge = || -> inctrl::Result<Judge> {
            let scorer = engine.roi_scorer(&slots, NonZeroUsize::MIN)?;
            Ok(Judge::Many { scorer, all: (0..slots.len()).collect(), names: Arc::clone(&names) })
        };
        (0..count).map(|_| judge()).collect::<inctrl::Result<_>>().with_context(|| names.join(", "))
    }

    /// The score against the bank that the image fits best, and that bank if there are several.
    pub fn score(&mut self, frame: Frame<'_>) -> inctrl::Result<(&Score, Option<Product>)> {
        match self {
            Judge::One(scorer) => Ok((scorer.score(frame)?, None)),
            Judge::Many { scorer, all, names } => {
                let whole = Inspection { roi: None, banks: all, thresholds: None };
                let scores = scorer.score(frame, &[whole])?;
                // There is a score for each bank, and at least two banks.
                let place = BestBank::among(scores).map_or(0, |best| best.place);
                let margin = BestBank::among(scores).and_then(|best| best.margin).unwrap_or(f32::NAN);
                Ok((&scores[place], Some(Product { name: names[place].clone(), margin })))
            }
        }
    }
}

/// The banks in files.
pub fn open(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let open = |path: &PathBuf| Ok(Source { bank: Arc::new(PromptBank::open(path)?), name: shown(path) });
    paths.iter().map(open).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
