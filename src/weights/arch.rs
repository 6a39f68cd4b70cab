//! The architecture of a model: the numbers that determine every tensor's shape, and InCTRL's taps and alpha.

use std::fmt;

use super::families::{Family, Interpolation, dinov2, resnet};
use crate::error::{Error, ErrorKind, Result};
use crate::text::VOCABULARY;
use crate::view::{Fit, Plan, Preprocessing};

/// An encoder, and the values that InCTRL needs from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Arch {
    /// The family of the encoder: everything that its members have in common.
    pub family: Family,
    /// Width of a class embedding, E: that of the joint image-text space, or of the image tower if there is no
    /// projection.
    pub embed_dim: usize,
    /// The image tower.
    pub vision: VisionArch,
    /// The text tower, if there is one.
    pub text: Option<TextArch>,
    /// Whether GELUs are x * sigmoid(1.702 x) instead of exact.
    pub quick_gelu: bool,
    /// Vision blocks whose patch tokens InCTRL compares (equation 1): counted from 1, ascending, without repeats. None
    /// where neither the configuration nor the depth names any.
    pub taps: Vec<usize>,
    /// Weight of the maximum patch residual in the final score (after equation 7); 1 in the published code.
    pub alpha: f32,
}

/// The image tower: a vision transformer, or a ResNet, which has the fields of a transformer as far as they have a
/// meaning for it.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionArch {
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Side of a square patch in pixels; of a ResNet, of a cell of its first stage.
    pub patch_size: usize,
    /// Width of the residual stream; of a ResNet, of its last stage.
    pub width: usize,
    /// Number of blocks; of a ResNet, of stages.
    pub layers: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Tokens between the class token and the patches.
    pub registers: usize,
    /// The kind of MLP of a block.
    pub mlp: Mlp,
    /// Hidden width of a block's MLP.
    pub mlp_width: usize,
    /// How pictures were prepared in training.
    pub preprocessing: Preprocessing,
    /// The convolutions of a ResNet; none for a transformer.
    pub resnet: Option<ResNetArch>,
}

/// Stages of a ResNet.
pub const STAGES: usize = 4;

/// A ResNet: a stem, and four stages of blocks. Each stage after the first halves the grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResNetArch {
    /// Width of the stem.
    pub stem: usize,
    /// Blocks of each stage.
    pub blocks: [usize; STAGES],
    /// Widths inside the bottlenecks of each stage; none for plain blocks of two convolutions.
    pub inner: Option<[usize; STAGES]>,
    /// Width of each stage.
    pub widths: [usize; STAGES],
}

/// The MLP of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mlp {
    /// `W2 gelu(W1 x)`.
    Gelu,
    /// `W3 (silu(a) b)`, where `a` and `b` are the halves of `W12 x`.
    SwiGlu,
}

impl Mlp {
    /// Every kind.
    pub(super) const ALL: [Mlp; 2] = [Mlp::Gelu, Mlp::SwiGlu];

    /// The lower-case name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Mlp::Gelu => "gelu",
            Mlp::SwiGlu => "swiglu",
        }
    }

    /// Outputs of the layer into an MLP of this hidden width.
    pub fn inner_width(self, mlp_width: usize) -> usize {
        match self {
            Mlp::Gelu => mlp_width,
            Mlp::SwiGlu => 2 * mlp_width,
        }
    }
}

impl VisionArch {
    /// The plan that fits pictures of `width` x `height` pixels to this tower's input.
    ///
    /// # Errors
    /// As [`Plan::with`].
    pub fn plan(&self, width: usize, height: usize, fit: Fit) -> Result<Plan> {
        Plan::with(width, height, self.image_size, fit, &self.preprocessing)
    }

    /// Side in pixels of the cells of maps: a patch, or a cell of the first of the stages `taps` of a ResNet.
    pub fn cell(&self, taps: &[usize]) -> usize {
        match (self.resnet, taps.first()) {
            (Some(_), Some(first)) => self.patch_size << first.saturating_sub(1).min(STAGES),
            _ => self.patch_size,
        }
    }

    /// Patches along one side; pixels beyond a whole number of patches are unused, as in a strided convolution.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Patches of an image, N.
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Tokens before the patches: the class token and the registers.
    pub fn prefix(&self) -> usize {
        1 + self.registers
    }

    /// Tokens of an image: the class token, the registers and its patches.
    pub fn tokens(&self) -> usize {
        self.prefix() + self.patches()
    }
}

/// The text transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct TextArch {
    /// Positions of a text, start and end tokens included.
    pub context_length: usize,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Hidden width of a block's MLP.
    pub mlp_width: usize,
}

impl Arch {
    /// The architecture called `name` (case does not matter), with default taps, alpha 1 and exact GELU.
    pub fn named(name: &str) -> Option<Arch> {
        let name = name.to_lowercase();
        Family::ALL.into_iter().find_map(|family| family.named(&name))
    }

    /// The names that [`Arch::named`] knows.
    pub fn names() -> Vec<String> {
        Family::ALL.into_iter().flat_map(Family::names).collect()
    }

    /// How the stored positions are interpolated to another grid.
    pub fn interpolation(&self) -> Interpolation {
        if self.family == Family::Dinov2 && self.vision.registers == 0 {
            return Interpolation::Factor;
        }
        Interpolation::Size
    }

    /// The text tower.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an encoder without one.
    pub fn text_tower(&self) -> Result<&TextArch> {
        self.text.as_ref().ok_or_else(|| {
            let message = format!(
                "the encoder is of the family {}, which has no text tower and cannot use a class name",
                self.family.name()
            );
            Error::new(ErrorKind::Config, message)
        })
    }

    /// The blocks that InCTRL's heads were, or are to be, trained on.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where neither the configuration nor the depth names any.
    pub fn trained_taps(&self) -> Result<&[usize]> {
        if !self.taps.is_empty() {
            return Ok(&self.taps);
        }
        let layers = self.vision.layers;
        let message = format!(
            "no default taps for a vision tower of {layers} blocks (only for 12 and 24): add {{\"inctrl\": {{\"taps\": [..]}}}} \
             with block numbers from 1 to {layers} to the model's JSON configuration"
        );
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Checks that the numbers describe a model that can be built and that no shape derived from them overflows.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], with every value that is out of range, and its range.
    pub fn validate(&self) -> Result<()> {
        let mut wrong = Vec::new();
        let v = &self.vision;
        let vision = [
            // The adapter narrows the embedding to a quarter.
            ("embed_dim", self.embed_dim, 4, 16_384),
            ("vision image_size", v.image_size, 1, 8_192),
            ("vision patch_size", v.patch_size, 1, 1_024),
            ("vision width", v.width, 1, 16_384),
            ("vision layers", v.layers, 1, 256),
            ("vision heads", v.heads, 1, 16_384),
            ("vision MLP width", v.mlp_width, 1, 131_072),
            ("vision registers", v.registers, 0, 256),
        ];
        let text = self.text.iter().flat_map(|t| {
            [
                ("text context_length", t.context_length, 1, 8_192),
                ("text vocab_size", t.vocab_size, 1, VOCABULARY),
                ("text width", t.width, 1, 16_384),
                ("text layers", t.layers, 1, 256),
                ("text heads", t.heads, 1, 16_384),
                ("text MLP width", t.mlp_width, 1, 131_072),
            ]
        });
        for (name, value, low, high) in vision.into_iter().chain(text) {
            if !(low..=high).contains(&value) {
                wrong.push(format!("{name} is {value}, expected {low} to {high}"));
            }
        }
        if let Some(resnet) = &v.resnet {
            let widths =
                resnet.widths.iter().chain(resnet.inner.iter().flatten()).map(|&width| ("widths", width, 1, 16_384));
            let blocks = resnet.blocks.iter().map(|&blocks| ("blocks", blocks, 1, 256));
            for (name, value, low, high) in widths.chain(blocks).chain([("stem", resnet.stem, 1, 16_384)]) {
                if !(low..=high).contains(&value) {
                    wrong.push(format!("{name}: {value}, expected {low} to {high}"));
                }
            }
        }
        if wrong.is_empty() {
            self.validate_relations(&mut wrong);
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Config, format!("invalid model architecture: {}", wrong.join("; "))))
    }

    /// Checks relations between values. Each is already in range, so nothing here divides by zero or overflows.
    fn validate_relations(&self, wrong: &mut Vec<String>) {
        const MAX_PATCHES: usize = 65_536;
        let v = &self.vision;
        let text = self.text.iter().map(|t| ("text", t.width, t.heads));
        for (tower, width, heads) in [("vision", v.width, v.heads)].into_iter().chain(text) {
            if width % heads != 0 {
                wrong.push(format!("{tower} width {width} is not a multiple of its {heads} heads"));
            }
        }
        if v.image_size < v.patch_size {
            wrong.push(format!("image_size {} is smaller than patch_size {}", v.image_size, v.patch_size));
        } else if v.patches() > MAX_PATCHES {
            wrong.push(format!("an image has {} patches, expected at most {MAX_PATCHES}", v.patches()));
        }
        let parts = match self.family.vit() {
            None => v.resnet.is_some() && self.embed_dim == v.width && v.registers == 0 && v.mlp == Mlp::Gelu,
            Some(layout) => {
                v.resnet.is_none()
                    && (layout.projection.is_some() || self.embed_dim == v.width)
                    && (layout.registers.is_some() || v.registers == 0)
                    && (layout.block.gated_mlp.is_some() || v.mlp != Mlp::SwiGlu)
            }
        };
        if self.text.is_some() != self.family.has_text() || !parts {
            wrong
                .push(format!("a part that the family {} does not have, or lacks one that it has", self.family.name()));
        }
        if self.taps.iter().any(|tap| !(1..=v.layers).contains(tap)) {
            wrong.push(format!("taps {:?}: expected blocks from 1 to {} (counted from 1)", self.taps, v.layers));
        }
        if !self.taps.is_sorted_by(|a, b| a < b) {
            wrong.push(format!("taps {:?}: expected ascending blocks without repeats", self.taps));
        }
        if let Err(error) = v.preprocessing.validate() {
            wrong.push(error.to_string());
        }
        if !(self.alpha.is_finite() && self.alpha >= 0.0) {
            wrong.push(format!("alpha is {}, expected a finite number that is not negative", self.alpha));
        }
    }
}

impl fmt::Display for Arch {
    /// One line each for the image tower, pixels, the text tower if there is one, and the rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = &self.vision;
        if let Some(own) = &v.resnet {
            let name = resnet::name_of(self).map(|name| format!(", {name}")).unwrap_or_default();
            let kind = if own.inner.is_some() { "bottlenecks" } else { "blocks" };
            writeln!(f, "ResNet{name}")?;
            writeln!(
                f,
                "vision: image {0} x {0}, four stages of {1:?} {kind}, {2:?} wide, cells of 4, 8, 16 and 32 pixels",
                v.image_size, own.blocks, own.widths
            )?;
            return write!(f, "pixels: {}\nembedding {}", v.preprocessing, self.embed_dim);
        }
        if self.family == Family::Dinov2 {
            let name = dinov2::name_of(self);
            writeln!(f, "DINOv2{}", name.map(|name| format!(", {name}")).unwrap_or_default())?;
        }
        write!(
            f,
            "vision: image {0} x {0}, patch {1} ({2} x {2} = {3}), {4} blocks of width {5}, {6} heads, MLP {7}",
            v.image_size,
            v.patch_size,
            v.grid(),
            v.patches(),
            v.layers,
            v.width,
            v.heads,
            v.mlp_width
        )?;
        if v.registers > 0 {
            write!(f, ", {} registers", v.registers)?;
        }
        writeln!(f, "\npixels: {}", v.preprocessing)?;
        if let Some(t) = &self.text {
            writeln!(
                f,
                "text: {} positions, {} tokens, {} blocks of width {}, {} heads, MLP {}",
                t.context_length, t.vocab_size, t.layers, t.width, t.heads, t.mlp_width
            )?;
        }
        let activation = match (v.mlp, self.quick_gelu) {
            (Mlp::SwiGlu, _) => "SwiGLU",
            (Mlp::Gelu, true) => "quick GELU",
            (Mlp::Gelu, false) => "exact GELU",
        };
        write!(f, "embedding {}, {activation}, taps {:?}", self.embed_dim, self.taps)?;
        if self.text.is_some() {
            write!(f, ", alpha {}", self.alpha)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::tiny;

    #[test]
    fn named_models_are_valid_and_found_in_any_case() {
        for name in Arch::names() {
            Arch::named(&name).unwrap().validate().unwrap();
        }
        assert_eq!(Arch::named("ViT-B-16-plus-240").unwrap().vision.tokens(), 226);
        assert_eq!(Arch::named("ViT-B-16-plus-240").unwrap().vision.heads, 14);
        assert_eq!(Arch::named("vit-l-14").unwrap().taps, [14, 18, 22]);
        assert_eq!(Arch::named("vit-h-14"), None);
    }

    #[test]
    fn every_kind_of_nonsense_is_refused_by_name() {
        type Change = fn(&mut Arch);
        let cases: [(&str, Change); 15] = [
            ("embed_dim", |a| a.embed_dim = 0),
            ("vision layers", |a| a.vision.layers = usize::MAX),
            ("vision width", |a| a.vision.width = usize::MAX),
            ("text heads", |a| a.text.as_mut().unwrap().heads = 0),
            ("vocab_size", |a| a.text.as_mut().unwrap().vocab_size = 0),
            ("multiple of its 5 heads", |a| a.vision.heads = 5),
            ("smaller than patch_size", |a| a.vision.patch_size = a.vision.image_size + 1),
            ("patches", |a| (a.vision.image_size, a.vision.patch_size) = (8192, 1)),
            ("from 1 to", |a| a.taps = vec![0, 1]),
            ("from 1 to", |a| a.taps = vec![99]),
            ("without repeats", |a| a.taps = vec![2, 2]),
            ("alpha", |a| a.alpha = f32::NAN),
            ("family open_clip", |a| a.text = None),
            ("family open_clip", |a| a.vision.registers = 1),
            ("family open_clip", |a| a.vision.mlp = Mlp::SwiGlu),
        ];
        tiny().validate().unwrap();
        for (part, change) in cases {
            let mut arch = tiny();
            change(&mut arch);
            let error = arch.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(part), "{error} does not say {part:?}");
        }
    }
}
