//! The directory of a zip archive in memory: where each stored file lies.
//!
//! `torch.save` stores its files uncompressed and aligned, so that they can be mapped. What is needed is a byte range for
//! each name, which archive libraries that hand out readers and decompressors do not give; and by never decompressing
//! there is no zip bomb. Checked: both copies of the directory's facts agree, every file lies before the directory, and no
//! two overlap. Names are borrowed, so that memory is a few dozen bytes for each file.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Where the content of a file lies in the archive; `None` for a compressed one.
pub(super) type Directory<'a> = BTreeMap<&'a str, Option<Range<usize>>>;

/// The largest number of files; a model has one for each tensor.
const MAX_FILES: u64 = 16_384;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
/// Bytes of the end record, without the comment that may follow it.
const END_BYTES: usize = 22;
const CENTRAL_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
/// The value of a 32-bit field whose real value is in the 64-bit extension.
const IN_EXTENSION: u64 = 0xffff_ffff;

/// Whether these bytes begin like an archive.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL)
}

fn broken(message: String) -> Error {
    Error::new(ErrorKind::Weights, format!("is a damaged zip archive: {message}; copy or save it again"))
}

/// The little-endian integer of `N` bytes at `at`.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<u64> {
    let field = at.checked_add(N).and_then(|end| bytes.get(at..end));
    let field = field.ok_or_else(|| broken(format!("it ends inside a record at byte {at}")))?;
    Ok(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

fn offset(value: u64) -> usize {
    // Saturated, it fails the next bounds check.
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Reads the central directory.
pub(super) fn directory(bytes: &[u8]) -> Result<Directory<'_>> {
    let (start, count) = central(bytes)?;
    if count > MAX_FILES {
        return Err(broken(format!("it has {count} files, expected at most {MAX_FILES}")));
    }
    let mut files = Directory::new();
    let mut taken = Vec::new();
    let mut at = start;
    for _ in 0..count {
        if !bytes[at.min(bytes.len())..].starts_with(CENTRAL) {
            return Err(broken(format!("its directory has no entry at byte {at}")));
        }
        let [name_length, extra_length, comment_length] =
            [number::<2>(bytes, at + 28)?, number::<2>(bytes, at + 30)?, number::<2>(bytes, at + 32)?].map(offset);
        let name_end = at + CENTRAL_BYTES + name_length;
        let (name, extra) = (bytes.get(at + CENTRAL_BYTES..name_end), bytes.get(name_end..name_end + extra_length));
        let (Some(name), Some(extra)) = (name, extra) else {
            return Err(broken(format!("it ends inside the directory entry at byte {at}")));
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return Err(broken(format!("the name in its directory entry at byte {at} is not UTF-8")));
        };
        let mut sizes = [number::<4>(bytes, at + 24)?, number::<4>(bytes, at + 20)?, number::<4>(bytes, at + 42)?];
        extend(&mut sizes, extra)?;
        let [size, packed, header] = sizes.map(offset);
        let (flags, method) = (number::<2>(bytes, at + 8)?, number::<2>(bytes, at + 10)?);
        if flags & 1 != 0 {
            return Err(broken(format!("`{name}` is encrypted")));
        }

        if !bytes[header.min(bytes.len())..].starts_with(LOCAL) {
            return Err(broken(format!("`{name}` has no header at byte {header}")));
        }
        let local = [number::<2>(bytes, header + 26)?, number::<2>(bytes, header + 28)?].map(offset);
        let data = header + LOCAL_BYTES + local[0] + local[1];
        let end = data.checked_add(packed).filter(|&end| end <= start);
        let end = end.ok_or_else(|| broken(format!("`{name}` of {packed} bytes reaches beyond the files' end")))?;
        if bytes.get(header + LOCAL_BYTES..header + LOCAL_BYTES + local[0]) != Some(name.as_bytes()) {
            return Err(broken(format!("`{name}` has another name in its own header")));
        }
        if method == 0 && size != packed {
            return Err(broken(format!("`{name}` is stored, but its two sizes are {packed} and {size}")));
        }
        taken.push((header..end, name));
        if files.insert(name, (method == 0).then_some(data..end)).is_some() {
            return Err(broken(format!("`{name}` is there twice")));
        }
        at = name_end + extra_length + comment_length;
    }
    taken.sort_unstable_by_key(|(range, _)| range.start);
    match taken.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
        Some(pair) => Err(broken(format!("`{}` and `{}` overlap", pair[0].1, pair[1].1))),
        None => Ok(files),
    }
}

/// Where the central directory starts and how many entries it has.
fn central(bytes: &[u8]) -> Result<(usize, u64)> {
    let missing = || broken("it has no directory at its end (a part may be missing)".into());
    let last = bytes.len().checked_sub(END_BYTES).ok_or_else(missing)?;
    let first = last.saturating_sub(0xffff);
    let is_end = |at: &usize| {
        bytes[*at..].starts_with(END)
            && number::<2>(bytes, at + 20).is_ok_and(|comment| at + END_BYTES + offset(comment) == bytes.len())
    };
    let end = (first..=last).rev().find(is_end).ok_or_else(missing)?;
    let (mut count, mut length, mut start) =
        (number::<2>(bytes, end + 10)?, number::<4>(bytes, end + 12)?, number::<4>(bytes, end + 16)?);
    let mut limit = end;
    if let Some(locator) = end.checked_sub(20).filter(|&at| bytes[at..].starts_with(LOCATOR_64)) {
        let record = offset(number::<8>(bytes, locator + 8)?);
        if !bytes[record.min(bytes.len())..].starts_with(END_64) {
            return Err(missing());
        }
        count = number::<8>(bytes, record + 32)?;
        length = number::<8>(bytes, record + 40)?;
        start = number::<8>(bytes, record + 48)?;
        limit = record;
    }
    let (start, length) = (offset(start), offset(length));
    if start.checked_add(length).is_none_or(|end| end > limit) {
        return Err(broken(format!("its directory of {length} bytes at byte {start} reaches beyond its end")));
    }
    Ok((start, count))
}

/// Replaces the fields that do not fit 32 bits by those of the 64-bit extension, which holds just these, in this order.
fn extend(fields: &mut [u64; 3], mut extra: &[u8]) -> Result<()> {
    while extra.len() >= 4 {
        let (tag, length) = (number::<2>(extra, 0)?, offset(number::<2>(extra, 2)?));
        let content = extra.get(4..4 + length).ok_or_else(|| broken("an extension is cut off".into()))?;
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
