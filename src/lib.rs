//! Few-shot anomaly detection (InCTRL, CVPR 2024).

mod error;
pub mod preprocess;
pub mod tensor;
pub mod text;

pub use error::{Error, ErrorKind, Result};
