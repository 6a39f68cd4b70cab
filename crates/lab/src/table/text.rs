//! A table as Markdown, CSV and JSON, and all its files.

use std::path::Path;

use serde_json::{Value, json as object};

use super::latex;
use super::marks::{Mark, marks};
use super::page::page;
use super::run::{Judged, Set, Table};
use crate::evaluation::{Cell, MetricName, PaperRow, Spread};
use crate::report::{chance, finished, internal, paper, percent};
use inctrl::internals::write_atomically;
use inctrl::{Error, Result};

/// Writes table.html, table.json, table.csv, table.md and table.tex into `folder`.
///
/// # Errors
/// [`inctrl::ErrorKind::Io`] where a file cannot be written.
pub fn write(table: &Table, folder: &Path) -> Result<()> {
    for (name, text) in [
        ("table.html", page(table)),
        ("table.json", json(table)?),
        ("table.csv", csv(table)?),
        ("table.md", markdown(table)),
        ("table.tex", latex(table)),
    ] {
        let path = folder.join(name);
        write_atomically(&path, |out| {
            out.write_all(text.as_bytes()).map_err(|error| Error::io("write", &path, error))
        })?;
    }
    Ok(())
}

/// The metrics of a data set, a row and a number of shots.
fn spread(set: &Set, row: usize, shots: usize, metric: MetricName) -> Option<&Spread> {
    set.cells[row].as_ref().ok()?.at(shots)?.metrics.get(metric.name())
}

/// The marks of the rows `rows` in a column.
pub(super) fn column(set: &Set, rows: &[usize], shots: usize, metric: MetricName) -> Vec<Mark> {
    let means: Vec<Option<f64>> = rows.iter().map(|&row| spread(set, row, shots, metric)?.mean).collect();
    marks(&means)
}

/// Mean and standard deviation of a cell, or a dash.
pub(super) fn figure(set: &Set, row: usize, shots: usize, metric: MetricName) -> String {
    spread(set, row, shots, metric).map_or("-".to_owned(), percent)
}

/// The published AUROC of a cell.
pub(super) fn published(set: &Set, row: usize, shots: usize, metric: MetricName) -> Option<String> {
    let judged = set.cells[row].as_ref().ok().filter(|_| metric == MetricName::ImageAuroc)?;
    paper(&judged.published, shots)
}

/// The papers of the table's published figures, in the order of the rows.
pub(super) fn sources(table: &Table) -> Vec<&'static str> {
    let mut sources: Vec<&'static str> = Vec::new();
    for row in 0..table.rows.len() {
        for judged in table.sets.iter().filter_map(|set| set.cells[row].as_ref().ok()) {
            let shown = judged.published.iter().filter(|figure| judged.at(figure.shots).is_some());
            shown.for_each(|figure| {
                if !sources.contains(&figure.source) {
                    sources.push(figure.source);
                }
            });
        }
    }
    sources
}

/// The number of the source of a cell's published figure, counted from 1.
pub(super) fn source(sources: &[&str], judged: &Judged, shots: usize) -> Option<usize> {
    let figure = judged.published.iter().find(|figure| figure.shots == shots)?;
    Some(1 + sources.iter().position(|source| *source == figure.source)?)
}

/// The level of chance of a data set, in percent.
pub(super) fn level(set: &Set, metric: MetricName) -> String {
    let found = set.cells.iter().flatten().find(|judged| judged.chance.get(metric).is_some());
    found.map_or("-".to_owned(), |judged| chance(&judged.chance, metric))
}

/// What does not fit into cells: faults, errors and remarks, a line each.
pub(super) fn notices(table: &Table) -> Vec<String> {
    let mut lines = table.left_out.clone();
    lines.extend(table.errors());
    for set in &table.sets {
        lines.extend(set.faults.iter().map(|fault| format!("{}: fault: {fault}", set.name)));
        // An image that cannot be used mostly fails for every method, so one line names all of them.
        let mut told: Vec<(&str, Vec<usize>)> = Vec::new();
        for (row, judged) in set.cells.iter().enumerate().filter_map(|(row, cell)| Some((row, cell.as_ref().ok()?))) {
            for note in judged.told() {
                match told.iter_mut().find(|(known, _)| known == note) {
                    Some((_, rows)) => rows.push(row),
                    None => told.push((note, vec![row])),
                }
            }
        }
        for (note, rows) in told {
            let all = rows.len() == set.cells.iter().flatten().count();
            let who = rows.iter().map(|&row| table.title(row)).collect::<Vec<_>>().join(", ");
            lines.push(if all { format!("{}: {note}", set.name) } else { format!("{}, {who}: {note}", set.name) });
        }
    }
    lines
}

/// Tables of all metrics, in percent.
pub fn markdown(table: &Table) -> String {
    let escaped = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let mut text = String::from("# inctrl: methods and data sets\n\n");
    if let Some(note) = &table.note {
        text += &format!("{note}\n\n");
    }
    text += &format!(
        "{}Means over classes, then mean ± standard deviation over {} draws of the prompts, in percent. **Best** and _second \
         best_ of each column and number of shots.\n",
        versions(),
        table.terms.runs
    );
    let sources = sources(table);
    for metric in table.metrics() {
        text += &format!("\n## {}\n\n| shots | method |", metric.title());
        table.sets.iter().for_each(|set| text += &format!(" {} |", escaped(&set.name)));
        text += "\n|---:|---|";
        table.sets.iter().for_each(|_| text += "---:|");
        text += "\n| | chance |";
        table.sets.iter().for_each(|set| text += &format!(" {} |", level(set, metric)));
        for shots in table.shots() {
            let rows = table.rows_at(shots);
            let columns: Vec<Vec<Mark>> = table.sets.iter().map(|set| column(set, &rows, shots, metric)).collect();
            for (place, &row) in rows.iter().enumerate() {
                text += &format!("\n| {shots} | {} |", escaped(&table.title(row)));
                for (set, marks) in table.sets.iter().zip(&columns) {
                    let found = figure(set, row, shots, metric);
                    text += &match marks[place] {
                        Mark::Best => format!(" **{found}**"),
                        Mark::Second => format!(" _{found}_"),
                        Mark::None => format!(" {found}"),
                    };
                    if let (Some(figure), Ok(judged)) = (published(set, row, shots, metric), &set.cells[row]) {
                        let source = source(&sources, judged, shots).map_or(String::new(), |at| format!(" [{at}]"));
                        text += &format!(" (published {figure}{source})");
                    }
                    text += " |";
                }
            }
        }
        text += "\n";
    }
    for (at, source) in sources.iter().enumerate() {
        text += &format!("\n[{}] {source}\n", at + 1);
    }
    for line in notices(table) {
        text += &format!("\n- {}", line.replace('\n', " "));
    }
    text.trim_end().to_owned() + "\n"
}

/// The program that made the table.
pub(super) fn versions() -> String {
    format!("inctrl {}. ", env!("CARGO_PKG_VERSION"))
}

/// A line for each data set, row, number of shots and metric, and one for each cell without a result.
///
/// # Errors
/// [`inctrl::ErrorKind::Internal`].
pub fn csv(table: &Table) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = [
        "data_set",
        "method",
        "model",
        "shots",
        "metric",
        "mean",
        "std",
        "runs",
        "reason",
        "chance",
        "published_mean",
        "published_std",
        "source",
        "bank_bytes",
        "error",
    ];
    writer.write_record(header).map_err(internal)?;
    let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
    for set in &table.sets {
        for (row, cell) in table.rows.iter().zip(&set.cells) {
            let judged = match cell {
                Ok(judged) => judged,
                Err(error) => {
                    let line = [&set.name, &row.method, &row.model].map(String::as_str);
                    let blank = [""; 11];
                    let line = line.into_iter().chain(blank).chain([error.as_str()]);
                    writer.write_record(line).map_err(internal)?;
                    continue;
                }
            };
            for Cell { shots, metrics } in &judged.shots {
                let figure = judged.published.iter().find(|figure| figure.shots == *shots);
                for metric in MetricName::ALL {
                    let Some(spread) = metrics.get(metric.name()) else { continue };
                    let figure = figure.filter(|_| metric == MetricName::ImageAuroc);
                    let runs: Vec<String> = spread.runs.iter().map(|run| number(*run)).collect();
                    writer
                        .write_record([
                            set.name.as_str(),
                            &row.method,
                            &row.model,
                            &shots.to_string(),
                            metric.name(),
                            &number(spread.mean),
                            &number(spread.std),
                            &runs.join(" "),
                            spread.reason.as_deref().unwrap_or_default(),
                            &number(judged.chance.get(metric)),
                            &number(figure.map(|figure| figure.auroc_mean)),
                            &number(figure.and_then(|figure| figure.auroc_std)),
                            figure.map_or("", |figure| figure.source),
                            &judged.cost(*shots).map_or(String::new(), |cost| cost.bank_bytes.to_string()),
                            "",
                        ])
                        .map_err(internal)?;
                }
            }
        }
    }
    finished(writer)
}

/// Everything but times and pictures.
///
/// # Errors
/// [`inctrl::ErrorKind::Internal`].
pub fn json(table: &Table) -> Result<String> {
    let cell = |judged: &Judged| {
        let shots = |cell: &Cell| {
            let figure: Option<&PaperRow> = judged.published.iter().find(|figure| figure.shots == cell.shots);
            object!({
                "shots": cell.shots,
                "metrics": cell.metrics,
                "published": figure,
                "bank_bytes": judged.cost(cell.shots).map(|cost| cost.bank_bytes),
            })
        };
        let shots: Vec<Value> = judged.shots.iter().map(shots).collect();
        object!({ "chance": judged.chance, "shots": shots, "notes": judged.told().collect::<Vec<_>>() })
    };
    let set = |set: &Set| {
        let cells = table.rows.iter().zip(&set.cells).map(|(row, judged)| {
            let mut found = judged.as_ref().map_or_else(|error| object!({ "error": error }), cell);
            found["method"] = row.method.as_str().into();
            found["model"] = row.model.as_str().into();
            found
        });
        let shown = set.disagreements.iter().map(|shown| {
            let views = table.rows.iter().zip(&shown.views).filter_map(|(row, view)| {
                let view = view.as_ref()?;
                Some(object!({
                    "method": row.method, "model": row.model, "score": view.score, "above_share_of_good": view.above,
                }))
            });
            object!({
                "class": shown.class, "image": shown.name, "label": shown.label, "kind": shown.kind,
                "deviation": shown.deviation, "methods": views.collect::<Vec<_>>(),
            })
        });
        object!({
            "name": set.name,
            "layout": set.layout,
            "known": set.known,
            "complete": set.complete,
            "classes": set.classes,
            "normal": set.images[0],
            "anomalous": set.images[1],
            "faults": set.faults,
            "cells": cells.collect::<Vec<_>>(),
            "disagreements": shown.collect::<Vec<_>>(),
        })
    };
    let value = object!({
        "version": env!("CARGO_PKG_VERSION"),
        "terms": table.terms,
        "rows": table.rows,
        "sets": table.sets.iter().map(set).collect::<Vec<_>>(),
        "left_out": table.left_out,
    });
    Ok(serde_json::to_string_pretty(&value).map_err(internal)? + "\n")
}
