//! The images that a threshold gets most wrong, with their heat maps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, RgbImage};

use crate::datasets::Item;
use crate::evaluation::Entry;
use crate::render::{ColourScale, overlay};
use inctrl::{AnomalyMap, Error, ErrorKind, Frame, PixelFormat, Placement};

/// How pictures are put into a page.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    /// The longest side of an image in pixels.
    side: usize,
    quality: u8,
}

impl Look {
    /// For a few pictures.
    pub(crate) const LARGE: Look = Look { side: 220, quality: 86 };
    /// For many: no smaller than a legend.
    pub(crate) const SMALL: Look = Look { side: 144, quality: 70 };
}

/// An image and its heat map as data for a page, or why there is none.
pub(crate) fn pictures(
    item: &Item,
    entry: &Entry,
    bank: usize,
    scale: &ColourScale,
    look: Look,
) -> Result<[String; 2], String> {
    let image = item.image().map_err(|error| error.chain())?;
    let (width, height, pixels) = reduced(image.frame(), look.side);
    let map = entry.map(bank, width, height).ok_or("it has no map")?;
    let frame = Frame::packed(&pixels, width, height, PixelFormat::Rgb8).map_err(|error| error.chain())?;
    let heat = overlay(frame, &map, scale).map_err(|error| error.chain())?;
    Ok([jpeg(&pixels, [width, height], look)?, jpeg(&heat.pixels, [heat.width, heat.height], look)?])
}

/// An image and its heat map as data for a page; the map is one of the image's own pixels.
pub(crate) fn beside(
    frame: Frame<'_>,
    map: &AnomalyMap,
    scale: &ColourScale,
    look: Look,
) -> Result<[String; 2], Error> {
    let (width, height, pixels) = reduced(frame, look.side);
    let [across, down] = [width as f64 / frame.width() as f64, height as f64 / frame.height() as f64];
    let place = map.placement;
    let placement =
        Placement { x: place.x * across, y: place.y * down, width: place.width * across, height: place.height * down };
    let reduced = Frame::packed(&pixels, width, height, PixelFormat::Rgb8)?;
    let heat = overlay(reduced, &AnomalyMap { placement, ..map.clone() }, scale)?;
    let written = |pixels: &[u8], width, height| {
        jpeg(pixels, [width, height], look).map_err(|error| Error::new(ErrorKind::Internal, error))
    };
    Ok([written(&pixels, width, height)?, written(&heat.pixels, heat.width, heat.height)?])
}

/// An RGB picture whose longer side is at most `side`.
fn reduced(frame: Frame<'_>, side: usize) -> (usize, usize, Vec<u8>) {
    let mut pixels = Vec::with_capacity(frame.width() * frame.height() * 3);
    for y in 0..frame.height() {
        match frame.format() {
            PixelFormat::Grey8 => pixels.extend(frame.row(y).iter().flat_map(|&grey| [grey; 3])),
            _ => pixels.extend_from_slice(frame.row(y)),
        }
    }
    let (width, height) = (frame.width(), frame.height());
    let longest = width.max(height);
    if longest <= side {
        return (width, height, pixels);
    }
    let [w, h] = [width, height].map(|length| ((length * side + longest / 2) / longest).max(1));
    match RgbImage::from_raw(width as u32, height as u32, pixels) {
        Some(image) => (w, h, imageops::resize(&image, w as u32, h as u32, FilterType::Triangle).into_raw()),
        // Sides that do not fit 32 bits do not come out of a decoder.
        None => (1, 1, vec![0; 3]),
    }
}

fn jpeg(pixels: &[u8], [width, height]: [usize; 2], look: Look) -> Result<String, String> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, look.quality)
        .encode(pixels, width as u32, height as u32, ExtendedColorType::Rgb8)
        .map_err(|error| error.to_string())?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(file)))
}
