//! MNIST as downloaded: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same for `t10k`, compressed (`.gz`) or not, in
//! the folder or in torchvision's `MNIST/raw`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::part::{Pictures, Records};
use super::semantic::{Batch, Protocol, divide};
use super::{Parts, Problem, Split};
use inctrl::{Error, ErrorKind, Result};

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// The protocol with several normal digits.
pub const TOGETHER: Protocol = Protocol::Together { class: "even_number", normal: &[0, 2, 4, 6, 8] };

/// Most values of a file; MNIST has 47 million.
const MAX_VALUES: usize = 1 << 30;

/// A file of the download, compressed or not, under one of its two names on the web.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let dotted = name.replace("-idx", ".idx");
    let names = [name.to_owned(), format!("{name}.gz"), dotted.clone(), format!("{dotted}.gz")];
    names.map(|name| folder.join(name)).into_iter().find(|path| path.is_file())
}

/// The files of pictures and of labels.
const PAIRS: [(Split, &str, &str); 2] = [
    (Split::Train, "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    (Split::Test, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
];

fn base(root: &Path) -> Option<PathBuf> {
    let holds = |folder: &PathBuf| PAIRS.iter().any(|(_, images, _)| find(folder, images).is_some());
    ["", "raw", "MNIST/raw"].map(|place| root.join(place)).into_iter().find(holds)
}

pub fn fits(root: &Path) -> bool {
    base(root).is_some()
}

pub fn read(root: &Path, protocol: Protocol, parts: &mut Parts) -> Result<()> {
    let Some(base) = base(root) else {
        let message = "train-images-idx3-ubyte and the files beside it are missing";
        return Err(Error::new(ErrorKind::Argument, message).at(root));
    };
    let mut batches = Vec::new();
    for (split, images, labels) in PAIRS {
        let mut file = |name: &str| {
            let found = find(&base, name);
            if found.is_none() {
                let message = format!("the file is missing, with and without .gz: there are no images to {split}");
                parts.problems.push(Problem::fault(base.join(name), message));
            }
            found
        };
        if let (Some(images), Some(labels)) = (file(images), file(labels)) {
            match pair(split, images, &labels) {
                Ok(batch) => batches.push(batch),
                Err(error) => {
                    let path = error.path().unwrap_or(&base).to_path_buf();
                    let text = error.to_string();
                    let text = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text);
                    parts.problems.push(Problem::fault(path, format!("{text}: there are no images to {split}")));
                }
            }
        }
    }
    divide(root, &batches, &DIGITS, protocol, parts);
    Ok(())
}

fn pair(split: Split, images: PathBuf, labels: &Path) -> Result<Batch> {
    let (sides, pixels) = idx::<3>(&images)?;
    let ([known], labels_read) = idx::<1>(labels)?;
    let [count, height, width] = sides;
    if count != known {
        let message = format!("there are {known} labels of {count} pictures");
        return Err(Error::new(ErrorKind::Argument, message).at(labels));
    }
    let records = Records { start: 0, stride: width * height, width, height, planes: 1 };
    let pictures = Pictures::new(pixels, count, records).map_err(|error| error.at(&images))?;
    Ok(Batch { path: images, split, pictures, labels: labels_read })
}

/// The extents and the values of an idx file of bytes with `N` dimensions. The first bytes show whether it is compressed.
///
/// # Errors
/// [`ErrorKind::Io`]; [`ErrorKind::Argument`] for other files, and for a length that is not that of the header.
fn idx<const N: usize>(path: &Path) -> Result<([usize; N], Vec<u8>)> {
    let fail = |message: String| Error::new(ErrorKind::Argument, message).at(path);
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            fail("the gz data is truncated: it ends before the pictures do; download it again".to_owned())
                .because(error)
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            fail("the gz data is damaged: download it again".to_owned()).because(error)
        }
        _ => Error::io("read", path, error),
    };
    let open = || File::open(path).map(BufReader::new);
    let mut start = Vec::new();
    open().and_then(|file| file.take(2).read_to_end(&mut start)).map_err(io)?;
    let file = open().map_err(io)?;
    let mut reader: Box<dyn Read> =
        if start == [0x1f, 0x8b] { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut head = Vec::new();
    reader.by_ref().take(4 + 4 * N as u64).read_to_end(&mut head).map_err(io)?;
    let (Some(magic), true) = (head.first_chunk::<4>(), head.len() == 4 + 4 * N) else {
        return Err(fail(format!("the file ends in its header, after {} bytes: download it again", head.len())));
    };
    if *magic != [0, 0, 8, N as u8] {
        let message = format!(
            "the first bytes are {magic:02x?}, expected [00, 00, 08, 0{N}]: no idx file of bytes in {N} dimensions"
        );
        return Err(fail(message));
    }
    let mut extents = [0; N];
    for (extent, bytes) in extents.iter_mut().zip(head[4..].as_chunks::<4>().0) {
        *extent = u32::from_be_bytes(*bytes) as usize;
    }
    let count = extents.iter().try_fold(1usize, |count, extent| count.checked_mul(*extent));
    let Some(count) = count.filter(|count| *count <= MAX_VALUES) else {
        return Err(fail(format!("the header says {extents:?} values: at most {MAX_VALUES} are read")));
    };
    let mut values = Vec::new();
    reader.take(count as u64 + 1).read_to_end(&mut values).map_err(io)?;
    if values.len() != count {
        let found = if values.len() < count { format!("{} are", values.len()) } else { "more are".to_owned() };
        return Err(fail(format!(
            "the header says {extents:?}, which is {count} values, but {found} there: download it again"
        )));
    }
    Ok((extents, values))
}
