//! From images to scores, method by method.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::datasets::draw;
use inctrl::methods::{able, all_options, by_name};
use inctrl::pictures::PictureId;
use inctrl::view::TILING;
use inctrl::{BankSpec, Engine, Error, ErrorKind, Image, PromptBank, Result, Score, WhiteLevel};

/// A picture file.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The file.
    pub path: PathBuf,
    /// Whether it is defective.
    pub defective: bool,
}

/// How methods are compared.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most good images that become prompts.
    pub prompts: usize,
    /// The share of good parts that the limit may reject.
    pub max_false_reject: f64,
    /// Another seed draws other prompts.
    pub seed: u64,
    /// The value of white in pictures of 16 bits.
    pub white_level: Option<WhiteLevel>,
}

/// A method on a model.
pub struct Candidate<'a> {
    /// The model.
    pub engine: &'a Engine,
    /// The name of the model in tables.
    pub model: String,
    /// The method and its options, settled.
    pub spec: BankSpec,
}

/// Whether a method has the option of a text `name=value`: one of its own, or one of tiles, which each may look at.
fn has(method: &str, option: &str) -> bool {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    let mut own = all_options().filter(|(of, _)| *of == method).flat_map(|(_, options)| options);
    TILING.iter().any(|tiles| tiles.name == name) || own.any(|own| own.name == name)
}

/// Refuses options that would change nothing, because none of `methods` has them.
///
/// # Errors
/// [`ErrorKind::Argument`], naming the option and the methods that have it.
pub fn check_options(spec: &BankSpec, methods: &[&str]) -> Result<()> {
    let Some(option) = spec.options.iter().find(|option| !methods.iter().any(|method| has(method, option))) else {
        return Ok(());
    };
    let able: Vec<&str> = all_options().map(|(method, _)| method).filter(|method| has(method, option)).collect();
    let name = option.split_once('=').map_or(option.as_str(), |(name, _)| name);
    let message = format!(
        "the option `{name}` is given, and none of the methods {} has it: leave it out, or add a method that has it ({})",
        methods.join(", "),
        able.join(", ")
    );
    Err(Error::new(ErrorKind::Argument, message))
}

/// Every method that a model can serve, or only those in `wanted`, if any are named. Each takes the options of `spec` that it
/// has. Beside the name of a method is its candidate, or why it cannot take part, as [`Engine::settle`] says.
pub fn candidates<'a>(
    engine: &'a Engine,
    model: &str,
    spec: &BankSpec,
    wanted: &[String],
) -> Vec<(&'static str, Result<Candidate<'a>>)> {
    let names = able(engine.weights()).map(|method| method.name());
    let names = names.filter(|name| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name));
    let candidate = |name: &str| -> Result<Candidate<'a>> {
        let mut own = spec.clone();
        own.method = Some(name.to_owned());
        // Without a name the texts are about any object.
        own.class = own
            .class
            .or_else(|| (!by_name(name).is_ok_and(|method| method.takes_prompts())).then(|| "object".to_owned()));
        own.options = spec.options.iter().filter(|option| has(name, option)).cloned().collect();
        Ok(Candidate { engine, model: model.to_owned(), spec: engine.settle(&own)? })
    };
    names.map(|name| (name, candidate(name))).collect()
}

/// The result of a method for one picture.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Its score and map, or an error.
    pub score: std::result::Result<Score, String>,
    /// Whether it was a prompt, scored against the others.
    pub prompt: bool,
}

/// A method's scores.
#[derive(Clone, Debug)]
pub struct Judged {
    /// By picture, in the order of [`Comparison::pictures`].
    pub scores: Vec<Scored>,
    /// Bytes of the bank in memory.
    pub bank_bytes: usize,
    /// Median time to score a decoded picture, in milliseconds.
    pub milliseconds: f64,
}

/// A line of the comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The method.
    pub method: String,
    /// Its options.
    pub options: String,
    /// The model.
    pub model: String,
    /// Where it ran.
    pub device: String,
    /// Its scores, or an error.
    #[serde(skip)]
    pub judged: std::result::Result<Judged, String>,
}

/// The scores of all methods for all pictures.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Good and defective ones.
    pub pictures: Vec<Picture>,
    /// By candidate.
    pub lines: Vec<Line>,
    /// The terms.
    pub options: Options,
    /// How many good images were prompts.
    pub prompts: usize,
}

/// Scores every picture with every candidate. `observe` is called after each score.
///
/// # Errors
/// [`ErrorKind::Argument`] for fewer than two readable good pictures. The error of a candidate is in its line.
pub fn compare(
    candidates: &[Candidate<'_>],
    pictures: Vec<Picture>,
    options: Options,
    mut observe: impl FnMut(),
) -> Result<Comparison> {
    let good: Vec<usize> = (0..pictures.len()).filter(|&at| !pictures[at].defective).collect();
    let names: Vec<String> = good.iter().map(|&at| file_name(&pictures[at])).collect();
    let order = draw("compare", options.seed, names.iter().map(String::as_str)).into_iter().map(|at| good[at]);
    // An unreadable file is not a prompt. It is reported when it is scored.
    let mut unusable = Vec::new();
    let readable = order.filter(|&at| open(&pictures[at], &options).map_err(|error| unusable.push(error)).is_ok());
    let mut prompts: Vec<usize> = readable.take(options.prompts).collect();
    if prompts.len() < 2 {
        let others: String = unusable.iter().map(|error| format!("\n  {}", error.chain())).collect();
        let message = format!(
            "{} good images can be prompts, and at most {} are used: each is scored against the others, so two are needed{others}",
            prompts.len(),
            options.prompts
        );
        return Err(Error::new(ErrorKind::Argument, message));
    }
    prompts.sort_unstable();
    let judge = |candidate: &Candidate<'_>| Line {
        method: candidate.spec.method.clone().unwrap_or_default(),
        options: candidate.spec.options.join(" "),
        model: candidate.model.clone(),
        device: candidate.engine.device(),
        judged: judge(candidate, &pictures, &prompts, &options, &mut observe).map_err(|error| error.chain()),
    };
    let lines = candidates.iter().map(judge).collect();
    Ok(Comparison { lines, options, prompts: prompts.len(), pictures })
}

/// The draw depends on file names only, not on the folder.
fn file_name(picture: &Picture) -> String {
    picture.path.file_name().unwrap_or(picture.path.as_os_str()).to_string_lossy().into_owned()
}

fn open(picture: &Picture, options: &Options) -> Result<Image> {
    let image = Image::open_with(&picture.path, options.white_level)?;
    image.frame().check_depth().map_err(|error| error.at(&picture.path))?;
    Ok(image)
}

fn judge(
    candidate: &Candidate<'_>,
    pictures: &[Picture],
    prompts: &[usize],
    options: &Options,
    observe: &mut impl FnMut(),
) -> Result<Judged> {
    let open = |at: usize| open(&pictures[at], options);
    let method = by_name(candidate.spec.method.as_deref().unwrap_or_default())?;
    let prompts = if method.takes_prompts() { prompts } else { &[] };
    let mut builder = candidate.engine.bank_builder_of(&candidate.spec)?;
    let mut hashes: HashMap<usize, String> = HashMap::new();
    for &prompt in prompts {
        let image = open(prompt)?;
        builder.add(image.frame()).map_err(|error| error.at(&pictures[prompt].path))?;
        hashes.insert(prompt, blake3::Hash::from_bytes(image.frame().content_hash()?).to_hex().to_string());
    }
    let build = |but: Option<usize>| -> Result<PromptBank> {
        let kept = prompts.iter().filter(|prompt| Some(**prompt) != but).filter_map(|prompt| hashes.get(prompt));
        builder.bank_of(&kept.map(String::as_str).collect::<Vec<_>>())
    };
    let bank = Arc::new(build(None)?);
    let mut scorer = candidate.engine.scorer(Arc::clone(&bank))?;
    let mut times = Vec::new();
    let mut scores: Vec<Option<Scored>> = vec![None; pictures.len()];
    // Images scored against all prompts come first, because the scorer already has that bank.
    let (others, own): (Vec<usize>, Vec<usize>) = (0..pictures.len()).partition(|at| !prompts.contains(at));
    for at in others.into_iter().chain(own) {
        let prompt = prompts.contains(&at);
        let scored = open(at).and_then(|image| {
            if prompt {
                // If the method mixes the rows of its prompts, the bank is made anew of the others.
                let others =
                    if bank.has_separate_prompts() { bank.without(image.frame())?.1 } else { build(Some(at))? };
                scorer.set_bank(Arc::new(others))?;
            }
            let start = Instant::now();
            let score = scorer.score(image.frame())?.clone();
            times.push(start.elapsed().as_secs_f64() * 1e3);
            Ok(score)
        });
        if let Err(error) = &scored
            && error.kind() == ErrorKind::Device
        {
            return Err(Error::new(ErrorKind::Device, error.chain()));
        }
        scores[at] = Some(Scored { score: scored.map_err(|error| error.chain()), prompt });
        observe();
    }
    times.sort_by(f64::total_cmp);
    Ok(Judged {
        scores: scores.into_iter().flatten().collect(),
        bank_bytes: bank.info().bytes,
        milliseconds: times.get(times.len() / 2).copied().unwrap_or(f64::NAN),
    })
}

/// Pictures, told apart by their pixels.
#[derive(Clone, Debug, Default)]
pub struct Distinct {
    /// One of each. Unreadable files are among them, so that they are reported.
    pub pictures: Vec<Picture>,
    /// Files with the pixels of another one.
    pub copies: Vec<PathBuf>,
    /// A good and a defective file with the same pixels. None of their pixels is among `pictures`.
    pub contradictions: Vec<[PathBuf; 2]>,
}

impl Distinct {
    /// Of `pictures`, with the value of white in those of 16 bits.
    pub fn of(pictures: Vec<Picture>, white: Option<WhiteLevel>) -> Self {
        let id = |picture: &Picture| {
            Image::open_with(&picture.path, white).and_then(|image| PictureId::of(image.frame())).ok()
        };
        let ids: Vec<Option<PictureId>> = pictures.iter().map(id).collect();
        // The first good and the first defective file of each.
        let mut firsts: HashMap<PictureId, [Option<usize>; 2]> = HashMap::new();
        for (at, (picture, id)) in pictures.iter().zip(&ids).enumerate() {
            if let Some(id) = id {
                firsts.entry(*id).or_default()[usize::from(picture.defective)].get_or_insert(at);
            }
        }
        let mut distinct = Distinct::default();
        for (at, (picture, id)) in pictures.iter().zip(&ids).enumerate() {
            match id.as_ref().and_then(|id| firsts.get(id)) {
                Some(&[Some(good), Some(bad)]) if at == good => {
                    let both = [good, bad].map(|at| pictures[at].path.clone());
                    distinct.contradictions.push(both);
                }
                Some([Some(_), Some(_)]) => {}
                Some(firsts) if !firsts.contains(&Some(at)) => distinct.copies.push(picture.path.clone()),
                _ => distinct.pictures.push(picture.clone()),
            }
        }
        distinct
    }
}
