//! ResNets in torchvision's layout (He et al., CVPR 2016; wide: Zagoruyko and Komodakis, BMVC 2016): an image tower of
//! convolutions in four stages, without a text tower.
//!
//! ```json
//! {"family": "resnet", "image_size": 224, "blocks": [3, 4, 6, 3], "bottleneck": true, "stem": 64,
//!  "inner": [128, 256, 512, 1024], "widths": [256, 512, 1024, 2048]}
//! ```
//!
//! `inner` is the width of a bottleneck's middle convolution; a plain block has none. `image_size` is the side of the
//! square that pictures were cropped to in training, after their shorter side was resized to 8/7 of it: 256 and 224.
//! Default pixels are torchvision's: bilinear, and ImageNet's mean and standard deviation (`preprocess_cfg`, as in
//! open_clip's files).

use serde::Serialize;
use serde_json::Value;

use super::Family;
use crate::error::{Error, ErrorKind, Result};
use crate::weights::arch::{Arch, Mlp, ResNetArch, STAGES, VisionArch};
use crate::weights::config::{PixelsJson, Section, pixels_of, refuse};
use crate::weights::infer::{Shapes, unclear};
use crate::weights::table::{Rows, TensorSpec, Tower};

/// The first convolution, by which the family is recognised.
pub(super) const STEM: &str = "conv1.weight";
/// Side of the first convolution.
const STEM_SIDE: usize = 7;
/// Pixels of a side of a cell of the first stage.
const CELL: usize = 4;
const IMAGE_SIZE: usize = 224;

/// Name, blocks of each stage, and width of a bottleneck's middle in the first stage.
const NAMED: [(&str, [usize; STAGES], Option<usize>); 2] =
    [("resnet18", [2, 2, 2, 2], None), ("wide-resnet50-2", [3, 4, 6, 3], Some(128))];

fn published() -> impl Iterator<Item = (String, Arch)> {
    NAMED.into_iter().map(|(name, blocks, inner)| {
        let doubled = |first: usize| [first, 2 * first, 4 * first, 8 * first];
        let widths = doubled(if inner.is_some() { 256 } else { 64 });
        (name.to_owned(), with(IMAGE_SIZE, ResNetArch { stem: 64, blocks, inner: inner.map(doubled), widths }))
    })
}

pub(super) fn names() -> Vec<String> {
    published().map(|(name, _)| name).collect()
}

/// torchvision's own names have underscores.
pub(super) fn named(name: &str) -> Option<Arch> {
    let name = name.replace('_', "-");
    published().find(|(known, _)| *known == name).map(|(_, arch)| arch)
}

/// The name of the published model with these sizes, regardless of the input's size and pixels.
pub(in crate::weights) fn name_of(arch: &Arch) -> Option<String> {
    published().find(|(_, known)| known.vision.resnet == arch.vision.resnet).map(|(name, _)| name)
}

fn with(image_size: usize, resnet: ResNetArch) -> Arch {
    let width = resnet.widths[STAGES - 1];
    Arch {
        family: Family::ResNet,
        embed_dim: width,
        vision: VisionArch {
            image_size,
            patch_size: CELL,
            width,
            layers: STAGES,
            heads: 1,
            registers: 0,
            mlp: Mlp::Gelu,
            mlp_width: width,
            preprocessing: Family::ResNet.preprocessing(),
            resnet: Some(resnet),
        },
        text: None,
        quick_gelu: false,
        taps: Vec::new(),
        alpha: 1.0,
    }
}

/// A convolution without bias, and the normalisation after it.
pub struct ConvNames {
    /// The weight `[out, in, side, side]`.
    pub weight: String,
    /// The normalisation, `[out]`: `weight`, `bias`, `running_mean`, `running_var`.
    pub norm: String,
    /// Outputs, inputs and side.
    pub shape: [usize; 3],
}

/// A block: `relu(x + f(x))`, where `f` is its convolutions with rectifiers between them. `x` is projected where the
/// block changes the grid or the width.
pub struct ResNetBlock {
    /// Cells of its input, in each direction, for one of its output.
    pub stride: usize,
    /// Two convolutions of side 3, or three of sides 1, 3 and 1.
    pub convs: Vec<ConvNames>,
    /// Which of them has the stride.
    pub strided: usize,
    /// The projection, of side 1.
    pub projection: Option<ConvNames>,
}

/// The convolution of the stem.
pub fn stem(resnet: &ResNetArch) -> ConvNames {
    ConvNames { weight: STEM.to_owned(), norm: "bn1".to_owned(), shape: [resnet.stem, 3, STEM_SIDE] }
}

/// The blocks of stage `stage`, counted from 0.
pub fn stage(resnet: &ResNetArch, stage: usize) -> Vec<ResNetBlock> {
    let width = resnet.widths[stage];
    let before = if stage == 0 { resnet.stem } else { resnet.widths[stage - 1] };
    let block = |i: usize| {
        let (inputs, stride) = if i > 0 { (width, 1) } else { (before, if stage == 0 { 1 } else { 2 }) };
        let prefix = format!("layer{}.{i}.", stage + 1);
        let conv = |n: usize, shape| ConvNames {
            weight: format!("{prefix}conv{n}.weight"),
            norm: format!("{prefix}bn{n}"),
            shape,
        };
        // torchvision's bottleneck has the stride in its middle, not in its first convolution.
        let (convs, strided) = match resnet.inner.map(|inner| inner[stage]) {
            Some(inner) => {
                (vec![conv(1, [inner, inputs, 1]), conv(2, [inner, inner, 3]), conv(3, [width, inner, 1])], 1)
            }
            None => (vec![conv(1, [width, inputs, 3]), conv(2, [width, width, 3])], 0),
        };
        let projection = (stride > 1 || inputs != width).then(|| ConvNames {
            weight: format!("{prefix}downsample.0.weight"),
            norm: format!("{prefix}downsample.1"),
            shape: [width, inputs, 1],
        });
        ResNetBlock { stride, convs, strided, projection }
    };
    (0..resnet.blocks[stage]).map(block).collect()
}

/// Every convolution, in the order of computation.
fn all(resnet: &ResNetArch) -> Vec<ConvNames> {
    let blocks = (0..STAGES).flat_map(|at| stage(resnet, at));
    let convs = blocks.flat_map(|block| block.convs.into_iter().chain(block.projection));
    std::iter::once(stem(resnet)).chain(convs).collect()
}

pub(super) fn towers(arch: &Arch) -> Vec<TensorSpec> {
    let mut rows = Rows::new(Tower::Vision);
    for ConvNames { weight, norm, shape: [outputs, inputs, side] } in arch.vision.resnet.iter().flat_map(all) {
        rows.add(weight, &[outputs, inputs, side, side]);
        rows.batch_norm(&norm, outputs);
    }
    rows.specs
}

/// The counters of the normalisations.
pub(super) fn unused(arch: &Arch) -> Vec<TensorSpec> {
    let mut rows = Rows::new(Tower::Vision);
    for conv in arch.vision.resnet.iter().flat_map(all) {
        rows.add(format!("{}.num_batches_tracked", conv.norm), &[]);
    }
    rows.specs
}

/// Counters, and the classifier.
pub(super) fn ignores(name: &str) -> bool {
    name.ends_with(".num_batches_tracked") || name == "fc.weight" || name == "fc.bias"
}

/// Assumes what shapes do not show: inputs of 224 pixels, and torchvision's preprocessing.
pub(super) fn infer(shapes: &Shapes<'_>) -> Result<Arch> {
    let [stem, _, side, _] = shapes.dims(STEM)?;
    if side != STEM_SIDE {
        let why = format!("`{STEM}` has a side of {side}, expected {STEM_SIDE}, as in torchvision's ResNets");
        return Err(unclear(ErrorKind::Weights, &why).of_tensor(STEM));
    }
    let bottleneck = shapes.has("layer1.0.conv3.weight");
    let last = if bottleneck { "conv3" } else { "conv2" };
    let (mut blocks, mut inner, mut widths) = ([0; STAGES], [0; STAGES], [0; STAGES]);
    for at in 0..STAGES {
        let prefix = format!("layer{}.", at + 1);
        [widths[at], _, _, _] = shapes.dims(&format!("{prefix}0.{last}.weight"))?;
        [inner[at], _, _, _] = shapes.dims(&format!("{prefix}0.conv1.weight"))?;
        blocks[at] = shapes.layers(&prefix);
    }
    Ok(with(IMAGE_SIZE, ResNetArch { stem, blocks, inner: bottleneck.then_some(inner), widths }))
}

pub(super) fn read_config(root: &Section<'_>) -> Result<Arch> {
    let stages = |key: &'static str| -> Result<Option<[usize; STAGES]>> {
        let Some(value) = root.optional(key) else { return Ok(None) };
        let wrong = || {
            let message = format!("{key}: expected four positive whole numbers, one for each stage, found {value}");
            Error::new(ErrorKind::Config, message)
        };
        let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let numbers: Option<Vec<usize>> = value.as_array().ok_or_else(wrong)?.iter().map(number).collect();
        numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(wrong).map(Some)
    };
    let needed = |key: &'static str| {
        let missing = || Error::new(ErrorKind::Config, format!("{key} is missing, expected a number for each stage"));
        stages(key)?.ok_or_else(missing)
    };
    let image_size = root.side("image_size")?;
    let bottleneck = match root.optional("bottleneck") {
        None => false,
        Some(Value::Bool(bottleneck)) => *bottleneck,
        Some(value) => {
            return Err(Error::new(ErrorKind::Config, format!("bottleneck: expected true or false, found {value}")));
        }
    };
    let resnet = ResNetArch {
        stem: root.count("stem", Some(64))?,
        blocks: needed("blocks")?,
        inner: if bottleneck { Some(needed("inner")?) } else { None },
        widths: needed("widths")?,
    };
    let mut arch = with(image_size, resnet);
    if let Some(pixels) = pixels_of(root, image_size)? {
        arch.vision.preprocessing = pixels;
    }
    refuse(root.refused(&[], &[]).collect(), "torchvision's ResNets")?;
    Ok(arch)
}

pub(super) fn write_config(arch: &Arch) -> String {
    let resnet = arch.vision.resnet.unwrap_or_default();
    let json = ModelJson {
        family: Family::ResNet.name(),
        image_size: arch.vision.image_size,
        blocks: resnet.blocks,
        bottleneck: resnet.inner.is_some(),
        stem: resnet.stem,
        inner: resnet.inner,
        widths: resnet.widths,
        preprocess_cfg: PixelsJson::unless(&arch.vision.preprocessing, &Family::ResNet.preprocessing()),
    };
    serde_json::to_string(&json).expect("numbers and lists under string keys always serialise")
}

#[derive(Serialize)]
struct ModelJson {
    family: &'static str,
    image_size: usize,
    blocks: [usize; STAGES],
    bottleneck: bool,
    stem: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    inner: Option<[usize; STAGES]>,
    widths: [usize; STAGES],
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocess_cfg: Option<PixelsJson>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::weights::table::table;

    /// Parameters that torchvision's models have, less those of the classifier (512 or 2048 inputs, 1000 classes).
    #[test]
    fn published_models_have_their_parameter_counts() {
        for (name, parameters) in [("resnet18", 11_689_512 - 513_000), ("wide_resnet50_2", 68_883_240 - 2_049_000)] {
            let specs = table(&named(name).unwrap());
            let trained = specs.iter().filter(|spec| !spec.name.contains("running"));
            let found: usize = trained.map(|spec| spec.shape.iter().product::<usize>()).sum();
            assert_eq!(found, parameters, "{name}");
        }
    }

    #[test]
    fn configurations_round_trip_and_shapes_tell_the_rest() {
        for (name, arch) in published() {
            arch.validate().unwrap();
            assert_eq!(Arch::from_json(&arch.to_json()).unwrap(), arch);
            assert_eq!(Arch::named(&name.to_uppercase()), Some(arch.clone()));
            assert_eq!(name_of(&arch).as_ref(), Some(&name));
            let specs = table(&arch);
            let shapes: BTreeMap<_, _> = specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice())).collect();
            assert_eq!(Arch::infer(shapes.clone()).unwrap(), arch);
            let rest = shapes.into_iter().filter(|(name, _)| *name != "layer3.0.conv1.weight");
            assert!(Arch::infer(rest).unwrap_err().to_string().contains("layer3.0.conv1.weight"));
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let plain = r#""family": "resnet", "image_size": 96, "widths": [16, 32, 64, 128]"#;
        for (rest, part) in [
            (r#""stem": 16"#, "blocks is missing"),
            (r#""blocks": [2, 2, 2]"#, "four positive whole numbers"),
            (r#""blocks": [2, 0, 2, 2]"#, "four positive whole numbers"),
            (r#""blocks": [2, 2, 2, 2], "bottleneck": 1"#, "true or false"),
            (r#""blocks": [2, 2, 2, 2], "bottleneck": true"#, "inner is missing"),
            (r#""blocks": [2, 2, 2, 2], "groups": 32"#, "groups = 32"),
            (r#""blocks": [2, 2, 2, 900]"#, "blocks"),
            (r#""blocks": [2, 2, 2, 2], "stem": 100000"#, "stem"),
        ] {
            let error = Arch::from_json(&format!("{{{plain}, {rest}}}")).unwrap_err().to_string();
            assert!(error.contains(part), "{error} does not say {part:?}");
        }
    }
}
