//! `inctrl tune`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use inctrl::Device;
use inctrl::backend::Backend;
use inctrl::backend::cuda::{Cuda, CudaOptions};
use inctrl::encoder::Vision;
use inctrl::weights::{LoadOptions, Weights};

use super::Outcome;
use super::console::{Progress, result};

/// Measure which of cuBLASLt's algorithms is fastest for each layer of a model on this GPU, for --algorithms
#[derive(clap::Args)]
#[command(after_help = "\
Only algorithms whose results do not depend on the batch are measured. Without a table the
library's first choice among them is used, which is the same at every start.

Example:
  inctrl tune --weights W.safetensors -o h200.json
  inctrl score --weights W.safetensors --algorithms h200.json --bank nut.bank incoming/")]
pub struct Args {
    /// The model, as for inctrl score
    #[arg(long, value_name = "W")]
    weights: PathBuf,
    /// The GPU
    #[arg(long, default_value = "cuda:0", value_name = "cuda:N")]
    device: Device,
    /// Batch sizes to measure, with equal weight
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1,8,64")]
    batches: Vec<usize>,
    /// The table to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Do not measure: write the library's own preferences for each layer and batch, best first
    #[arg(long)]
    list: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let Device::Cuda(ordinal) = args.device else { bail!("only GPUs can be tuned: give --device cuda:N") };
    if args.batches.iter().any(|batch| !(1..=1024).contains(batch)) {
        bail!("--batches: each must be from 1 to 1024");
    }
    let progress = Progress::new();
    progress.step("opening the model");
    let weights = Weights::open(&LoadOptions { weights: args.weights, heads: None, config: None })?;
    let mut cuda = Cuda::new(ordinal, CudaOptions::default())?;
    cuda.check_arch(weights.arch())?;
    // Loading fixes an algorithm for every shape of the model; these shapes are measured.
    let _encoder = Vision::load(&mut cuda, &weights)?;
    let vision = &weights.arch().vision;
    // Most of a ResNet's layers are in its third stage, whose cells have 16 pixels.
    let cells = || vision.image_size.div_ceil(16).pow(2);
    let tokens = if vision.resnet.is_some() { cells() } else { vision.tokens() };
    let rows: Vec<usize> = args.batches.iter().map(|batch| batch * tokens).collect();
    if args.list {
        // Single rows too: the class token in the last block.
        let rows: Vec<usize> = args.batches.iter().copied().chain(rows).collect();
        let found = cuda.preferences(&rows, 8)?;
        drop(progress);
        inctrl_lab::measure::write_report(
            &args.output,
            &serde_json::json!({"device": cuda.describe(), "preferences": found}),
        )?;
        result(&cuda.describe())?;
        for p in found.iter().filter(|p| p.place == 0) {
            let [id, tile, stages, split] =
                [p.id, p.tile, p.stages, p.split].map(|x| x.map_or("-".to_owned(), |x| x.to_string()));
            result(&format!(
                "{}, {} rows: algorithm {id}, tile {tile}, stages {stages}, split {split}{}",
                p.shape,
                p.rows,
                if p.usable { "" } else { "; not for every batch" }
            ))?;
        }
        return Ok(Outcome::Done);
    }
    progress.step("measuring");
    let mut lines = Vec::new();
    cuda.tune(&rows, &args.output, |tuned| {
        let times = |times: &[f32]| times.iter().map(|t| format!("{t:.1}")).collect::<Vec<_>>().join(" / ");
        lines.push(format!(
            "{}: {} us, the library's choice {} us, of {} algorithms",
            tuned.shape,
            times(&tuned.chosen),
            times(&tuned.first),
            tuned.candidates
        ));
    })?;
    drop(progress);
    result(&cuda.describe())?;
    for line in lines {
        result(&line)?;
    }
    Ok(Outcome::Done)
}
