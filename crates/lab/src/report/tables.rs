//! Figures as CSV and Markdown.

use super::Report;
use crate::datasets::Label;
use crate::evaluation::{Cell, Chance, MetricName, PaperRow, Results, Spread};
use inctrl::{Error, ErrorKind, Result};

/// An explanation of columns and rows.
pub const NOTE: &str = "Chance is the average for random scores; for F1-max it is the value of calling everything anomalous. The patch maximum is the largest residual of the map alone, for comparison.";

pub(crate) fn finished(writer: csv::Writer<Vec<u8>>) -> Result<String> {
    let bytes = writer.into_inner().map_err(|error| internal(error.into_error()))?;
    String::from_utf8(bytes).map_err(internal)
}

pub(crate) fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Internal, "cannot lay out the table").because(error)
}

/// A line for each class (`overall` for all), number of shots and metric.
pub fn results_csv(results: &Results) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["class", "shots", "metric", "mean", "std", "runs", "reason", "chance"]).map_err(internal)?;
    let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
    let mut add = |class: &str, cells: &[Cell], chance: &Chance| {
        for cell in cells {
            for metric in MetricName::ALL {
                let Some(Spread { mean, std, reason, runs }) = cell.metrics.get(metric.name()) else { continue };
                let runs = runs.iter().map(|x| number(*x)).collect::<Vec<_>>().join(" ");
                let shots = cell.shots.to_string();
                let reason = reason.as_deref().unwrap_or_default();
                writer
                    .write_record([
                        class,
                        &shots,
                        metric.name(),
                        &number(*mean),
                        &number(*std),
                        &runs,
                        reason,
                        &number(chance.get(metric)),
                    ])
                    .map_err(internal)?;
            }
        }
        Ok::<_, Error>(())
    };
    for class in &results.classes {
        add(&class.class, &class.shots, &class.chance)?;
    }
    add("overall", &results.overall.shots, &results.overall.chance)?;
    finished(writer)
}

/// A line for each image, run and number of shots.
pub fn scores_csv(report: &Report<'_>) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["class", "image", "kind", "label", "run", "shots", "score", "patch_max", "error"];
    writer.write_record(header).map_err(internal)?;
    let banks = report.options.banks();
    for entry in report.entries {
        let Some(item) = report.dataset.item(&entry.class, &entry.name) else { continue };
        let label = if item.label == Label::Normal { "normal" } else { "anomalous" };
        let first = [&entry.class, &entry.name, &item.kind, label];
        match &entry.scores {
            Err(error) => writer.write_record(first.into_iter().chain(["", "", "", "", error])).map_err(internal)?,
            Ok(scores) => {
                for ((run, shots), s) in banks.iter().zip(scores) {
                    let numbers = [run.to_string(), shots.to_string(), s.score.to_string(), s.patch_max.to_string()];
                    let rest = numbers.iter().map(String::as_str).chain([""]);
                    writer.write_record(first.into_iter().chain(rest)).map_err(internal)?;
                }
            }
        }
    }
    finished(writer)
}

/// Mean and standard deviation in percent, as papers print them.
pub(crate) fn percent(spread: &Spread) -> String {
    match (spread.mean, spread.std) {
        (Some(mean), Some(std)) => format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * std),
        _ => "-".to_owned(),
    }
}

/// A level of chance in percent.
pub(crate) fn chance(chance: &Chance, metric: MetricName) -> String {
    chance.get(metric).map_or("-".to_owned(), |value| format!("{:.1}", 100.0 * value))
}

/// The metrics in the tables: those that are defined anywhere and, unless the score is the patch maximum, the AUROC of
/// the patch maximum.
pub fn shown_metrics(results: &Results) -> Vec<MetricName> {
    let cells = || results.classes.iter().flat_map(|class| &class.shots);
    let mean = |cell: &Cell, metric: MetricName| cell.metrics.get(metric.name()).and_then(|spread| spread.mean);
    let defined = |metric: MetricName| cells().any(|cell| mean(cell, metric).is_some());
    let mut shown = vec![MetricName::ImageAuroc];
    if results.patch_max_differs {
        shown.push(MetricName::PatchAuroc);
    }
    shown.extend([MetricName::ImageAuprc, MetricName::ImageF1Max]);
    shown.extend([MetricName::PixelAuroc, MetricName::PixelAuprc, MetricName::PixelF1Max, MetricName::PixelAupro]);
    shown.retain(|metric| defined(*metric));
    shown
}

/// The published AUROC at a number of shots.
pub(crate) fn paper(rows: &[PaperRow], shots: usize) -> Option<String> {
    let row = rows.iter().find(|row| row.shots == shots)?;
    let std = row.auroc_std.map(|std| format!(" ± {:.1}", 100.0 * std)).unwrap_or_default();
    Some(format!("{:.1}{std}", 100.0 * row.auroc_mean))
}

/// Tables of all figures, in percent.
pub fn markdown(results: &Results) -> String {
    let metrics = shown_metrics(results);
    let mut text = format!(
        "# inctrl evaluation\n\nModel `{}`, inctrl {}, {}; method {}, layout {}, fit {}, seed {}, {} runs. Mean ± standard deviation over \
         runs, in percent. {NOTE}\n",
        results.model,
        results.version,
        results.device,
        format!("{} {}", results.method, results.options).trim_end(),
        results.layout,
        results.fit,
        results.seed,
        results.runs
    );
    let mut add = |title: &str, cells: &[Cell], level: &Chance, rows: &[PaperRow]| {
        text += &format!("\n## {}\n\n| shots |", title.replace('|', "\\|"));
        metrics.iter().for_each(|metric| text += &format!(" {} |", metric.title()));
        if !rows.is_empty() {
            text += " paper: AUROC |";
        }
        text += "\n|---:|";
        text += &"---:|".repeat(metrics.len() + usize::from(!rows.is_empty()));
        text += "\n| chance |";
        metrics.iter().for_each(|metric| text += &format!(" {} |", chance(level, *metric)));
        if !rows.is_empty() {
            text += &format!(" {} |", chance(level, MetricName::ImageAuroc));
        }
        for cell in cells {
            text += &format!("\n| {} |", cell.shots);
            for metric in &metrics {
                text += &format!(" {} |", cell.metrics.get(metric.name()).map_or("-".to_owned(), percent));
            }
            if !rows.is_empty() {
                text += &format!(" {} |", paper(rows, cell.shots).unwrap_or("-".to_owned()));
            }
        }
        text += "\n";
    };
    add("All classes", &results.overall.shots, &results.overall.chance, &results.overall.paper);
    for class in &results.classes {
        let title = format!("{} ({} normal, {} anomalous)", class.class, class.normal, class.anomalous);
        add(&title, &class.shots, &class.chance, &[]);
    }
    for fault in results.problems.iter().filter(|problem| problem.fault) {
        text += &format!("\n- fault: {fault}");
    }
    for failure in &results.failures {
        text += &format!("\n- not used: {}: {}", failure.name, failure.error);
    }
    for leak in &results.leaks {
        text += &format!("\n- leak: {leak}");
    }
    text
}
