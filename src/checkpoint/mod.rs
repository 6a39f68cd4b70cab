//! Foreign checkpoints: files of PyTorch, open_clip, Hugging Face and OpenAI, converted to the one layout of
//! [`weights`].
//!
//! A checkpoint is *read*, never run. The pickle reader knows only the few opcodes and names that weights need, and it
//! can only build values: [`convert()`] never executes code from the file. Every description of a tensor is checked
//! against the bytes of the file.
//!
//! Invariants: every tensor lies inside its file, has as many elements as its shape, and at most as many as its
//! storage. The output holds exactly the tensors of [`weights::table`], all finite, or does not appear. Sources are
//! read at offsets, never mapped: if one is cut short, that is an error rather than a signal. Tensors are streamed,
//! except transposed ones, which are read whole. Memory is at most the source's size, its pickle (at most 16 MiB) and 8
//! MiB; for a real model it is a few megabytes and the largest transposed tensor. A few-shot prompt list
//! ([`PromptList`]) is read in the same way, one tensor at a time.
//!
//! Refused, by name and byte offset: unknown opcodes and globals; compressed, encrypted or overlapping archive members;
//! sizes, strides or offsets that exceed a storage; a storage used as two types; negative strides; two tensors of the
//! model in the same bytes; names and shapes that [`weights`] refuses.
//!
//! | file | job |
//! |---|---|
//! | `read_at.rs` | bytes of a file, read at offsets |
//! | `zip.rs` | the directory of an archive |
//! | `pickle` | a pickle to values |
//! | `budget.rs` | memory that a pickle may take |
//! | `torch.rs` | values and storages to tensors: torch.save old and new, TorchScript |
//! | `names` | names of open_clip, InCTRL, Hugging Face, OpenAI and timm to those of the table |
//! | `source.rs` | the parts of an output tensor |
//! | `config.rs` | the architecture: open_clip's and Hugging Face's JSON, else shapes |
//! | `shards.rs` | a folder, or an index of several files, as one checkpoint |
//! | `convert.rs` | sources to one safetensors file |
//! | `prompt_list.rs` | a list of tensors to model inputs |
//!
//! [`weights`]: crate::weights
//! [`weights::table`]: crate::weights::table()

mod budget;
mod config;
mod convert;
mod names;
pub(crate) mod pickle;
mod prompt_list;
mod read_at;
mod shards;
mod source;
#[cfg(test)]
mod tests;
mod torch;
mod zip;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

pub use convert::{ConvertOptions, Converted, convert};
pub use prompt_list::PromptList;

use read_at::{ReadAt, SourceFile};

use crate::error::{Error, ErrorKind, Result};
use crate::weights::{CONFIG_KEY, TensorFile};

/// The longest safetensors header that is read here. A real model's header has about 100 bytes per tensor, and parsing
/// takes a multiple of its size.
const MAX_HEADER: u64 = 512 << 10;

/// How many first bytes identify a file's format.
const SAMPLE: usize = 8;

/// A tensor inside a file. It has been checked to lie there.
#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    dtype: Dtype,
    /// Extent of each dimension, outermost first.
    shape: Vec<usize>,
    /// Distance between neighbours along each dimension, in elements.
    strides: Vec<usize>,
    /// The bytes of the file from the first element to the last.
    range: Range<usize>,
    /// Index of the file in the checkpoint.
    file: usize,
}

impl Tensor {
    /// A row-major tensor that fills `range`.
    fn dense(dtype: Dtype, shape: Vec<usize>, range: Range<usize>) -> Tensor {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i];
        }
        Tensor { dtype, shape, strides, range, file: 0 }
    }

    fn is_dense(&self) -> bool {
        let mut stride = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&extent, &found)| {
            let follows = extent == 1 || found == stride;
            stride *= extent;
            follows
        })
    }

    /// The part `rows` of the dimension `axis`.
    fn slice(&self, axis: usize, rows: Range<usize>) -> Option<Tensor> {
        let (extent, stride) = (*self.shape.get(axis)?, *self.strides.get(axis)?);
        if rows.is_empty() || rows.end > extent {
            return None;
        }
        let mut part = self.clone();
        part.shape[axis] = rows.len();
        let size = self.dtype.bitsize() / 8;
        let reach: usize = part.shape.iter().zip(&part.strides).map(|(extent, stride)| (extent - 1) * stride).sum();
        let start = self.range.start + rows.start * stride * size;
        part.range = start..start + (reach + 1) * size;
        Some(part)
    }

    fn transposed(mut self) -> Tensor {
        self.shape.reverse();
        self.strides.reverse();
        self
    }
}

/// The content of a file.
#[derive(Default)]
struct Content {
    tensors: BTreeMap<String, Tensor>,
    /// Our own configuration, in the metadata of a safetensors file.
    config: Option<String>,
    /// A TorchScript archive.
    script: bool,
}

/// An open checkpoint.
struct Checkpoint {
    /// The file, or the index of several files.
    path: PathBuf,
    files: Vec<SourceFile>,
    content: Content,
}

impl Checkpoint {
    /// Opens a file, an index of files, or a folder with one of them, and reads where its tensors lie.
    fn open(path: &Path) -> Result<Checkpoint> {
        let path = shards::locate(path)?;
        if shards::is_index(&path) { shards::join(&path) } else { Checkpoint::open_file(&path) }
    }

    fn open_file(path: &Path) -> Result<Checkpoint> {
        let mut file = SourceFile::open(path, "a checkpoint (.pt, .pth, .bin or .safetensors)")?;
        let content = if torch::is_torch(&file.head(SAMPLE)?) {
            torch::read(&file).map_err(|error| error.at(path))?
        } else {
            check_header(&file).map_err(|error| error.at(path))?;
            let mut header = TensorFile::open(path)?;
            let stored = std::mem::take(&mut header.tensors).into_iter();
            let tensors = stored.map(|(name, t)| (name, Tensor::dense(t.dtype, t.shape, t.range))).collect();
            let config = header.metadata.remove(CONFIG_KEY);
            // The same open file as the header, even if the name now belongs to another file.
            file = header.into();
            Content { tensors, config, script: false }
        };
        Ok(Checkpoint { path: path.to_path_buf(), files: vec![file], content })
    }
}

/// Refuses a safetensors header that is longer than a model's.
fn check_header(file: &SourceFile) -> Result<()> {
    let length = file.head(SAMPLE)?.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length));
    // For a length beyond the end, the format's reader gives a better error.
    if length <= MAX_HEADER || length > file.len() as u64 {
        return Ok(());
    }
    let message = format!("has a safetensors header of {length} bytes, expected at most {MAX_HEADER}");
    Err(Error::new(ErrorKind::Weights, message))
}
