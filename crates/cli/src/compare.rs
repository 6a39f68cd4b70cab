//! `inctrl compare`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, bail};
use inctrl::calibration::enough;
use inctrl::methods::{able, by_name};
use inctrl::pictures::{Depth, Found, summary};
use inctrl::{Device, Engine, EngineOptions};
use inctrl_lab::comparison::{self, Distinct, Options, Picture, check_options};
use inctrl_lab::normals::{self, no_pictures};

use super::Outcome;
use super::console::{Progress, result, say};
use super::depth::DepthArgs;
use super::maps::create_folder;
use super::method::MethodArgs;
use super::normals::CLASS_HELP;

/// Compare all methods that the given models can serve on your own parts, and show which differences are more than chance
#[derive(clap::Args)]
#[command(after_help = "\
With good images only, the result is how stable each method is: the spread of their scores, the
largest outlier, and how many a limit from the other ones rejects. A few defective images (--defects)
show which method finds more of them: the AUROC with its interval, and whether a difference is larger
than the noise of so few images. OUT gets compare.html, compare.json, compare.md and scores.csv.

--method takes several names, separated by commas. An option goes to the methods that have it.
An option that none of them has is refused. Models without a method, methods that cannot use an
option's value and unreadable images are reported and the others are compared; the exit code is
then 2.

Example:
  inctrl compare --weights clip.safetensors dinov2.safetensors --normals good/ --defects bad/ -o which/")]
pub struct Args {
    /// The models; every method that one of them can serve is compared
    #[arg(long, value_name = "W", required = true, num_args = 1..)]
    weights: Vec<PathBuf>,
    /// Good images, or folders of them (without their subfolders)
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    normals: Vec<PathBuf>,
    /// Defective images, or folders of them
    #[arg(long, value_name = "PATH", num_args = 1..)]
    defects: Vec<PathBuf>,
    #[command(flatten)]
    method: MethodArgs,
    #[arg(long, value_name = "CLASS", help = CLASS_HELP)]
    class: Option<String>,
    /// Number of good images that become prompts, at most; the others are scored against them
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = clap::value_parser!(u64).range(2..=4096))]
    prompts: u64,
    /// The share of good parts that the limit may reject
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    max_false_reject: f64,
    /// Another seed draws other prompts
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    depth: DepthArgs,
    /// Where to run [default: auto, the first GPU if one can be used, otherwise the CPU]
    #[arg(long, value_name = "auto|cpu|cuda:N")]
    device: Option<Device>,
    /// Total number of computing threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// The folder for the results
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

pub fn run(args: Args) -> Result<Outcome> {
    let progress = Progress::new();
    let spec = args.method.spec(args.class.as_deref(), None);
    // Several names, separated by commas.
    let wanted: Vec<String> = spec.method.iter().flat_map(|names| names.split(',').map(str::to_owned)).collect();
    for name in &wanted {
        by_name(name)?;
    }
    // Checks the rate alone.
    enough(usize::MAX, usize::MAX, args.max_false_reject)?;
    let mut faults = 0;
    progress.step("looking for images");
    let listed = normals::list(&args.normals)?;
    if let Some(summary) = listed.passed_over {
        progress.aside(|| say(&format!("note: among the normal images: {summary}")));
    }
    let good = listed.files.into_iter().map(|path| Picture { path, defective: false });
    let bad = defects(&args.defects, &progress, &mut faults)?.into_iter().map(|path| Picture { path, defective: true });
    let Distinct { pictures, copies, contradictions } = Distinct::of(good.chain(bad).collect(), args.depth.white_level);
    for [good, bad] in &contradictions {
        faults += 1;
        let (good, bad) = (good.display(), bad.display());
        progress.aside(|| say(&format!("error: {good} is good and {bad} defective, with the same pixels: left out")));
    }
    if !copies.is_empty() {
        let first = copies[0].display();
        progress.aside(|| {
            say(&format!("note: {} images are copies of others and do not count, such as {first}", copies.len()))
        });
    }
    create_folder(&args.output)?;

    progress.step("opening the models");
    let mut engines = Vec::new();
    for path in &args.weights {
        let mut options = EngineOptions::new(path);
        options.device = args.device.unwrap_or_default();
        options.threads = args.threads;
        match Engine::with(&options) {
            Ok(engine) => engines.push((path, engine)),
            Err(error) => {
                faults += 1;
                progress.aside(|| say(&format!("error: {}", error.chain())));
            }
        }
    }
    let (mut candidates, mut methods) = (Vec::new(), Vec::new());
    for (path, engine) in &engines {
        let model = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let found = comparison::candidates(engine, &model, &spec, &wanted);
        if found.is_empty() {
            faults += 1;
            let can: Vec<&str> = able(engine.weights()).map(|method| method.name()).collect();
            let can = if can.is_empty() { "none".to_owned() } else { can.join(", ") };
            progress
                .aside(|| say(&format!("error: {}: cannot serve these methods; it can serve: {can}", path.display())));
        }
        for (method, candidate) in found {
            methods.push(method);
            match candidate {
                Ok(candidate) => candidates.push(candidate),
                Err(error) => {
                    faults += 1;
                    progress.aside(|| say(&format!("error: {method} on {}: {}", path.display(), error.chain())));
                }
            }
        }
    }
    if !methods.is_empty() {
        methods.sort_unstable();
        methods.dedup();
        check_options(&spec, &methods)?;
    }
    if candidates.is_empty() {
        bail!("there is no method to compare: use other models in --weights, or another --method");
    }
    let options = Options {
        prompts: args.prompts as usize,
        max_false_reject: args.max_false_reject,
        seed: args.seed,
        white_level: args.depth.white_level,
    };
    progress.count(candidates.len() * pictures.len(), "images scored");
    let compared = comparison::compare(&candidates, pictures, options, || progress.advance())?;
    progress.step("writing the page");
    comparison::write(&compared, &args.output)?;
    drop(progress);
    result(comparison::markdown(&compared).trim_end())?;
    say(&format!("page: {}", args.output.join("compare.html").display()));
    for line in &compared.lines {
        match &line.judged {
            Err(error) => {
                faults += 1;
                say(&format!("error: {} on {}: {error}", line.method, line.model));
            }
            Ok(judged) => {
                for error in judged.scores.iter().filter_map(|scored| scored.score.as_ref().err()) {
                    faults += 1;
                    say(&format!("error: {}: {error}", line.method));
                }
            }
        }
    }
    Ok(if faults == 0 { Outcome::Done } else { Outcome::SomeInputsFailed })
}

/// The pictures in files and folders, at any depth. Ignored files are reported.
fn defects(paths: &[PathBuf], progress: &Progress, faults: &mut usize) -> Result<Vec<PathBuf>> {
    let (mut files, mut passed_over) = (Vec::new(), Vec::new());
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Found::below(path, Depth::All, None);
        if found.pictures.is_empty() && found.failed.is_empty() {
            bail!("{}: {}", path.display(), no_pictures(&found));
        }
        for (path, why) in &found.failed {
            *faults += 1;
            progress.aside(|| say(&format!("error: {}: {why}", path.display())));
        }
        files.append(&mut found.pictures);
        passed_over.append(&mut found.passed_over);
    }
    if let Some(summary) = summary(passed_over.iter().map(|(path, why)| (path.as_path(), *why))) {
        progress.aside(|| say(&format!("note: among the defective images: {summary}")));
    }
    Ok(files)
}
