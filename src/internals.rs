//! What only tests, benches and the laboratory need. No part of the interface: it changes without notice.

/// Files that appear whole or not at all, and files that are read at offsets.
pub use crate::atomic_file::write_atomically;
pub use crate::disk::read_at;

/// Features of images, for training and benches.
pub use crate::engine::{DeviceBank, Encoder, Features, HostFeatures, Pipeline, Reference, Session};

/// Work that a signal shall not interrupt.
pub use crate::process::without_signals;

/// Reproducible numbers.
pub use crate::split_mix::{STEP, mix};

/// Weights as files hold them, for files of trained heads.
pub use crate::weights::file::{TensorFile, header_for, stored_as};
