//! The architecture from tensor shapes alone, for files without a configuration.

use std::collections::HashMap;

use super::arch::Arch;
use super::families::Family;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::shape_text;

impl Arch {
    /// The architecture of a model whose tensors have these names and shapes. The family is recognised by the name of
    /// the first convolution.
    ///
    /// Assumes what shapes do not show. CLIP: attention heads of width 64 in both towers, exact GELU (OpenAI's own
    /// weights need a configuration with `quick_gelu`), an image side that is a whole number of patches, CLIP's
    /// preprocessing, published taps, alpha 1. DINOv2: heads of width 64, ImageNet's preprocessing, the last block as
    /// the tap. ResNets: inputs of 224 pixels, torchvision's preprocessing.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] where a needed tensor is missing or has an unexpected shape, [`ErrorKind::Config`] where
    /// an assumption cannot hold. Both messages say that a configuration resolves the problem.
    pub fn infer<'a>(shapes: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Result<Arch> {
        let arch = Family::infer(&Shapes(shapes.into_iter().collect()))?;
        arch.validate()?;
        Ok(arch)
    }
}

/// Shapes by name.
pub(super) struct Shapes<'a>(HashMap<&'a str, &'a [usize]>);

impl Shapes<'_> {
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn dims<const RANK: usize>(&self, name: &str) -> Result<[usize; RANK]> {
        let Some(&shape) = self.0.get(name) else {
            return Err(unclear(ErrorKind::Weights, &format!("tensor `{name}` is missing")).of_tensor(name));
        };
        shape.try_into().map_err(|_| {
            let found = shape_text(shape);
            let why = format!("tensor `{name}` has shape {found}, expected {RANK} dimensions");
            unclear(ErrorKind::Weights, &why).of_tensor(name)
        })
    }

    /// The side of the square grid of patches, given the number of positions in tensor `name`, including the class
    /// token's.
    pub fn square_grid(&self, name: &str, tokens: usize) -> Result<usize> {
        let grid = tokens.saturating_sub(1).isqrt();
        if grid > 0 && grid * grid == tokens - 1 {
            return Ok(grid);
        }
        let why = format!("`{name}` has {tokens} rows, expected a square number and 1");
        Err(unclear(ErrorKind::Weights, &why).of_tensor(name))
    }

    /// One more than the highest block number. A gap shows up later as missing tensors.
    pub fn layers(&self, prefix: &str) -> usize {
        let block = |name: &str| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
        self.0.keys().filter_map(|name| block(name)).max().map_or(0, |last| last.saturating_add(1))
    }
}

pub(super) fn unclear(kind: ErrorKind, why: &str) -> Error {
    let message = format!(
        "cannot infer the architecture from the tensors alone: {why}; expected a CLIP model in open_clip's layout, \
        a DINOv2 model in the official one, or a ResNet in torchvision's. An unusual model needs its JSON configuration (--config, or \
        `config.json` beside the weights)"
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
            let arch = Arch::named(&name).unwrap();
            assert_eq!(infer(&table(&arch)).unwrap(), arch);
        }
    }

    #[test]
    fn a_depth_without_published_taps_says_what_to_add() {
        let mut arch = Arch::named("vit-b-32").unwrap();
        arch.vision.layers = 13;
        let inferred = infer(&table(&arch)).unwrap();
        assert_eq!((inferred.vision.layers, inferred.taps.len()), (13, 0));
        let error = inferred.trained_taps().unwrap_err();
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
