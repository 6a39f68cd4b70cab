//! Recognises models of other libraries, or wrapped by them, by the names of their tensors.

/// Ends of tensor names, of which every CLIP model, DINOv2 model or heads file has one.
const ANCHORS: [&str; 6] = [
    "visual.conv1.weight",
    "vision_model.embeddings.patch_embedding.weight",
    "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.weight",
    "adapter.fc.0.weight",
    "diff_head.projection1.weight",
];

/// The prefix of *all* names, before those of a model (`module.`, `ema.module.`), if it is unambiguous.
pub(crate) fn common_prefix<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let anchored = |name: &'a str| ANCHORS.iter().find_map(|anchor| name.strip_suffix(anchor));
    let prefix = names.clone().find_map(anchored).filter(|prefix| prefix.ends_with('.'))?;
    names.into_iter().all(|name| name.starts_with(prefix)).then_some(prefix)
}

/// What to do with a file whose tensors do not have the engine's names, if that is known.
pub(super) fn advice<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    const HUGGING_FACE: [&str; 2] =
        ["vision_model.embeddings.patch_embedding.weight", "embeddings.patch_embeddings.projection.weight"];
    let convert = "convert the file with `inctrl convert`";
    if names.clone().any(|name| HUGGING_FACE.iter().any(|end| name.ends_with(end))) {
        return Some(format!("These are Hugging Face's names: {convert}"));
    }
    if names.clone().any(|name| name == "reg_token") {
        return Some(format!("These are timm's names: {convert}"));
    }
    let prefix = common_prefix(names)?;
    Some(format!("All names begin with `{}`: `inctrl convert` removes it", prefix.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_only_where_all_have_it() {
        let of = |names: &[&'static str]| common_prefix(names.iter().copied());
        assert_eq!(of(&["ema.module.logit_scale", "ema.module.visual.conv1.weight"]), Some("ema.module."));
        assert_eq!(of(&["net.adapter.fc.0.weight", "net.adapter.fc.2.weight"]), Some("net."));
        assert_eq!(of(&["net.logit_scale", "net.vision_model.embeddings.patch_embedding.weight"]), Some("net."));
        assert_eq!(of(&["visual.conv1.weight", "visual.proj"]), None);
        assert_eq!(of(&["ema.visual.conv1.weight", "model.visual.conv1.weight"]), None);
        assert_eq!(of(&["a.visual.conv1.weight", "steps"]), None);
        assert_eq!(of(&["xvisual.conv1.weight"]), None);
        assert_eq!(of(&[]), None);
    }
}
