//! Measures which algorithm multiplies each of a model's shapes fastest, for a table that is then fixed.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;

use cudarc::cublaslt::sys::cublasLtMatmulAlgo_t as Algo;
use cudarc::driver::sys::CUevent_flags;

use super::Cuda;
use super::matmul::{Operands, Problem, Shape};
use super::memory::DeviceMemory;
use crate::atomic_file::write_atomically;
use crate::error::{Error, Result};

/// Weights take turns until they are larger than any cache: in a forward pass each layer's come from memory.
const WEIGHT_BYTES: usize = 256 << 20;
/// Launches between two events, and how often that is repeated.
const LAUNCHES: usize = 20;
const REPEATS: usize = 5;

/// One shape's measurement.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The shape, in words.
    pub shape: String,
    /// Algorithms that were measured.
    pub candidates: usize,
    /// Microseconds of the chosen algorithm for each number of rows.
    pub chosen: Vec<f32>,
    /// Microseconds of the library's first choice.
    pub first: Vec<f32>,
}

impl Cuda {
    /// Measures every algorithm that does not make bits depend on the batch, for every shape that was loaded, at each
    /// number of `rows`, and writes the table to `output`; `each` is told of every shape.
    ///
    /// An algorithm's cost is the sum, over the numbers of rows, of its time over the fastest's.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device fails or is full, [`crate::ErrorKind::Io`] where the file cannot be written.
    pub fn tune(&mut self, rows: &[usize], output: &Path, mut each: impl FnMut(&Tuned)) -> Result<()> {
        let mut table = BTreeMap::new();
        for shape in self.shared.algorithms.shapes() {
            let candidates =
                self.shared.algorithms.candidates(&self.blas, shape, rows.first().copied().unwrap_or(1))?;
            let mut times = Vec::with_capacity(candidates.len());
            for algorithm in &candidates {
                let time = rows.iter().map(|&rows| self.time(shape, rows, algorithm)).collect::<Result<Vec<f32>>>()?;
                times.push(time);
            }
            let fastest = |i: usize| times.iter().map(|time| time[i]).fold(f32::INFINITY, f32::min);
            let cost = |time: &Vec<f32>| time.iter().enumerate().map(|(i, t)| t / fastest(i)).sum::<f32>();
            let best = times.iter().enumerate().min_by(|(_, a), (_, b)| cost(a).total_cmp(&cost(b)));
            let Some((best, chosen)) = best else { continue };
            each(&Tuned {
                shape: shape.to_string(),
                candidates: candidates.len(),
                chosen: chosen.clone(),
                first: times[0].clone(),
            });
            table.insert(shape, candidates[best]);
        }
        let text = self.shared.algorithms.to_json(&table)?;
        let write_error = |error| Error::io("write", output, error);
        write_atomically(output, |out| out.write_all(text.as_bytes()).map_err(write_error))
    }

    /// Microseconds of one product: the smallest of several means.
    fn time(&mut self, shape: Shape, rows: usize, algorithm: &Algo) -> Result<f32> {
        let size = |half| if half { 2 } else { 4 };
        let weight_bytes = shape.outputs * shape.inputs * size(shape.half);
        let copies = WEIGHT_BYTES.div_ceil(weight_bytes).min(LAUNCHES);
        let memory = |bytes| DeviceMemory::zeroed(&self.shared.context, "operands to measure", bytes);
        let weights = memory(copies * weight_bytes)?;
        let input = memory(rows * shape.inputs * size(shape.half))?;
        let output = memory(rows * shape.outputs * size(shape.half_out))?;
        let bias = memory(shape.outputs * 4)?;
        let problem = Problem::new(shape, rows)?;
        let (start, end) = (self.event(CUevent_flags::CU_EVENT_DEFAULT)?, self.event(CUevent_flags::CU_EVENT_DEFAULT)?);
        let stream = self.stream.cu_stream();
        let mut best = f32::INFINITY;
        for _ in 0..REPEATS {
            start.record(stream)?;
            for launch in 0..LAUNCHES {
                let operands = Operands {
                    weight: weights.pointer() + (launch % copies * weight_bytes) as u64,
                    input: input.pointer(),
                    bias: if shape.bias { bias.pointer() } else { 0 },
                    output: output.pointer(),
                };
                // SAFETY: all memory has the sizes of the shape and the rows, and lives until the stream is waited for.
                unsafe { problem.run(&self.blas, algorithm, operands, shape.add, stream)? };
            }
            end.record(stream)?;
            self.synchronise()?;
            best = best.min(1e3 * start.milliseconds_to(&end)? / LAUNCHES as f32);
        }
        Ok(best)
    }
}
