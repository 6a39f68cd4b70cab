//! `inctrl convert`.

use std::path::PathBuf;

use anyhow::Result;
use inctrl::checkpoint::{ConvertOptions, convert};

use super::Outcome;
use super::console::{Progress, result, say};
use super::weights::DTypeName;

/// Convert a checkpoint of CLIP, DINOv2 or a ResNet (PyTorch, open_clip, Hugging Face, timm, OpenAI) to a safetensors
/// file for --weights
#[derive(clap::Args)]
#[command(after_help = "\
Nothing in the checkpoint is executed: anything but plain weights is refused.

Examples:
  inctrl convert InCTRL.pyth --config ViT-B-16-plus-240.json -o W.safetensors
  inctrl convert clip.pt --heads InCTRL.pyth --dtype f16 -o W.safetensors
  inctrl convert dinov2_vits14_reg4_pretrain.pth -o W.safetensors")]
pub struct Args {
    /// A checkpoint: .pt, .pth, .pyth, .bin or .safetensors, the .index.json of several files, or a folder
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// A checkpoint with InCTRL's adapter and scoring heads, if SRC has none; its other tensors are ignored
    #[arg(long, value_name = "SRC2")]
    heads: Option<PathBuf>,
    /// The model's JSON, of open_clip, Hugging Face or this program [default: SRC's own name with .json,
    /// open_clip_config.json or config.json beside SRC, or inferred from the tensors]
    #[arg(long, value_name = "C")]
    config: Option<PathBuf>,
    /// Storage type of the output [default: that of SRC]
    #[arg(long, value_enum)]
    dtype: Option<DTypeName>,
    /// The file to write
    #[arg(short, long, value_name = "W")]
    output: PathBuf,
}

pub fn run(args: Args) -> Result<Outcome> {
    let Args { source, heads, config, dtype, output } = args;
    let progress = Progress::new();
    progress.step("reading the checkpoint");
    let options = ConvertOptions { source, heads, config, dtype: dtype.map(Into::into) };
    let mut started = false;
    let converted = convert(&options, &output, |done, total| {
        if !std::mem::replace(&mut started, true) {
            progress.bytes(total, "converted");
        }
        progress.bytes_done(done);
    })?;
    drop(progress);
    let (tensors, megabytes) = (converted.tensors, converted.bytes as f64 / 1e6);
    result(&format!("{}: {tensors} tensors, {megabytes:.1} MB\n{}", output.display(), converted.arch))?;
    for note in &converted.notes {
        say(&format!("note: {note}"));
    }
    if !converted.heads && converted.arch.text.is_some() {
        say("note: this is a CLIP model without InCTRL's heads; the method inctrl needs them (--heads FILE)");
    }
    Ok(Outcome::Done)
}
