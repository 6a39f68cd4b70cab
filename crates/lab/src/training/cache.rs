//! Features of images on disk, so that each image is encoded only once, even if a run is interrupted.
//!
//! A file is a line of text that identifies the features, followed by records of one size:
//!
//! ```text
//! hash [32] | class [E] f32 | valid [N] f32 | taps [L, N, W] f32 | blake3 of the record so far [32]
//! ```
//!
//! `hash` is that of the image file's bytes. Features are the encoder's f32, so maps made from them equal the engine's.
//! Only the last record can be incomplete after a kill or on a full disk; it is dropped when the file is opened again.
//! Any other damage is an error. The file belongs to one run at a time, and features are read when needed.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError, create_dir_all};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use inctrl::internals::{Features, read_at};
use inctrl::weights::Arch;
use inctrl::{Error, ErrorKind, Result};

const HASH: usize = 32;
/// What a first line begins with; the number is the version of the format.
const MAGIC: &str = "inctrl features 1";

/// Lengths of a record's parts, in numbers.
#[derive(Clone, Copy)]
struct Lengths {
    class: usize,
    valid: usize,
    taps: usize,
}

impl Lengths {
    fn of(arch: &Arch) -> Self {
        let valid = arch.vision.patches();
        Lengths { class: arch.embed_dim, valid, taps: arch.taps.len() * valid * arch.vision.width }
    }

    /// Bytes of a record.
    fn record(self) -> usize {
        2 * HASH + 4 * (self.class + self.valid + self.taps)
    }
}

/// A file of features that may still grow.
pub(super) struct Cache {
    path: PathBuf,
    file: File,
    lengths: Lengths,
    /// Bytes of the first line.
    start: usize,
    index: HashMap<[u8; HASH], usize>,
}

impl Cache {
    /// Opens or begins the file in `folder`, which is created if necessary. `identity` names the features: the model,
    /// the fit, the arithmetic.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; [`ErrorKind::Argument`] for a file that is damaged or in use.
    pub fn open(folder: &Path, identity: &str, arch: &Arch) -> Result<Self> {
        create_dir_all(folder).map_err(|error| Error::io("create the folder", folder, error))?;
        let path = folder.join(format!("{}.features", &blake3::hash(identity.as_bytes()).to_hex()[..16]));
        let io = |action: &'static str| {
            let path = path.clone();
            move |error| Error::io(action, &path, error)
        };
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(io("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = "another training is using this cache: wait for it, or choose another folder";
                return Err(Error::new(ErrorKind::Argument, message).at(&path));
            }
            // A file system without locks: the user must avoid two trainings at once.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
        }
        let line = format!("{MAGIC} {identity}\n");
        let lengths = Lengths::of(arch);
        let mut begun = vec![0; line.len()];
        let found = read_up_to(&mut file, &mut begun).map_err(io("read"))?;
        if found < line.len() && line.as_bytes().starts_with(&begun[..found]) {
            // Nothing, or a first line that was cut short.
            file.set_len(0).and_then(|()| file.rewind()).map_err(io("begin"))?;
            file.write_all(line.as_bytes()).map_err(io("write"))?;
        } else if begun != line.as_bytes() {
            return Err(damaged(&path, "its first line is not that of a cache of this model and version"));
        }
        let mut cache = Cache { path, file, lengths, start: line.len(), index: HashMap::new() };
        cache.read_index()?;
        Ok(cache)
    }

    /// Checks the records that are there, and drops one that was cut short.
    fn read_index(&mut self) -> Result<()> {
        let io = |error| Error::io("read", &self.path, error);
        let length = self.file.metadata().map_err(io)?.len() as usize;
        let record = self.lengths.record();
        let whole = length.saturating_sub(self.start) / record;
        let mut bytes = vec![0; record];
        for i in 0..whole {
            read_at(&self.file, (self.start + i * record) as u64, &mut bytes).map_err(io)?;
            let (content, checksum) = bytes.split_at(record - HASH);
            if blake3::hash(content).as_bytes() != checksum {
                return Err(damaged(&self.path, &format!("record {i} of {whole} does not match its checksum")));
            }
            if let Some(hash) = content.first_chunk::<HASH>() {
                self.index.insert(*hash, i);
            }
        }
        self.cut(whole)
    }

    /// Ends the file after `records`, where the next one goes.
    fn cut(&mut self, records: usize) -> Result<()> {
        let end = (self.start + records * self.lengths.record()) as u64;
        let moved = self.file.set_len(end).and_then(|()| self.file.seek(SeekFrom::Start(end)));
        moved.map(drop).map_err(|error| Error::io("continue", &self.path, error))
    }

    /// Whether the features of the file with this hash are there.
    pub fn contains(&self, hash: &[u8; HASH]) -> bool {
        self.index.contains_key(hash)
    }

    /// The files whose features are there.
    pub fn hashes(&self) -> HashSet<[u8; HASH]> {
        self.index.keys().copied().collect()
    }

    /// Adds the features of the file with this hash, which are not there yet.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], as where the disk is full: all images before this one are kept.
    pub fn add(&mut self, hash: [u8; HASH], features: &Features) -> Result<()> {
        let mut bytes = Vec::with_capacity(self.lengths.record());
        bytes.extend_from_slice(&hash);
        for part in [&features.class, &features.valid, &features.taps] {
            part.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
        }
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        if bytes.len() != self.lengths.record() {
            return Err(Error::new(ErrorKind::Internal, "features are not of the model's sizes"));
        }
        let records = self.index.len();
        if let Err(error) = self.file.write_all(&bytes) {
            // What is not undone here is when the file is opened again.
            let _ = self.cut(records);
            let message = format!(
                "cannot write the features of an image ({} bytes each); the {records} before it are kept: free disk space, or choose another folder, and start again",
                bytes.len()
            );
            return Err(Error::new(ErrorKind::Io, message).at(&self.path).because(error));
        }
        self.index.insert(hash, records);
        Ok(())
    }

    /// The features, to be read. The file stays locked.
    pub fn finish(self) -> Store {
        Store(self)
    }
}

/// A file of features that is complete. Reading fails with [`ErrorKind::Io`], as where somebody cut the file short.
pub(super) struct Store(Cache);

impl Store {
    /// Where the features of the file with this hash are.
    pub fn find(&self, hash: &[u8; HASH]) -> Option<usize> {
        self.0.index.get(hash).copied()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Class embedding `[E]` of a record.
    pub fn class(&self, record: usize) -> Result<Vec<f32>> {
        self.numbers(record, 0..self.0.lengths.class)
    }

    /// Valid patches `[N]` of a record.
    pub fn valid(&self, record: usize) -> Result<Vec<f32>> {
        let Lengths { class, valid, .. } = self.0.lengths;
        self.numbers(record, class..class + valid)
    }

    /// Unit taps `[L, N, W]` of a record.
    pub fn taps(&self, record: usize) -> Result<Vec<f32>> {
        let Lengths { class, valid, taps } = self.0.lengths;
        self.numbers(record, class + valid..class + valid + taps)
    }

    fn numbers(&self, record: usize, range: Range<usize>) -> Result<Vec<f32>> {
        let Cache { path, file, lengths, start, .. } = &self.0;
        let first = start + record * lengths.record() + HASH + 4 * range.start;
        let mut bytes = vec![0; 4 * range.len()];
        read_at(file, first as u64, &mut bytes).map_err(|error| Error::io("read", path, error))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    let message = format!("the cache is damaged: {what}; delete the file, and it will be made again");
    Error::new(ErrorKind::Argument, message).at(path)
}

/// Fills `buffer` as far as the file goes, and returns the number of bytes.
fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut found = 0;
    while found < buffer.len() {
        match file.read(&mut buffer[found..])? {
            0 => break,
            read => found += read,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_short_while_it_is_read_is_an_error_that_names_it() {
        let config = r#"{"embed_dim": 8,
            "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2},
            "text_cfg": {"width": 16, "heads": 2, "layers": 1},
            "inctrl": {"taps": [1]}}"#;
        let arch = Arch::from_json(config).unwrap();
        let lengths = Lengths::of(&arch);
        let features = |first: u8| {
            let numbers = |len: usize| (0..len).map(|i| f32::from(first) + i as f32 / 256.0).collect::<Vec<f32>>();
            Features { class: numbers(lengths.class), valid: numbers(lengths.valid), taps: numbers(lengths.taps) }
        };
        let folder = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(folder.path(), "a test", &arch).unwrap();
        for number in 0..2 {
            cache.add([number; HASH], &features(number)).unwrap();
        }
        let store = cache.finish();
        let [first, second] = [0, 1].map(|number| store.find(&[number; HASH]).unwrap());
        assert_eq!(store.taps(second).unwrap(), features(1).taps);

        // Through another handle, in the middle of the second record's taps, and then of its class embedding.
        let other = OpenOptions::new().write(true).open(store.path()).unwrap();
        let whole = other.metadata().unwrap().len();
        let begin = whole - lengths.record() as u64;
        let refused = |found: Result<Vec<f32>>| {
            let error = found.unwrap_err();
            assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(store.path())), "{error}");
        };
        other.set_len(whole - HASH as u64 - 2).unwrap();
        assert_eq!(store.class(second).unwrap(), features(1).class);
        assert_eq!(store.valid(second).unwrap(), features(1).valid);
        refused(store.taps(second));
        other.set_len(begin + HASH as u64 + 4).unwrap();
        refused(store.class(second));
        refused(store.valid(second));
        assert_eq!(store.taps(first).unwrap(), features(0).taps);
        other.set_len(0).unwrap();
        refused(store.class(first));
        drop(store);

        // What is left is no cache of these features, and is begun anew.
        assert!(Cache::open(folder.path(), "a test", &arch).unwrap().hashes().is_empty());
    }
}
