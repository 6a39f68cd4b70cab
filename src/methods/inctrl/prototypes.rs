//! What a class contributes besides its patches: the mean adapted class embedding and the text prototypes.

use crate::backend::Backend;
use crate::error::Result;
use crate::methods::texts::{self, mean_of_rows};
use crate::text::{Tokeniser, ensemble};
use crate::weights::Weights;

/// I_p of equation 3, the mean over prompts of ψ(f_v(x'_k)): `adapted` is `[K, E]`, the result `[E]`.
///
/// Summed in f64 in the given order. Callers keep prompts in the order of their content hashes, so the order in which a
/// user lists them changes no bit.
pub fn cls_mean(adapted: &[f32], width: usize) -> Vec<f32> {
    mean_of_rows(adapted.chunks_exact(width), width).into_iter().map(|x| x as f32).collect()
}

/// F_n and F_a of equation 6, `[2, E]`, normal then anomaly, of the text ensembles of `class`.
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
    weights.arch().text_tower()?;
    texts::prototypes(backend, weights, tokeniser, &ensemble::sentences(class)?)
}
