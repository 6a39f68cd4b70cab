//! What users hold: an [`Engine`] (weights, shared), a [`PromptBank`] (one class's normal images, immutable), a
//! [`Scorer`] (one per thread or camera) and the [`Score`] of an image with its map.
//!
//! Everything slow happens once: weights are packed when the engine opens, prompts and texts are encoded when a bank is
//! built. After that a scorer only runs the image encoder, the nearest-neighbour search and the heads; it allocates
//! nothing and takes no lock.

mod bank;
mod builder;
mod engine;
mod panel;
mod score;
mod scorer;
mod session;
mod thresholds;

pub use bank::{BankInfo, PromptBank};
pub use builder::BankBuilder;
pub use engine::{Device, Engine, EngineOptions, Precision};
pub use panel::Panel;
pub use score::{AnomalyMap, Score};
pub use scorer::Scorer;
pub use thresholds::Thresholds;
