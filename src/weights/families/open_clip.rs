//! CLIP in the layout of open_clip and of the published InCTRL checkpoint.
//!
//! ```json
//! {"embed_dim": 640, "quick_gelu": false,
//!  "vision_cfg": {"image_size": 240, "layers": 12, "width": 896, "patch_size": 16, "head_width": 64, "mlp_ratio": 4.0},
//!  "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 640, "heads": 10, "layers": 12, "mlp_ratio": 4.0},
//!  "inctrl": {"taps": [7, 9, 11], "alpha": 1.0},
//!  "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}}
//! ```

use serde::Serialize;

use super::{BlockLayout, Family, VitLayout};
use crate::error::{ErrorKind, Result};
use crate::weights::arch::{Arch, Mlp, TextArch, VisionArch};
use crate::weights::config::{PixelsJson, Section, mlp_ratio, pixels_of, refuse, taps_of};
use crate::weights::infer::{Shapes, unclear};
use crate::weights::table::{Rows, TensorSpec, Tower};

/// The image tower's tensors. The blocks of the text tower have the same names.
pub(super) static VIT: VitLayout = VitLayout {
    patch: "visual.conv1.weight",
    patch_bias: None,
    class: "visual.class_embedding",
    registers: None,
    positions: "visual.positional_embedding",
    pre_norm: Some("visual.ln_pre"),
    blocks: "visual.transformer.resblocks.",
    block: BlockLayout {
        norm_1: "ln_1",
        qkv: ["attn.in_proj_weight", "attn.in_proj_bias"],
        output: "attn.out_proj",
        norm_2: "ln_2",
        mlp: ["mlp.c_fc", "mlp.c_proj"],
        gated_mlp: None,
        scales: None,
    },
    final_norm: "visual.ln_post",
    projection: Some("visual.proj"),
    epsilon: 1e-5,
};

/// Options that change nothing at inference, with any value: initial values of trained scalars, storage,
/// regularisation, extra outputs, and details of options that are refused themselves.
const HARMLESS: [&str; 19] = [
    "attn_pooler_heads",
    "attn_pooler_queries",
    "cast_dtype",
    "eos_id",
    "hf_model_pretrained",
    "hf_pooler_type",
    "hf_proj_type",
    "init_logit_bias",
    "init_logit_scale",
    "nonscalar_logit_scale",
    "output_tokens",
    "pad_id",
    "patch_dropout",
    "timm_drop",
    "timm_drop_path",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
];

/// Options that describe plain CLIP when they have this value: section, key, value.
const PLAIN: [(&str, &str, &str); 4] = [
    ("vision_cfg.", "pool_type", "tok"),
    ("vision_cfg.", "pos_embed_type", "learnable"),
    ("text_cfg.", "pool_type", "argmax"),
    ("text_cfg.", "proj_type", "linear"),
];

/// The default head width of open_clip's vision configurations, also used when inferring from shapes.
const HEAD_WIDTH: usize = 64;

/// Name, then embed_dim, image size, patch size, vision width and layers, text width: open_clip's model files. All have
/// heads of width 64, an MLP of 4 times the width, and 12 text blocks with 77 positions and a vocabulary of 49408
/// tokens.
const NAMED: [(&str, [usize; 6]); 5] = [
    ("vit-b-32", [512, 224, 32, 768, 12, 512]),
    ("vit-b-16", [512, 224, 16, 768, 12, 512]),
    ("vit-b-16-plus-240", [640, 240, 16, 896, 12, 640]),
    ("vit-l-14", [768, 224, 14, 1024, 24, 768]),
    ("vit-l-14-336", [768, 336, 14, 1024, 24, 768]),
];

pub(super) fn names() -> Vec<String> {
    NAMED.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// With default taps, alpha 1 and exact GELU.
pub(super) fn named(name: &str) -> Option<Arch> {
    let (_, [embed_dim, image_size, patch_size, width, layers, text_width]) =
        NAMED.iter().find(|(known, _)| *known == name)?;
    Some(Arch {
        family: Family::OpenClip,
        embed_dim: *embed_dim,
        vision: VisionArch {
            image_size: *image_size,
            patch_size: *patch_size,
            width: *width,
            layers: *layers,
            heads: width / HEAD_WIDTH,
            registers: 0,
            mlp: Mlp::Gelu,
            mlp_width: 4 * width,
            preprocessing: Family::OpenClip.preprocessing(),
            resnet: None,
        },
        text: Some(TextArch {
            context_length: 77,
            vocab_size: 49408,
            width: *text_width,
            heads: text_width / HEAD_WIDTH,
            layers: 12,
            mlp_width: 4 * text_width,
        }),
        quick_gelu: false,
        taps: published_taps(*layers),
        alpha: 1.0,
    })
}

/// The published taps of a vision tower of `layers` blocks; none for other depths.
fn published_taps(layers: usize) -> Vec<usize> {
    match layers {
        12 => vec![7, 9, 11],
        24 => vec![14, 18, 22],
        _ => Vec::new(),
    }
}

/// Linear layers are `[out, in]`, the projections into the joint space `[in, out]` (without a bias), as in open_clip.
pub(super) fn towers(arch: &Arch) -> Vec<TensorSpec> {
    let (v, embed) = (&arch.vision, arch.embed_dim);
    let mut rows = Rows::new(Tower::Vision);
    rows.add(VIT.patch, &[v.width, 3, v.patch_size, v.patch_size]);
    rows.add(VIT.class, &[v.width]);
    rows.add(VIT.positions, &[v.tokens(), v.width]);
    rows.affine("visual.ln_pre", &[v.width]);
    rows.blocks(VIT.blocks, &VIT.block, v.layers, v.width, (v.mlp, v.mlp_width));
    rows.affine(VIT.final_norm, &[v.width]);
    rows.add("visual.proj", &[v.width, embed]);

    let Some(t) = &arch.text else { return rows.specs };
    rows.tower = Tower::Text;
    rows.add("token_embedding.weight", &[t.vocab_size, t.width]);
    rows.add("positional_embedding", &[t.context_length, t.width]);
    rows.blocks("transformer.resblocks.", &VIT.block, t.layers, t.width, (Mlp::Gelu, t.mlp_width));
    rows.affine("ln_final", &[t.width]);
    rows.add("text_projection", &[t.width, embed]);
    rows.specs
}

pub(super) fn unused() -> Vec<TensorSpec> {
    let mut rows = Rows::new(Tower::Text);
    rows.add("logit_scale", &[]);
    rows.specs
}

/// CLIP's `logit_scale` and `attn_mask`, and `bn1` and the batch counters of InCTRL's heads.
pub(super) fn ignores(name: &str) -> bool {
    name == "logit_scale"
        || name == "attn_mask"
        || name.ends_with(".num_batches_tracked")
        || name.starts_with("diff_head.bn1.")
        || name.starts_with("diff_head_ref.bn1.")
}

/// Assumes what shapes do not show: heads of width 64 in both towers, exact GELU (OpenAI's own weights need a
/// configuration with `quick_gelu`), an image side that is a whole number of patches, CLIP's preprocessing, the
/// published taps, alpha 1.
pub(super) fn infer(shapes: &Shapes<'_>) -> Result<Arch> {
    let [width, _, patch_size, _] = shapes.dims(VIT.patch)?;
    let [tokens, _] = shapes.dims(VIT.positions)?;
    let grid = shapes.square_grid(VIT.positions, tokens)?;
    let [_, embed_dim] = shapes.dims("visual.proj")?;
    let [vision_mlp, _] = shapes.dims("visual.transformer.resblocks.0.mlp.c_fc.weight")?;
    let [vocab_size, text_width] = shapes.dims("token_embedding.weight")?;
    let [context_length, _] = shapes.dims("positional_embedding")?;
    let [text_mlp, _] = shapes.dims("transformer.resblocks.0.mlp.c_fc.weight")?;
    let layers = shapes.layers(VIT.blocks);
    let heads = |tower: &str, width: usize| {
        if width == 0 || !width.is_multiple_of(HEAD_WIDTH) {
            let why =
                format!("the {tower} width {width} is not a multiple of {HEAD_WIDTH}, so its heads cannot be known");
            return Err(unclear(ErrorKind::Config, &why));
        }
        Ok(width / HEAD_WIDTH)
    };
    Ok(Arch {
        family: Family::OpenClip,
        embed_dim,
        vision: VisionArch {
            image_size: grid.saturating_mul(patch_size),
            patch_size,
            width,
            layers,
            heads: heads("vision", width)?,
            registers: 0,
            mlp: Mlp::Gelu,
            mlp_width: vision_mlp,
            preprocessing: Family::OpenClip.preprocessing(),
            resnet: None,
        },
        text: Some(TextArch {
            context_length,
            vocab_size,
            width: text_width,
            heads: heads("text", text_width)?,
            layers: shapes.layers("transformer.resblocks."),
            mlp_width: text_mlp,
        }),
        quick_gelu: false,
        taps: published_taps(layers),
        alpha: 1.0,
    })
}

/// open_clip's model JSON with the optional section `inctrl: {"taps": [..], "alpha": 1}`.
///
/// A configuration that open_clip would compute differently must not run as plain CLIP. So every key is either read, or
/// known to change nothing (the lists above), or switched off (`null`, `false`, `{}`), or an error that names it.
pub(super) fn read_config(root: &Section<'_>) -> Result<Arch> {
    let (vision, text) = (root.section("vision_cfg")?, root.section("text_cfg")?);
    let inctrl = root.optional("inctrl").map(|value| Section::new("inctrl.", value)).transpose()?;

    let image_size = vision.side("image_size")?;
    let preprocessing = pixels_of(root, image_size)?.unwrap_or(Family::OpenClip.preprocessing());
    let width = vision.count("width", None)?;
    let head_width = vision.count("head_width", Some(HEAD_WIDTH))?;
    let vision_arch = VisionArch {
        image_size,
        patch_size: vision.side("patch_size")?,
        width,
        layers: vision.count("layers", None)?,
        heads: width / head_width,
        registers: 0,
        mlp: Mlp::Gelu,
        mlp_width: vision.mlp_width(width)?,
        preprocessing,
        resnet: None,
    };
    let width = text.count("width", None)?;
    let text_arch = TextArch {
        context_length: text.count("context_length", Some(77))?,
        vocab_size: text.count("vocab_size", Some(49408))?,
        width,
        heads: text.count("heads", None)?,
        layers: text.count("layers", None)?,
        mlp_width: text.mlp_width(width)?,
    };
    let taps = match inctrl.as_ref().and_then(|section| section.optional("taps")) {
        Some(value) => taps_of("inctrl.taps", value)?,
        None => published_taps(vision_arch.layers),
    };
    let arch = Arch {
        family: Family::OpenClip,
        embed_dim: root.count("embed_dim", None)?,
        vision: vision_arch,
        text: Some(text_arch),
        quick_gelu: root.flag("quick_gelu")?,
        taps,
        alpha: inctrl.as_ref().map_or(Ok(1.0), |section| section.number("alpha", 1.0))? as f32,
    };
    let sections = [Some(root), Some(&vision), Some(&text), inctrl.as_ref()];
    let refused = sections.into_iter().flatten().flat_map(|section| section.refused(&HARMLESS, &PLAIN)).collect();
    refuse(refused, "plain CLIP vision transformers")?;
    Ok(arch)
}

pub(super) fn write_config(arch: &Arch) -> String {
    let v = &arch.vision;
    let json = ModelJson {
        embed_dim: arch.embed_dim,
        quick_gelu: arch.quick_gelu,
        vision_cfg: VisionJson {
            image_size: v.image_size,
            layers: v.layers,
            width: v.width,
            patch_size: v.patch_size,
            head_width: v.width.checked_div(v.heads).unwrap_or(0),
            mlp_ratio: mlp_ratio(v.width, v.mlp_width),
        },
        text_cfg: arch.text.as_ref().map(|t| TextJson {
            context_length: t.context_length,
            vocab_size: t.vocab_size,
            width: t.width,
            heads: t.heads,
            layers: t.layers,
            mlp_ratio: mlp_ratio(t.width, t.mlp_width),
        }),
        inctrl: InctrlJson { taps: &arch.taps, alpha: arch.alpha },
        preprocess_cfg: PixelsJson::unless(&v.preprocessing, &Family::OpenClip.preprocessing()),
    };
    serde_json::to_string(&json).expect("numbers, flags and lists under string keys always serialise")
}

// Structs rather than a `Value`, whose key order depends on a feature that any crate may turn on.
#[derive(Serialize)]
struct ModelJson<'a> {
    embed_dim: usize,
    quick_gelu: bool,
    vision_cfg: VisionJson,
    text_cfg: Option<TextJson>,
    inctrl: InctrlJson<'a>,
    /// Absent where it is CLIP's, so that a CLIP model's identity does not depend on whether it is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocess_cfg: Option<PixelsJson>,
}

#[derive(Serialize)]
struct VisionJson {
    image_size: usize,
    layers: usize,
    width: usize,
    patch_size: usize,
    head_width: usize,
    mlp_ratio: f64,
}

#[derive(Serialize)]
struct TextJson {
    context_length: usize,
    vocab_size: usize,
    width: usize,
    heads: usize,
    layers: usize,
    mlp_ratio: f64,
}

#[derive(Serialize)]
struct InctrlJson<'a> {
    #[serde(skip_serializing_if = "<[usize]>::is_empty")]
    taps: &'a [usize],
    alpha: f32,
}
