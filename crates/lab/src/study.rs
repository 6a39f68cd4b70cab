//! An evaluation from the data set to its report: what `inctrl eval` and the Python package do alike.

use std::path::Path;

use inctrl::{Engine, Result};

use crate::datasets::{self, Dataset};
use crate::evaluation::{self, Entry, Options, Results};
use crate::report::Report;

/// What a study reports while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Prompts are being drawn.
    Prompts,
    /// Images are being encoded.
    Images(evaluation::Event),
    /// Figures are being computed.
    Metrics,
    /// Files are being written.
    Report,
}

/// A finished evaluation.
#[derive(Clone, Debug)]
pub struct Study {
    /// The figures.
    pub results: Results,
    /// What was evaluated: the options with the defaults of the method and the model.
    pub options: Options,
    /// The scores.
    pub entries: Vec<Entry>,
}

/// Evaluates `dataset`, of which `checked` is what [`check`](datasets::check) says, and writes the report's files into
/// `folder`, which exists. A run that was ended, for instance by an error of `observe`, continues where it stopped.
///
/// # Errors
/// As [`Engine::settle`], [`evaluation::run`], [`evaluation::evaluate`], [`Report::write`] and `observe`.
pub fn run(
    engine: &Engine,
    dataset: &Dataset,
    checked: &datasets::Report,
    mut options: Options,
    folder: &Path,
    mut observe: impl FnMut(Event) -> Result<()>,
) -> Result<Study> {
    options.spec = engine.settle(&options.spec)?;
    options.shots.sort_unstable();
    options.shots.dedup();
    if !options.takes_prompts() {
        (options.shots, options.runs) = (vec![0], 1);
    }
    observe(Event::Prompts)?;
    let (draws, entries, unusable) =
        evaluation::run(engine, dataset, &options, folder, |event| observe(Event::Images(event)))?;
    observe(Event::Metrics)?;
    let results = evaluation::evaluate(engine, dataset, &options, draws, &entries, unusable, checked)?;
    observe(Event::Report)?;
    Report { results: &results, dataset, options: &options, entries: &entries }.write(folder)?;
    Ok(Study { results, options, entries })
}
