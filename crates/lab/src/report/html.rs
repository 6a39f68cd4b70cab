//! One page with everything: no script, no network, readable on a telephone and on paper.

use std::fmt::Write;

use htmlize::{escape_all_quotes, escape_text};

use super::Report;
use super::charts::{Curve, curves, histogram};
use super::mistakes::{Look, pictures};
use super::tables::{NOTE, chance, paper, percent, shown_metrics};
use crate::datasets::{Item, Label};
use crate::evaluation::{BankResult, Cell, Chance, ClassResults, Entry, MetricName, PaperRow};
use crate::metrics::{Best, Confusion, Ranking};
use crate::render::ColourScale;

/// The look of every page.
const STYLE: &str = include_str!("page.css");
/// The residual at the upper end of the colour scale, as in `inctrl score --maps`.
const MAP_MAX: f32 = 0.25;
/// Mistakes of a kind that are shown of each class.
const SHOWN: usize = 4;
/// Lines of faults and failures that are not folded away.
const NOTICES: usize = 20;

/// The beginning of a page with its heading. Only wide pages use all of a large screen.
pub(crate) fn begin(title: &str, heading: &str, wide: bool) -> String {
    let class = if wide { " class=\"wide\"" } else { "" };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body><main{class}>\n\
         <h1>{heading}</h1>\n"
    )
}

/// The page.
pub fn page(report: &Report<'_>) -> String {
    let results = report.results;
    let mut html = begin("inctrl evaluation", "inctrl evaluation", false);
    let (normal, anomalous) = results.classes.iter().fold((0, 0), |(n, a), c| (n + c.normal, a + c.anomalous));
    let _ = writeln!(
        html,
        "<p class=\"lead\">{} {}, {normal} normal and {anomalous} anomalous images; {} draws of the prompts. Mean ± \
         standard deviation over the draws, in percent.</p>",
        results.classes.len(),
        if results.classes.len() == 1 { "class" } else { "classes" },
        results.runs
    );
    notices(&mut html, report);
    html += "<h2>All classes</h2>\n";
    table(&mut html, report, &results.overall.shots, &results.overall.chance, &results.overall.paper);
    html += &format!("<p><small>{NOTE}</small></p>\n");
    if results.classes.len() > 1 {
        by_class(&mut html, report);
    }
    for class in &results.classes {
        class_section(&mut html, report, class);
    }
    about(&mut html, report);
    html + "</main></body></html>\n"
}

fn notices(html: &mut String, report: &Report<'_>) {
    let results = report.results;
    let failures = results.failures.iter().map(|failure| format!("Not used: {}: {}", failure.name, failure.error));
    let leaks = results.leaks.iter().map(|leak| format!("Figures look better than they are: {leak}"));
    let faults = results.problems.iter().filter(|problem| problem.fault).map(|problem| format!("Fault: {problem}"));
    let lines: Vec<String> = faults.chain(failures).chain(leaks).collect();
    let (first, rest) = lines.split_at(lines.len().min(NOTICES));
    if !first.is_empty() {
        *html += "<ul class=\"notice\">";
        first.iter().for_each(|line| *html += &format!("<li>{}</li>", escape_text(line)));
        *html += "</ul>\n";
    }
    if !rest.is_empty() {
        *html += &format!("<details class=\"notice\"><summary>{} more</summary><ul>", rest.len());
        rest.iter().for_each(|line| *html += &format!("<li>{}</li>", escape_text(line)));
        *html += "</ul></details>\n";
    }
    let remarks: Vec<_> = results.problems.iter().filter(|problem| !problem.fault).collect();
    if !remarks.is_empty() {
        *html += &format!("<details><summary>Remarks on the data set: {}</summary><ul>", remarks.len());
        remarks.iter().for_each(|remark| *html += &format!("<li>{}</li>", escape_text(remark.to_string())));
        *html += "</ul></details>\n";
    }
}

fn table(html: &mut String, report: &Report<'_>, cells: &[Cell], level: &Chance, rows: &[PaperRow]) {
    let metrics = shown_metrics(report.results);
    *html += "<div class=\"scroll\"><table><thead><tr><th>shots</th>";
    metrics.iter().for_each(|metric| *html += &format!("<th>{}</th>", metric.title()));
    if !rows.is_empty() {
        *html += &format!("<th>AUROC in the paper ({})</th>", rows[0].dataset);
    }
    *html += "</tr></thead><tbody><tr class=\"chance\"><th>chance</th>";
    metrics.iter().for_each(|metric| *html += &format!("<td>{}</td>", chance(level, *metric)));
    if !rows.is_empty() {
        *html += &format!("<td>{}</td>", chance(level, MetricName::ImageAuroc));
    }
    *html += "</tr>";
    for cell in cells {
        *html += &format!("<tr><th>{}</th>", cell.shots);
        for metric in &metrics {
            *html += &value(cell, metric.name());
        }
        if !rows.is_empty() {
            *html += &format!("<td>{}</td>", paper(rows, cell.shots).unwrap_or("-".to_owned()));
        }
        *html += "</tr>";
    }
    *html += "</tbody></table></div>\n";
}

fn value(cell: &Cell, metric: &str) -> String {
    match cell.metrics.get(metric) {
        Some(spread) => match &spread.reason {
            Some(reason) => format!("<td title=\"{0}\">- <small>{0}</small></td>", escape_all_quotes(reason)),
            None => format!("<td>{}</td>", percent(spread)),
        },
        None => "<td>-</td>".to_owned(),
    }
}

/// AUROC of every class at every number of shots.
fn by_class(html: &mut String, report: &Report<'_>) {
    let most = report.options.banks()[report.shown()].1;
    let patch_max = report.results.patch_max_differs;
    *html += "<h2>AUROC by class</h2>\n<div class=\"scroll\"><table><thead><tr><th>class</th><th>normal</th><th>anomalous</th>";
    report.options.shots.iter().for_each(|shots| *html += &format!("<th>{shots} shots</th>"));
    if patch_max {
        *html += &format!("<th>patch max, {most} shots</th>");
    }
    *html += "</tr></thead><tbody>";
    for class in &report.results.classes {
        let name = escape_text(&class.class);
        *html += &format!("<tr><th>{name}</th><td>{}</td><td>{}</td>", class.normal, class.anomalous);
        class.shots.iter().for_each(|cell| *html += &value(cell, MetricName::ImageAuroc.name()));
        let last = class.shots.iter().find(|cell| patch_max && cell.shots == most);
        last.into_iter().for_each(|cell| *html += &value(cell, MetricName::PatchAuroc.name()));
        *html += "</tr>";
    }
    *html += "</tbody></table></div>\n<p><small>Chance is 50.0.</small></p>\n";
}

fn class_section(html: &mut String, report: &Report<'_>, class: &ClassResults) {
    let find = |entry: &'_ Entry| report.dataset.item(&entry.class, &entry.name);
    let entries = report.entries.iter().filter(|entry| entry.class == class.class && entry.scores.is_ok());
    let judged: Vec<(&Item, &Entry)> = entries.filter_map(|entry| Some((find(entry)?, entry))).collect();
    let truth: Vec<bool> = judged.iter().map(|(item, _)| item.label == Label::Anomalous).collect();
    let scores = |bank: usize| -> Vec<f32> { judged.iter().map(|(_, entry)| score(entry, bank)).collect() };
    let shown = report.shown();
    let (_, most) = report.options.banks()[shown];

    *html += &format!("<h2>{}</h2>\n", escape_text(&class.class));
    if report.results.classes.len() > 1 {
        table(html, report, &class.shots, &class.chance, &[]);
    }
    if class.unseen_defect_pixels > 0 {
        *html += &format!(
            "<p>{} defect pixels lie where the model does not see, and are left out.</p>\n",
            class.unseen_defect_pixels
        );
    }
    let (mut roc, mut pr) = (Vec::new(), Vec::new());
    for (bank, (run, shots)) in report.options.banks().into_iter().enumerate() {
        let Ok(ranking) = Ranking::new(&scores(bank), &truth) else { continue };
        if run == 0 && ranking.auroc().is_ok() {
            let [r, p] = points(&ranking);
            roc.push(Curve { name: format!("{shots} shots"), points: r });
            pr.push(Curve { name: format!("{shots} shots"), points: p });
        }
    }
    let largest = |(_, entry): &(&Item, &Entry)| scored(entry, shown).map_or(f32::NAN, |scored| scored.patch_max);
    let largest: Vec<f32> = judged.iter().map(largest).collect();
    if let Ok(ranking) = Ranking::new(&largest, &truth)
        && report.results.patch_max_differs
        && ranking.auroc().is_ok()
    {
        let [r, p] = points(&ranking);
        roc.push(Curve { name: "patch max".to_owned(), points: r });
        pr.push(Curve { name: "patch max".to_owned(), points: p });
    }
    let ranking = Ranking::new(&scores(shown), &truth);
    let best = ranking.as_ref().ok().and_then(|ranking| ranking.f1_max().ok());
    let of = |kind: bool| -> Vec<f32> {
        scores(shown).into_iter().zip(&truth).filter(|(_, t)| **t == kind).map(|(s, _)| s).collect()
    };
    *html += "<div class=\"charts\">";
    if !roc.is_empty() {
        *html += &figure("ROC, first draw", &curves("ROC curve", "false positive rate", "recall", &roc, false));
        *html += &figure(
            "Precision and recall, first draw",
            &curves("Precision-recall curve", "recall", "precision", &pr, false),
        );
    }
    let limit = best.map(|best| best.threshold);
    let title = format!(
        "Scores at {most} shots, first draw{}",
        if limit.is_some() { "; the line is the threshold" } else { "" }
    );
    *html += &figure(&title, &histogram("Histogram of scores", &of(false), &of(true), limit));
    *html += "</div>\n";
    if let (Some(best), Ok(ranking)) = (best, &ranking) {
        confusion(html, best, ranking.confusion(best.threshold));
        mistakes(html, &judged, shown, best.threshold);
    }
}

fn figure(caption: &str, svg: &str) -> String {
    format!("<figure>{svg}<figcaption>{caption}</figcaption></figure>")
}

fn score(entry: &Entry, bank: usize) -> f32 {
    scored(entry, bank).map_or(f32::NAN, |scored| scored.score)
}

fn scored(entry: &Entry, bank: usize) -> Option<&BankResult> {
    entry.scores.as_ref().ok()?.get(bank)
}

/// ROC and precision-recall curve.
fn points(ranking: &Ranking) -> [Vec<(f64, f64)>; 2] {
    let (normal, anomalous) = (ranking.normal() as f64, ranking.anomalous() as f64);
    let mut roc = vec![(0.0, 0.0)];
    let mut pr = Vec::new();
    for step in ranking.steps() {
        let (found, wrong) = (step.true_positives as f64, step.false_positives as f64);
        roc.push((wrong / normal, found / anomalous));
        pr.push((found / anomalous, found / (found + wrong)));
    }
    [roc, pr]
}

fn confusion(html: &mut String, best: Best, c: Confusion) {
    let anomalous = (c.true_positives + c.false_negatives) as f64;
    let all = 2.0 * anomalous / (2.0 * anomalous + (c.true_negatives + c.false_positives) as f64);
    let _ = writeln!(
        html,
        "<h3>At the threshold {:.4}</h3>\n<p>The threshold with the largest F1 ({:.1} %, where calling everything anomalous has {:.1} %) on these very images: what \
         is possible, not what to expect. <code>inctrl bank calibrate</code> finds one from good parts alone.</p>\n<div class=\"scroll\"><table \
         class=\"narrow\"><thead><tr><th></th><th>called good</th><th>called anomalous</th></tr></thead><tbody><tr><th>normal</th>\
         <td>{}</td><td>{} <small>false rejects</small></td></tr><tr><th>anomalous</th><td>{} <small>misses</small></td><td>{}</td>\
         </tr></tbody></table></div>",
        best.threshold,
        100.0 * best.value,
        100.0 * all,
        c.true_negatives,
        c.false_positives,
        c.false_negatives,
        c.true_positives
    );
}

fn mistakes(html: &mut String, judged: &[(&Item, &Entry)], bank: usize, threshold: f32) {
    let Ok(scale) = ColourScale::new(MAP_MAX) else { return };
    for (title, label) in [("Worst false rejects", Label::Normal), ("Worst misses", Label::Anomalous)] {
        let wrong = |entry: &Entry| (score(entry, bank) >= threshold) == (label == Label::Normal);
        let mut found: Vec<_> = judged.iter().filter(|(item, entry)| item.label == label && wrong(entry)).collect();
        found.sort_by(|(_, a), (_, b)| {
            let order = score(a, bank).total_cmp(&score(b, bank));
            if label == Label::Normal { order.reverse() } else { order }
        });
        *html += &format!("<h3>{title}: {} of {}</h3>\n", found.len().min(SHOWN), found.len());
        if found.is_empty() {
            *html += "<p>None.</p>\n";
            continue;
        }
        *html += "<div class=\"cards\">";
        for (item, entry) in found.into_iter().take(SHOWN) {
            let name = escape_text(&item.name);
            *html += "<figure class=\"card\">";
            match pictures(item, entry, bank, &scale, Look::LARGE) {
                Ok([image, heat]) => {
                    let alt = escape_all_quotes(&item.name);
                    *html +=
                        &format!("<img src=\"{image}\" alt=\"{alt}\"><img src=\"{heat}\" alt=\"heat map of {alt}\">");
                }
                Err(error) => *html += &format!("<p>{}</p>", escape_text(&error)),
            }
            let kind = escape_text(&item.kind);
            *html += &format!(
                "<figcaption><b>{:.4}</b> {kind}<br><span>{name}</span></figcaption></figure>",
                score(entry, bank)
            );
        }
        *html += "</div>\n";
    }
}

fn about(html: &mut String, report: &Report<'_>) {
    let r = report.results;
    let shots = report.options.shots.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let machine = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    *html += "<h2>About this run</h2>\n<dl>";
    for (term, text) in [
        ("program", format!("inctrl {}", r.version)),
        ("model", r.model.clone()),
        ("device", r.device.clone()),
        ("machine", machine),
        ("data set", format!("{} ({})", report.dataset.root.display(), r.layout)),
        ("method", format!("{} {}", r.method, r.options).trim_end().to_owned()),
        ("fit", r.fit.to_string()),
        ("shots", shots),
        ("draws", format!("{}, seed {}", r.runs, r.seed)),
        (
            "pixel metrics",
            match r.mask_side {
                0 => "in the images' own pixels".to_owned(),
                side => format!("at no more than {side} pixels a side"),
            },
        ),
    ] {
        *html += &format!("<dt>{term}</dt><dd>{}</dd>", escape_text(&text));
    }
    *html += "</dl>\n<details><summary>Prompts</summary>";
    for draw in &r.prompts.draws {
        *html += &format!("<h4>{}, draw {}</h4><ol>", escape_text(&draw.class), draw.run + 1);
        for prompt in &draw.prompts {
            *html += &format!(
                "<li>{} <code>{}</code></li>",
                escape_text(&prompt.name),
                &prompt.hash[..prompt.hash.len().min(16)]
            );
        }
        *html += "</ol>";
    }
    *html += "</details>\n";
}
