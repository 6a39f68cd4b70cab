//! `inctrl score`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::ArgGroup;
use inctrl::internals::check_memory;
use inctrl::{BankSpec, Engine, Fit, WhiteLevel};
use inctrl_lab::normals::Normal;

use super::Outcome;
use super::console::{Progress, result, say};
use super::depth::{DepthArgs, Doubts};
use super::judge::{self, Judge, Source};
use super::maps::{DEFAULT_MAX, MapWriter};
use super::method::MethodArgs;
use super::model::ModelArgs;
use super::normals::{self, CLASS_HELP, FIT_HELP, parse_fit};
use super::queries::Queries;
use super::rows::{Format, Printer, Row};
use super::workers;

/// Score images against a few normal ones, and draw heat maps
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, override_usage = USAGE)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    depth: DepthArgs,
    /// Images, folders (with their subfolders), globs, or - for paths from standard input, one per line, each answered
    /// at once
    #[arg(required = true, value_name = "QUERY")]
    queries: Vec<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Also write heat maps: for each query DIR/NAME.overlay.png to look at, and DIR/NAME.map.tiff (32-bit float, the
    /// image's own size, NaN where the model does not see the image)
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    /// The residual at the end of the colour scale, which is the same for all images
    #[arg(long, value_name = "MAX", default_value_t = DEFAULT_MAX)]
    map_max: f32,
    /// How many images are scored at the same time; results and their order do not change
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
}

const USAGE: &str = "\
inctrl score --weights W --bank B [--bank B2 ...] [OPTIONS] QUERY...
       inctrl score --weights W --class NAME --normals PATH [OPTIONS] QUERY...";

const AFTER_HELP: &str = "\
Larger scores are more anomalous. The method inctrl has score = (holistic + alpha patch_max) / (1 + alpha):
  holistic        the trained head, on heat map, image_residual and text_prior
  patch_max       the largest value of the heat map
  image_residual  how far the whole image is from the normal ones
  text_prior      how much better texts about a damaged object match than texts about a flawless one
The other methods have patch_max, the largest value of the heat map, and score:
  anomaly-dino    the mean of the largest 1 % of the heat map
  patchcore       patch_max, with --reweight on weighed by the neighbours of the nearest patch
  subspace        the mean of the largest 1 % of the pixels of the blurred heat map
  padim           the largest pixel of the blurred heat map
  spade           the mean distance of the whole image to the normal ones
  winclip-zero    how much better texts about a damaged object match the image than texts about a flawless one
  winclip         the mean of patch_max and text_prior, the score of winclip-zero
A bank knows its method; the columns are those of the method. With tiles (inctrl bank build --tile), the columns are those
of the tile with the largest score, except patch_max, the largest value of the whole heat map; with --squares on they are
means over the squares.

With a calibrated bank (inctrl bank calibrate), JSON and CSV have two more fields: p_value, how often a good
part scores this high or higher, and scaled, the score from 0 to 1 with 0.5 at the threshold.

With several banks of one method, such as one for each product, each line is that of the bank with the smallest score,
and has two more fields: product, the file of that bank, and margin, by how much the score against the next bank is
larger. If all the banks have limits, scores are compared on the scale of the field scaled. Otherwise they are compared
as they are, which is less reliable: calibrate the banks.

A query that cannot be scored gives a line with its error, and the exit code is then 2. In folders and globs, files with
a picture's extension or content are scored; others are ignored and counted at the end. Links are followed, each folder
is searched once, and hidden files and folders are ignored.

NAME is the query's path below the deepest folder that contains all queries, without
extension; paths from standard input keep all their folders. If a name repeats,
later ones get -2, -3 and so on.

Examples:
  inctrl score --weights W.safetensors --class 'metal nut' --normals good/ incoming/
  inctrl score --weights W.safetensors --method winclip-zero --class 'metal nut' incoming/
  inctrl score --weights W.safetensors --bank nut.bank 'new/*.png' --format csv > new.csv
  inctrl score --weights W.safetensors --bank nut.bank --bank bolt.bank mixed/
  camera | inctrl score --weights W.safetensors --bank nut.bank - --format jsonl";

/// A finished bank, or the arguments to build one.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("prompts").args(["bank", "normals", "method"]).multiple(true).required(true))]
struct PromptArgs {
    /// A bank, made by inctrl bank build. With several (--bank A --bank B) each image is encoded once and shown with the
    /// bank that it fits best
    #[arg(long, value_name = "B", conflicts_with_all = ["normals", "class", "fit", "method"])]
    bank: Vec<PathBuf>,
    #[command(flatten)]
    method: MethodArgs,
    #[arg(long, value_name = "NAME", help = CLASS_HELP)]
    class: Option<String>,
    /// A normal image, a folder of them (without its subfolders) or a few-shot prompt list of PyTorch (.pt); can be
    /// repeated
    #[arg(long, value_name = "PATH")]
    normals: Vec<PathBuf>,
    #[arg(long, value_name = "FIT", help = FIT_HELP, value_parser = parse_fit)]
    fit: Option<Fit>,
}

pub fn run(args: Args) -> Result<Outcome> {
    let progress = Progress::new();
    // Checks that do not need the model come before its slow loading.
    let maps = args.maps.as_ref().map(|folder| MapWriter::new(folder.clone(), args.map_max)).transpose()?;
    let prompts = args.prompts.read(&progress)?;
    progress.step("looking for images");
    let queries = Queries::expand(&args.queries, args.maps.as_deref());
    let passed_over = queries.passed_over();
    progress.step("opening the model");
    let engine = args.model.open()?;
    let white = args.depth.white_level;
    let banks = prompts.into_banks(&engine, white, &progress)?;
    // More than there are images would have nothing to do.
    let jobs = args.jobs.get().min(queries.len().unwrap_or(usize::MAX)).max(1);
    let each = engine.scorer_bytes(&banks[0].bank, NonZeroUsize::MIN)?.saturating_add(workers::THREADS_BYTES);
    let what = format!("scoring {jobs} images at the same time");
    check_memory(&what, each.saturating_mul(jobs), "use fewer --jobs")?;
    let scorers = Judge::several(&engine, &banks, jobs)?;
    let unlimited: Vec<&str> =
        banks.iter().filter(|one| one.bank.thresholds().is_none()).map(|one| one.name.as_str()).collect();
    if banks.len() > 1 && !unlimited.is_empty() {
        progress.aside(|| {
            say(&format!(
                "note: without limits: {}; so the banks are compared by their scores as they are, which is less reliable than by limits: \
                 inctrl bank calibrate",
                unlimited.join(", ")
            ));
        });
    }
    drop(engine);

    let printer = Printer::new(args.format, &banks, queries.known_paths());
    progress.results(queries.len());
    if let Some(header) = printer.header() {
        result(&header)?;
    }
    let mut tally = Tally::default();
    let maps = maps.map(|writer| (Arc::new(writer), queries.names()));
    workers::run(queries.into_iter(), white, scorers, maps, |row| {
        result(&printer.line(&row)?)?;
        progress.advance();
        tally.count(&row);
        Ok(())
    })?;
    drop(progress);
    if let Some(passed_over) = passed_over {
        say(&format!("note: {passed_over}"));
    }
    Ok(tally.tell(banks[0].bank.fit()))
}

/// Prompts, as far as they can be read without a model.
enum Prompts {
    /// Finished banks, at least one.
    Banks(Vec<Source>),
    Normals {
        spec: BankSpec,
        normals: Vec<Normal<'static>>,
    },
}

impl PromptArgs {
    fn read(self, progress: &Progress) -> Result<Prompts> {
        Ok(match self.bank.first() {
            Some(path) => {
                self.method.check_none_beside(path)?;
                Prompts::Banks(judge::open(&self.bank)?)
            }
            None => {
                normals::given(&self.normals, &self.method)?;
                let normals = normals::list(&self.normals, progress)?;
                Prompts::Normals { spec: self.method.spec(self.class.as_deref(), self.fit), normals }
            }
        })
    }
}

impl Prompts {
    /// The banks, at least one.
    fn into_banks(self, engine: &Engine, white: Option<WhiteLevel>, progress: &Progress) -> Result<Vec<Source>> {
        match self {
            Prompts::Banks(banks) => Ok(banks),
            Prompts::Normals { spec, normals } => {
                progress.step("beginning the bank");
                let builder = engine.bank_builder_of(&spec)?;
                let bank = normals::finish(builder, &normals, white, &[], progress)?;
                Ok(vec![Source { bank: Arc::new(bank), name: "the normal images".to_owned() }])
            }
        }
    }
}

/// What is reported at the end.
#[derive(Default)]
struct Tally {
    queries: usize,
    failed: usize,
    /// Images that the fit cuts.
    cut: usize,
    /// The smallest share of an image that the model sees.
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
            // Less than a percent comes from rounding the sides.
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
                "note: fit {fit} leaves out a part of {cut} of {queries} images (up to {:.0} % of the area); {}",
                100.0 * (1.0 - least_seen),
                fit.remedy()
            ));
        }
        if failed == 0 {
            return Outcome::Done;
        }
        say(&format!("error: {failed} of {queries} queries failed; their lines say why"));
        Outcome::SomeInputsFailed
    }
}
