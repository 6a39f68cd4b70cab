//! Which tensors a model has, and how they come from disk.
//!
//! The one idea: an architecture ([`Arch`]) determines the name and shape of every tensor ([`table()`]), so a file either
//! holds exactly those tensors or is refused with every difference in one error. [`Weights::open`] finds the
//! architecture, maps the files and checks them; [`random::write`] writes a seeded model of any architecture in the same
//! layout; [`inspect()`] reports on a file without failing at the first problem.
//!
//! Names and shapes are open_clip's, as the published InCTRL checkpoint holds them.
//!
//! Invariants of an open [`Weights`]: every tensor of the table is present once, in f32, f16 or bf16, with the table's
//! shape and only finite numbers; [`Weights::hash`] identifies architecture and contents.
//!
//! Refused: anything but safetensors (no pickle is ever executed), tensors that the model would not use (but for the
//! known leftovers of training, see [`ignored`]), and configuration options that this engine does not run.
//!
//! | file | job |
//! |---|---|
//! | `arch.rs` | the architecture, its limits, the named models |
//! | `config.rs` | open_clip model JSON to and from an architecture |
//! | `infer.rs` | architecture from tensor shapes alone |
//! | `table.rs` | every tensor's name and shape |
//! | `file.rs` | one memory-mapped safetensors file |
//! | `load.rs` | files + architecture -> checked [`Weights`] |
//! | `scan.rs` | one parallel pass over all bytes: NaN search and hash |
//! | `random.rs` | seeded random models |
//! | `inspect.rs` | the report |

mod arch;
mod config;
mod file;
mod infer;
mod inspect;
mod load;
pub mod random;
mod scan;
mod table;
#[cfg(test)]
mod tests;

pub use arch::{Arch, TextArch, VisionArch};
pub(crate) use file::{MappedFile, header_for, storage, stored_as};
pub use inspect::{FileSummary, Inspection, inspect};
pub use load::{ArchSource, LoadOptions, Weights};
pub(crate) use load::{CONFIG_KEY, listing, negative_variance};
pub use table::{TensorSpec, Tower, ignored, table};
