//! A comparison as a page, Markdown, JSON and a table of scores.

use std::fmt::Write;
use std::path::Path;

use htmlize::{escape_all_quotes, escape_text};
use serde::Serialize;

use super::figures::{Figures, Verdict, kinds, sentences, title, verdict};
use super::run::{Comparison, Judged, Line};
use crate::render::ColourScale;
use crate::report::{Look, begin, beside, histogram};
use inctrl::internals::write_atomically;
use inctrl::{Error, ErrorKind, Image, Result};

/// Good images with the largest scores, and defective ones with the smallest, on the page.
const SHOWN: usize = 3;

/// Writes compare.html, compare.json, compare.md and scores.csv into `folder`.
///
/// # Errors
/// [`ErrorKind::Io`] where a file cannot be written.
pub fn write(comparison: &Comparison, folder: &Path) -> Result<()> {
    for (name, text) in [
        ("compare.html", page(comparison)),
        ("compare.json", json(comparison)?),
        ("compare.md", markdown(comparison)),
        ("scores.csv", csv(comparison)?),
    ] {
        let path = folder.join(name);
        write_atomically(&path, |out| {
            out.write_all(text.as_bytes()).map_err(|error| Error::io("write", &path, error))
        })?;
    }
    Ok(())
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "cannot write the comparison").because(error)
}

fn json(comparison: &Comparison) -> Result<String> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        line: &'a Line,
        #[serde(skip_serializing_if = "Option::is_none")]
        figures: Option<Figures>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    }
    let row = |line: &'_ Line| -> serde_json::Result<serde_json::Value> {
        let figures = line.judged.as_ref().ok().map(|judged| Figures::of(comparison, judged));
        serde_json::to_value(Row { line, figures, error: line.judged.as_ref().err().map(String::as_str) })
    };
    let rows = comparison.lines.iter().map(row).collect::<serde_json::Result<Vec<_>>>().map_err(internal)?;
    let verdict = verdict(comparison);
    let value = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "prompts": comparison.prompts,
        "max_false_reject": comparison.options.max_false_reject,
        "seed": comparison.options.seed,
        "methods": rows,
        "verdict": verdict,
        "sentences": sentences(comparison, &verdict),
    });
    Ok(serde_json::to_string_pretty(&value).map_err(internal)? + "\n")
}

/// A line for each method and image.
///
/// # Errors
/// [`ErrorKind::Internal`].
pub fn csv(comparison: &Comparison) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["method", "model", "image", "label", "prompt", "score", "error"]).map_err(internal)?;
    for line in &comparison.lines {
        let Ok(judged) = &line.judged else { continue };
        for (picture, scored) in comparison.pictures.iter().zip(&judged.scores) {
            let label = if picture.defective { "anomalous" } else { "normal" };
            let path = picture.path.to_string_lossy();
            let (score, error) = match &scored.score {
                Ok(score) => (score.score.to_string(), ""),
                Err(error) => (String::new(), error.as_str()),
            };
            let prompt = if scored.prompt { "yes" } else { "no" };
            writer
                .write_record([line.method.as_str(), &line.model, &path, label, prompt, &score, error])
                .map_err(internal)?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| internal(error.into_error()))?;
    String::from_utf8(bytes).map_err(internal)
}

/// The columns that are not empty: title, and a cell per method.
fn table(comparison: &Comparison) -> Vec<(String, Vec<String>)> {
    let figures: Vec<Option<Figures>> = comparison
        .lines
        .iter()
        .map(|line| line.judged.as_ref().ok().map(|judged| Figures::of(comparison, judged)))
        .collect();
    let column = |title: String, cell: &dyn Fn(&Figures) -> Option<String>| {
        let cells: Vec<Option<String>> = figures.iter().map(|figures| figures.as_ref().and_then(cell)).collect();
        let any = cells.iter().any(Option::is_some);
        any.then(|| (title, cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".to_owned())).collect()))
    };
    // Without rounding errors in the text.
    let rate = (1e6 * comparison.options.max_false_reject).round() / 1e4;
    let auroc = |f: &Figures| {
        let half = f.auroc_half_width.map_or(String::new(), |half| format!(" ± {:.1}", 100.0 * half));
        Some(format!("{:.1}{half}", 100.0 * f.auroc?))
    };
    let size = |f: &Figures| Some(format!("{:.1} MB", f.bank_bytes as f64 / 1e6));
    [
        column("AUROC".to_owned(), &auroc),
        column(format!("found at the limit of {rate} %"), &|f| Some(format!("{} of {}", f.found?, f.defective))),
        column(format!("good rejected at the limit of {rate} %"), &|f| Some(format!("{} of {}", f.rejected?, f.good))),
        column("median of good".to_owned(), &|f| Some(format!("{:.4}", f.median?))),
        column("deviation".to_owned(), &|f| Some(format!("{:.4}", f.deviation?))),
        column("strangest good, deviations".to_owned(), &|f| Some(format!("{:.1}", f.strangest?))),
        column("ms an image".to_owned(), &|f| Some(format!("{:.0}", f.milliseconds))),
        column("bank".to_owned(), &size),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The table and the comparison in sentences.
pub fn markdown(comparison: &Comparison) -> String {
    let columns = table(comparison);
    let mut text = String::from("| method |");
    columns.iter().for_each(|(title, _)| text += &format!(" {title} |"));
    text += "\n|---|";
    columns.iter().for_each(|_| text += "---:|");
    for (at, line) in comparison.lines.iter().enumerate() {
        text += &format!("\n| {} |", title(line, comparison));
        match &line.judged {
            Ok(_) => columns.iter().for_each(|(_, cells)| text += &format!(" {} |", cells[at])),
            Err(error) => text += &format!(" {} |", error.replace('|', "/").replace('\n', " ")),
        }
    }
    text += "\n";
    for sentence in sentences(comparison, &verdict(comparison)) {
        text += &format!("\n{sentence}");
    }
    text + "\n"
}

/// The page: no script, no network.
fn page(comparison: &Comparison) -> String {
    let [good, bad] =
        [false, true].map(|kind| comparison.pictures.iter().filter(|picture| picture.defective == kind).count());
    let mut html = begin("inctrl compare", "Which method for these parts?", true);
    html += &format!(
        "<p class=\"lead\">{good} good and {bad} defective images. {} good ones are prompts, each scored against the others; all \
         other images are scored against all prompts.</p>\n",
        comparison.prompts
    );
    let verdict = verdict(comparison);
    let sentences = sentences(comparison, &verdict);
    // The first is of the best one, and what follows compares the others with it.
    if let Some((first, rest)) = sentences.split_first() {
        let _ = writeln!(html, "<p>{}</p>", escape_text(first));
        if !rest.is_empty() {
            let rest: String = rest.iter().map(|sentence| format!("<li>{}</li>", escape_text(sentence))).collect();
            let _ = writeln!(html, "<ul>{rest}</ul>");
        }
    }
    let columns = table(comparison);
    html += "<div class=\"scroll\"><table class=\"sticky\"><thead><tr><th>method</th>";
    columns.iter().for_each(|(title, _)| html += &format!("<th>{}</th>", escape_text(title)));
    html += "</tr></thead><tbody>";
    for (at, line) in comparison.lines.iter().enumerate() {
        let (method, model) = (escape_text(&line.method), escape_text(&line.model));
        html += &format!("<tr><th>{method}<br><small>{model}</small></th>");
        match &line.judged {
            Ok(_) => columns.iter().for_each(|(_, cells)| html += &format!("<td>{}</td>", escape_text(&cells[at]))),
            Err(error) => html += &format!("<td colspan=\"{}\">{}</td>", columns.len(), escape_text(error)),
        }
        html += "</tr>";
    }
    html += "</tbody></table></div>\n";
    let told = if matches!(verdict, Verdict::NoDefects) { "" } else { "AUROC with its interval of 95 % (DeLong). " };
    html += &format!(
        "<p><small>{told}The limit is that of <code>inctrl bank calibrate</code>; for a good image it is computed from the other \
         good ones. Scores of different methods are not comparable; deviations are.</small></p>\n"
    );
    histograms(&mut html, comparison);
    images(&mut html, comparison);
    about(&mut html, comparison);
    html + "</main></body></html>\n"
}

/// The scores of each method, and the images that it could not judge.
fn histograms(html: &mut String, comparison: &Comparison) {
    *html += "<h2>Scores</h2>\n<div class=\"charts\">";
    let mut failed = String::new();
    for line in &comparison.lines {
        let Ok(judged) = &line.judged else { continue };
        let [good, bad] = kinds(comparison, judged);
        let limit = Figures::of(comparison, judged).limit.map(|limit| limit as f32);
        let told = if limit.is_some() { "; the line is the limit" } else { "" };
        let svg = histogram("Histogram of scores", &good, &bad, limit);
        let name = escape_text(title(line, comparison)).into_owned();
        *html += &format!("<figure>{svg}<figcaption><b>{name}</b>{told}</figcaption></figure>");
        for error in judged.scores.iter().filter_map(|scored| scored.score.as_ref().err()) {
            failed += &format!("<li>{name}: {}</li>", escape_text(error.as_str()));
        }
    }
    *html += "</div>\n";
    if !failed.is_empty() {
        *html += &format!("<ul class=\"notice\">{failed}</ul>\n");
    }
}

/// The good images with the largest scores of any method, and the defective ones with the smallest, with the maps of
/// all methods side by side.
fn images(html: &mut String, comparison: &Comparison) {
    let score = |judged: &Judged, at: usize| judged.scores[at].score.as_ref().ok().map(|score| score.score);
    for (heading, defective) in
        [("Good images with the largest scores", false), ("Defective images with the smallest scores", true)]
    {
        let mut shown: Vec<usize> = Vec::new();
        for line in &comparison.lines {
            let Ok(judged) = &line.judged else { continue };
            let of_kind = (0..comparison.pictures.len()).filter(|&at| comparison.pictures[at].defective == defective);
            let mut scored: Vec<(usize, f32)> = of_kind.filter_map(|at| Some((at, score(judged, at)?))).collect();
            scored.sort_by(|(_, a), (_, b)| if defective { a.total_cmp(b) } else { b.total_cmp(a) });
            shown.extend(scored.into_iter().take(SHOWN).map(|(at, _)| at));
        }
        shown.sort_unstable();
        shown.dedup();
        if shown.is_empty() {
            continue;
        }
        *html += &format!("<h2>{heading}</h2>\n<p>By any of the methods, with the maps of all.</p>\n");
        for at in shown {
            let name = comparison.pictures[at].path.display().to_string();
            *html += &format!("<h3>{}</h3>\n<div class=\"strip\">", escape_text(&name));
            let mut picture = String::new();
            let mut maps = String::new();
            for line in &comparison.lines {
                let Ok(judged) = &line.judged else { continue };
                map([&mut picture, &mut maps], comparison, line, judged, at);
            }
            *html += &(picture + &maps);
            *html += "</div>\n";
        }
    }
}

/// Adds a method's map of a picture to `maps`, and the picture itself to `shown` unless it is there.
fn map([shown, maps]: [&mut String; 2], comparison: &Comparison, line: &Line, judged: &Judged, at: usize) {
    let picture = &comparison.pictures[at];
    let Ok(score) = &judged.scores[at].score else { return };
    // One scale for all images of a method: twice the largest value of its good images.
    let good = comparison.pictures.iter().zip(&judged.scores).filter(|(picture, _)| !picture.defective);
    let most = good.filter_map(|(_, scored)| scored.score.as_ref().ok()).map(|score| score.map.largest());
    let made = ColourScale::new(2.0 * most.fold(f32::MIN_POSITIVE, f32::max)).and_then(|scale| {
        let image = Image::open_with(&picture.path, comparison.options.white_level)?;
        beside(image.frame(), &score.map, &scale, Look::SMALL)
    });
    let name = title(line, comparison);
    let map = match made {
        Ok([image, heat]) => {
            if shown.is_empty() {
                *shown = format!(
                    "<figure><img src=\"{image}\" alt=\"the image\"><figcaption>the image</figcaption></figure>"
                );
            }
            format!("<img src=\"{heat}\" alt=\"heat map of {}\">", escape_all_quotes(&line.method))
        }
        Err(error) => format!("<p>{}</p>", escape_text(error.chain())),
    };
    *maps += &format!(
        "<figure>{map}<figcaption><b>{}</b><br>score {:.4}</figcaption></figure>",
        escape_text(&name),
        score.score
    );
}

fn about(html: &mut String, comparison: &Comparison) {
    *html += "<h2>About this run</h2>\n<dl>";
    let mut row = |term: &str, text: &str| {
        *html += &format!("<dt>{}</dt><dd>{}</dd>", escape_text(term), escape_text(text));
    };
    row("program", &format!("inctrl {}", env!("CARGO_PKG_VERSION")));
    row("machine", &format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    row("prompts", &format!("{}, seed {}", comparison.prompts, comparison.options.seed));
    for line in &comparison.lines {
        let text = format!("{} {} on {}, {}", line.method, line.options, line.model, line.device);
        row("method", &text);
    }
    *html += "</dl>\n";
}
