//! How long things take on this machine: single operations, the stages of a score, whole scores as they arrive.
//!
//! Times are those of a wall clock around work that has been waited for. What is compared with a peak is compared with the
//! peak that this machine shows in the same run: data sheets are not consulted.
//!
//! | file | job |
//! |---|---|
//! | `distribution.rs` | many durations to the few numbers that matter |
//! | `operations.rs` | every operation of a model alone, at its sizes |
//! | `arrivals.rs` | scores of frames that come back to back or with gaps; throughput of batches |
//! | `steps.rs` | the steps of a score: decode, resize, encode, nearest neighbour, heads |

mod arrivals;
mod distribution;
mod operations;
mod steps;

use std::path::Path;

pub use arrivals::{latency, throughput};
pub use distribution::Distribution;
pub use operations::{OperationTime, Peak, operation_times, operations, peak};
pub use steps::{StepTimes, step_times};

use inctrl::internals::write_atomically;
use inctrl::{Error, Result};

/// Writes a report as a JSON file that appears whole or not at all.
///
/// # Errors
/// [`inctrl::ErrorKind::Io`] where it cannot be written.
pub fn write_report(path: &Path, report: &serde_json::Value) -> Result<()> {
    let write_error = |error| Error::io("write the report", path, error);
    write_atomically(path, |out| writeln!(out, "{report:#}").map_err(write_error))
}
