//! DINOv2 (Oquab et al., 2024) under its official names: an image tower without a text tower or a projection.
//!
//! ```json
//! {"family": "dinov2", "image_size": 518, "patch_size": 14, "width": 384, "layers": 12, "heads": 6, "registers": 0,
//!  "mlp": "gelu", "mlp_width": 1536, "taps": [12]}
//! ```
//!
//! Defaults: heads of width 64, the official `mlp_width` for `gelu` or `swiglu`, the last block as the tap, and
//! ImageNet's pixels (`preprocess_cfg`, as in open_clip's files). `image_size` is that of the stored positions; other
//! grids interpolate them.

use serde::Serialize;

use super::{BlockLayout, Family, VitLayout};
use crate::error::{Error, ErrorKind, Result};
use crate::weights::arch::{Arch, Mlp, VisionArch};
use crate::weights::config::{PixelsJson, Section, pixels_of, refuse, taps_of};
use crate::weights::infer::{Shapes, unclear};
use crate::weights::table::{Rows, TensorSpec, Tower};

pub(super) static VIT: VitLayout = VitLayout {
    patch: "patch_embed.proj.weight",
    patch_bias: Some("patch_embed.proj.bias"),
    class: "cls_token",
    registers: Some("register_tokens"),
    positions: "pos_embed",
    pre_norm: None,
    blocks: "blocks.",
    block: BlockLayout {
        norm_1: "norm1",
        qkv: ["attn.qkv.weight", "attn.qkv.bias"],
        output: "attn.proj",
        norm_2: "norm2",
        mlp: ["mlp.fc1", "mlp.fc2"],
        gated_mlp: Some(["mlp.w12", "mlp.w3"]),
        scales: Some(["ls1.gamma", "ls2.gamma"]),
    },
    final_norm: "norm",
    projection: None,
    epsilon: 1e-6,
};

/// The token that replaced masked patches in training.
const MASK_TOKEN: &str = "mask_token";
/// Classifiers upon the encoder: timm's, Hugging Face's, and those of the official repository.
const CLASSIFIERS: [&str; 3] = ["head", "classifier", "linear_head"];
/// Heads of the official training, of some layers each.
const TRAINING_HEADS: [&str; 2] = ["dino_head.", "ibot_head."];
const HEAD_WIDTH: usize = 64;
/// Number of registers in the published models with registers.
const REGISTERS: usize = 4;

/// Letter, width, blocks and MLP of the published models. All have patches of 14 pixels and 518-pixel inputs.
const NAMED: [(&str, usize, usize, Mlp); 4] =
    [("s", 384, 12, Mlp::Gelu), ("b", 768, 12, Mlp::Gelu), ("l", 1024, 24, Mlp::Gelu), ("g", 1536, 40, Mlp::SwiGlu)];

fn published() -> impl Iterator<Item = (String, Arch)> {
    let model = |registers: usize, (letter, width, layers, mlp): (&str, usize, usize, Mlp)| {
        let suffix = if registers > 0 { "-reg4" } else { "" };
        let vision = VisionArch {
            image_size: 518,
            patch_size: 14,
            width,
            layers,
            heads: width / HEAD_WIDTH,
            registers,
            mlp,
            mlp_width: hidden_width(mlp, width),
            preprocessing: Family::Dinov2.preprocessing(),
            resnet: None,
        };
        (format!("dinov2-vit-{letter}-14{suffix}"), with_default_taps(vision))
    };
    [0, REGISTERS].into_iter().flat_map(move |registers| NAMED.map(|entry| model(registers, entry)))
}

pub(super) fn names() -> Vec<String> {
    published().map(|(name, _)| name).collect()
}

pub(super) fn named(name: &str) -> Option<Arch> {
    published().find(|(known, _)| known == name).map(|(_, arch)| arch)
}

/// The name of the published model with these sizes, regardless of taps and pixels.
pub(in crate::weights) fn name_of(arch: &Arch) -> Option<String> {
    let sizes = |arch: &Arch| VisionArch { preprocessing: Family::Dinov2.preprocessing(), ..arch.vision.clone() };
    published().find(|(_, known)| sizes(known) == sizes(arch)).map(|(name, _)| name)
}

/// The official width of an MLP's hidden layer: four times the width; for a gated MLP two thirds of that, rounded up to
/// a multiple of 8.
pub(crate) fn hidden_width(mlp: Mlp, width: usize) -> usize {
    let plain = width.saturating_mul(4);
    match mlp {
        Mlp::Gelu => plain,
        Mlp::SwiGlu => (plain.saturating_mul(2) / 3).next_multiple_of(8),
    }
}

fn with_default_taps(vision: VisionArch) -> Arch {
    Arch {
        family: Family::Dinov2,
        embed_dim: vision.width,
        taps: vec![vision.layers],
        vision,
        text: None,
        quick_gelu: false,
        alpha: 1.0,
    }
}

/// The shapes are the official ones, including leading dimensions of 1.
pub(super) fn towers(arch: &Arch) -> Vec<TensorSpec> {
    let v = &arch.vision;
    let mut rows = Rows::new(Tower::Vision);
    rows.affine("patch_embed.proj", &[v.width, 3, v.patch_size, v.patch_size]);
    rows.add(VIT.class, &[1, 1, v.width]);
    rows.add(VIT.positions, &[1, 1 + v.patches(), v.width]);
    if v.registers > 0 {
        rows.add("register_tokens", &[1, v.registers, v.width]);
    }
    rows.blocks(VIT.blocks, &VIT.block, v.layers, v.width, (v.mlp, v.mlp_width));
    rows.affine(VIT.final_norm, &[v.width]);
    rows.specs
}

pub(super) fn unused(arch: &Arch) -> Vec<TensorSpec> {
    let mut rows = Rows::new(Tower::Vision);
    rows.add(MASK_TOKEN, &[1, arch.vision.width]);
    rows.specs
}

pub(super) fn ignores(name: &str) -> bool {
    let is_classifier = |head: &str| name.strip_prefix(head).is_some_and(|field| matches!(field, ".weight" | ".bias"));
    name == MASK_TOKEN
        || CLASSIFIERS.iter().any(|head| is_classifier(head))
        || TRAINING_HEADS.iter().any(|head| name.starts_with(head))
}

/// Assumes what shapes do not show: heads of width 64, ImageNet's pixels, the last block as the tap.
pub(super) fn infer(shapes: &Shapes<'_>) -> Result<Arch> {
    let [width, _, patch_size, _] = shapes.dims(VIT.patch)?;
    let [_, tokens, _] = shapes.dims(VIT.positions)?;
    let grid = shapes.square_grid(VIT.positions, tokens)?;
    let registers = match VIT.registers {
        Some(name) if shapes.has(name) => shapes.dims::<3>(name)?[1],
        _ => 0,
    };
    if !shapes.has("blocks.0.ls1.gamma") {
        let why = "`blocks.0.ls1.gamma` is missing, so this is a vision transformer other than DINOv2";
        return Err(unclear(ErrorKind::Weights, why));
    }
    let (mlp, mlp_width) = if shapes.has("blocks.0.mlp.w3.weight") {
        (Mlp::SwiGlu, shapes.dims::<2>("blocks.0.mlp.w3.weight")?[1])
    } else {
        (Mlp::Gelu, shapes.dims::<2>("blocks.0.mlp.fc1.weight")?[0])
    };
    if width == 0 || !width.is_multiple_of(HEAD_WIDTH) {
        let why = format!("the width {width} is not a multiple of {HEAD_WIDTH}, so its heads cannot be known");
        return Err(unclear(ErrorKind::Config, &why));
    }
    Ok(with_default_taps(VisionArch {
        image_size: grid.saturating_mul(patch_size),
        patch_size,
        width,
        layers: shapes.layers(VIT.blocks),
        heads: width / HEAD_WIDTH,
        registers,
        mlp,
        mlp_width,
        preprocessing: Family::Dinov2.preprocessing(),
        resnet: None,
    }))
}

pub(super) fn read_config(root: &Section<'_>) -> Result<Arch> {
    let image_size = root.side("image_size")?;
    let width = root.count("width", None)?;
    let mlp = match root.optional("mlp") {
        None => Mlp::Gelu,
        Some(value) => Mlp::ALL.into_iter().find(|mlp| value == mlp.name()).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("mlp: expected \"gelu\" or \"swiglu\", found {value}"))
        })?,
    };
    let registers = match root.optional("registers").map(|value| (value, value.as_u64())) {
        None => 0,
        Some((_, Some(count))) => usize::try_from(count).unwrap_or(usize::MAX),
        Some((value, None)) => {
            return Err(Error::new(ErrorKind::Config, format!("registers: expected a whole number, found {value}")));
        }
    };
    let vision = VisionArch {
        image_size,
        patch_size: root.side("patch_size")?,
        width,
        layers: root.count("layers", None)?,
        heads: root.count("heads", Some((width / HEAD_WIDTH).max(1)))?,
        registers,
        mlp,
        mlp_width: root.count("mlp_width", Some(hidden_width(mlp, width)))?,
        preprocessing: pixels_of(root, image_size)?.unwrap_or(Family::Dinov2.preprocessing()),
        resnet: None,
    };
    let mut arch = with_default_taps(vision);
    if let Some(value) = root.optional("taps") {
        arch.taps = taps_of("taps", value)?;
    }
    refuse(root.refused(&[], &[]).collect(), "DINOv2's vision transformers")?;
    Ok(arch)
}

pub(super) fn write_config(arch: &Arch) -> String {
    let v = &arch.vision;
    let json = ModelJson {
        family: Family::Dinov2.name(),
        image_size: v.image_size,
        patch_size: v.patch_size,
        width: v.width,
        layers: v.layers,
        heads: v.heads,
        registers: v.registers,
        mlp: v.mlp.name(),
        mlp_width: v.mlp_width,
        taps: &arch.taps,
        preprocess_cfg: PixelsJson::unless(&v.preprocessing, &Family::Dinov2.preprocessing()),
    };
    serde_json::to_string(&json).expect("numbers and lists under string keys always serialise")
}

// A struct rather than a `Value`, whose key order depends on a feature that any crate may turn on.
#[derive(Serialize)]
struct ModelJson<'a> {
    family: &'static str,
    image_size: usize,
    patch_size: usize,
    width: usize,
    layers: usize,
    heads: usize,
    registers: usize,
    mlp: &'static str,
    mlp_width: usize,
    taps: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocess_cfg: Option<PixelsJson>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::weights::table::table;

    /// Parameters that the DINOv2 repository's models have, in millions to one place (mask token left out, 384 to 1536
    /// numbers).
    #[test]
    fn published_models_have_their_parameter_counts() {
        for (name, millions) in [("s", 22.1), ("b", 86.6), ("l", 304.4), ("g", 1136.5)] {
            let arch = named(&format!("dinov2-vit-{name}-14")).unwrap();
            let parameters: usize = table(&arch).iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
            let difference = (parameters as f64 / 1e6 - millions).abs();
            assert!(difference <= 0.05, "{name}: {parameters} parameters, expected {millions} M");
        }
    }

    #[test]
    fn configurations_round_trip_and_shapes_tell_the_rest() {
        for (name, arch) in published() {
            assert_eq!(Arch::from_json(&arch.to_json()).unwrap(), arch);
            assert_eq!(Arch::named(&name.to_uppercase()), Some(arch.clone()));
            assert_eq!(name_of(&Arch { taps: vec![3, 5], ..arch.clone() }), Some(name));
            let specs = table(&arch);
            let shapes: BTreeMap<_, _> = specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice())).collect();
            assert_eq!(Arch::infer(shapes.clone()).unwrap(), arch);
            let rest = shapes.into_iter().filter(|(name, _)| !name.ends_with("ls1.gamma"));
            assert!(Arch::infer(rest).unwrap_err().to_string().contains("ls1.gamma"));
        }
        let short =
            r#"{"family": "dinov2", "image_size": 112, "patch_size": 14, "width": 128, "layers": 3, "mlp": "swiglu"}"#;
        let arch = Arch::from_json(short).unwrap();
        assert_eq!((arch.vision.heads, arch.vision.mlp_width, &*arch.taps, arch.embed_dim), (2, 344, &[3][..], 128));
        assert_eq!(Arch::from_json(&arch.to_json()).unwrap(), arch);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let with = |change: &str| {
            let plain = r#""family": "dinov2", "image_size": 112, "patch_size": 14, "width": 128, "layers": 3"#;
            Arch::from_json(&format!("{{{plain}, {change}}}")).unwrap_err().to_string()
        };
        for (change, part) in [
            (r#""mlp": "relu""#, "mlp: expected \"gelu\" or \"swiglu\", found \"relu\""),
            (r#""registers": -1"#, "registers: expected a whole number"),
            (r#""registers": 1000"#, "registers"),
            (r#""heads": 3"#, "multiple of its 3 heads"),
            (r#""taps": [4]"#, "blocks from 1 to 3"),
            (r#""rope": true"#, "rope = true"),
            (r#""preprocess_cfg": {"interpolation": "nearest"}"#, "preprocess_cfg.interpolation"),
        ] {
            assert!(with(change).contains(part), "{} does not say {part:?}", with(change));
        }
        let other = Arch::from_json(r#"{"family": "dinov9"}"#).unwrap_err().to_string();
        assert!(other.contains("expected open_clip or dinov2"), "{other}");
    }
}
