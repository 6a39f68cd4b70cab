//! A result as a line of text: an aligned table for people, JSON lines or CSV for programs.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use inctrl::methods::Output;
use inctrl::{Decision, DepthDoubt, Region};
use serde::{Serialize, Serializer};

use super::judge::{Product, Source};

/// Output format.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, rounded to four digits
    Table,
    /// One JSON object per line, numbers in full precision
    Jsonl,
    /// The same fields as comma-separated values (RFC 4180) under a header
    Csv,
}

/// The result of one query.
pub struct Row {
    pub path: PathBuf,
    /// The numbers, or the error.
    pub numbers: Result<Numbers, String>,
}

/// The numbers of an image, as in [`inctrl::Score`].
pub struct Numbers {
    /// Every output of the method, the score first.
    pub outputs: Vec<f32>,
    pub width: usize,
    pub height: usize,
    /// Share of the image's area that the model sees, in [0, 1].
    pub seen: f64,
    /// Why the model may have seen it at a wrong brightness.
    pub depth_doubt: Option<DepthDoubt>,
    /// Absent where the bank has no thresholds.
    pub decision: Option<Decision>,
    pub regions: Vec<Region>,
    /// Absent where the bank has no calibration.
    pub p_value: Option<f64>,
    /// Absent where the bank has no thresholds.
    pub scaled: Option<f32>,
    /// Identity of the bank.
    pub bank: String,
    /// The best of several banks.
    pub product: Option<Product>,
}

/// The fields of a JSON line and the columns of CSV, in their order.
#[derive(Serialize)]
struct Record<'a> {
    path: Cow<'a, str>,
    #[serde(flatten)]
    outputs: Outputs<'a>,
    width: Option<usize>,
    height: Option<usize>,
    verdict: Option<&'static str>,
    reason: Option<&'static str>,
    regions: Option<Vec<RegionRow>>,
    bank: &'a str,
    error: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    calibrated: Option<Calibrated>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    best: Option<Best<'a>>,
}

/// The outputs of a method by name; empty for a query that failed.
struct Outputs<'a> {
    names: &'a [Output],
    values: Option<&'a [f32]>,
}

impl Outputs<'_> {
    fn each(&self) -> impl Iterator<Item = (&'static str, Option<f32>)> + '_ {
        self.names
            .iter()
            .enumerate()
            .map(|(i, output)| (output.name, self.values.and_then(|values| values.get(i).copied())))
    }
}

impl Serialize for Outputs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.each())
    }
}

/// The calibration's numbers for a score, if the bank has a calibration.
#[derive(Serialize)]
struct Calibrated {
    /// How often a good part scores this high or higher.
    p_value: Option<f64>,
    /// The score on a scale with 0.5 at the threshold.
    scaled: Option<f32>,
}

/// The best of several banks.
#[derive(Serialize)]
struct Best<'a> {
    /// The file of the bank against which the image has the smallest score.
    product: Option<&'a str>,
    /// By how much the score against the next bank is larger.
    margin: Option<f32>,
}

/// A region of a JSON line, in pixels of the image.
#[derive(Serialize)]
struct RegionRow {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    area: f64,
    peak: f32,
}

impl RegionRow {
    fn of(region: &Region) -> Self {
        let Region { x, y, width, height, area, peak, .. } = *region;
        RegionRow { x, y, width, height, area, peak }
    }
}

/// The columns of CSV after those of the method; `regions` is their number.
const CSV_REST: &str = "width,height,verdict,reason,regions,bank,error";

/// Writes rows in one format.
pub struct Printer {
    format: Format,
    /// Identity of the bank, which JSON and CSV repeat in every line; empty with several banks.
    bank: String,
    /// The method's outputs.
    outputs: &'static [Output],
    /// Whether a bank has a calibration.
    calibrated: bool,
    /// Whether there are several banks.
    several: bool,
    /// Characters of the table's first column.
    path_width: usize,
}

impl Printer {
    /// `paths` are the queries' paths, as far as they are known: the table is aligned to the longest.
    pub fn new<'a>(format: Format, banks: &[Source], paths: impl Iterator<Item = &'a Path>) -> Self {
        let path_width = paths.map(|path| printable(&path.to_string_lossy()).chars().count()).max();
        let several = banks.len() > 1;
        Printer {
            format,
            bank: if several { String::new() } else { banks[0].bank.id().to_owned() },
            outputs: banks[0].bank.outputs(),
            calibrated: banks.iter().any(|source| source.bank.calibration().is_some()),
            several,
            path_width: path_width.unwrap_or(40).max("path".len()),
        }
    }

    /// The line above all rows.
    pub fn header(&self) -> Option<String> {
        match self.format {
            Format::Table => {
                let names = self.outputs.iter().map(|output| format!("  {:>1$}", output.name, column_width(output)));
                let best = if self.several { "  product (margin)" } else { "" };
                Some(format!("{:<w$}{}  size{best}", "path", names.collect::<String>(), w = self.path_width))
            }
            Format::Jsonl => None,
            Format::Csv => {
                let names: Vec<&str> = self.outputs.iter().map(|output| output.name).collect();
                let calibrated = if self.calibrated { ",p_value,scaled" } else { "" };
                let best = if self.several { ",product,margin" } else { "" };
                Some(format!("path,{},{CSV_REST}{calibrated}{best}", names.join(",")))
            }
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
        let parts: Vec<String> =
            r.outputs.each().map(|(_, value)| value.map_or(String::new(), |x| x.to_string())).collect();
        let parts = parts.join(",");
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
        if let Some(Best { product, margin }) = r.best {
            let margin = margin.map_or(String::new(), |x| x.to_string());
            line += &format!(",{},{margin}", quoted(product.unwrap_or_default()));
        }
        line
    }

    fn table_line(&self, row: &Row) -> String {
        let path = row.path.to_string_lossy();
        let (path, w) = (printable(&path), self.path_width);
        match &row.numbers {
            Ok(n) => {
                let columns = self.outputs.iter().zip(&n.outputs);
                let columns = columns.map(|(output, value)| format!("  {value:>0$.4}", column_width(output)));
                format!(
                    "{path:<w$}{}  {}x{}{}{}",
                    columns.collect::<String>(),
                    n.width,
                    n.height,
                    n.decision.map_or(String::new(), |decision| format!("  {}", decision.verdict)),
                    n.product.as_ref().map_or(String::new(), |Product { name, margin }| {
                        format!("  {} ({margin:.4})", printable(name))
                    })
                )
            }
            Err(error) => format!("{path:<w$}  error: {}", printable(error)),
        }
    }

    fn record<'a>(&'a self, row: &'a Row) -> Record<'a> {
        let numbers = row.numbers.as_ref();
        // A failed query must not pass.
        let decision = numbers.map_or(Some(Decision::FAILED), |n| n.decision);
        Record {
            path: row.path.to_string_lossy(),
            outputs: Outputs { names: self.outputs, values: numbers.ok().map(|n| &n.outputs[..]) },
            width: numbers.ok().map(|n| n.width),
            height: numbers.ok().map(|n| n.height),
            verdict: decision.map(|decision| decision.verdict.name()),
            reason: decision.map(|decision| decision.reason.name()),
            regions: numbers
                .ok()
                .filter(|n| n.decision.is_some())
                .map(|n| n.regions.iter().map(RegionRow::of).collect()),
            bank: numbers.map_or(&self.bank, |n| &n.bank),
            error: numbers.err().map(String::as_str),
            calibrated: self.calibrated.then(|| Calibrated {
                p_value: numbers.ok().and_then(|n| n.p_value),
                scaled: numbers.ok().and_then(|n| n.scaled),
            }),
            best: self.several.then(|| {
                let product = numbers.ok().and_then(|n| n.product.as_ref());
                Best { product: product.map(|best| best.name.as_str()), margin: product.map(|best| best.margin) }
            }),
        }
    }
}

/// Width of a column of the table: that of the name, or of a number with four digits.
fn column_width(output: &Output) -> usize {
    output.name.len().max(6)
}

/// A name on one line. Control characters in a file name would break the table or the terminal.
fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
    } else {
        text.into()
    }
}

/// A CSV cell, quoted if necessary.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
