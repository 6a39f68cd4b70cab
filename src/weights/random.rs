//! Seeded random models with every tensor of a real checkpoint, and the same bits on every machine.
//!
//! Benchmarks and parity checks need models of real size without a download. An element depends only on the seed, the
//! tensor's name and its index: four integers of a counter-based generator are added for a roughly normal distribution,
//! followed by two IEEE operations. There is no random state, and no library function whose last bit depends on the
//! platform.

use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;

use super::arch::Arch;
use super::families::Family;
use super::file::{header_for, stored_as};
use super::outliers::{Planted, planted};
use super::table::{TensorSpec, table, takes_heads, unused};
use crate::atomic_file::write_atomically;
use crate::error::{Error, ErrorKind, Result};
use crate::split_mix::{STEP, mix};
use crate::tensor::DType;

/// How many elements are generated at a time.
const CHUNK: usize = 1 << 16;

/// Writes a random model of `arch` to `path` as safetensors, with its configuration in the metadata.
///
/// Equal arguments give equal bytes on every machine. The scales keep activations near one at every depth, and scores
/// away from 0 and 1. It needs little memory, and `path` appears only when complete.
///
/// # Errors
/// [`ErrorKind::Config`] for an invalid architecture, or one without taps; [`ErrorKind::Io`] if the file cannot be written.
pub fn write(path: impl AsRef<Path>, arch: &Arch, seed: u64, dtype: DType) -> Result<()> {
    write_planted(path.as_ref(), arch, seed, dtype, |_| Vec::new())
}

/// As [`write()`], with outliers in the image tower, as they were measured in the published models: massive activations
/// at a few tokens, and channels with large gains of norms.
///
/// # Errors
/// As [`write()`].
pub fn write_with_outliers(path: impl AsRef<Path>, arch: &Arch, seed: u64, dtype: DType) -> Result<()> {
    if arch.family.vit().is_none() {
        let message = "outliers are those of transformers, and this is a ResNet: leave them out";
        return Err(Error::new(ErrorKind::Config, message));
    }
    write_planted(path.as_ref(), arch, seed, dtype, |name| planted(arch, seed, name))
}

fn write_planted(
    path: &Path,
    arch: &Arch,
    seed: u64,
    dtype: DType,
    planted: impl Fn(&str) -> Vec<Planted>,
) -> Result<()> {
    arch.validate()?;
    if takes_heads(arch) {
        // With heads, which belong to taps.
        arch.trained_taps()?;
    }
    let mut tensors = Vec::new();
    for spec in table(arch).into_iter().chain(unused(arch)) {
        let Some(values) = values(&spec, arch) else {
            return Err(Error::new(ErrorKind::Internal, format!("no random distribution for tensor `{}`", spec.name))
                .of_tensor(&spec.name));
        };
        tensors.push((spec, values));
    }
    // Integers first, so that every tensor is aligned to its element size.
    tensors.sort_by_key(|(_, values)| !matches!(values, Values::Count(_)));
    let rows = tensors.iter().map(|(spec, values)| {
        let dtype = if matches!(values, Values::Count(_)) { Dtype::I64 } else { stored_as(dtype) };
        (spec.name.clone(), dtype, spec.shape.clone())
    });
    let header = header_for(rows, arch)?;
    write_atomically(path, |out| {
        let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(|source| Error::io("write", path, source));
        put(&header)?;
        let mut buffer = Vec::new();
        for (spec, values) in &tensors {
            match *values {
                Values::Count(count) => put(&count.to_le_bytes())?,
                Values::Normal { mean, std } => {
                    let mut generator = Generator::new(seed, &spec.name, mean, std);
                    generator.planted = planted(&spec.name);
                    let elements: usize = spec.shape.iter().product();
                    for start in (0..elements).step_by(CHUNK) {
                        generator.fill(start..elements.min(start + CHUNK), dtype, &mut buffer);
                        put(&buffer)?;
                    }
                }
            }
        }
        Ok(())
    })
}

/// The values that fill a tensor.
#[derive(Clone, Copy)]
enum Values {
    Normal { mean: f64, std: f64 },
    Count(i64),
}

/// The distribution of a tensor; `None` for a name that no rule covers.
///
/// A weight of std 1/sqrt(inputs) keeps the unit variance of a layer's inputs. The two layers of a block that write
/// into the residual stream are scaled down with the depth beyond four blocks, so that the sum over all blocks keeps
/// its size.
fn values(spec: &TensorSpec, arch: &Arch) -> Option<Values> {
    let normal = |mean, std| Some(Values::Normal { mean, std });
    let shape = &spec.shape;
    // Inputs of a layer stored [out, in, ..].
    let inputs = shape.iter().skip(1).product::<usize>() as f64;
    let (module, field) = spec.name.rsplit_once('.').unwrap_or(("", &spec.name));
    let (parent, layer) = module.rsplit_once('.').unwrap_or(("", module));
    let residual = |layers: usize| (4.0 / layers as f64).min(1.0).sqrt();
    if let Some(resnet) = &arch.vision.resnet {
        // A rectifier halves the second moment, and the last convolution of a block adds little to what it passes on.
        let last = if resnet.inner.is_some() { "bn3" } else { "bn2" };
        return match (layer, field) {
            (_, "num_batches_tracked") => Some(Values::Count(100)),
            ("conv1" | "conv2" | "conv3" | "0", "weight") => normal(0.0, (2.0 / inputs).sqrt()),
            (norm, "weight") if norm == last && !parent.is_empty() => normal(0.3, 0.05),
            ("bn1" | "bn2" | "bn3" | "1", "weight" | "running_var") => normal(1.0, 0.1),
            ("bn1" | "bn2" | "bn3" | "1", "bias") => normal(0.0, 0.1),
            ("bn1" | "bn2" | "bn3" | "1", "running_mean") => normal(0.0, 0.2),
            _ => None,
        };
    }
    if arch.family == Family::Dinov2 {
        return match (layer, field) {
            ("", "mask_token") => normal(0.0, 1.0),
            ("", "cls_token" | "pos_embed" | "register_tokens") => normal(0.0, 0.3),
            ("proj", "weight") if parent == "patch_embed" => normal(0.0, 1.4 / inputs.sqrt()),
            ("norm" | "norm1" | "norm2", "weight") => normal(1.0, 0.1),
            // Positive, as values lie within 3.47 standard deviations.
            ("ls1" | "ls2", "gamma") => normal(0.7, 0.15),
            ("qkv" | "w12", "weight") => normal(0.0, 1.5 / inputs.sqrt()),
            ("fc1", "weight") => normal(0.0, 1.0 / inputs.sqrt()),
            ("proj" | "fc2" | "w3", "weight") => normal(0.0, residual(arch.vision.layers) / inputs.sqrt()),
            (_, "bias") => normal(0.0, 0.05),
            _ => None,
        };
    }
    match (layer, field) {
        (_, "num_batches_tracked") => Some(Values::Count(100)),
        // CLIP's trained value, ln 100.
        (_, "logit_scale") => normal(4.6052, 0.0),
        (_, "class_embedding") | ("token_embedding", "weight") | ("visual", "positional_embedding") => normal(0.0, 0.3),
        (_, "positional_embedding") => normal(0.0, 0.1),
        ("conv1", "weight") => normal(0.0, 1.4 / inputs.sqrt()),
        // The projections are stored [in, out].
        (_, "proj" | "text_projection") => normal(0.0, 1.0 / (*shape.first()? as f64).sqrt()),
        (_, "in_proj_weight") => normal(0.0, 1.5 / inputs.sqrt()),
        ("c_fc", "weight") => normal(0.0, 1.0 / inputs.sqrt()),
        ("out_proj" | "c_proj", "weight") => {
            let text = arch.text.as_ref().filter(|_| !parent.starts_with("visual."));
            normal(0.0, residual(text.map_or(arch.vision.layers, |text| text.layers)) / inputs.sqrt())
        }
        ("ln_pre" | "ln_post" | "ln_1" | "ln_2" | "ln_final", "weight") => normal(1.0, 0.1),
        (_, "in_proj_bias") => normal(0.0, 0.05),
        ("ln_pre" | "ln_post" | "ln_1" | "ln_2" | "ln_final" | "out_proj" | "c_fc" | "c_proj", "bias") => {
            normal(0.0, 0.05)
        }
        // The adapter: two layers, each followed by a ReLU, which halves the second moment.
        ("0", "weight") => normal(0.0, 1.0 / inputs.sqrt()),
        ("2", "weight") => normal(0.0, std::f64::consts::SQRT_2 / inputs.sqrt()),
        ("projection1" | "projection2" | "projection3", "weight") => normal(0.0, 1.5 / inputs.sqrt()),
        ("projection1" | "projection2" | "projection3", "bias") => normal(0.0, 0.1),
        ("bn1" | "bn2" | "bn3", "weight" | "running_var") => normal(1.0, 0.1),
        ("bn1" | "bn2" | "bn3", "bias") => normal(0.0, 0.1),
        ("bn1" | "bn2" | "bn3", "running_mean") => normal(0.0, 0.2),
        _ => None,
    }
}

/// The elements of one tensor.
struct Generator {
    key: u64,
    mean: f64,
    scale: f64,
    planted: Vec<Planted>,
}

impl Generator {
    fn new(seed: u64, name: &str, mean: f64, std: f64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        let mut key = [0; 8];
        hasher.finalize_xof().fill(&mut key);
        // The standard deviation of the sum of four uniform integers below 2^16, within a relative 1e-10.
        let unit = 65536.0 / 3.0_f64.sqrt();
        Generator { key: u64::from_le_bytes(key), mean, scale: std / unit, planted: Vec::new() }
    }

    /// Element `index`: within 3.47 standard deviations of the mean, unless an outlier is planted there.
    fn at(&self, index: usize) -> f32 {
        let x = mix(self.key.wrapping_add((index as u64).wrapping_mul(STEP)));
        let sum = (x & 0xffff) + ((x >> 16) & 0xffff) + ((x >> 32) & 0xffff) + (x >> 48);
        const MIDDLE: f64 = 4.0 * 65535.0 / 2.0;
        let x = (self.mean + (sum as f64 - MIDDLE) * self.scale) as f32;
        self.planted.iter().fold(x, |x, planted| planted.apply(index, x))
    }

    /// Replaces `out` by the stored bytes of a range of elements.
    fn fill(&self, range: std::ops::Range<usize>, dtype: DType, out: &mut Vec<u8>) {
        out.resize(range.len() * dtype.size(), 0);
        match dtype {
            DType::F32 => fill(out.as_chunks_mut().0, range.map(|i| self.at(i).to_le_bytes())),
            DType::F16 => fill(out.as_chunks_mut().0, range.map(|i| f16::from_f32(self.at(i)).to_le_bytes())),
            DType::Bf16 => fill(out.as_chunks_mut().0, range.map(|i| bf16::from_f32(self.at(i)).to_le_bytes())),
        }
    }
}

fn fill<const N: usize>(out: &mut [[u8; N]], elements: impl Iterator<Item = [u8; N]>) {
    for (slot, element) in out.iter_mut().zip(elements) {
        *slot = element;
    }
}
