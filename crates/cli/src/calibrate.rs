//! `inctrl bank calibrate` and `inctrl bank report`: a bank against good images.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use inctrl::calibration::Source;
use inctrl::{BankReport, Frame, PromptBank, ReportedPrompt};
use inctrl_lab::normals::{GoodParts, Opened, distinct, open_all};
use inctrl_lab::render::{ColourScale, Tile, contact_sheet, write_png};
use serde::Serialize;

use super::console::{Progress, result, say};
use super::depth::DepthArgs;
use super::maps::DEFAULT_MAX;
use super::model::ModelArgs;
use super::normals::{self, say_near_copies};

/// Compute the thresholds of a bank from good images, and store them in it
#[derive(clap::Args)]
#[command(after_help = "\
Images that are not prompts of the bank are held out: with n of them, at most the given share of
good parts will be rejected, whatever the distribution of scores (split conformal prediction). If
all images are prompts, each is scored against the others, and the bound is only approximate.
A rate of 0.01 needs 99 images, 0.05 needs 19. Only distinct pictures count: copies, in any format, add
nothing. Near-copies, such as frames of a part at rest, do count; their share is reported.

The bank gets three limits: reject; review, for five times the rate; and cell, for the heat map.

Example:
  inctrl bank calibrate --weights W.safetensors --bank nut.bank --normals more_good/")]
pub struct CalibrateArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The bank to calibrate
    #[arg(long, value_name = "B")]
    bank: PathBuf,
    /// Good images, or folders of them (without their subfolders)
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    normals: Vec<PathBuf>,
    #[command(flatten)]
    depth: DepthArgs,
    /// The share of good parts that may be rejected
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    max_false_reject: f64,
    /// The file for the calibrated bank [default: B is replaced]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

/// Score each prompt of a bank against the others, to find odd prompts and parts of the object that the others do not
/// cover
#[derive(clap::Args)]
#[command(after_help = "\
The images must be the bank's prompts, which are recognised by their pixels; other images are
ignored. An outlier (*) may show a defect, or a kind of good part that needs more
prompts. The picture shows each prompt with its heat map against the others, and the mean map.

Example:
  inctrl bank report --weights W.safetensors --bank nut.bank --normals good/ --picture nut.png")]
pub struct ReportArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The bank
    #[arg(long, value_name = "B")]
    bank: PathBuf,
    /// The images that it was built from, or folders of them
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    normals: Vec<PathBuf>,
    #[command(flatten)]
    depth: DepthArgs,
    /// Write a picture (PNG) of the prompts and their heat maps
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: ReportFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReportFormat {
    Text,
    Json,
}

pub fn calibrate(args: CalibrateArgs) -> Result<()> {
    let progress = Progress::new();
    let bank = PromptBank::open_without_thresholds(&args.bank)?;
    let images = open_all(&normals::list(&args.normals, &progress)?, args.depth.white_level, &bank)?;
    let good = GoodParts::of(images);
    if good.prompts > 0 {
        progress.aside(|| say(&format!("note: {} images are prompts of the bank and do not count", good.prompts)));
    }
    // Refuses too few images before the slow opening of the model.
    good.enough(args.max_false_reject)?;
    progress.step("opening the model");
    let engine = args.model.open()?;
    progress.count(good.used.len(), "images scored");
    let calibrated = good.calibrate(&engine, &bank, args.max_false_reject, || {
        progress.advance();
        Ok(())
    });
    let calibrated = calibrated.with_context(|| args.bank.display().to_string())?;
    let output = args.output.unwrap_or(args.bank);
    calibrated.save(&output)?;
    drop(progress);
    if good.copies > 0 {
        say(&format!("note: {} images are copies of others, by their pixels, and do not count", good.copies));
    }
    say_near_copies(good.used.iter().map(|image| &image.thumbnail), "the bound counts each of them");
    if good.source == Source::LeaveOneOut {
        say("note: all images are prompts of the bank; each was scored against the others, and the bound is \
            approximate");
    }
    tell(&output, &calibrated)
}

fn tell(path: &Path, bank: &PromptBank) -> Result<()> {
    let (Some(calibration), Some(limits)) = (bank.calibration(), bank.thresholds()) else {
        bail!("{}: the bank has no calibration", path.display());
    };
    let kind = match calibration.source() {
        Source::HeldOut => "held-out images",
        Source::LeaveOneOut => "prompts, each against the others",
    };
    result(&format!(
        "{}: bank {}\n  calibrated on {} {kind}, at most {} false rejects\n  review  {:.4}\n  reject  {:.4}\n  cell  \
          {:.4}",
        path.display(),
        bank.id(),
        calibration.scores().len(),
        calibration.max_false_reject(),
        limits.review,
        limits.reject,
        limits.cell
    ))
}

/// A prompt's line.
#[derive(Serialize)]
struct PromptLine<'a> {
    path: String,
    hash: &'a str,
    score: f32,
    patch_max: f32,
    image_residual: Option<f32>,
    /// Whether the score is an outlier.
    outlier: bool,
}

/// A cell of the mean map.
#[derive(Serialize)]
struct CellLine {
    row: usize,
    column: usize,
    residual: f32,
}

#[derive(Serialize)]
struct Report<'a> {
    bank: &'a str,
    class: &'a str,
    prompts: Vec<PromptLine<'a>>,
    /// Side of the map in cells, if it is square.
    #[serde(skip_serializing_if = "Option::is_none")]
    grid: Option<usize>,
    /// Rows and columns of the map.
    grid_rows: usize,
    grid_cols: usize,
    /// The mean residual map of the prompts, row by row, over those whose map has the same rows and columns as the
    /// first one's.
    mean_map: Vec<f32>,
    /// Its largest cells.
    least_covered: Vec<CellLine>,
}

/// How many cells the report lists.
const NAMED: usize = 5;

pub fn report(args: ReportArgs) -> Result<()> {
    let progress = Progress::new();
    let bank = PromptBank::open(&args.bank)?;
    let images = open_all(&normals::list(&args.normals, &progress)?, args.depth.white_level, &bank)?;
    let prompts = images.into_iter().filter(|image| image.prompt).collect();
    let (images, _) = distinct(prompts);
    if images.is_empty() {
        bail!("none of the images is a prompt of {}: give the images that it was built from", args.bank.display());
    }
    progress.step("opening the model");
    let engine = args.model.open()?;
    progress.count(images.len(), "prompts scored");
    let frames: Vec<Frame<'_>> = images.iter().map(Opened::frame).collect();
    let found = engine.report_with(&bank, &frames, &mut |i, checked| {
        checked.map_err(|error| error.at(&images[i].path))?;
        progress.advance();
        Ok(())
    });
    let found = found.with_context(|| args.bank.display().to_string())?;
    drop(progress);
    let report = Report::new(&bank, &found, &images);
    if let Some(path) = &args.picture {
        draw(path, &found, &images)?;
    }
    result(&match args.format {
        ReportFormat::Json => serde_json::to_string(&report)?,
        ReportFormat::Text => report.text(),
    })?;
    if found.copies > 0 {
        let (copies, all) = (found.copies, bank.info().prompts);
        say(&format!("note: {copies} of the bank's {all} prompts are copies of others"));
    }
    say_near_copies(images.iter().map(|image| &image.thumbnail), "each of them scores low because of the others");
    if found.missing > 0 {
        say(&format!("note: {} prompts of the bank are not among the images", found.missing));
    }
    Ok(())
}

impl<'a> Report<'a> {
    fn new(bank: &'a PromptBank, found: &BankReport, images: &[Opened<'_>]) -> Self {
        let line = |prompt: &ReportedPrompt| {
            let score = &prompt.check.score;
            PromptLine {
                path: images[prompt.image].path.display().to_string(),
                hash: &bank.prompt_hashes()[prompt.check.place],
                score: score.score,
                patch_max: score.map.largest(),
                image_residual: score.output("image_residual"),
                outlier: prompt.outlier,
            }
        };
        let mean = &found.mean_map;
        let cell = |(i, residual): (usize, &f32)| CellLine {
            row: i / mean.grid.cols,
            column: i % mean.grid.cols,
            residual: *residual,
        };
        let mut cells: Vec<CellLine> = mean.cells.iter().enumerate().map(cell).collect();
        cells.sort_by(|a, b| b.residual.total_cmp(&a.residual));
        cells.truncate(NAMED);
        Report {
            bank: bank.id(),
            class: bank.class(),
            prompts: found.prompts.iter().map(line).collect(),
            grid: mean.grid.side(),
            grid_rows: mean.grid.rows,
            grid_cols: mean.grid.cols,
            mean_map: mean.cells.clone(),
            least_covered: cells,
        }
    }

    fn text(&self) -> String {
        let width = self.prompts.iter().map(|line| line.path.chars().count()).max().unwrap_or(0).max("prompt".len());
        let mut text = format!(
            "bank {} of class {}: each prompt against the others\n{:<width$}   score  patch_max  image_residual",
            self.bank, self.class, "prompt"
        );
        for line in &self.prompts {
            text += &format!(
                "\n{:<width$}  {:>6.4}  {:>9.4}  {:>14.4}{}",
                line.path,
                line.score,
                line.patch_max,
                line.image_residual.unwrap_or(f32::NAN),
                if line.outlier { "  * outlier" } else { "" }
            );
        }
        text += &format!("\nleast covered, of {} x {} cells:", self.grid_rows, self.grid_cols);
        for cell in &self.least_covered {
            text += &format!("\n  row {:>2}, column {:>2}: {:.4}", cell.row + 1, cell.column + 1, cell.residual);
        }
        text
    }
}

/// Draws every prompt with its map, and the mean map over the first prompt.
fn draw(path: &Path, found: &BankReport, images: &[Opened<'_>]) -> Result<()> {
    let mut tiles = Vec::new();
    for prompt in &found.prompts {
        let (opened, score) = (&images[prompt.image], &prompt.check.score);
        let name = opened.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (frame, map) = (opened.frame(), &score.map);
        let title = format!("{:.3} {name}", score.score);
        tiles.push((score.score, Tile { frame, map, mask: None, title, anomalous: prompt.outlier }));
    }
    tiles.sort_by(|a, b| b.0.total_cmp(&a.0));
    let order: Vec<_> = tiles.into_iter().map(|(_, tile)| tile).collect();
    // A report has at least one prompt.
    let first = images[found.prompts[0].image].frame();
    let of_all = Tile { frame: first, map: &found.mean_map, mask: None, title: "mean".to_owned(), anomalous: false };
    let mut rows = vec![("mean residual against the others".to_owned(), vec![of_all])];
    for (i, tiles) in order.chunks(8).enumerate() {
        let label = if i == 0 { "prompts, highest score first".to_owned() } else { String::new() };
        rows.push((label, tiles.to_vec()));
    }
    write_png(path, &contact_sheet(&rows, 160, &ColourScale::new(DEFAULT_MAX)?)?)?;
    Ok(())
}
