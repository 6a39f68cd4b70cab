//! Random DINOv2 models whose tokens differ enough for a mask.

use std::fs;
use std::path::Path;

use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// Writes the random model of `config` and `seed` with weights of the final norm that are `times` larger: a random encoder's
/// tokens are all alike, and their component never reaches the threshold of a mask.
pub fn write(path: &Path, config: &str, seed: u64, times: f32) {
    random::write(path, &Arch::from_json(config).unwrap(), seed, DType::F32).unwrap();
    let bytes = fs::read(path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let norm = file.tensor("norm.weight").unwrap();
    let larger = norm.data().as_chunks().0.iter().flat_map(|x| (f32::from_le_bytes(*x) * times).to_le_bytes());
    let larger: Vec<u8> = larger.collect();
    let larger = TensorView::new(norm.dtype(), norm.shape().to_vec(), &larger).unwrap();
    let tensors = file.iter().map(|(name, tensor)| (name, if name == "norm.weight" { larger.clone() } else { tensor }));
    let tensors: Vec<_> = tensors.collect();
    fs::write(path, safetensors::serialize(tensors, metadata.metadata().clone()).unwrap()).unwrap();
}
