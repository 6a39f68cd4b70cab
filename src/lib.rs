//! Few-shot anomaly detection (InCTRL, CVPR 2024).

mod atomic_file;
pub mod backend;
mod detector;
mod error;
pub mod method;
pub mod metrics;
pub mod model;
pub mod preprocess;
#[cfg(feature = "cli")]
pub mod render;
#[cfg(feature = "cli")]
pub mod synth;
pub mod tensor;
pub mod text;
pub mod weights;

pub use detector::{AnomalyMap, BankBuilder, Device, Engine, EngineOptions, PromptBank, PromptInfo, Score, Scorer};
pub use error::{Error, ErrorKind, Result};
pub use preprocess::{Fit, Frame, Image, PixelFormat, Placement};
