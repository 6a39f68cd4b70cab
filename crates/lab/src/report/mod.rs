//! Reports of an evaluation: a page for people, and tables for programs.
//!
//! | file | what |
//! |---|---|
//! | `report.html` | curves, histograms, the worst mistakes with their heat maps; one file that needs no network |
//! | `results.json` | every figure, the draws with their hashes, failures; the same run gives the same bytes |
//! | `results.csv` | a line for each class, number of shots and metric |
//! | `scores.csv` | a line for each image, run and number of shots |
//! | `results.md` | the tables for a README or an issue |

mod charts;
mod html;
mod mistakes;
mod tables;

use std::path::Path;

use crate::datasets::Dataset;
use crate::evaluation::{Entry, Options, Results};
use inctrl::internals::write_atomically;
use inctrl::{Error, ErrorKind, Result};

/// The inputs of a report.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    /// The figures.
    pub results: &'a Results,
    /// The evaluated data set.
    pub dataset: &'a Dataset,
    /// What was evaluated.
    pub options: &'a Options,
    /// The scores.
    pub entries: &'a [Entry],
}

impl Report<'_> {
    /// Writes all files into `folder`. Each appears complete or not at all.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where a file cannot be written. Problems of images are in the page.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self.results)
            .map_err(|error| Error::new(ErrorKind::Internal, "cannot write JSON").because(error))?;
        for (name, text) in [
            ("results.json", json + "\n"),
            ("results.csv", tables::results_csv(self.results)?),
            ("scores.csv", tables::scores_csv(self)?),
            ("results.md", tables::markdown(self.results)),
            ("report.html", html::page(self)),
        ] {
            let path = folder.join(name);
            write_atomically(&path, |out| {
                out.write_all(text.as_bytes()).map_err(|error| Error::io("write", &path, error))
            })?;
        }
        Ok(())
    }

    /// The bank that the page shows in detail: the most shots, in the first run.
    fn shown(&self) -> usize {
        let banks = self.options.banks();
        let most = self.options.shots.iter().copied().max().unwrap_or(0);
        banks.iter().position(|&(run, shots)| (run, shots) == (0, most)).unwrap_or(0)
    }
}

pub(crate) use charts::histogram;
pub(crate) use html::begin;
pub(crate) use mistakes::{Look, beside, pictures};
pub use tables::markdown;
pub(crate) use tables::{chance, finished, internal, paper, percent};
