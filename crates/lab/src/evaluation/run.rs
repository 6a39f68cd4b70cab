//! From a data set to scores.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use serde::Serialize;

use super::draws::order;
use super::journal::JOURNAL;
use super::{Costs, Draw, Draws, Entry, Journal, Prompt};
use crate::datasets::{Dataset, Item, Label, Split};
use inctrl::internals::{check_memory, without_signals};
use inctrl::methods::by_name;
use inctrl::{BankSpec, Engine, Error, ErrorKind, MultiBankScorer, PromptBank, Result};

/// What to evaluate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Numbers of prompts.
    pub shots: Vec<usize>,
    /// Independent draws of the prompts.
    pub runs: usize,
    /// Another seed gives other draws.
    pub seed: u64,
    /// The method, its options and the fit; the class names are the data set's.
    pub spec: BankSpec,
    /// The classes; all where empty.
    pub classes: Vec<String>,
    /// Longest side of maps and masks for the metrics of pixels; 0 for the images' own.
    pub mask_side: usize,
    /// Draws of an earlier run, to be repeated.
    pub draws: Option<Draws>,
    /// Whether to measure [`Costs`], unless they are known.
    pub costs: bool,
}

/// What a run reports while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The number of images to encode.
    Images(usize),
    /// One more image is done.
    Done,
}

/// An image that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The image's name in the data set.
    pub name: String,
    /// The error.
    pub error: String,
}

impl Options {
    /// Whether the method compares with normal images. Others have no shots, and nothing to draw.
    pub fn takes_prompts(&self) -> bool {
        self.spec.method.as_deref().and_then(|name| by_name(name).ok()).is_none_or(|method| method.takes_prompts())
    }

    /// The banks of a class: run and shots of each, in the order of an entry's scores.
    pub fn banks(&self) -> Vec<(usize, usize)> {
        (0..self.runs).flat_map(|run| self.shots.iter().map(move |&shots| (run, shots))).collect()
    }

    /// The classes of a data set to evaluate.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an unknown class, and for numbers out of range.
    pub fn classes<'a>(&self, dataset: &'a Dataset) -> Result<Vec<&'a str>> {
        let fail = |message: String| Err(Error::new(ErrorKind::Argument, message));
        let least = usize::from(self.takes_prompts());
        if self.shots.is_empty() || self.shots.iter().any(|shots| *shots < least) || self.runs == 0 {
            return fail("the numbers of shots and runs must be at least 1".to_owned());
        }
        let all = dataset.classes();
        if let Some(unknown) = self.classes.iter().find(|class| !all.contains(&class.as_str())) {
            return fail(format!("the data set has no class `{unknown}`; it has {}", all.join(", ")));
        }
        let wanted = |class: &&str| self.classes.is_empty() || self.classes.iter().any(|wanted| wanted == class);
        Ok(all.into_iter().filter(wanted).collect())
    }
}

/// Draws prompts, encodes images that are not yet in the journal of `folder`, and returns the draws and the entries of
/// all test images, in the order of the data set. The draws are written to `prompts.json` in `folder` before the first
/// image is scored.
///
/// An unusable image affects only its own entry. An unusable training image is not drawn, and is listed. An error of
/// `observe` ends the run.
///
/// # Errors
/// [`ErrorKind::Argument`] where every class has too few normal training images, where given draws do not fit the data set,
/// and for a folder of another evaluation; otherwise as building banks, scoring and `observe`.
pub fn run(
    engine: &Engine,
    dataset: &Dataset,
    options: &Options,
    folder: &Path,
    mut observe: impl FnMut(Event) -> Result<()>,
) -> Result<(Draws, Vec<Entry>, Vec<Failure>)> {
    let classes = options.classes(dataset)?;
    let (draws, failures) = draws(dataset, &classes, options)?;
    let classes: Vec<&str> = classes.into_iter().filter(|class| draws.of(class, 0).is_some()).collect();
    let mut journal = Journal::open(&folder.join(JOURNAL), &identity(engine, dataset, &classes, options, &draws)?)?;
    draws.write(&folder.join("prompts.json"))?;

    let mut work: Vec<(&str, Vec<&Item>)> = Vec::new();
    for &class in &classes {
        let items = dataset.of(class, Split::Test).filter(|item| journal.get(class, &item.name).is_none());
        work.push((class, items.collect()));
    }
    let unmeasured = options.costs && !Costs::read(folder).is_ok_and(|known| known.cover(options));
    let measured = classes.first().copied().filter(|_| unmeasured);
    work.retain(|(class, items)| !items.is_empty() || Some(*class) == measured);
    let prompts = |class: &str| unique(&draws, class).len();
    observe(Event::Images(work.iter().map(|(class, items)| prompts(class) + items.len()).sum()))?;
    for (class, items) in work {
        let banks = banks(engine, dataset, class, options, &draws, || observe(Event::Done))?;
        if Some(class) == measured {
            let all: Vec<&Item> = dataset.of(class, Split::Test).collect();
            Costs::measure(engine, class, options, &banks, &all)?.write(folder)?;
        }
        let mut many = engine.multi_bank_scorer(&banks)?;
        score(&mut many, class, &items, |entry| {
            journal.add(entry)?;
            observe(Event::Done)
        })?;
    }
    let entries = classes.iter().flat_map(|class| dataset.of(class, Split::Test));
    let entries = entries.filter_map(|item| journal.get(&item.class, &item.name).cloned()).collect();
    Ok((draws, entries, failures))
}

/// Everything that identifies an evaluation, as one line of JSON.
fn identity(engine: &Engine, dataset: &Dataset, classes: &[&str], options: &Options, draws: &Draws) -> Result<String> {
    let mut names = blake3::Hasher::new();
    for item in classes.iter().flat_map(|class| dataset.of(class, Split::Test)) {
        names.update(item.name.as_bytes()).update(&[0]);
    }
    let internal = |error| Error::new(ErrorKind::Internal, "cannot write JSON").because(error);
    let drawn = blake3::hash(&serde_json::to_vec(draws).map_err(internal)?);
    let texts: Vec<&str> = classes.iter().map(|class| dataset.text(class)).collect();
    let mut identity = serde_json::json!({
        "journal": 1,
        "texts": texts,
        "model": engine.model_hash(),
        "device": engine.device(),
        "fit": options.spec.fit,
        "shots": options.shots,
        "runs": options.runs,
        "prompts": drawn.to_hex().as_str(),
        "images": names.finalize().to_hex().as_str(),
    });
    // Absent if there is none, so that older journals can be continued. The same holds for options below.
    if let Some(white) = dataset.items.first().and_then(|item| item.white_level) {
        identity["white_level"] = white.get().into();
    }
    if !options.spec.options.is_empty() {
        identity["method"] = options.spec.method.as_deref().into();
        identity["options"] = options.spec.options.join(" ").into();
    }
    serde_json::to_string(&identity).map_err(internal)
}

/// The prompts of every run, all readable; the unreadable images, and the classes with too few images to draw from.
///
/// # Errors
/// As [`run`].
fn draws(dataset: &Dataset, classes: &[&str], options: &Options) -> Result<(Draws, Vec<Failure>)> {
    let most = options.shots.iter().copied().max().unwrap_or(0);
    let count = options.runs.saturating_mul(classes.len());
    // A name and a hash in hexadecimal per prompt.
    let bytes = count.saturating_mul(size_of::<Draw>().saturating_add(most.saturating_mul(size_of::<Prompt>() + 128)));
    check_memory(&format!("{count} draws of {most} prompts"), bytes, "use fewer --runs")?;
    let (mut draws, mut failures, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let too_few = |class: &str, found: usize| {
        let error = format!(
            "class `{class}` has {found} usable normal training images, but {most} shots need {most}: lower --shots, or leave the class out with --classes"
        );
        Failure { name: class.to_owned(), error }
    };
    'classes: for &class in classes {
        let normals: Vec<&Item> = dataset.of(class, Split::Train).filter(|item| item.label == Label::Normal).collect();
        let mut hashes: HashMap<&str, Option<String>> = HashMap::new();
        let mut hash = |item: &'_ Item| -> Option<String> {
            match item.certain_image().and_then(|image| image.frame().content_hash()) {
                Ok(hash) => Some(blake3::Hash::from_bytes(hash).to_hex().to_string()),
                Err(error) => {
                    failures.push(Failure { name: item.name.clone(), error: error.chain() });
                    None
                }
            }
        };
        if normals.len() < most {
            left_out.push(too_few(class, normals.len()));
            continue;
        }
        for run in 0..options.runs {
            let names = normals.iter().map(|item| item.name.as_str());
            let candidates: Vec<&Item> = match options.draws.as_ref() {
                Some(given) => chosen(given, class, run, &normals)?,
                None => order(class, options.seed, run, names).into_iter().map(|index| normals[index]).collect(),
            };
            let mut prompts = Vec::new();
            for item in candidates {
                if prompts.len() == most {
                    break;
                }
                if let Some(hash) = hashes.entry(&item.name).or_insert_with(|| hash(item)) {
                    prompts.push(Prompt { name: item.name.clone(), hash: hash.clone() });
                }
            }
            if prompts.len() < most {
                left_out.push(too_few(class, prompts.len()));
                draws.retain(|draw: &Draw| draw.class != class);
                continue 'classes;
            }
            let draw = Draw { class: class.to_owned(), run, prompts };
            match options.draws.as_ref().and_then(|given| given.of(class, run)) {
                Some(given) if given.prompts[..most] != draw.prompts[..] => {
                    let message =
                        format!("the prompts of class `{class}`, run {run}, have changed: their hashes differ");
                    return Err(Error::new(ErrorKind::Argument, message));
                }
                _ => draws.push(draw),
            }
        }
    }
    if let (true, Some(first)) = (draws.is_empty(), left_out.first()) {
        return Err(Error::new(ErrorKind::Argument, first.error.clone()));
    }
    left_out.append(&mut failures);
    Ok((Draws { draws }, left_out))
}

/// The normals that given draws name.
fn chosen<'a>(given: &Draws, class: &str, run: usize, normals: &[&'a Item]) -> Result<Vec<&'a Item>> {
    let fail = |message: String| Error::new(ErrorKind::Argument, message);
    let draw = given.of(class, run).ok_or_else(|| fail(format!("the prompts have no run {run} of class `{class}`")))?;
    let find = |prompt: &Prompt| {
        let message = || format!("prompt {} is not a normal training image of class `{class}`", prompt.name);
        normals.iter().find(|item| item.name == prompt.name).copied().ok_or_else(|| fail(message()))
    };
    draw.prompts.iter().map(find).collect()
}

/// The prompts of a class, each once.
fn unique<'a>(draws: &'a Draws, class: &str) -> Vec<&'a Prompt> {
    let mut prompts: Vec<&Prompt> = Vec::new();
    for prompt in draws.draws.iter().filter(|draw| draw.class == class).flat_map(|draw| &draw.prompts) {
        if prompts.iter().all(|known| known.hash != prompt.hash) {
            prompts.push(prompt);
        }
    }
    prompts
}

/// The banks of a class in the order of [`Options::banks`]; each prompt is encoded once.
fn banks(
    engine: &Engine,
    dataset: &Dataset,
    class: &str,
    options: &Options,
    draws: &Draws,
    mut done: impl FnMut() -> Result<()>,
) -> Result<Vec<Arc<PromptBank>>> {
    let mut spec = options.spec.clone();
    spec.class = Some(dataset.text(class).to_owned());
    let mut builder = engine.bank_builder_of(&spec)?;
    for prompt in unique(draws, class) {
        let item = dataset.of(class, Split::Train).find(|item| item.name == prompt.name).ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("the drawn prompt {} is not in the data set", prompt.name))
        })?;
        builder.add(item.image()?.frame()).map_err(|error| error.at(&item.path))?;
        done()?;
    }
    let bank = |(run, shots): (usize, usize)| {
        let drawn = draws.of(class, run).map_or(&[][..], |draw| &draw.prompts[..shots]);
        let hashes: Vec<&str> = drawn.iter().map(|prompt| prompt.hash.as_str()).collect();
        Ok(Arc::new(builder.bank_of(&hashes)?))
    };
    options.banks().into_iter().map(bank).collect()
}

/// Scores `items` while the next ones are decoded.
fn score(
    many: &mut MultiBankScorer,
    class: &str,
    items: &[&Item],
    mut each: impl FnMut(Entry) -> Result<()>,
) -> Result<()> {
    thread::scope(|scope| {
        let (sender, decoded) = sync_channel(2);
        let decode = move || {
            for item in items {
                // After an error no images are taken any more.
                if sender.send((item, item.certain_image())).is_err() {
                    return;
                }
            }
        };
        without_signals(|| scope.spawn(decode));
        for (item, image) in decoded {
            let scored = image.and_then(|image| {
                let hash = blake3::Hash::from_bytes(image.frame().content_hash()?).to_hex().to_string();
                Ok(Entry::of(&item.name, class, hash, many.score(image.frame())?))
            });
            let entry = match scored {
                Ok(entry) => entry,
                Err(error) if error.kind() == ErrorKind::Device => return Err(error),
                Err(error) => Entry::failed(&item.name, class, error.chain()),
            };
            each(entry)?;
        }
        Ok(())
    })
}
