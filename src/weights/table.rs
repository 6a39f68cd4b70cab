//! The table of every tensor's name and shape.

use super::arch::{Arch, Mlp};
use super::families::BlockLayout;

/// Widths of the two hidden layers of InCTRL's scoring heads.
const HEAD_HIDDEN: [usize; 2] = [128, 64];

/// The part of the model that a tensor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tower {
    /// The image encoder.
    Vision,
    /// The text encoder.
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
    /// The part of the model that it belongs to.
    pub tower: Tower,
}

/// Every tensor of a model of this architecture, in the order of computation: vision, text, heads.
///
/// Linear layers are `[out, in]`. `arch` must be valid ([`Arch::validate`]).
pub fn table(arch: &Arch) -> Vec<TensorSpec> {
    let mut specs = arch.family.towers(arch);
    if !takes_heads(arch) {
        return specs;
    }
    let embed = arch.embed_dim;
    let mut rows = Rows::new(Tower::Heads);
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
    specs.append(&mut rows.specs);
    specs
}

/// Whether an encoder can have InCTRL's heads, which need a text tower.
pub(super) fn takes_heads(arch: &Arch) -> bool {
    arch.text.is_some()
}

/// Tensors of a real checkpoint beyond [`table`], which no forward pass reads.
pub(super) fn unused(arch: &Arch) -> Vec<TensorSpec> {
    let mut rows = Rows::new(Tower::Heads);
    for (head, inputs) in head_inputs(arch).into_iter().filter(|_| takes_heads(arch)) {
        rows.batch_norm(&format!("{head}.bn1"), inputs);
        for norm in ["bn1", "bn2", "bn3"] {
            rows.add(format!("{head}.{norm}.num_batches_tracked"), &[]);
        }
    }
    rows.specs.append(&mut arch.family.unused(arch));
    rows.specs
}

/// Whether a file may hold a tensor of this name although the model does not use it: `bn1` of the scoring heads, batch
/// counters, CLIP's `logit_scale` and `attn_mask`, DINOv2's `mask_token`, classifiers and training heads. Their shapes, storage
/// types and values do not matter.
pub fn ignored(arch: &Arch, name: &str) -> bool {
    arch.family.ignores(name)
}

/// The scoring heads and their inputs: eta scores the image residual (equation 5), phi the holistic map (equation 7).
fn head_inputs(arch: &Arch) -> [(&'static str, usize); 2] {
    [("diff_head_ref", arch.embed_dim), ("diff_head", arch.vision.patches())]
}

/// A list of tensors under construction.
pub(super) struct Rows {
    pub tower: Tower,
    pub specs: Vec<TensorSpec>,
}

impl Rows {
    pub fn new(tower: Tower) -> Self {
        Rows { tower, specs: Vec::new() }
    }

    pub fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.specs.push(TensorSpec { name: name.into(), shape: shape.to_vec(), tower: self.tower });
    }

    /// A weight and a bias along its first dimension: a linear layer or a normalisation.
    pub fn affine(&mut self, name: &str, shape: &[usize]) {
        self.add(format!("{name}.weight"), shape);
        self.add(format!("{name}.bias"), &shape[..1]);
    }

    pub fn batch_norm(&mut self, name: &str, width: usize) {
        self.affine(name, &[width]);
        self.add(format!("{name}.running_mean"), &[width]);
        self.add(format!("{name}.running_var"), &[width]);
    }

    /// Blocks whose names begin with `prefix` and a number, with MLPs of this kind and hidden width.
    pub fn blocks(
        &mut self,
        prefix: &str,
        names: &BlockLayout,
        layers: usize,
        width: usize,
        (mlp, mlp_width): (Mlp, usize),
    ) {
        for layer in 0..layers {
            let block = format!("{prefix}{layer}.");
            let scale = |rows: &mut Self, sublayer: usize| {
                if let Some(scales) = names.scales {
                    rows.add(format!("{block}{}", scales[sublayer]), &[width]);
                }
            };
            self.affine(&format!("{block}{}", names.norm_1), &[width]);
            self.add(format!("{block}{}", names.qkv[0]), &[3 * width, width]);
            self.add(format!("{block}{}", names.qkv[1]), &[3 * width]);
            self.affine(&format!("{block}{}", names.output), &[width, width]);
            scale(self, 0);
            self.affine(&format!("{block}{}", names.norm_2), &[width]);
            let [expand, contract] = names.mlp(mlp);
            self.affine(&format!("{block}{expand}"), &[mlp.inner_width(mlp_width), width]);
            self.affine(&format!("{block}{contract}"), &[width, mlp_width]);
            scale(self, 1);
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
        for arch in [tiny(), Arch::named("dinov2-vit-g-14-reg4").unwrap()] {
            let (used, unused) = (table(&arch), unused(&arch));
            assert!(used.iter().all(|spec| !ignored(&arch, &spec.name)));
            assert!(unused.iter().all(|spec| ignored(&arch, &spec.name)));
            let names: HashSet<_> = used.iter().chain(&unused).map(|spec| &spec.name).collect();
            assert_eq!(names.len(), used.len() + unused.len());
            let none =
                ["visual.bn1.weight", "diff_head.bn2.weight", "extra", "mask_tokens", "head.scale", "headless.bias"];
            assert!(none.iter().all(|name| !ignored(&arch, name)));
        }
    }
}
