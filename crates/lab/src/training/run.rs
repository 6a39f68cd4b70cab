//! From a data set to trained heads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::adamw::AdamW;
use super::cache::Cache;
use super::draws::{self, Sample};
use super::files::{State, state_path, write_heads, write_merged};
use super::maps::Maps;
use super::network::{Batch, Network};
use super::set::Set;
use super::{Event, Failure, Options};
use crate::datasets::Dataset;
use crate::metrics::auroc;
use inctrl::internals::check_memory;
use inctrl::methods::inctrl::{equations, text_prototypes};
use inctrl::text::Tokeniser;
use inctrl::weights::Arch;
use inctrl::{Engine, EngineOptions, Error, ErrorKind, Result};

/// A model to train heads for: a CLIP model with or without heads.
pub struct Base {
    engine: Engine,
}

impl Base {
    /// Opens a model. Its heads, if any, are not used.
    ///
    /// # Errors
    /// As [`Engine::with`]; [`ErrorKind::Argument`] where the options name a file of heads.
    pub fn open(options: &EngineOptions) -> Result<Self> {
        if let Some(heads) = &options.weights.heads {
            let message = "heads were given, but training makes new ones: leave them out";
            return Err(Error::new(ErrorKind::Argument, message).at(heads));
        }
        Ok(Base { engine: Engine::with(options)? })
    }

    /// The engine, whose heads are not used.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// The output files.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The trained heads. Until the run is finished, `<output>.state` lies beside it.
    pub output: PathBuf,
    /// The model with the trained heads in it, if wanted.
    pub merged: Option<PathBuf>,
    /// The folder of the features.
    pub cache: PathBuf,
}

/// The figures of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Epoch {
    /// Mean of L_IRL + L_h over the steps.
    pub loss: f64,
    /// Mean over classes of the AUROC of the final score, over the epoch's samples, after it.
    pub auroc: f64,
    /// The same of the patch maximum, which is not trained.
    pub patch_auroc: f64,
}

/// Bytes of a sample in an epoch: its draw, and in f64 the class embeddings of image and prompts and its residual map.
fn sample_bytes(arch: &Arch, shots: usize) -> usize {
    let numbers = shots.saturating_add(1).saturating_mul(arch.embed_dim).saturating_add(arch.vision.patches());
    size_of::<Sample>().saturating_add(size_of::<f64>().saturating_mul(shots.saturating_add(numbers)))
}

/// What was trained.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trained {
    /// Every epoch.
    pub epochs: Vec<Epoch>,
    /// How many of them an earlier run did.
    pub resumed: usize,
    /// Images that could not be used.
    pub failures: Vec<Failure>,
    /// Usable normal and anomalous images.
    pub images: [usize; 2],
    /// The file of the features.
    pub cache: PathBuf,
}

/// Trains heads for `base` on `dataset` and writes them. A run that was killed continues after its last epoch if it is
/// started again with the same options, and its result has the same bytes.
///
/// # Errors
/// [`ErrorKind::Config`] for a model without taps; [`ErrorKind::Argument`] for options out of range, classes with too few images, and a cache or state that is damaged
/// or belongs to another run; [`ErrorKind::Io`] where a file cannot be written; [`ErrorKind::Numeric`] where the loss
/// is no longer finite; [`ErrorKind::Device`].
pub fn train(
    base: &Base,
    dataset: &Dataset,
    options: &Options,
    paths: &Paths,
    mut observe: impl FnMut(Event),
) -> Result<Trained> {
    options.check()?;
    let (engine, arch) = (&base.engine, base.engine.arch());
    arch.trained_taps()?;
    let samples = options.steps.saturating_mul(options.batch);
    let what = format!("an epoch of {samples} samples");
    check_memory(
        &what,
        samples.saturating_mul(sample_bytes(arch, options.shots)),
        "use a smaller batch or fewer steps",
    )?;
    let mut encoder = engine.encoder(options.fit)?;
    let features = format!("{} {} {}", engine.weights().clip_hash(), options.fit, encoder.arithmetic());
    let cache = Cache::open(&paths.cache, &features, arch)?;
    let (set, failures) = Set::encode(&mut encoder, dataset, options, cache, &mut observe)?;
    let text_priors = text_priors(engine, &set)?;

    let mut network = Network::new(arch, options.seed)?;
    if let Some(alpha) = options.loss_alpha {
        network.loss_alpha = alpha;
    }
    let optimiser = AdamW::new(network.parameters.len(), options.rate);
    let mut state = State { network, optimiser, history: Vec::new() };
    let state_file = state_path(&paths.output);
    let identity = identity(&features, arch.alpha, &set, options)?;
    if fs::exists(&state_file).map_err(|error| Error::io("look for", &state_file, error))? {
        state.resume(&state_file, &identity)?;
    }
    let resumed = state.history.len();

    let mut maps = Maps::new(arch.taps.len(), arch.vision.patches());
    for epoch in resumed..options.epochs {
        let samples = draws::epoch(&set, options, epoch);
        maps.prepare(&mut encoder, &set, &samples, &mut observe)?;
        let batches: Vec<Batch> =
            samples.chunks(options.batch).map(|step| batch(&set, &maps, &text_priors, step)).collect::<Result<_>>()?;
        observe(Event::Training { epoch, steps: batches.len() });
        let mut gradient = vec![0.0; state.network.parameters.len()];
        let mut total = 0.0;
        for (step, batch) in batches.iter().enumerate() {
            gradient.fill(0.0);
            let loss = state.network.step(batch, options.loss, options.loss_input, &mut gradient);
            if !loss.is_finite() || !gradient.iter().all(|g| g.is_finite()) {
                let message = format!(
                    "the loss is {loss} in epoch {}, step {}, or its gradient is not finite: lower the learning rate (--lr {})",
                    epoch + 1,
                    step + 1,
                    options.rate
                );
                return Err(Error::new(ErrorKind::Numeric, message));
            }
            state.optimiser.rate = options.rate_at(epoch * options.steps + step);
            state.optimiser.step(&mut state.network.parameters, &gradient);
            total += loss;
            observe(Event::Stepped);
        }
        let [auroc, patch_auroc] = judge(&state.network, &set, &samples, &batches);
        let figures = Epoch { loss: total / batches.len() as f64, auroc, patch_auroc };
        state.history.push(figures);
        state.save(&state_file, &identity)?;
        observe(Event::Epoch(figures));
    }
    state.history.truncate(options.epochs);
    write_heads(&paths.output, &state.network, arch)?;
    if let Some(merged) = &paths.merged {
        write_merged(merged, &state.network, engine.weights())?;
    }
    let anomalous = set.members.iter().filter(|member| member.anomalous).count();
    Ok(Trained {
        epochs: state.history,
        resumed,
        failures,
        images: [set.members.len() - anomalous, anomalous],
        cache: set.store.path().to_path_buf(),
    })
}

/// Removes the state of a finished run.
///
/// # Errors
/// [`ErrorKind::Io`].
pub fn finish(output: &Path) -> Result<()> {
    let state = state_path(output);
    match fs::remove_file(&state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", state, error)),
        _ => Ok(()),
    }
}

/// Everything that identifies a run except its length, as one line of JSON.
fn identity(features: &str, alpha: f32, set: &Set, options: &Options) -> Result<String> {
    let identity = serde_json::json!({
        "training": 1,
        "features": features,
        "alpha": alpha,
        "images": set.identity(),
        "shots": options.shots,
        "steps": options.steps,
        "batch": options.batch,
        "rate": options.rate,
        // A rate that falls depends on the length of the run.
        "rate_decay": options.rate_decay.then_some(options.epochs),
        "seed": options.seed,
        "loss": options.loss,
        "loss_input": options.loss_input,
        "loss_alpha": options.loss_alpha,
        "mirror": options.mirror,
    });
    serde_json::to_string(&identity)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot write JSON").because(error))
}

/// s_a of every member, equation 6.
fn text_priors(engine: &Engine, set: &Set) -> Result<Vec<f64>> {
    let mut prototypes = BTreeMap::new();
    for text in &set.texts {
        if !prototypes.contains_key(text) {
            let mut cpu = engine.options().text_cpu()?;
            prototypes.insert(text, text_prototypes(&mut cpu, engine.weights(), &Tokeniser::new()?, text)?);
        }
    }
    let prior = |class: usize, embedding: &[f32]| {
        let (normal, anomaly) = prototypes[&set.texts[class]].split_at(embedding.len());
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let norm = dot(embedding, embedding).sqrt().max(1e-12);
        equations::text_prior(dot(embedding, anomaly) / norm, dot(embedding, normal) / norm)
    };
    set.members.iter().map(|member| Ok(prior(member.class, &set.store.class(member.record)?))).collect()
}

/// The numbers of a step's samples.
fn batch(set: &Set, maps: &Maps, text_priors: &[f64], samples: &[Sample]) -> Result<Batch> {
    let class = |member: usize| Ok(set.store.class(set.members[member].record)?.into_iter().map(f64::from));
    let mut batch = Batch::default();
    for sample in samples {
        batch.queries.extend(class(sample.member)?);
        for &prompt in &sample.prompts {
            batch.prompts.extend(class(prompt)?);
        }
        batch.maps.extend(maps.map(set, sample)?);
        batch.text_priors.push(text_priors[sample.member]);
        batch.anomalous.push(set.members[sample.member].anomalous);
    }
    Ok(batch)
}

/// Final scores and patch maxima of samples, and which of these are anomalous.
type Judged = (Vec<f32>, Vec<f32>, Vec<bool>);

/// Mean over classes of the AUROC of the final score and of the patch maximum, with running statistics.
fn judge(network: &Network, set: &Set, samples: &[Sample], batches: &[Batch]) -> [f64; 2] {
    let mut by_class = vec![(Vec::new(), Vec::new(), Vec::new()); set.classes.len()];
    let scores = batches.iter().flat_map(|batch| {
        let cells = batch.maps.len() / batch.anomalous.len();
        let largest = |map: &[f64]| equations::largest(map) as f32;
        let patch_max: Vec<f32> = batch.maps.chunks_exact(cells).map(largest).collect();
        network.evaluate(batch).into_iter().map(|scored| scored.score as f32).zip(patch_max)
    });
    for (sample, (score, patch_max)) in samples.iter().zip(scores) {
        let member = &set.members[sample.member];
        let (of_score, of_patch, truth) = &mut by_class[member.class];
        of_score.push(score);
        of_patch.push(patch_max);
        truth.push(member.anomalous);
    }
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    // A class of which the epoch has one kind only has no AUROC.
    let of = |pick: fn(&Judged) -> &Vec<f32>| {
        mean(by_class.iter().filter_map(|class| auroc(pick(class), &class.2).ok()).collect())
    };
    [of(|class| &class.0), of(|class| &class.1)]
}
