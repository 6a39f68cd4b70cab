//! An evaluation from the data set to its report: what `inctrl eval` and the Python package do alike.

use std::path::Path;

use inctrl::{Engine, Error, ErrorKind, Result};

use crate::datasets::{self, Dataset};
use crate::evaluation::{self, Entry, Job, Options, Results, Scored, run_together};
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
/// As [`settle`], [`run_together`], [`finish`] and `observe`.
pub fn run(
    engine: &Engine,
    dataset: &Dataset,
    checked: &datasets::Report,
    options: Options,
    folder: &Path,
    mut observe: impl FnMut(Event) -> Result<()>,
) -> Result<Study> {
    let options = settle(engine, options)?;
    observe(Event::Prompts)?;
    let job = Job { options: &options, folder };
    let mut scored = run_together(engine, dataset, &[job], None, &mut |event| observe(Event::Images(event)))?;
    let none = || Err(Error::new(ErrorKind::Internal, "an evaluation has no result"));
    let scored = scored.pop().unwrap_or_else(none)?;
    finish(engine, dataset, checked, options, folder, scored, observe)
}

/// Fills in the defaults of the method and the model, and what they determine.
///
/// # Errors
/// As [`Engine::settle`].
pub fn settle(engine: &Engine, mut options: Options) -> Result<Options> {
    options.spec = engine.settle(&options.spec)?;
    options.shots.sort_unstable();
    options.shots.dedup();
    if !options.takes_prompts() {
        (options.shots, options.runs) = (vec![0], 1);
    }
    Ok(options)
}

/// Computes the figures of what is scored, and writes the report's files into `folder`.
///
/// # Errors
/// As [`Scored::entries`], [`evaluation::evaluate`], [`Report::write`] and `observe`.
pub fn finish(
    engine: &Engine,
    dataset: &Dataset,
    checked: &datasets::Report,
    options: Options,
    folder: &Path,
    scored: Scored,
    mut observe: impl FnMut(Event) -> Result<()>,
) -> Result<Study> {
    observe(Event::Metrics)?;
    let entries = scored.entries(dataset, folder)?;
    let Scored { draws, failures } = scored;
    let results = evaluation::evaluate(engine, dataset, &options, draws, &entries, failures, checked)?;
    observe(Event::Report)?;
    Report { results: &results, dataset, options: &options, entries: &entries }.write(folder)?;
    Ok(Study { results, options, entries })
}
