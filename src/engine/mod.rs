//! What users hold: an [`Engine`] (weights, shared), a [`PromptBank`] (one class's normal images, immutable), a
//! [`Scorer`] (one per thread or camera) and the [`Score`] of an image with its map. Scorers that share a
//! [`SharedBank`] switch to another bank together.
//!
//! Slow work happens once: the engine packs weights when it opens, and a bank's prompts and texts are encoded when it
//! is built. After that a scorer only runs the image encoder, the nearest-neighbour search and the heads. It allocates
//! nothing and takes no lock.

mod appender;
mod batch;
mod best_bank;
mod builder;
mod device;
mod draft;
mod encoder;
mod estimate;
mod frame_prep;
mod good_images;
mod growth;
mod held;
mod kept_views;
mod late;
mod latency;
mod looks;
mod multi_bank;
mod multi_builder;
mod multi_method;
mod pipeline;
mod roi_scorer;
mod score;
mod scorer;
mod self_test;
mod shared;
mod shared_bank;
mod verdict;
mod workspace;

pub use appender::{AppendOptions, Appended, Appender};
pub use batch::Batch;
pub use best_bank::BestBank;
pub use builder::{BankBuilder, BankSize};
pub use device::{DeviceBank, Session};
pub use encoder::{Encoder, Features, Reference};
pub use estimate::{model_bytes, model_bytes_on_device};
pub use good_images::{AfterImage, BankReport, PromptCheck, ReportedPrompt};
pub use late::{Deadline, Late};
pub use latency::Latencies;
pub use looks::Looks;
pub use multi_bank::MultiBankScorer;
pub use multi_builder::MultiBankBuilder;
pub use multi_method::MultiMethodScorer;
pub use pipeline::{HostFeatures, Pipeline, StageTimes};
pub use roi_scorer::{Inspection, RoiScorer};
pub use score::{AnomalyMap, Score};
pub use scorer::Scorer;
pub use shared::{BankSpec, Device, Engine, EngineOptions, SCORING_COPIES};
pub use shared_bank::SharedBank;
pub use verdict::{Decision, Reason, Region, Verdict};
