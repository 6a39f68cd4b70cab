//! How good the method is on a data set: the protocol of the paper's Table 1.
//!
//! For each class, each run and each number of shots K, K prompts are drawn from the *training* normals and every test image is
//! scored against them. A metric is averaged over the classes of a run; reported are the mean and the standard deviation
//! (of the population, as NumPy's `std`) over the runs. Prompts of fewer shots are the first of those of more, so that
//! shots compare on the same draw.
//!
//! Each image is encoded once, whatever the number of runs and shots. The draws are written down with the content hash of
//! each prompt: a run can be repeated from that file alone. Scores go to a journal as they come, so that a run that was
//! killed goes on where it was; results are computed from the journal, and are the same bytes either way.
//!
//! Metrics of pixels look at maps and masks of at most [`Options::mask_side`] pixels a side. What the model does not see is
//! left out of them.

mod chance;
mod draws;
mod journal;
mod paper;
mod results;
mod run;

pub use chance::Chance;
pub use draws::{Draw, Draws, Prompt};
pub use journal::{Entry, Journal, Scored};
pub use paper::{PAPER_METHOD, PaperRow, paper_rows};
pub use results::{Cell, ClassResults, MetricName, Results, Spread, Summary, evaluate};
pub use run::{Failure, Options, Step, run};
