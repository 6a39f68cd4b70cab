//! A bank's file: one safetensors file. Its metadata hold a checksum of all content and the header as JSON.
//!
//! From version 2 on the header names the method and, in `rows`, how many rows each prompt has; the method's tensors
//! follow. Version 3 is for banks with a tiling; where each position of a tile has a bank of its own, the tensors of
//! position `k`, counted from 0, are called `NAME.k`.
//!
//! Version 1 knew only InCTRL, had equally many rows for every prompt, and stored `taps` as `[L, K, N, W]`. Its files
//! can be read, and are written as version 2.

use std::collections::HashMap;
use std::sync::Arc;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde::Deserialize;

use super::arrivals::Arrivals;
use super::header::{Header, Positions};
use super::prompt_bank::PromptBank;
use crate::error::{Error, ErrorKind, Result};
use crate::image::IgnoreMask;
use crate::memory;
use crate::methods::{self, BankContent, NamedTensor, Options, Setup};
use crate::tensor::shape_text;

/// Version of the file format of banks with a tiling. Files of a later version are refused.
pub(super) const VERSION: u32 = 3;
/// Version of banks without one, which older programs read.
pub(super) const UNTILED: u32 = 2;
/// The method of version 1, whose header names none.
const FIRST_METHOD: &str = "inctrl";
/// The tensor of an ignore mask's runs, `[runs, 3]` u32: row, first column, end column.
const RUNS: &str = "ignored_runs";
/// The metadata key of a bank's header: a checksum, a space, and [`Header`] as JSON.
const KEY: &str = "inctrl.bank";
/// The metadata key of [`Arrivals`], as JSON. It is no part of a bank's identity, and older programs pass over it.
const ARRIVALS: &str = "inctrl.arrivals";

/// What is done, in words.
const WRITING: &str = "writing a bank";

/// The part of the header that all versions share.
#[derive(Deserialize)]
struct Version {
    version: u32,
    #[serde(default)]
    method: Option<String>,
}

/// Reads a bank from the bytes of its file.
pub(super) fn read(file: &[u8]) -> Result<PromptBank> {
    // The features as numbers.
    memory::check("reading a bank", file.len(), "use a bank of fewer normal images")?;
    let (_, metadata) = SafeTensors::read_metadata(file)
        .map_err(|error| damaged("this is not a prompt bank, or it is truncated").because(error))?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(KEY))
        .ok_or_else(|| damaged("this safetensors file is not a prompt bank"))?;
    let (checksum, json) = text.split_once(' ').ok_or_else(|| damaged("the bank's header is damaged"))?;
    let broken = |error| damaged("the bank's header is damaged").because(error);
    let version: Version = serde_json::from_str(json).map_err(broken)?;
    if !(1..=VERSION).contains(&version.version) {
        let found = version.version;
        let message =
            format!("the bank has format {found}, but this program reads formats 1 to {VERSION}: use a newer program");
        return Err(Error::new(ErrorKind::Bank, message));
    }
    let name = version.method.as_deref().unwrap_or(FIRST_METHOD);
    let method = methods::by_name(name).map_err(|error| {
        Error::new(ErrorKind::Bank, "the bank is for a method that this program does not have").because(error)
    })?;
    let mut header: Header = serde_json::from_str(json).map_err(broken)?;
    let options = Options::from_header(method.options(), &header.options).map_err(|error| {
        Error::new(ErrorKind::Bank, "the bank has options that this program does not know: use a newer program")
            .because(error)
    })?;
    if let Some(calibration) = &header.calibration {
        calibration.check().map_err(|error| damaged("the bank's calibration is not valid").because(error))?;
    }
    if header.shown.as_ref().is_some_and(|shown| !shown.fits(header.prompts.len())) {
        return Err(damaged("the bank's prompt lists do not match its number of prompts"));
    }

    let stored = SafeTensors::deserialize(file).map_err(|error| damaged("the bank is damaged").because(error))?;
    let read = |content: Option<usize>| {
        let has = |name: &str| stored.tensor(&name_of(name, content)).is_ok();
        method.file_tensors(&has).iter().map(|name| read_tensor(&stored, name, content)).collect::<Result<Vec<_>>>()
    };
    let mask = header.mask.map(|size| read_mask(&stored, size)).transpose()?.map(Arc::new);
    let (contents, found) = if version.version == 1 {
        let (content, found) = first_version(&mut header, read(None)?, mask.as_deref())?;
        (vec![content], found)
    } else {
        let contents = match header.positions {
            None => vec![BankContent { tensors: read(None)?, rows: header.rows.clone() }],
            Some(Positions { tiles, .. }) => {
                let each = header.rows.len() / tiles.max(1);
                if tiles == 0 || each * tiles != header.rows.len() {
                    return Err(damaged("the bank's rows are not those of its positions"));
                }
                let rows = |k: usize| header.rows[k * each..][..each].to_vec();
                (0..tiles)
                    .map(|k| Ok(BankContent { tensors: read(Some(k))?, rows: rows(k) }))
                    .collect::<Result<Vec<_>>>()?
            }
        };
        let found = identity(&header, &contents, mask.as_deref())?;
        (contents, found)
    };
    if found != checksum {
        return Err(damaged(format!(
            "the header has checksum {checksum}, the content {found}: the file was changed or damaged"
        )));
    }
    if let Some(tiling) = &header.tiling {
        // The model's patch is checked when an engine takes the bank.
        tiling.check(1).map_err(|error| damaged("the bank's tiles are not valid").because(error))?;
    }
    let setup = Setup::with(method, options, header.tiling);
    if Header::version_of(&setup) == VERSION && header.version != VERSION
        || setup.has_bank_per_tile() != header.positions.is_some()
    {
        return Err(damaged("the bank's version, its tiles and its positions contradict each other"));
    }
    let arrivals = arrivals(&metadata, &header)?;
    Ok(PromptBank::from_file(setup, header, found, contents, mask).with_arrivals(arrivals))
}

/// The bytes of a bank's file.
pub(super) fn write(bank: &PromptBank) -> Result<Vec<u8>> {
    // A bank that was read from a version 1 file gets its version 2 identity with the new form.
    let method = Some(bank.method().to_owned());
    let header = Header { version: Header::version_of(bank.setup()), method, ..bank.header.clone() };
    let id = identity(&header, &bank.contents, bank.mask.as_deref())?;
    // The bytes of each tensor, and the file's.
    let runs = bank.mask.as_ref().map(|mask| mask.runs());
    let whole = bank.info().bytes + runs.map_or(0, size_of_val);
    memory::check(WRITING, whole.saturating_mul(2), "use a bank of fewer normal images")?;
    let mut parts: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (k, content) in bank.contents.iter().enumerate() {
        let own = header.positions.map(|_| k);
        for tensor in &content.tensors {
            let bytes = tensor.values.iter().flat_map(|x| x.to_le_bytes());
            let bytes = memory::collected(WRITING, size_of_val(&tensor.values[..]), bytes)?;
            parts.push((name_of(tensor.name, own), Dtype::F32, tensor.shape.clone(), bytes));
        }
    }
    if let Some(runs) = runs {
        let bytes = runs.as_flattened().iter().flat_map(|number| number.to_le_bytes());
        parts.push((
            RUNS.to_owned(),
            Dtype::U32,
            vec![runs.len(), 3],
            memory::collected(WRITING, size_of_val(runs), bytes)?,
        ));
    }
    let internal = |error| Error::new(ErrorKind::Internal, "cannot serialise the bank").because(error);
    let views = parts
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(internal)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut metadata = HashMap::from([(KEY.to_owned(), format!("{id} {}", header_json(&header)?))]);
    if !bank.arrivals.order().is_empty() {
        metadata.insert(ARRIVALS.to_owned(), serde_json::to_string(&bank.arrivals).map_err(unwritable)?);
    }
    safetensors::serialize(views, Some(metadata)).map_err(internal)
}

/// The identity of a bank: a hash of its header, of each tensor with its name and shape, and of its mask.
pub(super) fn identity(header: &Header, contents: &[BankContent], mask: Option<&IgnoreMask>) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header_json(header)?.as_bytes());
    for tensor in contents.iter().flat_map(|content| &content.tensors) {
        hasher.update(tensor.name.as_bytes()).update(b"\0");
        hasher.update(&(tensor.shape.len() as u64).to_le_bytes());
        tensor.shape.iter().for_each(|extent| {
            hasher.update(&(*extent as u64).to_le_bytes());
        });
        hash_values(&mut hasher, &tensor.values);
    }
    Ok(finish(hasher, mask))
}

/// The content of a version 1 file, and its identity by that version's rules.
fn first_version(
    header: &mut Header,
    mut tensors: Vec<NamedTensor>,
    mask: Option<&IgnoreMask>,
) -> Result<(BankContent, String)> {
    let prompts = header.prompts.len();
    let [taps, adapted, cls_mean, text] = &tensors[..] else {
        return Err(Error::new(ErrorKind::Internal, "version 1 has four tensors"));
    };
    let embedding = *cls_mean.shape.first().unwrap_or(&0);
    let &[layers, _, patches, width] = &taps.shape[..] else { return Err(misshapen(taps)) };
    for (tensor, expected) in [
        (taps, &[layers, prompts, patches, width][..]),
        (adapted, &[prompts, embedding]),
        (cls_mean, &[embedding]),
        (text, &[2, embedding]),
    ] {
        if tensor.shape != expected || tensor.shape.contains(&0) {
            return Err(misshapen(tensor));
        }
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(header_json(header)?.as_bytes());
    for extent in [layers, prompts, patches, width, embedding] {
        hasher.update(&(extent as u64).to_le_bytes());
    }
    tensors.iter().for_each(|tensor| hash_values(&mut hasher, &tensor.values));
    let id = finish(hasher, mask);
    tensors[0].shape = vec![layers, prompts * patches, width];
    header.rows = vec![patches; prompts];
    Ok((BankContent { tensors, rows: header.rows.clone() }, id))
}

fn hash_values(hasher: &mut blake3::Hasher, values: &[f32]) {
    values.chunks(4096).for_each(|chunk| {
        hasher.update(&bytes(chunk));
    });
}

fn finish(mut hasher: blake3::Hasher, mask: Option<&IgnoreMask>) -> String {
    for number in mask.iter().flat_map(|mask| mask.runs().as_flattened()) {
        hasher.update(&number.to_le_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn header_json(header: &Header) -> Result<String> {
    serde_json::to_string(header).map_err(unwritable)
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "cannot write the bank's header").because(error)
}

/// In which order prompts were appended.
fn arrivals(metadata: &Metadata, header: &Header) -> Result<Arrivals> {
    let text = metadata.metadata().as_ref().and_then(|entries| entries.get(ARRIVALS));
    let Some(text) = text else { return Ok(Arrivals::default()) };
    let wrong = || damaged("the bank's list of appended prompts is damaged");
    let found: Arrivals = serde_json::from_str(text).map_err(|error| wrong().because(error))?;
    if found.fits(&header.prompts) { Ok(found) } else { Err(wrong()) }
}

/// What the file calls the tensor of a content.
fn name_of(name: &str, content: Option<usize>) -> String {
    content.map_or_else(|| name.to_owned(), |k| format!("{name}.{k}"))
}

fn read_tensor(tensors: &SafeTensors<'_>, name: &'static str, content: Option<usize>) -> Result<NamedTensor> {
    let stored = name_of(name, content);
    let tensor = tensors
        .tensor(&stored)
        .map_err(|error| damaged(format!("tensor `{stored}` is missing")).of_tensor(&stored).because(error))?;
    if tensor.dtype() != Dtype::F32 {
        let message = format!("tensor `{stored}` is stored as {:?}, expected F32", tensor.dtype());
        return Err(damaged(message).of_tensor(&stored));
    }
    let all = tensor.data().as_chunks::<4>().0;
    let values = all.iter().map(|b| f32::from_le_bytes(*b));
    let values = memory::collected("reading a bank", all.len(), values)?;
    if !values.iter().all(|x| x.is_finite()) {
        return Err(damaged(format!("tensor `{stored}` holds NaN or infinity")).of_tensor(&stored));
    }
    Ok(NamedTensor { name, shape: tensor.shape().to_vec(), values: values.into() })
}

/// The ignore mask for frames of `size`.
fn read_mask(tensors: &SafeTensors<'_>, size: [usize; 2]) -> Result<IgnoreMask> {
    let missing = |error| damaged(format!("tensor `{RUNS}` is missing")).of_tensor(RUNS).because(error);
    let tensor = tensors.tensor(RUNS).map_err(missing)?;
    let [_, 3] = tensor.shape() else { return Err(misshapen_as(RUNS, tensor.shape())) };
    if tensor.dtype() != Dtype::U32 {
        return Err(damaged(format!("tensor `{RUNS}` is stored as {:?}, expected U32", tensor.dtype())).of_tensor(RUNS));
    }
    let all = tensor.data().as_chunks::<4>().0.as_chunks::<3>().0;
    let runs = all.iter().map(|run| run.map(u32::from_le_bytes));
    let runs = memory::collected("the ignore mask of a bank", all.len(), runs)?;
    IgnoreMask::from_runs(size[0], size[1], runs)
        .map_err(|error| damaged("the bank's ignore mask is not valid").because(error))
}

/// An error about the content of a bank's file. The only remedy is to build the bank again.
fn damaged(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Bank, format!("{}: build the bank again", message.into()))
}

fn misshapen(tensor: &NamedTensor) -> Error {
    misshapen_as(tensor.name, &tensor.shape)
}

fn misshapen_as(name: &str, shape: &[usize]) -> Error {
    damaged(format!("tensor `{name}` has shape {}, which does not fit the bank's other tensors", shape_text(shape)))
        .of_tensor(name)
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}
