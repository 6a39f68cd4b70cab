//! `inctrl weights`: inspect, random.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use inctrl::Error;
use inctrl::tensor::DType;
use inctrl::weights::{Arch, LoadOptions, inspect, random};

use super::Outcome;
use super::console::{Progress, result};

/// Inspect model files, or make a random one for tests
#[derive(Subcommand)]
pub enum Command {
    Inspect(InspectArgs),
    Random(Box<RandomArgs>),
}

/// Report on a model: files, architecture, size, and every problem; exit code 1 if it cannot be used
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  inctrl weights inspect clip.safetensors --heads heads.safetensors")]
pub struct InspectArgs {
    /// A safetensors file
    #[arg(value_name = "W")]
    weights: PathBuf,
    /// InCTRL's adapter and scoring heads, if the weights file has none
    #[arg(long, value_name = "H")]
    heads: Option<PathBuf>,
    /// The model's JSON: open_clip's, or one with "family": "dinov2" or "resnet"
    #[arg(long, value_name = "C")]
    config: Option<PathBuf>,
}

/// Write a model with random weights, for benchmarks and tests; its scores have no meaning
#[derive(clap::Args)]
#[command(after_help = "\
The same arguments give the same file on every machine.

Example:
  inctrl weights random --arch vit-b-16-plus-240 --seed 1 -o W.safetensors
  inctrl weights random --arch dinov2-vit-s-14-reg4 -o W.safetensors
  inctrl weights random --arch wide-resnet50-2 -o W.safetensors")]
pub struct RandomArgs {
    #[command(flatten)]
    arch: ArchArgs,
    /// Another seed gives other weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Storage type of the weights
    #[arg(long, value_enum, default_value = "f32")]
    dtype: DTypeName,
    /// Plant outliers as trained models have them: massive activations at a few tokens, channels with large gains of
    /// norms
    #[arg(long)]
    outliers: bool,
    /// The file to write
    #[arg(short, long, value_name = "W")]
    output: PathBuf,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct ArchArgs {
    #[arg(long, value_name = "NAME", value_parser = parse_arch, help = arch_help())]
    arch: Option<Arch>,
    /// A model's JSON instead of a name: open_clip's, with {"inctrl": {"taps": [..], "alpha": 1}}, or {"family":
    /// "dinov2", "image_size": 518, "patch_size": 14, "width": 384, "layers": 12, "registers": 4, "mlp": "gelu"}
    #[arg(long, value_name = "C")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum DTypeName {
    F32,
    F16,
    Bf16,
}

impl From<DTypeName> for DType {
    fn from(name: DTypeName) -> DType {
        match name {
            DTypeName::F32 => DType::F32,
            DTypeName::F16 => DType::F16,
            DTypeName::Bf16 => DType::Bf16,
        }
    }
}

fn arch_help() -> String {
    format!("The architecture: {}", Arch::names().join(", "))
}

fn parse_arch(name: &str) -> Result<Arch, String> {
    Arch::named(name).ok_or_else(|| {
        format!("known architectures are {}; describe any other in a file, see --config", Arch::names().join(", "))
    })
}

pub fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Inspect(args) => {
            let InspectArgs { weights, heads, config } = args;
            let report = inspect(&LoadOptions { weights: weights.clone(), heads, config })?;
            result(&report.to_string())?;
            if !report.problems.is_empty() {
                bail!("{}: the model cannot be used", weights.display());
            }
        }
        Command::Random(args) => {
            let args = *args;
            let arch = args.arch.read()?;
            let progress = Progress::new();
            progress.step("writing random weights");
            let write = if args.outliers { random::write_with_outliers } else { random::write };
            write(&args.output, &arch, args.seed, args.dtype.into())?;
        }
    }
    Ok(Outcome::Done)
}

impl ArchArgs {
    /// clap ensures that one of the two is present.
    fn read(self) -> Result<Arch> {
        match (self.arch, self.config) {
            (Some(arch), _) => Ok(arch),
            (None, Some(path)) => {
                let text = fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
                Ok(Arch::from_json(&text).map_err(|error| error.at(&path))?)
            }
            (None, None) => bail!("--arch or --config is needed"),
        }
    }
}
