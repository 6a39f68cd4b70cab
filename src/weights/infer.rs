//! The architecture from tensor shapes alone, where no configuration is to be had.

use std::collections::HashMap;

use super::arch::{Arch, HEAD_WIDTH, TextArch, VisionArch, default_taps, no_default_taps};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::shape_text;
use crate::view::Preprocessing;

impl Arch {
    /// The architecture of a model whose tensors have these names and shapes.
    ///
    /// What shapes do not show is assumed: attention heads of 64 in both towers, exact GELU (OpenAI's own weights need
    /// a configuration with `quick_gelu`), an image side that is a whole number of patches, CLIP's preprocessing, published
    /// taps, alpha 1.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] where a tensor that is needed for this is missing or has an unexpected shape,
    /// [`ErrorKind::Config`] where an assumption cannot hold; both say that a configuration resolves it.
    pub fn infer<'a>(shapes: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Result<Arch> {
        let shapes = Shapes(shapes.into_iter().collect());
        let [width, _, patch_size, _] = shapes.dims("visual.conv1.weight")?;
        let [tokens, _] = shapes.dims("visual.positional_embedding")?;
        let grid = tokens.saturating_sub(1).isqrt();
        if grid == 0 || grid * grid != tokens - 1 {
            return Err(unclear(
                ErrorKind::Weights,
                &format!("`visual.positional_embedding` has {tokens} rows, expected a square number and 1"),
            ));
        }
        let [_, embed_dim] = shapes.dims("visual.proj")?;
        let [vision_mlp, _] = shapes.dims("visual.transformer.resblocks.0.mlp.c_fc.weight")?;
        let [vocab_size, text_width] = shapes.dims("token_embedding.weight")?;
        let [context_length, _] = shapes.dims("positional_embedding")?;
        let [text_mlp, _] = shapes.dims("transformer.resblocks.0.mlp.c_fc.weight")?;
        let layers = shapes.layers("visual.transformer.resblocks.");
        let arch = Arch {
            embed_dim,
            vision: VisionArch {
                image_size: grid.saturating_mul(patch_size),
                patch_size,
                width,
                layers,
                heads: heads("vision", width)?,
                mlp_width: vision_mlp,
                preprocessing: Preprocessing::CLIP,
            },
            text: TextArch {
                context_length,
                vocab_size,
                width: text_width,
                heads: heads("text", text_width)?,
                layers: shapes.layers("transformer.resblocks."),
                mlp_width: text_mlp,
            },
            quick_gelu: false,
            taps: default_taps(layers).ok_or_else(|| no_default_taps(layers))?,
            alpha: 1.0,
        };
        arch.validate()?;
        Ok(arch)
    }
}

struct Shapes<'a>(HashMap<&'a str, &'a [usize]>);

impl Shapes<'_> {
    fn dims<const RANK: usize>(&self, name: &str) -> Result<[usize; RANK]> {
        let Some(&shape) = self.0.get(name) else {
            return Err(unclear(ErrorKind::Weights, &format!("tensor `{name}` is missing")));
        };
        shape.try_into().map_err(|_| {
            let found = shape_text(shape);
            unclear(ErrorKind::Weights, &format!("tensor `{name}` has shape {found}, expected {RANK} dimensions"))
        })
    }

    /// One more than the highest block number, so that a gap shows up as missing tensors.
    fn layers(&self, prefix: &str) -> usize {
        let block = |name: &str| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
        self.0.keys().filter_map(|name| block(name)).max().map_or(0, |last| last.saturating_add(1))
    }
}

fn heads(tower: &str, width: usize) -> Result<usize> {
    if width == 0 || !width.is_multiple_of(HEAD_WIDTH) {
        let why = format!("the {tower} width {width} is not a multiple of {HEAD_WIDTH}, so its heads cannot be known");
        return Err(unclear(ErrorKind::Config, &why));
    }
    Ok(width / HEAD_WIDTH)
}

fn unclear(kind: ErrorKind, why: &str) -> Error {
    let message = format!(
        "cannot tell the architecture from the tensors alone: {why}; this should be a CLIP model in open_clip's layout, \
         and an unusual one needs its JSON configuration (--config, or `config.json` beside the weights)"
    );
    Error::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::table;
    use crate::weights::table::TensorSpec;

    fn infer(specs: &[TensorSpec]) -> Result<Arch> {
        Arch::infer(specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice())))
    }

    #[test]
    fn named_models_are_inferred_exactly() {
        for name in Arch::names() {
            let arch = Arch::named(name).unwrap();
            assert_eq!(infer(&table(&arch)).unwrap(), arch);
        }
    }

    #[test]
    fn a_depth_without_published_taps_says_what_to_add() {
        let mut arch = Arch::named("vit-b-32").unwrap();
        arch.vision.layers = 13;
        let error = infer(&table(&arch)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("13 blocks") && error.to_string().contains("\"taps\""), "{error}");
    }

    #[test]
    fn nothing_is_guessed_from_damaged_shapes() {
        let specs = table(&Arch::named("vit-b-32").unwrap());
        let cases: [(&str, &[usize]); 8] = [
            ("visual.conv1.weight", &[768, 3]),
            ("visual.conv1.weight", &[768, 3, usize::MAX, usize::MAX]),
            ("visual.conv1.weight", &[767, 3, 32, 32]),
            ("visual.conv1.weight", &[0, 3, 32, 32]),
            ("visual.positional_embedding", &[51, 768]),
            ("visual.positional_embedding", &[0, 768]),
            ("visual.positional_embedding", &[usize::MAX, 768]),
            ("visual.proj", &[768, usize::MAX]),
        ];
        for (name, shape) in cases {
            let mut specs = specs.clone();
            specs.iter_mut().find(|spec| spec.name == name).unwrap().shape = shape.to_vec();
            assert!(infer(&specs).is_err(), "{name} {shape:?}");
        }
        for name in ["visual.proj", "token_embedding.weight"] {
            let rest: Vec<_> = specs.iter().filter(|spec| spec.name != name).cloned().collect();
            assert!(infer(&rest).unwrap_err().to_string().contains(&format!("`{name}` is missing")));
        }
    }
}
