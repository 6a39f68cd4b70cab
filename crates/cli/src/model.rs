//! The arguments for the model and the device.

use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use inctrl::{Device, Engine, EngineOptions, Precision};

use super::console::say;

#[derive(clap::Args)]
pub struct ModelArgs {
    /// The model: a safetensors file of a DINOv2 encoder, a ResNet, a CLIP model with InCTRL's heads, or a CLIP model
    /// with the heads in --heads or without heads
    #[arg(long, value_name = "W")]
    pub weights: PathBuf,
    /// InCTRL's adapter and scoring heads, if the weights file has none
    #[arg(long, value_name = "H")]
    heads: Option<PathBuf>,
    /// The model's JSON: open_clip's, with {"inctrl": {"taps": [..], "alpha": 1}}, or one with "family": "dinov2" or
    /// "resnet"
    /// [default: W's own name with .json or config.json beside W, W's metadata, or inferred from the tensors' shapes]
    #[arg(long, value_name = "C")]
    config: Option<PathBuf>,
    /// Where to run [default: auto, the first GPU if one can be used, otherwise the CPU]
    #[arg(long, value_name = "auto|cpu|cuda:N")]
    device: Option<Device>,
    /// The arithmetic: f16 or f32 on a GPU; f32 on the CPU, or bf16 with AVX512-BF16, or int8 with VNNI [default: f16
    /// on a GPU, f32 on the CPU]
    #[arg(long, value_name = "f32|f16|bf16|int8")]
    pub precision: Option<Precision>,
    /// Let a GPU choose its algorithms for each batch size: faster, but the last bits of scores then depend on the
    /// batch
    #[arg(long)]
    fast: bool,
    /// A table of GPU algorithms, from `inctrl tune`
    #[arg(long, value_name = "FILE")]
    algorithms: Option<PathBuf>,
    /// Total number of computing threads, but at least one per job [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl ModelArgs {
    /// How to open the model; all its scorers share the threads.
    pub fn options(&self) -> EngineOptions {
        self.options_of(&self.weights)
    }

    /// How to open the model in `weights` instead of `--weights`.
    pub fn options_of(&self, weights: &Path) -> EngineOptions {
        let mut options = EngineOptions::new(weights);
        options.weights.heads.clone_from(&self.heads);
        options.weights.config.clone_from(&self.config);
        options.device = self.device.unwrap_or_default();
        options.precision = self.precision;
        options.fast = self.fast;
        options.algorithms.clone_from(&self.algorithms);
        options.threads = self.threads;
        options
    }

    /// Whether arguments name files that belong to one model alone.
    pub fn names_parts(&self) -> bool {
        self.heads.is_some() || self.config.is_some()
    }

    /// Opens the model.
    pub fn open(&self) -> inctrl::Result<Engine> {
        let engine = Engine::with(&self.options())?;
        self.say_device(&engine);
        Ok(engine)
    }

    /// Reports the device in use.
    pub fn say_device(&self, engine: &Engine) {
        // Reports it if `auto` was given explicitly, or if a person is watching.
        if self.device == Some(Device::Auto) || io::stderr().is_terminal() {
            let reason = engine.device_reason();
            say(&format!("device: {}{}{reason}", engine.device(), if reason.is_empty() { "" } else { "; " }));
        }
    }
}
