//! Scoring: the call that is made for every frame.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inctrl::{AnyFrame, PixelFormat, PromptBank};
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;

use crate::arguments::Whole;
use crate::bank::Bank;
use crate::errors::{OrRaise, argument, not_pickled};
use crate::pictures::{Loaded, Picture, Understood, is_one};
use crate::process::Here;
use crate::score::Score;

/// Scores images against a bank. Made by Engine.scorer: one for each thread that is to score beside others; a scorer
/// that several threads call works for one after the other.
#[pyclass(frozen, module = "inctrl")]
pub struct Scorer(Here<Mutex<inctrl::Scorer>>);

impl Scorer {
    pub fn new(scorer: inctrl::Scorer) -> Self {
        Scorer(Here::new("scorer", Mutex::new(scorer)))
    }

    /// The scorer, for this thread alone; to be called without the interpreter's lock, which another thread may need to
    /// finish.
    fn lock(&self) -> inctrl::Result<MutexGuard<'_, inctrl::Scorer>> {
        Ok(self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A score with the bank that it is of.
type Scored = (inctrl::Score, Arc<PromptBank>);

#[pymethods]
impl Scorer {
    /// Scores one image: a path, the bytes of a file, an array (grey or RGB, uint8, or grey uint16), a picture of PIL,
    /// or anything with __array_interface__, __dlpack__ or __cuda_array_interface__. format says how arrays are to be
    /// understood, such as "bgr8" or "bayer_rg8"; white_level is the largest value of 16-bit pictures that hold fewer
    /// bits.
    #[pyo3(signature = (image, *, format = None, white_level = None))]
    fn score(
        &self,
        py: Python<'_>,
        image: &Bound<'_, PyAny>,
        format: Option<&str>,
        white_level: Option<Whole>,
    ) -> PyResult<Score> {
        let how = Understood::new(py, format, white_level)?;
        let picture = Picture::of(image, how)?;
        let scored = py.detach(|| -> inctrl::Result<Scored> {
            let loaded = picture.load(how.white)?;
            let mut scorer = self.lock()?;
            let score = scorer.score(loaded.any()).map_err(|error| named(error, &picture))?.clone();
            Ok((score, Arc::clone(scorer.bank())))
        });
        let (score, bank) = scored.or_raise(py)?;
        told(py, Score::of(py, &score, &bank)?)
    }

    /// Scores images in their order, of any sizes, as many at a time as the scorer's capacity. Each has the score that
    /// it has alone, to the last bit. An image that cannot be scored is an error that names it. From a generator
    /// no more images are taken at once than are scored together.
    #[pyo3(signature = (images, *, format = None, white_level = None))]
    fn score_batch(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyAny>,
        format: Option<&str>,
        white_level: Option<Whole>,
    ) -> PyResult<Vec<Score>> {
        let how = Understood::new(py, format, white_level)?;
        if is_one(images)? {
            return Err(argument(
                py,
                "score_batch takes a list of pictures: use score for one, or score_batch([picture])",
            ));
        }
        let (mut images, mut scores) = (images.try_iter()?, Vec::new());
        let capacity = py.detach(|| self.lock().map(|scorer| scorer.capacity())).or_raise(py)?;
        loop {
            py.check_signals()?;
            let first = scores.len();
            let mut pictures = Vec::new();
            for image in images.by_ref().take(capacity) {
                let place = first + pictures.len();
                pictures.push(Picture::of(&image?, how).map_err(|error| at_place(py, error, place))?);
            }
            if pictures.is_empty() {
                return Ok(scores);
            }
            let scored = py.detach(|| -> inctrl::Result<Vec<Scored>> {
                let mut loaded: Vec<Loaded<'_>> = Vec::with_capacity(pictures.len());
                for (i, picture) in pictures.iter().enumerate() {
                    loaded.push(picture.load(how.white).map_err(|error| in_list(error, first + i))?);
                }
                let frames: Vec<AnyFrame<'_>> = loaded.iter().map(Loaded::any).collect();
                let mut scorer = self.lock()?;
                let scores = match scorer.score_some(&frames) {
                    Ok(scores) => scores.to_vec(),
                    // Which of them it is shows when they are scored one by one.
                    Err(whole) => {
                        for (i, frame) in frames.iter().enumerate() {
                            scorer.score(*frame).map_err(|error| in_list(named(error, &pictures[i]), first + i))?;
                        }
                        return Err(whole);
                    }
                };
                let bank = Arc::clone(scorer.bank());
                Ok(scores.into_iter().map(|score| (score, Arc::clone(&bank))).collect())
            });
            for (score, bank) in scored.or_raise(py)? {
                scores.push(told(py, Score::of(py, &score, &bank)?)?);
            }
        }
    }

    /// Takes the memory for pictures of a size before the first one comes.
    #[pyo3(signature = (width, height, *, format = "rgb8", count = Whole::from(1)),
           text_signature = "($self, width, height, *, format='rgb8', count=1)")]
    fn warm_up(&self, py: Python<'_>, width: Whole, height: Whole, format: &str, count: Whole) -> PyResult<()> {
        let format: PixelFormat = format.parse().or_raise(py)?;
        let (width, height, count) = (width.get(py, "width")?, height.get(py, "height")?, count.get(py, "count")?);
        py.detach(|| self.lock()?.warm_up(width, height, format, count)).or_raise(py)
    }

    /// Most images that are encoded at once.
    #[getter]
    fn capacity(&self, py: Python<'_>) -> PyResult<usize> {
        py.detach(|| Ok(self.lock()?.capacity())).or_raise(py)
    }

    /// The bank that images are scored against.
    #[getter]
    fn bank(&self, py: Python<'_>) -> PyResult<Bank> {
        py.detach(|| Ok(Bank(self.lock()?.shared_bank().current().0))).or_raise(py)
    }

    /// Scores against another bank of the same model and method from the next image on.
    fn set_bank(&self, py: Python<'_>, bank: &Bound<'_, Bank>) -> PyResult<()> {
        let bank = Arc::clone(&bank.get().0);
        py.detach(|| self.lock()?.set_bank(bank)).or_raise(py)
    }

    fn __repr__(&self) -> &'static str {
        "<inctrl.Scorer>"
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_pickled(
            "an inctrl.Scorer",
            "Send the path of the weights and the bank, which can be pickled, and make the scorer in the other process: \
             inctrl.Engine(weights).scorer(bank)",
        ))
    }
}

/// The error with the file that it is about.
fn named(error: inctrl::Error, picture: &Picture) -> inctrl::Error {
    match picture {
        Picture::File(path) => error.at(path),
        _ => error,
    }
}

/// The error with the image's place in the list.
pub fn in_list(error: inctrl::Error, place: usize) -> inctrl::Error {
    inctrl::Error::new(error.kind(), format!("image {place} of the list")).because(error)
}

/// As [`in_list`], for what was an exception already.
pub fn at_place(py: Python<'_>, error: PyErr, place: usize) -> PyErr {
    let value = error.value(py);
    let text = format!("image {place} of the list: {value}");
    match value.get_type().call1((&text,)) {
        Ok(renamed) => {
            let renamed = PyErr::from_value(renamed);
            renamed.set_cause(py, Some(error));
            renamed
        }
        Err(_) => error,
    }
}

/// The score; a doubt about its brightness is said aloud.
fn told(py: Python<'_>, score: Score) -> PyResult<Score> {
    if let Some(warning) = score.warning() {
        let category = py.get_type::<PyUserWarning>();
        let text = std::ffi::CString::new(warning).unwrap_or_default();
        PyErr::warn(py, &category, &text, 1)?;
    }
    Ok(score)
}
