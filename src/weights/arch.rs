//! The architecture of a model: the numbers that determine every tensor's shape, and the method's taps and alpha.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::text::VOCABULARY;
use crate::view::{Fit, Plan, Preprocessing};

/// A CLIP model with InCTRL's heads.
#[derive(Clone, Debug, PartialEq)]
pub struct Arch {
    /// Width of the joint image-text space, E.
    pub embed_dim: usize,
    /// The image tower.
    pub vision: VisionArch,
    /// The text tower.
    pub text: TextArch,
    /// Whether both towers use x * sigmoid(1.702 x) in place of the exact GELU.
    pub quick_gelu: bool,
    /// Vision blocks whose patch tokens are compared (equation 1), counted from 1, ascending, each once.
    pub taps: Vec<usize>,
    /// Weight of the maximum patch residual in the final score (after equation 7); the published code has 1.
    pub alpha: f32,
}

/// The vision transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionArch {
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Side of a square patch in pixels.
    pub patch_size: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Hidden width of a block's MLP.
    pub mlp_width: usize,
    /// What the tower was trained to see of a picture.
    pub preprocessing: Preprocessing,
}

impl VisionArch {
    /// The plan that brings pictures of `width` x `height` pixels to this tower's input.
    ///
    /// # Errors
    /// As [`Plan::with`].
    pub fn plan(&self, width: usize, height: usize, fit: Fit) -> Result<Plan> {
        Plan::with(width, height, self.image_size, fit, &self.preprocessing)
    }

    /// Patches along one side; pixels beyond a whole number of patches are unused, as in a strided convolution.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Patches of an image, N.
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Tokens of an image: the class token and its patches.
    pub fn tokens(&self) -> usize {
        1 + self.patches()
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

/// Name, then embed_dim, image size, patch size, vision width and layers, text width: open_clip's model files. All have
/// heads of 64, an MLP of 4 times the width, and 12 text blocks on 77 positions of a 49408-token vocabulary.
const NAMED: [(&str, [usize; 6]); 5] = [
    ("vit-b-32", [512, 224, 32, 768, 12, 512]),
    ("vit-b-16", [512, 224, 16, 768, 12, 512]),
    ("vit-b-16-plus-240", [640, 240, 16, 896, 12, 640]),
    ("vit-l-14", [768, 224, 14, 1024, 24, 768]),
    ("vit-l-14-336", [768, 336, 14, 1024, 24, 768]),
];

/// The head width that open_clip assumes where a vision configuration names none, and that inference from shapes takes.
pub(super) const HEAD_WIDTH: usize = 64;

impl Arch {
    /// The architecture called `name` (case does not matter), with default taps, alpha 1 and exact GELU.
    pub fn named(name: &str) -> Option<Arch> {
        let (_, [embed_dim, image_size, patch_size, width, layers, text_width]) =
            NAMED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(Arch {
            embed_dim: *embed_dim,
            vision: VisionArch {
                image_size: *image_size,
                patch_size: *patch_size,
                width: *width,
                layers: *layers,
                heads: width / HEAD_WIDTH,
                mlp_width: 4 * width,
                preprocessing: Preprocessing::CLIP,
            },
            text: TextArch {
                context_length: 77,
                vocab_size: 49408,
                width: *text_width,
                heads: text_width / HEAD_WIDTH,
                layers: 12,
                mlp_width: 4 * text_width,
            },
            quick_gelu: false,
            taps: default_taps(*layers)?,
            alpha: 1.0,
        })
    }

    /// The names that [`Arch::named`] knows.
    pub fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, _)| *name).collect()
    }

    /// Checks that the numbers describe a model that can be built and that no shape derived from them overflows.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming every value that is out of range and its range.
    pub fn validate(&self) -> Result<()> {
        let mut wrong = Vec::new();
        let (v, t) = (&self.vision, &self.text);
        for (name, value, low, high) in [
            // The adapter narrows the embedding to a quarter.
            ("embed_dim", self.embed_dim, 4, 16_384),
            ("vision image_size", v.image_size, 1, 8_192),
            ("vision patch_size", v.patch_size, 1, 1_024),
            ("vision width", v.width, 1, 16_384),
            ("vision layers", v.layers, 1, 256),
            ("vision heads", v.heads, 1, 16_384),
            ("vision MLP width", v.mlp_width, 1, 131_072),
            ("text context_length", t.context_length, 1, 8_192),
            ("text vocab_size", t.vocab_size, 1, VOCABULARY),
            ("text width", t.width, 1, 16_384),
            ("text layers", t.layers, 1, 256),
            ("text heads", t.heads, 1, 16_384),
            ("text MLP width", t.mlp_width, 1, 131_072),
        ] {
            if !(low..=high).contains(&value) {
                wrong.push(format!("{name} is {value}, expected {low} to {high}"));
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

    /// Relations between values that are each in range (so that nothing here divides by zero or overflows).
    fn validate_relations(&self, wrong: &mut Vec<String>) {
        const MAX_PATCHES: usize = 65_536;
        let (v, t) = (&self.vision, &self.text);
        for (tower, width, heads) in [("vision", v.width, v.heads), ("text", t.width, t.heads)] {
            if width % heads != 0 {
                wrong.push(format!("{tower} width {width} is not a multiple of its {heads} heads"));
            }
        }
        if v.image_size < v.patch_size {
            wrong.push(format!("image_size {} is smaller than patch_size {}", v.image_size, v.patch_size));
        } else if v.patches() > MAX_PATCHES {
            wrong.push(format!("an image has {} patches, expected at most {MAX_PATCHES}", v.patches()));
        }
        if self.taps.is_empty() {
            wrong.push("taps is empty, expected at least one block".into());
        }
        if self.taps.iter().any(|tap| !(1..=v.layers).contains(tap)) {
            wrong.push(format!("taps {:?}: expected blocks from 1 to {} (counted from 1)", self.taps, v.layers));
        }
        if !self.taps.is_sorted_by(|a, b| a < b) {
            wrong.push(format!("taps {:?}: expected ascending blocks, each once", self.taps));
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
    /// Four lines: image tower, pixels, text tower, method.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (v, t) = (&self.vision, &self.text);
        writeln!(
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
        writeln!(f, "pixels: {}", v.preprocessing)?;
        writeln!(
            f,
            "text: {} positions, {} tokens, {} blocks of width {}, {} heads, MLP {}",
            t.context_length, t.vocab_size, t.layers, t.width, t.heads, t.mlp_width
        )?;
        let gelu = if self.quick_gelu { "quick" } else { "exact" };
        write!(f, "embedding {}, {gelu} GELU, taps {:?}, alpha {}", self.embed_dim, self.taps, self.alpha)
    }
}

/// The published taps of a vision tower of `layers` blocks; none are published for other depths.
pub(super) fn default_taps(layers: usize) -> Option<Vec<usize>> {
    match layers {
        12 => Some(vec![7, 9, 11]),
        24 => Some(vec![14, 18, 22]),
        _ => None,
    }
}

/// The error for a depth without published taps.
pub(super) fn no_default_taps(layers: usize) -> Error {
    let message = format!(
        "no default taps for a vision tower of {layers} blocks (only for 12 and 24): add {{\"inctrl\": {{\"taps\": \
         [..]}}}} with block numbers from 1 to {layers} to the model's JSON configuration"
    );
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::tiny;

    #[test]
    fn named_models_are_valid_and_found_in_any_case() {
        for name in Arch::names() {
            Arch::named(name).unwrap().validate().unwrap();
        }
        assert_eq!(Arch::named("ViT-B-16-plus-240").unwrap().vision.tokens(), 226);
        assert_eq!(Arch::named("ViT-B-16-plus-240").unwrap().vision.heads, 14);
        assert_eq!(Arch::named("vit-l-14").unwrap().taps, [14, 18, 22]);
        assert_eq!(Arch::named("vit-h-14"), None);
    }

    #[test]
    fn every_kind_of_nonsense_is_refused_by_name() {
        type Change = fn(&mut Arch);
        let cases: [(&str, Change); 13] = [
            ("embed_dim", |a| a.embed_dim = 0),
            ("vision layers", |a| a.vision.layers = usize::MAX),
            ("vision width", |a| a.vision.width = usize::MAX),
            ("text heads", |a| a.text.heads = 0),
            ("vocab_size", |a| a.text.vocab_size = 0),
            ("multiple of its 5 heads", |a| a.vision.heads = 5),
            ("smaller than patch_size", |a| a.vision.patch_size = a.vision.image_size + 1),
            ("patches", |a| (a.vision.image_size, a.vision.patch_size) = (8192, 1)),
            ("at least one", |a| a.taps.clear()),
            ("from 1 to", |a| a.taps = vec![0, 1]),
            ("from 1 to", |a| a.taps = vec![99]),
            ("each once", |a| a.taps = vec![2, 2]),
            ("alpha", |a| a.alpha = f32::NAN),
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
