//! [`Image`]: picture files to 8-bit grey or RGB.
//!
//! Palette, alpha, 1-bit and 16-bit pictures become 8-bit grey or RGB *before* resizing, while Pillow resizes in the
//! file's own mode. JPEG has the pixels of libjpeg-turbo, and CMYK becomes RGB as in Pillow. As in the published code
//! with Pillow, alpha is dropped rather than composited, and the EXIF orientation is ignored except in TIFF.
//!
//! A file must hold one picture. Several frames or pages are an error that gives their number.

mod jpeg;
#[cfg(feature = "libjpeg")]
mod libjpeg;
#[cfg(test)]
mod memory_tests;
mod multi_picture;
mod png;
#[cfg(test)]
mod tests;
mod tiff;
mod webp;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::panic::UnwindSafe;
use std::path::Path;

use ::tiff::TiffError;
use image::error::ImageError;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::depth::{Depth, Scale, WhiteLevel, largest};
use super::file_depth::declared;
use super::frame::{Frame, Roi};
use super::layout::MAX_SIDE;
use super::layout::packed_stride;
use super::pixel_format::PixelFormat;
use super::sniff::{Content, Format, sniff};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;

/// The largest number of pixels of a picture. Pillow refuses larger files as decompression bombs, too.
pub const MAX_PIXELS: u64 = 178_956_970;
/// The longest file: an uncompressed picture of [`MAX_PIXELS`] with four 16-bit channels, and its metadata.
const MAX_FILE: u64 = 8 * MAX_PIXELS + (64 << 20);
/// Memory that a decoder may take for a picture of any size.
const BASE_ALLOCATION: u64 = 64 << 20;

/// A decoded picture: packed 8-bit pixels, grey or RGB.
#[derive(Clone)]
pub struct Image {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
    format: PixelFormat,
    /// What is known about the range of the file's values.
    depth: Depth,
}

impl Image {
    /// Reads and decodes a file, as [`Image::decode`].
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the file cannot be read, otherwise as [`Image::decode`]; either names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Image::open_with(path, None)
    }

    /// As [`Image::open`], with a white level for 16-bit pictures as in [`Image::decode_with`].
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open_with(path: impl AsRef<Path>, white: Option<WhiteLevel>) -> Result<Self> {
        let path = path.as_ref();
        Image::decode_with(&read(path)?, white).map_err(|error| error.at(path))
    }

    /// Decodes a PNG, JPEG, BMP, TIFF, WebP or PNM file. The format is recognised by the content alone.
    ///
    /// # Errors
    /// [`ErrorKind::Image`] for empty, truncated or damaged data, an unsupported format, a side over [`MAX_SIDE`] or more
    /// than [`MAX_PIXELS`] pixels (checked in the header before decoding); [`ErrorKind::Device`] where memory is short.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Image::decode_with(bytes, None)
    }

    /// As [`Image::decode`], with the white level `white` for 16-bit pictures. 8-bit pictures are not affected.
    ///
    /// A file may state its own level: PNM by its maxval, which takes precedence over `white`, and TIFF by
    /// SMaxSampleValue or MaxSampleValue, if that is 2^n - 1. A PNG with an sBIT chunk is already scaled to 16 bits.
    /// Without any of these, [`Frame::depth_doubt`] tells whether the values use only a sliver of their range.
    ///
    /// # Errors
    /// As [`Image::decode`].
    pub fn decode_with(bytes: &[u8], white: Option<WhiteLevel>) -> Result<Self> {
        let (picture, white) = values(bytes, white)?;
        Image::from_dynamic(picture, white)
    }

    /// Takes packed pixels, `width * height * bytes`, and [converts](Frame::convert) them if necessary.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an empty picture or a wrong number of bytes.
    pub fn from_pixels(pixels: Vec<u8>, width: usize, height: usize, format: PixelFormat) -> Result<Self> {
        let frame = Frame::packed(&pixels, width, height, format)?;
        let expected = packed_stride(width, height, format)? * height;
        if pixels.len() != expected {
            let found = pixels.len();
            return Err(Error::new(
                ErrorKind::Argument,
                format!("{width} x {height} {format:?} pixels take {expected} bytes, but there are {found}"),
            ));
        }
        if format != format.converted() {
            let mut converted = Vec::new();
            let depth = frame.convert(&mut converted)?.depth();
            let format = format.converted();
            converted.truncate(width * height * format.channels());
            return Ok(Image { pixels: converted, width, height, format, depth });
        }
        Ok(Image { pixels, width, height, format, depth: Depth::Format })
    }

    /// The pixels inside `roi`, as a picture of their own. What is known of the range of its values is known of the whole.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an empty region, or one that is not all inside the picture.
    pub fn region(&self, roi: Roi) -> Result<Self> {
        let frame = self.frame().region(roi)?;
        let pixels = (0..frame.height()).flat_map(|y| frame.row(y)).copied().collect();
        Ok(Image { depth: self.depth, ..Image::from_pixels(pixels, roi.width, roi.height, self.format)? })
    }

    fn from_dynamic(image: DynamicImage, white: Option<WhiteLevel>) -> Result<Self> {
        use PixelFormat::{Grey8, Rgb8};
        let (width, height) = (image.width() as usize, image.height() as usize);
        let mut depth = Depth::Format;
        let (pixels, format) = match image {
            DynamicImage::ImageLuma8(image) => (image.into_raw(), Grey8),
            DynamicImage::ImageLumaA8(image) => (convert::<2, 1>(&image)?, Grey8),
            DynamicImage::ImageRgb8(image) => (image.into_raw(), Rgb8),
            DynamicImage::ImageRgba8(image) => (convert::<4, 3>(&image)?, Rgb8),
            DynamicImage::ImageLuma16(image) => (narrow::<1, 1>(&image, white, &mut depth)?, Grey8),
            DynamicImage::ImageLumaA16(image) => (narrow::<2, 1>(&image, white, &mut depth)?, Grey8),
            DynamicImage::ImageRgb16(image) => (narrow::<3, 3>(&image, white, &mut depth)?, Rgb8),
            DynamicImage::ImageRgba16(image) => (narrow::<4, 3>(&image, white, &mut depth)?, Rgb8),
            _ => return Err(float()),
        };
        Ok(Image { depth, ..Image::from_pixels(pixels, width, height, format)? })
    }

    /// The pixels, borrowed.
    pub fn frame(&self) -> Frame<'_> {
        Frame::packed(&self.pixels, self.width, self.height, self.format)
            .expect("every constructor goes through from_pixels, which makes this check")
            .with_depth(self.depth)
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }
}

impl std::fmt::Debug for Image {
    /// Only the geometry: the pixels would flood any message.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} x {} {:?})", self.width, self.height, self.format)
    }
}

const FLOAT: &str = "the pixels are 32-bit floating point, which has no fixed range: scale them to 8 or 16 bits, \
    with the same black and white values for all pictures of the product";

/// Whose memory it is, in words.
const DECODED: &str = "the picture in 8-bit grey or colour";

/// The content of a picture's file.
///
/// # Errors
/// [`ErrorKind::Io`] where it cannot be read, [`ErrorKind::Image`] where it is too long; either names the file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| Error::io("read", path, error))?;
    if bytes.len() as u64 > MAX_FILE {
        let message = format!("the file is longer than {MAX_FILE} bytes: no supported picture is that large");
        return Err(refuse(message).at(path));
    }
    Ok(bytes)
}

/// The values of a file at their own depth, 8 or 16 bits, and their white level, which the file or the caller declares.
///
/// # Errors
/// As [`Image::decode`].
pub(super) fn values(bytes: &[u8], white: Option<WhiteLevel>) -> Result<(DynamicImage, Option<WhiteLevel>)> {
    contained(|| decoded(bytes, white))
}

/// What `decode` returns. A panic of a decoder of others is an error of this one picture.
fn contained<T>(decode: impl FnOnce() -> Result<T> + UnwindSafe) -> Result<T> {
    std::panic::catch_unwind(decode).unwrap_or_else(|_| {
        let message =
            "the decoder fails at this picture, which is a bug: report it with the file, and convert it to PNG";
        Err(Error::new(ErrorKind::Internal, message))
    })
}

fn decoded(bytes: &[u8], white: Option<WhiteLevel>) -> Result<(DynamicImage, Option<WhiteLevel>)> {
    if bytes.is_empty() {
        return Err(refuse("the file is empty (0 bytes)"));
    }
    let format = recognise(bytes)?;
    let mut bytes = Cow::Borrowed(bytes);
    match format {
        ImageFormat::Png => bytes = png::checked(&bytes)?.map_or(bytes, Cow::Owned),
        ImageFormat::Jpeg => return Ok((jpeg::decode(&bytes)?, None)),
        ImageFormat::Tiff => {
            let (picture, said) = tiff::decode(&bytes)?;
            return Ok((picture, white.or(said)));
        }
        ImageFormat::WebP => webp::check(&bytes)?,
        _ => {}
    }
    let completed = matches!(bytes, Cow::Owned(_));
    // Only the end was missing, or the data is now in the wrong place.
    let fail = |error| if completed { truncated(&name(format)).because(error) } else { failure(format, error) };
    let mut reader = Cursor::new(&*bytes);
    let mut decoder = ImageReader::with_format(&mut reader, format).into_decoder().map_err(fail)?;
    check_size(decoder.dimensions())?;
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(float());
    }
    check_memory(decoder.total_bytes(), decoder.dimensions())?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(memory_limit(decoder.total_bytes()));
    decoder.set_limits(limits).map_err(fail)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
    if format == ImageFormat::Pnm && another_pnm(&bytes[reader.position() as usize..]) {
        return Err(holds("PNM", "several pictures, one after the other"));
    }
    let white = declared(&bytes, format, white);
    Ok((picture, white))
}

/// Drops the last channels of pixels of `FROM` samples, so that `TO` remain.
fn convert<const FROM: usize, const TO: usize>(samples: &[u8]) -> Result<Vec<u8>> {
    let mut pixels = memory::zeros::<u8>(DECODED, samples.len() / FROM * TO)?;
    for (pixel, sample) in pixels.as_chunks_mut::<TO>().0.iter_mut().zip(samples.as_chunks::<FROM>().0) {
        pixel.copy_from_slice(&sample[..TO]);
    }
    Ok(pixels)
}

/// The same for 16-bit samples with white level `white`. `depth` receives what is known about their range.
fn narrow<const FROM: usize, const TO: usize>(
    samples: &[u16],
    white: Option<WhiteLevel>,
    depth: &mut Depth,
) -> Result<Vec<u8>> {
    let colours = || samples.as_chunks::<FROM>().0.iter().flat_map(|pixel| &pixel[..TO]).copied();
    *depth = white.map_or_else(|| Depth::Seen(largest(colours())), Depth::White);
    let mut pixels = memory::zeros(DECODED, samples.len() / FROM * TO)?;
    Scale::new(16, white).bytes(colours(), &mut pixels);
    Ok(pixels)
}

/// Pillow's `convert("RGB")` for CMYK values that are stored inverted, as in JPEG; in place.
fn cmyk_to_rgb(pixels: &mut Vec<u8>) {
    // `round(a * b / 255)`, without a division.
    let product = |a: u8, b: u8| {
        let product = u32::from(a) * u32::from(b) + 128;
        (((product >> 8) + product) >> 8) as u8
    };
    let count = pixels.len() / 4;
    for at in 0..count {
        let [c, m, y, white] = [0, 1, 2, 3].map(|channel| pixels[4 * at + channel]);
        let rgb = [c, m, y].map(|ink| white - product(255 - ink, white));
        pixels[3 * at..][..3].copy_from_slice(&rgb);
    }
    pixels.truncate(3 * count);
}

/// Recognises the format by the first bytes of the content.
fn recognise(bytes: &[u8]) -> Result<ImageFormat> {
    match sniff(bytes) {
        Content::Picture(Format::Png) => Ok(ImageFormat::Png),
        Content::Picture(Format::Jpeg) => Ok(ImageFormat::Jpeg),
        Content::Picture(Format::Bmp) => Ok(ImageFormat::Bmp),
        Content::Picture(Format::Tiff) => Ok(ImageFormat::Tiff),
        Content::Picture(Format::WebP) => Ok(ImageFormat::WebP),
        Content::Picture(Format::Pnm) => Ok(ImageFormat::Pnm),
        Content::Unsupported(name) => Err(not_supported(name)),
        Content::Other => Err(refuse(
            "the content is not one of PNG, JPEG, BMP, TIFF, WebP, PNM (recognised by the first bytes, whatever the \
            file's name)",
        )),
    }
}

/// Whether another picture follows a Netpbm picture, rather than arbitrary data.
fn another_pnm(rest: &[u8]) -> bool {
    matches!(sniff(rest.trim_ascii_start()), Content::Picture(Format::Pnm))
}

fn check_size((width, height): (u32, u32)) -> Result<()> {
    if width.min(height) == 0 {
        return Err(refuse(format!("the header says {width} x {height} pixels: the picture is empty")));
    }
    if width.max(height) as usize > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(refuse(format!(
            "the header says {width} x {height} pixels: at most {MAX_SIDE} a side and {MAX_PIXELS} in all are decoded; \
             cut the picture into parts or scale it down"
        )));
    }
    Ok(())
}

/// Refuses a picture that does not fit into memory: its decoded `bytes`, and its 8-bit copy.
fn check_memory(bytes: u64, (width, height): (u32, u32)) -> Result<()> {
    let bytes = bytes.saturating_add(3 * u64::from(width) * u64::from(height));
    let what = format!("a picture of {width} x {height} pixels");
    memory::check(&what, usize::try_from(bytes).unwrap_or(usize::MAX), "cut it into parts or scale it down")
}

/// Values without a range.
pub(super) fn float() -> Error {
    refuse(FLOAT)
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Image, message)
}

fn truncated(name: &str) -> Error {
    refuse(format!("the {name} data is truncated: it ends before the picture does; save or copy it again"))
}

fn damaged(name: &str) -> Error {
    refuse(format!("the {name} data is damaged: save or copy it again"))
}

/// A file of several pictures, of which only one would be scored.
fn holds(name: &str, what: &str) -> Error {
    refuse(format!("the {name} data holds {what}: give single pictures"))
}

/// A well-formed picture of a kind that is not decoded.
fn not_supported(name: &str) -> Error {
    refuse(format!("{name} is not supported: convert the picture to PNG"))
}

/// How much memory a decoder may take for a picture of `output` bytes: the output, its own copy (four channels where we
/// use three, or two-byte coefficients), and strips.
fn memory_limit(output: u64) -> u64 {
    4 * output + BASE_ALLOCATION
}

/// Translates a decoder's error for the user, and keeps it as the cause.
fn failure(format: ImageFormat, error: ImageError) -> Error {
    if is_end_of_data(&error) {
        return truncated(&name(format)).because(error);
    }
    let what = match &error {
        ImageError::Unsupported(_) => {
            "uses a variant that is not supported: convert it to 8- or 16-bit PNG (32-bit floating point needs the \
            same black and white values for all pictures of the product)"
        }
        ImageError::Limits(_) => "takes more memory than a picture of its size should: save it again as PNG",
        _ => "is damaged: save or copy it again",
    };
    refuse(format!("the {} data {what}", name(format))).because(error)
}

/// Whether the decoder ran out of bytes.
fn is_end_of_data(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    // Their `source` is that of the error within.
    if let Some(ImageError::IoError(error)) = error.downcast_ref() {
        cause = Some(error);
    }
    if let Some(TiffError::IoError(error)) = error.downcast_ref() {
        cause = Some(error);
    }
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The name that people use.
fn name(format: ImageFormat) -> String {
    match format {
        ImageFormat::WebP => "WebP".into(),
        other => format!("{other:?}").to_uppercase(),
    }
}
