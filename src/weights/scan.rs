//! One parallel pass over every used byte: the search for NaN and infinity, and the content hash.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::arch::Arch;
use super::file::MappedFile;
use super::table::TensorSpec;
use crate::process::without_signals;
use crate::tensor::{DType, TensorView, shape_text};

/// Bytes that are scanned, hashed and released before the next are touched: a whole number of elements of every type,
/// small enough to be still in cache for the hash.
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
    pub fn view<'a>(&'a self, files: &'a [MappedFile]) -> TensorView<'a> {
        let bytes = files[self.file].bytes(self.range.clone());
        TensorView { name: &self.spec.name, shape: &self.spec.shape, dtype: self.dtype, bytes }
    }
}

/// What the pass found in one tensor.
pub(super) struct Scan {
    hash: blake3::Hash,
    /// The first element that is NaN or infinite.
    pub non_finite: Option<usize>,
}

/// Scans all entries on every available core; the result is in their order.
///
/// Pages are released as the pass goes, so that it needs little memory however large the files are.
pub(super) fn scan(entries: &[Entry], files: &[MappedFile]) -> Vec<Scan> {
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
        // A system that refuses a thread makes the pass slower, not wrong: this thread takes what no other does.
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

fn scan_one(entry: &Entry, file: &MappedFile) -> Scan {
    let mut hasher = blake3::Hasher::new();
    let mut non_finite = None;
    let Range { start, end } = entry.range;
    for from in (start..end).step_by(CHUNK) {
        let range = from..end.min(from + CHUNK);
        let bytes = file.bytes(range.clone());
        if non_finite.is_none() {
            let view = TensorView { name: &entry.spec.name, shape: &[], dtype: entry.dtype, bytes };
            non_finite = view.first_non_finite().map(|at| at + (from - start) / entry.dtype.size());
        }
        hasher.update(bytes);
        // From the start again: a page fault also brings back pages around the one that was touched.
        file.release(start..range.end);
    }
    Scan { hash: hasher.finalize(), non_finite }
}

/// The identity of a model: hex blake3 of the architecture's JSON and, in table order, each tensor's name, storage type,
/// shape and content hash. Files, file order and unused tensors do not enter.
pub(super) fn model_hash<'a>(arch: &Arch, scanned: impl Iterator<Item = (&'a Entry, &'a Scan)>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(arch.to_json().as_bytes());
    for (entry, scan) in scanned {
        let (spec, dtype) = (&entry.spec, entry.dtype.name());
        hasher.update(format!("\n{} {dtype} {} {}", spec.name, shape_text(&spec.shape), scan.hash.to_hex()).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
