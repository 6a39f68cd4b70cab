//! `inctrl synth`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use inctrl_lab::synth::{Family, Recipe, Split};

use super::Outcome;
use super::console::{Progress, result};

/// Draw a data set of procedural images, good and defective with masks, in MVTec AD's layout
#[derive(clap::Args)]
#[command(after_help = "\
The families of the split held-out are never in the split train, nor are the defects hole and
foreign_object. Each product is a class <family>_<number> with train/good, test/good,
test/<defect> and ground_truth/<defect>. The images of a defect are small, medium and large in
turn. DIR/synth.json records how the data set was made. Equal arguments give equal images.

Examples:
  inctrl synth -o synthetic --split held-out
  inctrl eval --weights W.safetensors --dataset synthetic --layout mvtec -o results/")]
pub struct Args {
    /// The folder for the data set; it must be new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Which half of the generator to use: train or held-out
    #[arg(long, value_name = "SPLIT", value_parser = parse::<Split>)]
    split: Split,
    /// Only these families of the split
    #[arg(long, value_name = "FAMILY,..", value_delimiter = ',', value_parser = parse::<Family>)]
    families: Vec<Family>,
    /// Products of each family
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    products: u16,
    /// Images in train/good of each product
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    normals: u16,
    /// Images in test/good of each product
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    test_normals: u16,
    /// Images of each kind of defect of each product
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    defective: u16,
    /// Width and height in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 240, value_parser = clap::value_parser!(u16).range(32..=4096))]
    side: u16,
    /// Another seed gives other products
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

fn parse<T: std::str::FromStr<Err = inctrl::Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: inctrl::Error| error.to_string())
}

pub fn run(args: Args) -> Result<Outcome> {
    let recipe = Recipe {
        split: args.split,
        families: args.families,
        products: args.products.into(),
        normals: args.normals.into(),
        test_normals: args.test_normals.into(),
        defective: args.defective.into(),
        side: args.side.into(),
        seed: args.seed,
    };
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let progress = Progress::new();
    progress.count(recipe.images(), "images drawn");
    recipe.write(&args.output, threads, || progress.advance())?;
    drop(progress);
    result(&format!("{} images in {}", recipe.images(), args.output.display()))?;
    Ok(Outcome::Done)
}
