//! CIFAR-10 as downloaded: `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, or the pickles of the same names without
//! `.bin`, which are parsed and never executed.

use std::fs;
use std::path::{Path, PathBuf};

use super::part::{Pictures, Records};
use super::semantic::{Batch, Protocol, divide};
use super::walk::name;
use super::{Parts, Problem, Split};
use inctrl::internals::{Column, read_table};
use inctrl::{Error, ErrorKind, Result};

const KINDS: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The protocol with several normal kinds: bird, cat, deer, dog, frog and horse. The published code has texts for this class
/// name.
pub const TOGETHER: Protocol = Protocol::Together { class: "animal", normal: &[2, 3, 4, 5, 6, 7] };

/// Pixels along each side of a picture.
const SIDE: usize = 32;
/// Bytes of a picture.
const PICTURE: usize = 3 * SIDE * SIDE;
/// Bytes of a label and its picture in a binary file.
const RECORD: usize = 1 + PICTURE;
/// Pictures of a published batch.
const BATCH: usize = 10_000;
/// Longest file that is read. A pickle has 31 MB of pixels, and labels and names.
const MAX_FILE: u64 = 256 << 20;

const BATCHES: [(&str, Split); 6] = [
    ("data_batch_1", Split::Train),
    ("data_batch_2", Split::Train),
    ("data_batch_3", Split::Train),
    ("data_batch_4", Split::Train),
    ("data_batch_5", Split::Train),
    ("test_batch", Split::Test),
];

/// The folder of the batches, and the end of their names.
fn base(root: &Path) -> Option<(PathBuf, &'static str)> {
    let places = [("", ".bin"), ("cifar-10-batches-bin", ".bin"), ("", ""), ("cifar-10-batches-py", "")];
    let holds = |(folder, ending): &(PathBuf, &str)| {
        BATCHES.iter().any(|(batch, _)| folder.join(format!("{batch}{ending}")).is_file())
    };
    places.map(|(folder, ending)| (root.join(folder), ending)).into_iter().find(holds)
}

pub fn fits(root: &Path) -> bool {
    base(root).is_some()
}

pub fn read(root: &Path, protocol: Protocol, parts: &mut Parts) -> Result<()> {
    let Some((base, ending)) = base(root) else {
        let message = "data_batch_1.bin, or data_batch_1, and the files beside it are missing";
        return Err(Error::new(ErrorKind::Argument, message).at(root));
    };
    let mut batches = Vec::new();
    for (batch, split) in BATCHES {
        let path = base.join(format!("{batch}{ending}"));
        let lost = format!("the {BATCH} images to {split} that it has are not there");
        if !path.is_file() {
            parts.problems.push(Problem::fault(path, format!("the file is missing: {lost}")));
            continue;
        }
        let read = bytes(&path).and_then(|bytes| if ending.is_empty() { pickled(bytes) } else { binary(bytes) });
        match read {
            Ok((pictures, labels)) => batches.push(Batch { path, split, pictures, labels }),
            Err(error) => {
                let message = format!("{}: passed over, so that {lost}", error.chain());
                parts.problems.push(Problem::fault(path, message));
            }
        }
    }
    divide(root, &batches, &KINDS, protocol, parts);
    for (other, _) in BATCHES.iter().filter(|_| ending == ".bin") {
        let path = base.join(other);
        if path.is_file() {
            let message = format!("the same as {}.bin, which is read: passed over", name(&path));
            parts.problems.push(Problem::remark(path, message));
        }
    }
    Ok(())
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let io = |error| Error::io("read", path, error);
    let length = fs::metadata(path).map_err(io)?.len();
    if length > MAX_FILE {
        let message = format!("the file has {length} bytes, where a batch has {}", RECORD * BATCH);
        return Err(Error::new(ErrorKind::Argument, message));
    }
    fs::read(path).map_err(io)
}

type Read = (std::sync::Arc<Pictures>, Vec<u8>);

fn binary(bytes: Vec<u8>) -> Result<Read> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        let message = format!(
            "the file has {} bytes, expected {} ({BATCH} records of {RECORD}): download it again",
            bytes.len(),
            BATCH * RECORD
        );
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let labels: Vec<u8> = bytes.chunks_exact(RECORD).map(|record| record[0]).collect();
    let records = Records { start: 1, stride: RECORD, width: SIDE, height: SIDE, planes: 3 };
    Ok((Pictures::new(bytes, labels.len(), records)?, labels))
}

/// A pickled dictionary with the list `labels` and the array of bytes `data` [pictures, 3072].
fn pickled(bytes: Vec<u8>) -> Result<Read> {
    let fail = |message: String| Error::new(ErrorKind::Argument, message);
    let table = read_table(&bytes)?;
    let column = |wanted: &str| table.iter().find(|(name, _)| name == wanted).map(|(_, column)| column);
    let Some(Column::Integers(labels)) = column("labels") else {
        return Err(fail("the batch has no list `labels`".to_owned()));
    };
    let Some(Column::Bytes { shape, range }) = column("data") else {
        return Err(fail("the batch has no array `data` of bytes".to_owned()));
    };
    if shape[..] != [labels.len(), PICTURE] {
        return Err(fail(format!("`data` is an array of {shape:?}, expected [{}, {PICTURE}]", labels.len())));
    }
    // A number that does not fit into a byte is not a label either.
    let labels = labels.iter().map(|label| u8::try_from(*label).unwrap_or(u8::MAX)).collect::<Vec<_>>();
    let records = Records { start: range.start, stride: PICTURE, width: SIDE, height: SIDE, planes: 3 };
    Ok((Pictures::new(bytes, labels.len(), records)?, labels))
}
