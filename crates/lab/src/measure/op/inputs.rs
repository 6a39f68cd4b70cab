//! Numbers without a pattern, on the host and on the device.

use std::sync::Arc;

use half::{bf16, f16};
use inctrl::Result;
use inctrl::backend::{Backend, Norm, Role};
use inctrl::internals::{STEP, check_memory, mix};
use inctrl::tensor::{DType, TensorView};

/// Numbers from -1 to 1; each `seed` has its own.
pub fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed << 40;
    let mut next = || {
        state = state.wrapping_add(STEP);
        (mix(state) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Rows of length 1, as a search for the nearest expects them.
pub fn unit_rows(seed: u64, rows: usize, width: usize) -> Vec<f32> {
    unit_rows_along(seed, rows, width, width)
}

/// Rows of length 1 of which the elements after the first `directions` are a tenth as large: the features of real
/// images lie along few directions, too.
pub fn unit_rows_along(seed: u64, rows: usize, width: usize, directions: usize) -> Vec<f32> {
    let mut values = numbers(seed, rows * width);
    for row in values.chunks_exact_mut(width) {
        row.iter_mut().skip(directions).for_each(|x| *x *= 0.1);
        let length = dot(row, row).sqrt() as f32;
        row.iter_mut().for_each(|x| *x /= length);
    }
    values
}

/// `Σ a b` in f64.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// `Σ |a b|` in f64.
pub fn magnitude(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) * f64::from(b)).abs()).sum()
}

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The numbers as `dtype` stores them.
pub fn stored_as(dtype: DType, values: &mut [f32]) {
    for x in values {
        *x = match dtype {
            DType::F32 => *x,
            DType::F16 => f16::from_f32(*x).to_f32(),
            DType::Bf16 => bf16::from_f32(*x).to_f32(),
        };
    }
}

/// What an operation reads, on the device and as the device stores it.
pub struct Input<B: Backend> {
    pub buffer: B::Buffer,
    pub values: Vec<f32>,
}

impl<B: Backend> Input<B> {
    pub fn new(backend: &mut B, role: Role, mut values: Vec<f32>) -> Result<Self> {
        check_memory("the operands of an operation", values.len().saturating_mul(8), "use smaller sizes")?;
        let mut buffer = backend.buffer(role, values.len())?;
        // A device may round what a product reads when it reads it.
        stored_as(backend.precision().stores(role), &mut values);
        backend.upload(&values, &mut buffer)?;
        Ok(Input { buffer, values })
    }

    /// Numbers from -1 to 1.
    pub fn numbers(backend: &mut B, role: Role, seed: u64, len: usize) -> Result<Self> {
        Input::new(backend, role, numbers(seed, len))
    }
}

/// The first `len` numbers of a buffer.
pub fn output<B: Backend>(backend: &mut B, buffer: &B::Buffer, len: usize) -> Result<Vec<f32>> {
    let mut values = vec![0.0; len];
    backend.download(buffer, &mut values)?;
    Ok(values)
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

pub fn constant<B: Backend>(backend: &mut B, values: &[f32]) -> Result<B::Constant> {
    let stored = bytes(values);
    let shape = [values.len()];
    backend.constant(&TensorView { name: "constant", shape: &shape, dtype: DType::F32, bytes: (&stored).into() })
}

/// The parameters of a layer norm and the norm on the device.
pub struct NormInput<B: Backend> {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub norm: Arc<Norm<B>>,
}

impl<B: Backend> NormInput<B> {
    pub fn new(backend: &mut B, seed: u64, width: usize) -> Result<Self> {
        let (weight, bias) = (numbers(seed, width), numbers(seed + 1, width));
        let norm = Norm { weight: constant(backend, &weight)?, bias: constant(backend, &bias)?, epsilon: 1e-5 };
        Ok(NormInput { weight, bias, norm: Arc::new(norm) })
    }

    /// The layer norm of a row, in f64.
    pub fn of(&self, row: &[f64]) -> Vec<f64> {
        let count = row.len() as f64;
        let mean = row.iter().sum::<f64>() / count;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let scaled = row.iter().map(|x| (x - mean) / (variance + f64::from(self.norm.epsilon)).sqrt());
        scaled.zip(self.weight.iter().zip(&self.bias)).map(|(x, (&w, &b))| x * f64::from(w) + f64::from(b)).collect()
    }
}

/// A linear layer of a block, its weights as the device multiplies them, or quantises them from.
pub struct LayerInput<B: Backend> {
    /// `[outputs, inputs]`.
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub layer: B::Linear,
}

impl<B: Backend> LayerInput<B> {
    pub fn new(backend: &mut B, seed: u64, outputs: usize, inputs: usize) -> Result<Self> {
        let scale = 1.0 / (inputs as f32).sqrt();
        let mut weight: Vec<f32> = numbers(seed, outputs * inputs).iter().map(|x| x * scale).collect();
        // A device may keep the bias as its operands.
        let mut bias = numbers(seed + 1, outputs);
        let dtype = backend.precision().stores(Role::TokenWeight);
        stored_as(dtype, &mut weight);
        stored_as(dtype, &mut bias);
        let (weight_bytes, bias_bytes) = (bytes(&weight), bytes(&bias));
        let shape = [outputs, inputs];
        let view = TensorView { name: "weight", shape: &shape, dtype: DType::F32, bytes: (&weight_bytes).into() };
        let shape = [outputs];
        let view_bias = TensorView { name: "bias", shape: &shape, dtype: DType::F32, bytes: (&bias_bytes).into() };
        let layer = backend.token_weights(&view, 0..outputs, Some(&view_bias), None)?;
        Ok(LayerInput { weight, bias, layer })
    }
}

/// A row in f64.
pub fn exact(row: &[f32]) -> Vec<f64> {
    row.iter().map(|&x| x.into()).collect()
}
