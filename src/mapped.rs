//! A file in memory without a copy.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::disk;
use crate::error::{Error, Result};

/// A memory-mapped regular file of at least one byte.
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps the file at `path`; `expected` ("a safetensors file") says in errors what it should be.
    pub fn open(path: &Path, expected: &str) -> Result<Self> {
        let (file, _) = disk::open(path, expected)?;
        map(&file).map(Mapped).map_err(|source| Error::io("map", path, source))
    }

    /// Size of the file in bytes.
    #[expect(clippy::len_without_is_empty, reason = "an internal, and nobody asks")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes of a range of this file.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.0[range]
    }

    /// Tells the system that the pages of `range` can leave memory; a later access reads them from the file again.
    ///
    /// Partly covered pages at both ends go too: a neighbour that needs one has it back at its next access.
    #[cfg(unix)]
    #[allow(unsafe_code)]
    pub fn release(&self, range: Range<usize>) {
        use memmap2::UncheckedAdvice;
        debug_assert!(range.end <= self.0.len());
        // SAFETY: the map is shared, read-only and backed by a file. For such a map MADV_DONTNEED changes no content: it
        // drops page-table entries, and the next access finds the same bytes in the page cache or the file. References
        // into the range therefore stay valid and keep their values. memmap2 checks that the range lies in the map.
        let advised = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        // Advice only: a system that does not take it keeps the pages, and nothing else changes.
        let _ = advised;
    }

    /// Elsewhere the system decides by itself.
    #[cfg(not(unix))]
    pub fn release(&self, _range: Range<usize>) {}
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the file was opened for reading only and the map is never written. The bytes are read as plain numbers and
    // text that is checked where it is used: every bit pattern is valid, and every range goes through a bounds check
    // against the length of the map. What cannot be ruled out is another process changing the file meanwhile: numbers
    // would change under a reader, and truncation would end the process with a bus error (never a read outside the map).
    // The documentation of `Weights::open` makes leaving the file alone the caller's duty, as everything that maps files
    // must.
    unsafe { Mmap::map(file) }
}
