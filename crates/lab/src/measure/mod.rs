//! Timing on this machine: single operations, the steps of a score, whole scores.
//!
//! Times are wall-clock times until the work is complete. Peaks are measured on the same machine in the same run, not
//! taken from data sheets.
//!
//! | file | job |
//! |---|---|
//! | `distribution.rs` | summary of many durations |
//! | `op/` | one operation at any size on any device, compared with its formula |
//! | `operations.rs` | every single operation of a model, at its sizes |
//! | `contest.rs` | one operation beside its rivals, turn by turn |
//! | `rival.rs`, `rivals.py` | other libraries in processes of their own |
//! | `arrivals.rs` | scores of frames without or with gaps; throughput of batches |
//! | `steps.rs` | the steps of a score: decode, resize, encode, nearest neighbour, heads |

mod arrivals;
mod contest;
mod distribution;
pub mod op;
mod operations;
mod rival;
mod stages;

use std::path::Path;

pub use arrivals::{latency, throughput};
pub use contest::{OpReport, RivalTimes, Times, Turns, contest};
pub use distribution::Distribution;
pub use operations::{OperationTime, Peak, op_report, operation_times, operations, peak};
pub use rival::Rival;
pub use stages::{StageDistributions, stage_distributions};

use inctrl::internals::write_atomically;
use inctrl::{Error, Result};

/// Writes a report as a JSON file, which appears complete or not at all.
///
/// # Errors
/// [`inctrl::ErrorKind::Io`] if it cannot be written.
pub fn write_report(path: &Path, report: &serde_json::Value) -> Result<()> {
    let write_error = |error| Error::io("write the report", path, error);
    write_atomically(path, |out| writeln!(out, "{report:#}").map_err(write_error))
}
