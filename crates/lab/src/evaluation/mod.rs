//! Evaluation of a method on a data set: the protocol of the InCTRL paper's Table 1.
//!
//! For each class, run and number of shots K, K prompts are drawn from the *training* normals and every test image is
//! scored against them. A metric is averaged over the classes of a run. The report has the mean and the standard
//! deviation (of the population, as NumPy's `std`) over the runs. Fewer shots use the first prompts of more shots, so
//! that shots are compared on the same draw.
//!
//! Each image is encoded once, for any number of runs and shots, and for all methods of an encoder that look at images
//! alike ([`run_together`]). The draws are stored with the content hash of each
//! prompt, so a run can be repeated from that file alone. Scores go to a journal, so a run that was killed continues
//! where it stopped. Results are computed from the journal and have the same bytes in both cases.
//!
//! Pixel metrics use maps and masks with sides of at most [`Options::mask_side`] pixels. Pixels that the model does not
//! see are left out.

mod chance;
mod costs;
mod drawing;
mod draws;
mod journal;
mod options;
mod paper;
mod results;
mod run;

pub use chance::Chance;
pub use costs::{Cost, Costs};
pub use draws::{Draw, Draws, Prompt};
pub use journal::{BankResult, Entry, Journal, stored};
pub use options::{Event, Failure, Options};
pub use paper::{PaperRow, paper_rows};
pub use results::{Cell, ClassResults, MetricName, Results, Spread, Summary, evaluate};
pub use run::{Job, Scored, run_together};
