//! The prototypes of two text ensembles, for methods that compare images with texts.

use crate::backend::Backend;
use crate::encoder::encode_texts;
use crate::error::Result;
use crate::methods::not_finite;
use crate::text::{Tokeniser, ensemble::Ensemble};
use crate::weights::Weights;

/// `[2, E]`, normal then anomaly: `normalise(mean(normalise(text features)))` over each side of an ensemble.
///
/// # Errors
/// [`crate::ErrorKind::Config`] for an encoder without a text tower, [`crate::ErrorKind::Numeric`] where it overflows.
pub(crate) fn prototypes<B: Backend>(
    backend: &mut B,
    weights: &Weights,
    tokeniser: &Tokeniser,
    ensemble: &Ensemble,
) -> Result<Vec<f32>> {
    let (width, context) = (weights.arch().embed_dim, weights.arch().text_tower()?.context_length);
    let texts = ensemble.normal.iter().chain(&ensemble.anomaly).map(|text| tokeniser.encode(text, context));
    let features = encode_texts(backend, weights, &texts.collect::<Result<Vec<Vec<u32>>>>()?)?;
    if !features.iter().all(|x| x.is_finite()) {
        return Err(not_finite("the embedding of a text"));
    }
    let (normal, anomaly) = features.split_at(ensemble.normal.len() * width);
    Ok([normal, anomaly].iter().flat_map(|features| prototype(features, width)).collect())
}

fn prototype(features: &[f32], width: usize) -> Vec<f32> {
    let units: Vec<Vec<f64>> =
        features.chunks_exact(width).map(|row| unit(row.iter().map(|&x| x as f64).collect())).collect();
    let mean = mean_of_rows(units.iter().map(Vec::as_slice), width);
    unit(mean).into_iter().map(|x| x as f32).collect()
}

/// The mean of rows, summed in f64 in their order.
pub(crate) fn mean_of_rows<'a, T: Copy + Into<f64> + 'a>(
    rows: impl Iterator<Item = &'a [T]>,
    width: usize,
) -> Vec<f64> {
    let mut sum = vec![0.0; width];
    let mut count = 0.0;
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(s, &x)| *s += x.into());
        count += 1.0;
    }
    sum.iter_mut().for_each(|s| *s /= count);
    sum
}

/// Scales to unit length; zero stays zero.
fn unit(mut x: Vec<f64>) -> Vec<f64> {
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
    x.iter_mut().for_each(|x| *x /= norm);
    x
}
