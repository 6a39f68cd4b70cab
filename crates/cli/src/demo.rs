//! `inctrl demo`: from images to scores and heat maps, without a data set or a download.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use inctrl::{Engine, Fit, Frame, Score};
use inctrl_lab::metrics::auroc;
use inctrl_lab::render::{ColourScale, Picture, Tile, contact_sheet, write_jpeg, write_png};
use inctrl_lab::synth::{Family, Fault, Sample, Severity, Split, sample};
use tempfile::TempDir;

use super::Outcome;
use super::console::{Progress, result};
use super::maps::create_folder;

/// Score procedural images of good and defective products, and draw their heat maps
#[derive(clap::Args)]
#[command(after_help = "\
Without --weights the program uses its own small model. It was trained on procedural
products of other families, without the defects hole and foreign_object. It is a working
example; real inspection needs published weights. Ball bearings and cables, whose parts are
rotated differently in every image, are harder for it: --all shows them too.

Examples:
  inctrl demo -o inctrl-demo
  inctrl demo --all --shots 4")]
pub struct Args {
    /// The folder for contact_sheet.png
    #[arg(short, long, value_name = "DIR", default_value = "inctrl-demo")]
    output: PathBuf,
    /// A model to use instead of the program's own
    #[arg(long, value_name = "W")]
    weights: Option<PathBuf>,
    /// Number of normal images of each product
    #[arg(long, value_name = "K", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=256))]
    shots: u64,
    /// Show every held-out family of products, including those that the example model handles poorly
    #[arg(long)]
    all: bool,
    /// Also write a small JPEG with a few defects of each of the first products
    #[arg(long, value_name = "FILE")]
    overview: Option<PathBuf>,
    /// Another seed gives other products
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Width and height of the images in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 240, value_parser = clap::value_parser!(u16).range(32..=4096))]
    side: u16,
}

/// Sizes of the defects: each kind of defect comes once in each size. There are as many good queries as defective ones.
const SEVERITIES: [Severity; 2] = [Severity::Medium, Severity::Large];
/// Families whose parts are rotated differently in every image. For the small model, a few normal images do not cover
/// all rotations (weights/README.md has the figures).
const TURNED: [Family; 2] = [Family::BallBearing, Family::Cable];
/// The largest number of products on the contact sheet.
const SHELVES: usize = 12;
/// The residual at the bright end of the scale.
const MAP_MAX: f32 = 0.25;
/// Width and height of an image on the contact sheet.
const TILE_SIDE: usize = 160;
/// Products and images of each on the overview, the side of an image there, and the quality of its JPEG.
const OVERVIEW: (usize, usize) = (2, 8);
const OVERVIEW_SIDE: usize = 144;
const OVERVIEW_QUALITY: u8 = 80;

pub fn run(args: Args) -> Result<Outcome> {
    let progress = Progress::new();
    create_folder(&args.output)?;
    let sheet_path = args.output.join("contact_sheet.png");
    progress.step("opening the model");
    let (_folder, engine) = match &args.weights {
        Some(weights) => (None, Engine::open(weights)?),
        None => own_engine()?,
    };

    if args.weights.is_none() {
        result(
            "The model is a small example, trained on procedural products of other families than these.\nReal \
            inspection needs published weights.\n",
        )?;
        if !args.all {
            result("Ball bearings and cables, whose parts are rotated, are harder for it: --all shows them too.\n")?;
        }
    }
    result(&line(["product", "queries", "score good", "score defective", "AUROC score", "AUROC patch_max"]))?;
    let mut shelves = Vec::new();
    let mut families = Split::HeldOut.families();
    families.retain(|family| args.all || args.weights.is_some() || !TURNED.contains(family));
    for (i, &family) in families.iter().take(SHELVES).enumerate() {
        progress.step(format!("{} ({} of {})", family.class(), i + 1, families.len().min(SHELVES)));
        let shelf = Shelf::new(&engine, family, &args)?;
        progress.aside(|| result(&shelf.line()))?;
        shelves.push(shelf);
    }
    progress.step("drawing the contact sheet");
    write_png(&sheet_path, &sheet(&shelves, usize::MAX, TILE_SIDE)?)?;
    if let Some(path) = &args.overview {
        let (products, images) = OVERVIEW;
        write_jpeg(path, &sheet(&shelves[..products.min(shelves.len())], images, OVERVIEW_SIDE)?, OVERVIEW_QUALITY)?;
    }
    drop(progress);

    let queries = shelves.iter().map(|shelf| shelf.queries.len()).sum::<usize>().to_string();
    let mean = |part| shelves.iter().map(|shelf| shelf.auroc(part)).sum::<f64>() / shelves.len() as f64;
    let [score, patch_max] = PARTS.map(|part| format!("{:.3}", mean(part)));
    result(&line(["mean of the products", &queries, "", "", &score, &patch_max]))?;
    result(&format!("\nImages and heat maps: {}", sheet_path.display()))?;
    Ok(Outcome::Done)
}

/// The parts of a score whose AUROC is shown.
const PARTS: [fn(&Score) -> f32; 2] = [|score| score.score, |score| score.map.largest()];

fn line([product, queries, good, defective, score, patch_max]: [&str; 6]) -> String {
    format!("{product:<21}  {queries:>7}  {good:>10}  {defective:>15}  {score:>11}  {patch_max:>15}")
}

/// The example weights (weights/README.md): CLIP and heads in one file.
pub static OWN_WEIGHTS: &[u8] = include_bytes!("../../../weights/demo.safetensors");

/// The program's own model, and the folder of its file, which must exist as long as the engine.
fn own_engine() -> Result<(Option<TempDir>, Engine)> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder for the model")?;
    let path = folder.path().join("demo.safetensors");
    fs::write(&path, OWN_WEIGHTS).with_context(|| format!("cannot write the model to {}", path.display()))?;
    let engine = Engine::open(&path)?;
    Ok((Some(folder), engine))
}

/// The scored queries of one product.
struct Shelf {
    family: Family,
    /// The good half, then the defective one, which begins with each kind of defect once.
    queries: Vec<(Sample, Score)>,
}

impl Shelf {
    fn new(engine: &Engine, family: Family, args: &Args) -> Result<Self> {
        let mut index = 0;
        let seed = Split::HeldOut.product_seed(args.seed, 0);
        let mut draw = |fault: Option<Fault>| {
            index += 1;
            sample(family, fault, usize::from(args.side), seed, index)
        };
        let normals: Vec<Sample> = (0..args.shots).map(|_| draw(None)).collect::<inctrl::Result<_>>()?;
        let frames: Vec<Frame<'_>> = normals.iter().map(Sample::frame).collect::<inctrl::Result<_>>()?;
        let bank = engine.build_bank(family.class(), Fit::Crop, &frames)?;
        let mut scorer = engine.scorer(Arc::new(bank))?;

        let of_severity =
            |severity| family.defects().iter().map(move |defect| Some(Fault { defect: *defect, severity }));
        let defects = SEVERITIES.into_iter().flat_map(of_severity);
        let good = defects.clone().map(|_| None);
        let mut queries = Vec::new();
        for fault in good.chain(defects) {
            let sample = draw(fault)?;
            let score = scorer.score(sample.frame()?)?.clone();
            queries.push((sample, score));
        }
        Ok(Shelf { family, queries })
    }

    /// AUROC of `part` of the score.
    fn auroc(&self, part: fn(&Score) -> f32) -> f64 {
        let scores: Vec<f32> = self.queries.iter().map(|(_, score)| part(score)).collect();
        let anomalous: Vec<bool> = self.queries.iter().map(|(sample, _)| sample.is_anomalous()).collect();
        // Every product has defects, so both labels occur.
        auroc(&scores, &anomalous).unwrap_or(f64::NAN)
    }

    fn line(&self) -> String {
        let [good, defective] = [false, true].map(|anomalous| format!("{:.3}", self.mean_score(anomalous)));
        let [score, patch_max] = PARTS.map(|part| format!("{:.3}", self.auroc(part)));
        line([self.family.class(), &self.queries.len().to_string(), &good, &defective, &score, &patch_max])
    }

    fn mean_score(&self, anomalous: bool) -> f64 {
        let kind = self.queries.iter().filter(|(sample, _)| sample.is_anomalous() == anomalous);
        let scores: Vec<f64> = kind.map(|(_, score)| f64::from(score.score)).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    }
}

/// For each product a good query and one with each kind of defect, at most `images` in total.
fn sheet(shelves: &[Shelf], images: usize, side: usize) -> Result<Picture> {
    let mut rows = Vec::new();
    for shelf in shelves {
        let (good, defective) = shelf.queries.split_at(shelf.queries.len() / 2);
        let shown = good.iter().take(1).chain(defective.iter().take(shelf.family.defects().len()));
        rows.push((shelf.family.class().to_owned(), shown.take(images).map(tile).collect::<inctrl::Result<_>>()?));
    }
    Ok(contact_sheet(&rows, side, &ColourScale::new(MAP_MAX)?)?)
}

fn tile((sample, score): &(Sample, Score)) -> inctrl::Result<Tile<'_>> {
    let what = sample.fault.map_or("good", |fault| fault.defect.name());
    Ok(Tile {
        frame: sample.frame()?,
        map: &score.map,
        mask: Some(&sample.mask),
        title: format!("{what} {:.3}", score.score),
        anomalous: sample.is_anomalous(),
    })
}
