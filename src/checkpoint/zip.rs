//! The directory of a zip archive: where each stored file lies.
//!
//! `torch.save` stores files uncompressed. This reader needs only a byte range per name, which archive libraries do not
//! give, and as nothing is decompressed there are no zip bombs. It reads the end of the archive, the directory and each
//! file's header, and keeps a name and a range per file. It checks that both copies of each entry agree, that every
//! file lies before the directory, and that no two files overlap.

use std::collections::BTreeMap;
use std::ops::Range;

use super::read_at::ReadAt;
use crate::error::{Error, ErrorKind, Result};

/// Where the content of a file lies in the archive; `None` for a compressed one.
pub(super) type Directory = BTreeMap<String, Option<Range<usize>>>;

/// The largest number of files. A model has one per tensor.
const MAX_FILES: u64 = 16_384;
/// The largest directory, in bytes: 256 for each file, where PyTorch takes about 100.
const MAX_DIRECTORY: usize = 4 << 20;
/// The longest comment at the end of an archive.
const MAX_COMMENT: usize = 0xffff;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
/// Bytes of the end record, without the comment that may follow it.
const END_BYTES: usize = 22;
const CENTRAL_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
/// Bytes of the locator of the 64-bit end record, which precedes the end record.
const LOCATOR_64_BYTES: usize = 20;
/// Bytes of the 64-bit end record, as far as they are needed.
const END_64_BYTES: usize = 56;
/// The value of a 32-bit field whose real value is in the 64-bit extension.
const IN_EXTENSION: u64 = 0xffff_ffff;

/// Whether these bytes begin an archive.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL)
}

fn broken(message: String) -> Error {
    Error::new(ErrorKind::Weights, format!("is a damaged zip archive: {message}; copy or save it again"))
}

/// The little-endian integer of `N` bytes at `at` of a record.
fn number<const N: usize>(record: &[u8], at: usize) -> Result<u64> {
    let field = at.checked_add(N).and_then(|end| record.get(at..end));
    let field = field.ok_or_else(|| broken("it ends inside a record".into()))?;
    Ok(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

fn offset(value: u64) -> usize {
    // Saturated, it fails the next bounds check.
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Reads the central directory.
pub(super) fn directory(source: &dyn ReadAt) -> Result<Directory> {
    let (range, count) = central(source)?;
    if count > MAX_FILES {
        return Err(broken(format!("it has {count} files, expected at most {MAX_FILES}")));
    }
    if range.len() > MAX_DIRECTORY {
        let length = range.len();
        return Err(broken(format!("its directory has {length} bytes, expected at most {MAX_DIRECTORY}")));
    }
    let start = range.start;
    let central = source.read(range)?;
    let mut files = Directory::new();
    let mut taken = Vec::new();
    let (mut at, mut local) = (0, Vec::new());
    for _ in 0..count {
        let place = start + at;
        let entry = central.get(at..).filter(|entry| entry.starts_with(CENTRAL));
        let entry = entry.ok_or_else(|| broken(format!("its directory has no entry at byte {place}")))?;
        let [name_length, extra_length, comment_length] =
            [number::<2>(entry, 28)?, number::<2>(entry, 30)?, number::<2>(entry, 32)?].map(offset);
        let name_end = CENTRAL_BYTES + name_length;
        let (name, extra) = (entry.get(CENTRAL_BYTES..name_end), entry.get(name_end..name_end + extra_length));
        let (Some(name), Some(extra)) = (name, extra) else {
            return Err(broken(format!("it ends inside the directory entry at byte {place}")));
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return Err(broken(format!("the name in its directory entry at byte {place} is not UTF-8")));
        };
        let mut sizes = [number::<4>(entry, 24)?, number::<4>(entry, 20)?, number::<4>(entry, 42)?];
        extend(&mut sizes, extra)?;
        let [size, packed, header] = sizes.map(offset);
        let (flags, method) = (number::<2>(entry, 8)?, number::<2>(entry, 10)?);
        if flags & 1 != 0 {
            return Err(broken(format!("`{name}` is encrypted")));
        }

        // The header and the name in it, which must be the same.
        local.resize(LOCAL_BYTES + name_length, 0);
        let fits = header.checked_add(local.len()).is_some_and(|end| end <= start);
        if fits {
            source.read_into(header, &mut local)?;
        }
        if !fits || !local.starts_with(LOCAL) {
            return Err(broken(format!("`{name}` has no header at byte {header}")));
        }
        let lengths = [number::<2>(&local, 26)?, number::<2>(&local, 28)?].map(offset);
        let data = header + LOCAL_BYTES + lengths[0] + lengths[1];
        let end = data.checked_add(packed).filter(|&end| end <= start);
        let end = end.ok_or_else(|| broken(format!("`{name}` of {packed} bytes reaches beyond the files' end")))?;
        if lengths[0] != name_length || &local[LOCAL_BYTES..] != name.as_bytes() {
            return Err(broken(format!("`{name}` has another name in its own header")));
        }
        if method == 0 && size != packed {
            return Err(broken(format!("`{name}` is stored, but its two sizes are {packed} and {size}")));
        }
        taken.push((header..end, name));
        if files.insert(name.to_owned(), (method == 0).then_some(data..end)).is_some() {
            return Err(broken(format!("`{name}` is present twice")));
        }
        at += name_end + extra_length + comment_length;
    }
    taken.sort_unstable_by_key(|(range, _)| range.start);
    match taken.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
        Some(pair) => Err(broken(format!("`{}` and `{}` overlap", pair[0].1, pair[1].1))),
        None => Ok(files),
    }
}

/// Where the central directory lies and how many entries it has.
fn central(source: &dyn ReadAt) -> Result<(Range<usize>, u64)> {
    let missing = || broken("it has no directory at its end (a part may be missing)".into());
    // The end record comes before a comment of any allowed length, and the locator before the end record.
    let first = source.len().saturating_sub(LOCATOR_64_BYTES + END_BYTES + MAX_COMMENT);
    let tail = source.read(first..source.len())?;
    let last = tail.len().checked_sub(END_BYTES).ok_or_else(missing)?;
    let is_end = |at: &usize| {
        tail[*at..].starts_with(END)
            && number::<2>(&tail, at + 20).is_ok_and(|comment| at + END_BYTES + offset(comment) == tail.len())
    };
    let end = (last.saturating_sub(MAX_COMMENT)..=last).rev().find(is_end).ok_or_else(missing)?;
    let (mut count, mut length, mut start) =
        (number::<2>(&tail, end + 10)?, number::<4>(&tail, end + 12)?, number::<4>(&tail, end + 16)?);
    let mut limit = first + end;
    if let Some(locator) = end.checked_sub(LOCATOR_64_BYTES).filter(|&at| tail[at..].starts_with(LOCATOR_64)) {
        let place = offset(number::<8>(&tail, locator + 8)?);
        let within = place.checked_add(END_64_BYTES).filter(|&end| end <= first + locator);
        let record = source.read(place..within.ok_or_else(missing)?)?;
        if !record.starts_with(END_64) {
            return Err(missing());
        }
        count = number::<8>(&record, 32)?;
        length = number::<8>(&record, 40)?;
        start = number::<8>(&record, 48)?;
        limit = place;
    }
    let (start, length) = (offset(start), offset(length));
    match start.checked_add(length).filter(|&end| end <= limit) {
        Some(end) => Ok((start..end, count)),
        None => Err(broken(format!("its directory of {length} bytes at byte {start} reaches beyond its end"))),
    }
}

/// Replaces fields that do not fit into 32 bits by those of the 64-bit extension, which holds only these, in this
/// order.
fn extend(fields: &mut [u64; 3], mut extra: &[u8]) -> Result<()> {
    while extra.len() >= 4 {
        let (tag, length) = (number::<2>(extra, 0)?, offset(number::<2>(extra, 2)?));
        let content = extra.get(4..4 + length).ok_or_else(|| broken("an extension is truncated".into()))?;
        if tag == 1 {
            let wide = fields.iter_mut().filter(|field| **field == IN_EXTENSION);
            for (i, field) in wide.enumerate() {
                *field = number::<8>(content, 8 * i)?;
            }
        }
        extra = &extra[4 + length..];
    }
    Ok(())
}
