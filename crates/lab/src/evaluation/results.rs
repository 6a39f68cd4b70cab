//! From scores to figures.

use std::collections::{BTreeMap, HashMap};
use std::thread;

use serde::Serialize;

use super::chance::{Chance, Counts};
use super::{BankResult, Draws, Entry, Failure, Options, PaperRow, paper_rows};
use crate::datasets::{self, ClassCounts, Dataset, Item, Label, Layout, Problem, Split};
use crate::metrics::{Metric, Pixels, Ranking, Undefined};
use crate::render::upsample;
use inctrl::internals::{check_memory, without_signals};
use inctrl::pictures::PictureId;
use inctrl::view::Fit;
use inctrl::{Engine, Result};

/// Limit of the false positive rate for AUPRO, as papers have it.
pub(super) const AUPRO_LIMIT: f64 = 0.3;

/// The metrics, by the names that files use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// AUROC of images.
    ImageAuroc,
    /// Average precision (AUPRC) of images.
    ImageAuprc,
    /// Largest F1 of images.
    ImageF1Max,
    /// AUROC of images by their largest residual alone, without heads and texts, for comparison.
    PatchAuroc,
    /// Average precision of images by their largest residual alone.
    PatchAuprc,
    /// Largest F1 of images by their largest residual alone.
    PatchF1Max,
    /// AUROC of pixels.
    PixelAuroc,
    /// Average precision of pixels.
    PixelAuprc,
    /// Largest F1 of pixels.
    PixelF1Max,
    /// Per-region overlap up to a false positive rate of 0.3, divided by 0.3.
    PixelAupro,
}

impl MetricName {
    /// All of them.
    pub const ALL: [MetricName; 10] = [
        MetricName::ImageAuroc,
        MetricName::ImageAuprc,
        MetricName::ImageF1Max,
        MetricName::PatchAuroc,
        MetricName::PatchAuprc,
        MetricName::PatchF1Max,
        MetricName::PixelAuroc,
        MetricName::PixelAuprc,
        MetricName::PixelF1Max,
        MetricName::PixelAupro,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            MetricName::ImageAuroc => "image_auroc",
            MetricName::ImageAuprc => "image_auprc",
            MetricName::ImageF1Max => "image_f1_max",
            MetricName::PatchAuroc => "patch_max_auroc",
            MetricName::PatchAuprc => "patch_max_auprc",
            MetricName::PatchF1Max => "patch_max_f1_max",
            MetricName::PixelAuroc => "pixel_auroc",
            MetricName::PixelAuprc => "pixel_auprc",
            MetricName::PixelF1Max => "pixel_f1_max",
            MetricName::PixelAupro => "pixel_aupro",
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            MetricName::ImageAuroc => "AUROC",
            MetricName::ImageAuprc => "AUPRC",
            MetricName::ImageF1Max => "F1-max",
            MetricName::PatchAuroc => "patch max AUROC",
            MetricName::PatchAuprc => "patch max AUPRC",
            MetricName::PatchF1Max => "patch max F1-max",
            MetricName::PixelAuroc => "pixel AUROC",
            MetricName::PixelAuprc => "pixel AUPRC",
            MetricName::PixelF1Max => "pixel F1-max",
            MetricName::PixelAupro => "AUPRO 0.3",
        }
    }
}

/// A metric's values over runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Their mean; `null` if it is undefined in any run.
    pub mean: Option<f64>,
    /// Their standard deviation, of the population.
    pub std: Option<f64>,
    /// Why it is undefined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The values, run by run.
    pub runs: Vec<Option<f64>>,
}

impl Spread {
    fn of(values: &[Metric]) -> Self {
        let runs = values.iter().map(|value| value.ok()).collect();
        match values.iter().copied().collect::<Result<Vec<f64>, Undefined>>() {
            Err(reason) => Spread { mean: None, std: None, reason: Some(reason.to_string()), runs },
            Ok(values) => {
                let count = values.len() as f64;
                let mean = values.iter().sum::<f64>() / count;
                let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
                Spread { mean: Some(mean), std: Some(variance.sqrt()), reason: None, runs }
            }
        }
    }
}

/// The metrics at one number of shots.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Prompts.
    pub shots: usize,
    /// By name.
    pub metrics: BTreeMap<&'static str, Spread>,
}

/// The figures of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassResults {
    /// The class.
    pub class: String,
    /// Its name in text prompts.
    pub text: String,
    /// Number of normal images scored.
    pub normal: usize,
    /// Number of anomalous images scored.
    pub anomalous: usize,
    /// Number of anomalous images with a mask.
    pub masks: usize,
    /// Defect pixels that the model does not see, at the size of the metrics.
    pub unseen_defect_pixels: u64,
    /// The chance level of each metric.
    pub chance: Chance,
    /// By number of shots.
    pub shots: Vec<Cell>,
}

/// The figures of all classes together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Means over classes, then over runs, by number of shots.
    pub shots: Vec<Cell>,
    /// The chance level of each metric: the mean over classes.
    pub chance: Chance,
    /// The published figures of the method, if there are any for the data set.
    pub paper: Vec<PaperRow>,
}

/// The results of an evaluation. The same run gives the same bytes as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Results {
    /// Version of the program.
    pub version: &'static str,
    /// Hash of the model.
    pub model: String,
    /// The device.
    pub device: String,
    /// Layout of the data set.
    pub layout: Layout,
    /// The method.
    pub method: String,
    /// Its options, each `name=value`.
    pub options: String,
    /// How images were fitted to the encoder.
    pub fit: Fit,
    /// The seed of split and draws.
    pub seed: u64,
    /// Number of draws.
    pub runs: usize,
    /// Longest side of maps and masks in the metrics of pixels; 0 for the images' own.
    pub mask_side: usize,
    /// All classes together.
    pub overall: Summary,
    /// Class by class.
    pub classes: Vec<ClassResults>,
    /// Whether the patch maximum differs from the score on some image.
    pub patch_max_differs: bool,
    /// The prompts of every run.
    pub prompts: Draws,
    /// Images that could not be used.
    pub failures: Vec<Failure>,
    /// Problems of the data set found by [`check`](crate::datasets::check).
    pub problems: Vec<Problem>,
    /// Test images with the same pixels as a prompt, which make the figures too good.
    pub leaks: Vec<String>,
}

/// Computes all figures of a finished run. `checked` is the result of [`check`](crate::datasets::check), at least for
/// the wanted classes.
///
/// # Errors
/// As [`Options::classes`], where a mask can no longer be read, and [`inctrl::ErrorKind::Device`] where there is not
/// enough memory for the pixels of a class.
pub fn evaluate(
    engine: &Engine,
    dataset: &Dataset,
    options: &Options,
    draws: Draws,
    entries: &[Entry],
    unusable: Vec<Failure>,
    checked: &datasets::Report,
) -> Result<Results> {
    let names = options.classes(dataset)?;
    let by_name: HashMap<(&str, &str), &Entry> =
        entries.iter().map(|entry| ((entry.class.as_str(), entry.name.as_str()), entry)).collect();
    let (mut classes, mut failures) = (Vec::new(), unusable);
    for &class in &names {
        let mut judged = Vec::new();
        for item in dataset.of(class, Split::Test) {
            let Some(entry) = by_name.get(&(class, item.name.as_str())) else { continue };
            match &entry.scores {
                Ok(_) => judged.push((item, *entry)),
                Err(error) => failures.push(Failure { name: item.name.clone(), error: error.clone() }),
            }
        }
        classes.push(class_results(class, dataset.text(class), options, &judged, &mut failures)?);
    }
    let differs = |scored: &BankResult| scored.score.to_bits() != scored.patch_max.to_bits();
    Ok(Results {
        version: env!("CARGO_PKG_VERSION"),
        model: engine.model_hash().to_owned(),
        device: engine.device(),
        layout: dataset.layout,
        method: options.spec.method.clone().unwrap_or_default(),
        options: options.spec.options.join(" "),
        fit: options.spec.fit.unwrap_or_default(),
        seed: options.seed,
        runs: options.runs,
        mask_side: options.mask_side,
        overall: Summary {
            shots: overall(options, &classes),
            chance: Chance::mean(classes.iter().map(|(class, _)| &class.chance)),
            // Figures on a part of a data set, or on another one under its names, do not compare.
            paper: if checked.classes.iter().all(ClassCounts::is_as_published) {
                paper_rows(options.spec.method.as_deref().unwrap_or_default(), &names, dataset.layout)
            } else {
                Vec::new()
            },
        },
        classes: classes.into_iter().map(|(results, _)| results).collect(),
        leaks: leaks(dataset, &draws, entries, checked),
        patch_max_differs: entries.iter().flat_map(|entry| entry.scores.iter().flatten()).any(differs),
        prompts: draws,
        failures,
        problems: checked.problems.clone(),
    })
}

/// Test images with the same pixels as a prompt of their class.
fn leaks(dataset: &Dataset, draws: &Draws, entries: &[Entry], checked: &datasets::Report) -> Vec<String> {
    let seen = dataset.items.iter().zip(&checked.pictures);
    let known: HashMap<(&str, &str), PictureId> =
        seen.filter_map(|(item, id)| Some(((item.class.as_str(), item.name.as_str()), (*id)?))).collect();
    let mut prompts: HashMap<(&str, PictureId), &str> = HashMap::new();
    for draw in &draws.draws {
        for prompt in &draw.prompts {
            if let Some(id) = known.get(&(draw.class.as_str(), prompt.name.as_str())) {
                prompts.insert((&draw.class, *id), &prompt.name);
            }
        }
    }
    let leak = |entry: &Entry| {
        let id = known.get(&(entry.class.as_str(), entry.name.as_str()))?;
        let prompt = prompts.get(&(entry.class.as_str(), *id))?;
        Some(format!("{} has the pixels of prompt {prompt}", entry.name))
    };
    entries.iter().filter_map(leak).collect()
}

/// The metrics of each bank of a class.
type Table = Vec<[Metric; MetricName::ALL.len()]>;

fn class_results(
    class: &str,
    text: &str,
    options: &Options,
    judged: &[(&Item, &Entry)],
    failures: &mut Vec<Failure>,
) -> Result<(ClassResults, Table)> {
    let truth: Vec<bool> = judged.iter().map(|(item, _)| item.label == Label::Anomalous).collect();
    let masks = masks(options, judged, failures);
    let count = options.banks().len();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(count.max(1));
    let what = format!("the pixels of class `{class}` against {threads} banks at once");
    let bytes = Pixels::bytes(pixel_count(&masks)).saturating_mul(threads);
    check_memory(&what, bytes, "use a smaller --mask-side")?;
    let bank = |bank: usize| -> Result<_> {
        let images = |figure: fn(&BankResult) -> f32| -> [Metric; 3] {
            let score = |(_, entry): &(&Item, &Entry)| entry.scores.as_ref().map_or(f32::NAN, |s| figure(&s[bank]));
            let scores: Vec<f32> = judged.iter().map(score).collect();
            let ranking = Ranking::new(&scores, &truth);
            let of = |metric: fn(&Ranking) -> Metric| ranking.as_ref().map_err(|reason| *reason).and_then(metric);
            [of(Ranking::auroc), of(Ranking::average_precision), of(|r| r.f1_max().map(|best| best.value))]
        };
        let ([a, b, c], [d, e, f]) = (images(|scored| scored.score), images(|scored| scored.patch_max));
        let pixels = pixels(bank, judged, &masks)?;
        let [g, h, i, j] = pixels.metrics;
        Ok(([a, b, c, d, e, f, g, h, i, j], (pixels.unseen, pixels.counts)))
    };
    let mut table: Vec<Result<_>> = Vec::with_capacity(count);
    for first in (0..count).step_by(threads) {
        let bank = &bank;
        thread::scope(|scope| {
            let start = |index| scope.spawn(move || bank(index));
            let running: Vec<_> = without_signals(|| (first..count.min(first + threads)).map(start).collect());
            // A panic goes on where it would have gone without threads.
            table
                .extend(running.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
        });
    }
    let table = table.into_iter().collect::<Result<Vec<_>>>()?;
    let (table, pixels): (Table, Vec<(u64, Option<Counts>)>) = table.into_iter().unzip();
    // Every bank sees the same pixels.
    let (unseen, pixels) = pixels.first().copied().unwrap_or_default();
    let anomalous = truth.iter().filter(|&&anomalous| anomalous).count();
    let images = [truth.len() - anomalous, anomalous].map(|count| count as u64);
    let results = ClassResults {
        class: class.to_owned(),
        text: text.to_owned(),
        normal: truth.len() - anomalous,
        anomalous,
        masks: masks.iter().filter(|mask| matches!(mask, Truth::Mask(..))).count(),
        unseen_defect_pixels: unseen,
        chance: Chance::of(images, pixels),
        shots: cells(options, |index, metric| table[index][metric]),
    };
    Ok((results, table))
}

/// Pixels that the metrics look at: none without a single mask, as there is nothing to sort then.
fn pixel_count(masks: &[Truth]) -> usize {
    let pixels = |truth: &Truth| match truth {
        Truth::Normal(width, height) | Truth::Mask(_, width, height) => width * height,
        Truth::Unknown => 0,
    };
    if masks.iter().any(|mask| matches!(mask, Truth::Mask(..))) { masks.iter().map(pixels).sum() } else { 0 }
}

/// The truth about an image's pixels, at the size of the metrics.
enum Truth {
    /// All normal; width and height.
    Normal(usize, usize),
    /// Mask; width and height.
    Mask(Vec<bool>, usize, usize),
    /// Anomalous, without a mask.
    Unknown,
}

fn masks(options: &Options, judged: &[(&Item, &Entry)], failures: &mut Vec<Failure>) -> Vec<Truth> {
    let truth = |(item, entry): &(&Item, &Entry)| {
        let [width, height] = reduced(entry.size, options.mask_side);
        match item.label {
            Label::Normal => Truth::Normal(width, height),
            Label::Anomalous => match item.read_mask(width, height) {
                Ok(Some(mask)) => Truth::Mask(mask, width, height),
                Ok(None) => Truth::Unknown,
                Err(error) => {
                    let name = error.path().map_or(item.name.clone(), |path| path.display().to_string());
                    failures.push(Failure { name, error: error.chain() });
                    Truth::Unknown
                }
            },
        }
    };
    judged.iter().map(truth).collect()
}

/// The sides of an image, reduced so that the longer one is at most `side`, unless `side` is 0.
fn reduced([width, height]: [usize; 2], side: usize) -> [usize; 2] {
    let longest = width.max(height);
    if side == 0 || longest <= side {
        return [width, height];
    }
    [width, height].map(|length| ((length * side + longest / 2) / longest).max(1))
}

/// The pixel metrics against one bank.
struct PixelFigures {
    metrics: [Metric; 4],
    /// Defect pixels that the model does not see.
    unseen: u64,
    /// Pixels that are.
    counts: Option<Counts>,
}

fn pixels(bank: usize, judged: &[(&Item, &Entry)], masks: &[Truth]) -> Result<PixelFigures> {
    let count = pixel_count(masks);
    let mut pixels = Pixels::for_pixels(count)?;
    let mut failed = None;
    for ((_, entry), truth) in judged.iter().zip(masks).filter(|_| count > 0) {
        let (mask, width, height) = match truth {
            Truth::Normal(width, height) => (None, *width, *height),
            Truth::Mask(mask, width, height) => (Some(&mask[..]), *width, *height),
            Truth::Unknown => continue,
        };
        let Some(map) = entry.map(bank, width, height) else { continue };
        let added = pixels.add(&upsample(&map, width, height)?, mask, width);
        failed = failed.or(added.err());
    }
    let unseen = pixels.unseen_defect();
    let ranking = failed.map_or_else(|| pixels.rank(), Err);
    Ok(match ranking {
        Err(reason) => PixelFigures { metrics: [Err(reason); 4], unseen, counts: None },
        Ok(ranking) => {
            let flat = ranking.ranking();
            let f1 = flat.f1_max().map(|best| best.value);
            let metrics = [flat.auroc(), flat.average_precision(), f1, ranking.aupro(AUPRO_LIMIT)];
            PixelFigures { metrics, unseen, counts: Some([flat.normal(), flat.anomalous()]) }
        }
    })
}

/// A cell for each number of shots, from the values of each bank and metric.
fn cells(options: &Options, value: impl Fn(usize, usize) -> Metric) -> Vec<Cell> {
    let banks = options.banks();
    let cell = |&shots: &usize| {
        let runs: Vec<usize> = (0..banks.len()).filter(|&index| banks[index].1 == shots).collect();
        let spread = |metric: MetricName| {
            let values: Vec<Metric> = runs.iter().map(|&index| value(index, metric as usize)).collect();
            (metric.name(), Spread::of(&values))
        };
        Cell { shots, metrics: MetricName::ALL.into_iter().map(spread).collect() }
    };
    options.shots.iter().map(cell).collect()
}

/// The mean over classes of each run, then over runs.
fn overall(options: &Options, classes: &[(ClassResults, Table)]) -> Vec<Cell> {
    cells(options, |index, metric| {
        let values = classes.iter().map(|(_, table)| table[index][metric]).collect::<Result<Vec<f64>, _>>()?;
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    })
}
