//! `inctrl bank`: build, append, info. `calibrate.rs` has calibrate and report.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use inctrl::view::Tiling;
use inctrl::{Fit, PromptBank, WhiteLevel};
use serde::Serialize;

use super::console::{Progress, result, say};
use super::depth::DepthArgs;
use super::method::MethodArgs;
use super::model::ModelArgs;
use super::normals::{self, CLASS_HELP, FIT_HELP, parse_fit};
use super::{Outcome, calibrate};

/// Build and inspect banks: the normal images of a class, encoded once
#[derive(Subcommand)]
pub enum Command {
    Build(BuildArgs),
    Append(AppendArgs),
    Info(InfoArgs),
    Calibrate(calibrate::CalibrateArgs),
    Report(calibrate::ReportArgs),
}

/// Encode the normal images of a class into a file
#[derive(clap::Args)]
#[command(after_help = "\
If an image is bad, nothing is written.

Examples:
  inctrl bank build --weights W.safetensors --class 'metal nut' --normals good/ -o nut.bank
  inctrl bank build --weights W.safetensors --class candle --normals candle.pt -o candle.bank
  inctrl bank build --weights dinov2.safetensors --method anomaly-dino --normals good/ -o nut.bank
  inctrl bank build --weights clip.safetensors --method winclip-zero --class 'metal nut' -o nut.bank
  inctrl bank build --weights dinov2.safetensors --method anomaly-dino --normals good/ --defect-size 20 -o nut.bank
  inctrl bank build --weights dinov2.safetensors --method padim --normals good/ --tile 448 --overlap 56 --scale 0.5 -o nut.bank")]
pub struct BuildArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    method: MethodArgs,
    #[arg(long, value_name = "NAME", help = CLASS_HELP)]
    class: Option<String>,
    /// Normal images, folders of them (without their subfolders), or few-shot prompt lists of PyTorch (.pt). Only the
    /// method winclip-zero needs none
    #[arg(long, value_name = "PATH", num_args = 1.., required_unless_present = "method")]
    normals: Vec<PathBuf>,
    #[arg(long, value_name = "FIT", help = FIT_HELP, value_parser = parse_fit)]
    fit: Option<Fit>,
    #[command(flatten)]
    depth: DepthArgs,
    /// The bank's file
    #[arg(short, long, value_name = "B")]
    output: PathBuf,
}

/// Add normal images to a bank
#[derive(clap::Args)]
#[command(after_help = "\
If an image is bad, the bank does not change.

With --max-rows the bank has a cap: of the images that were appended under a cap, the oldest leaves first, with all its
rows; all others stay. Thresholds do not carry over, as scores change. --keep-thresholds keeps them for anomaly-dino,
whose scores can only fall, so no more good parts are rejected than before. The images that the bank had when it was
calibrated then stay, too.

Examples:
  inctrl bank append --weights W.safetensors --bank nut.bank --normals new.png
  inctrl bank append --weights W.safetensors --bank nut.bank --normals new.png --max-rows 32768 --keep-thresholds")]
pub struct AppendArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The bank to add to
    #[arg(long, value_name = "B")]
    bank: PathBuf,
    /// Normal images, folders of them (without their subfolders), or few-shot prompt lists of PyTorch (.pt)
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    normals: Vec<PathBuf>,
    #[command(flatten)]
    depth: DepthArgs,
    /// The most rows that the bank may have: the patches of the views of all its images
    #[arg(long, value_name = "N")]
    max_rows: Option<NonZeroUsize>,
    /// Keep the thresholds of the bank; only for anomaly-dino, whose scores can only fall when a bank gets more images
    #[arg(long)]
    keep_thresholds: bool,
    /// The file for the longer bank [default: B is replaced]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

/// Show the content of a bank
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  inctrl bank info nut.bank")]
pub struct InfoArgs {
    /// The bank's file
    #[arg(value_name = "B")]
    bank: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: InfoFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum InfoFormat {
    Text,
    Json,
}

pub fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Build(args) => build(args)?,
        Command::Append(args) => append(args)?,
        Command::Calibrate(args) => calibrate::calibrate(args)?,
        Command::Report(args) => calibrate::report(args)?,
        Command::Info(args) => {
            let bank = PromptBank::open(&args.bank)?;
            match args.format {
                InfoFormat::Text => tell(&args.bank, &bank)?,
                InfoFormat::Json => result(&serde_json::to_string(&Info::of(&bank))?)?,
            }
        }
    }
    Ok(Outcome::Done)
}

fn build(args: BuildArgs) -> Result<()> {
    let progress = Progress::new();
    normals::given(&args.normals, &args.method)?;
    let files = normals::list(&args.normals, &progress)?;
    progress.step("opening the model");
    let engine = args.model.open()?;
    progress.step("beginning the bank");
    let builder = engine.bank_builder_of(&args.method.spec(args.class.as_deref(), args.fit))?;
    let bank = normals::finish(builder, &files, args.depth.white_level, &[], &progress)?;
    bank.save(&args.output)?;
    drop(progress);
    tell(&args.output, &bank)
}

fn append(args: AppendArgs) -> Result<()> {
    let progress = Progress::new();
    let files = normals::list(&args.normals, &progress)?;
    let bank = PromptBank::open(&args.bank)?;
    progress.step("opening the model");
    let engine = args.model.open()?;
    let mut builder = engine.append_to(&bank).with_context(|| args.bank.display().to_string())?;
    args.max_rows.map_or(Ok(()), |most| builder.limit_rows(most.get()))?;
    if args.keep_thresholds {
        builder.keep_limits().with_context(|| args.bank.display().to_string())?;
    }
    let longer = normals::finish(builder, &files, args.depth.white_level, bank.prompt_hashes(), &progress)?;
    let output = args.output.unwrap_or(args.bank);
    longer.save(&output)?;
    drop(progress);
    let left = bank.prompt_hashes().iter().filter(|hash| !longer.prompt_hashes().contains(hash)).count();
    if left > 0 {
        say(&format!("note: {left} of the images that were appended earlier left the bank because of --max-rows"));
    }
    if bank.thresholds().is_some() && longer.thresholds().is_none() {
        say("note: thresholds do not carry over to the longer bank: calibrate it again");
    }
    tell(&output, &longer)
}

/// Facts about a bank.
#[derive(Serialize)]
struct Info<'a> {
    id: &'a str,
    class: &'a str,
    fit: Fit,
    model: &'a str,
    method: &'a str,
    /// Values of the method's options.
    options: BTreeMap<&'static str, String>,
    /// How images are cut into tiles; null where each is one view.
    tiling: Option<&'a Tiling>,
    /// Shape of each tensor of the method.
    tensors: BTreeMap<&'static str, Vec<usize>>,
    /// How many positions of a tile have such tensors of their own; 1 where all share them.
    positions: usize,
    bytes: usize,
    /// Rows of all prompts, which a cap limits.
    rows: usize,
    duplicates: usize,
    prompts: &'a [String],
    /// Prompts that were appended under a cap on rows, oldest first.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    appended: &'a [String],
    /// Share of each prompt's area that the fit cuts off; empty if nothing is cut off.
    unseen: Vec<f64>,
    /// The largest white level declared for the prompts.
    white_level: Option<u16>,
}

impl<'a> Info<'a> {
    fn of(bank: &'a PromptBank) -> Self {
        let sizes = bank.info();
        Info {
            id: bank.id(),
            class: bank.class(),
            fit: bank.fit(),
            model: bank.model_hash(),
            method: bank.method(),
            options: bank.options().texts().collect(),
            tiling: bank.tiling(),
            positions: sizes.positions,
            tensors: sizes.tensors.into_iter().collect(),
            bytes: sizes.bytes,
            duplicates: sizes.duplicates,
            prompts: bank.prompt_hashes(),
            rows: bank.rows(),
            appended: bank.appended(),
            unseen: bank.unseen().collect(),
            white_level: bank.white_level().map(WhiteLevel::get),
        }
    }
}

fn tell(path: &Path, bank: &PromptBank) -> Result<()> {
    let Info {
        id,
        class,
        fit,
        model,
        method,
        tiling,
        tensors,
        positions,
        bytes,
        duplicates,
        prompts,
        unseen,
        white_level,
        ..
    } = Info::of(bank);
    let options = bank.options().to_string();
    let options = if options.is_empty() { options } else { format!("\n  options  {options}") };
    // Tiles take the place of the fit.
    let looked_at = tiling.map_or_else(
        || format!("fit      {fit}"),
        |tiling| {
            let defect = tiling.defect.map(|defect| format!(", for defects of {defect} pixels")).unwrap_or_default();
            format!("tiles    {tiling}{defect}")
        },
    );
    let each = if positions > 1 { format!(" in the first of {positions} positions") } else { String::new() };
    // Methods that do not read the class leave it empty.
    let class = if class.is_empty() { String::new() } else { format!("\n  class    {class}") };
    let extents = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
    let tensors: Vec<String> = tensors.iter().map(|(name, shape)| format!("{name} {}", extents(shape))).collect();
    let copies = if duplicates > 0 { format!(", {duplicates} of them copies of others") } else { String::new() };
    let mut text = format!(
        "{}: bank {id}\n  method   {method}{options}{class}\n  {looked_at}\n  model    {model}\n  tensors  {}{each}: {:.1} MB\n  prompts  {}{copies}",
        path.display(),
        tensors.join(", "),
        bytes as f64 / 1e6,
        prompts.len()
    );
    for (k, hash) in prompts.iter().enumerate() {
        text.push_str("\n    ");
        text.push_str(hash);
        if let Some(unseen) = unseen.get(k).filter(|unseen| **unseen > 0.0) {
            text.push_str(&format!("  {:.0} % of it cut off", 100.0 * unseen));
        }
    }
    if let Some(level) = white_level {
        text.push_str(&format!("\n  white    {level}"));
    }
    if !unseen.is_empty() {
        let mean = 100.0 * unseen.iter().sum::<f64>() / unseen.len() as f64;
        text.push_str(&format!(
            "\n  unseen   {mean:.0} % of the area of all prompts: fit {fit} leaves it out, also in queries; {}",
            fit.remedy()
        ));
    }
    result(&text)
}
