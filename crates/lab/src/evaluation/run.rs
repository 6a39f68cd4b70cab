//! From a data set to scores: one evaluation, or several that share encodings.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::drawing::{SeenPrompts, draws, unique};
use super::journal::{self, JOURNAL};
use super::{Costs, Draws, Entry, Event, Failure, Journal, Options, Prompt};
use crate::datasets::{Dataset, Item, Split};
use inctrl::internals::{SCORING_COPIES, memory_left, without_signals};
use inctrl::{BankSpec, Engine, Error, ErrorKind, Image, PromptBank, Result, Score};

/// An evaluation that is to be run.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// What it is asked for.
    pub options: &'a Options,
    /// Its folder, which exists.
    pub folder: &'a Path,
}

/// An evaluation whose images are all scored. The scores are in its journal.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The prompts.
    pub draws: Draws,
    /// What could not be used.
    pub failures: Vec<Failure>,
}

impl Scored {
    /// The entries of all test images, in the order of the data set, from the journal in `folder`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], and [`ErrorKind::Argument`] for a damaged journal.
    pub fn entries(&self, dataset: &Dataset, folder: &Path) -> Result<Vec<Entry>> {
        let mut stored = journal::all(folder)?;
        let classes = dataset.classes().into_iter().filter(|class| self.draws.of(class, 0).is_some());
        let items = classes.flat_map(|class| dataset.of(class, Split::Test));
        Ok(items.filter_map(|item| stored.remove(&(item.class.clone(), item.name.clone()))).collect())
    }
}

/// Runs evaluations whose methods [look](Engine::looks) at images alike, so that each image is encoded once for all of
/// them: each normal image, each of its rotations, and each test image. Costs are measured besides.
///
/// For each evaluation prompts are drawn, and `prompts.json` and a line of the journal for every test image are written
/// to its folder; images that are in the journal are not scored again. The banks of a class are in memory at once, for
/// all evaluations, runs and shots. Where they would take more than `memory` bytes (by default half of what is free),
/// the evaluations are divided into passes, and each pass encodes the images anew. Results have the same bits in any
/// case.
///
/// An unusable image affects only its own entry, and an error of an evaluation is its result: the others continue. An
/// unusable training image is not drawn, and is listed.
///
/// # Errors
/// Those of `observe`, which end everything. Those of an evaluation: [`ErrorKind::Argument`] where every class has too few
/// normal training images, where given draws do not fit the data set, and for a folder of another evaluation; otherwise
/// as building banks and scoring.
pub fn run_together(
    engine: &Engine,
    dataset: &Dataset,
    jobs: &[Job<'_>],
    memory: Option<usize>,
    observe: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<Vec<Result<Scored>>> {
    let mut seen = SeenPrompts::default();
    let mut all: Vec<Running<'_>> =
        jobs.iter().map(|job| Running { job: *job, state: State::begin(engine, dataset, job, &mut seen) }).collect();
    let most = memory.or_else(|| memory_left().map(|left| left / 2)).unwrap_or(usize::MAX);
    let sizes = all.iter().map(|running| running.state.as_ref().map_or(0, |state| state.bytes));
    let passes = passes(&sizes.collect::<Vec<_>>(), most);
    let largest = passes.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    observe(Event::Banks { bytes: largest, passes: passes.len() })?;
    for (pass, _) in passes {
        let pass = &mut all[pass];
        observe(Event::Images(dataset.classes().into_iter().map(|class| images(dataset, class, pass)).sum()))?;
        for class in dataset.classes() {
            let mut active: Vec<&mut Running<'_>> =
                pass.iter_mut().filter(|running| running.has_work(dataset, class)).collect();
            let shared = match score_class(engine, dataset, class, &mut active, observe) {
                Err(Ended::Stopped(error)) => return Err(error),
                Err(Ended::Failed(error)) if active.len() == 1 => {
                    active[0].state = Err(error);
                    continue;
                }
                shared => shared.is_ok(),
            };
            // Whose fault it was shows where each is alone.
            for running in active.into_iter().filter(|running| !shared && running.state.is_ok()) {
                match score_class(engine, dataset, class, &mut [&mut *running], observe) {
                    Ok(()) => {}
                    Err(Ended::Stopped(error)) => return Err(error),
                    Err(Ended::Failed(error)) => running.state = Err(error),
                }
            }
        }
    }
    let finished = |running: Running<'_>| running.state.map(|State { draws, failures, .. }| Scored { draws, failures });
    Ok(all.into_iter().map(finished).collect())
}

/// Why scoring ended early.
enum Ended {
    /// The observer wants no more.
    Stopped(Error),
    /// An error of the evaluations.
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Ended::Failed(error)
    }
}

/// An evaluation that is being run.
struct Running<'a> {
    job: Job<'a>,
    state: Result<State<'a>>,
}

struct State<'a> {
    draws: Draws,
    failures: Vec<Failure>,
    journal: Journal,
    /// The class on which costs are to be measured.
    measured: Option<&'a str>,
    /// Memory that the banks of a class take at most, and what they are made from.
    bytes: usize,
}

impl<'a> State<'a> {
    fn begin(engine: &Engine, dataset: &'a Dataset, job: &Job<'_>, seen: &mut SeenPrompts) -> Result<Self> {
        let Job { options, folder } = *job;
        let classes = options.classes(dataset)?;
        let (draws, failures) = draws(dataset, &classes, options, seen)?;
        let classes: Vec<&str> = classes.into_iter().filter(|class| draws.of(class, 0).is_some()).collect();
        let identity = identity(engine, dataset, &classes, options, &draws)?;
        let journal = Journal::open(&folder.join(JOURNAL), &identity)?;
        draws.write(&folder.join("prompts.json"))?;
        let unmeasured = options.costs && !Costs::read(folder).is_ok_and(|known| known.cover(options));
        let measured = classes.first().copied().filter(|_| unmeasured);
        let lacks = |class: &&&str| dataset.of(class, Split::Test).any(|item| !journal.has(class, &item.name));
        let sizes = classes.iter().filter(lacks).map(|class| bank_bytes(engine, class, options, &draws, seen));
        let bytes = sizes.max().unwrap_or(0);
        Ok(State { draws, failures, journal, measured, bytes })
    }

    fn lacks(&self, item: &Item) -> bool {
        !self.journal.has(&item.class, &item.name)
    }
}

impl Running<'_> {
    fn has_work(&self, dataset: &Dataset, class: &str) -> bool {
        self.state.as_ref().is_ok_and(|state| {
            let is_lacking = || dataset.of(class, Split::Test).any(|item| state.lacks(item));
            state.draws.of(class, 0).is_some() && (state.measured == Some(class) || is_lacking())
        })
    }

    fn lacks(&self, item: &Item) -> bool {
        self.state.as_ref().is_ok_and(|state| state.draws.of(&item.class, 0).is_some() && state.lacks(item))
    }
}

/// Bytes of the banks of a class while images are scored against them, and of the prompts that they are made from.
fn bank_bytes(engine: &Engine, class: &str, options: &Options, draws: &Draws, seen: &SeenPrompts) -> usize {
    let prompts = unique([draws], class);
    let size = prompts.first().and_then(|prompt| seen.size(class, &prompt.name));
    // A frame that cannot be looked at is an error when it is encoded.
    let each = size.and_then(|[width, height]| engine.prompt_bytes(&options.spec, width, height).ok()).unwrap_or(0);
    let in_banks: usize = options.banks().iter().map(|(_, shots)| shots).sum();
    each.saturating_mul(prompts.len().saturating_add(in_banks.saturating_mul(SCORING_COPIES)))
}

/// Divides evaluations, of which these are the sizes of their banks, so that those of a part take at most `most` bytes
/// together, unless one alone takes more. Returns the parts with their sizes.
fn passes(sizes: &[usize], most: usize) -> Vec<(Range<usize>, usize)> {
    let mut parts: Vec<(Range<usize>, usize)> = Vec::new();
    for (at, &size) in sizes.iter().enumerate() {
        match parts.last_mut() {
            Some((part, bytes)) if bytes.saturating_add(size) <= most => {
                part.end = at + 1;
                *bytes += size;
            }
            _ => parts.push((at..at + 1, size)),
        }
    }
    parts
}

/// How many images of a class will be encoded: those to be scored, and the prompts if there are any.
fn images(dataset: &Dataset, class: &str, pass: &[Running<'_>]) -> usize {
    let active: Vec<&Running<'_>> = pass.iter().filter(|running| running.has_work(dataset, class)).collect();
    let draws = active.iter().filter_map(|running| running.state.as_ref().ok()).map(|state| &state.draws);
    let prompts = unique(draws, class).len();
    prompts + dataset.of(class, Split::Test).filter(|item| active.iter().any(|running| running.lacks(item))).count()
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

/// Builds the banks of a class for `active` evaluations and scores the images that are not in their journals. An
/// evaluation that fails by itself has its error and drops out.
fn score_class(
    engine: &Engine,
    dataset: &Dataset,
    class: &str,
    active: &mut [&mut Running<'_>],
    observe: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<(), Ended> {
    if active.is_empty() {
        return Ok(());
    }
    let made = banks(engine, dataset, class, active, observe)?;
    // The number of each, and its banks.
    let mut able: Vec<(usize, Vec<Arc<PromptBank>>)> = Vec::new();
    for (at, made) in made.into_iter().enumerate() {
        match made.and_then(|banks| {
            measure(engine, dataset, class, active[at], &banks)?;
            Ok(banks)
        }) {
            Ok(banks) => able.push((at, banks)),
            Err(error) => active[at].state = Err(error),
        }
    }
    if able.is_empty() {
        return Ok(());
    }
    let mut scorer = engine.multi_method_scorer(&able.iter().map(|(_, banks)| &banks[..]).collect::<Vec<_>>())?;
    // Each image, with the methods that lack it by their numbers in the scorer.
    let lacking =
        |item: &Item| -> Vec<usize> { (0..able.len()).filter(|&method| active[able[method].0].lacks(item)).collect() };
    let items = dataset.of(class, Split::Test).map(|item| (item, lacking(item)));
    let items: Vec<(&Item, Vec<usize>)> = items.filter(|(_, lacking)| !lacking.is_empty()).collect();
    each_decoded(&items, |item, lacking, image| {
        let mut alive = lacking.to_vec();
        alive.retain(|&method| active[able[method].0].state.is_ok());
        let results: Vec<Result<Entry>> = match image.and_then(|image| {
            let hash = blake3::Hash::from_bytes(image.frame().content_hash()?).to_hex().to_string();
            let scored = scorer.score(image.frame(), &alive)?;
            // What outlives the image: the entry, or the error.
            let entry = |scored: Result<&[Score]>| Ok(Entry::of(&item.name, class, hash.clone(), scored?));
            Ok(scored.into_iter().map(entry).collect())
        }) {
            Ok(results) => results,
            Err(error) if error.kind() == ErrorKind::Device => return Err(error.into()),
            Err(error) => {
                let failed = || Ok(Entry::failed(&item.name, class, error.chain()));
                alive.iter().map(|_| failed()).collect()
            }
        };
        for (&method, result) in alive.iter().zip(results) {
            let running = &mut *active[able[method].0];
            let Ok(state) = &mut running.state else { continue };
            let entry = match result {
                Err(error) if error.kind() == ErrorKind::Device => Err(error),
                Err(error) => Ok(Entry::failed(&item.name, class, error.chain())),
                Ok(entry) => Ok(entry),
            };
            if let Err(error) = entry.and_then(|entry| state.journal.add(&entry)) {
                running.state = Err(error);
            }
        }
        observe(Event::Done).map_err(Ended::Stopped)
    })
}

/// Decodes the images of `items` while the ones before them are scored.
fn each_decoded(
    items: &[(&Item, Vec<usize>)],
    mut each: impl FnMut(&Item, &[usize], Result<Image>) -> Result<(), Ended>,
) -> Result<(), Ended> {
    thread::scope(|scope| {
        let (sender, decoded) = sync_channel(2);
        let decode = move || {
            for (item, lacking) in items {
                // After an error no images are taken any more.
                if sender.send((item, lacking, item.certain_image())).is_err() {
                    return;
                }
            }
        };
        without_signals(|| scope.spawn(decode));
        decoded.into_iter().try_for_each(|(item, lacking, image)| each(item, lacking, image))
    })
}

/// Measures the costs of an evaluation, if this is the class to do it on.
fn measure(
    engine: &Engine,
    dataset: &Dataset,
    class: &str,
    running: &mut Running<'_>,
    banks: &[Arc<PromptBank>],
) -> Result<()> {
    let Ok(state) = &mut running.state else { return Ok(()) };
    if state.measured == Some(class) {
        let all: Vec<&Item> = dataset.of(class, Split::Test).collect();
        Costs::measure(engine, class, running.job.options, banks, &all)?.write(running.job.folder)?;
        state.measured = None;
    }
    Ok(())
}

/// The banks of a class for each evaluation, in the order of [`Options::banks`]. Each prompt is encoded once for all.
fn banks(
    engine: &Engine,
    dataset: &Dataset,
    class: &str,
    active: &[&mut Running<'_>],
    observe: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<Vec<Result<Vec<Arc<PromptBank>>>>, Ended> {
    let spec = |running: &&mut Running<'_>| {
        let mut spec: BankSpec = running.job.options.spec.clone();
        spec.class = Some(dataset.text(class).to_owned());
        spec
    };
    let mut builder = engine.multi_bank_builder(&active.iter().map(spec).collect::<Vec<_>>())?;
    let draws: Vec<Option<&Draws>> =
        active.iter().map(|running| running.state.as_ref().ok().map(|state| &state.draws)).collect();
    let own: Vec<Vec<&Prompt>> = draws.iter().map(|draws| unique(*draws, class)).collect();
    let mut fared: Vec<Result<()>> = active.iter().map(|_| Ok(())).collect();
    for prompt in unique(draws.iter().copied().flatten(), class) {
        let wants = |method: &usize| fared[*method].is_ok() && own[*method].iter().any(|own| own.hash == prompt.hash);
        let methods: Vec<usize> = (0..active.len()).filter(wants).collect();
        let item = dataset.of(class, Split::Train).find(|item| item.name == prompt.name).ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("the drawn prompt {} is not in the data set", prompt.name))
        })?;
        let results = builder.add(item.image()?.frame(), &methods).map_err(|error| error.at(&item.path))?;
        for (&method, result) in methods.iter().zip(results) {
            fared[method] = result.map_err(|error| error.at(&item.path));
        }
        observe(Event::Done).map_err(Ended::Stopped)?;
    }
    let of = |(method, (fared, draws)): (usize, (Result<()>, &Option<&Draws>))| {
        fared?;
        let bank = |(run, shots): (usize, usize)| {
            let drawn = draws.and_then(|draws| draws.of(class, run)).map_or(&[][..], |draw| &draw.prompts[..shots]);
            let hashes: Vec<&str> = drawn.iter().map(|prompt| prompt.hash.as_str()).collect();
            Ok(Arc::new(builder.bank_of(method, &hashes)?))
        };
        active[method].job.options.banks().into_iter().map(bank).collect::<Result<Vec<_>>>()
    };
    Ok(fared.into_iter().zip(&draws).enumerate().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_are_divided_where_their_banks_take_too_much_memory() {
        assert_eq!(passes(&[], 10), []);
        assert_eq!(passes(&[4, 6, 1, 12, 0, 3], 10), [(0..2, 10), (2..3, 1), (3..4, 12), (4..6, 3)]);
        assert_eq!(passes(&[4, 6], usize::MAX), [(0..2, 10)]);
        assert_eq!(passes(&[4, 0, 6], 0), [(0..1, 4), (1..2, 0), (2..3, 6)]);
    }
}
