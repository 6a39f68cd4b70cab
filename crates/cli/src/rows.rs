//! A result as a line of text: an aligned table for people, JSON lines or CSV for programs.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use inctrl::calibration::{Calibration, scaled};
use inctrl::{Decision, DepthDoubt, PromptBank, Region, Thresholds};
use serde::Serialize;

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, rounded to four digits
    Table,
    /// One JSON object a line, numbers in full precision
    Jsonl,
    /// The same fields as comma-separated values (RFC 4180) under a header
    Csv,
}

/// The result of one query.
pub struct Row {
    pub path: PathBuf,
    /// The numbers, or why there are none.
    pub numbers: Result<Numbers, String>,
}

/// The numbers of an image, as in [`inctrl::Score`].
pub struct Numbers {
    pub score: f32,
    pub holistic: f32,
    pub patch_max: f32,
    pub image_residual: f32,
    pub text_prior: f32,
    pub width: usize,
    pub height: usize,
    /// Share of the image's area that the model sees, in [0, 1].
    pub seen: f64,
    /// Why it may have been shown to the model at a wrong brightness.
    pub depth_doubt: Option<DepthDoubt>,
    /// Absent where the bank has no thresholds.
    pub decision: Option<Decision>,
    pub regions: Vec<Region>,
}

/// The fields of a JSON line and the columns of CSV, in their order.
#[derive(Serialize)]
struct Record<'a> {
    path: Cow<'a, str>,
    score: Option<f32>,
    holistic: Option<f32>,
    patch_max: Option<f32>,
    image_residual: Option<f32>,
    text_prior: Option<f32>,
    width: Option<usize>,
    height: Option<usize>,
    verdict: Option<&'static str>,
    reason: Option<&'static str>,
    regions: Option<Vec<Place>>,
    bank: &'a str,
    error: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    calibrated: Option<Calibrated>,
}

/// What the calibration of the bank says of a score; only of a bank that has one.
#[derive(Serialize)]
struct Calibrated {
    /// How often a good part scores as much.
    p_value: Option<f64>,
    /// The score on a scale with 0.5 at the threshold.
    scaled: Option<f32>,
}

/// A region of a JSON line, in pixels of the image.
#[derive(Serialize)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    area: f64,
    peak: f32,
}

impl Place {
    fn of(region: &Region) -> Self {
        let Region { x, y, width, height, area, peak, .. } = *region;
        Place { x, y, width, height, area, peak }
    }
}

/// The column `regions` is their number.
const CSV_HEADER: &str =
    "path,score,holistic,patch_max,image_residual,text_prior,width,height,verdict,reason,regions,bank,error";

/// Writes rows in one format.
pub struct Printer {
    format: Format,
    /// Identity of the bank, which JSON and CSV repeat in every line.
    bank: String,
    calibration: Option<(Calibration, Thresholds)>,
    /// Characters of the table's first column.
    path_width: usize,
}

impl Printer {
    /// `paths` are those that will come, as far as they are known: the table is aligned to the longest.
    pub fn new<'a>(format: Format, bank: &PromptBank, paths: impl Iterator<Item = &'a Path>) -> Self {
        let path_width = paths.map(|path| printable(&path.to_string_lossy()).chars().count()).max();
        let calibration = bank.calibration().cloned().zip(bank.thresholds().copied());
        Printer {
            format,
            bank: bank.id().to_owned(),
            calibration,
            path_width: path_width.unwrap_or(40).max("path".len()),
        }
    }

    /// The line above all rows.
    pub fn header(&self) -> Option<String> {
        match self.format {
            Format::Table => Some(format!(
                "{:<w$}   score  holistic  patch_max  image_residual  text_prior  size",
                "path",
                w = self.path_width
            )),
            Format::Jsonl => None,
            Format::Csv if self.calibration.is_some() => Some(format!("{CSV_HEADER},p_value,scaled")),
            Format::Csv => Some(CSV_HEADER.to_owned()),
        }
    }

    /// The line of one row.
    pub fn line(&self, row: &Row) -> anyhow::Result<String> {
        match self.format {
            Format::Table => Ok(self.table_line(row)),
            Format::Jsonl => Ok(serde_json::to_string(&self.record(row))?),
            Format::Csv => Ok(self.csv_line(row)),
        }
    }

    fn csv_line(&self, row: &Row) -> String {
        let r = self.record(row);
        let parts = [r.score, r.holistic, r.patch_max, r.image_residual, r.text_prior];
        let parts = parts.map(|part| part.map_or(String::new(), |x| x.to_string())).join(",");
        let [width, height] = [r.width, r.height].map(|side| side.map_or(String::new(), |pixels| pixels.to_string()));
        let [verdict, reason] = [r.verdict, r.reason].map(Option::unwrap_or_default);
        let regions = r.regions.map_or(String::new(), |regions| regions.len().to_string());
        let error = quoted(r.error.unwrap_or_default());
        let path = quoted(&r.path);
        let mut line = format!("{path},{parts},{width},{height},{verdict},{reason},{regions},{},{error}", r.bank);
        if let Some(Calibrated { p_value, scaled }) = r.calibrated {
            let [p_value, scaled] = [p_value.map(|x| x.to_string()), scaled.map(|x| x.to_string())];
            line += &format!(",{},{}", p_value.unwrap_or_default(), scaled.unwrap_or_default());
        }
        line
    }

    fn table_line(&self, row: &Row) -> String {
        let path = row.path.to_string_lossy();
        let (path, w) = (printable(&path), self.path_width);
        match &row.numbers {
            Ok(n) => format!(
                "{path:<w$}  {:>6.4}  {:>8.4}  {:>9.4}  {:>14.4}  {:>10.4}  {}x{}{}",
                n.score,
                n.holistic,
                n.patch_max,
                n.image_residual,
                n.text_prior,
                n.width,
                n.height,
                n.decision.map_or(String::new(), |decision| format!("  {}", decision.verdict))
            ),
            Err(error) => format!("{path:<w$}  error: {}", printable(error)),
        }
    }

    fn record<'a>(&'a self, row: &'a Row) -> Record<'a> {
        let numbers = row.numbers.as_ref();
        // Whatever fails must not pass.
        let decision = numbers.map_or(Some(Decision::FAILED), |n| n.decision);
        let part = |part: fn(&Numbers) -> f32| numbers.ok().map(part);
        Record {
            path: row.path.to_string_lossy(),
            score: part(|n| n.score),
            holistic: part(|n| n.holistic),
            patch_max: part(|n| n.patch_max),
            image_residual: part(|n| n.image_residual),
            text_prior: part(|n| n.text_prior),
            width: numbers.ok().map(|n| n.width),
            height: numbers.ok().map(|n| n.height),
            verdict: decision.map(|decision| decision.verdict.name()),
            reason: decision.map(|decision| decision.reason.name()),
            regions: numbers.ok().filter(|n| n.decision.is_some()).map(|n| n.regions.iter().map(Place::of).collect()),
            bank: &self.bank,
            error: numbers.err().map(String::as_str),
            calibrated: self.calibration.as_ref().map(|(calibration, limits)| Calibrated {
                p_value: numbers.ok().map(|n| calibration.p_value(n.score)),
                scaled: numbers.ok().map(|n| scaled(n.score, limits.reject)),
            }),
        }
    }
}

/// A name on one line: control characters, which a file name may hold, would break the table or the terminal.
fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
    } else {
        text.into()
    }
}

/// A CSV cell, in quotation marks where it needs them.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
