//! One safetensors file: a length, a JSON header, and the tensors' bytes.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::arch::Arch;
use super::load::CONFIG_KEY;
use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::tensor::DType;

/// Bytes before the header: its length as a little-endian u64.
const PREFIX: usize = 8;
/// The largest header that the format allows.
const MAX_HEADER: usize = 100_000_000;
/// How many first bytes are used to identify a file.
const SAMPLE: usize = 4096;

/// A tensor as the header describes it. Offset, shape and type are consistent, and the bytes lie inside the file.
pub struct Stored {
    /// Type of its elements.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Where its bytes lie, for [`TensorFile::read`].
    pub range: Range<usize>,
}

/// An open safetensors file with a valid header.
///
/// Renaming another file over it does not affect this one. Bytes written *into* it appear at the next read.
pub struct TensorFile {
    /// Path of the file.
    pub path: PathBuf,
    file: File,
    len: u64,
    /// The tensors by name.
    pub tensors: BTreeMap<String, Stored>,
    /// The free-form strings of the header.
    pub metadata: BTreeMap<String, String>,
}

impl TensorFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; [`ErrorKind::Weights`] where it is not a safetensors file.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, len) = disk::open(path, "a safetensors file")?;
        let (header, data_start) = header(&file, len).map_err(|error| error.at(path))?;
        let mut tensors = BTreeMap::new();
        for (name, info) in header.tensors() {
            let (start, end) = info.data_offsets;
            // `header` checked that the last tensor ends at the end of the file, so these sums cannot overflow.
            let range = data_start + start..data_start + end;
            tensors.insert(name, Stored { dtype: info.dtype, shape: info.shape.clone(), range });
        }
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(TensorFile { path: path.to_path_buf(), file, len, tensors, metadata })
    }

    /// Size of the file in bytes when it was opened.
    #[expect(clippy::len_without_is_empty, reason = "an empty file is refused")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Path, open file, and its size in bytes when it was opened.
    pub fn into_parts(self) -> (PathBuf, File, usize) {
        // `open` refuses a file longer than a usize can hold.
        (self.path, self.file, self.len as usize)
    }

    /// The current bytes of a range of this file.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] where the file has become shorter; [`ErrorKind::Io`]; [`ErrorKind::Device`] where there
    /// is not enough memory.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<u8>> {
        let mut bytes = memory::zeros("a tensor", range.len()).map_err(|error| error.at(&self.path))?;
        self.read_into(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `out` with the bytes from `start` on.
    ///
    /// # Errors
    /// As [`TensorFile::read`].
    pub fn read_into(&self, start: usize, out: &mut [u8]) -> Result<()> {
        disk::read_at(&self.file, start as u64, out).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => changed("has become shorter").at(&self.path),
            _ => Error::io("read", &self.path, source),
        })
    }
}

/// The error for a file that has changed since it was opened.
pub(super) fn changed(how: &str) -> Error {
    let message = format!(
        "{how} since it was opened: it no longer matches the model's hash. Open the model again, and replace a file \
        by renaming a new one over it, never by writing into it"
    );
    Error::new(ErrorKind::Weights, message)
}

/// The bytes before the tensors of a safetensors file with these tensors (name, type, shape): length and JSON header,
/// padded to a multiple of eight bytes, with the configuration in the metadata.
pub fn header_for(tensors: impl Iterator<Item = (String, Dtype, Vec<usize>)>, arch: &Arch) -> Result<Vec<u8>> {
    let internal = |message: &str| Error::new(ErrorKind::Internal, message);
    let mut offset = 0;
    let infos = tensors.map(|(name, dtype, shape)| {
        let start = offset;
        offset += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (name, TensorInfo { dtype, shape, data_offsets: (start, offset) })
    });
    let metadata = HashMap::from([(CONFIG_KEY.to_string(), arch.to_json())]);
    let header = Metadata::new(Some(metadata), infos.collect())
        .map_err(|source| internal("the header of a new safetensors file is inconsistent").because(source))?;
    let json = serde_json::to_vec(&header)
        .map_err(|source| internal("a safetensors header does not serialise").because(source))?;
    let length = json.len().next_multiple_of(8);
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes.resize(PREFIX + length, b' ');
    Ok(bytes)
}

/// The checked header and the offset of the first tensor.
fn header(file: &File, len: u64) -> Result<(Metadata, usize)> {
    let broken = |message: String| Error::new(ErrorKind::Weights, message);
    let read = |start: u64, out: &mut [u8]| {
        disk::read_at(file, start, out).map_err(|source| broken("cannot be read completely".into()).because(source))
    };
    let len =
        usize::try_from(len).map_err(|_| broken(format!("has {len} bytes, more than this machine can address")))?;
    let mut start = vec![0; len.min(SAMPLE)];
    read(0, &mut start)?;
    let Some((prefix, rest)) = start.split_first_chunk::<PREFIX>() else {
        return Err(broken(format!("is not a safetensors file: {len} bytes are too few")));
    };
    let length = usize::try_from(u64::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
    if length > MAX_HEADER || rest.first() != Some(&b'{') {
        return Err(broken(format!("is not a safetensors file: {}", what_else(&start))));
    }
    if length > len - PREFIX {
        return Err(broken(format!("is truncated: its header alone has {length} bytes, but the file has {len}")));
    }
    let mut json = memory::zeros::<u8>("the header of a safetensors file", length)?;
    read(PREFIX as u64, &mut json)?;
    // Reading the metadata also checks that the tensors follow each other without gaps, and that each byte count
    // matches shape and type.
    let header: Metadata = serde_json::from_slice(&json).map_err(|source| {
        broken("has a damaged safetensors header: copy or convert the file again".into()).because(source)
    })?;
    let data_start = PREFIX + length;
    match data_start.checked_add(header.data_len()) {
        Some(end) if end == len => Ok((header, data_start)),
        Some(end) if end < len => {
            Err(broken(format!("has {len} bytes, but its tensors end at {end}: copy or convert it again")))
        }
        _ => Err(broken(format!(
            "is truncated: its header describes {} bytes of tensors, but the file has {}: copy it again",
            header.data_len(),
            len - data_start
        ))),
    }
}

/// What a file with this beginning, which is not safetensors, seems to be.
fn what_else(bytes: &[u8]) -> &'static str {
    let text = bytes.trim_ascii_start();
    // torch.save writes a zip archive, and a bare pickle (protocol 2 to 5) in its old format.
    if bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 2..=5, ..]) {
        "this is a PyTorch checkpoint, convert it with `inctrl convert` (no code in it is run)"
    } else if text.starts_with(b"{") && text.windows(12).any(|part| part == b"\"weight_map\"") {
        "this is the index of a checkpoint in several files, join them with `inctrl convert`"
    } else if text.starts_with(b"{") {
        "this is JSON, perhaps a model's configuration (--config)"
    } else {
        "it does not start with a length and a JSON header"
    }
}

/// The storage types that a used tensor may have.
pub(crate) fn storage(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::Bf16),
        _ => None,
    }
}

/// The format's name for `dtype`.
pub fn stored_as(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
    }
}
