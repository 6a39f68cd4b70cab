//! `inctrl data`: check.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use inctrl_lab::datasets::{self, Dataset, Layout, Problem, Report, read_text};

use super::Outcome;
use super::console::{Progress, result, say};
use super::depth::DepthArgs;

/// Faults of a data set that other commands name; for all there is `inctrl data check`.
const SHOWN: usize = 20;

/// Look at data sets
#[derive(Subcommand)]
pub enum Command {
    Check(CheckArgs),
}

/// Say what a data set holds and what is wrong with it, file by file; exit code 2 where something is missing or unusable
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  inctrl data check mvtec/")]
pub struct CheckArgs {
    /// The data set's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    /// How it is written
    #[arg(long, value_enum, default_value = "text")]
    format: CheckFormat,
}

/// How a data set lies on disk.
#[derive(clap::Args)]
pub struct LayoutArgs {
    #[arg(long, value_name = "LAYOUT", help = layout_help(), value_parser = parse_layout, default_value = "auto")]
    layout: Choice,
    /// Decides which normal images are for testing where the layout does not say, and which are drawn as prompts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// What text prompts call the classes, as JSON: {"pcb1": "printed circuit board"}; by default their names
    #[arg(long, value_name = "FILE")]
    class_texts: Option<PathBuf>,
    #[command(flatten)]
    depth: DepthArgs,
}

/// A layout, or whichever is there.
#[derive(Clone, Copy)]
enum Choice {
    Auto,
    Layout(Layout),
}

#[derive(Clone, Copy, ValueEnum)]
enum CheckFormat {
    Text,
    Json,
}

fn layout_help() -> String {
    format!("How the files lie: auto, {}", Layout::ALL.map(Layout::name).join(", "))
}

fn parse_layout(text: &str) -> Result<Choice, String> {
    match text {
        "auto" => Ok(Choice::Auto),
        name => name.parse().map(Choice::Layout).map_err(|error: inctrl::Error| error.to_string()),
    }
}

impl LayoutArgs {
    /// Looks through a data set.
    pub fn open(&self, folder: &PathBuf) -> Result<Dataset> {
        let layout = match self.layout {
            Choice::Auto => None,
            Choice::Layout(layout) => Some(layout),
        };
        let mut dataset = Dataset::open(folder, layout, self.seed)?;
        dataset.set_white_level(self.depth.white_level);
        if let Some(path) = &self.class_texts {
            let text = read_text(path)?;
            let texts = serde_json::from_str(&text)
                .with_context(|| format!("{} is not a JSON object of classes and their words", path.display()))?;
            dataset.describe(texts).with_context(|| path.display().to_string())?;
        }
        Ok(dataset)
    }
}

pub fn run(command: Command) -> Result<Outcome> {
    let Command::Check(args) = command;
    let progress = Progress::new();
    progress.step("looking for images");
    let dataset = args.layout.open(&args.folder)?;
    progress.count(dataset.items.len(), "images checked");
    let report = datasets::check(&dataset, &[], || progress.advance());
    drop(progress);
    result(&match args.format {
        CheckFormat::Text => text(&dataset, &report),
        CheckFormat::Json => serde_json::to_string(&Found { layout: dataset.layout, report: &report })?,
    })?;
    let faulty = report.problems.iter().any(|problem| problem.fault);
    Ok(if faulty { Outcome::SomeInputsFailed } else { Outcome::Done })
}

/// Says the first faults of a data set, what is remarkable of it as a whole, and how many remarks there are, all of which are in
/// `whole`. The number of faults.
pub fn say_problems(dataset: &Dataset, problems: &[Problem], whole: &str) -> usize {
    let (faults, remarks): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.fault);
    faults.iter().take(SHOWN).for_each(|fault| say(&format!("fault: {fault}")));
    if faults.len() > SHOWN {
        say(&format!("and {} more faults; {whole} names them", faults.len() - SHOWN));
    }
    remarks.iter().filter(|remark| remark.path == dataset.root).for_each(|remark| say(&format!("note: {remark}")));
    if !remarks.is_empty() {
        say(&format!("note: remarks on the data set, in {whole}: {}", remarks.len()));
    }
    faults.len()
}

#[derive(serde::Serialize)]
struct Found<'a> {
    layout: Layout,
    #[serde(flatten)]
    report: &'a Report,
}

fn text(dataset: &Dataset, report: &Report) -> String {
    let width = report.classes.iter().map(|counts| counts.class.chars().count()).max().unwrap_or(0).max("class".len());
    let mut text = format!(
        "{}: layout {}\n{:<width$}  {:>6}  {:>11}  {:>14}  {:>5}",
        dataset.root.display(),
        dataset.layout,
        "class",
        "train",
        "test normal",
        "test anomalous",
        "masks"
    );
    for c in &report.classes {
        text +=
            &format!("\n{:<width$}  {:>6}  {:>11}  {:>14}  {:>5}", c.class, c.train, c.normal, c.anomalous, c.masks);
    }
    for problem in &report.problems {
        text += &format!("\n{}: {problem}", if problem.fault { "fault" } else { "remark" });
    }
    let faults = report.problems.iter().filter(|problem| problem.fault).count();
    text + &format!("\n{faults} faults, {} remarks", report.problems.len() - faults)
}
