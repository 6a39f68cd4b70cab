//! Converts sources to one safetensors file, tensor by tensor.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;

use super::names::{Naming, translate};
use super::read_at::ReadAt;
use super::source::{Part, Source};
use super::{Checkpoint, Tensor, config};
use crate::atomic_file::write_atomically;
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::tensor::{DType, TensorView, shape_text};
use crate::weights::{
    Arch, TensorSpec, Tower, check_tokeniser, common_prefix, folder_of, header_for, ignored, listing,
    negative_variance, preprocessing, storage, stored_as, table,
};

/// How many elements are in memory at a time.
const CHUNK: usize = 1 << 16;

/// What to convert.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// A checkpoint of a CLIP model, with or without InCTRL's heads, or of a DINOv2 encoder: a file, the index of
    /// several files (`model.safetensors.index.json`), or an open_clip, Hugging Face or timm folder.
    pub source: PathBuf,
    /// A checkpoint with InCTRL's heads. Its other tensors are ignored.
    pub heads: Option<PathBuf>,
    /// A configuration of open_clip, Hugging Face or this engine. Default: `<stem>.json`, `open_clip_config.json` or
    /// `config.json` beside the source, then the source's own metadata, then the shapes.
    pub config: Option<PathBuf>,
    /// Storage type of the output. Default: that of the source.
    pub dtype: Option<DType>,
}

/// What was written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Converted {
    /// The architecture, as in the output's metadata.
    pub arch: Arch,
    /// Whether InCTRL's heads are in the output.
    pub heads: bool,
    /// Number of tensors.
    pub tensors: usize,
    /// Size of the output.
    pub bytes: u64,
    /// Changes that a user may not expect, such as a removed prefix or rounded numbers.
    pub notes: Vec<String>,
}

/// A tensor of the output.
struct Conversion<'a> {
    spec: TensorSpec,
    dtype: DType,
    from: &'a Checkpoint,
    source: &'a Source,
}

/// Converts a checkpoint of open_clip, InCTRL, Hugging Face, OpenAI, DINOv2 or timm to `output`, a safetensors file
/// that [`Engine::open`](crate::Engine::open) takes.
///
/// Nothing in the source is executed. `progress` receives the bytes written and the total. The output appears complete
/// or not at all. If a source is overwritten during the conversion, the output has other numbers; if it is cut short,
/// that is an error.
///
/// # Errors
/// - [`ErrorKind::Io`]: a file cannot be read or written.
/// - [`ErrorKind::Device`]: not enough memory for a tensor that is stored transposed.
/// - [`ErrorKind::Config`]: a needed configuration is missing, malformed, or for another kind of encoder; or heads are
///   given for an encoder that takes none.
/// - [`ErrorKind::Weights`]: a source is damaged or refused (see the module's documentation), its tensors do not fit
///   the architecture (all differences in one error), a number is not finite in the output's type, or a running
///   variance is negative.
pub fn convert(options: &ConvertOptions, output: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Converted> {
    let source = Checkpoint::open(&options.source)?;
    let heads = options.heads.as_deref().map(Checkpoint::open).transpose()?;
    let translated =
        |checkpoint: &Checkpoint| translate(&checkpoint.content.tensors).map_err(|error| error.at(&checkpoint.path));
    let mut notes = Vec::new();
    let (naming, tensors) = translated(&source)?;
    for file in [Some(&source), heads.as_ref()].into_iter().flatten() {
        if let Some(prefix) = common_prefix(file.content.tensors.keys().map(String::as_str)) {
            notes.push(format!(
                "{}: all names began with `{}`, which was removed",
                file.path.display(),
                prefix.escape_debug()
            ));
        }
    }
    let mut extra = BTreeMap::new();
    if let Some(heads) = &heads {
        extra = translated(heads)?.1;
        extra.retain(|name, _| is_head(name));
        if extra.is_empty() {
            let message = "has no adapter.* or diff_head* tensors, expected InCTRL's heads";
            return Err(Error::new(ErrorKind::Weights, message).at(&heads.path));
        }
    }
    let arch = architecture(options, naming, &source, heads.as_ref(), &tensors)?;
    if let Some(heads) = heads.as_ref().filter(|_| arch.text.is_none()) {
        let message = "holds InCTRL's heads, but the encoder has no text tower: convert it without heads";
        return Err(Error::new(ErrorKind::Config, message).at(&heads.path));
    }
    let inputs = [Some((&source, &tensors)), heads.as_ref().map(|heads| (heads, &extra))];
    let inputs: Vec<_> = inputs.into_iter().flatten().collect();
    let conversions = plan(&arch, &inputs, options.dtype).map_err(|error| error.at(&source.path))?;

    let rows = conversions
        .iter()
        .map(|conversion| (conversion.spec.name.clone(), stored_as(conversion.dtype), conversion.spec.shape.clone()));
    let header = header_for(rows, &arch)?;
    let size = |conversion: &Conversion<'_>| {
        (conversion.spec.shape.iter().product::<usize>() * conversion.dtype.size()) as u64
    };
    let total = header.len() as u64 + conversions.iter().map(size).sum::<u64>();
    write_atomically(output, |out| {
        let put = |out: &mut dyn Write, bytes: &[u8]| {
            out.write_all(bytes).map_err(|source| Error::io("write", output, source))
        };
        put(out, &header)?;
        let mut done = header.len() as u64;
        for conversion in &conversions {
            for part in &conversion.source.parts {
                write_part(conversion, part, &mut |bytes| {
                    done += bytes.len() as u64;
                    put(out, bytes)?;
                    progress(done, total);
                    Ok(())
                })?;
            }
        }
        Ok(())
    })?;
    let doubles =
        conversions.iter().filter(|conversion| conversion.source.dtypes().any(|dtype| dtype == Dtype::F64)).count();
    if doubles > 0 {
        notes.push(format!("{doubles} tensors were f64; their numbers were rounded to f32"));
    }
    let left_out = inputs.iter().flat_map(|(_, tensors)| tensors.keys()).filter(|name| ignored(&arch, name));
    let left_out: Vec<&str> = left_out.map(String::as_str).collect();
    if !left_out.is_empty() {
        notes.push(format!("left out, because nothing here uses it: {}", names_of(&left_out)));
    }
    let heads = conversions.iter().any(|conversion| conversion.spec.tower == Tower::Heads);
    Ok(Converted { arch, heads, tensors: conversions.len(), bytes: total, notes })
}

/// The names on one line, the last of very many counted only.
fn names_of(names: &[&str]) -> String {
    const MOST: usize = 8;
    let mut text = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text += &format!(" and {} more", names.len() - MOST);
    }
    text
}

fn is_head(name: &str) -> bool {
    ["adapter.", "diff_head.", "diff_head_ref."].iter().any(|prefix| name.starts_with(prefix))
}

fn architecture(
    options: &ConvertOptions,
    naming: Naming,
    source: &Checkpoint,
    heads: Option<&Checkpoint>,
    tensors: &BTreeMap<String, Source>,
) -> Result<Arch> {
    let own = |file: &Checkpoint| {
        let json = file.content.config.as_ref()?;
        Some(config::parse(json).map_err(|error| error.at(&file.path)))
    };
    let (theirs, ours) = (heads.and_then(own).transpose()?, own(source).transpose()?);
    if let (Some(heads), Some((theirs, _)), Some((ours, _))) = (heads, &theirs, &ours)
        && theirs.vision.preprocessing != ours.vision.preprocessing
    {
        let message = format!(
            "was made for a model with pixels prepared as: {}; but {} says: {}",
            theirs.vision.preprocessing,
            source.path.display(),
            ours.vision.preprocessing
        );
        return Err(Error::new(ErrorKind::Config, message).at(&heads.path));
    }
    let own = theirs.or(ours).map(|(arch, _)| arch);
    let named = config::find(options.config.as_deref(), &source.path);
    let described = named.map(|path| config::read(&path)).transpose()?.flatten();
    let (mut arch, says_pixels) = match (described, &own) {
        (Some(described), _) => described,
        (None, Some(own)) => (own.clone(), true),
        (None, None) => {
            let shapes: Vec<_> = tensors.iter().map(|(name, source)| (name.as_str(), source.shape())).collect();
            let shapes = shapes.iter().map(|(name, shape)| (*name, shape.as_slice()));
            (config::infer(naming, shapes).map_err(|error| error.at(&source.path))?, false)
        }
    };
    let folder = folder_of(&source.path);
    match own {
        Some(own) if !says_pixels => arch.vision.preprocessing = own.vision.preprocessing,
        Some(_) => {}
        None => {
            if arch.text.is_some() {
                check_tokeniser(&folder)?;
            }
            if let Some(found) = preprocessing(&folder, &arch)?.filter(|_| !says_pixels) {
                arch.vision.preprocessing = found;
            }
        }
    }
    // OpenAI's own models use QuickGELU, even if a configuration for other models of this shape does not say so.
    arch.quick_gelu |= naming == Naming::OpenAi || source.content.script;
    Ok(arch)
}

/// The tensors of the output, or an error with everything that is wrong with the sources' tensors.
fn plan<'a>(
    arch: &Arch,
    inputs: &[(&'a Checkpoint, &'a BTreeMap<String, Source>)],
    dtype: Option<DType>,
) -> Result<Vec<Conversion<'a>>> {
    let has_heads = inputs.iter().any(|(_, tensors)| tensors.keys().any(|name| is_head(name)));
    let mut specs = table(arch);
    specs.retain(|spec| has_heads || spec.tower != Tower::Heads);
    let names: HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let found = inputs.iter().flat_map(|(_, tensors)| tensors.iter());
    // The first tensor with a problem, and the first of a wrong shape.
    let (mut first, mut first_misshaped) = (None, None);
    let mut unexpected = Vec::new();
    for (name, source) in found.filter(|(name, _)| !ignored(arch, name) && !names.contains(name.as_str())) {
        first.get_or_insert_with(|| name.clone());
        unexpected.push(format!("{} {}", name.escape_debug(), shape_text(&source.shape())));
    }
    let (mut missing, mut misshaped, mut wrong_type, mut duplicate) = (vec![], vec![], vec![], vec![]);
    let mut conversions = Vec::new();
    for spec in specs {
        let holders: Vec<_> =
            inputs.iter().filter_map(|(from, tensors)| Some((*from, tensors.get(&spec.name)?))).collect();
        let (from, source) = match holders[..] {
            [] => {
                missing.push(format!("{} {}", spec.name, shape_text(&spec.shape)));
                first.get_or_insert(spec.name);
                continue;
            }
            [found] => found,
            _ => {
                first.get_or_insert_with(|| spec.name.clone());
                duplicate.push(spec.name);
                continue;
            }
        };
        if source.shape() != spec.shape {
            let (expected, found) = (shape_text(&spec.shape), source.shape());
            misshaped.push(format!("{}: expected {expected}, found {}", spec.name, shape_text(&found)));
            first_misshaped.get_or_insert_with(|| (spec.name.clone(), spec.shape.clone(), found));
        }
        let types: Option<Vec<DType>> = source.dtypes().map(readable).collect();
        match types.as_deref() {
            Some([first, rest @ ..]) => {
                let kept = if rest.iter().all(|other| other == first) { *first } else { DType::F32 };
                conversions.push(Conversion { spec, dtype: dtype.unwrap_or(kept), from, source });
            }
            _ => {
                first.get_or_insert_with(|| spec.name.clone());
                wrong_type.push(spec.name);
            }
        }
    }
    let groups: [(&str, &[String]); 5] = [
        ("missing", &missing),
        ("unexpected", &unexpected),
        ("misshaped", &misshaped),
        ("of a storage type other than f64, f32, f16 and bf16", &wrong_type),
        ("in both files", &duplicate),
    ];
    if groups.iter().any(|(_, lines)| !lines.is_empty()) {
        let message = format!("the tensors do not fit the architecture\n{arch}\n{}", listing(&groups));
        let error = Error::new(ErrorKind::Weights, message);
        return Err(match (first_misshaped, first) {
            (Some((name, expected, found)), _) => error.of_tensor(name).with_shapes(&expected, &found),
            (None, Some(name)) => error.of_tensor(name),
            (None, None) => error,
        });
    }
    distinct(&conversions)?;
    // Wide elements first, so that every tensor is aligned to its element size.
    conversions.sort_by_key(|conversion| Reverse(conversion.dtype.size()));
    Ok(conversions)
}

/// The type in which numbers of this type are stored; f64 is rounded.
fn readable(dtype: Dtype) -> Option<DType> {
    if dtype == Dtype::F64 { Some(DType::F32) } else { storage(dtype) }
}

/// Refuses two tensors of the model in the same bytes of a file. No trained model has this.
fn distinct(conversions: &[Conversion<'_>]) -> Result<()> {
    let mut spans: Vec<_> = conversions
        .iter()
        .flat_map(|conversion| {
            conversion
                .source
                .tensors()
                .map(|part| ((&conversion.from.path, part.file), &part.range, &conversion.spec.name))
        })
        .collect();
    spans.sort_unstable_by_key(|(path, range, _)| (*path, range.start, range.end));
    match spans.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[0].1.end > pair[1].1.start) {
        Some(pair) => {
            let message = format!("tensors `{}` and `{}` share bytes of their storage", pair[0].2, pair[1].2);
            Err(Error::new(ErrorKind::Weights, message).of_tensor(pair[0].2))
        }
        None => Ok(()),
    }
}

/// Writes a part of a tensor in the output's type, row-major.
fn write_part(conversion: &Conversion<'_>, part: &Part, put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    match part {
        Part::Stored(tensor) => copy(conversion, tensor, put),
        Part::Zeros(shape, _) => {
            put(&memory::zeros("a tensor", shape.iter().product::<usize>() * conversion.dtype.size())?)
        }
        Part::Sum([first, second]) => {
            let sums: Vec<f32> =
                values(conversion, first)?.iter().zip(values(conversion, second)?).map(|(a, b)| a + b).collect();
            let bytes = stored(conversion.dtype, &sums);
            check(conversion, conversion.dtype, &bytes)?;
            put(&bytes)
        }
    }
}

/// The numbers of a small tensor.
fn values(conversion: &Conversion<'_>, tensor: &Tensor) -> Result<Vec<f32>> {
    let single = Conversion { spec: conversion.spec.clone(), dtype: DType::F32, ..*conversion };
    let mut values = Vec::new();
    copy(&single, tensor, &mut |bytes| {
        values.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        Ok(())
    })?;
    Ok(values)
}

/// The bytes of numbers in a storage type.
fn stored(dtype: DType, values: &[f32]) -> Vec<u8> {
    match dtype {
        DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        DType::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
    }
}

/// Writes a stored tensor's elements in the output's type, row-major.
fn copy(conversion: &Conversion<'_>, part: &Tensor, put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let size = part.dtype.bitsize() / 8;
    let file = &conversion.from.files[part.file];
    let total: usize = part.shape.iter().product();
    // A tensor that is not row-major is gathered from its whole range.
    let scattered = if part.is_dense() { None } else { Some(file.read(part.range.clone())?) };
    let mut chunk = Vec::new();
    let mut index = vec![0; part.shape.len()];
    for start in (0..total).step_by(CHUNK) {
        let count = CHUNK.min(total - start);
        chunk.clear();
        match &scattered {
            None => {
                chunk.resize(count * size, 0);
                file.read_into(part.range.start + start * size, &mut chunk)?;
            }
            Some(bytes) => {
                for _ in 0..count {
                    let at: usize = index.iter().zip(&part.strides).map(|(i, stride)| i * stride).sum();
                    chunk.extend_from_slice(&bytes[at * size..(at + 1) * size]);
                    advance(&mut index, &part.shape);
                }
            }
        }
        let values = match storage(part.dtype) {
            Some(from) if from == conversion.dtype => {
                check(conversion, from, &chunk)?;
                put(&chunk)?;
                continue;
            }
            Some(from) => TensorView { name: "", shape: &[], dtype: from, bytes: chunk.as_slice().into() }.to_f32()?,
            None if part.dtype == Dtype::F64 => {
                chunk.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect()
            }
            None => {
                let message = format!("tensor `{}` has no usable type", conversion.spec.name);
                return Err(Error::new(ErrorKind::Internal, message).of_tensor(&conversion.spec.name));
            }
        };
        let converted = stored(conversion.dtype, &values);
        check(conversion, conversion.dtype, &converted)?;
        put(&converted)?;
    }
    Ok(())
}

/// The next index in row-major order.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (i, extent) in index.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < *extent {
            return;
        }
        *i = 0;
    }
}

/// Checks that [`Weights::open`](crate::weights::Weights::open) will accept what is written.
fn check(conversion: &Conversion<'_>, dtype: DType, bytes: &[u8]) -> Result<()> {
    let (name, tensor) = (&conversion.spec.name, TensorView { name: "", shape: &[], dtype, bytes: bytes.into() });
    let message = if tensor.first_non_finite().is_some() {
        format!(
            "tensor `{name}` holds a number that is not finite in {}: the source is damaged, or choose a type with a \
            larger range (--dtype bf16 or f32)",
            dtype.name()
        )
    } else if let Some((_, value)) = negative_variance(name, &tensor) {
        format!("tensor `{name}` holds the negative variance {value}: the source is damaged, download or save it again")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Weights, message).at(&conversion.from.path).of_tensor(name))
}
