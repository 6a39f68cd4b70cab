//! Foreign checkpoints: files of PyTorch, open_clip, Hugging Face and OpenAI, converted to the one layout of [`weights`].
//!
//! The one idea: a checkpoint is *read*, never run. What a pickle says is taken as a description of tensors, by a reader
//! that knows the few opcodes and names that weights need and can do nothing but build values ([`convert()`] never
//! executes code of the file); every description is checked against the bytes that are there.
//!
//! Invariants: every tensor lies inside its file, has as many elements as its shape says and at most as many as its
//! storage; the output holds the tensors of [`weights::table`], finite, or does not appear at all. Sources are read at offsets,
//! never mapped: one that is cut short meanwhile is an error, no signal. Tensors are streamed, a transposed one is read whole.
//! Whatever is in the source, memory is at most its size, its pickle (16 MiB at most) and 8 MiB; for a model it is a few
//! megabytes and the largest transposed tensor. A file of a few-shot prompt list ([`PromptList`]) is read in the same way, one
//! tensor at a time.
//!
//! Refused, by name and byte offset: unknown opcodes and globals; compressed, encrypted or overlapping archive members;
//! sizes, strides or offsets that leave a storage; a storage used as two types; negative strides; two tensors of the model
//! in the same bytes; everything that [`weights`] refuses of names and shapes.
//!
//! | file | job |
//! |---|---|
//! | `read_at.rs` | bytes of a file, read at offsets |
//! | `zip.rs` | the directory of an archive |
//! | `pickle` | a pickle to values |
//! | `budget.rs` | memory that a pickle may take |
//! | `torch.rs` | values and storages to tensors: torch.save old and new, TorchScript |
//! | `names` | names of open_clip, InCTRL, Hugging Face, OpenAI and timm to those of the table |
//! | `source.rs` | what a tensor of the output is made of |
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
mod pickle;
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

/// The longest header of a safetensors file that is read here: a real model's has some 100 bytes for each tensor, and what
/// is read from it takes a multiple of its size.
const MAX_HEADER: u64 = 512 << 10;

/// Bytes at the beginning that say of which format a file is.
const SAMPLE: usize = 8;

/// A tensor inside a file: checked to lie there.
#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    dtype: Dtype,
    /// Extent of each dimension, outermost first.
    shape: Vec<usize>,
    /// Distance between neighbours along each dimension, in elements.
    strides: Vec<usize>,
    /// From the first element to the last, in bytes of the file.
    range: Range<usize>,
    /// Which file of the checkpoint that is.
    file: usize,
}

impl Tensor {
    /// Row-major, in all of `range`.
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

    /// The part of the dimension `axis` that is `rows`, which it has.
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

/// What a file says of itself.
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
    /// The file, or the index of several.
    path: PathBuf,
    files: Vec<SourceFile>,
    content: Content,
}

impl Checkpoint {
    /// Opens what `path` names, a file, an index of files or a folder with one of them, and reads where its tensors lie.
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
            // The very file that the header is of, whatever has the name by now.
            file = header.into();
            Content { tensors, config, script: false }
        };
        Ok(Checkpoint { path: path.to_path_buf(), files: vec![file], content })
    }
}

/// Refuses a safetensors header that is longer than a model's.
fn check_header(file: &SourceFile) -> Result<()> {
    let length = file.head(SAMPLE)?.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length));
    // A length beyond the end is no header at all, which the reader of the format says better.
    if length <= MAX_HEADER || length > file.len() as u64 {
        return Ok(());
    }
    let message = format!("has a safetensors header of {length} bytes, expected at most {MAX_HEADER}");
    Err(Error::new(ErrorKind::Weights, message))
}
