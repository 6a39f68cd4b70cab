//! The arguments that name a model and the machine it runs on.

use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::ValueEnum;
use inctrl::{Device, Engine, EngineOptions, Precision};

use super::console::say;

#[derive(clap::Args)]
pub struct ModelArgs {
    /// The model: a safetensors file with InCTRL's heads, or a CLIP model whose heads are given with --heads
    #[arg(long, value_name = "W")]
    pub weights: PathBuf,
    /// The adapter and scoring heads, where the weights file has none
    #[arg(long, value_name = "H")]
    heads: Option<PathBuf>,
    /// open_clip's model JSON, with {"inctrl": {"taps": [..], "alpha": 1}}; without it, W's own name with .json or
    /// config.json beside W, else W's metadata, else what the shapes of its tensors tell
    #[arg(long, value_name = "C")]
    config: Option<PathBuf>,
    /// Where to run [default: auto, the first GPU if one can be used, else the processor]
    #[arg(long, value_name = "auto|cpu|cuda:N")]
    device: Option<Device>,
    /// Arithmetic of a GPU: half precision, or single precision for diagnosis
    #[arg(long, value_enum, default_value = "f16", value_name = "f16|f32", hide_possible_values = true)]
    precision: PrecisionName,
    /// Let a GPU choose its algorithms for each batch size: faster, but scores then depend on the batch in their last bits
    #[arg(long)]
    fast: bool,
    /// A table of a GPU's algorithms, from `inctrl tune`
    #[arg(long, value_name = "FILE")]
    algorithms: Option<PathBuf>,
    /// Threads that compute, in all, and at least one for each job; by default one for each core
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum PrecisionName {
    F16,
    F32,
}

impl ModelArgs {
    /// How to open the model; all its scorers share the threads.
    pub fn options(&self) -> EngineOptions {
        let mut options = EngineOptions::new(&self.weights);
        options.weights.heads.clone_from(&self.heads);
        options.weights.config.clone_from(&self.config);
        options.device = self.device.unwrap_or_default();
        options.precision = match self.precision {
            PrecisionName::F16 => Precision::F16,
            PrecisionName::F32 => Precision::F32,
        };
        options.fast = self.fast;
        options.algorithms.clone_from(&self.algorithms);
        options.threads = self.threads;
        options
    }

    /// Opens the model.
    pub fn open(&self) -> inctrl::Result<Engine> {
        let engine = Engine::with(&self.options())?;
        self.say_device(&engine);
        Ok(engine)
    }

    /// Says which device it became.
    pub fn say_device(&self, engine: &Engine) {
        // Asked for by name, or somebody is looking: which device it became, and why.
        if self.device == Some(Device::Auto) || io::stderr().is_terminal() {
            let reason = engine.device_reason();
            say(&format!("device: {}{}{reason}", engine.device(), if reason.is_empty() { "" } else { "; " }));
        }
    }
}
