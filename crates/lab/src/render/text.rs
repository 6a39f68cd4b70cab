//! Words in pictures: an 8 x 8 bitmap font, set proportionally and smoothed when enlarged.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};

use super::Picture;

/// Height of a line at scale 1, in pixels.
pub(super) const LINE: usize = 8;

/// Width of a space in font pixels.
const SPACE: usize = 4;

/// Draws `text` with its top left corner at (x, y), font pixels being `scale` pixels large.
pub(super) fn draw(picture: &mut Picture, text: &str, x: usize, y: usize, scale: usize, colour: [u8; 3]) {
    let mut left = x;
    for glyph in text.chars().map(Glyph::of) {
        for row in 0..LINE * scale {
            for column in 0..glyph.width * scale {
                let alpha = glyph.coverage(column, row, scale);
                picture.mix(left + column, y + row, colour, alpha);
            }
        }
        left += (glyph.width + 1) * scale;
    }
}

/// Width of `text` at scale 1, in pixels.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| Glyph::of(c).width + 1).sum::<usize>().saturating_sub(1)
}

/// `text`, or as much of its start as fits into `room` pixels at scale 1, with two dots at the cut.
pub(super) fn fitted(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut kept = text.to_owned();
    while kept.pop().is_some() {
        let shortened = format!("{}..", kept.trim_end());
        if width(&shortened) <= room {
            return shortened;
        }
    }
    String::new()
}

/// A character's bitmap without the empty columns on either side.
struct Glyph {
    /// One byte a row, the lowest bit leftmost.
    rows: [u8; 8],
    width: usize,
}

impl Glyph {
    fn of(character: char) -> Self {
        let find = |c| BASIC_FONTS.get(c).or_else(|| LATIN_FONTS.get(c));
        let rows = find(character).or_else(|| find('?')).unwrap_or_default();
        let ink = rows.iter().fold(0, |ink, row| ink | row);
        if ink == 0 {
            return Glyph { rows, width: SPACE };
        }
        let first = ink.trailing_zeros();
        Glyph { rows: rows.map(|row| row >> first), width: (8 - ink.leading_zeros() - first) as usize }
    }

    /// How much of the enlarged pixel is ink: the bitmap between its pixel centres is interpolated and cut at a half,
    /// which rounds the stairs of slanted strokes.
    fn coverage(&self, column: usize, row: usize, scale: usize) -> f32 {
        let ink = |x: isize, y: isize| -> f32 {
            let inside = (0..8).contains(&x) && (0..8).contains(&y);
            if inside && self.rows[y as usize] >> x & 1 == 1 { 1.0 } else { 0.0 }
        };
        let split = |pixel: usize| {
            let at = (pixel as f32 + 0.5) / scale as f32 - 0.5;
            (at.floor() as isize, at - at.floor())
        };
        let ((x, u), (y, v)) = (split(column), split(row));
        let top = ink(x, y) * (1.0 - u) + ink(x + 1, y) * u;
        let bottom = ink(x, y + 1) * (1.0 - u) + ink(x + 1, y + 1) * u;
        let value = top * (1.0 - v) + bottom * v;
        ((value - 0.5) * scale as f32 + 0.5).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unenlarged_text_is_the_bitmap() {
        let mut picture = Picture::filled(width("l1"), LINE, [0; 3]);
        draw(&mut picture, "l1", 0, 0, 1, [255; 3]);
        let ink = picture.pixels.chunks(3).filter(|pixel| pixel[0] == 255).count();
        let bits = |c| BASIC_FONTS.get(c).unwrap().iter().map(|row| row.count_ones() as usize).sum::<usize>();
        assert_eq!(ink, bits('l') + bits('1'));
        assert!(picture.pixels.iter().all(|&byte| byte == 0 || byte == 255));
    }

    #[test]
    fn long_text_is_cut_to_the_room() {
        assert_eq!(fitted("nut", 1000), "nut");
        for room in 0..60 {
            let text = fitted("a long title, \u{4e16}\u{754c}", room);
            assert!(width(&text) <= room, "{text:?} in {room}");
        }
    }
}
