//! Conversion of camera formats to the 8-bit grey or RGB that the model sees, into memory that is reused from frame to
//! frame.

use super::frame::Frame;
use super::pixel_format::{PixelFormat, Sample};
use crate::error::Result;
use crate::memory::grow;

impl Frame<'_> {
    /// The same picture in [`PixelFormat::converted`], as packed pixels in `memory`, which grows to the size of the
    /// largest frame. A frame that already has one of the two formats is copied; callers that need no copy borrow the
    /// frame instead.
    ///
    /// A value `v` of 10 or 12 bits, or of 16 with a white level `w`, becomes `min(255, floor(256 v / (w + 1)))`, where
    /// `w` is 1023 or 4095 unless another level is declared. Full-range 16-bit values are rounded. Colour filter arrays
    /// are then interpolated bilinearly: a missing colour is the rounded mean of the two or four nearest pixels that
    /// have it. The picture is mirrored at its edges; a picture one pixel wide or high is repeated.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub fn convert<'m>(&self, memory: &'m mut Vec<u8>) -> Result<Frame<'m>> {
        let format = self.format().converted();
        let (width, height) = (self.width(), self.height());
        let stride = width * format.channels();
        let len = stride * height;
        let wide_array = self.format().bayer_red().filter(|_| self.format().depth() > 8);
        // The bytes of a wide array lie after the picture that is made from them.
        let scratch = if wide_array.is_some() { width * height } else { 0 };
        if memory.len() < len + scratch {
            grow(&format!("converting {self:?}"), memory, len + scratch)?;
        }
        let (out, plane) = memory.split_at_mut(len);
        if let Some(red) = wide_array {
            let plane = &mut plane[..scratch];
            plane.chunks_exact_mut(width).enumerate().for_each(|(y, plane)| grey_row(self, y, plane));
            interpolate(|y| &plane[y * width..][..width], [width, height], red, out);
        } else if let Some(red) = self.format().bayer_red() {
            interpolate(|y| self.row(y), [width, height], red, out);
        } else {
            for (y, out) in out.chunks_exact_mut(stride).enumerate() {
                match self.format().depth() {
                    8 => convert_row(self.format(), self.row(y), out),
                    _ => grey_row(self, y, out),
                }
            }
        }
        Ok(Frame::packed(out, width, height, format)?.with_depth(self.settled().depth()))
    }
}

/// Converts a row with one sample of more than 8 bits per pixel.
fn grey_row(frame: &Frame<'_>, y: usize, out: &mut [u8]) {
    let (row, skip, scale) = (frame.row(y), frame.skip(), frame.scale());
    let pixels = skip..skip + out.len();
    match frame.format().sample() {
        Sample::Byte => out.copy_from_slice(row),
        Sample::Word => scale.bytes(row.as_chunks::<2>().0.iter().map(|value| u16::from_le_bytes(*value)), out),
        Sample::Bits => {
            let bits = frame.format().bits();
            // No pixel of 10 or 12 bits extends over three bytes.
            let pair = |at: usize| u16::from_le_bytes([row[at], row[at + 1]]);
            scale.bytes(pixels.map(|i| (pair(i * bits / 8) >> (i * bits % 8)) & ((1 << bits) - 1)), out);
        }
        Sample::Pair => {
            let upper_and_lower = |i: usize| match (i / 2 * 3, i % 2) {
                (at, 0) => (row[at], row[at + 1] & 15),
                (at, _) => (row[at + 2], row[at + 1] >> 4),
            };
            let value = |(upper, lower)| u16::from(upper) << 4 | u16::from(lower);
            scale.bytes(pixels.map(|i| value(upper_and_lower(i))), out);
        }
    }
}

/// Converts a row of 8-bit samples, except those of colour filter arrays.
fn convert_row(format: PixelFormat, row: &[u8], out: &mut [u8]) {
    fn pixels<const FROM: usize>(row: &[u8], out: &mut [u8], pixel: impl Fn([u8; FROM]) -> [u8; 3]) {
        for (out, from) in out.as_chunks_mut::<3>().0.iter_mut().zip(row.as_chunks::<FROM>().0) {
            *out = pixel(*from);
        }
    }
    match format {
        PixelFormat::Bgr8 => pixels(row, out, |[b, g, r]| [r, g, b]),
        PixelFormat::Rgba8 => pixels(row, out, |[r, g, b, _]| [r, g, b]),
        PixelFormat::Bgra8 => pixels(row, out, |[b, g, r, _]| [r, g, b]),
        _ => out.copy_from_slice(row),
    }
}

/// The index before (`step` -1) or after `i`, mirrored at the ends; `i` itself if there is only one.
fn neighbours(i: usize, len: usize) -> (usize, usize) {
    let last = len - 1;
    let before = if i > 0 { i - 1 } else { last.min(1) };
    let after = if i < last { i + 1 } else { last.saturating_sub(1) };
    (before, after)
}

/// Interpolates a colour filter array. `row` returns its rows, one byte per pixel.
fn interpolate<'a>(row: impl Fn(usize) -> &'a [u8], size: [usize; 2], red: (usize, usize), out: &mut [u8]) {
    let [width, height] = size;
    for (y, out) in out.chunks_exact_mut(width * 3).enumerate() {
        let (above, below) = neighbours(y, height);
        let rows = [row(above), row(y), row(below)];
        let out = out.as_chunks_mut::<3>().0;
        // In a row of red and green pixels the other missing colour is blue, and vice versa.
        let (own, other) = if y % 2 == red.1 { (0, 2) } else { (2, 0) };
        // Blue pixels lie where the rows of red pixels are green.
        let first = if y % 2 == red.1 { red.0 } else { 1 - red.0 };
        let mut pixel = |x: usize, left: usize, right: usize| {
            let at = |row: usize, x: usize| u16::from(rows[row][x]);
            let (beside, upright) = (at(1, left) + at(1, right), at(0, x) + at(2, x));
            let value = &mut out[x];
            if x % 2 == first {
                let diagonal = at(0, left) + at(0, right) + at(2, left) + at(2, right);
                value[own] = rows[1][x];
                value[1] = ((beside + upright + 2) / 4) as u8;
                value[other] = ((diagonal + 2) / 4) as u8;
            } else {
                value[1] = rows[1][x];
                value[own] = beside.div_ceil(2) as u8;
                value[other] = upright.div_ceil(2) as u8;
            }
        };
        let ends = |x: usize| neighbours(x, width);
        pixel(0, ends(0).0, ends(0).1);
        for x in 1..width.saturating_sub(1) {
            pixel(x, x - 1, x + 1);
        }
        if width > 1 {
            pixel(width - 1, ends(width - 1).0, ends(width - 1).1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Roi;
    use super::*;

    /// Numbers without a pattern.
    fn noise(len: usize) -> Vec<u8> {
        (0..len).map(|i| ((i * i * 31 + i * 7) >> 3) as u8).collect()
    }

    fn rgb_of(data: &[u8], size: [usize; 2], stride: usize, format: PixelFormat) -> Vec<u8> {
        let mut memory = Vec::new();
        let frame = Frame::new(data, size[0], size[1], stride, format).unwrap();
        let converted = frame.convert(&mut memory).unwrap();
        assert_eq!(converted.format(), format.converted());
        (0..size[1]).flat_map(|y| converted.row(y).to_vec()).collect()
    }

    #[test]
    fn channels_come_in_every_order_with_any_stride() {
        for (width, height, padding) in [(1, 1, 0), (5, 3, 7), (8, 2, 1)] {
            let rgb = noise(width * height * 3);
            for (format, order) in [
                (PixelFormat::Rgb8, &[0, 1, 2][..]),
                (PixelFormat::Bgr8, &[2, 1, 0]),
                (PixelFormat::Rgba8, &[0, 1, 2, 9]),
                (PixelFormat::Bgra8, &[2, 1, 0, 9]),
            ] {
                let stride = width * format.bits() / 8 + padding;
                let mut data = vec![0xee; stride * height];
                for (i, pixel) in rgb.chunks(3).enumerate() {
                    let start = i / width * stride + i % width * format.bits() / 8;
                    for (c, from) in order.iter().enumerate() {
                        data[start + c] = pixel.get(*from).copied().unwrap_or(i as u8);
                    }
                }
                assert_eq!(rgb_of(&data, [width, height], stride, format), rgb, "{format:?} {width} x {height}");
            }
        }
    }

    #[test]
    fn sixteen_bits_are_little_endian_and_round() {
        let data = [0x00, 0x00, 0xff, 0xff, 0x80, 0x00, 0x81, 0x00, 0x00, 0x80];
        assert_eq!(rgb_of(&data, [5, 1], 10, PixelFormat::Grey16), [0, 255, 0, 1, 128]);
    }

    /// The definition, pixel by pixel: the mean of the same-coloured pixels among the nearest, mirrored at the edges.
    fn naive(data: &[u8], width: usize, height: usize, red: (usize, usize)) -> Vec<u8> {
        let colour = |x: usize, y: usize| match ((x + red.0) % 2, (y + red.1) % 2) {
            (0, 0) => 0,
            (1, 1) => 2,
            _ => 1,
        };
        let mirror = |i: isize, len: usize| {
            let last = len as isize - 1;
            let i = if i < 0 {
                -i
            } else if i > last {
                2 * last - i
            } else {
                i
            };
            i.clamp(0, last) as usize
        };
        let mut out = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for c in 0..3 {
                    if colour(x, y) == c {
                        out.push(data[y * width + x]);
                        continue;
                    }
                    let (mut sum, mut count) = (0, 0);
                    for (dx, dy) in [(0, -1), (-1, 0), (1, 0), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)] {
                        let edge = dx == 0 || dy == 0;
                        // The colour where the array goes on beyond the edges; a diagonal counts where no side has it.
                        let there = colour((x as isize + dx + 2) as usize, (y as isize + dy + 2) as usize) == c;
                        let sides = colour(x + 1, y) == c || colour(x, y + 1) == c;
                        if there && edge == sides {
                            let value = data[mirror(y as isize + dy, height) * width + mirror(x as isize + dx, width)];
                            sum += u32::from(value);
                            count += 1;
                        }
                    }
                    out.push(((2 * sum + count) / (2 * count)) as u8);
                }
            }
        }
        out
    }

    #[test]
    fn colour_filter_arrays_are_interpolated_as_defined() {
        for format in PixelFormat::ALL.into_iter().filter(|format| format.depth() == 8) {
            let Some(red) = format.bayer_red() else { continue };
            for (width, height) in [(1, 1), (1, 4), (2, 2), (3, 5), (8, 6), (7, 1)] {
                let data = noise(width * height);
                let found = rgb_of(&data, [width, height], width, format);
                assert_eq!(found, naive(&data, width, height, red), "{format:?} {width} x {height}");
            }
            // A plain colour stays what it is, whichever the order.
            let plain: Vec<u8> = (0..48)
                .map(|i| match ((i % 8 + red.0) % 2, (i / 8 + red.1) % 2) {
                    (0, 0) => 200,
                    (1, 1) => 40,
                    _ => 90,
                })
                .collect();
            assert_eq!(rgb_of(&plain, [8, 6], 8, format), [200, 90, 40].repeat(48), "{format:?}");
        }
    }

    #[test]
    fn a_region_of_an_array_keeps_its_colours() {
        let data = noise(160);
        for format in PixelFormat::ALL.into_iter().filter(|format| format.bayer_red().is_some()) {
            let whole = Frame::packed(&data, 10, 8, format).unwrap();
            let mut memory = Vec::new();
            let converted = whole.convert(&mut memory).unwrap();
            for (x, y) in [(0, 0), (1, 0), (0, 1), (3, 3)] {
                let region = whole.region(Roi { x, y, width: 6, height: 4 }).unwrap();
                let mut other = Vec::new();
                let part = region.convert(&mut other).unwrap();
                // Inside its border a region has the neighbours that the whole frame has.
                for row in 1..3 {
                    assert_eq!(part.row(row)[3..15], converted.row(y + row)[(x + 1) * 3..(x + 5) * 3], "{format:?}");
                }
            }
        }
    }

    #[test]
    fn memory_is_kept() {
        let data = noise(300);
        let mut memory = Vec::new();
        Frame::packed(&data, 10, 10, PixelFormat::Bgr8).unwrap().convert(&mut memory).unwrap();
        let (start, capacity) = (memory.as_ptr(), memory.capacity());
        let small = Frame::packed(&data, 4, 4, PixelFormat::BayerBg8).unwrap().convert(&mut memory).unwrap();
        assert_eq!((small.width(), small.height()), (4, 4));
        Frame::packed(&data, 10, 10, PixelFormat::Bgr8).unwrap().convert(&mut memory).unwrap();
        assert_eq!((memory.as_ptr(), memory.capacity()), (start, capacity));
    }
}
