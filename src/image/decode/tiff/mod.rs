//! TIFF and BigTIFF: the one full page of a file, rotated by its orientation tag, as Pillow does.
//!
//! The directories are read first. A file that holds anything other than one picture of grey, RGB or CMYK values is
//! refused with an error that names its content. The `tiff` crate reads the pixels.

mod directory;
#[cfg(test)]
mod tests;
mod tiles;

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer};
use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::{TiffError, TiffUnsupportedError};

use self::directory::{Directory, MOST_PAGES, pages, tag};
use super::{FLOAT, check_memory, check_size, cmyk_to_rgb, holds, is_end_of_data, memory_limit, not_supported, refuse};
use crate::error::{Error, Result};
use crate::image::MAX_SIDE;
use crate::image::depth::WhiteLevel;
use crate::image::file_depth::tiff_white;

/// The largest number of samples per pixel. The decoder takes memory for a row of a tile (tile width times samples)
/// without respecting its limits.
const MOST_SAMPLES: u64 = 64;

/// The picture, and the white level that the file states for 16-bit values.
pub(super) fn decode(bytes: &[u8]) -> Result<(DynamicImage, Option<WhiteLevel>)> {
    let pages = pages(bytes)?;
    if pages.iter().any(is_raw) {
        return Err(not_supported("TIFF with raw camera data (DNG, NEF, ARW and the like)"));
    }
    let at = full_page(&pages)?;
    let layout = Layout::of(&pages[at])?;
    check_size(pages[at].size())?;
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(failure)?;
    if at > 0 {
        decoder.seek_to_image(at).map_err(failure)?;
    }
    let white = tiff_white(&mut decoder);
    // Other values have no meaning, and Pillow ignores them.
    let turn = pages[at].number(tag::ORIENTATION).and_then(|turn| Orientation::from_exif(turn.try_into().ok()?));
    let turn = turn.unwrap_or(Orientation::NoTransforms);
    let copies = if turn == Orientation::NoTransforms { 1 } else { 2 };
    let mut picture = read(decoder, &pages[at], &layout, copies)?;
    picture.apply_orientation(turn);
    Ok((picture, white))
}

/// Whether a page or one of its sub-directories holds raw camera data.
fn is_raw(page: &Directory) -> bool {
    const COLOUR_FILTER_ARRAY: u64 = 32803;
    const LINEAR_RAW: u64 = 34892;
    let raw = |directory: &Directory| {
        matches!(directory.number(tag::PHOTOMETRIC), Some(COLOUR_FILTER_ARRAY | LINEAR_RAW))
            || directory.contains(tag::DNG_VERSION)
    };
    raw(page) || page.children().iter().any(raw)
}

/// The index of the page that is the picture.
fn full_page(pages: &[Directory]) -> Result<usize> {
    let full: Vec<usize> = (0..pages.len()).filter(|&at| !pages[at].is_auxiliary()).collect();
    match (&full[..], pages.len()) {
        (&[at], _) => Ok(at),
        // There is no other page that its flag could refer to.
        ([], 1) => Ok(0),
        ([], _) => Err(refuse("the TIFF data holds pages of reduced resolution alone: give the full picture")),
        (_, MOST_PAGES) => Err(holds("TIFF", &format!("{MOST_PAGES} pages or more"))),
        _ => Err(holds("TIFF", &format!("{} pages", full.len()))),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    Grey,
    Rgb,
    Cmyk,
}

/// The layout of a page's values, if it is one that is decoded correctly.
struct Layout {
    colour: Colour,
    bits: u64,
    /// The colours are multiplied by their alpha.
    premultiplied: bool,
}

impl Layout {
    fn of(page: &Directory) -> Result<Self> {
        const UNSIGNED: u64 = 1;
        const ASSOCIATED_ALPHA: u64 = 1;
        const OTHER_SAMPLES: u64 = 0;
        let number = |tag, default| page.number(tag).unwrap_or(default);
        let unsupported = |what: &str| Err(not_supported(&format!("TIFF {what}")));

        if let Some(name) = compression(number(tag::COMPRESSION, 1)) {
            return unsupported(&format!("compressed as {name}"));
        }
        if number(tag::FILL_ORDER, 1) != 1 {
            return unsupported("with bits from right to left (FillOrder 2)");
        }
        let (bits, samples) = (number(tag::BITS_PER_SAMPLE, 1), number(tag::SAMPLES_PER_PIXEL, 1));
        match number(tag::SAMPLE_FORMAT, UNSIGNED) {
            UNSIGNED => {}
            2 => return unsupported("of signed numbers"),
            3 if bits == 32 => return Err(refuse(FLOAT)),
            3 => return unsupported(&format!("of {bits}-bit floating point numbers")),
            5 | 6 => return unsupported("of complex numbers"),
            _ => return unsupported("of undefined numbers"),
        }
        let white_is_zero = page.number(tag::PHOTOMETRIC) == Some(0);
        let colour = match page.number(tag::PHOTOMETRIC) {
            Some(0 | 1) => Colour::Grey,
            Some(2) => Colour::Rgb,
            Some(5) => Colour::Cmyk,
            Some(3) => return unsupported("with a palette"),
            Some(4) => return unsupported("that is only a mask"),
            Some(6) => return unsupported("of YCbCr colours"),
            Some(8..=10) => return unsupported("of Lab colours"),
            Some(other) => return unsupported(&format!("of photometric interpretation {other}")),
            None => return unsupported("without a photometric interpretation"),
        };
        let extra = page.numbers(tag::EXTRA_SAMPLES).unwrap_or_default();
        let premultiplied = extra.first() == Some(&ASSOCIATED_ALPHA);
        let colours = match colour {
            Colour::Grey => 1,
            Colour::Rgb => 3,
            Colour::Cmyk => 4,
        };
        if samples < colours {
            return unsupported(&format!("of {samples} samples per pixel, which are too few for its colours"));
        }
        if samples > MOST_SAMPLES {
            return unsupported(&format!("of {samples} samples per pixel, more than {MOST_SAMPLES}"));
        }
        // Wider than any picture, by less than the multiple of 16 that they must be.
        if number(tag::TILE_WIDTH, 0) > MAX_SIDE as u64 + 16 {
            return Err(damaged());
        }
        let depths: &[u64] = match colour {
            Colour::Grey if samples == 1 && white_is_zero => &[1, 8],
            Colour::Grey if samples == 1 => &[1, 8, 16],
            Colour::Grey if white_is_zero => &[],
            Colour::Grey | Colour::Rgb if !premultiplied => &[8, 16],
            _ => &[8],
        };
        let name = format!("{colour:?}").to_lowercase();
        if !depths.contains(&bits) {
            let zero = if white_is_zero { ", white as zero," } else { "" };
            let alpha = if premultiplied { ", multiplied by alpha," } else { "" };
            return unsupported(&format!("of {bits}-bit {name} values{zero}{alpha} and {samples} samples per pixel"));
        }
        // The decoder drops unused samples before it undoes the predictor.
        let left_out = colour == Colour::Rgb && samples > 3 && (samples > 4 || extra.first() == Some(&OTHER_SAMPLES));
        let planar = number(tag::PLANAR_CONFIGURATION, 1) == 2;
        if left_out && !planar && number(tag::PREDICTOR, 1) != 1 {
            return unsupported("with a predictor and samples that are not colours");
        }
        Ok(Layout { colour, bits, premultiplied })
    }
}

/// The name of a compression that is not decoded.
fn compression(code: u64) -> Option<String> {
    let name = match code {
        // None, CCITT group 4, LZW, Deflate (two numbers), PackBits.
        1 | 4 | 5 | 8 | 32773 | 32946 => return None,
        2 | 3 => "CCITT fax of group 3",
        6 | 7 => "JPEG",
        9 | 10 => "JBIG",
        34712 | 33003 | 33005 => "JPEG 2000",
        34887 => "LERC",
        34925 => "LZMA",
        34927 | 50001 => "WebP",
        34926 | 50000 => "Zstandard",
        50002 | 52546 => "JPEG XL",
        other => return Some(format!("number {other}")),
    };
    Some(name.into())
}

/// The pixels, which are to be there `copies` times.
fn read(mut decoder: Decoder<Cursor<&[u8]>>, page: &Directory, layout: &Layout, copies: u64) -> Result<DynamicImage> {
    let (width, height) = page.size();
    if decoder.dimensions().map_err(failure)? != (width, height) {
        return Err(damaged());
    }
    let mut limits = Limits::unlimited();
    let plan = decoder.image_buffer_layout().map_err(failure)?;
    let whole = plan.complete_len;
    check_memory((whole as u64).saturating_mul(copies), (width, height))?;
    limits.decoding_buffer_size = whole;
    let rest = memory_limit(whole as u64).saturating_sub(whole as u64);
    limits.intermediate_buffer_size = usize::try_from(rest).unwrap_or(usize::MAX);
    limits.ifd_value_size = limits.intermediate_buffer_size;
    let (values, planes) = match decoder.get_chunk_type() {
        ChunkType::Tile => tiles::read(decoder, page, &plan, limits)?,
        ChunkType::Strip => {
            let mut values = DecodingResult::U8(Vec::new());
            let read = decoder.with_limits(limits).read_image_to_buffer(&mut values).map_err(failure)?;
            (values, read.planes)
        }
    };
    let area = width as usize * height as usize;
    let picture = match values {
        DecodingResult::U8(values) if layout.bits == 1 => expand(&values, width as usize)
            .filter(|pixels| pixels.len() == area)
            .and_then(|pixels| ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)),
        DecodingResult::U8(values) => {
            let (samples, values) = packed(values, planes, area);
            eight_bits(layout, samples, values, (width, height))
        }
        DecodingResult::U16(values) => {
            let (samples, values) = packed(values, planes, area);
            sixteen_bits(samples, values, (width, height))
        }
        _ => None,
    };
    picture.ok_or_else(damaged)
}

/// The number of samples per pixel, and the interleaved pixels.
fn packed<S: Copy>(values: Vec<S>, planes: usize, area: usize) -> (usize, Vec<S>) {
    if planes > 1 && values.len() == planes * area {
        let pixels = (0..area).flat_map(|at| values[at..].iter().step_by(area)).copied().collect();
        return (planes, pixels);
    }
    (values.len() / area, values)
}

fn eight_bits(
    layout: &Layout,
    samples: usize,
    mut pixels: Vec<u8>,
    (width, height): (u32, u32),
) -> Option<DynamicImage> {
    if layout.colour == Colour::Cmyk {
        if samples > 4 {
            pixels = pixels.chunks_exact(samples).flat_map(|pixel| &pixel[..4]).copied().collect();
        }
        // The conversion is that of JPEG, which stores inverted values.
        pixels.iter_mut().for_each(|ink| *ink = 255 - *ink);
        cmyk_to_rgb(&mut pixels);
        return ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8);
    }
    if layout.premultiplied && samples > 1 {
        pixels.chunks_exact_mut(samples).for_each(divide_by_alpha);
    }
    Some(match samples {
        1 => DynamicImage::ImageLuma8(ImageBuffer::from_raw(width, height, pixels)?),
        2 => DynamicImage::ImageLumaA8(ImageBuffer::from_raw(width, height, pixels)?),
        3 => DynamicImage::ImageRgb8(ImageBuffer::from_raw(width, height, pixels)?),
        4 => DynamicImage::ImageRgba8(ImageBuffer::from_raw(width, height, pixels)?),
        _ => return None,
    })
}

fn sixteen_bits(samples: usize, pixels: Vec<u16>, (width, height): (u32, u32)) -> Option<DynamicImage> {
    Some(match samples {
        1 => DynamicImage::ImageLuma16(ImageBuffer::from_raw(width, height, pixels)?),
        2 => DynamicImage::ImageLumaA16(ImageBuffer::from_raw(width, height, pixels)?),
        3 => DynamicImage::ImageRgb16(ImageBuffer::from_raw(width, height, pixels)?),
        4 => DynamicImage::ImageRgba16(ImageBuffer::from_raw(width, height, pixels)?),
        _ => return None,
    })
}

/// Expands bits to 0 and 255. Each row begins at a whole byte, highest bit first.
fn expand(rows: &[u8], width: usize) -> Option<Vec<u8>> {
    let rows = rows.chunks_exact(width.div_ceil(8));
    Some(rows.flat_map(|row| (0..width).map(|x| if row[x / 8] << (x % 8) & 0x80 != 0 { 255 } else { 0 })).collect())
}

/// As in Pillow, pixels with alpha 0 are black.
fn divide_by_alpha(pixel: &mut [u8]) {
    let Some((&mut alpha, colours)) = pixel.split_last_mut() else { return };
    colours.iter_mut().for_each(|value| {
        *value = (255 * u32::from(*value)).checked_div(alpha.into()).unwrap_or(0).min(255) as u8;
    });
}

/// Translates the decoder's error for the user, and keeps it as the cause.
fn failure(error: TiffError) -> Error {
    let message = match &error {
        TiffError::IoError(_) if is_end_of_data(&error) => truncated(),
        TiffError::UnsupportedError(TiffUnsupportedError::UnknownInterpretation) => {
            not_supported("TIFF without a photometric interpretation")
        }
        TiffError::UnsupportedError(_) => not_supported("this variant of TIFF"),
        TiffError::LimitsExceeded => oversized(),
        _ => damaged(),
    };
    message.because(error)
}

fn oversized() -> Error {
    refuse("the TIFF data takes more memory than a picture of its size should: save it again")
}

fn truncated() -> Error {
    super::truncated("TIFF")
}

fn damaged() -> Error {
    super::damaged("TIFF")
}
