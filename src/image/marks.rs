//! [`Marks`]: the pixels that a mask's picture file marks, at whatever depth the file has.
//!
//! Reduced to 8 bits, a 16-bit mask of zeros and ones would mark nothing. So masks are read at their own depth, by the
//! decoders and with the refusals of [`Image`](super::Image): the one page of a TIFF is turned as its picture is.

use std::path::Path;

use image::DynamicImage;

use super::decode;
use crate::error::Result;
use crate::memory::collected;

/// The marked pixels of a mask.
///
/// A pixel is marked if any of its colours is over 0, at the file's own depth, and it is not wholly transparent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Whether each pixel is marked, row by row.
    pub marked: Vec<bool>,
    /// The smallest and the largest value of the marked pixels, if there are any: of each pixel its largest colour.
    pub values: Option<[u16; 2]>,
    /// The largest value that the file's depth has.
    pub white: u16,
}

impl Marks {
    /// Reads a mask's file.
    ///
    /// # Errors
    /// As [`Image::open`](super::Image::open).
    pub fn open(path: &Path) -> Result<Self> {
        Marks::decode(&decode::read(path)?).map_err(|error| error.at(path))
    }

    /// Reads the content of a mask's file.
    ///
    /// # Errors
    /// As [`Image::decode`](super::Image::decode).
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Marks::of(&decode::values(bytes, None)?.0)
    }

    fn of(picture: &DynamicImage) -> Result<Self> {
        use DynamicImage as D;
        match picture {
            D::ImageLuma8(picture) => Marks::opaque::<1, _>(picture, picture.dimensions(), 255),
            D::ImageRgb8(picture) => Marks::opaque::<3, _>(picture, picture.dimensions(), 255),
            D::ImageLumaA8(picture) => Marks::with_alpha::<2, _>(picture, picture.dimensions(), 255),
            D::ImageRgba8(picture) => Marks::with_alpha::<4, _>(picture, picture.dimensions(), 255),
            D::ImageLuma16(picture) => Marks::opaque::<1, _>(picture, picture.dimensions(), 65535),
            D::ImageRgb16(picture) => Marks::opaque::<3, _>(picture, picture.dimensions(), 65535),
            D::ImageLumaA16(picture) => Marks::with_alpha::<2, _>(picture, picture.dimensions(), 65535),
            D::ImageRgba16(picture) => Marks::with_alpha::<4, _>(picture, picture.dimensions(), 65535),
            _ => Err(decode::float()),
        }
    }

    fn opaque<const N: usize, S: Copy + Into<u16>>(samples: &[S], size: (u32, u32), white: u16) -> Result<Self> {
        let largest = |pixel: &[S; N]| pixel.iter().map(|&sample| sample.into()).max().unwrap_or(0);
        Marks::new(samples.as_chunks().0.iter().map(largest), size, white)
    }

    /// The last of `N` samples is alpha.
    fn with_alpha<const N: usize, S: Copy + Into<u16>>(samples: &[S], size: (u32, u32), white: u16) -> Result<Self> {
        let largest = |pixel: &[S; N]| {
            let colours = pixel[..N - 1].iter().map(|&sample| sample.into()).max().unwrap_or(0);
            if pixel[N - 1].into() > 0 { colours } else { 0 }
        };
        Marks::new(samples.as_chunks().0.iter().map(largest), size, white)
    }

    /// From the value of each pixel.
    fn new(pixels: impl Iterator<Item = u16>, (width, height): (u32, u32), white: u16) -> Result<Self> {
        let (width, height) = (width as usize, height as usize);
        let mut values: Option<[u16; 2]> = None;
        let is_marked = |value: u16| {
            if value > 0 {
                let [least, most] = values.unwrap_or([value; 2]);
                values = Some([least.min(value), most.max(value)]);
            }
            value > 0
        };
        let marked = collected("a mask", width * height, pixels.map(is_marked))?;
        Ok(Marks { width, height, marked, values, white })
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbaImage};

    use super::*;

    fn marks(picture: impl Into<DynamicImage>) -> Marks {
        Marks::of(&picture.into()).unwrap()
    }

    #[test]
    fn any_value_over_0_counts_at_any_depth_unless_it_is_transparent() {
        let expected = [false, true, true, false];
        let grey = marks(GrayImage::from_raw(4, 1, vec![0, 1, 255, 0]).unwrap());
        assert_eq!((&grey.marked[..], grey.values, grey.white), (&expected[..], Some([1, 255]), 255));
        let wide = marks(ImageBuffer::<Luma<u16>, _>::from_raw(4, 1, vec![0, 1, 65535, 0]).unwrap());
        assert_eq!((&wide.marked[..], wide.values, wide.white), (&expected[..], Some([1, 65535]), 65535));
        let colours = marks(ImageBuffer::<Rgb<u16>, _>::from_raw(2, 1, vec![0, 0, 3, 0, 0, 0]).unwrap());
        assert_eq!((colours.marked, colours.values), (vec![true, false], Some([3, 3])));
        // Blue alone; white with a trace of alpha; white that is wholly transparent.
        let pixels = vec![0, 0, 0, 255, 0, 0, 9, 255, 255, 255, 255, 1, 255, 255, 255, 0];
        assert_eq!(marks(RgbaImage::from_raw(4, 1, pixels).unwrap()).marked, expected);
        let empty = marks(GrayImage::new(3, 2));
        assert_eq!((empty.marked, empty.values), (vec![false; 6], None));
    }

    #[test]
    fn a_mask_is_any_picture_file_and_another_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let halves = GrayImage::from_fn(16, 8, |x, _| Luma([if x < 8 { 0 } else { 255 }]));
        let jpeg = cfg!(feature = "libjpeg").then_some("m.jpg");
        for name in ["m.bmp", "m.tif", "m.webp", "m.png", "m.pgm"].into_iter().chain(jpeg) {
            let path = folder.path().join(name);
            halves.save(&path).unwrap();
            let mask = Marks::open(&path).unwrap();
            assert_eq!((mask.width, mask.height), (16, 8), "{name}");
            assert!(mask.marked.chunks(16).all(|row| row.iter().enumerate().all(|(x, m)| *m == (x >= 8))), "{name}");
        }
        let path = folder.path().join("m.heic");
        std::fs::write(&path, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
        let error = Marks::open(&path).unwrap_err().chain();
        assert!(error.contains("HEIC") && error.contains("m.heic"), "{error}");
    }

    /// A grey TIFF of one row, with its orientation.
    fn tiff(values: &[u8], turn: u16) -> Vec<u8> {
        let count = values.len() as u32;
        let tags =
            [(256, count), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (274, u32::from(turn)), (279, count)];
        let mut file = b"II*\0".to_vec();
        file.extend((8 + count.next_multiple_of(2)).to_le_bytes());
        file.extend(values);
        file.resize(file.len().next_multiple_of(2), 0);
        file.extend((tags.len() as u16).to_le_bytes());
        for (tag, value) in tags {
            file.extend([&(tag as u16).to_le_bytes()[..], &4u16.to_le_bytes(), &1u32.to_le_bytes()].concat());
            file.extend(value.to_le_bytes());
        }
        file.extend([0; 4]);
        file
    }

    #[test]
    fn a_mask_is_turned_as_its_picture_is() {
        for turn in 1..=8 {
            let file = tiff(&[7, 0, 0], turn);
            let (mask, image) = (Marks::decode(&file).unwrap(), super::super::Image::decode(&file).unwrap());
            assert_eq!((mask.width, mask.height), (image.width(), image.height()), "{turn}");
            let rows = (0..image.height())
                .flat_map(|y| image.frame().row(y).iter().map(|value| *value > 0).collect::<Vec<_>>());
            assert_eq!(mask.marked, rows.collect::<Vec<_>>(), "{turn}");
        }
        assert_eq!(Marks::decode(&tiff(&[7, 0, 0], 3)).unwrap().marked, [false, false, true]);
    }
}
