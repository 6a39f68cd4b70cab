//! `inctrl data`: check.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use inctrl_lab::datasets::{self, Dataset, Layout, Problem, Report, read_text};

use super::Outcome;
use super::console::{Progress, result, say};
use super::depth::DepthArgs;

/// How many faults of a data set other commands print. `inctrl data check` prints all.
const SHOWN: usize = 20;

/// Check data sets
#[derive(Subcommand)]
pub enum Command {
    Check(CheckArgs),
}

/// Report the content of a data set and its problems, file by file; exit code 2 if something is missing or unusable
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
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: CheckFormat,
}

/// The layout of a data set on disk.
#[derive(clap::Args)]
pub struct LayoutArgs {
    #[arg(long, value_name = "LAYOUT", help = layout_help(), value_parser = parse_layout, default_value = "auto")]
    layout: Choice,
    /// Selects the normal images for testing, if the layout does not, and the prompts that are drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Words for the classes in text prompts, as JSON: {"pcb1": "printed circuit board"} [default: the classes' names]
    #[arg(long, value_name = "FILE")]
    class_texts: Option<PathBuf>,
    #[command(flatten)]
    depth: DepthArgs,
}

/// A layout, or automatic detection.
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
    format!("Layout of the files: auto, {}", Layout::ALL.map(Layout::name).join(", "))
}

fn parse_layout(text: &str) -> Result<Choice, String> {
    match text {
        "auto" => Ok(Choice::Auto),
        name => name.parse().map(Choice::Layout).map_err(|error: inctrl::Error| error.to_string()),
    }
}

impl LayoutArgs {
    /// Opens a data set.
    pub fn open(&self, folder: &PathBuf) -> Result<Dataset> {
        let layout = match self.layout {
            Choice::Auto => None,
            Choice::Layout(layout) => Some(layout),
        };
        let mut dataset = Dataset::open(folder, layout, self.seed)?;
        dataset.set_white_level(self.depth.white_level);
        if let Some(path) = &self.class_texts {
            dataset.describe(self.texts()?).with_context(|| path.display().to_string())?;
        }
        Ok(dataset)
    }

    /// Opens one of several data sets, in `layout` if it is given. Words for classes that others have are ignored.
    pub fn open_among_others(&self, folder: &PathBuf, layout: Option<Layout>) -> Result<Dataset> {
        let layout = match self.layout {
            Choice::Layout(chosen) => layout.or(Some(chosen)),
            Choice::Auto => layout,
        };
        let mut dataset = Dataset::open(folder, layout, self.seed)?;
        dataset.set_white_level(self.depth.white_level);
        let mut texts = self.texts()?;
        texts.retain(|class, _| dataset.classes().contains(&class.as_str()));
        dataset.describe(texts)?;
        Ok(dataset)
    }

    /// The words for classes, by class.
    pub fn texts(&self) -> Result<BTreeMap<String, String>> {
        let Some(path) = &self.class_texts else { return Ok(BTreeMap::new()) };
        serde_json::from_str(&read_text(path)?)
            .with_context(|| format!("{} is not a JSON object of classes and their words", path.display()))
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

/// Prints the first faults of a data set, remarks about the whole set, and the number of remarks. `whole` names where
/// all of them are. Returns the number of faults.
pub fn say_problems(dataset: &Dataset, problems: &[Problem], whole: &str) -> usize {
    let (faults, remarks): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.fault);
    faults.iter().take(SHOWN).for_each(|fault| say(&format!("fault: {fault}")));
    if faults.len() > SHOWN {
        say(&format!("and {} more faults, listed in {whole}", faults.len() - SHOWN));
    }
    remarks.iter().filter(|remark| remark.path == dataset.root).for_each(|remark| say(&format!("note: {remark}")));
    if !remarks.is_empty() {
        say(&format!("note: remarks on the data set, listed in {whole}: {}", remarks.len()));
    }
    faults.len()
}

/// The faults as further lines of an error.
pub fn list_faults(problems: &[Problem]) -> String {
    let faults: Vec<&Problem> = problems.iter().filter(|problem| problem.fault).collect();
    let mut list: String = faults.iter().take(SHOWN).map(|fault| format!("\nfault: {fault}")).collect();
    if faults.len() > SHOWN {
        list += &format!("\nand {} more faults, listed by inctrl data check", faults.len() - SHOWN);
    }
    list
}

#[derive(serde::Serialize)]
struct Found<'a> {
    layout: Layout,
    #[serde(flatten)]
    report: &'a Report,
}

fn text(dataset: &Dataset, report: &Report) -> String {
    let width = report.classes.iter().map(|counts| counts.class.chars().count()).max().unwrap_or(0).max("class".len());
    let known = report.known.map(|known| format!(", {known}")).unwrap_or_default();
    let mut text = format!(
        "{}: layout {}{known}\n{:<width$}  {:>6}  {:>11}  {:>14}  {:>5}",
        dataset.root.display(),
        dataset.layout,
        "class",
        "train",
        "test normal",
        "test anomalous",
        "masks"
    );
    if report.known.is_some() {
        text += "  published";
    }
    for c in &report.classes {
        text +=
            &format!("\n{:<width$}  {:>6}  {:>11}  {:>14}  {:>5}", c.class, c.train, c.normal, c.anomalous, c.masks);
        if let Some([train, normal, anomalous]) = c.published {
            text += &format!("  {train} + {normal} + {anomalous}");
        }
    }
    for problem in &report.problems {
        text += &format!("\n{}: {problem}", if problem.fault { "fault" } else { "remark" });
    }
    let faults = report.problems.iter().filter(|problem| problem.fault).count();
    text + &format!("\n{faults} faults, {} remarks", report.problems.len() - faults)
}
