//! What only tests, benches and `inctrl-lab` need. It is not part of the interface and changes without notice.

/// Files that appear complete or not at all.
pub use crate::atomic_file::write_atomically;
pub use crate::disk::read_at;

/// Pickled dictionaries of arrays, which are read and not run.
pub use crate::checkpoint::pickle::{Column, read_table};

/// The pixels that a file of a mask marks.
pub use crate::image::marks::Marks;

/// Features of images, for training and benches.
pub use crate::engine::{Batch, DeviceBank, Encoder, Features, HostFeatures, Pipeline, Reference, Session};

/// Estimates of memory, and the refusal of what is not there.
pub use crate::encoder::text::text_bytes;
pub use crate::engine::{SCORING_COPIES, model_bytes, model_bytes_on_device};
pub use crate::memory::{check as check_memory, collected, left as memory_left};

/// Work that signals must not interrupt.
pub use crate::process::without_signals;

/// Reproducible random numbers.
pub use crate::split_mix::{STEP, mix};

/// Tensors as files store them, for files of trained heads.
pub use crate::weights::file::{TensorFile, header_for, stored_as};
