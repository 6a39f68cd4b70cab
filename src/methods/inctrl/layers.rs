//! The adapter and the heads as plain dense layers. Batch normalisation is folded into the next layer.

use super::HeadLayers;
use crate::error::Result;
use crate::tensor::Dense;
use crate::weights::Weights;

/// Epsilon of the heads' batch normalisation.
const EPSILON: f64 = 1e-5;

/// Reads ψ, η and φ.
///
/// A head is Linear, ReLU, BatchNorm, Linear, ReLU, BatchNorm, Linear, sigmoid. With running statistics a BatchNorm is
/// `z -> s z + t`, so the next layer `W (s z + t) + b` equals `(W s) z + (W t + b)`. This is folded in f64.
pub fn head_layers(weights: &Weights) -> Result<HeadLayers> {
    let adapter = |name: &str| -> Result<Dense> {
        let tensor = weights.tensor(&format!("adapter.fc.{name}.weight"))?;
        Ok(Dense { rows: tensor.shape[0], cols: tensor.shape[1], weight: tensor.to_f32()?, bias: Vec::new() })
    };
    Ok(HeadLayers {
        adapter: [adapter("0")?, adapter("2")?],
        image: head(weights, "diff_head_ref")?,
        holistic: head(weights, "diff_head")?,
        alpha: weights.arch().alpha,
    })
}

fn head(weights: &Weights, name: &str) -> Result<[Dense; 3]> {
    let layer = |index: usize| -> Result<Dense> {
        let weight = weights.tensor(&format!("{name}.projection{index}.weight"))?;
        let bias = weights.tensor(&format!("{name}.projection{index}.bias"))?.to_f32()?;
        Ok(Dense { rows: weight.shape[0], cols: weight.shape[1], weight: weight.to_f32()?, bias })
    };
    let normalised = |layer: Dense, norm: &str| -> Result<Dense> {
        let read = |part: &str| weights.tensor(&format!("{name}.{norm}.{part}"))?.to_f32();
        Ok(fold(layer, &read("weight")?, &read("bias")?, &read("running_mean")?, &read("running_var")?))
    };
    Ok([layer(1)?, normalised(layer(2)?, "bn2")?, normalised(layer(3)?, "bn3")?])
}

/// `layer ∘ batch_norm` as one layer.
fn fold(layer: Dense, weight: &[f32], bias: &[f32], mean: &[f32], variance: &[f32]) -> Dense {
    let (scale, shift): (Vec<f64>, Vec<f64>) = (0..layer.cols)
        .map(|i| {
            let scale = weight[i] as f64 / (variance[i] as f64 + EPSILON).sqrt();
            (scale, bias[i] as f64 - mean[i] as f64 * scale)
        })
        .unzip();
    let rows = layer.weight.chunks_exact(layer.cols);
    let folded_bias = rows
        .clone()
        .zip(&layer.bias)
        .map(|(row, b)| (*b as f64 + row.iter().zip(&shift).map(|(w, t)| *w as f64 * t).sum::<f64>()) as f32)
        .collect();
    let folded = rows.flat_map(|row| row.iter().zip(&scale).map(|(w, s)| (*w as f64 * s) as f32)).collect();
    Dense { weight: folded, bias: folded_bias, ..layer }
}
