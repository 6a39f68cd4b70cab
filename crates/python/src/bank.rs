//! Banks: data alone, which may go to other processes.

use std::path::PathBuf;
use std::sync::Arc;

use inctrl::calibration::{Calibration, Source};
use inctrl::{PromptBank, Thresholds, WhiteLevel};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::arguments::Whole;
use crate::errors::OrRaise;

/// The normal images of a class, encoded once. Made by Engine.build_bank; immutable, and it can be pickled.
#[pyclass(frozen, module = "inctrl")]
pub struct Bank(pub Arc<PromptBank>);

#[pymethods]
impl Bank {
    /// Reads a bank's file. Without thresholds where the file's own are not wanted.
    #[staticmethod]
    #[pyo3(signature = (path, *, thresholds = true))]
    fn open(py: Python<'_>, path: PathBuf, thresholds: bool) -> PyResult<Self> {
        let open = || if thresholds { PromptBank::open(&path) } else { PromptBank::open_without_thresholds(&path) };
        Ok(Bank(Arc::new(py.detach(open).or_raise(py)?)))
    }

    /// Reads a bank from the bytes of its file.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        Ok(Bank(Arc::new(PromptBank::from_bytes(data).or_raise(py)?)))
    }

    /// The bytes of its file.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.0.to_bytes()).or_raise(py)?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Writes its file, which appears whole or not at all.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.0.save(&path)).or_raise(py)
    }

    /// Identity: a hash of all that it holds, 16 hexadecimal digits.
    #[getter]
    fn id(&self) -> &str {
        self.0.id()
    }

    /// The method that it was built for.
    #[getter]
    fn method(&self) -> &'static str {
        self.0.method()
    }

    /// The name of its class, in words.
    #[getter]
    fn class_name(&self) -> &str {
        self.0.class()
    }

    /// How pictures are brought to the model: "crop", "letterbox", "stretch" or "trim".
    #[getter]
    fn fit(&self) -> &'static str {
        self.0.fit().name()
    }

    /// Hash of the model that it was built with, and belongs to.
    #[getter]
    fn model_hash(&self) -> &str {
        self.0.model_hash()
    }

    /// The values of the method's options.
    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let options = PyDict::new(py);
        for (name, value) in self.0.options().texts() {
            options.set_item(name, value)?;
        }
        Ok(options)
    }

    /// Content hashes of its normal images, in ascending order.
    #[getter]
    fn prompt_hashes(&self) -> Vec<String> {
        self.0.prompt_hashes().to_vec()
    }

    /// The white level that its normal images were declared to have.
    #[getter]
    fn white_level(&self) -> Option<u16> {
        self.0.white_level().map(WhiteLevel::get)
    }

    /// The names and ranges of the numbers of a score: {name: (low, high)}, the score first.
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let outputs = PyDict::new(py);
        for output in self.0.outputs() {
            outputs.set_item(output.name, (output.low, output.high))?;
        }
        Ok(outputs)
    }

    /// Its limits, {"review": .., "reject": .., "cell": ..}; None where it has none.
    #[getter]
    fn thresholds<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(Thresholds { review, reject, cell }) = self.0.thresholds() else { return Ok(None) };
        let limits = PyDict::new(py);
        for (name, limit) in [("review", review), ("reject", reject), ("cell", cell)] {
            limits.set_item(name, limit)?;
        }
        Ok(Some(limits))
    }

    /// What its limits were made from: {"source": "held-out" or "leave-one-out", "max_false_reject": .., "scores":
    /// [..]}; None where nothing says so.
    #[getter]
    fn calibration<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(calibration) = self.0.calibration() else { return Ok(None) };
        let said = PyDict::new(py);
        said.set_item("source", source_name(calibration))?;
        said.set_item("max_false_reject", calibration.max_false_reject())?;
        said.set_item("scores", calibration.scores())?;
        Ok(Some(said))
    }

    /// The same bank with other limits: a score from review on is to be reviewed, from reject on rejected; a cell of
    /// the map from cell on is defective.
    #[pyo3(signature = (*, review, reject, cell))]
    fn with_thresholds(&self, py: Python<'_>, review: f32, reject: f32, cell: f32) -> PyResult<Self> {
        let limits = Thresholds { review, reject, cell };
        Ok(Bank(Arc::new(self.0.with_thresholds(Some(limits)).or_raise(py)?)))
    }

    /// The same bank without limits.
    fn without_thresholds(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Bank(Arc::new(self.0.with_thresholds(None).or_raise(py)?)))
    }

    /// The bank of some of its normal images, by their places in prompt_hashes.
    fn subset(&self, py: Python<'_>, places: Vec<Whole>) -> PyResult<Self> {
        let places = places.iter().map(|place| place.get(py, "a place")).collect::<PyResult<Vec<usize>>>()?;
        Ok(Bank(Arc::new(py.detach(|| self.0.subset(&places)).or_raise(py)?)))
    }

    /// The number of its normal images.
    fn __len__(&self) -> usize {
        self.0.prompt_hashes().len()
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Bank>().is_ok_and(|other| other.get().0.id() == self.0.id())
    }

    fn __hash__(&self) -> u64 {
        self.0.bank_id().0
    }

    fn __repr__(&self) -> String {
        let bank = &self.0;
        let (id, method, class, prompts) = (bank.id(), bank.method(), bank.class(), bank.prompt_hashes().len());
        format!("Bank({id}: {method}, class {class:?}, {prompts} normal images)")
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let py = slf.py();
        Ok((slf.get_type().getattr("from_bytes")?, (slf.get().to_bytes(py)?,)))
    }
}

/// The word of files and of the command line.
fn source_name(calibration: &Calibration) -> &'static str {
    match calibration.source() {
        Source::HeldOut => "held-out",
        Source::LeaveOneOut => "leave-one-out",
    }
}
