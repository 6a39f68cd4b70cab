//! Results as arrays of numpy, which own their memory and can be written to.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyByteArray;

/// The class `numpy.ndarray`.
pub fn ndarray(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CLASS.get_or_try_init(py, || Ok::<_, PyErr>(py.import("numpy")?.getattr("ndarray")?.unbind()))?;
    Ok(class.bind(py))
}

/// An array of `shape` whose elements of the type `dtype`, in numpy's letters, are the little-endian `bytes`.
fn of_bytes<'py>(
    py: Python<'py>,
    shape: &[usize],
    dtype: &str,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> PyResult<Bound<'py, PyAny>> {
    let memory = PyByteArray::new_with(py, len, |bytes| {
        fill(bytes);
        Ok(())
    })?;
    ndarray(py)?.call1((pyo3::types::PyTuple::new(py, shape)?, dtype, memory))
}

/// `values` as float32.
pub fn of_f32<'py>(py: Python<'py>, shape: &[usize], values: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    of_bytes(py, shape, "<f4", size_of_val(values), |bytes| {
        for (bytes, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
    })
}

/// `values` as bool.
pub fn of_bool<'py>(py: Python<'py>, shape: &[usize], values: &[bool]) -> PyResult<Bound<'py, PyAny>> {
    of_bytes(py, shape, "|b1", values.len(), |bytes| {
        bytes.iter_mut().zip(values).for_each(|(byte, value)| *byte = u8::from(*value));
    })
}

/// `values` as uint8.
pub fn of_u8<'py>(py: Python<'py>, shape: &[usize], values: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    of_bytes(py, shape, "|u1", values.len(), |bytes| bytes.copy_from_slice(values))
}

/// The elements of an array that is float32 or can be made so, row by row.
pub fn to_f32(array: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let bytes = array.call_method1("astype", ("<f4",))?.call_method0("tobytes")?;
    let bytes: &[u8] = bytes.extract()?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
