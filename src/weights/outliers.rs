//! Outliers for random models, as they were measured in trained ones.
//!
//! In the published CLIP and DINOv2 models a few fixed channels of the residual stream have values about a hundred
//! times as large as the others, from a block in the first half on, at a few tokens of an image (Sun et al. 2024,
//! "Massive Activations in Large Language Models"; Darcet et al. 2024, "Vision Transformers Need Registers"). The MLP
//! of one block writes them: a hidden unit that responds to these tokens only has a large weight. Here these are the
//! class token and patches at a few positions, whose position embeddings the unit recognises with a wide margin:
//! rounding does not decide which tokens they are, just as in a trained model. Beside these, some channels have gains
//! of layer norms that are several times as large as the others', and so outliers at every token (Kovaleva et al. 2021,
//! "BERT Busters"). Rounding to few bits fails on both.

use super::arch::Arch;
use crate::split_mix::{STEP, mix};

/// Hidden units that write massive activations, each into a channel of its own.
const MASSIVE: usize = 2;
/// Rows of the position table that they recognise, the class token's and patches'.
const TOKENS: usize = 4;
/// By so many neighbouring elements of this size; those of other rows are about 0.3.
const MARKS: usize = 16;
const MARK: f32 = 8.0;
/// The weights with which a unit sums up these elements, and its bias: about five standard deviations below zero at
/// other tokens, and about as far above at these.
const READS: f32 = 0.75;
const BIAS: f32 = -15.0;
/// The weight with which a unit writes.
const WRITES: f32 = 8.0;
/// Channels with large gains, in every norm of a block.
const LARGE_GAINS: usize = 3;
const GAIN: f32 = 5.0;

/// What is planted into some elements of a tensor.
pub(super) struct Planted {
    /// The elements: from the first on, so many.
    first: usize,
    count: usize,
    value: f32,
}

impl Planted {
    /// The element `index`, which would be `x`.
    pub(super) fn apply(&self, index: usize, x: f32) -> f32 {
        if (self.first..self.first + self.count).contains(&index) { self.value } else { x }
    }
}

/// What is planted into the tensor `name` of a model of `arch`, at places that the seed decides.
pub(super) fn planted(arch: &Arch, seed: u64, name: &str) -> Vec<Planted> {
    let Some(names) = arch.family.vit() else { return Vec::new() };
    let vision = &arch.vision;
    let width = vision.width;
    let place = |what: u64, i: usize, of: usize| {
        let hash = mix(seed.wrapping_mul(STEP) ^ mix(STEP.wrapping_mul(8 * i as u64 + what)));
        (hash % of.max(1) as u64) as usize
    };
    let one = |first, value| Planted { first, count: 1, value };
    let marks = MARKS.min(width / 2);
    let first_mark = place(3, 0, width - marks);
    if name == names.positions {
        // The class token's row is the first.
        let row = |i: usize| if i == 0 { 0 } else { 1 + place(4, i, vision.grid() * vision.grid()) };
        let mark = |i| Planted { first: row(i) * width + first_mark, count: marks, value: MARK };
        return (0..TOKENS).map(mark).collect();
    }
    let Some((block, tensor)) = name.strip_prefix(names.blocks).and_then(|rest| rest.split_once('.')) else {
        return Vec::new();
    };
    let norms = [names.block.norm_1, names.block.norm_2].map(|norm| format!("{norm}.weight"));
    if norms.iter().any(|norm| norm == tensor) {
        return (0..LARGE_GAINS).map(|i| one(place(0, i, width), GAIN)).collect();
    }
    if block != (vision.layers / 4).to_string() {
        return Vec::new();
    }
    let [expand, contract] = names.block.mlp(vision.mlp);
    let unit = |i: usize| place(1, i, vision.mlp_width);
    let plant = |i: usize| {
        if tensor == format!("{expand}.weight") {
            Some(Planted { first: unit(i) * width + first_mark, count: marks, value: READS })
        } else if tensor == format!("{expand}.bias") {
            Some(one(unit(i), BIAS))
        } else if tensor == format!("{contract}.weight") {
            let sign = if i.is_multiple_of(2) { 1.0 } else { -1.0 };
            Some(one(place(2, i, width) * vision.mlp_width + unit(i), sign * WRITES))
        } else {
            None
        }
    };
    (0..MASSIVE).filter_map(plant).collect()
}
