//! Families of encoders. Each family's file defines its tensors' names and shapes. How its vision transformer differs
//! from the others is data: the forward pass is written once, in [`crate::encoder`]. A ResNet lists its convolutions.
//!
//! A new family needs a file here, a variant of [`Family`] and a line in each `match` below.

use super::arch::{Arch, Mlp};
use super::config::Section;
use super::infer::Shapes;
use super::table::TensorSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::view::Preprocessing;

pub(super) mod dinov2;
pub(super) mod open_clip;
pub mod resnet;

/// The family of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// CLIP in open_clip's layout: an image and a text tower with a joint space.
    OpenClip,
    /// DINOv2 in its official layout: only an image tower.
    Dinov2,
    /// ResNets in torchvision's layout: only an image tower, of convolutions.
    ResNet,
}

/// How stored patch positions are interpolated to another grid: bicubic with a = -0.75 and half-pixel centres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// By the scale factor `(extent + 0.1) / stored`, without antialiasing, as in DINOv2 without registers.
    Factor,
    /// To the exact size, antialiased, as in DINOv2 with registers and open_clip.
    Size,
}

/// The parts of a vision transformer and the names of its tensors; `None` for parts that it does not have.
#[derive(Debug)]
pub struct VitLayout {
    /// Weight of the patch convolution `[W, 3, P, P]`.
    pub patch: &'static str,
    /// Its bias `[W]`.
    pub patch_bias: Option<&'static str>,
    /// The class token, `W` numbers.
    pub class: &'static str,
    /// Register tokens, `R` rows of `W`, which have no position.
    pub registers: Option<&'static str>,
    /// Positions of the class token and of the stored grid's patches, `1 + N` rows of `W`.
    pub positions: &'static str,
    /// The norm before the first block.
    pub pre_norm: Option<&'static str>,
    /// The prefix of a block's number.
    pub blocks: &'static str,
    /// The tensors of a block.
    pub block: BlockLayout,
    /// The norm after the last block.
    pub final_norm: &'static str,
    /// From the width to the embedding, `[W, E]`. Without it the class embedding is the normalised class token.
    pub projection: Option<&'static str>,
    /// Epsilon of the layer norms.
    pub epsilon: f32,
}

/// The names of a block's tensors, after the block's prefix. All except `qkv` and `scales` are modules with a `weight`
/// and a `bias`.
#[derive(Debug)]
pub struct BlockLayout {
    /// The norm before attention.
    pub norm_1: &'static str,
    /// Weight `[3W, W]` and bias `[3W]` of queries, keys and values.
    pub qkv: [&'static str; 2],
    /// Attention's output `[W, W]`.
    pub output: &'static str,
    /// The norm before the MLP.
    pub norm_2: &'static str,
    /// Into and out of the MLP's hidden layer: `[M, W]`, `[W, M]`.
    pub mlp: [&'static str; 2],
    /// The same for a gated MLP: `[2M, W]`, `[W, M]`.
    pub gated_mlp: Option<[&'static str; 2]>,
    /// LayerScale of the two sublayers, `[W]` each.
    pub scales: Option<[&'static str; 2]>,
}

impl BlockLayout {
    /// The two linear layers of an MLP of this kind. The family of a valid architecture has them.
    pub fn mlp(&self, kind: Mlp) -> [&'static str; 2] {
        match kind {
            Mlp::Gelu => self.mlp,
            Mlp::SwiGlu => self.gated_mlp.unwrap_or(self.mlp),
        }
    }
}

impl Family {
    /// Every family.
    pub(super) const ALL: [Family; 3] = [Family::OpenClip, Family::Dinov2, Family::ResNet];

    /// The lower-case name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Family::OpenClip => "open_clip",
            Family::Dinov2 => "dinov2",
            Family::ResNet => "resnet",
        }
    }

    /// The vision transformer, if its image tower is one.
    pub fn vit(self) -> Option<&'static VitLayout> {
        match self {
            Family::OpenClip => Some(&open_clip::VIT),
            Family::Dinov2 => Some(&dinov2::VIT),
            Family::ResNet => None,
        }
    }

    /// The tensor by which files of this family are recognised.
    fn anchor(self) -> &'static str {
        self.vit().map_or(resnet::STEM, |vit| vit.patch)
    }

    /// Whether it comes with a text tower.
    pub fn has_text(self) -> bool {
        self == Family::OpenClip
    }

    /// The default preprocessing.
    pub fn preprocessing(self) -> Preprocessing {
        match self {
            Family::OpenClip => Preprocessing::CLIP,
            Family::Dinov2 => Preprocessing::IMAGENET,
            Family::ResNet => Preprocessing::TORCHVISION,
        }
    }

    /// The model of this family with this lower-case name.
    pub(super) fn named(self, name: &str) -> Option<Arch> {
        match self {
            Family::OpenClip => open_clip::named(name),
            Family::Dinov2 => dinov2::named(name),
            Family::ResNet => resnet::named(name),
        }
    }

    /// The names that [`Family::named`] knows.
    pub(super) fn names(self) -> Vec<String> {
        match self {
            Family::OpenClip => open_clip::names(),
            Family::Dinov2 => dinov2::names(),
            Family::ResNet => resnet::names(),
        }
    }

    /// Every tensor of its towers, in the order of computation.
    pub(super) fn towers(self, arch: &Arch) -> Vec<TensorSpec> {
        match self {
            Family::OpenClip => open_clip::towers(arch),
            Family::Dinov2 => dinov2::towers(arch),
            Family::ResNet => resnet::towers(arch),
        }
    }

    /// Tensors of a real file that no forward pass reads.
    pub(super) fn unused(self, arch: &Arch) -> Vec<TensorSpec> {
        match self {
            Family::OpenClip => open_clip::unused(),
            Family::Dinov2 => dinov2::unused(arch),
            Family::ResNet => resnet::unused(arch),
        }
    }

    /// Whether a file may hold a tensor of this name although the model does not use it.
    pub(super) fn ignores(self, name: &str) -> bool {
        match self {
            Family::OpenClip => open_clip::ignores(name),
            Family::Dinov2 => dinov2::ignores(name),
            Family::ResNet => resnet::ignores(name),
        }
    }

    /// The architecture for tensors of these names and shapes. The family is recognised by its first convolution.
    pub(super) fn infer(shapes: &Shapes<'_>) -> Result<Arch> {
        let found = Family::ALL.into_iter().find(|family| shapes.has(family.anchor()));
        match found.unwrap_or(Family::OpenClip) {
            Family::OpenClip => open_clip::infer(shapes),
            Family::Dinov2 => dinov2::infer(shapes),
            Family::ResNet => resnet::infer(shapes),
        }
    }

    /// The architecture that a configuration describes, not yet validated. A configuration that names no family is
    /// open_clip's.
    pub(super) fn read_config(root: &Section<'_>) -> Result<Arch> {
        let Some(value) = root.optional("family") else { return open_clip::read_config(root) };
        match Family::ALL.into_iter().find(|family| value == family.name()) {
            Some(Family::OpenClip) => open_clip::read_config(root),
            Some(Family::Dinov2) => dinov2::read_config(root),
            Some(Family::ResNet) => resnet::read_config(root),
            None => {
                let known: Vec<_> = Family::ALL.iter().map(|family| family.name()).collect();
                let message = format!("family: expected {}, found {value}", known.join(" or "));
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }

    /// The configuration as JSON on one line, in a fixed order.
    pub(super) fn write_config(self, arch: &Arch) -> String {
        match self {
            Family::OpenClip => open_clip::write_config(arch),
            Family::Dinov2 => dinov2::write_config(arch),
            Family::ResNet => resnet::write_config(arch),
        }
    }
}
