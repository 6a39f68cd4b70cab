//! Translates the names of other programs to those of [`weights::table`](crate::weights::table()).

use std::collections::BTreeMap;

use super::Tensor;
use super::source::Source;
use crate::error::{Error, ErrorKind, Result};
use crate::weights::common_prefix;

mod dinov2;

/// Which program named the tensors. This determines the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    OpenClip,
    /// OpenAI's own files: open_clip's names, and three numbers that only OpenAI stores as tensors. QuickGELU.
    OpenAi,
    HuggingFace,
    /// An image tower only, in any naming.
    Dinov2,
}

/// Numbers that OpenAI's archives hold as tensors.
const OPENAI_NUMBERS: [&str; 3] = ["input_resolution", "context_length", "vocab_size"];
/// Prefixes that wrappers add to every name: DistributedDataParallel, torch.compile, an enclosing module (beside a classifier,
/// whose names do not have the prefix); and `text.`, where open_clip keeps the text tower as a separate module.
const WRAPPERS: [&str; 7] =
    ["module.", "_orig_mod.", "model.", "text.", "backbone.", "dinov2.", "dinov2_with_registers."];

/// The tensors of one file under the table's names.
pub(super) fn translate(tensors: &BTreeMap<String, Tensor>) -> Result<(Naming, BTreeMap<String, Source>)> {
    let mut stripped = BTreeMap::new();
    let prefix = common_prefix(tensors.keys().map(String::as_str)).map_or(0, str::len);
    for (name, tensor) in tensors {
        let mut short = &name[prefix..];
        while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| short.strip_prefix(wrapper)) {
            short = rest;
        }
        if let Some((other, _)) = stripped.insert(short, (name, tensor)) {
            let message = format!("`{}` and `{}` are the same tensor", other.escape_debug(), name.escape_debug());
            return Err(Error::new(ErrorKind::Weights, message).of_tensor(name));
        }
    }
    let theirs = stripped.keys().any(|name| name.starts_with("vision_model.") || name.starts_with("text_model."));
    let is_dinov2 = dinov2::is_dinov2(stripped.keys().copied());
    let tensors = stripped.into_iter().map(|(short, (_, tensor))| (short, tensor.clone()));
    if is_dinov2 {
        return Ok((Naming::Dinov2, dinov2::translate(tensors.collect())?));
    }
    if theirs {
        return Ok((Naming::HuggingFace, hugging_face(tensors.collect())));
    }
    let mut named: BTreeMap<_, _> = tensors.map(|(name, tensor)| (name.to_owned(), Source::of([tensor]))).collect();
    let numbers = OPENAI_NUMBERS.iter().filter(|name| named.remove(**name).is_some()).count();
    Ok((if numbers > 0 { Naming::OpenAi } else { Naming::OpenClip }, named))
}

fn hugging_face(mut tensors: BTreeMap<&str, Tensor>) -> BTreeMap<String, Source> {
    let mut named = BTreeMap::new();
    while let Some((name, tensor)) = tensors.pop_first() {
        // Indices of the position embeddings, which older versions store.
        if name.ends_with(".embeddings.position_ids") {
            continue;
        }
        if let Some((module, field)) = name.split_once(".self_attn.k_proj.") {
            let [query, value] =
                ["q", "v"].map(|part| tensors.remove(format!("{module}.self_attn.{part}_proj.{field}").as_str()));
            // A missing part shows as a wrong shape.
            let parts = [query, Some(tensor), value].into_iter().flatten();
            named.insert(block(&format!("{module}.attn.in_proj_{field}")), Source::of(parts));
            continue;
        }
        // Linear layers there, but right-hand matrices in CLIP.
        let (name, tensor) = match name {
            "visual_projection.weight" => ("visual.proj".to_owned(), tensor.transposed()),
            "text_projection.weight" => ("text_projection".to_owned(), tensor.transposed()),
            _ => (block(name), tensor),
        };
        named.insert(name, Source::of([tensor]));
    }
    named
}

/// The table's name of a tensor of Hugging Face's towers. Unknown names stay, and are reported later.
fn block(name: &str) -> String {
    let (prefix, rest) = match (name.strip_prefix("vision_model."), name.strip_prefix("text_model.")) {
        (Some(rest), _) => ("visual.", rest),
        (_, Some(rest)) => ("", rest),
        _ => return name.to_owned(),
    };
    let top = match rest {
        "embeddings.class_embedding" => Some("class_embedding"),
        "embeddings.patch_embedding.weight" => Some("conv1.weight"),
        "embeddings.position_embedding.weight" => Some("positional_embedding"),
        "embeddings.token_embedding.weight" => Some("token_embedding.weight"),
        _ => None,
    };
    if let Some(top) = top {
        return format!("{prefix}{top}");
    }
    const MODULES: [(&str, &str); 9] = [
        ("pre_layrnorm.", "ln_pre."),
        ("pre_layernorm.", "ln_pre."),
        ("post_layernorm.", "ln_post."),
        ("final_layer_norm.", "ln_final."),
        ("layer_norm1.", "ln_1."),
        ("layer_norm2.", "ln_2."),
        ("self_attn.out_proj.", "attn.out_proj."),
        ("mlp.fc1.", "mlp.c_fc."),
        ("mlp.fc2.", "mlp.c_proj."),
    ];
    let (layer, rest) = match rest.strip_prefix("encoder.layers.").and_then(|rest| rest.split_once('.')) {
        Some((number, rest)) => (format!("transformer.resblocks.{number}."), rest),
        None => (String::new(), rest),
    };
    let known = MODULES.iter().find_map(|(theirs, ours)| Some((ours, rest.strip_prefix(theirs)?)));
    match known {
        Some((ours, field)) => format!("{prefix}{layer}{ours}{field}"),
        // Joined by the caller.
        None if rest.starts_with("attn.in_proj_") => format!("{prefix}{layer}{rest}"),
        None => name.to_owned(),
    }
}
