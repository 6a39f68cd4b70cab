//! `inctrl verify`: a bank in other precisions, and on other devices.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use inctrl::{Device, Engine, EngineOptions, ErrorKind, Precision, PromptBank, Thresholds};
use inctrl_lab::normals::{GoodParts, Normal, open_all};
use inctrl_lab::verification::{Agreement, Judged, Shown, judge};
use serde::Serialize;

use super::Outcome;
use super::console::{Progress, result, say};
use super::depth::DepthArgs;
use super::model::ModelArgs;
use super::queries::Queries;
use super::workers::without_path;

/// Compare precisions and devices on your own images: how far scores and heat maps differ, and which verdicts change
#[derive(clap::Args)]
#[command(after_help = "\
The reference is the CPU in the precision in which the bank's limits were calibrated; for f32 or f16, and for
limits set by hand, in f32. It is compared with --device and --precision; without --precision with every
other precision of the device. The verdicts are those at the bank's limits.

The limits of a bank do not hold in another precision. -o writes a bank whose limits were calibrated in the
precision of --precision, from the images, which must then be good parts, as for inctrl bank calibrate.

Rank correlations are Spearman's: 1 if the order is the same.

Examples:
  inctrl verify --weights W.safetensors --bank nut.bank --images recent/
  inctrl verify --weights W.safetensors --bank nut.bank --images good/ --precision int8 -o nut-int8.bank")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The bank
    #[arg(long, value_name = "B")]
    bank: PathBuf,
    /// Images, folders (with their subfolders) or globs
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    images: Vec<PathBuf>,
    /// Images known to be defective; the areas under the ROC curve are then compared, too
    #[arg(long, value_name = "PATH", num_args = 1..)]
    defects: Vec<PathBuf>,
    #[command(flatten)]
    depth: DepthArgs,
    /// Write the bank with limits calibrated in the precision of --precision
    #[arg(short, long, value_name = "OUT", requires = "precision")]
    output: Option<PathBuf>,
    /// The share of good parts that these limits may reject [default: that of the bank's calibration, or 0.01]
    #[arg(long, value_name = "SHARE", requires = "output")]
    max_false_reject: Option<f64>,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: ReportFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReportFormat {
    Text,
    Json,
}

/// One engine beside the reference.
#[derive(Serialize)]
struct Line {
    precision: Precision,
    device: String,
    milliseconds: Option<f64>,
    #[serde(flatten)]
    agreement: Agreement,
}

#[derive(Serialize)]
struct Report<'a> {
    bank: &'a str,
    class: &'a str,
    limits: Option<&'a Thresholds>,
    reference: Reference,
    compared: Vec<Line>,
}

#[derive(Serialize)]
struct Reference {
    precision: Precision,
    device: String,
    milliseconds: Option<f64>,
}

pub fn run(args: Args) -> Result<Outcome> {
    let progress = Progress::new();
    let bank = PromptBank::open(&args.bank)?;
    let (images, mut failed) = args.shown();
    if images.is_empty() {
        failed.iter().for_each(|line| say(line));
        bail!("there is no image to score");
    }
    let own = bank.calibration().and_then(|calibration| calibration.precision()).unwrap_or(Precision::F32);
    let mut options = args.model.options();
    (options.device, options.precision) = (Device::Cpu, Some(own));
    progress.step("opening the model");
    let reference = Engine::with(&options).context("the precision of the bank's limits")?;
    let of_reference = args.judge(&reference, &bank, &images, &progress)?;
    let described = [reference.device(), reference.precision().to_string()];
    drop(reference);
    let mut compared = Vec::new();
    for engine in args.others(&described) {
        let engine = engine?;
        let judged = args.judge(&engine, &bank, &images, &progress)?;
        // An image that the reference cannot score either is reported once.
        let pairs = images.iter().zip(of_reference.scores.iter().zip(&judged.scores));
        let failures =
            pairs.filter_map(|(image, (first, score))| Some((image, first.as_ref().ok().and(score.as_ref().err())?)));
        failed.extend(failures.map(|(image, error)| failure(image, error)));
        let agreement = Agreement::of(&images, &of_reference, &judged);
        let Judged { precision, device, milliseconds, .. } = judged;
        compared.push(Line { precision, device, milliseconds, agreement });
        if let Some(path) = &args.output {
            args.recalibrate(&engine, path, &images, &progress)?;
        }
    }
    let Judged { precision, device, milliseconds, scores } = of_reference;
    let failures = images.iter().zip(&scores).filter_map(|(image, score)| Some((image, score.as_ref().err()?)));
    failed.extend(failures.map(|(image, error)| failure(image, error)));
    drop(progress);
    if compared.is_empty() {
        bail!("{device} in {precision} is the reference itself: give another --precision or --device");
    }
    let reference = Reference { precision, device, milliseconds };
    let report = Report { bank: bank.id(), class: bank.class(), limits: bank.thresholds(), reference, compared };
    result(&match args.format {
        ReportFormat::Json => serde_json::to_string(&report)?,
        ReportFormat::Text => report.text(&args.bank),
    })?;
    let prompts = report.compared.first().map_or(0, |line| line.agreement.prompts);
    if prompts > 0 {
        let are = if prompts == 1 { "image is a prompt" } else { "images are prompts" };
        say(&format!("note: {prompts} {are} of the bank, and left out"));
    }
    failed.iter().for_each(|line| say(line));
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::SomeInputsFailed })
}

fn failure(image: &Shown, error: &str) -> String {
    format!("error: {}: {}", image.path.display(), without_path(error.to_owned(), &image.path))
}

impl Args {
    /// The images, and a line for each path that has none.
    fn shown(&self) -> (Vec<Shown>, Vec<String>) {
        let (mut images, mut failed) = (Vec::new(), Vec::new());
        for (paths, defective) in [(&self.images, false), (&self.defects, true)] {
            for query in Queries::expand(paths, None).into_iter() {
                match query.problem {
                    Some(problem) => failed.push(format!("error: {}: {problem}", query.path.display())),
                    None => images.push(Shown { path: query.path, defective }),
                }
            }
        }
        (images, failed)
    }

    fn judge(&self, engine: &Engine, bank: &PromptBank, images: &[Shown], progress: &Progress) -> Result<Judged> {
        self.model.say_device(engine);
        progress.count(images.len(), "images scored");
        Ok(judge(engine, bank, images, self.depth.white_level, || progress.advance())?)
    }

    /// The engines that are compared with the reference, which is `reference` in words: that of --precision, or one for
    /// each other precision of the device.
    fn others<'a>(&'a self, reference: &'a [String; 2]) -> impl Iterator<Item = Result<Engine>> + 'a {
        let options = self.model.options();
        let precisions = options.precision.map_or(Precision::ALL.to_vec(), |precision| vec![precision]);
        let open = move |precision| {
            let mut own: EngineOptions = options.clone();
            own.precision = Some(precision);
            let engine = Engine::with(&own);
            let missing = engine.as_ref().is_err_and(|error| error.kind() == ErrorKind::Device);
            (options.precision.is_some() || !missing).then_some(engine)
        };
        let known = |engine: &Engine| [engine.device(), engine.precision().to_string()] == *reference;
        precisions.into_iter().filter_map(open).filter_map(move |engine| match engine {
            Ok(engine) if known(&engine) => None,
            engine => Some(engine.map_err(Into::into)),
        })
    }

    /// Writes the bank with limits from the images that are not defective.
    fn recalibrate(&self, engine: &Engine, path: &Path, images: &[Shown], progress: &Progress) -> Result<()> {
        let bank = PromptBank::open_without_thresholds(&self.bank)?;
        let good: Vec<Normal<'_>> =
            images.iter().filter(|image| !image.defective).map(|image| Normal::File(image.path.clone())).collect();
        let parts = GoodParts::of(open_all(&good, self.depth.white_level, &bank)?);
        let own = PromptBank::open(&self.bank)?;
        let rate = self.max_false_reject.or(own.calibration().map(|calibration| calibration.max_false_reject()));
        let rate = rate.unwrap_or(0.01);
        parts.enough(rate)?;
        progress.count(parts.used.len(), "good parts scored");
        let calibrated = parts.calibrate(engine, &bank, rate, || {
            progress.advance();
            Ok(())
        })?;
        calibrated.save(path)?;
        let (count, precision) = (parts.used.len(), engine.precision());
        progress.aside(|| {
            say(&format!(
                "{}: limits calibrated in {precision} on {count} images as good parts, at most {rate} false rejects",
                path.display()
            ));
        });
        Ok(())
    }
}

impl Report<'_> {
    fn text(&self, path: &Path) -> String {
        let Reference { precision, device, milliseconds } = &self.reference;
        let limits = self.limits.map_or("no limits".to_owned(), |limits| {
            format!("limits review {:.4}, reject {:.4}, cell {:.4}", limits.review, limits.reject, limits.cell)
        });
        let class = if self.class.is_empty() { String::new() } else { format!(" class {},", self.class) };
        let mut text = format!("{}:{class} {limits}\nreference: {precision} on {device}", path.display());
        if let Some(milliseconds) = milliseconds {
            text += &format!(", {milliseconds:.1} ms an image");
        }
        for line in &self.compared {
            text += &line.text();
        }
        text
    }
}

impl Line {
    fn text(&self) -> String {
        let Agreement {
            images,
            score_most,
            score_mean,
            cell_most,
            scores_ranked,
            cells_ranked,
            worst_map,
            changes,
            auroc,
            ..
        } = &self.agreement;
        let ranked = |x: &Option<f64>| x.map_or("-".to_owned(), |x| format!("{x:.5}"));
        let mut text = format!("\n{} on {}, {images} images", self.precision, self.device);
        if let Some(milliseconds) = self.milliseconds {
            text += &format!(", {milliseconds:.1} ms an image");
        }
        text += &format!(
            "\n  scores differ by at most {score_most:.5}, {score_mean:.5} on average; rank correlation {}",
            ranked(scores_ranked)
        );
        text += &format!(
            "\n  cells differ by at most {cell_most:.5}; rank correlation of all cells {}",
            ranked(cells_ranked)
        );
        if let Some((ranked, path)) = worst_map {
            text += &format!(", of the worst map {ranked:.5} ({})", path.display());
        }
        if let Some([before, after]) = auroc {
            text += &format!("\n  area under the ROC curve {after:.5}, in the reference {before:.5}");
        }
        let Some(changes) = changes else { return text };
        text += &format!("\n  {} of {images} verdicts change", changes.len());
        for change in changes {
            let ([from, to], [before, after], [cell, other]) = (change.verdicts, change.scores, change.largest);
            text += &format!(
                "\n    {}: {from} becomes {to}; score {before:.5} and {after:.5}, largest cell {cell:.5} and {other:.5}",
                change.path.display()
            );
        }
        text
    }
}
