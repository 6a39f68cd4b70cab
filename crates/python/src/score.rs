//! The result for one image.

use inctrl::calibration::scaled;
use inctrl::view::Grid;
use inctrl::{AnomalyMap, Placement, PromptBank};
use inctrl_lab::render::upsample;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyDict, PyTuple};

use crate::arguments::Whole;
use crate::arrays;
use crate::errors::OrRaise;

/// Connected cells of the anomaly map that reach the bank's limit for cells; x, y, width and height are the box around
/// them in pixels of the image, area their own in square pixels, peak their largest value.
#[pyclass(frozen, get_all, eq, module = "inctrl", from_py_object)]
#[derive(Clone, PartialEq)]
pub struct Region {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    area: f64,
    peak: f32,
    cells: usize,
}

#[pymethods]
impl Region {
    #[new]
    fn new(x: usize, y: usize, width: usize, height: usize, area: f64, peak: f32, cells: usize) -> Self {
        Region { x, y, width, height, area, peak, cells }
    }

    fn __repr__(&self) -> String {
        let Region { x, y, width, height, area, peak, cells } = self;
        format!("Region(x={x}, y={y}, width={width}, height={height}, area={area}, peak={peak}, cells={cells})")
    }

    fn __getnewargs__(&self) -> (usize, usize, usize, usize, f64, f32, usize) {
        (self.x, self.y, self.width, self.height, self.area, self.peak, self.cells)
    }
}

/// How anomalous an image is, and where. Larger is more anomalous. Made by Scorer.score; it can be pickled.
#[pyclass(frozen, module = "inctrl")]
pub struct Score {
    /// The score to rank and threshold by: the first of outputs.
    #[pyo3(get)]
    pred_score: f32,
    /// Every number that the method gives, by name.
    #[pyo3(get)]
    outputs: Py<PyDict>,
    /// Where the image differs: residuals of patches, float32 of shape (rows, columns), 0 where nothing differs.
    #[pyo3(get)]
    anomaly_map: Py<PyAny>,
    /// Cells of the map that a mask or padding takes out, bool of the same shape.
    #[pyo3(get)]
    ignored: Py<PyAny>,
    /// The rectangle of the image that the map covers, in its pixels: x, y, width, height.
    #[pyo3(get)]
    placement: (f64, f64, f64, f64),
    /// Width and height of the image in pixels.
    #[pyo3(get)]
    size: (usize, usize),
    /// "pass", "review" or "reject"; None where the bank has no thresholds.
    #[pyo3(get)]
    verdict: Option<String>,
    /// What the verdict rests on: "below", "score", "regions" or "score_and_regions".
    #[pyo3(get)]
    reason: Option<String>,
    /// Where the image is defective, the largest residual first; empty where the bank has no thresholds.
    #[pyo3(get)]
    regions: Py<PyTuple>,
    /// The value from which a cell of the map counts as defective; None where the bank has no thresholds.
    #[pyo3(get)]
    cell_threshold: Option<f32>,
    /// How often a good part scores as much; None where the bank has no calibration.
    #[pyo3(get)]
    p_value: Option<f64>,
    /// The score from 0 to 1 with 0.5 at the threshold "reject"; None where the bank has no thresholds.
    #[pyo3(get)]
    scaled: Option<f32>,
    /// Why the image may have been shown to the model at a wrong brightness.
    #[pyo3(get)]
    warning: Option<String>,
    /// Identity of the bank that it was scored against.
    #[pyo3(get)]
    bank: String,
}

impl Score {
    /// What the library says of an image scored against `bank`.
    pub fn of(py: Python<'_>, score: &inctrl::Score, bank: &PromptBank) -> PyResult<Self> {
        let outputs = PyDict::new(py);
        for (output, value) in score.outputs() {
            outputs.set_item(output.name, value)?;
        }
        let regions = score.regions.iter().map(|region| {
            let inctrl::Region { x, y, width, height, area, peak, cells } = *region;
            Region { x, y, width, height, area, peak, cells }
        });
        let AnomalyMap { grid: Grid { rows, cols }, ref cells, placement } = score.map;
        let limits = bank.thresholds();
        Ok(Score {
            pred_score: score.score,
            outputs: outputs.unbind(),
            anomaly_map: arrays::of_f32(py, &[rows, cols], cells)?.unbind(),
            ignored: arrays::of_bool(py, &[rows, cols], &score.ignored)?.unbind(),
            placement: (placement.x, placement.y, placement.width, placement.height),
            size: (score.width, score.height),
            verdict: score.decision.map(|decision| decision.verdict.name().to_owned()),
            reason: score.decision.map(|decision| decision.reason.name().to_owned()),
            regions: PyTuple::new(py, regions.collect::<Vec<_>>())?.unbind(),
            cell_threshold: limits.map(|limits| limits.cell),
            p_value: bank.calibration().map(|calibration| calibration.p_value(score.score)),
            scaled: limits.map(|limits| scaled(score.score, limits.reject, &bank.outputs()[0])),
            warning: score.depth_doubt.map(|doubt| doubt.to_string()),
            bank: score.bank.to_string(),
        })
    }

    /// The brightness warning, if there is one.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

#[pymethods]
impl Score {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "for pickle: the fields")]
    fn new(
        pred_score: f32,
        outputs: Py<PyDict>,
        anomaly_map: Py<PyAny>,
        ignored: Py<PyAny>,
        placement: (f64, f64, f64, f64),
        size: (usize, usize),
        verdict: Option<String>,
        reason: Option<String>,
        regions: Py<PyTuple>,
        cell_threshold: Option<f32>,
        p_value: Option<f64>,
        scaled: Option<f32>,
        warning: Option<String>,
        bank: String,
    ) -> Self {
        Score {
            pred_score,
            outputs,
            anomaly_map,
            ignored,
            placement,
            size,
            verdict,
            reason,
            regions,
            cell_threshold,
            p_value,
            scaled,
            warning,
            bank,
        }
    }

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let first = (
            self.pred_score,
            &self.outputs,
            &self.anomaly_map,
            &self.ignored,
            self.placement,
            self.size,
            &self.verdict,
            &self.reason,
        )
            .into_pyobject(py)?;
        let rest = (&self.regions, self.cell_threshold, self.p_value, self.scaled, &self.warning, &self.bank);
        let rest = rest.into_pyobject(py)?;
        first.as_sequence().concat(rest.as_sequence())?.to_tuple()
    }

    /// The score, as pred_score.
    #[getter]
    fn score(&self) -> f32 {
        self.pred_score
    }

    /// Whether the score reaches the threshold "reject"; None where the bank has no thresholds. A verdict of "review"
    /// is not.
    #[getter]
    fn pred_label(&self) -> Option<bool> {
        self.verdict.as_ref().map(|verdict| verdict == "reject")
    }

    /// Cells of the map that count as defective, bool of its shape; None where the bank has no thresholds.
    #[getter]
    fn pred_mask<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(cell) = self.cell_threshold else { return Ok(None) };
        let judged = self.ignored.bind(py).call_method0("__invert__")?;
        let reached = self.anomaly_map.bind(py).rich_compare(cell, CompareOp::Ge)?;
        Ok(Some(reached.call_method1("__and__", (judged,))?))
    }

    /// The map in pixels of the image, float32 of shape (height, width) or as asked for: linear between the centres of
    /// cells, NaN where the model does not see. Of a smaller or larger picture of the same view the rectangle is scaled
    /// with it.
    #[pyo3(signature = (width = None, height = None))]
    fn map_in_pixels<'py>(
        &self,
        py: Python<'py>,
        width: Option<Whole>,
        height: Option<Whole>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let width = width.map(|width| width.get(py, "width")).transpose()?;
        let height = height.map(|height| height.get(py, "height")).transpose()?;
        let map = self.anomaly_map.bind(py);
        let (rows, cols): (usize, usize) = map.getattr("shape")?.extract()?;
        let cells = arrays::to_f32(map)?;
        let (own_width, own_height) = self.size;
        let (width, height) = (width.unwrap_or(own_width), height.unwrap_or(own_height));
        // As many pixels as a picture may have.
        let most = inctrl::image::MAX_PIXELS;
        if width.saturating_mul(height) as u64 > most || own_width * own_height == 0 {
            return Err(PyValueError::new_err(format!("a map of {width} x {height} pixels: at most {most} are drawn")));
        }
        let (x, y, w, h) = self.placement;
        let (along, down) = (width as f64 / own_width as f64, height as f64 / own_height as f64);
        let placement = Placement { x: x * along, y: y * down, width: w * along, height: h * down };
        let map = AnomalyMap { grid: Grid { rows, cols }, cells, placement };
        let values = py.detach(|| upsample(&map, width, height)).or_raise(py)?;
        arrays::of_f32(py, &[height, width], &values)
    }

    fn __repr__(&self) -> String {
        let verdict = self.verdict.as_ref().map_or(String::new(), |verdict| format!(", verdict='{verdict}'"));
        let (width, height) = self.size;
        format!("Score(pred_score={}{verdict}, size=({width}, {height}))", self.pred_score)
    }
}
