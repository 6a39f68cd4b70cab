//! An evaluation from the data set to its report: what `inctrl eval` and the Python package do alike.

use std::path::Path;

use inctrl::{Engine, Result};

use crate::datasets::{self, Dataset};
use crate::evaluation::{self, Options, Results, Step};
use crate::report::Report;

/// How far an evaluation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Prompts are being drawn.
    Prompts,
    /// Images are being encoded.
    Images(Step),
    /// Figures are being computed.
    Metrics,
    /// Files are being written.
    Report,
}

/// Evaluates `dataset`, of which `checked` is what [`check`](datasets::check) says, and writes the report's files into `folder`,
/// which is there. A run that was ended goes on where it was.
///
/// # Errors
/// As [`Engine::settle`], [`evaluation::run`], [`evaluation::evaluate`] and [`Report::write`].
pub fn run(
    engine: &Engine,
    dataset: &Dataset,
    checked: &datasets::Report,
    mut options: Options,
    folder: &Path,
    mut observe: impl FnMut(Stage),
) -> Result<Results> {
    options.spec = engine.settle(&options.spec)?;
    options.shots.sort_unstable();
    options.shots.dedup();
    observe(Stage::Prompts);
    let (draws, entries, unusable) =
        evaluation::run(engine, dataset, &options, folder, |step| observe(Stage::Images(step)))?;
    observe(Stage::Metrics);
    let results = evaluation::evaluate(engine, dataset, &options, draws, &entries, unusable, checked)?;
    observe(Stage::Report);
    Report { results: &results, dataset, options: &options, entries: &entries }.write(folder)?;
    Ok(results)
}
