//! `inctrl score`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ArgGroup;
use inctrl::{BankSpec, Engine, Fit, PromptBank, Scorer, WhiteLevel};

use super::Outcome;
use super::console::{Progress, result, say};
use super::depth::{DepthArgs, Doubts};
use super::lanes;
use super::maps::{DEFAULT_MAX, MapWriter};
use super::method::MethodArgs;
use super::model::ModelArgs;
use super::normals::{self, CLASS_HELP, FIT_HELP, parse_fit};
use super::queries::Queries;
use super::rows::{Format, Printer, Row};

/// Score images: how anomalous each is, compared with a few normal ones
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, override_usage = USAGE)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    depth: DepthArgs,
    /// Images, folders (with their subfolders), globs, or - for paths from standard input, one a line; each of those is
    /// answered at once
    #[arg(required = true, value_name = "QUERY")]
    queries: Vec<PathBuf>,
    /// How results are written
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Also write heat maps: for each query DIR/NAME.overlay.png to look at, and DIR/NAME.map.tiff (32-bit float, the
    /// image's own size, NaN where the model does not see)
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    /// The residual that gets the last colour of the scale, the same for all images
    #[arg(long, value_name = "MAX", default_value_t = DEFAULT_MAX)]
    map_max: f32,
    /// Images scored side by side; the results are the same, and in the same order
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
}

const USAGE: &str = "\
inctrl score --weights W --bank B [OPTIONS] QUERY...
       inctrl score --weights W --class NAME --normals PATH [OPTIONS] QUERY...";

const AFTER_HELP: &str = "\
Larger scores are more anomalous. Of the method inctrl, score = (holistic + alpha patch_max) / (1 + alpha):
  holistic        the trained head, on heat map, image_residual and text_prior
  patch_max       the largest value of the heat map, the strangest patch
  image_residual  how far the image as a whole is from the normals
  text_prior      how much better texts of a damaged object fit than of a flawless one
Of the method anomaly-dino, score is the mean of the largest hundredth of the heat map, and patch_max its largest value.
A bank knows its method; other methods have other columns.

With a calibrated bank (inctrl bank calibrate), JSON and CSV have two more fields: p_value, how often a good
part scores as much, and scaled, the score from 0 to 1 with 0.5 at the threshold.

A query that cannot be scored is a line with its error; the exit code is then 2. In folders and globs a picture is what
has a picture's name or content; all else is passed over and counted at the end. Links are followed, each folder once,
and hidden files and folders are ignored.

NAME is the query's path below the deepest folder that holds all queries, without
extension; paths from standard input keep all their folders. Where two are the same,
the later ones get -2, -3 and so on.

Examples:
  inctrl score --weights W.safetensors --class 'metal nut' --normals good/ incoming/
  inctrl score --weights W.safetensors --bank nut.bank 'new/*.png' --format csv > new.csv
  camera | inctrl score --weights W.safetensors --bank nut.bank - --format jsonl";

/// A finished bank, or what one is made from.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("prompts").args(["bank", "normals"]).required(true))]
struct PromptArgs {
    /// The normal images as a bank, which inctrl bank build makes
    #[arg(long, value_name = "B", conflicts_with_all = ["class", "fit", "method"])]
    bank: Option<PathBuf>,
    #[command(flatten)]
    method: MethodArgs,
    #[arg(long, value_name = "NAME", help = CLASS_HELP)]
    class: Option<String>,
    /// A normal image, a folder of them (without its subfolders) or a few-shot prompt list of PyTorch (.pt); can be given
    /// several times
    #[arg(long, value_name = "PATH")]
    normals: Vec<PathBuf>,
    #[arg(long, value_name = "FIT", help = FIT_HELP, value_parser = parse_fit)]
    fit: Option<Fit>,
}

pub fn run(args: Args) -> Result<Outcome> {
    let progress = Progress::new();
    // What can be wrong without the model is found before the seconds that it takes to load.
    let maps = args.maps.as_ref().map(|folder| MapWriter::new(folder.clone(), args.map_max)).transpose()?;
    let prompts = args.prompts.read(&progress)?;
    progress.step("looking for images");
    let queries = Queries::expand(&args.queries, args.maps.as_deref());
    let passed_over = queries.passed_over();
    progress.step("opening the model");
    let engine = args.model.open()?;
    let white = args.depth.white_level;
    let (bank, source) = prompts.into_bank(&engine, white, &progress)?;
    let scorers: Vec<Scorer> = (0..args.jobs.get())
        .map(|_| engine.scorer(Arc::clone(&bank)))
        .collect::<inctrl::Result<_>>()
        .context(source)?;
    drop(engine);

    let printer = Printer::new(args.format, &bank, queries.known_paths());
    progress.results(queries.len());
    if let Some(header) = printer.header() {
        result(&header)?;
    }
    let mut tally = Tally::default();
    let maps = maps.map(|writer| (Arc::new(writer), queries.names()));
    lanes::run(queries.into_iter(), white, scorers, maps, |row| {
        result(&printer.line(&row)?)?;
        progress.advance();
        tally.count(&row);
        Ok(())
    })?;
    drop(progress);
    if let Some(passed_over) = passed_over {
        say(&format!("note: {passed_over}"));
    }
    Ok(tally.tell(bank.fit()))
}

/// Prompts as far as they can be read without a model.
enum Prompts {
    /// The bank and its file.
    Bank(Box<PromptBank>, PathBuf),
    Normals {
        spec: BankSpec,
        files: Vec<PathBuf>,
    },
}

impl PromptArgs {
    fn read(self, progress: &Progress) -> Result<Prompts> {
        Ok(match self.bank {
            Some(path) => Prompts::Bank(Box::new(PromptBank::open(&path)?), path),
            None => {
                let files = normals::list(&self.normals, progress)?;
                Prompts::Normals { spec: self.method.spec(self.class.as_deref(), self.fit), files }
            }
        })
    }
}

impl Prompts {
    /// The bank, and where it comes from.
    fn into_bank(
        self,
        engine: &Engine,
        white: Option<WhiteLevel>,
        progress: &Progress,
    ) -> Result<(Arc<PromptBank>, String)> {
        let (bank, source) = match self {
            Prompts::Bank(bank, path) => (*bank, path.display().to_string()),
            Prompts::Normals { spec, files } => {
                progress.step("beginning the bank");
                let builder = engine.bank_builder_of(&spec)?;
                (normals::finish(builder, &files, white, &[], progress)?, "the normal images".to_owned())
            }
        };
        Ok((Arc::new(bank), source))
    }
}

/// What is said when all is scored.
#[derive(Default)]
struct Tally {
    queries: usize,
    failed: usize,
    /// Images of which the model does not see all.
    cut: usize,
    /// The smallest share of one that it sees.
    least_seen: f64,
    doubts: Doubts,
}

impl Tally {
    fn count(&mut self, row: &Row) {
        self.queries += 1;
        let doubt = row.numbers.as_ref().ok().and_then(|numbers| numbers.depth_doubt);
        self.doubts.count(|| row.path.display().to_string(), doubt);
        match &row.numbers {
            Err(_) => self.failed += 1,
            // Less than a percent is rounding of the sides.
            Ok(numbers) if numbers.seen < 0.99 => {
                self.least_seen = if self.cut == 0 { numbers.seen } else { self.least_seen.min(numbers.seen) };
                self.cut += 1;
            }
            Ok(_) => {}
        }
    }

    fn tell(&self, fit: Fit) -> Outcome {
        let Tally { queries, failed, cut, least_seen, ref doubts } = *self;
        doubts.tell(queries);
        if cut > 0 {
            say(&format!(
                "note: {cut} of {queries} images are not square, and with fit {fit} their ends are not judged (up to \
                 {:.0} % of the area); letterbox and stretch see all",
                100.0 * (1.0 - least_seen)
            ));
        }
        if failed == 0 {
            return Outcome::Done;
        }
        say(&format!("error: {failed} of {queries} queries failed; their lines say why"));
        Outcome::SomeInputsFailed
    }
}
