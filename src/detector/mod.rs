//! What users hold: an [`Engine`] (weights, shared), a [`PromptBank`] (one class's normal images, immutable), a
//! [`Scorer`] (one per thread or camera) and the [`Score`] of an image with its map. Scorers that share a [`BankSlot`] get
//! another bank together.
//!
//! Everything slow happens once: weights are packed when the engine opens, prompts and texts are encoded when a bank is
//! built. After that a scorer only runs the image encoder, the nearest-neighbour search and the heads; it allocates
//! nothing and takes no lock.

mod bank;
mod builder;
#[cfg(feature = "cli")]
mod encoder;
mod engine;
mod late;
mod latency;
mod outputs;
mod panel;
mod score;
mod scorer;
mod self_test;
mod session;
mod shown;
mod slot;
mod thresholds;
mod verdict;

pub use bank::{BankId, BankInfo, PromptBank};
pub use builder::BankBuilder;
#[cfg(feature = "cli")]
pub(crate) use encoder::{Encoder, Features};
pub use engine::{Device, Engine, EngineOptions, Precision};
pub use late::{Deadline, Late};
pub use latency::Latencies;
pub use outputs::{Output, Outputs};
pub use panel::Panel;
pub use score::{AnomalyMap, Score};
pub use scorer::Scorer;
pub use slot::BankSlot;
pub use thresholds::Thresholds;
pub use verdict::{Decision, Reason, Region, Verdict};
