//! The tensors of a model, and how they are read from disk.
//!
//! An architecture ([`Arch`]) determines the name and shape of every tensor ([`table()`]). A file either holds exactly
//! those tensors or is refused with every difference in one error. [`Weights::open`] finds the architecture, opens the
//! files and checks them; [`random::write`] writes a seeded model of any architecture in the same layout; [`inspect()`]
//! reports on a file without failing at the first problem.
//!
//! Names and shapes are those of the family's own files: open_clip's, as in the published InCTRL checkpoint, DINOv2's
//! official ones, and torchvision's. A [`Family`] assigns a role to each name.
//!
//! Invariants of an open [`Weights`]: every tensor of the table is present once, in f32, f16 or bf16, with the table's
//! shape and only finite numbers; [`Weights::hash`] identifies architecture and contents; a tensor whose bytes have
//! changed is never returned.
//!
//! Refused: files other than safetensors (no pickle is ever executed), tensors that the model would not use (except
//! known leftovers of training, see [`ignored`]), and unsupported configuration options.
//!
//! | file | job |
//! |---|---|
//! | `arch.rs` | the architecture, its limits, the named models |
//! | `families` | one file per family: names, shapes, configuration, published models |
//! | `config.rs` | model JSON to and from an architecture: what families share |
//! | `pixels.rs` | preprocessing in the files of open_clip and Hugging Face |
//! | `beside.rs` | preprocessing and tokenisers in the folder of a model |
//! | `infer.rs` | architecture from tensor shapes alone |
//! | `table.rs` | every tensor's name and shape |
//! | `file.rs` | one safetensors file |
//! | `foreign.rs` | recognises files of other libraries by their names |
//! | `load.rs` | files + architecture -> checked [`Weights`] |
//! | `scan.rs` | one parallel pass over all bytes: NaN search and hash |
//! | `random.rs` | seeded random models |
//! | `inspect.rs` | the report |

mod arch;
mod beside;
mod config;
mod families;
pub(crate) mod file;
mod foreign;
mod infer;
mod inspect;
mod load;
mod outliers;
mod pixels;
pub mod random;
mod scan;
mod table;
#[cfg(test)]
mod tests;

pub use arch::{Arch, Mlp, ResNetArch, STAGES, TextArch, VisionArch};
pub(crate) use beside::{MAX_CONFIG, check_tokeniser, folder_of, preprocessing, read_text};
pub(crate) use config::{is_hugging_face, is_timm, read as read_config};
pub use families::{BlockLayout, Family, Interpolation, VitLayout, resnet};
pub(crate) use file::{TensorFile, header_for, storage, stored_as};
pub(crate) use foreign::common_prefix;
pub use inspect::{FileSummary, Inspection, inspect};
pub use load::{ArchSource, LoadOptions, Weights};
pub(crate) use load::{CONFIG_KEY, listing, negative_variance};
pub use table::{TensorSpec, Tower, ignored, table};
