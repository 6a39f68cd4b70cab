//! Copies and near-copies.

use std::fmt;

use crate::error::Result;
use crate::image::{ContentHash, Frame, PixelFormat};

/// Cells along each side of a [`Thumbnail`].
const SIDE: usize = 32;

/// Two pictures are near-copies if their thumbnails differ by less than this on average, in levels of 255.
///
/// Two frames of a part at rest differ by the camera's noise, and the mean over a cell leaves little of it: noise with
/// a standard deviation of 5 levels on 300 x 300 pixels gives a difference of 0.62, and 0.67 if both are saved as JPEG
/// of quality 75. Saving alone gives 0.2. Of 48 good solar cells (ELPV) the two most similar differ by 3.2, and half of
/// all pairs by more than 25.
pub const NEAR: f64 = 1.0;

/// The content of a picture: a hash of its size and decoded pixels.
///
/// Files of different format, depth or compression have the same identity if their pixels at 8 bits are equal. So does
/// a grey picture stored in three channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PictureId([u8; 32]);

impl PictureId {
    /// The identity of a picture.
    ///
    /// # Errors
    /// As [`Frame::convert`].
    pub fn of(frame: Frame<'_>) -> Result<Self> {
        let mut memory = Vec::new();
        let frame = frame.converted_in(&mut memory)?;
        Ok(PictureId(if is_grey(&frame) { hash_as(&frame, PixelFormat::Grey8) } else { frame.content_hash()? }))
    }

    /// An identity from the 32 bytes of another hash that distinguishes pictures, for pictures whose pixels are not
    /// available.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        PictureId(bytes)
    }

    /// Whether a bank with these [prompt hashes](crate::PromptBank::prompt_hashes) contains this picture as a prompt.
    ///
    /// # Errors
    /// As [`Frame::convert`].
    pub fn is_prompt(frame: Frame<'_>, prompt_hashes: &[String]) -> Result<bool> {
        Ok(Self::prompt_places(frame, prompt_hashes)?.next().is_some())
    }

    /// The indices of the picture in a bank's [prompt hashes](crate::PromptBank::prompt_hashes).
    ///
    /// Prompt hashes differ between a grey picture and its copy in three channels, although both are the same prompt.
    /// Both are searched for.
    ///
    /// # Errors
    /// As [`Frame::convert`].
    pub fn prompt_places(frame: Frame<'_>, prompt_hashes: &[String]) -> Result<impl Iterator<Item = usize>> {
        let mut memory = Vec::new();
        let frame = frame.converted_in(&mut memory)?;
        let mut forms = vec![frame.content_hash()?];
        if is_grey(&frame) {
            forms.extend([PixelFormat::Grey8, PixelFormat::Rgb8].map(|format| hash_as(&frame, format)));
        }
        let forms: Vec<_> = forms.into_iter().map(|form| blake3::Hash::from_bytes(form).to_hex()).collect();
        let fits = move |hash: &String| forms.iter().any(|form| form.as_str() == hash);
        Ok(prompt_hashes.iter().enumerate().filter(move |(_, hash)| fits(hash)).map(|(place, _)| place))
    }
}

impl fmt::Display for PictureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

/// Whether a converted frame shows no colour.
fn is_grey(frame: &Frame<'_>) -> bool {
    let alike = |row: &[u8]| row.as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b);
    frame.format().channels() == 1 || (0..frame.height()).all(|y| alike(frame.row(y)))
}

/// [`Frame::content_hash`] of the grey values of a converted frame without colour, stored in `format`.
fn hash_as(frame: &Frame<'_>, format: PixelFormat) -> [u8; 32] {
    let mut hash = ContentHash::new(frame.width(), frame.height(), format);
    let mut row = Vec::with_capacity(frame.width() * format.channels());
    for y in 0..frame.height() {
        row.clear();
        let values = frame.row(y).iter().step_by(frame.format().channels());
        row.extend(values.flat_map(|value| std::iter::repeat_n(*value, format.channels())));
        hash.update(&row);
    }
    hash.finish()
}

/// A picture reduced to 32 x 32 cells, each the mean brightness of its pixels. This is enough to find near-copies.
#[derive(Clone, Debug, PartialEq)]
pub struct Thumbnail {
    /// Row by row, from 0 to 255.
    cells: Vec<f32>,
    mean: f32,
}

impl Thumbnail {
    /// The thumbnail of a picture. A cell averages the pixels whose centre lies in it. A cell without pixels takes the
    /// nearest one.
    ///
    /// # Errors
    /// As [`Frame::convert`].
    pub fn of(frame: Frame<'_>) -> Result<Self> {
        let mut memory = Vec::new();
        let frame = frame.converted_in(&mut memory)?;
        let (width, height, channels) = (frame.width(), frame.height(), frame.format().channels());
        // Rec. 601, as Pillow turns colour into grey.
        let brightness = |pixel: &[u8]| match *pixel {
            [r, g, b] => (299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)) as f32 / 1000.0,
            _ => f32::from(pixel[0]),
        };
        let span = |cell: usize, length: usize| {
            let edge = |cell: usize| (2 * cell * length + SIDE) / (2 * SIDE);
            let middle = (2 * cell + 1) * length / (2 * SIDE);
            if edge(cell) < edge(cell + 1) { edge(cell)..edge(cell + 1) } else { middle..middle + 1 }
        };
        let mut cells = Vec::with_capacity(SIDE * SIDE);
        for (row, column) in (0..SIDE * SIDE).map(|cell| (cell / SIDE, cell % SIDE)) {
            let (rows, columns) = (span(row, height), span(column, width));
            let count = (rows.len() * columns.len()) as f32;
            let mut sum = 0.0;
            for y in rows {
                sum += frame.row(y)[columns.start * channels..columns.end * channels]
                    .chunks_exact(channels)
                    .map(brightness)
                    .sum::<f32>();
            }
            cells.push(sum / count);
        }
        let mean = cells.iter().sum::<f32>() / cells.len() as f32;
        Ok(Thumbnail { cells, mean })
    }

    /// The mean absolute difference of the cells, in levels of 255.
    pub fn difference(&self, other: &Thumbnail) -> f64 {
        let sum: f64 = self.cells.iter().zip(&other.cells).map(|(a, b)| f64::from((a - b).abs())).sum();
        sum / self.cells.len() as f64
    }

    /// Whether the two differ by less than [`NEAR`].
    pub fn is_near(&self, other: &Thumbnail) -> bool {
        // A mean of differences is never smaller than the difference of the means, which is cheap to compute. The
        // margin covers rounding.
        f64::from((self.mean - other.mean).abs()) < NEAR + 0.01 && self.difference(other) < NEAR
    }
}

/// How many pictures remain when each near-copy of an earlier one is removed.
pub fn different(pictures: &[Thumbnail]) -> usize {
    let mut kept: Vec<&Thumbnail> = Vec::new();
    for picture in pictures {
        if !kept.iter().any(|other| other.is_near(picture)) {
            kept.push(picture);
        }
    }
    kept.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split_mix::{STEP, mix};

    fn frame(pixels: &[u8], width: usize, format: PixelFormat) -> Frame<'_> {
        Frame::packed(pixels, width, pixels.len() / width / (format.bits() / 8), format).unwrap()
    }

    #[test]
    fn the_pixels_decide_whatever_the_format() {
        let grey = [10, 20, 30, 40, 50, 60];
        let rgb: Vec<u8> = grey.iter().flat_map(|&x| [x; 3]).collect();
        let rgba: Vec<u8> = grey.iter().flat_map(|&x| [x, x, x, 7]).collect();
        let wide: Vec<u8> = grey.iter().flat_map(|&x| (u16::from(x) * 257).to_le_bytes()).collect();
        let id = PictureId::of(frame(&grey, 3, PixelFormat::Grey8)).unwrap();
        for (pixels, format) in [(&rgb, PixelFormat::Rgb8), (&rgb, PixelFormat::Bgr8), (&rgba, PixelFormat::Rgba8)] {
            assert_eq!(PictureId::of(frame(pixels, 3, format)).unwrap(), id, "{format:?}");
        }
        assert_eq!(PictureId::of(frame(&wide, 3, PixelFormat::Grey16)).unwrap(), id);
        // Another shape, another value, and a colour are other pictures.
        assert_ne!(PictureId::of(frame(&grey, 2, PixelFormat::Grey8)).unwrap(), id);
        assert_ne!(PictureId::of(frame(&[10, 20, 30, 40, 50, 61], 3, PixelFormat::Grey8)).unwrap(), id);
        let mut coloured = rgb.clone();
        coloured[4] = 0;
        assert_ne!(PictureId::of(frame(&coloured, 3, PixelFormat::Rgb8)).unwrap(), id);
        // Either form of a prompt is found under either hash.
        let hash = |frame: Frame<'_>| blake3::Hash::from_bytes(frame.content_hash().unwrap()).to_hex().to_string();
        let (one, three) = (frame(&grey, 3, PixelFormat::Grey8), frame(&rgb, 3, PixelFormat::Rgb8));
        for (query, prompt) in [(&one, &three), (&three, &one), (&one, &one)] {
            let hashes = ["00".repeat(32), hash(*prompt)];
            assert_eq!(PictureId::prompt_places(*query, &hashes).unwrap().collect::<Vec<_>>(), [1]);
        }
        assert!(!PictureId::is_prompt(frame(&coloured, 3, PixelFormat::Rgb8), &[hash(three)]).unwrap());
    }

    #[test]
    fn a_thumbnail_is_the_mean_of_each_cell() {
        // Every cell has 2 x 3 pixels of its own value, give or take one.
        let (width, height) = (2 * SIDE, 3 * SIDE);
        let value = |x: usize, y: usize| ((x / 2) * 5 + (y / 3)) as u8 + if x.is_multiple_of(2) { 2 } else { 0 };
        let pixels: Vec<u8> = (0..width * height).map(|i| value(i % width, i / width)).collect();
        let thumbnail = Thumbnail::of(frame(&pixels, width, PixelFormat::Grey8)).unwrap();
        for (cell, found) in thumbnail.cells.iter().enumerate() {
            assert_eq!(*found, ((cell % SIDE) * 5 + cell / SIDE) as f32 + 1.0, "{cell}");
        }
        // A picture of one pixel, and one smaller than the thumbnail, have one as well.
        assert_eq!(Thumbnail::of(frame(&[9], 1, PixelFormat::Grey8)).unwrap().cells, [9.0; SIDE * SIDE]);
        let two = Thumbnail::of(frame(&[0, 255], 2, PixelFormat::Grey8)).unwrap();
        assert_eq!((two.cells[15], two.cells[16]), (0.0, 255.0));
    }

    /// The documented figure: the difference of two means over n pixels of noise of deviation s has the deviation
    /// s sqrt(2 / n), and its mean size is that times sqrt(2 / pi).
    #[test]
    fn noise_is_near_and_a_brighter_picture_is_not() {
        let mut state = 3u64;
        let mut noise = |deviation: f64| {
            let mut uniform = || {
                state = state.wrapping_add(STEP);
                (mix(state) >> 11) as f64 / (1u64 << 53) as f64
            };
            // The sum of twelve has deviation 1.
            deviation * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0)
        };
        let side = 240;
        let mut shot = |offset: f64| {
            let value = |i: usize| 100.0 + offset + 0.3 * (i % side) as f64;
            let pixels: Vec<u8> = (0..side * side).map(|i| (value(i) + noise(5.0)).round() as u8).collect();
            Thumbnail::of(frame(&pixels, side, PixelFormat::Grey8)).unwrap()
        };
        let (a, b, brighter) = (shot(0.0), shot(0.0), shot(1.5));
        let expected = 5.0 * (2.0f64 / 56.25).sqrt() * (2.0 / std::f64::consts::PI).sqrt();
        assert!((expected - 0.75).abs() <= 0.01, "{expected}");
        // The mean of 1024 such sizes, each of a relative deviation of 0.76, lies within four deviations of its own.
        assert!((a.difference(&b) - expected).abs() <= 4.0 * 0.76 * expected / 32.0, "{}", a.difference(&b));
        assert!(a.is_near(&b) && !a.is_near(&brighter));
        assert_eq!(different(&[a.clone(), b, a, brighter.clone(), brighter]), 2);
        assert_eq!(different(&[]), 0);
    }
}
