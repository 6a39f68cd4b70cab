//! The one table of every tensor's name and shape.

use super::arch::Arch;

/// Widths of the two hidden layers of InCTRL's scoring heads.
const HEAD_HIDDEN: [usize; 2] = [128, 64];

/// The part of the model that a tensor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tower {
    /// CLIP's image encoder.
    Vision,
    /// CLIP's text encoder.
    Text,
    /// InCTRL's adapter and scoring heads.
    Heads,
}

/// A tensor that the model needs.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: String,
    /// Extent of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// What it is part of.
    pub tower: Tower,
}

/// Every tensor of a model of this architecture, in the order of computation: vision, text, heads.
///
/// Linear layers are `[out, in]`, the three projections into the joint space `[in, out]` (without a bias), as
/// open_clip has them. `arch` must be valid ([`Arch::validate`]).
pub fn table(arch: &Arch) -> Vec<TensorSpec> {
    let (v, t, embed) = (&arch.vision, &arch.text, arch.embed_dim);

    let mut rows = Rows { tower: Tower::Vision, specs: Vec::new() };
    rows.add("visual.conv1.weight", &[v.width, 3, v.patch_size, v.patch_size]);
    rows.add("visual.class_embedding", &[v.width]);
    rows.add("visual.positional_embedding", &[v.tokens(), v.width]);
    rows.affine("visual.ln_pre", &[v.width]);
    rows.blocks("visual.transformer", v.layers, v.width, v.mlp_width);
    rows.affine("visual.ln_post", &[v.width]);
    rows.add("visual.proj", &[v.width, embed]);

    rows.tower = Tower::Text;
    rows.add("token_embedding.weight", &[t.vocab_size, t.width]);
    rows.add("positional_embedding", &[t.context_length, t.width]);
    rows.blocks("transformer", t.layers, t.width, t.mlp_width);
    rows.affine("ln_final", &[t.width]);
    rows.add("text_projection", &[t.width, embed]);

    rows.tower = Tower::Heads;
    rows.add("adapter.fc.0.weight", &[embed / 4, embed]);
    rows.add("adapter.fc.2.weight", &[embed, embed / 4]);
    for (head, inputs) in head_inputs(arch) {
        let [first, second] = HEAD_HIDDEN;
        rows.affine(&format!("{head}.projection1"), &[first, inputs]);
        rows.batch_norm(&format!("{head}.bn2"), first);
        rows.affine(&format!("{head}.projection2"), &[second, first]);
        rows.batch_norm(&format!("{head}.bn3"), second);
        rows.affine(&format!("{head}.projection3"), &[1, second]);
    }
    rows.specs
}

/// Tensors that a real checkpoint holds besides [`table`], which no forward pass reads.
pub(super) fn unused(arch: &Arch) -> Vec<TensorSpec> {
    let mut rows = Rows { tower: Tower::Heads, specs: Vec::new() };
    for (head, inputs) in head_inputs(arch) {
        rows.batch_norm(&format!("{head}.bn1"), inputs);
        for norm in ["bn1", "bn2", "bn3"] {
            rows.add(format!("{head}.{norm}.num_batches_tracked"), &[]);
        }
    }
    rows.tower = Tower::Text;
    rows.add("logit_scale", &[]);
    rows.specs
}

/// Whether a file may hold a tensor of this name although the model does not use it: `bn1` of the scoring heads, batch
/// counters, CLIP's `logit_scale` and `attn_mask`. Their shapes, storage types and values do not matter.
pub fn ignored(name: &str) -> bool {
    name == "logit_scale"
        || name == "attn_mask"
        || name.ends_with(".num_batches_tracked")
        || name.starts_with("diff_head.bn1.")
        || name.starts_with("diff_head_ref.bn1.")
}

/// The scoring heads and their inputs: eta scores the image residual (equation 5), phi the holistic map (equation 7).
fn head_inputs(arch: &Arch) -> [(&'static str, usize); 2] {
    [("diff_head_ref", arch.embed_dim), ("diff_head", arch.vision.patches())]
}

struct Rows {
    tower: Tower,
    specs: Vec<TensorSpec>,
}

impl Rows {
    fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.specs.push(TensorSpec { name: name.into(), shape: shape.to_vec(), tower: self.tower });
    }

    /// A weight and a bias along its first dimension: a linear layer or a normalisation.
    fn affine(&mut self, name: &str, shape: &[usize]) {
        self.add(format!("{name}.weight"), shape);
        self.add(format!("{name}.bias"), &shape[..1]);
    }

    fn batch_norm(&mut self, name: &str, width: usize) {
        self.affine(name, &[width]);
        self.add(format!("{name}.running_mean"), &[width]);
        self.add(format!("{name}.running_var"), &[width]);
    }

    fn blocks(&mut self, name: &str, layers: usize, width: usize, mlp_width: usize) {
        for layer in 0..layers {
            let block = format!("{name}.resblocks.{layer}");
            self.affine(&format!("{block}.ln_1"), &[width]);
            self.add(format!("{block}.attn.in_proj_weight"), &[3 * width, width]);
            self.add(format!("{block}.attn.in_proj_bias"), &[3 * width]);
            self.affine(&format!("{block}.attn.out_proj"), &[width, width]);
            self.affine(&format!("{block}.ln_2"), &[width]);
            self.affine(&format!("{block}.mlp.c_fc"), &[mlp_width, width]);
            self.affine(&format!("{block}.mlp.c_proj"), &[width, mlp_width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::weights::tests::tiny;

    /// Parameter counts that open_clip publishes for its CLIP models, in millions to two places.
    #[test]
    fn named_models_have_open_clips_parameter_counts() {
        for (name, millions) in [
            ("vit-b-32", 151.28),
            ("vit-b-16", 149.62),
            ("vit-b-16-plus-240", 208.38),
            ("vit-l-14", 427.62),
            ("vit-l-14-336", 427.94),
        ] {
            let table = table(&Arch::named(name).unwrap());
            let clip = table.iter().filter(|spec| spec.tower != Tower::Heads);
            let parameters: usize = clip.map(|spec| spec.shape.iter().product::<usize>()).sum::<usize>() + 1;
            let difference = (parameters as f64 / 1e6 - millions).abs();
            assert!(difference <= 0.005, "{name}: {parameters} parameters, expected {millions} M");
        }
    }

    #[test]
    fn names_are_unique_and_none_is_ignored() {
        let (used, unused) = (table(&tiny()), unused(&tiny()));
        assert!(used.iter().all(|spec| !ignored(&spec.name)));
        assert!(unused.iter().all(|spec| ignored(&spec.name)));
        let names: HashSet<_> = used.iter().chain(&unused).map(|spec| &spec.name).collect();
        assert_eq!(names.len(), used.len() + unused.len());
        assert!(!ignored("visual.bn1.weight") && !ignored("diff_head.bn2.weight") && !ignored("extra"));
    }
}
