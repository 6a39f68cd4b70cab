//! DINOv2: translates the names of chunked training, Hugging Face and timm to the official ones.
//!
//! A model with registers computes the same for every split of the class token and its position, and timm stores only
//! their sum. The position is therefore added to the token and replaced by zeros, so that a model has the same identity
//! in every layout.

use std::collections::BTreeMap;

use crate::checkpoint::Tensor;
use crate::checkpoint::source::{Part, Source};
use crate::error::{Error, ErrorKind, Result};

/// Every file has one of these tensors.
const PATCHES: [&str; 2] = ["patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"];

/// Whether these are the names of a DINOv2 model, or of another vision transformer with the same names.
pub(super) fn is_dinov2<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|name| PATCHES.contains(&name))
}

/// The tensors under the official names.
pub(super) fn translate(mut tensors: BTreeMap<&str, Tensor>) -> Result<BTreeMap<String, Source>> {
    let mut named = BTreeMap::new();
    while let Some((name, tensor)) = tensors.pop_first() {
        // A missing part leads to a wrong shape.
        let mut joined = |parts: &[&str], first: &str| {
            let (module, field) = name.split_once(first)?;
            let parts = parts.iter().map(|part| tensors.remove(format!("{module}{part}{field}").as_str()));
            Some((module.to_owned(), field.to_owned(), parts.collect::<Vec<_>>()))
        };
        // The group is assembled at its alphabetically first member.
        let (name, source) = if let Some((module, field, mut parts)) =
            joined(&[".attention.query.", ".attention.value."], ".attention.key.")
                .or_else(|| joined(&[".attention.q_proj.", ".attention.v_proj."], ".attention.k_proj."))
        {
            parts.insert(1, Some(tensor));
            (format!("{module}.attn.qkv.{field}"), Source::of(parts.into_iter().flatten()))
        } else if let Some((module, field, mut parts)) = joined(&[".up_proj."], ".gate_proj.") {
            parts.insert(0, Some(tensor));
            (format!("{module}.w12.{field}"), Source::of(parts.into_iter().flatten()))
        } else {
            (name.to_owned(), Source::of([tensor]))
        };
        let name = official(&name);
        if named.contains_key(&name) {
            let message = format!("`{}` is present twice, in two layouts", name.escape_debug());
            return Err(Error::new(ErrorKind::Weights, message).of_tensor(name));
        }
        named.insert(name, source);
    }
    gated(&mut named);
    if named.contains_key("register_tokens") {
        fold_class_position(&mut named);
    }
    Ok(named)
}

/// The official name of a tensor. Unknown names stay, and are reported later.
fn official(name: &str) -> String {
    const WHOLE: [(&str, &str); 5] = [
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.mask_token", "mask_token"),
        ("embeddings.register_tokens", "register_tokens"),
        ("embeddings.position_embeddings", "pos_embed"),
        ("reg_token", "register_tokens"),
    ];
    const MODULES: [(&str, &str); 2] =
        [("embeddings.patch_embeddings.projection.", "patch_embed.proj."), ("layernorm.", "norm.")];
    const IN_BLOCK: [(&str, &str); 8] = [
        ("attention.attn.qkv.", "attn.qkv."),
        ("attention.output.dense.", "attn.proj."),
        ("attention.o_proj.", "attn.proj."),
        ("layer_scale1.lambda1", "ls1.gamma"),
        ("layer_scale2.lambda1", "ls2.gamma"),
        ("mlp.weights_in.", "mlp.w12."),
        ("mlp.weights_out.", "mlp.w3."),
        ("mlp.down_proj.", "mlp.w3."),
    ];
    if let Some((_, ours)) = WHOLE.iter().find(|(theirs, _)| *theirs == name) {
        return (*ours).to_owned();
    }
    let renamed = |names: &[(&str, &str)], name: &str| {
        names.iter().find_map(|(theirs, ours)| Some(format!("{ours}{}", name.strip_prefix(theirs)?)))
    };
    if let Some(name) = renamed(&MODULES, name) {
        return name;
    }
    let Some(block) = name.strip_prefix("encoder.layer.").or_else(|| name.strip_prefix("blocks.")) else {
        return name.to_owned();
    };
    let Some((mut number, mut rest)) = block.split_once('.') else { return name.to_owned() };
    // A chunk and a block: block numbers are not restarted in a chunk.
    if let Some((inner, after)) = rest.split_once('.')
        && inner.parse::<usize>().is_ok()
    {
        (number, rest) = (inner, after);
    }
    format!("blocks.{number}.{}", renamed(&IN_BLOCK, rest).unwrap_or_else(|| rest.to_owned()))
}

/// timm uses the same names for gated and other MLPs. In a gated one the first layer has twice as many outputs as the
/// second has inputs.
fn gated(named: &mut BTreeMap<String, Source>) {
    let blocks: Vec<String> =
        named.keys().filter_map(|name| Some(name.strip_suffix("fc1.weight")?.to_owned())).collect();
    for block in blocks {
        let (into, out) = (&named[&format!("{block}fc1.weight")], named.get(&format!("{block}fc2.weight")));
        let (Some(&outputs), Some(&inputs)) =
            (into.shape().first(), out.and_then(|out| out.shape().get(1).copied()).as_ref())
        else {
            continue;
        };
        if outputs != inputs.saturating_mul(2) {
            continue;
        }
        for (theirs, ours) in [("fc1", "w12"), ("fc2", "w3")] {
            for field in ["weight", "bias"] {
                if let Some(source) = named.remove(&format!("{block}{theirs}.{field}")) {
                    named.insert(format!("{block}{ours}.{field}"), source);
                }
            }
        }
    }
}

/// Adds the class token's position to the token and replaces it by zeros.
fn fold_class_position(named: &mut BTreeMap<String, Source>) {
    let Some((class, positions)) = named.get("cls_token").zip(named.get("pos_embed")) else { return };
    let (Some(class), Some(positions)) = (class.single(), positions.single()) else { return };
    let &[1, rows, width] = &positions.shape[..] else { return };
    let is_square = |cells: usize| cells.isqrt().pow(2) == cells;
    let zeros = Part::Zeros(vec![1, 1, width], positions.dtype);
    if rows > 1 && is_square(rows - 1) {
        let (Some(first), Some(rest)) = (positions.slice(1, 0..1), positions.slice(1, 1..rows)) else { return };
        let sum = Part::Sum([class.clone(), first]);
        let rest = Source::along(1, vec![zeros, Part::Stored(rest)]);
        named.insert("cls_token".into(), Source::along(0, vec![sum]));
        named.insert("pos_embed".into(), rest);
    } else if is_square(rows) {
        // In timm's files this is already done.
        let whole = Part::Stored(positions.clone());
        named.insert("pos_embed".into(), Source::along(1, vec![zeros, whole]));
    }
}
