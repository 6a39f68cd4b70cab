//! Evaluation, procedural images, and the command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use inctrl_lab::datasets::{self, Dataset, Layout};
use inctrl_lab::evaluation::{Draws, Options};
use inctrl_lab::study;
use inctrl_lab::synth::{Defect, Family, Fault, Recipe, Severity, Split, sample};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arguments::Whole;
use crate::arrays;
use crate::engine::{Engine, spec};
use crate::errors::OrRaise;
use crate::interrupt::Interrupt;
use crate::pictures::white_of;

/// Runs the command line with these arguments, the first of which is the program's name. Results go to the standard
/// output of the process, past sys.stdout. Returns the exit code: 0 done, 2 some inputs failed, 1 anything else.
#[pyfunction]
pub fn run_cli(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| inctrl_cli::run(arguments))
}

/// The weights of a small model for examples, as the bytes of a safetensors file: trained on procedural images, and of
/// no help on real ones.
#[pyfunction]
pub fn demo_weights() -> std::borrow::Cow<'static, [u8]> {
    inctrl_cli::demo_weights().into()
}

/// The families of products that can be drawn, with the defects that each can have.
#[pyfunction]
pub fn synth_families(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let families = PyDict::new(py);
    for family in Family::ALL {
        let defects: Vec<_> = family.defects().iter().map(|defect| defect.name()).collect();
        families.set_item(family.name(), defects)?;
    }
    Ok(families)
}

/// Draws a specimen of a product: the image, uint8 of shape (side, side, 3), and the mask of its defect, uint8 of shape
/// (side, side), 255 where it is. The seed chooses the product, the index the specimen.
#[pyfunction]
#[pyo3(signature = (family, *, defect = None, severity = "medium", side = Whole::from(240), seed = Whole::from(0),
                    index = Whole::from(0)),
       text_signature = "(family, *, defect=None, severity='medium', side=240, seed=0, index=0)")]
pub fn synth_sample<'py>(
    py: Python<'py>,
    family: &str,
    defect: Option<&str>,
    severity: &str,
    side: Whole,
    seed: Whole,
    index: Whole,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let (side, seed, index) = (side.get(py, "side")?, seed.get(py, "seed")?, index.get(py, "index")?);
    let family: Family = family.parse().or_raise(py)?;
    let severity: Severity = severity.parse().or_raise(py)?;
    let defect: Option<Defect> = defect.map(str::parse).transpose().or_raise(py)?;
    let fault = defect.map(|defect| Fault { defect, severity });
    let drawn = py.detach(|| sample(family, fault, side, seed, index)).or_raise(py)?;
    let image = arrays::of_u8(py, &[side, side, 3], &drawn.pixels)?;
    Ok((image, arrays::of_u8(py, &[side, side], &drawn.mask)?))
}

/// Writes a data set of procedural images with masks, in the layout of MVTec AD, as `inctrl synth` does; the number of
/// its images.
#[pyfunction]
#[pyo3(signature = (folder, *, split = "held-out", families = None, products = Whole::from(4), normals = Whole::from(12),
                    test_normals = Whole::from(12), defective = Whole::from(3), side = Whole::from(240),
                    seed = Whole::from(0)),
       text_signature = "(folder, *, split='held-out', families=None, products=4, normals=12, test_normals=12, \
                         defective=3, side=240, seed=0)")]
#[expect(clippy::too_many_arguments, reason = "keywords")]
pub fn synth_dataset(
    py: Python<'_>,
    folder: PathBuf,
    split: &str,
    families: Option<Vec<String>>,
    products: Whole,
    normals: Whole,
    test_normals: Whole,
    defective: Whole,
    side: Whole,
    seed: Whole,
) -> PyResult<usize> {
    let split: Split = split.parse().or_raise(py)?;
    let families =
        families.unwrap_or_default().iter().map(|name| name.parse()).collect::<inctrl::Result<_>>().or_raise(py)?;
    let recipe = Recipe {
        split,
        families,
        products: products.get(py, "products")?,
        normals: normals.get(py, "normals")?,
        test_normals: test_normals.get(py, "test_normals")?,
        defective: defective.get(py, "defective")?,
        side: side.get(py, "side")?,
        seed: seed.get(py, "seed")?,
    };
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    py.detach(|| recipe.write(&folder, threads, || ())).or_raise(py)?;
    Ok(recipe.images())
}

/// How good a method is on a data set, as `inctrl eval` does it: the report's files go into output, and the content of
/// results.json is returned, as text. A run that was ended, for instance by Ctrl-C, continues where it stopped.
#[pyfunction]
#[pyo3(signature = (engine, dataset, output, *, shots, runs, seed, layout, method, classes, fit, mask_side, prompts, white_level,
                    options))]
#[expect(clippy::too_many_arguments, reason = "keywords")]
pub fn evaluate(
    py: Python<'_>,
    engine: &Bound<'_, Engine>,
    dataset: PathBuf,
    output: PathBuf,
    shots: Vec<Whole>,
    runs: Whole,
    seed: Whole,
    layout: Option<&str>,
    method: Option<String>,
    classes: Vec<String>,
    fit: Option<&str>,
    mask_side: Whole,
    prompts: Option<PathBuf>,
    white_level: Option<Whole>,
    options: &Bound<'_, PyDict>,
) -> PyResult<String> {
    let layout = layout.filter(|name| *name != "auto").map(str::parse::<Layout>).transpose().or_raise(py)?;
    let spec = spec(py, method, None, fit, Some(options))?;
    let white = white_of(py, white_level)?;
    let shots = shots.iter().map(|shots| shots.get(py, "shots")).collect::<PyResult<_>>()?;
    let (runs, seed, mask_side) = (runs.get(py, "runs")?, seed.get(py, "seed")?, mask_side.get(py, "mask_side")?);
    let (engine, interrupt) = (engine.get(), Interrupt::default());
    let results = py.detach(|| {
        let engine = engine.get()?;
        let mut dataset = Dataset::open(&dataset, layout, seed)?;
        dataset.set_white_level(white);
        let draws = prompts.as_deref().map(Draws::read).transpose()?;
        let options = Options { shots, runs, seed, spec, classes, mask_side, draws, costs: false };
        let checked = datasets::check(&dataset, &options.classes(&dataset)?, || ());
        interrupt.check()?;
        std::fs::create_dir_all(&output).map_err(|error| inctrl::Error::io("create the folder", &output, error))?;
        study::run(engine, &dataset, &checked, options, &output, |_| interrupt.check())
    });
    let results = interrupt.or_raise(py, results)?.results;
    serde_json::to_string(&results).map_err(|error| pyo3::exceptions::PyRuntimeError::new_err(error.to_string()))
}
