//! Which cuBLASLt algorithm multiplies which layer: chosen once for each layer shape, whatever the batch.
//!
//! Algorithms differ in the order of their sums, so that one chosen for each batch size would give other bits to other
//! batches. The table is therefore keyed by what a row sees (inputs, outputs, types, epilogue), never by the number of
//! rows, and an algorithm that splits a sum between blocks is not taken. It is filled at load, from a file of `inctrl
//! tune` or from cuBLASLt's own order of preference, which is fixed for a GPU and a version of the library; nothing is
//! timed.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use cudarc::cublaslt::sys::{
    self, cublasLtMatmulAlgo_t as Algo, cublasLtMatmulAlgoConfigAttributes_t as Config,
    cublasLtMatmulHeuristicResult_t as Candidate, cublasStatus_t as Status,
};
use serde::{Deserialize, Serialize};

use super::context::device_error;
use super::error::blas;
use super::matmul::{Handle, Problem, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::process::{self, Origin};

/// Token rows of eight images of ViT-B/16+: the shape that the library is asked about where no table was given.
const CANONICAL_ROWS: usize = 8 * 226;
/// An algorithm is taken if it can multiply each of these numbers of rows.
const ROWS: [usize; 4] = [1, 8, 226, 64 * 226];
/// Candidates asked of the library.
const CANDIDATES: usize = 32;

/// A chosen algorithm for each shape.
pub(super) struct Algorithms {
    gpu: String,
    version: usize,
    fast: bool,
    source: Option<PathBuf>,
    chosen: Mutex<BTreeMap<Shape, [u64; 8]>>,
    origin: Origin,
}

/// The file that `inctrl tune` writes.
#[derive(Serialize, Deserialize)]
struct Table {
    gpu: String,
    cublaslt: usize,
    algorithms: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    shape: Shape,
    /// cuBLASLt's own, opaque description, as hexadecimal.
    algorithm: Vec<String>,
}

impl Algorithms {
    /// An empty table, or that of a file, for the GPU of this name.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] and [`ErrorKind::Argument`] for a file that cannot be read, is no table, or was measured with
    /// another GPU or library.
    pub fn new(gpu: &str, source: Option<&Path>, fast: bool) -> Result<Self> {
        // SAFETY: the library was found before a context was made.
        let library = unsafe { sys::cublasLtGetVersion() };
        let chosen = match source {
            Some(path) => read(path, gpu, library)?,
            None => BTreeMap::new(),
        };
        Ok(Algorithms {
            gpu: gpu.to_owned(),
            version: library,
            fast,
            source: source.map(Path::to_owned),
            chosen: Mutex::new(chosen),
            origin: Origin::here(),
        })
    }

    /// Version of cuBLASLt, such as 130000.
    pub fn version(&self) -> usize {
        self.version
    }

    /// For people: where the choice comes from, and its hash.
    pub fn describe(&self) -> String {
        if self.fast {
            return "chosen for each batch size (bits depend on it)".to_owned();
        }
        let origin =
            self.source.as_ref().map_or("by cuBLASLt's preference".into(), |path| format!("from {}", path.display()));
        let Ok(chosen) = self.lock() else { return format!("{origin}, table in use when the process forked") };
        let mut hasher = blake3::Hasher::new();
        for (shape, algorithm) in &*chosen {
            hasher.update(format!("{shape:?} {algorithm:x?}\n").as_bytes());
        }
        format!("{origin}, table {}", &hasher.finalize().to_hex()[..8])
    }

    /// The algorithm for a problem: that of its shape, whatever its number of rows, and chosen now if it is the first.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the library has none that multiplies every number of rows, [`ErrorKind::Argument`]
    /// where that of a table does not.
    pub fn choose(&self, handle: &Handle, shape: Shape) -> Result<Algo> {
        let known = self.lock()?.get(&shape).map(|data| Algo { data: *data });
        if let Some(algorithm) = known {
            return match &self.source {
                // Of a file, which may say anything.
                Some(path) if !usable(handle, shape, &algorithm) => Err(Error::new(
                    ErrorKind::Argument,
                    format!(
                        "the table's algorithm for {shape} does not multiply batches of every size alike: run `inctrl tune` \
                         again, or leave the table out"
                    ),
                )
                .at(path)),
                _ => Ok(algorithm),
            };
        }
        // What the library would take for other batches comes after what it would take for the usual one.
        let mut found = None;
        for rows in std::iter::once(CANONICAL_ROWS).chain(ROWS) {
            // It may have nothing for one number of rows and something for another.
            let candidates = self.candidates(handle, shape, rows).unwrap_or_default();
            if let Some(first) = candidates.into_iter().next() {
                found = Some(first);
                break;
            }
        }
        let algorithm = found.ok_or_else(|| {
            device_error(format!(
                "cuBLASLt has no algorithm for {shape} that multiplies batches of every size alike: let it choose one for each \
                 size (--fast), with scores that depend on the batch in their last bits, or use the device cpu"
            ))
        })?;
        self.lock()?.insert(shape, algorithm.data);
        Ok(algorithm)
    }

    /// Every algorithm that may be chosen for a shape, in the library's order of preference for `rows` rows.
    pub fn candidates(&self, handle: &Handle, shape: Shape, rows: usize) -> Result<Vec<Algo>> {
        let found = Problem::new(handle, shape, rows)?.preferred(handle, CANDIDATES, false)?;
        let successes = found.into_iter().filter(|candidate| candidate.state == Status::CUBLAS_STATUS_SUCCESS);
        Ok(successes.map(|candidate| candidate.algo).filter(|algorithm| usable(handle, shape, algorithm)).collect())
    }

    /// The library's first choices for a shape and a number of rows, best first, which may split sums: bits then depend
    /// on the batch. None where the library has nothing to say.
    pub fn free(&self, handle: &Handle, shape: Shape, rows: usize, count: usize) -> Result<Vec<Candidate>> {
        let found = Problem::new(handle, shape, rows)?.preferred(handle, count, true).unwrap_or_default();
        Ok(found.into_iter().filter(|candidate| candidate.state == Status::CUBLAS_STATUS_SUCCESS).collect())
    }

    /// Every shape that was asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] in a child process by fork, where a thread of the parent was about to choose one.
    pub fn shapes(&self) -> Result<Vec<Shape>> {
        Ok(self.lock()?.keys().copied().collect())
    }

    /// A table with other choices, as the text of a file.
    pub fn to_json(&self, chosen: &BTreeMap<Shape, Algo>) -> Result<String> {
        let hex = |algorithm: &Algo| algorithm.data.iter().map(|word| format!("{word:016x}")).collect();
        let algorithms =
            chosen.iter().map(|(shape, algorithm)| Entry { shape: *shape, algorithm: hex(algorithm) }).collect();
        let table = Table { gpu: self.gpu.clone(), cublaslt: self.version, algorithms };
        serde_json::to_string_pretty(&table)
            .map_err(|error| Error::new(ErrorKind::Internal, "cannot write the table of algorithms").because(error))
    }

    /// The map is whole at all times.
    fn lock(&self) -> Result<MutexGuard<'_, BTreeMap<Shape, [u64; 8]>>> {
        process::lock(&self.chosen, self.origin, "the table of algorithms")
    }
}

/// Whether an algorithm adds up each sum in one piece and multiplies every number of rows in [`ROWS`].
pub(super) fn usable(handle: &Handle, shape: Shape, algorithm: &Algo) -> bool {
    let fits = |rows| Problem::new(handle, shape, rows).is_ok_and(|problem| problem.accepts(handle, algorithm));
    config(algorithm, Config::CUBLASLT_ALGO_CONFIG_SPLITK_NUM).is_some_and(|parts| parts <= 1)
        && ROWS.into_iter().all(fits)
}

/// A setting of an algorithm, all of which are 32-bit numbers; `None` where it has no such setting.
pub(super) fn config(algorithm: &Algo, setting: Config) -> Option<u32> {
    let (mut value, mut written) = (0u32, 0);
    // SAFETY: the attribute is a 32-bit number, whose place and size are given.
    let status = unsafe {
        sys::cublasLtMatmulAlgoConfigGetAttribute(
            algorithm,
            setting,
            (&raw mut value).cast(),
            size_of::<u32>(),
            &mut written,
        )
    };
    blas("cublasLtMatmulAlgoConfigGetAttribute", status.result()).ok().map(|()| value)
}

fn read(path: &Path, gpu: &str, library: usize) -> Result<BTreeMap<Shape, [u64; 8]>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read the table of algorithms", path, error))?;
    let bad = |message: String| Error::new(ErrorKind::Argument, message).at(path);
    let table: Table = serde_json::from_str(&text)
        .map_err(|error| bad("this is not a table that `inctrl tune` wrote".to_owned()).because(error))?;
    if (table.gpu.as_str(), table.cublaslt) != (gpu, library) {
        return Err(bad(format!(
            "the table was measured on {} with cuBLASLt {}, this is {gpu} with cuBLASLt {library}: run `inctrl tune` here",
            table.gpu, table.cublaslt
        )));
    }
    let mut chosen = BTreeMap::new();
    for entry in table.algorithms {
        let words: Option<Vec<u64>> = entry.algorithm.iter().map(|word| u64::from_str_radix(word, 16).ok()).collect();
        let data = words.and_then(|words| words.try_into().ok());
        let data =
            data.ok_or_else(|| bad(format!("the algorithm for {} is damaged: run `inctrl tune` again", entry.shape)))?;
        chosen.insert(entry.shape, data);
    }
    Ok(chosen)
}
