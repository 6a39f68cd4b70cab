//! Many images and their heat maps on one page.

use image::imageops::{self, FilterType};
use image::{GrayImage, RgbImage};

use super::legend::{self, FAINT, GROUND, INK};
use super::text::{self, LINE};
use super::{ColourScale, Picture, heat};
use inctrl::internals::check_memory;
use inctrl::view::Placement;
use inctrl::{AnomalyMap, Frame, Result};

const ANOMALOUS: [u8; 3] = [235, 87, 72];
const NORMAL: [u8; 3] = [58, 64, 76];
/// Ground of a card, a little lighter than that of the sheet.
const CARD: [u8; 3] = [32, 35, 42];
/// A colour that neither scale nor usual subjects have.
const OUTLINE: [u8; 3] = [64, 232, 255];

/// One image of a sheet.
#[derive(Clone, Debug)]
pub struct Tile<'a> {
    /// The image.
    pub frame: Frame<'a>,
    /// Its heat map.
    pub map: &'a AnomalyMap,
    /// The true defect, one byte per pixel, not 0 on the defect. It is outlined. A mask of another length is not drawn.
    pub mask: Option<&'a [u8]>,
    /// A few words below, such as defect and score; cut if too long.
    pub title: String,
    /// Whether the image is anomalous, which colours the frame.
    pub anomalous: bool,
}

/// All distances on a sheet, in pixels.
struct Layout {
    side: usize,
    text: usize,
    heading: usize,
    border: usize,
    gap: usize,
}

impl Layout {
    fn new(tile_side: usize) -> Self {
        let side = tile_side.max(32);
        let text = (side / 160).max(1);
        Layout { side, text, heading: 2 * text, border: 2 * text, gap: 10 * text }
    }

    /// Image above heat map above title, with a border around each.
    fn card(&self) -> [usize; 2] {
        let title = (LINE + 5) * self.text;
        [self.side + 2 * self.border, 2 * self.side + 3 * self.border + title]
    }

    /// A row's heading with the space below it.
    fn head(&self) -> usize {
        LINE * self.heading + self.gap * 3 / 4
    }
}

/// A sheet with a row for each label: every tile a card with the image, the true defect outlined, above its heat map
/// and its title; frames of anomalous images stand out. One legend serves all.
///
/// `tile_side` is the side of an image on the sheet in pixels, at least 32; images that are not square are fitted in.
///
/// # Errors
/// [`ErrorKind::Device`](inctrl::ErrorKind::Device) where there is no memory for the sheet.
pub fn contact_sheet(rows: &[(String, Vec<Tile<'_>>)], tile_side: usize, scale: &ColourScale) -> Result<Picture> {
    let layout = Layout::new(tile_side);
    let [card_width, card_height] = layout.card();
    let gap = layout.gap;
    let columns = rows.iter().map(|(_, tiles)| tiles.len()).max().unwrap_or(0);
    let labels = rows.iter().map(|(label, _)| text::width(label) * layout.heading).max().unwrap_or(0);
    let content = (columns * (card_width + gap)).saturating_sub(gap).max(labels);
    let width = (content + 4 * gap).max(legend::least_width(layout.text));
    let row_height = layout.head() + card_height + 2 * gap;
    let height = 2 * gap + rows.len() * row_height + legend::height(layout.text);
    let bytes = width.saturating_mul(height).saturating_mul(3);
    check_memory(&format!("a sheet of {width} x {height} pixels"), bytes, "show fewer images")?;
    let mut sheet = Picture::filled(width, height, GROUND);
    let mut y = 2 * gap;
    for (label, tiles) in rows {
        text::draw(&mut sheet, label, 2 * gap, y, layout.heading, INK);
        for (column, tile) in tiles.iter().enumerate() {
            let x = 2 * gap + column * (card_width + gap);
            sheet.paste(&card(tile, &layout, scale)?, x, y + layout.head());
        }
        y += row_height;
    }
    let strip_width = width.min(legend::least_width(layout.text) * 3);
    let strip = legend::strip(strip_width, layout.text, scale);
    sheet.paste(&strip, (width - strip_width) / 2, height - strip.height);
    Ok(sheet)
}

fn card(tile: &Tile<'_>, layout: &Layout, scale: &ColourScale) -> Result<Picture> {
    let [width, height] = layout.card();
    let (side, border) = (layout.side, layout.border);
    let frame = if tile.anomalous { ANOMALOUS } else { NORMAL };
    let mut card = Picture::filled(width, height, frame);
    card.fill(border, border, side, height - 2 * border, CARD);
    let (image, heat) = thumbnails(tile, side, scale)?;
    let centre = |length: usize| border + (side - length) / 2;
    card.paste(&image, centre(image.width), centre(image.height));
    card.paste(&heat, centre(heat.width), side + border + centre(heat.height));
    let room = side.saturating_sub(4 * layout.text) / layout.text;
    let (title, y) = (text::fitted(&tile.title, room), 2 * (side + border) + 3 * layout.text);
    let colour = if tile.anomalous { INK } else { FAINT };
    text::draw(&mut card, &title, border + 2 * layout.text, y, layout.text, colour);
    Ok(card)
}

/// The image with the outline of its defect, and the image under its heat map, both fitted into `side` pixels.
fn thumbnails(tile: &Tile<'_>, side: usize, scale: &ColourScale) -> Result<(Picture, Picture)> {
    let (from_width, from_height) = (tile.frame.width(), tile.frame.height());
    let longest = from_width.max(from_height) as f64;
    let [width, height] =
        [from_width, from_height].map(|from| ((from as f64 * side as f64 / longest).round() as usize).max(1));
    let original = Picture::of(tile.frame)?;
    let small = RgbImage::from_raw(from_width as u32, from_height as u32, original.pixels)
        .map(|image| imageops::resize(&image, width as u32, height as u32, FilterType::Triangle));
    let mut image = match small {
        Some(small) => Picture { width, height, pixels: small.into_raw() },
        // More than 2^32 pixels a side, which `Frame` allows and `image` does not.
        None => Picture::filled(width, height, CARD),
    };
    let mut heat = image.clone();
    let [sx, sy] = [width as f64 / from_width as f64, height as f64 / from_height as f64];
    let place = tile.map.placement;
    let placement = Placement { x: place.x * sx, y: place.y * sy, width: place.width * sx, height: place.height * sy };
    let map = AnomalyMap { placement, ..tile.map.clone() };
    heat::lay_over(&mut heat, &heat::upsample(&map, width, height)?, scale);
    if let Some(mask) = tile.mask.filter(|mask| mask.len() == from_width * from_height) {
        let mask = mask.iter().map(|&byte| if byte == 0 { 0 } else { 255 }).collect();
        if let Some(mask) = GrayImage::from_raw(from_width as u32, from_height as u32, mask) {
            let mask = imageops::resize(&mask, width as u32, height as u32, FilterType::Triangle);
            outline(&mut image, mask.as_raw(), (side / 120).max(1));
        }
    }
    Ok((image, heat))
}

/// Draws a line around the area where `mask`, of the size of `image`, is not 0, outside of it and `thickness` wide.
fn outline(image: &mut Picture, mask: &[u8], thickness: usize) {
    let (width, height) = (image.width, image.height);
    let inside = |x: usize, y: usize| mask[y * width + x] >= 32;
    for y in 0..height {
        for x in 0..width {
            let rows = y.saturating_sub(thickness)..(y + thickness + 1).min(height);
            let columns = x.saturating_sub(thickness)..(x + thickness + 1).min(width);
            if !inside(x, y) && rows.clone().any(|near| columns.clone().any(|at| inside(at, near))) {
                image.mix(x, y, OUTLINE, 1.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inctrl::image::PixelFormat;

    #[test]
    fn the_outline_surrounds_the_mask() {
        let mut image = Picture::filled(9, 9, [0; 3]);
        let mut mask = vec![0; 81];
        mask[4 * 9 + 4] = 255;
        outline(&mut image, &mask, 1);
        let lit: Vec<usize> = (0..81).filter(|&i| image.pixels[i * 3 + 1] > 0).collect();
        assert_eq!(lit, [30, 31, 32, 39, 41, 48, 49, 50]);
    }

    #[test]
    fn rows_of_any_shape_make_a_sheet() {
        let scale = ColourScale::new(1.0).unwrap();
        let pixels = vec![120; 400 * 300 * 3];
        let place = Placement { x: 0.0, y: 0.0, width: 400.0, height: 300.0 };
        let map = AnomalyMap { grid: inctrl::view::Grid::square(2), cells: vec![0.0, 0.2, 0.5, 1.0], placement: place };
        let mask = vec![255; 400 * 300];
        let tile = |width, height, mask| Tile {
            frame: Frame::packed(&pixels, width, height, PixelFormat::Rgb8).unwrap(),
            map: &map,
            mask,
            title: "a title that is far too long for a card, 0.123".to_owned(),
            anomalous: mask.is_some(),
        };
        let rows = [
            ("empty".to_owned(), vec![]),
            ("\u{4e16}\u{754c}".to_owned(), vec![tile(400, 300, Some(&mask[..])), tile(1, 300, None)]),
            ("short mask".to_owned(), vec![tile(400, 1, Some(&mask[..7]))]),
        ];
        for side in [0, 40, 500] {
            for count in 0..=rows.len() {
                let sheet = contact_sheet(&rows[..count], side, &scale).unwrap();
                assert_eq!(sheet.pixels.len(), sheet.width * sheet.height * 3);
                assert!(count < 2 || sheet.width > 2 * side);
            }
        }
    }
}
