//! `inctrl eval`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
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
use super::table;

/// Evaluate methods on data sets as in the papers: several draws of the prompts, mean and standard deviation
#[derive(clap::Args)]
#[command(after_help = "\
Prompts are drawn from normal training images only. Each image is encoded once, for any
number of shots and runs. OUT gets report.html, results.json, results.csv, results.md,
scores.csv, prompts.json and journal.jsonl. A run that was killed continues where it stopped if it
is started again with the same arguments. A method without prompts (winclip-zero) has one run of 0 shots.

With --datasets the result is one table of all methods, data sets and shots: table.html, .md, .csv,
.json and .tex in OUT, and the files of each evaluation in OUT/<data set>/<method>@<model>.
--weights then takes several models, separated by commas, each with a name before it or not:
clip=A.safetensors,dinov2=B.safetensors. Every method runs on every model that can serve it; a
method with a name behind it (patchcore@dinov2) runs on that model only. An option goes to
the methods that have it; one that none of them has is refused. More methods and data sets can be added later with the same OUT.
Methods of one model that look at images alike (the same size and fit) share each encoding.

Faults, as in inctrl data check, such as an image that cannot be used or that is both in the training
and the test set, are listed here and in the report. What cannot be evaluated is listed, and the others
are evaluated. The exit code is then 2.

Examples:
  inctrl eval --weights W.safetensors --dataset mvtec/ -o results/
  inctrl eval --weights W.safetensors --dataset elpv/ --shots 8 --prompts results/prompts.json -o again/
  inctrl eval --weights dinov2.safetensors --method anomaly-dino --dataset mvtec/ --shots 1,2,4 -o dino/
  inctrl eval --weights clip=A.safetensors,dinov2=B.safetensors --methods inctrl,winclip,patchcore@dinov2 \\
      --datasets mvtec/,visa/,mnist-multi=mnist/ -o table/")]
pub struct Args {
    #[command(flatten)]
    pub(super) model: ModelArgs,
    /// The data set's folder; see inctrl data check
    #[arg(long, value_name = "DIR", required_unless_present = "datasets")]
    dataset: Option<PathBuf>,
    /// Several data sets, for one table; a layout may be named for each
    #[arg(long, value_name = "[LAYOUT=]DIR,..", value_delimiter = ',', conflicts_with = "dataset")]
    pub(super) datasets: Vec<String>,
    #[command(flatten)]
    pub(super) layout: LayoutArgs,
    /// Numbers of prompts
    #[arg(long, value_name = "K,..", value_delimiter = ',', default_value = "2,4,8")]
    pub(super) shots: Vec<NonZeroUsize>,
    /// Independent draws of the prompts
    #[arg(long, value_name = "N", default_value = "3")]
    pub(super) runs: NonZeroUsize,
    #[command(flatten)]
    pub(super) method: MethodArgs,
    /// The methods of the table [default: all that the models can serve]
    #[arg(
        long,
        value_name = "NAME[@MODEL],..",
        value_delimiter = ',',
        requires = "datasets",
        conflicts_with = "method"
    )]
    pub(super) methods: Vec<String>,
    /// Only these classes
    #[arg(long, value_name = "CLASS,..", value_delimiter = ',', conflicts_with = "datasets")]
    classes: Vec<String>,
    #[arg(long, value_name = "FIT", help = FIT_HELP, value_parser = parse_fit)]
    pub(super) fit: Option<Fit>,
    /// Longest side of maps and masks for pixel metrics; 0 for the images' own size, which is slow
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    pub(super) mask_side: usize,
    /// prompts.json of an earlier run, to use the same draws
    #[arg(long, value_name = "FILE", conflicts_with = "datasets")]
    prompts: Option<PathBuf>,
    /// How the table is printed; all formats are in OUT [default: md]
    #[arg(long, value_enum, requires = "datasets")]
    pub(super) format: Option<Format>,
    /// Data sets of which the table's page shows no pictures, for instance because of their licence
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', requires = "datasets")]
    pub(super) without_pictures: Vec<String>,
    /// Most memory for the banks that images are scored against at once, in MB; with less, images are encoded more often
    /// [default: half of what is free]
    #[arg(long, value_name = "MB", requires = "datasets")]
    pub(super) bank_memory: Option<usize>,
    /// A sentence for the top of the table's page
    #[arg(long, value_name = "TEXT", requires = "datasets")]
    pub(super) note: Option<String>,
    /// The folder for the results
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: PathBuf,
}

/// How a table is printed.
#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    Md,
    Csv,
    Json,
    Latex,
}

pub fn run(args: Args) -> Result<Outcome> {
    let Some(folder) = &args.dataset else { return table::run(args) };
    let progress = Progress::new();
    progress.step("looking for images");
    let dataset = args.layout.open(folder)?;
    let options = Options {
        shots: args.shots.iter().map(|shots| shots.get()).collect(),
        runs: args.runs.get(),
        seed: args.layout.seed,
        spec: args.method.spec(None, args.fit),
        classes: args.classes,
        mask_side: args.mask_side,
        draws: args.prompts.as_deref().map(Draws::read).transpose()?,
        costs: false,
    };
    let classes = options.classes(&dataset)?;
    let count = dataset.items.iter().filter(|item| classes.contains(&item.class.as_str())).count();
    progress.count(count, "images checked");
    let checked = datasets::check(&dataset, &classes, || progress.advance());
    create_folder(&args.output)?;
    progress.step("opening the model");
    let engine = args.model.open()?;
    let study = study::run(&engine, &dataset, &checked, options, &args.output, |event| {
        match event {
            Event::Prompts => progress.step("drawing prompts"),
            Event::Images(evaluation::Event::Banks { .. }) => {}
            Event::Images(evaluation::Event::Images(total)) => progress.count(total, "images encoded"),
            Event::Images(evaluation::Event::Done) => progress.advance(),
            Event::Metrics => progress.step("computing metrics"),
            Event::Report => progress.step("writing the report"),
        }
        Ok(())
    });
    drop(progress);
    // What is wrong with the data set may be why it cannot be evaluated.
    let study = study.map_err(|error| anyhow!("{}{}", error.chain(), list_faults(&checked.problems)))?;
    let results = study.results;
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
