//! Which cuBLASLt algorithm multiplies which layer: chosen once for each layer shape, whatever the batch.
//!
//! Algorithms differ in the order of their sums, so that one chosen for each batch size would give other bits to other
//! batches. The table is therefore keyed by what a row sees (inputs, outputs, types, epilogue), never by the number of rows,
//! and an algorithm that splits a sum between blocks is not taken. It is filled at load, from a file of `inctrl tune` or from
//! cuBLASLt's own order of preference, which is fixed for a GPU and a version of the library; nothing is timed.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::sys::{
    self, cublasLtMatmulAlgo_t as Algo, cublasLtMatmulAlgoConfigAttributes_t as Config,
    cublasLtMatmulHeuristicResult_t as Candidate, cublasStatus_t as Status,
};
use serde::{Deserialize, Serialize};

use super::context::device_error;
use super::error::blas;
use super::matmul::{Handle, Problem, Shape};
use crate::error::{Error, ErrorKind, Result};

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
    /// [`ErrorKind::Io`] and [`ErrorKind::Argument`] for a file that cannot be read, is no table, or was measured with another
    /// GPU or library.
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
        let mut hasher = blake3::Hasher::new();
        for (shape, algorithm) in &*self.lock() {
            hasher.update(format!("{shape:?} {algorithm:x?}\n").as_bytes());
        }
        format!("{origin}, table {}", &hasher.finalize().to_hex()[..8])
    }

    /// The algorithm for a problem: that of its shape, whatever its number of rows, and chosen now if it is the first.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the library has none for this shape.
    pub fn choose(&self, handle: &Handle, shape: Shape) -> Result<Algo> {
        if let Some(data) = self.lock().get(&shape) {
            return Ok(Algo { data: *data });
        }
        let algorithm = self
            .candidates(handle, shape, CANONICAL_ROWS)?
            .into_iter()
            .next()
            .ok_or_else(|| device_error(format!("cuBLASLt has no algorithm for {shape}")))?;
        self.lock().insert(shape, algorithm.data);
        Ok(algorithm)
    }

    /// Every algorithm that may be chosen for a shape, in the library's order of preference for `rows` rows.
    pub fn candidates(&self, handle: &Handle, shape: Shape, rows: usize) -> Result<Vec<Algo>> {
        let found = Problem::new(shape, rows)?.preferred(handle, CANDIDATES, false)?;
        let problems = ROWS.map(|rows| Problem::new(shape, rows));
        let mut usable = Vec::new();
        for candidate in found {
            let whole = split_k(&candidate.algo) == Some(1);
            let fits = |problem: &Result<Problem>| problem.as_ref().is_ok_and(|p| p.accepts(handle, &candidate.algo));
            if candidate.state == Status::CUBLAS_STATUS_SUCCESS && whole && problems.iter().all(fits) {
                usable.push(candidate.algo);
            }
        }
        Ok(usable)
    }

    /// The library's first choice for a shape and a number of rows, where bits may depend on the batch.
    pub fn fastest(&self, handle: &Handle, shape: Shape, rows: usize) -> Result<Option<Candidate>> {
        if !self.fast {
            return Ok(None);
        }
        Ok(Problem::new(shape, rows)?.preferred(handle, 1, true)?.into_iter().next())
    }

    /// Every shape that was asked for.
    pub fn shapes(&self) -> Vec<Shape> {
        self.lock().keys().copied().collect()
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

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Shape, [u64; 8]>> {
        // The map is whole at all times.
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Into how many parts an algorithm splits each sum.
fn split_k(algorithm: &Algo) -> Option<u32> {
    let (mut parts, mut written) = (0u32, 0);
    // SAFETY: the attribute is a 32-bit number, whose place and size are given.
    let status = unsafe {
        sys::cublasLtMatmulAlgoConfigGetAttribute(
            algorithm,
            Config::CUBLASLT_ALGO_CONFIG_SPLITK_NUM,
            (&raw mut parts).cast(),
            size_of::<u32>(),
            &mut written,
        )
    };
    blas("cublasLtMatmulAlgoConfigGetAttribute", status.result()).ok().map(|()| parts.max(1))
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
