//! One memory-mapped safetensors file: a length, a JSON header, and the tensors' bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::DType;

/// Bytes before the header: its length as a little-endian u64.
const PREFIX: usize = 8;
/// The largest header that the format allows.
const MAX_HEADER: usize = 100_000_000;

/// A tensor as the header describes it. Offset, shape and type agree with each other and lie inside the file.
pub(super) struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Where its bytes lie, for [`MappedFile::bytes`].
    pub range: Range<usize>,
}

/// A safetensors file with a valid header.
pub(super) struct MappedFile {
    pub path: PathBuf,
    map: Mmap,
    pub tensors: BTreeMap<String, Stored>,
    /// The free-form strings of the header.
    pub metadata: BTreeMap<String, String>,
}

impl MappedFile {
    pub fn open(path: &Path) -> Result<Self> {
        let broken = |message: &str| Error::new(ErrorKind::Weights, message).at(path);
        let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
        let found = file.metadata().map_err(|source| Error::io("read", path, source))?;
        if found.is_dir() {
            return Err(broken("is a folder, expected a safetensors file"));
        }
        if !found.is_file() {
            return Err(broken("is not a regular file and cannot be mapped, expected a safetensors file"));
        }
        if found.len() == 0 {
            return Err(broken("is empty (0 bytes), expected a safetensors file"));
        }
        let map = map(&file).map_err(|source| Error::io("map", path, source))?;
        let (header, data_start) = header(&map).map_err(|error| error.at(path))?;
        let mut tensors = BTreeMap::new();
        for (name, info) in header.tensors() {
            let (start, end) = info.data_offsets;
            // `header` checked that the last tensor ends where the file ends, so these sums cannot overflow.
            let range = data_start + start..data_start + end;
            tensors.insert(name, Stored { dtype: info.dtype, shape: info.shape.clone(), range });
        }
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(MappedFile { path: path.to_path_buf(), map, tensors, metadata })
    }

    /// Size of the file in bytes.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// The bytes of a range of this file.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.map[range]
    }

    /// Tells the system that the pages of `range` can leave memory; a later access reads them from the file again.
    ///
    /// Partly covered pages at both ends go too: a neighbour that needs one has it back at its next access.
    #[cfg(unix)]
    #[allow(unsafe_code)]
    pub fn release(&self, range: Range<usize>) {
        use memmap2::UncheckedAdvice;
        debug_assert!(range.end <= self.map.len());
        // SAFETY: the map is shared, read-only and backed by a file. For such a map MADV_DONTNEED changes no content: it
        // drops page-table entries, and the next access finds the same bytes in the page cache or the file. References
        // into the range therefore stay valid and keep their values. memmap2 checks that the range lies in the map.
        let advised = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        // Advice only: a system that does not take it keeps the pages, and nothing else changes.
        let _ = advised;
    }

    /// Elsewhere the system decides by itself.
    #[cfg(not(unix))]
    pub fn release(&self, _range: Range<usize>) {}
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the file was opened for reading only and the map is never written. The bytes are read as plain numbers, for
    // which every bit pattern is valid, and no length or offset is read from the map again after it was checked. What
    // cannot be ruled out is another process changing the file meanwhile: numbers would change under a reader, and
    // truncation would end the process with a bus error (never a read outside the map). The documentation of
    // `Weights::open` makes leaving the file alone the caller's duty, as everything that maps files must.
    unsafe { Mmap::map(file) }
}

/// The checked header and the offset of the first tensor.
fn header(bytes: &[u8]) -> Result<(Metadata, usize)> {
    let broken = |message: String| Error::new(ErrorKind::Weights, message);
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(broken(format!("is not a safetensors file: {} bytes are too few", bytes.len())));
    };
    let length = usize::try_from(u64::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
    if length > MAX_HEADER || rest.first() != Some(&b'{') {
        return Err(broken(format!("is not a safetensors file: {}", what_else(bytes))));
    }
    let Some(json) = rest.get(..length) else {
        let message = format!("is truncated: its header alone has {length} bytes, the file has {}", bytes.len());
        return Err(broken(message));
    };
    // Reading the metadata also checks that the tensors follow each other without gaps, and that each one's byte count
    // is that of its shape and type.
    let header: Metadata = serde_json::from_slice(json).map_err(|source| {
        broken("has a damaged safetensors header; copy or convert the file again".into()).because(source)
    })?;
    let data_start = PREFIX + length;
    match data_start.checked_add(header.data_len()) {
        Some(end) if end == bytes.len() => Ok((header, data_start)),
        Some(end) if end < bytes.len() => {
            Err(broken(format!("has {} bytes, but its tensors end at {end}; copy or convert it again", bytes.len())))
        }
        _ => Err(broken(format!(
            "is truncated: its header describes {} bytes of tensors, the file has {}; copy it again",
            header.data_len(),
            bytes.len() - data_start
        ))),
    }
}

/// What a file that is no safetensors file seems to be.
fn what_else(bytes: &[u8]) -> &'static str {
    // torch.save writes a zip archive, and a bare pickle (protocol 2 to 5) in its old format.
    if bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 2..=5, ..]) {
        "this is a PyTorch checkpoint, convert it (pickles can run code and are never opened)"
    } else {
        "it does not start with the length of a JSON header and the header; convert it"
    }
}

/// The storage types that a used tensor may have.
pub(super) fn storage(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::Bf16),
        _ => None,
    }
}

/// The inverse of [`storage`].
pub(super) fn stored_as(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
    }
}
