//! The directories of a TIFF file: its pages and their tags.
//!
//! The `tiff` crate reads only directories of pictures that it can decode. They are read here first, so that errors can
//! name what an unsupported file contains.

use crate::error::Result;

use super::{damaged, truncated};

/// The largest number of pages that are counted.
pub(super) const MOST_PAGES: usize = 256;
/// The longest text, in bytes. The `tiff` crate allows four times as much, and prints a line of its own for longer
/// texts.
const LONGEST_TEXT: usize = 64 << 20;

pub(super) mod tag {
    pub const NEW_SUBFILE_TYPE: u16 = 254;
    pub const SUBFILE_TYPE: u16 = 255;
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS_PER_SAMPLE: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const ORIENTATION: u16 = 274;
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    pub const PLANAR_CONFIGURATION: u16 = 284;
    pub const PREDICTOR: u16 = 317;
    pub const TILE_WIDTH: u16 = 322;
    pub const SUB_DIRECTORIES: u16 = 330;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const DNG_VERSION: u16 = 50706;

    pub const ALL: [u16; 17] = [
        NEW_SUBFILE_TYPE,
        SUBFILE_TYPE,
        WIDTH,
        HEIGHT,
        BITS_PER_SAMPLE,
        COMPRESSION,
        PHOTOMETRIC,
        FILL_ORDER,
        ORIENTATION,
        SAMPLES_PER_PIXEL,
        PLANAR_CONFIGURATION,
        PREDICTOR,
        TILE_WIDTH,
        SUB_DIRECTORIES,
        EXTRA_SAMPLES,
        SAMPLE_FORMAT,
        DNG_VERSION,
    ];
}

/// A file's bytes, with the byte order and offset size of its header.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    /// Whether offsets have eight bytes.
    big: bool,
}

/// One directory: a page, or a picture that belongs to one.
pub(super) struct Directory<'a> {
    file: File<'a>,
    entries: &'a [u8],
    next: u64,
}

struct Values<'a> {
    file: File<'a>,
    at: u64,
    count: u64,
    size: u64,
}

impl<'a> File<'a> {
    /// The file, and where its first directory is.
    fn new(bytes: &'a [u8]) -> Option<(Self, u64)> {
        let mut file = File { bytes, big_endian: *bytes.first()? == b'M', big: false };
        file.big = file.number(2, 2)? == 43;
        let first = if file.big { file.number(8, 8)? } else { file.number(4, 4)? };
        Some((file, first))
    }

    /// An unsigned number of 1, 2, 4 or 8 bytes.
    fn number(&self, at: u64, size: u64) -> Option<u64> {
        let bytes = self.slice(at, size)?;
        let add = |number, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    fn slice(&self, at: u64, size: u64) -> Option<&'a [u8]> {
        let end = usize::try_from(at.checked_add(size)?).ok()?;
        self.bytes.get(at as usize..end)
    }

    fn directory(self, at: u64) -> Option<Directory<'a>> {
        let (count, head, entry, offset) =
            if self.big { (self.number(at, 8)?, 8, 20, 8) } else { (self.number(at, 2)?, 2, 12, 4) };
        let (start, size) = (at.checked_add(head)?, count.checked_mul(entry)?);
        let entries = self.slice(start, size)?;
        let next = self.number(start + size, offset)?;
        Some(Directory { file: self, entries, next })
    }
}

impl Directory<'_> {
    pub fn contains(&self, tag: u16) -> bool {
        self.entry(tag).is_some()
    }

    /// The first number of a tag. Values that are not whole numbers count as absent.
    pub fn number(&self, tag: u16) -> Option<u64> {
        self.numbers(tag).and_then(|numbers| numbers.first().copied())
    }

    /// The numbers of a tag, the first few of them.
    pub fn numbers(&self, tag: u16) -> Option<Vec<u64>> {
        const MOST: u64 = 16;
        let Values { file, at, count, size } = self.values(tag)?;
        (0..count.min(MOST)).map(|i| file.number(at.checked_add(i * size)?, size)).collect()
    }

    /// Where the whole numbers of a tag are.
    fn values(&self, tag: u16) -> Option<Values<'_>> {
        let entry = File { bytes: self.entry(tag)?, ..self.file };
        let size = match entry.number(2, 2)? {
            // BYTE, SHORT, LONG, IFD, LONG8, IFD8.
            1 => 1,
            3 => 2,
            4 | 13 => 4,
            16 | 18 => 8,
            _ => return None,
        };
        let (count, at, room) = if self.file.big { (entry.number(4, 8)?, 12, 8) } else { (entry.number(4, 4)?, 8, 4) };
        // Values that do not fit into the entry lie elsewhere.
        Some(if count.checked_mul(size)? <= room {
            Values { file: entry, at, count, size }
        } else {
            Values { file: self.file, at: entry.number(at, room)?, count, size }
        })
    }

    /// Whether the file contains the values of all tags that are used here.
    fn is_whole(&self) -> bool {
        let inside = |values: Values| values.file.slice(values.at, values.count * values.size).is_some();
        tag::ALL.iter().all(|&tag| self.values(tag).is_none_or(inside)) && self.texts_fit()
    }

    /// Whether the file can contain the texts of all its tags.
    fn texts_fit(&self) -> bool {
        const ASCII: u64 = 2;
        let most = self.file.bytes.len().min(LONGEST_TEXT) as u64;
        let (entry, wide) = if self.file.big { (20, 8) } else { (12, 4) };
        self.entries.chunks_exact(entry).all(|entry| {
            let entry = File { bytes: entry, ..self.file };
            entry.number(2, 2) != Some(ASCII) || entry.number(4, wide).is_some_and(|count| count <= most)
        })
    }

    fn entry(&self, tag: u16) -> Option<&[u8]> {
        let found = |entry: &&[u8]| File { bytes: entry, ..self.file }.number(0, 2) == Some(tag.into());
        self.entries.chunks_exact(if self.file.big { 20 } else { 12 }).find(found)
    }

    /// Width and height; 0 where they are missing.
    pub fn size(&self) -> (u32, u32) {
        let side = |tag| self.number(tag).map_or(0, |side| side.try_into().unwrap_or(u32::MAX));
        (side(tag::WIDTH), side(tag::HEIGHT))
    }

    /// Whether this is a smaller version of another page, or a mask.
    pub fn is_auxiliary(&self) -> bool {
        const REDUCED_OR_MASK: u64 = 0b101;
        self.number(tag::NEW_SUBFILE_TYPE).is_some_and(|kind| kind & REDUCED_OR_MASK != 0)
            || self.number(tag::SUBFILE_TYPE) == Some(2)
    }

    /// Sub-directories of the page: versions of other sizes, raw data.
    pub fn children(&self) -> Vec<Self> {
        let places = self.numbers(tag::SUB_DIRECTORIES).unwrap_or_default();
        places.into_iter().filter_map(|place| self.file.directory(place)).collect()
    }
}

/// The file's pages in order: at least one and at most [`MOST_PAGES`].
pub(super) fn pages(bytes: &[u8]) -> Result<Vec<Directory<'_>>> {
    let (file, mut next) = File::new(bytes).ok_or_else(truncated)?;
    let (mut pages, mut seen) = (Vec::new(), Vec::new());
    while pages.len() < MOST_PAGES && (next != 0 || pages.is_empty()) {
        if seen.contains(&next) {
            return Err(damaged());
        }
        seen.push(next);
        let page = file.directory(next).filter(Directory::is_whole).ok_or_else(truncated)?;
        next = page.next;
        pages.push(page);
    }
    Ok(pages)
}
