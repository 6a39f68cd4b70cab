//! Pictures in tiles. Each tile is read whole, with its padding, and then copied.
//!
//! The `tiff` crate can assemble tiles itself, but reads those at an edge row by row. Its 0.11.3 then loses the end of
//! LZW data, and panics at the last row of tiles of a second plane.

use std::io::Cursor;

use tiff::decoder::{BufferLayoutPreference, Decoder, DecodingResult, Limits};

use super::directory::{Directory, tag};
use super::{damaged, failure, oversized};
use crate::error::Result;
use crate::memory::zeros;

/// How the tiles of a page lie in it.
struct Tiles {
    /// Pixels of a tile.
    size: [usize; 2],
    /// Tiles in a row and in a column of the page.
    count: [usize; 2],
    /// Bytes of a row of a tile, as stored.
    stored: usize,
    /// Bytes of a row of a tile, without samples that are not read.
    row: usize,
}

impl Tiles {
    fn of(page: &Directory, plan: &BufferLayoutPreference, tile_size: (u32, u32)) -> Option<Self> {
        let ((width, height), number) = (page.size(), |tag| page.number(tag).unwrap_or(1) as usize);
        let (width, height, size) = (width as usize, height as usize, [tile_size.0 as usize, tile_size.1 as usize]);
        if size.contains(&0) {
            return None;
        }
        // The planes of a page have one sample each.
        let samples = if number(tag::PLANAR_CONFIGURATION) == 2 { 1 } else { number(tag::SAMPLES_PER_PIXEL) };
        let bits = number(tag::BITS_PER_SAMPLE).checked_mul(samples)?;
        let stored = size[0].checked_mul(bits)?.div_ceil(8);
        // Bits of the samples that are read: a row of the page has so many bytes.
        let kept = if bits < 8 { bits } else { 8 * (plan.row_stride?.get() / width) };
        let row = size[0].checked_mul(kept)?.div_ceil(8);
        // Bits of a pixel never cross a tile's edge: widths of tiles are multiples of 16.
        let whole = size[0] * kept % 8 == 0 || size[0] >= width;
        (whole && row <= stored).then_some(Tiles {
            size,
            count: [width.div_ceil(size[0]), height.div_ceil(size[1])],
            stored,
            row,
        })
    }

    /// Copies a tile's rows to their place in a plane, whose rows have `width` elements. `size` is that of an element.
    fn place<S: Copy>(&self, tile: &[S], [column, row]: [usize; 2], plane: &mut [S], width: usize, size: usize) {
        let from = column * self.row / size;
        let length = (self.row / size).min(width - from);
        let rows = plane.chunks_exact_mut(width).skip(row * self.size[1]);
        for (line, tile) in rows.zip(tile.chunks_exact(self.stored / size)).take(self.size[1]) {
            line[from..from + length].copy_from_slice(&tile[..length]);
        }
    }
}

/// The values of a page in tiles, plane by plane, and the number of planes. `limits` are those of the page's values;
/// a tile may take as much as other memory of the decoder.
pub(super) fn read(
    decoder: Decoder<Cursor<&[u8]>>,
    page: &Directory,
    plan: &BufferLayoutPreference,
    mut limits: Limits,
) -> Result<(DecodingResult, usize)> {
    let tiles = Tiles::of(page, plan, decoder.chunk_dimensions()).ok_or_else(damaged)?;
    let bytes = tiles.stored.checked_mul(tiles.size[1]).filter(|bytes| *bytes <= limits.intermediate_buffer_size);
    limits.decoding_buffer_size = bytes.ok_or_else(oversized)?;
    let mut decoder = decoder.with_limits(limits);
    let (row, plane) = match (plan.row_stride, plan.plane_stride) {
        (Some(row), Some(plane)) => (row.get(), plane.get()),
        _ => return Err(damaged()),
    };
    let whole = plane.checked_mul(plan.planes).ok_or_else(oversized)?;
    let is_wide = page.number(tag::BITS_PER_SAMPLE) == Some(16);
    let mut values = match is_wide {
        true => DecodingResult::U16(zeros("the picture of a TIFF file", whole / 2)?),
        false => DecodingResult::U8(zeros("the picture of a TIFF file", whole)?),
    };
    let mut tile = DecodingResult::U8(Vec::new());
    let [columns, rows] = tiles.count;
    for index in 0..columns * rows * plan.planes {
        let number = u32::try_from(index).map_err(|_| damaged())?;
        decoder.read_chunk_to_buffer(&mut tile, number, tiles.stored).map_err(failure)?;
        let (at, of) = (index / (columns * rows), [index % columns, index / columns % rows]);
        match (&tile, &mut values) {
            (DecodingResult::U8(tile), DecodingResult::U8(values)) => {
                tiles.place(tile, of, &mut values[at * plane..][..plane], row, 1);
            }
            (DecodingResult::U16(tile), DecodingResult::U16(values)) => {
                tiles.place(tile, of, &mut values[at * plane / 2..][..plane / 2], row / 2, 2);
            }
            _ => return Err(damaged()),
        }
    }
    Ok((values, plan.planes))
}
