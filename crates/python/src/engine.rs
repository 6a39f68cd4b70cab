//! A model on a device, and what is made with it once: banks, their thresholds, scorers.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use inctrl::calibration::outliers;
use inctrl::{BankSpec, Device, EngineOptions, Precision, PromptCheck, Scorer as RustScorer};
use inctrl_lab::normals::{self, GoodParts, Normal};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::arguments::{Whole, path_of};
use crate::bank::Bank;
use crate::errors::{OrRaise, argument, not_pickled};
use crate::interrupt::Interrupt;
use crate::pictures::{self, Picture, Understood, is_one};
use crate::process::Here;
use crate::score::Score;
use crate::scorer::Scorer;

/// A model on a device: open one, and share it between threads. weights is a safetensors file; device is "auto", "cpu",
/// "cuda" or "cuda:N"; threads are those of all scorers together, one for each core where absent; precision is as on
/// the command line ("f32", "bf16", "int8" or "f16", whichever the device supports), and so are fast and algorithms,
/// for GPUs.
#[pyclass(frozen, module = "inctrl")]
pub struct Engine {
    engine: Here<inctrl::Engine>,
    weights: PathBuf,
}

impl Engine {
    /// The engine.
    pub fn get(&self) -> inctrl::Result<&inctrl::Engine> {
        self.engine.get()
    }
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (weights, *, heads = None, config = None, device = "auto", threads = None, precision = None, fast = false,
                        algorithms = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords")]
    fn new(
        py: Python<'_>,
        weights: PathBuf,
        heads: Option<PathBuf>,
        config: Option<PathBuf>,
        device: &str,
        threads: Option<Whole>,
        precision: Option<&str>,
        fast: bool,
        algorithms: Option<PathBuf>,
    ) -> PyResult<Self> {
        let mut options = EngineOptions::new(&weights);
        options.weights.heads = heads;
        options.weights.config = config;
        options.device = device.parse::<Device>().or_raise(py)?;
        options.threads = threads.map(|threads| at_least_one(py, "threads", threads)).transpose()?;
        options.precision = precision.map(str::parse::<Precision>).transpose().or_raise(py)?;
        options.fast = fast;
        options.algorithms = algorithms;
        let engine = py.detach(|| inctrl::Engine::with(&options)).or_raise(py)?;
        Ok(Engine { engine: Here::new("engine", engine), weights })
    }

    /// The device and how it is used, in words.
    #[getter]
    fn device(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.get().or_raise(py)?.device())
    }

    /// Identity of the model: banks belong to one.
    #[getter]
    fn model_hash(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.get().or_raise(py)?.model_hash().to_owned())
    }

    /// The file of the weights, as it was given.
    #[getter]
    fn weights(&self) -> PathBuf {
        self.weights.clone()
    }

    /// Builds a bank from images of good parts: a path, a folder, or a list of paths, arrays and pictures, mixed as
    /// they come. All are used or none. ignore_mask is a picture of the size of all others: pixels that are not 0 (or
    /// that are True) are not judged. Options of the method are keywords as on the command line, such as size=448,
    /// rotations=8. Only method="winclip-zero" takes no images, but a class_name.
    #[pyo3(signature = (normals = None, *, method = None, class_name = None, fit = None, ignore_mask = None, format = None,
                        white_level = None, **options))]
    #[expect(clippy::too_many_arguments, reason = "keywords")]
    fn build_bank(
        &self,
        py: Python<'_>,
        normals: Option<&Bound<'_, PyAny>>,
        method: Option<String>,
        class_name: Option<String>,
        fit: Option<&str>,
        ignore_mask: Option<&Bound<'_, PyAny>>,
        format: Option<&str>,
        white_level: Option<Whole>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Bank> {
        let how = Understood::new(py, format, white_level)?;
        let spec = spec(py, method, class_name, fit, options)?;
        let given = normals.map_or_else(|| Ok(Given(Vec::new())), |normals| Given::of(normals, how))?;
        let mask = ignore_mask.map(Picture::of_mask).transpose()?;
        let interrupt = Interrupt::default();
        let built = py.detach(|| {
            let mut builder = self.get()?.bank_builder_of(&spec)?;
            if let Some(mask) = &mask {
                builder.set_mask(mask.mask()?)?;
            }
            given.with(|normals| normals::build(builder, normals, how.white, &[], |_| interrupt.check()))
        });
        finished(py, interrupt.or_raise(py, built)?)
    }

    /// The bank with more images of good parts, without its thresholds.
    #[pyo3(signature = (bank, normals, *, format = None, white_level = None))]
    fn append(
        &self,
        py: Python<'_>,
        bank: &Bound<'_, Bank>,
        normals: &Bound<'_, PyAny>,
        format: Option<&str>,
        white_level: Option<Whole>,
    ) -> PyResult<Bank> {
        let how = Understood::new(py, format, white_level)?;
        let (given, bank) = (Given::of(normals, how)?, Arc::clone(&bank.get().0));
        let interrupt = Interrupt::default();
        let built = py.detach(|| {
            let builder = self.get()?.append_to(&bank)?;
            let before = bank.prompt_hashes();
            given.with(|normals| normals::build(builder, normals, how.white, before, |_| interrupt.check()))
        });
        finished(py, interrupt.or_raise(py, built)?)
    }

    /// The bank with thresholds from images of good parts, of which at most the share max_false_reject is going to be
    /// rejected. Images that are not in the bank count, at least 1 / max_false_reject - 1 different ones; where all are
    /// in it, each is judged by the others, and the bound is approximate.
    #[pyo3(signature = (bank, normals, *, max_false_reject = 0.01, format = None, white_level = None))]
    fn calibrate(
        &self,
        py: Python<'_>,
        bank: &Bound<'_, Bank>,
        normals: &Bound<'_, PyAny>,
        max_false_reject: f64,
        format: Option<&str>,
        white_level: Option<Whole>,
    ) -> PyResult<Bank> {
        let how = Understood::new(py, format, white_level)?;
        let (given, bank) = (Given::of(normals, how)?, Arc::clone(&bank.get().0));
        let interrupt = Interrupt::default();
        let calibrated = py.detach(|| {
            let engine = self.get()?;
            given.with(|normals| {
                let good = GoodParts::of(normals::open_all(normals, how.white, &bank)?);
                good.enough(max_false_reject)?;
                good.calibrate(engine, &bank, max_false_reject, || interrupt.check())
            })
        });
        Ok(Bank(Arc::new(interrupt.or_raise(py, calibrated)?)))
    }

    /// Judges each image that a bank was built from by the others: a list of (score, whether it sticks out), in the
    /// order of the images. One that sticks out may show a defect, or a kind of good part that needs more images.
    #[pyo3(signature = (bank, normals, *, format = None, white_level = None))]
    fn leave_one_out(
        &self,
        py: Python<'_>,
        bank: &Bound<'_, Bank>,
        normals: &Bound<'_, PyAny>,
        format: Option<&str>,
        white_level: Option<Whole>,
    ) -> PyResult<Vec<(Score, bool)>> {
        let how = Understood::new(py, format, white_level)?;
        let (given, bank) = (Given::of(normals, how)?, Arc::clone(&bank.get().0));
        let interrupt = Interrupt::default();
        let checks = py.detach(|| {
            let engine = self.get()?;
            given.with(|normals| {
                let mut scorer: RustScorer = engine.scorer(Arc::clone(&bank))?;
                let check = |opened: &normals::Opened<'_>| {
                    interrupt.check()?;
                    scorer.leave_one_out(&bank, opened.frame()).map_err(|error| error.at(&opened.path))
                };
                normals::open_all(normals, how.white, &bank)?
                    .iter()
                    .map(check)
                    .collect::<inctrl::Result<Vec<PromptCheck>>>()
            })
        });
        let checks = interrupt.or_raise(py, checks)?;
        let scores: Vec<f32> = checks.iter().map(|check| check.score.score).collect();
        let line = |(check, out): (&PromptCheck, bool)| Ok((Score::of(py, &check.score, &bank)?, out));
        checks.iter().zip(outliers(&scores)).map(line).collect()
    }

    /// A scorer: one for each thread. capacity is how many images it encodes at once, at most; scores do not depend on
    /// it.
    #[pyo3(signature = (bank, *, capacity = Whole::from(1)), text_signature = "($self, bank, *, capacity=1)")]
    fn scorer(&self, py: Python<'_>, bank: &Bound<'_, Bank>, capacity: Whole) -> PyResult<Scorer> {
        let capacity = at_least_one(py, "capacity", capacity)?;
        let bank = Arc::clone(&bank.get().0);
        Ok(Scorer::new(py.detach(|| self.get()?.batch_scorer(bank, capacity)).or_raise(py)?))
    }

    fn __repr__(&self) -> String {
        format!("<inctrl.Engine of {:?}>", self.weights.display().to_string())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_pickled(
            "an inctrl.Engine",
            "Send the path of the weights, and open it in the other process: inctrl.Engine(weights)",
        ))
    }
}

fn at_least_one(py: Python<'_>, what: &str, number: Whole) -> PyResult<NonZeroUsize> {
    NonZeroUsize::new(number.get(py, what)?).ok_or_else(|| argument(py, format!("{what} is 0: at least 1 is needed")))
}

/// What a bank is to be built for. Options are words of Python: `True` is `on`, and an underscore a hyphen.
pub fn spec(
    py: Python<'_>,
    method: Option<String>,
    class: Option<String>,
    fit: Option<&str>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<BankSpec> {
    let mut spec = BankSpec::default();
    spec.method = method;
    spec.class = class;
    spec.fit = fit.map(str::parse).transpose().or_raise(py)?;
    for (name, value) in options.into_iter().flatten() {
        let name: String = name.extract()?;
        let value = match value.extract::<bool>() {
            Ok(on) => if on { "on" } else { "off" }.to_owned(),
            Err(_) => value.str()?.to_string(),
        };
        spec.options.push(format!("{}={value}", name.replace('_', "-")));
    }
    Ok(spec)
}

/// Normal images as Python gives them, with those decoded that came as the bytes of a file.
struct Given(Vec<(Picture, Option<inctrl::Image>)>);

impl Given {
    /// One path or image, or several; a folder stands for its pictures.
    fn of(normals: &Bound<'_, PyAny>, how: Understood) -> PyResult<Self> {
        let py = normals.py();
        if let Some(path) = path_of(normals)? {
            return Ok(Given(vec![(Picture::File(path), None)]));
        }
        let normals = if is_one(normals)? { PyList::new(py, [normals])?.into_any() } else { normals.clone() };
        let mut pictures = Vec::new();
        for (i, normal) in normals.try_iter()?.enumerate() {
            let picture = Picture::of(&normal?, how).map_err(|error| crate::scorer::at_place(py, error, i))?;
            if matches!(picture, Picture::Device(..)) {
                let message = format!(
                    "image {i} of the list is in a GPU's memory: normal images are read on the host, bring it there"
                );
                return Err(argument(py, message));
            }
            let decoded = match &picture {
                Picture::Content(bytes) => {
                    let decoded = py.detach(|| pictures::decoded(bytes, how.white));
                    Some(decoded.map_err(|error| crate::scorer::in_list(error, i)).or_raise(py)?)
                }
                _ => None,
            };
            pictures.push((picture, decoded));
        }
        Ok(Given(pictures))
    }

    /// Calls `work` with the images, paths expanded.
    fn with<T>(&self, work: impl FnOnce(&[Normal<'_>]) -> inctrl::Result<T>) -> inctrl::Result<T> {
        let mut all = Vec::new();
        for (i, (picture, decoded)) in self.0.iter().enumerate() {
            let name = || format!("image {i} of the list");
            match picture {
                Picture::File(path) => {
                    let listed = normals::list(std::slice::from_ref(path))?;
                    all.extend(listed.files.into_iter().map(Normal::File));
                }
                Picture::Array(array) => all.push(Normal::Frame(name(), array.frame()?)),
                // Decoded above; those of a GPU were refused there.
                Picture::Content(_) | Picture::Device(..) => {
                    all.extend(decoded.iter().map(|image| Normal::Frame(name(), image.frame())));
                }
            }
        }
        work(&all)
    }
}

/// The bank; copies among its images are said aloud.
fn finished(py: Python<'_>, (bank, copies): (inctrl::PromptBank, usize)) -> PyResult<Bank> {
    if copies > 0 {
        let text = format!("{copies} of the {} normal images are copies of others", bank.info().prompts);
        py.import("logging")?.call_method1("getLogger", ("inctrl",))?.call_method1("warning", (text,))?;
    }
    Ok(Bank(Arc::new(bank)))
}
