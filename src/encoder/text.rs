//! The text encoder: token ids in, one embedding per text out.
//!
//! It runs once per class, so its weights are not kept: each block is read, applied to all texts, and dropped. Texts
//! lie end to end without padding: the tower is causal, so positions after the end of a text have no influence.

use super::block::{Block, BlockShape, Served, Workspace, load_norm};
use super::vit::gelu;
use crate::backend::cpu::working_bytes;
use crate::backend::{AttentionShape, Backend, PoolToken, Role, Sequences};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::weights::{Arch, Mlp, TextArch, Weights};

/// Embeddings of texts, `[texts.len(), E]`, not normalised: the end-of-text token after `ln_final` and the projection.
///
/// Each text is its token ids from start-of-text to end-of-text.
///
/// # Errors
/// [`ErrorKind::Argument`] for an empty text, one longer than the context, or an id outside the vocabulary;
/// [`ErrorKind::Config`] for an encoder without a text tower.
pub fn encode_texts<B: Backend>(backend: &mut B, weights: &Weights, texts: &[Vec<u32>]) -> Result<Vec<f32>> {
    let arch = weights.arch();
    let tower = arch.text_tower()?;
    let width = tower.width;
    let shape = BlockShape {
        attention: AttentionShape { heads: tower.heads, size: width / tower.heads },
        mlp: Mlp::Gelu,
        mlp_width: tower.mlp_width,
        gelu: gelu(arch),
        causal: true,
    };
    let ends: Vec<usize> = texts
        .iter()
        .scan(0, |end, text| {
            *end += text.len();
            Some(*end)
        })
        .collect();
    let sequences = Sequences { ends: &ends };
    let (rows, count) = (sequences.rows(), sequences.count());

    if B::IN_HOST_MEMORY {
        let bytes = text_bytes(arch, tower, rows, count, backend.threads());
        let what = format!("the text tower with {count} texts");
        memory::check(&what, bytes, "use a smaller model, or a machine with more memory")?;
    }
    let mut ws = Workspace::new(backend, shape, rows, count)?;
    backend.upload(&embed(weights, tower, texts)?, &mut ws.x)?;
    for i in 0..tower.layers {
        let served = if i + 1 == tower.layers { Served::Pooled } else { Served::All };
        let block = Block::load(backend, weights, &format!("transformer.resblocks.{i}."), shape, false, served)?;
        backend.layer_norm(&ws.x, rows, &block.ln_1, &mut ws.h)?;
        block.forward(backend, &mut ws, sequences, PoolToken::Last, served)?;
    }
    let ln_final = load_norm(backend, weights, "ln_final")?;
    let projection = backend.projection_weights(&weights.tensor("text_projection")?)?;
    let mut normalised = backend.buffer(Role::Operand, count * width)?;
    let mut embeddings = backend.buffer(Role::Stream, count * arch.embed_dim)?;
    backend.layer_norm(&ws.pooled, count, &ln_final, &mut normalised)?;
    backend.linear(&normalised, count, &projection, &mut embeddings)?;
    let mut out = vec![0.0; count * arch.embed_dim];
    backend.download(&embeddings, &mut out)?;
    Ok(out)
}

/// Bytes of the tower on the CPU while `threads` threads encode `texts` texts of `tokens` tokens in total: its
/// activations, one block padded to whole panels, and its largest tensor twice. An upper bound, at most half above what
/// is taken.
pub fn text_bytes(arch: &Arch, tower: &TextArch, tokens: usize, texts: usize, threads: usize) -> usize {
    /// Columns of a panel of the widest instruction set.
    const PANEL: usize = 32;
    let (width, mlp) = (tower.width, tower.mlp_width);
    // The input exists twice, as it is uploaded.
    let each_token = width.saturating_mul(6).saturating_add(mlp);
    let each_text = width.saturating_mul(4).saturating_add(2 * arch.embed_dim);
    let activations = tokens.saturating_mul(each_token).saturating_add(texts.saturating_mul(each_text));
    let block = width.saturating_mul(4 * width + 2 * mlp).saturating_add(PANEL.saturating_mul(8 * width + 2 * mlp));
    // Of the token table only the rows of the texts are read.
    let largest = [3 * width, mlp, arch.embed_dim, tower.context_length].into_iter().max().unwrap_or(0);
    let numbers = activations.saturating_add(block).saturating_add(width.saturating_mul(largest).saturating_mul(2));
    let working = working_bytes(tower.context_length, width / tower.heads.max(1), [0, 0, width], threads);
    numbers.saturating_mul(4).saturating_add(working)
}

/// Token plus position embeddings of all texts, `[T, W]`.
fn embed(weights: &Weights, tower: &TextArch, texts: &[Vec<u32>]) -> Result<Vec<f32>> {
    let width = tower.width;
    let mut ids = Vec::with_capacity(texts.iter().map(Vec::len).sum());
    for text in texts {
        if text.is_empty() || text.len() > tower.context_length {
            let message =
                format!("a text has {} tokens, but this model takes 1 to {}", text.len(), tower.context_length);
            return Err(Error::new(ErrorKind::Argument, message));
        }
        if let Some(id) = text.iter().find(|&&id| id as usize >= tower.vocab_size) {
            let message = format!(
                "token id {id} of CLIP's vocabulary is outside this model's vocabulary of {}: the model was made for \
                another tokeniser",
                tower.vocab_size
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        ids.extend_from_slice(text);
    }
    let mut x = weights.rows("token_embedding.weight", &ids)?;
    let position = weights.tensor("positional_embedding")?.to_f32()?;
    let places = texts.iter().flat_map(|text| position.chunks_exact(width).take(text.len()));
    for (row, position) in x.chunks_exact_mut(width).zip(places) {
        row.iter_mut().zip(position).for_each(|(x, p)| *x += p);
    }
    Ok(x)
}
