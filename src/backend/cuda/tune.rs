//! Measures the fastest algorithm for each of a model's shapes, and writes a table of them.
//!
//! The operands have no pattern, because a chip that multiplies zeros draws less power and runs faster. The products
//! run in a recording, because single launches would take longer than the products.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;

use cudarc::cublaslt::sys::{cublasLtMatmulAlgo_t as Algo, cublasLtMatmulAlgoConfigAttributes_t as Config};
use cudarc::driver::sys::CUevent_flags;
use serde::Serialize;

use super::Cuda;
use super::algorithms::{config, usable};
use super::buffer::write_halves;
use super::matmul::{Operands, Problem, Shape};
use super::memory::DeviceMemory;
use crate::atomic_file::write_atomically;
use crate::error::{Error, Result};
use crate::split_mix::{STEP, mix};

/// Weights take turns until they are larger than any cache: in a forward pass each layer's come from memory.
const WEIGHT_BYTES: usize = 256 << 20;
/// Launches between two events, and how often that is repeated.
const LAUNCHES: usize = 20;
const REPEATS: usize = 5;

/// One of the library's choices for a shape and a number of rows, in cuBLASLt's numbering of settings.
#[derive(Clone, Debug, Serialize)]
pub struct Preference {
    /// The shape, in words.
    pub shape: String,
    /// Rows of the product.
    pub rows: usize,
    /// Rank in the library's order, 0 for its first choice.
    pub place: usize,
    /// Kernel family.
    pub id: Option<u32>,
    /// Tile of the output.
    pub tile: Option<u32>,
    /// Stages of the pipeline.
    pub stages: Option<u32>,
    /// Parts that each sum is split into.
    pub split: Option<u32>,
    /// The scheme by which the parts are added.
    pub reduction: Option<u32>,
    /// The family's own setting.
    pub custom: Option<u32>,
    /// Bytes of scratch memory.
    pub workspace: usize,
    /// Waves of blocks over the device.
    pub waves: f32,
    /// Whether it can be fixed for a shape: it computes each sum in one piece, for every number of rows.
    pub usable: bool,
}

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
    /// The library's preferences for every loaded shape, at each number of `rows`: up to `count` algorithms, with or
    /// without split sums.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] if the device fails.
    pub fn preferences(&self, rows: &[usize], count: usize) -> Result<Vec<Preference>> {
        let algorithms = &self.shared.algorithms;
        let mut found = Vec::new();
        for shape in algorithms.shapes()? {
            for &rows in rows {
                for (place, candidate) in algorithms.free(&self.blas, shape, rows, count)?.iter().enumerate() {
                    let setting = |setting| config(&candidate.algo, setting);
                    found.push(Preference {
                        shape: shape.to_string(),
                        rows,
                        place,
                        id: setting(Config::CUBLASLT_ALGO_CONFIG_ID),
                        tile: setting(Config::CUBLASLT_ALGO_CONFIG_TILE_ID),
                        stages: setting(Config::CUBLASLT_ALGO_CONFIG_STAGES_ID),
                        split: setting(Config::CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
                        reduction: setting(Config::CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME),
                        custom: setting(Config::CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION),
                        workspace: candidate.workspaceSize,
                        waves: candidate.wavesCount,
                        usable: usable(&self.blas, shape, &candidate.algo),
                    });
                }
            }
        }
        Ok(found)
    }

    /// Measures every algorithm whose results do not depend on the batch, for every loaded shape and each number of
    /// `rows`, and writes the table to `output`; `each` receives every shape.
    ///
    /// The cost of an algorithm is the sum, over the numbers of rows, of its time divided by the fastest time.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] if the device fails or is full; [`crate::ErrorKind::Io`] if the file cannot be
    /// written.
    pub fn tune(&mut self, rows: &[usize], output: &Path, mut each: impl FnMut(&Tuned)) -> Result<()> {
        let mut table = BTreeMap::new();
        let Some(&most) = rows.iter().max() else { return Ok(()) };
        for shape in self.shared.algorithms.shapes()? {
            let operands = Measured::new(self, shape, most)?;
            let candidates = self.shared.algorithms.candidates(&self.blas, shape, rows[0])?;
            let mut times = Vec::with_capacity(candidates.len());
            for algorithm in &candidates {
                let time = rows
                    .iter()
                    .map(|&rows| self.time(&operands, shape, rows, algorithm))
                    .collect::<Result<Vec<f32>>>()?;
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
    fn time(&mut self, memory: &Measured, shape: Shape, rows: usize, algorithm: &Algo) -> Result<f32> {
        let problem = Problem::new(&self.blas, shape, rows)?;
        let work = |cuda: &mut Self| {
            (0..LAUNCHES).try_for_each(|launch| {
                let operands = Operands {
                    weight: memory.weights.pointer() + (launch % memory.copies * memory.weight_bytes) as u64,
                    input: memory.input.pointer(),
                    bias: if shape.bias { memory.bias.pointer() } else { 0 },
                    output: memory.output.pointer(),
                };
                // SAFETY: all memory has the sizes of the shape and of at least these rows, and lives until the stream
                // is waited for.
                unsafe { problem.run(&cuda.blas, algorithm, operands, shape.add, cuda.stream.cu_stream()) }
            })
        };
        // Once as it comes: the library loads then what it needs.
        work(self)?;
        let graph = self.record(work)?;
        let (start, end) = (self.event(CUevent_flags::CU_EVENT_DEFAULT)?, self.event(CUevent_flags::CU_EVENT_DEFAULT)?);
        let stream = self.stream.cu_stream();
        let mut best = f32::INFINITY;
        for _ in 0..REPEATS {
            start.record(stream)?;
            graph.launch()?;
            end.record(stream)?;
            self.synchronise()?;
            best = best.min(1e3 * start.milliseconds_to(&end)? / LAUNCHES as f32);
        }
        Ok(best)
    }
}

/// Operands of one shape.
struct Measured {
    weights: DeviceMemory,
    /// Bytes of one layer's weights, and how many layers there are.
    weight_bytes: usize,
    copies: usize,
    input: DeviceMemory,
    output: DeviceMemory,
    bias: DeviceMemory,
}

impl Measured {
    fn new(cuda: &Cuda, shape: Shape, rows: usize) -> Result<Self> {
        let size = |half| if half { 2 } else { 4 };
        let weight_bytes = shape.outputs * shape.inputs * size(shape.half);
        let copies = WEIGHT_BYTES.div_ceil(weight_bytes).min(LAUNCHES);
        let memory = |bytes| DeviceMemory::zeroed(&cuda.shared.context, "operands to measure", bytes);
        let mut measured = Measured {
            weights: memory(copies * weight_bytes)?,
            weight_bytes,
            copies,
            input: memory(rows * shape.inputs * size(shape.half))?,
            output: memory(rows * shape.outputs * size(shape.half_out))?,
            bias: memory(shape.outputs * 4)?,
        };
        fill(&mut measured.weights, shape.half)?;
        fill(&mut measured.input, shape.half)?;
        fill(&mut measured.bias, shape.half_out)?;
        Ok(measured)
    }
}

/// Fills memory with numbers between -1 and 1 in which no product sees a pattern.
fn fill(memory: &mut DeviceMemory, half: bool) -> Result<()> {
    // An odd number of them, so that they meet rows at other places each time they are repeated.
    const COUNT: usize = (1 << 20) + 1;
    let unit = |i: u64| (mix(i.wrapping_mul(STEP)) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let values: Vec<f32> = (0..COUNT as u64).map(unit).collect();
    let size = if half { 2 } else { 4 };
    let len = memory.bytes() / size;
    for at in (0..len).step_by(COUNT) {
        let values = &values[..COUNT.min(len - at)];
        if half { write_halves(memory, at, values)? } else { memory.write(at * size, values)? }
    }
    Ok(())
}
