//! One parallel pass over every used byte: the search for NaN and infinity, and the content hash.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::arch::Arch;
use super::file::{TensorFile, changed};
use super::table::TensorSpec;
use crate::error::Result;
use crate::process::without_signals;
use crate::tensor::{DType, TensorView, shape_text};

/// How many bytes are read, scanned and hashed at a time: a whole number of elements of every type, small enough to
/// stay in cache for the hash.
const CHUNK: usize = 1 << 20;

/// A tensor of the table and where its bytes lie.
pub(super) struct Entry {
    pub spec: TensorSpec,
    /// Index into the list of files.
    pub file: usize,
    pub dtype: DType,
    pub range: Range<usize>,
}

impl Entry {
    /// Reads the tensor and checks that its bytes are those of `scan`.
    ///
    /// # Errors
    /// As [`TensorFile::read`], and [`ErrorKind::Weights`](crate::ErrorKind::Weights) for bytes that have changed.
    pub fn read(&self, scan: &Scan, files: &[TensorFile]) -> Result<TensorView<'_>> {
        let bytes = files[self.file].read(self.range.clone())?;
        self.check(scan, blake3::hash(&bytes), files)?;
        Ok(TensorView { name: &self.spec.name, shape: &self.spec.shape, dtype: self.dtype, bytes: bytes.into() })
    }

    /// Rows `rows` of the matrix, in f32. Little of a large matrix is in memory at a time. All of it is read, since the
    /// hash covers the whole matrix.
    ///
    /// # Errors
    /// As [`Entry::read`].
    pub fn gather(&self, rows: &[u32], scan: &Scan, files: &[TensorFile]) -> Result<Vec<f32>> {
        let width: usize = self.spec.shape.iter().skip(1).product();
        let row_bytes = width * self.dtype.size();
        let mut wanted: Vec<(usize, usize)> = rows.iter().enumerate().map(|(at, &row)| (row as usize, at)).collect();
        wanted.sort_unstable();
        let mut wanted = wanted.into_iter().peekable();
        let mut out = vec![0.0; rows.len() * width];
        let mut hasher = blake3::Hasher::new();
        let in_chunk = (CHUNK / row_bytes.max(1)).max(1);
        let mut buffer = vec![0; in_chunk * row_bytes];
        let count = self.spec.shape.first().copied().unwrap_or(0);
        for first in (0..count).step_by(in_chunk) {
            let held = in_chunk.min(count - first);
            let bytes = &mut buffer[..held * row_bytes];
            files[self.file].read_into(self.range.start + first * row_bytes, bytes)?;
            hasher.update(bytes);
            let bytes: &[u8] = bytes;
            let view = TensorView { name: &self.spec.name, shape: &[], dtype: self.dtype, bytes: bytes.into() };
            while let Some((row, at)) = wanted.next_if(|&(row, _)| row < first + held) {
                view.read_f32((row - first) * width, &mut out[at * width..][..width]);
            }
        }
        self.check(scan, hasher.finalize(), files)?;
        Ok(out)
    }

    fn check(&self, scan: &Scan, found: blake3::Hash, files: &[TensorFile]) -> Result<()> {
        if found == scan.hash {
            return Ok(());
        }
        Err(changed(&format!("has other numbers in tensor `{}`", self.spec.name))
            .of_tensor(&self.spec.name)
            .at(&files[self.file].path))
    }
}

/// The result of the pass for one tensor.
pub(super) struct Scan {
    hash: blake3::Hash,
    /// The first element that is NaN or infinite.
    pub non_finite: Option<usize>,
}

/// Scans all entries on all available cores. The result is in the order of the entries.
///
/// It needs little memory, even for large files.
///
/// # Errors
/// As [`TensorFile::read`].
pub(super) fn scan(entries: &[Entry], files: &[TensorFile]) -> Result<Vec<Scan>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(entry) = entries.get(at) else { return done };
            done.push((at, scan_one(entry, &files[entry.file])));
        }
    };
    let mut scans = thread::scope(|scope| {
        let helpers = thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
        // If the system refuses a thread, the pass is only slower: this thread does the remaining work.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let handles: Vec<_> = without_signals(|| (0..helpers).filter_map(start).collect());
        let mut scans = work();
        for handle in handles {
            scans.extend(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        scans
    });
    scans.sort_unstable_by_key(|(at, _)| *at);
    scans.into_iter().map(|(_, scan)| scan).collect()
}

fn scan_one(entry: &Entry, file: &TensorFile) -> Result<Scan> {
    let mut hasher = blake3::Hasher::new();
    let mut non_finite = None;
    let Range { start, end } = entry.range;
    let mut buffer = vec![0; CHUNK.min(end - start)];
    for from in (start..end).step_by(CHUNK) {
        let bytes = &mut buffer[..CHUNK.min(end - from)];
        file.read_into(from, bytes)?;
        let bytes: &[u8] = bytes;
        if non_finite.is_none() {
            let view = TensorView { name: &entry.spec.name, shape: &[], dtype: entry.dtype, bytes: bytes.into() };
            non_finite = view.first_non_finite().map(|at| at + (from - start) / entry.dtype.size());
        }
        hasher.update(bytes);
    }
    Ok(Scan { hash: hasher.finalize(), non_finite })
}

/// The identity of a model: hex blake3 of the architecture's JSON and, in table order, each tensor's name, storage
/// type, shape and content hash. Files, their order and unused tensors have no influence.
pub(super) fn model_hash<'a>(arch: &Arch, scanned: impl Iterator<Item = (&'a Entry, &'a Scan)>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(arch.to_json().as_bytes());
    for (entry, scan) in scanned {
        let (spec, dtype) = (&entry.spec, entry.dtype.name());
        hasher.update(format!("\n{} {dtype} {} {}", spec.name, shape_text(&spec.shape), scan.hash.to_hex()).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
