//! Linear layers: weights on the device, and products with cuBLASLt, whose algorithm does not depend on the number of
//! rows.
#![allow(unsafe_code)]

use std::ops::Range;

use super::Cuda;
use super::buffer::{Buffer, Storage, write_halves};
use super::matmul::{Operands, Problem, Shape};
use super::memory::DeviceMemory;
use crate::backend::Role;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::TensorView;

/// Largest finite half.
const MAX_HALF: f32 = 65_504.0;

/// A layer `[N, K]` in operands' precision; its bias in both precisions, as the output's is the one that is added.
pub struct Linear {
    weight: DeviceMemory,
    bias: Option<[DeviceMemory; 2]>,
    outputs: usize,
    inputs: usize,
}

impl Linear {
    /// Outputs, N.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Inputs, K.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }
}

/// Problems and algorithms that a queue has set up.
#[derive(Default)]
pub(super) struct Products(Vec<Product>);

struct Product {
    shape: Shape,
    rows: usize,
    problem: Problem,
    algorithm: cudarc::cublaslt::sys::cublasLtMatmulAlgo_t,
}

impl Cuda {
    pub(super) fn load_linear(
        &mut self,
        weight: &TensorView<'_>,
        rows: Range<usize>,
        bias: Option<&TensorView<'_>>,
    ) -> Result<Linear> {
        let inputs: usize = weight.shape[1..].iter().product();
        let bias = bias.map(|bias| {
            let mut values = vec![0.0; rows.len()];
            bias.read_f32(rows.start, &mut values);
            values
        });
        self.store_linear(weight.name, rows.len(), inputs, bias.as_deref(), |output, values| {
            weight.read_f32((rows.start + output) * inputs, values);
        })
    }

    pub(super) fn load_projection(&mut self, weight: &TensorView<'_>) -> Result<Linear> {
        let (inputs, outputs) = (weight.shape[0], weight.shape[1]);
        let values = weight.to_f32()?;
        self.store_linear(weight.name, outputs, inputs, None, |output, column| {
            column.iter_mut().enumerate().for_each(|(input, x)| *x = values[input * outputs + output]);
        })
    }

    /// Stores a layer whose weights `row(output, values)` gives, and fixes the algorithms of its shape.
    fn store_linear(
        &mut self,
        name: &str,
        outputs: usize,
        inputs: usize,
        bias: Option<&[f32]>,
        row: impl Fn(usize, &mut [f32]),
    ) -> Result<Linear> {
        let context = &self.shared.context;
        let storage = self.stored(Role::Weight);
        let half = storage == Storage::F16;
        let mut weight = DeviceMemory::new(context, "a layer's weights", outputs * inputs * storage.size())?;
        // Some rows at a time, so that host memory stays small.
        let block = ((1 << 20) / inputs).max(1);
        let mut values = vec![0.0; block.min(outputs) * inputs];
        for first in (0..outputs).step_by(block) {
            let count = block.min(outputs - first);
            let values = &mut values[..count * inputs];
            values.chunks_exact_mut(inputs).enumerate().for_each(|(i, values)| row(first + i, values));
            if half {
                fits_halves(name, values)?;
                write_halves(&mut weight, first * inputs, values)?;
            } else {
                weight.write(first * inputs * 4, values)?;
            }
        }
        let bias = bias.map(|bias| self.store_bias(name, bias)).transpose()?;
        // Fixed now and not at the first product, so that the device's report names the whole table; of no use to a
        // queue that chooses anew for each number of rows.
        let shape = Shape { outputs, inputs, half, half_out: half, bias: bias.is_some(), add: false };
        let shapes = [shape, Shape { half_out: false, ..shape }, Shape { half_out: false, add: true, ..shape }];
        for shape in shapes.into_iter().filter(|_| !self.free) {
            self.shared.algorithms.choose(&self.blas, shape)?;
        }
        Ok(Linear { weight, bias, outputs, inputs })
    }

    fn store_bias(&self, name: &str, bias: &[f32]) -> Result<[DeviceMemory; 2]> {
        let context = &self.shared.context;
        let mut single = DeviceMemory::new(context, "a layer's bias", bias.len() * 4)?;
        single.write(0, bias)?;
        let mut half = DeviceMemory::new(context, "a layer's bias", bias.len() * 2)?;
        if self.operand() == Storage::F16 {
            fits_halves(name, bias)?;
            write_halves(&mut half, 0, bias)?;
        }
        Ok([single, half])
    }

    /// `out = x Wᵀ + b`, or `out += x Wᵀ + b`.
    pub(super) fn launch_linear(
        &mut self,
        x: &Buffer,
        rows: usize,
        w: &Linear,
        out: &mut Buffer,
        add: bool,
    ) -> Result<()> {
        let stored = if out.storage == Storage::F16 { Storage::F16 } else { Storage::F32 };
        let input = x.pointer("linear", "x", self.operand(), rows * w.inputs)?;
        let output = out.pointer("linear", "out", stored, rows * w.outputs)?;
        self.multiply(w, rows, input, output, stored, add)
    }

    /// The same of device addresses: `input` of `rows` rows of operands, and `output` of as many rows stored as `stored`,
    /// which overlap nothing that is read. The caller has checked that they are there.
    pub(super) fn multiply(
        &mut self,
        w: &Linear,
        rows: usize,
        input: u64,
        output: u64,
        stored: Storage,
        add: bool,
    ) -> Result<()> {
        let half_out = stored == Storage::F16;
        let shape = Shape {
            outputs: w.outputs,
            inputs: w.inputs,
            half: self.operand() == Storage::F16,
            half_out,
            bias: w.bias.is_some(),
            add,
        };
        let operands = Operands {
            weight: w.weight.pointer(),
            input,
            bias: w.bias.as_ref().map_or(0, |[single, half]| if half_out { half.pointer() } else { single.pointer() }),
            output,
        };
        if rows == 0 {
            return Ok(());
        }
        self.shared.bind()?;
        let at = self.product(shape, rows)?;
        let product = &self.products.0[at];
        // SAFETY: input and output hold what shape and rows ask for, and do not overlap: the caller has checked the first
        // and borrows the output exclusively; weights and bias were stored with their sizes and outlive the queue's work,
        // as buffers do.
        unsafe { product.problem.run(&self.blas, &product.algorithm, operands, add, self.stream.cu_stream()) }
    }

    /// Index of the product for a shape and a number of rows, set up at its first use.
    fn product(&mut self, shape: Shape, rows: usize) -> Result<usize> {
        if let Some(at) = self.products.0.iter().position(|product| (product.shape, product.rows) == (shape, rows)) {
            return Ok(at);
        }
        let problem = Problem::new(&self.blas, shape, rows)?;
        let algorithms = &self.shared.algorithms;
        let free = if self.free { algorithms.free(&self.blas, shape, rows, 1)?.into_iter().next() } else { None };
        let algorithm = match free {
            Some(candidate) => candidate.algo,
            None => algorithms.choose(&self.blas, shape)?,
        };
        if !problem.accepts(&self.blas, &algorithm) {
            // Another algorithm would give these rows other bits than the same rows in another batch have.
            let message = format!(
                "the algorithm fixed for {shape} does not multiply {rows} rows: use smaller batches, or let cuBLASLt choose one \
                 for each size (--fast)"
            );
            return Err(Error::new(ErrorKind::Device, message));
        }
        self.products.0.push(Product { shape, rows, problem, algorithm });
        Ok(self.products.0.len() - 1)
    }
}

fn fits_halves(name: &str, values: &[f32]) -> Result<()> {
    let Some(x) = values.iter().find(|x| x.abs() > MAX_HALF) else { return Ok(()) };
    let message = format!(
        "tensor `{name}` holds {x:e}, beyond half precision's 65504: use the precision f32 on this device, or the device cpu"
    );
    Err(Error::new(ErrorKind::Weights, message).of_tensor(name))
}
