//! What a class contributes besides its patches: the mean adapted class embedding and the text prototypes.

use crate::backend::Backend;
use crate::encoder::encode_texts;
use crate::error::Result;
use crate::methods::not_finite;
use crate::text::{Tokeniser, ensemble};
use crate::weights::Weights;

/// I_p of equation 3, the mean over prompts of ψ(f_v(x'_k)): `adapted` is `[K, E]`, the result `[E]`.
///
/// Summed in f64 in the given order. Callers keep prompts in the order of their content hashes, so the order in which a
/// user lists them changes no bit.
pub fn cls_mean(adapted: &[f32], width: usize) -> Vec<f32> {
    mean_of_rows(adapted.chunks_exact(width), width).into_iter().map(|x| x as f32).collect()
}

/// F_n and F_a of equation 6, `[2, E]`, normal then anomaly: `normalise(mean(normalise(text features)))` over the text
/// ensembles of `class`.
///
/// # Errors
/// [`crate::ErrorKind::Argument`] for an empty class name, [`crate::ErrorKind::Config`] for an encoder without a text
/// tower, [`crate::ErrorKind::Numeric`] where the text tower overflows.
pub fn text_prototypes<B: Backend>(
    backend: &mut B,
    weights: &Weights,
    tokeniser: &Tokeniser,
    class: &str,
) -> Result<Vec<f32>> {
    let (width, context) = (weights.arch().embed_dim, weights.arch().text_tower()?.context_length);
    let sentences = ensemble::sentences(class)?;
    let texts: Vec<Vec<u32>> = sentences
        .normal
        .iter()
        .chain(&sentences.anomaly)
        .map(|text| tokeniser.encode(text, context))
        .collect::<Result<_>>()?;
    let features = encode_texts(backend, weights, &texts)?;
    if !features.iter().all(|x| x.is_finite()) {
        return Err(not_finite("the embedding of a text"));
    }
    let (normal, anomaly) = features.split_at(sentences.normal.len() * width);
    Ok([normal, anomaly].iter().flat_map(|features| prototype(features, width)).collect())
}

fn prototype(features: &[f32], width: usize) -> Vec<f32> {
    let units: Vec<Vec<f64>> =
        features.chunks_exact(width).map(|row| unit(row.iter().map(|&x| x as f64).collect())).collect();
    let mean = mean_of_rows(units.iter().map(Vec::as_slice), width);
    unit(mean).into_iter().map(|x| x as f32).collect()
}

fn mean_of_rows<'a, T: Copy + Into<f64> + 'a>(rows: impl Iterator<Item = &'a [T]>, width: usize) -> Vec<f64> {
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
