//! `inctrl demo`: the whole way from images to scores and heat maps, without data or weights.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use inctrl::metrics::auroc;
use inctrl::render::{ColourScale, Tile, contact_sheet, write_png};
use inctrl::synth::{Defect, Family, Sample, sample};
use inctrl::tensor::DType;
use inctrl::weights::{Arch, TextArch, VisionArch, random};
use inctrl::{Engine, Fit, Frame, Score};
use tempfile::TempDir;

use super::Outcome;
use super::console::{Progress, result};
use super::maps::{DEFAULT_MAX, create_folder};

/// Score procedural images of a dozen products, good and defective, and show heat maps of them
#[derive(clap::Args)]
#[command(after_help = "\
Without --weights a small model with random weights is made for the occasion. It has learnt
nothing, and its scores say no more than how much patches of the image differ.

Example:
  inctrl demo -o inctrl-demo")]
pub struct Args {
    /// The folder for contact_sheet.png
    #[arg(short, long, value_name = "DIR", default_value = "inctrl-demo")]
    output: PathBuf,
    /// A model to use in place of random weights
    #[arg(long, value_name = "W")]
    weights: Option<PathBuf>,
    /// Normal images of each product that the model is shown
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=256))]
    shots: u64,
    /// Another seed gives other images and other random weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Width and height of the images in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 240)]
    side: usize,
}

/// Queries with each kind of defect of a product; there are as many good ones in all.
const REPEATS: u64 = 2;
/// Width and height of an image on the contact sheet.
const TILE_SIDE: usize = 160;

pub fn run(args: Args) -> Result<Outcome> {
    let progress = Progress::new();
    create_folder(&args.output)?;
    let sheet_path = args.output.join("contact_sheet.png");
    progress.step("opening the model");
    let (_folder, engine) = match &args.weights {
        Some(weights) => (None, Engine::open(weights)?),
        None => random_engine(args.seed)?,
    };

    let mut shelves = Vec::new();
    for (i, &family) in Family::ALL.iter().enumerate() {
        progress.step(format!("{} ({} of {})", family.class(), i + 1, Family::ALL.len()));
        shelves.push(Shelf::new(&engine, family, &args)?);
    }
    progress.step("drawing the contact sheet");
    write_sheet(&sheet_path, &shelves)?;
    drop(progress);

    for line in table(&shelves) {
        result(&line)?;
    }
    if args.weights.is_none() {
        result(
            "The weights are RANDOM, not trained: these numbers show that the program works, not how well the method \
             does.\nThey reflect nothing but distances between patch features of a random network.",
        )?;
    }
    result(&format!("Images and heat maps: {}", sheet_path.display()))?;
    Ok(Outcome::Done)
}

/// A small model with seeded random weights, and the folder that its file is in: it is mapped while the engine is there.
fn random_engine(seed: u64) -> Result<(Option<TempDir>, Engine)> {
    let arch = Arch {
        embed_dim: 64,
        vision: VisionArch { image_size: 240, patch_size: 16, width: 256, layers: 3, heads: 4, mlp_width: 1024 },
        text: TextArch { context_length: 77, vocab_size: 49408, width: 32, heads: 2, layers: 1, mlp_width: 128 },
        quick_gelu: false,
        taps: vec![1, 2],
        alpha: 1.0,
    };
    let folder = tempfile::tempdir().context("cannot create a temporary folder for the random model")?;
    let path = folder.path().join("random.safetensors");
    random::write(&path, &arch, seed, DType::F32)?;
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
        let mut index = 0..;
        let mut draw = |defect: Option<Defect>| {
            let index = index.next().context("fewer than 2^64 images are drawn")?;
            anyhow::Ok(sample(family, defect, args.side, args.seed, index)?)
        };
        let normals: Vec<Sample> = (0..args.shots).map(|_| draw(None)).collect::<Result<_>>()?;
        let frames: Vec<Frame<'_>> = normals.iter().map(Sample::frame).collect::<inctrl::Result<_>>()?;
        let bank = engine.build_bank(family.class(), Fit::Crop, &frames)?;
        let mut scorer = engine.scorer(Arc::new(bank))?;

        let defects = (0..REPEATS).flat_map(|_| family.defects()).map(|defect| Some(*defect));
        let good = defects.clone().map(|_| None);
        let mut queries = Vec::new();
        for defect in good.chain(defects) {
            let sample = draw(defect)?;
            let score = scorer.score(sample.frame()?)?.clone();
            queries.push((sample, score));
        }
        Ok(Shelf { family, queries })
    }

    /// How well `part` of the score tells the defective from the good.
    fn auroc(&self, part: fn(&Score) -> f32) -> f64 {
        let scores: Vec<f32> = self.queries.iter().map(|(_, score)| part(score)).collect();
        let anomalous: Vec<bool> = self.queries.iter().map(|(sample, _)| sample.is_anomalous()).collect();
        // Every product has defects, so both kinds are there.
        auroc(&scores, &anomalous).unwrap_or(f64::NAN)
    }

    fn mean_score(&self, anomalous: bool) -> f64 {
        let kind = self.queries.iter().filter(|(sample, _)| sample.is_anomalous() == anomalous);
        let scores: Vec<f64> = kind.map(|(_, score)| f64::from(score.score)).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    }
}

fn table(shelves: &[Shelf]) -> Vec<String> {
    type Part = fn(&Score) -> f32;
    let parts: [Part; 2] = [|score| score.score, |score| score.patch_max];
    let row = |name: &str, good: &str, bad: &str, count: &str, [score, patch_max]: [f64; 2]| {
        format!("{name:<22}  {count:>7}  {good:>10}  {bad:>15}  {score:>11.3}  {patch_max:>15.3}")
    };
    let mut lines = vec![format!(
        "{:<22}  {:>7}  {:>10}  {:>15}  {:>11}  {:>15}",
        "product", "queries", "score good", "score defective", "AUROC score", "AUROC patch_max"
    )];
    let mut sums = [0.0; 2];
    for shelf in shelves {
        let aurocs = parts.map(|part| shelf.auroc(part));
        sums = [sums[0] + aurocs[0], sums[1] + aurocs[1]];
        let [good, bad] = [false, true].map(|anomalous| format!("{:.3}", shelf.mean_score(anomalous)));
        lines.push(row(shelf.family.class(), &good, &bad, &shelf.queries.len().to_string(), aurocs));
    }
    let count = shelves.iter().map(|shelf| shelf.queries.len()).sum::<usize>().to_string();
    lines.push(row("mean of the products", "", "", &count, sums.map(|sum| sum / shelves.len() as f64)));
    lines
}

/// For each product a good query and one with each kind of defect.
fn write_sheet(path: &Path, shelves: &[Shelf]) -> Result<()> {
    let mut rows = Vec::new();
    for shelf in shelves {
        let (good, defective) = shelf.queries.split_at(shelf.queries.len() / 2);
        let shown = good.iter().take(1).chain(defective.iter().take(shelf.family.defects().len()));
        rows.push((shelf.family.class().to_owned(), shown.map(tile).collect::<inctrl::Result<_>>()?));
    }
    write_png(path, &contact_sheet(&rows, TILE_SIDE, &ColourScale::new(DEFAULT_MAX)?))?;
    Ok(())
}

fn tile((sample, score): &(Sample, Score)) -> inctrl::Result<Tile<'_>> {
    let what = sample.defect.map_or("good", Defect::name);
    Ok(Tile {
        frame: sample.frame()?,
        map: &score.map,
        mask: Some(&sample.mask),
        title: format!("{what} {:.3}", score.score),
        anomalous: sample.is_anomalous(),
    })
}
