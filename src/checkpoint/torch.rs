//! `torch.save` and TorchScript files: the tensors in their pickle, checked against the file.
//!
//! Only names are taken from the pickle unchecked. Every size, stride and offset is checked against the bytes of the
//! storage.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::Dtype;

use super::budget::Budget;
use super::pickle::{Global, Pickle, Subject, Value};
use super::read_at::ReadAt;
use super::{Content, Tensor, zip};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::shape_text;

/// The longest pickle, or all pickles together in the old format. A real model's pickle has about 150 bytes per tensor.
const MAX_PICKLE: usize = 16 << 20;
/// The largest number of tensors of one model, and of storages. CLIP's largest model has about 1300.
const MAX_TENSORS: usize = 4096;
/// Bytes that a pickle's values may take in addition to the file's size: enough for a small file.
const PICKLE_MEMORY: usize = 2 << 20;
/// The start of a file in the old format, before zip archives: a pickle of torch's magic number.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// An archive's statement of its byte order.
const LITTLE: &[u8] = b"little";
/// Bytes of the element count before a storage's elements.
const COUNT: usize = 8;
/// Keys under which training scripts save the weights.
const STATES: [&str; 4] = ["state_dict", "model_state", "model_state_dict", "model"];

/// Storages by their key in the pickle: their ranges in the file.
type Storages<'a> = BTreeMap<&'a str, Range<usize>>;

fn broken(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Weights, message)
}

/// Whether a file with this beginning is one of torch's.
pub(super) fn is_torch(head: &[u8]) -> bool {
    zip::is_zip(head) || matches!(head, [0x80, 2..=5, ..])
}

/// Reads the model in either format.
pub(super) fn read(source: &dyn ReadAt) -> Result<Content> {
    open(source, content)
}

/// Reads the tensors of a list or tuple, which have no names, in either format.
pub(super) fn read_list(source: &dyn ReadAt) -> Result<Vec<Tensor>> {
    open(source, |pickle, storages, _| list(pickle, storages))
}

/// Calls `then` with the pickle of the saved value, its storages, and whether the file is a TorchScript archive.
fn open<T>(source: &dyn ReadAt, then: impl FnOnce(&Pickle<'_>, &Storages<'_>, bool) -> Result<T>) -> Result<T> {
    let mut budget = Budget::new(source.len().saturating_add(PICKLE_MEMORY));
    let is_zip = zip::is_zip(&source.head(MAGIC.len())?);
    if is_zip { archive(source, &mut budget, then) } else { legacy(source, &mut budget, then) }
}

fn archive<T>(
    source: &dyn ReadAt,
    budget: &mut Budget,
    then: impl FnOnce(&Pickle<'_>, &Storages<'_>, bool) -> Result<T>,
) -> Result<T> {
    let files = zip::directory(source)?;
    let mut roots = files.keys().filter_map(|name| name.strip_suffix("data.pkl")).filter(|root| {
        // The model's own pickle is at the archive's root: a folder, or nothing.
        root.is_empty() || root.find('/') == Some(root.len() - 1)
    });
    let (Some(root), None) = (roots.next(), roots.next()) else {
        return Err(broken("is a zip archive, but not one of PyTorch: expected one data.pkl in it"));
    };
    let stored = |name: &str| match files.get(name) {
        Some(Some(range)) => Ok(range.clone()),
        Some(None) => Err(broken(format!("`{name}` is compressed: save the model again with torch.save"))),
        None => Err(broken(format!("`{name}` is missing from the archive"))),
    };
    if let Ok(order) = stored(&format!("{root}byteorder"))
        && (order.len() != LITTLE.len() || source.read(order)? != LITTLE)
    {
        return Err(broken("was saved on a big-endian machine: save it again on a little-endian one"));
    }
    let script = files.contains_key(format!("{root}constants.pkl").as_str());
    let range = stored(&format!("{root}data.pkl"))?;
    if range.len() > MAX_PICKLE {
        return Err(broken(format!("its pickle has {} bytes, expected at most {MAX_PICKLE}", range.len())));
    }
    let bytes = source.read(range)?;
    let subject = if script { Subject::Script } else { Subject::Weights };
    let pickle = Pickle::read(&bytes, subject, budget)?;
    let folder = format!("{root}data/");
    let storages = files.iter().filter_map(|(name, range)| Some((name.strip_prefix(&folder)?, range.clone()?)));
    then(&pickle, &storages.collect(), script)
}

/// The old format: pickles of the magic number, the version, the machine, the value and the list of storage keys; then
/// the storages, each an element count and the elements.
fn legacy<T>(
    source: &dyn ReadAt,
    budget: &mut Budget,
    then: impl FnOnce(&Pickle<'_>, &Storages<'_>, bool) -> Result<T>,
) -> Result<T> {
    let bytes = source.head(MAX_PICKLE)?;
    if !bytes.starts_with(MAGIC) {
        let message = "is a pickle, but not one that torch.save writes: save the model's state_dict with torch.save";
        return Err(broken(message));
    }
    let mut at = MAGIC.len();
    for _ in ["version", "machine"] {
        at += Pickle::read(&bytes[at..], Subject::Weights, budget)?.length;
    }
    let pickle = Pickle::read(&bytes[at..], Subject::Weights, budget)?;
    at += pickle.length;
    let keys = Pickle::read(&bytes[at..], Subject::Weights, budget)?;
    at += keys.length;

    let items = keys.list(&keys.root).ok_or_else(|| broken("its list of storages is missing"))?;
    if items.len() > MAX_TENSORS {
        return Err(broken(format!("has {} storages, expected at most {MAX_TENSORS}", items.len())));
    }
    let sizes = pickle.storages()?;
    let mut storages = Storages::new();
    for item in items {
        let key = keys.text(item).ok_or_else(|| broken("a storage has no key"))?;
        let dtype = sizes.get(key).ok_or_else(|| broken(format!("no tensor uses storage `{}`", shown(key))))?;
        let mut count = [0xff; COUNT];
        if at + COUNT <= source.len() {
            source.read_into(at, &mut count)?;
        }
        let count = usize::try_from(u64::from_le_bytes(count)).ok();
        let length = count.and_then(|count| count.checked_mul(dtype.bitsize() / 8));
        let end = length.and_then(|length| length.checked_add(at + COUNT));
        let Some(end) = end.filter(|&end| end <= source.len()) else {
            return Err(broken(format!("is truncated: storage `{}` reaches beyond its end", shown(key))));
        };
        if storages.insert(key, at + COUNT..end).is_some() {
            return Err(broken(format!("storage `{}` is present twice", shown(key))));
        }
        at = end;
    }
    then(&pickle, &storages, false)
}

/// A name from the file, escaped for messages.
fn shown(name: &str) -> String {
    name.chars().take(120).flat_map(char::escape_debug).collect()
}

/// The tensors of the model in a pickle.
fn content(pickle: &Pickle<'_>, storages: &Storages<'_>, script: bool) -> Result<Content> {
    let mut state = &pickle.root;
    // Training scripts nest at most two wrappers.
    for _ in 0..2 {
        let has_tensors = pickle.entries(state).is_some_and(|all| all.iter().any(|(_, v)| pickle.tensor(v).is_some()));
        let inner = STATES.iter().find_map(|key| pickle.entry(state, key).filter(|v| pickle.entries(v).is_some()));
        match inner {
            Some(inner) if !has_tensors && !script => state = inner,
            _ => break,
        }
    }
    pickle.storages()?;
    let named = pickle.tensors(state)?;
    if named.len() > MAX_TENSORS {
        return Err(broken(format!("holds {} tensors, expected at most {MAX_TENSORS}", named.len())));
    }
    let mut tensors = BTreeMap::new();
    for (name, arguments) in named {
        let tensor = tensor(pickle, arguments, storages)
            .map_err(|message| broken(format!("tensor `{}`: {message}", shown(&name))).of_tensor(&name))?;
        // As in Python, the last of two equal keys counts.
        tensors.insert(name, tensor);
    }
    if tensors.is_empty() {
        let message = format!(
            "holds no named tensors at its top level or under {}: save the model's state_dict with torch.save",
            STATES.join(", ")
        );
        return Err(broken(message));
    }
    Ok(Content { tensors, config: None, script })
}

/// The tensors of a list.
fn list(pickle: &Pickle<'_>, storages: &Storages<'_>) -> Result<Vec<Tensor>> {
    let Some(items) = pickle.list(&pickle.root) else {
        let found = match pickle.entries(&pickle.root) {
            Some(_) => "a dictionary (a model is for `inctrl convert`)",
            None if pickle.tensor(&pickle.root).is_some() => "one tensor",
            None => "something else",
        };
        return Err(broken(format!("holds {found}, expected a list of tensors: torch.save([tensor, ...], path)")));
    };
    if items.len() > MAX_TENSORS {
        return Err(broken(format!("is a list of {} items, expected at most {MAX_TENSORS}", items.len())));
    }
    pickle.storages()?;
    let each = |(i, item)| {
        let arguments = pickle.tensor(item).ok_or_else(|| "is not a tensor".to_owned());
        arguments
            .and_then(|arguments| tensor(pickle, arguments, storages))
            .map_err(|message| format!("item {i}: {message}"))
    };
    items.iter().enumerate().map(each).collect::<Result<_, _>>().map_err(broken)
}

/// `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, where storage is `('storage', type, key, device, count,
/// ...)`.
fn tensor(pickle: &Pickle<'_>, arguments: &[Value], storages: &Storages<'_>) -> Result<Tensor, String> {
    let malformed = || "its description is malformed".to_owned();
    let [storage, Value::Int(offset), size, stride, ..] = arguments else { return Err(malformed()) };
    let (key, dtype) = storage_reference(pickle, storage).ok_or_else(malformed)?;
    let whole = |value: &Value| match value {
        Value::Int(number) => usize::try_from(*number).map_err(|_| format!("{number} among its sizes and strides")),
        _ => Err(malformed()),
    };
    let numbers = |value| pickle.list(value).ok_or_else(malformed)?.iter().map(whole).collect::<Result<Vec<_>, _>>();
    let (shape, strides) = (numbers(size)?, numbers(stride)?);
    if shape.len() != strides.len() || shape.len() > 8 {
        return Err(format!("{} sizes and {} strides", shape.len(), strides.len()));
    }
    let offset = whole(&Value::Int(*offset))?;
    let bytes = storages.get(key).ok_or_else(|| format!("its storage `{}` is missing", shown(key)))?;
    Tensor::new(dtype, shape, strides, offset, bytes.clone())
}

fn storage_reference<'a>(pickle: &Pickle<'a>, value: &Value) -> Option<(&'a str, Dtype)> {
    let [kind, Value::Global(Global::Storage(dtype)), key, ..] = pickle.persistent(value)? else { return None };
    (pickle.text(kind)? == "storage").then_some((pickle.text(key)?, *dtype))
}

impl<'a> Pickle<'a> {
    /// Every storage that the pickle refers to, with its element type. A storage that is used as two types is refused.
    fn storages(&self) -> Result<BTreeMap<&'a str, Dtype>> {
        let mut types = BTreeMap::new();
        for at in 0..self.nodes() {
            let Some((key, dtype)) = storage_reference(self, &Value::Node(at)) else { continue };
            if *types.entry(key).or_insert(dtype) != dtype {
                return Err(broken(format!("storage `{}` is used as two types", shown(key))));
            }
        }
        Ok(types)
    }
}

impl Tensor {
    /// A tensor in a storage of the file, in elements. Refuses tensors that exceed the storage or repeat elements.
    pub(super) fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        storage: Range<usize>,
    ) -> Result<Tensor, String> {
        let size = dtype.bitsize() / 8;
        let held = storage.len() / size;
        let outside = || {
            format!(
                "shape {} with strides {strides:?} at {offset} does not fit its storage of {held} elements",
                shape_text(&shape)
            )
        };
        let count = shape.iter().try_fold(1_usize, |count, &extent| count.checked_mul(extent)).ok_or_else(outside)?;
        if count == 0 {
            return Ok(Tensor { dtype, strides, range: storage.start..storage.start, shape, file: 0 });
        }
        let reach = shape
            .iter()
            .zip(&strides)
            .try_fold(0_usize, |reach, (&extent, &stride)| reach.checked_add((extent - 1).checked_mul(stride)?));
        let end = reach.and_then(|reach| reach.checked_add(offset)?.checked_add(1)).filter(|&end| end <= held);
        let end = end.filter(|_| count <= held).ok_or_else(outside)?;
        let range = storage.start + offset * size..storage.start + end * size;
        Ok(Tensor { dtype, shape, strides, range, file: 0 })
    }
}
