//! `inctrl eval`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use inctrl::Fit;
use inctrl_lab::datasets;
use inctrl_lab::evaluation::{self, Draws, Options};
use inctrl_lab::report::markdown;
use inctrl_lab::study::{self, Event};

use super::Outcome;
use super::console::{Progress, result, say};
use super::data::{LayoutArgs, list_faults, say_problems};
use super::maps::create_folder;
use super::method::MethodArgs;
use super::model::ModelArgs;
use super::normals::{FIT_HELP, parse_fit};

/// Evaluate a method on a data set as in the papers: several draws of the prompts, mean and standard deviation
#[derive(clap::Args)]
#[command(after_help = "\
Prompts are drawn from normal training images only. Each image is encoded once, for any
number of shots and runs. OUT gets report.html, results.json, results.csv, results.md,
scores.csv, prompts.json and journal.jsonl. A run that was killed continues where it stopped if it
is started again with the same arguments. A method without prompts (winclip-zero) has one run of 0 shots.

Faults, as in inctrl data check, such as an image that cannot be used or that is both in the training
and the test set, are listed here and in the report. The exit code is then 2.

Examples:
  inctrl eval --weights W.safetensors --dataset mvtec/ -o results/
  inctrl eval --weights W.safetensors --dataset elpv/ --shots 8 --prompts results/prompts.json -o again/
  inctrl eval --weights dinov2.safetensors --method anomaly-dino --dataset mvtec/ --shots 1,2,4 -o dino/")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The data set's folder; see inctrl data check
    #[arg(long, value_name = "DIR")]
    dataset: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Numbers of prompts
    #[arg(long, value_name = "K,..", value_delimiter = ',', default_value = "2,4,8")]
    shots: Vec<NonZeroUsize>,
    /// Independent draws of the prompts
    #[arg(long, value_name = "N", default_value = "3")]
    runs: NonZeroUsize,
    #[command(flatten)]
    method: MethodArgs,
    /// Only these classes
    #[arg(long, value_name = "CLASS,..", value_delimiter = ',')]
    classes: Vec<String>,
    #[arg(long, value_name = "FIT", help = FIT_HELP, value_parser = parse_fit)]
    fit: Option<Fit>,
    /// Longest side of maps and masks for pixel metrics; 0 for the images' own size, which is slow
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    mask_side: usize,
    /// prompts.json of an earlier run, to use the same draws
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// The folder for the results
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

pub fn run(args: Args) -> Result<Outcome> {
    let progress = Progress::new();
    progress.step("looking for images");
    let dataset = args.layout.open(&args.dataset)?;
    let options = Options {
        shots: args.shots.iter().map(|shots| shots.get()).collect(),
        runs: args.runs.get(),
        seed: args.layout.seed,
        spec: args.method.spec(None, args.fit),
        classes: args.classes,
        mask_side: args.mask_side,
        draws: args.prompts.as_deref().map(Draws::read).transpose()?,
    };
    let classes = options.classes(&dataset)?;
    let count = dataset.items.iter().filter(|item| classes.contains(&item.class.as_str())).count();
    progress.count(count, "images checked");
    let checked = datasets::check(&dataset, &classes, || progress.advance());
    create_folder(&args.output)?;
    progress.step("opening the model");
    let engine = args.model.open()?;
    let results = study::run(&engine, &dataset, &checked, options, &args.output, |event| {
        match event {
            Event::Prompts => progress.step("drawing prompts"),
            Event::Images(evaluation::Event::Images(total)) => progress.count(total, "images encoded"),
            Event::Images(evaluation::Event::Done) => progress.advance(),
            Event::Metrics => progress.step("computing metrics"),
            Event::Report => progress.step("writing the report"),
        }
        Ok(())
    });
    drop(progress);
    // What is wrong with the data set may be why it cannot be evaluated.
    let results = results.map_err(|error| anyhow!("{}{}", error.chain(), list_faults(&checked.problems)))?;
    result(markdown(&results).trim_end())?;
    say(&format!("report: {}", args.output.join("report.html").display()));
    for leak in &results.leaks {
        say(&format!("warning: {leak}"));
    }
    let faults = say_problems(&dataset, &results.problems, "the report");
    let is_class = |name: &str| classes.contains(&name);
    let (left_out, images): (Vec<_>, Vec<_>) = results.failures.iter().partition(|failure| is_class(&failure.name));
    left_out.iter().for_each(|class| say(&format!("error: not evaluated: {}", class.error)));
    if !images.is_empty() {
        say(&format!("error: {} images could not be used; the report lists them", images.len()));
    }
    if faults == 0 && results.failures.is_empty() {
        return Ok(Outcome::Done);
    }
    Ok(Outcome::SomeInputsFailed)
}
