//! A table as a page: no script, no network.

use std::collections::BTreeSet;

use htmlize::{escape_all_quotes, escape_text};

use super::disagreement::Disagreement;
use super::marks::Mark;
use super::run::{Set, Table};
use super::text::{column, figure, level, notices, published, source, sources};
use crate::datasets::Label;
use crate::evaluation::{Cost, MetricName};
use crate::report::begin;

/// Lines of faults and failures that are not folded away.
const NOTICES: usize = 20;

/// The page.
pub(super) fn page(table: &Table) -> String {
    let many = |count: usize, one: &str, several: &str| format!("{count} {}", if count == 1 { one } else { several });
    let methods: BTreeSet<&str> = table.rows.iter().map(|row| row.method.as_str()).collect();
    let mut html = begin(
        "inctrl: methods and data sets",
        &format!("{} on {}", many(methods.len(), "method", "methods"), many(table.sets.len(), "data set", "data sets")),
        true,
    );
    if let Some(note) = &table.note {
        html += &format!("<p class=\"notice\">{}</p>\n", escape_text(note.as_str()));
    }
    html += &format!(
        "<p class=\"lead\">Mean ± standard deviation over {} of the prompts, in percent. A data set with several classes has \
         the mean over its classes. <b>Best</b> and <u>second best</u> method of each data set and number of shots.</p>\n",
        many(table.terms.runs, "draw", "draws")
    );
    problems(&mut html, table);
    // Those of images are shown at once, side by side if there is room.
    let of_images = |metric: &MetricName| {
        matches!(metric, MetricName::ImageAuroc | MetricName::ImageAuprc | MetricName::ImageF1Max)
    };
    let (of_images, of_pixels): (Vec<MetricName>, Vec<MetricName>) = table.metrics().into_iter().partition(of_images);
    html += "<div class=\"side\">\n";
    for metric in of_images {
        html += &format!("<section><h2>{}</h2>\n", metric.title());
        grid(&mut html, table, metric);
        html += "</section>\n";
    }
    html += "</div>\n";
    legend(&mut html, table);
    for metric in of_pixels {
        html += &format!("<details><summary>{}</summary>\n", metric.title());
        grid(&mut html, table, metric);
        html += "</details>\n";
    }
    for set in &table.sets {
        section(&mut html, table, set);
    }
    about(&mut html, table);
    html + "</main></body></html>\n"
}

fn problems(html: &mut String, table: &Table) {
    let lines = notices(table);
    let (first, rest) = lines.split_at(lines.len().min(NOTICES));
    let list =
        |lines: &[String]| lines.iter().map(|line| format!("<li>{}</li>", escape_text(line))).collect::<String>();
    if !first.is_empty() {
        *html += &format!("<ul class=\"notice\">{}</ul>\n", list(first));
    }
    if !rest.is_empty() {
        *html += &format!(
            "<details class=\"notice\"><summary>{} more</summary><ul>{}</ul></details>\n",
            rest.len(),
            list(rest)
        );
    }
}

/// Methods down, data sets across, a block for each number of shots.
fn grid(html: &mut String, table: &Table, metric: MetricName) {
    let sources = sources(table);
    *html += "<div class=\"scroll\"><table class=\"sticky grid\"><thead><tr><th>method</th>";
    for set in &table.sets {
        let faults = match set.faults.len() {
            0 => String::new(),
            1 => "<br><small>1 fault</small>".to_owned(),
            count => format!("<br><small>{count} faults</small>"),
        };
        *html += &format!("<th>{}{faults}</th>", escape_text(&set.name));
    }
    *html += "</tr></thead><tbody><tr class=\"chance\"><th>chance</th>";
    table.sets.iter().for_each(|set| *html += &format!("<td>{}</td>", level(set, metric)));
    *html += "</tr>";
    for shots in table.shots() {
        let named = match shots {
            0 => "without prompts".to_owned(),
            1 => "1 shot".to_owned(),
            _ => format!("{shots} shots"),
        };
        *html += &format!("<tr class=\"block\"><th>{named}</th>{}</tr>", "<td></td>".repeat(table.sets.len()));
        let rows = table.rows_at(shots);
        let columns: Vec<Vec<Mark>> = table.sets.iter().map(|set| column(set, &rows, shots, metric)).collect();
        for (place, &row) in rows.iter().enumerate() {
            let (method, model) = (&table.rows[row].method, &table.rows[row].model);
            *html += &format!("<tr><th>{}<br><small>{}</small></th>", escape_text(method), escape_text(model));
            for (set, marks) in table.sets.iter().zip(&columns) {
                cell(html, set, [row, shots], metric, marks[place], &sources);
            }
            *html += "</tr>";
        }
    }
    *html += "</tbody></table></div>\n";
}

fn cell(html: &mut String, set: &Set, [row, shots]: [usize; 2], metric: MetricName, mark: Mark, sources: &[&str]) {
    let judged = match &set.cells[row] {
        Ok(judged) => judged,
        Err(error) => {
            *html += &format!("<td title=\"{}\">failed</td>", escape_all_quotes(error));
            return;
        }
    };
    let found = figure(set, row, shots, metric);
    let reason = judged.at(shots).and_then(|cell| cell.metrics.get(metric.name())?.reason.as_deref());
    *html += &match reason {
        Some(reason) => format!("<td title=\"{}\">", escape_all_quotes(reason)),
        None => "<td>".to_owned(),
    };
    *html += &match mark {
        Mark::Best => format!("<b>{found}</b>"),
        Mark::Second => format!("<u>{found}</u>"),
        Mark::None => found,
    };
    if let Some(figure) = published(set, row, shots, metric) {
        let at = source(sources, judged, shots).map_or(String::new(), |at| format!("<sup>{at}</sup>"));
        *html += &format!("<br><small>published {figure}{at}</small>");
    }
    if let Some(cost) = judged.cost(shots) {
        *html += &format!("<br><small>{}</small>", escape_text(costs(cost)));
    }
    *html += "</td>";
}

/// Time and memory in words.
fn costs(cost: &Cost) -> String {
    let time = match cost.milliseconds {
        Some(time) if time < 10.0 => format!("{time:.1} ms"),
        Some(time) => format!("{time:.0} ms"),
        None => "- ms".to_owned(),
    };
    let bytes = cost.bank_bytes as f64;
    let size = if bytes < 1e5 { format!("{:.1} kB", bytes / 1e3) } else { format!("{:.1} MB", bytes / 1e6) };
    format!("{time} · {size}")
}

fn legend(html: &mut String, table: &Table) {
    *html += "<p class=\"legend\"><small>Chance is the average for random scores; for F1-max it is the value of calling everything anomalous. Below \
              each figure: the median time to score one decoded image, measured once during this run (<code>inctrl bench</code> \
              measures properly), and the size of the bank, both for the first class and draw.</small></p>\n";
    let partial: Vec<&str> =
        table.sets.iter().filter(|set| set.known.is_some() && !set.complete).map(|set| &*set.name).collect();
    if !partial.is_empty() {
        *html += &format!(
            "<p><small>No published figures for {}: the counts of images are not the published ones, so the figures do not \
             compare.</small></p>\n",
            escape_text(partial.join(", "))
        );
    }
    let sources = sources(table);
    if !sources.is_empty() {
        *html += "<ol class=\"sources\">";
        sources.iter().for_each(|source| *html += &format!("<li>{}</li>", escape_text(*source)));
        *html += "</ol>\n";
    }
}

/// A data set: what it holds, and where the methods disagree.
fn section(html: &mut String, table: &Table, set: &Set) {
    let known = set.known.map(|known| format!(", {known}")).unwrap_or_default();
    *html += &format!(
        "<h2>{}</h2>\n<p>Layout {}{}; {} {}, {} normal and {} anomalous images to judge.</p>\n",
        escape_text(&set.name),
        set.layout,
        escape_text(known),
        set.classes,
        if set.classes == 1 { "class" } else { "classes" },
        set.images[0],
        set.images[1]
    );
    if set.disagreements.is_empty() {
        return;
    }
    *html += "<h3>Where the methods disagree</h3>\n<p>The images that the methods rank most differently. With each method stands the \
              share of the good images of the class that it scores lower. It should be 100 % for an anomalous image.";
    if set.disagreements.iter().any(|shown| shown.picture.is_some()) {
        *html += " Colours go up to twice the largest value of the method's maps of good images.";
    }
    *html += "</p>\n";
    for shown in &set.disagreements {
        disagreement(html, table, shown);
    }
}

fn disagreement(html: &mut String, table: &Table, shown: &Disagreement) {
    let label = if shown.label == Label::Normal { "good" } else { "anomalous" };
    let kind =
        if shown.label == Label::Normal || shown.kind.is_empty() { String::new() } else { format!(", {}", shown.kind) };
    let name = escape_text(&shown.name);
    *html += &format!("<h4>{name} <small>{label}{}</small></h4>\n<div class=\"strip\">", escape_text(kind));
    if let Some(picture) = &shown.picture {
        *html += &format!(
            "<figure><img src=\"{picture}\" alt=\"{}\"><figcaption>the image</figcaption></figure>",
            escape_all_quotes(&shown.name)
        );
    }
    for (row, view) in shown.views.iter().enumerate() {
        let Some(view) = view else { continue };
        *html += "<figure>";
        if let Some(heat) = &view.heat {
            let method = escape_all_quotes(&table.rows[row].method).into_owned();
            *html += &format!("<img src=\"{heat}\" alt=\"heat map of {method}\">");
        }
        *html += &format!(
            "<figcaption><b>{}</b><br>above {:.0} % of good<br>score {:.4}</figcaption></figure>",
            escape_text(table.title(row)),
            100.0 * view.above,
            view.score
        );
    }
    *html += "</div>\n";
}

fn about(html: &mut String, table: &Table) {
    *html += "<h2>About this table</h2>\n<dl>";
    let mut row = |term: &str, text: &str| {
        *html += &format!("<dt>{}</dt><dd>{}</dd>", escape_text(term), escape_text(text));
    };
    row("program", &format!("inctrl {}", env!("CARGO_PKG_VERSION")));
    row("machine", &format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    let shots = table.terms.shots.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    row("shots", &shots);
    row("draws", &format!("{}, seed {}", table.terms.runs, table.terms.seed));
    let pixels = match table.terms.mask_side {
        0 => "in the images' own pixels".to_owned(),
        side => format!("at no more than {side} pixels a side"),
    };
    row("pixel metrics", &pixels);
    for of in &table.rows {
        let text = format!("{} {}", of.method, of.options);
        let hash = &of.hash[..of.hash.len().min(16)];
        row("method", &format!("{}, fit {}, on {} ({hash}), {}", text.trim_end(), of.fit, of.model, of.device));
    }
    row("files", "each cell's own report, scores and prompts: <data set>/<method>@<model>/");
    *html += "</dl>\n";
}
