//! Masks of defects: from files to a truth for each pixel.
//!
//! A pixel belongs to the defect if any of its colours is over 0, at whatever depth the file has, and it is not wholly
//! transparent. An image may have several masks, which are joined.

use std::path::Path;

use image::{DynamicImage, ImageReader, Limits};

use inctrl::image::sniff::{Content, Format, sniff_file};
use inctrl::image::{MAX_PIXELS, MAX_SIDE};
use inctrl::{Error, ErrorKind, Image, Result, Roi};

/// One decoded mask.
#[derive(Clone)]
pub(super) struct Mask {
    pub width: usize,
    pub height: usize,
    /// Row by row.
    pub defect: Vec<bool>,
    /// The smallest and the largest value of a defect's pixel, at the file's own depth.
    pub values: Option<[f64; 2]>,
    /// The largest value that the depth has.
    pub white: f64,
}

impl Mask {
    pub fn open(path: &Path) -> Result<Self> {
        match sniff_file(path).map_err(|error| Error::io("read the mask", path, error))? {
            Content::Picture(Format::Jpeg) | Content::Unsupported(_) | Content::Other => Self::eight_bits(path),
            Content::Picture(_) => Self::at_its_depth(path),
        }
    }

    /// A mask of a format without another depth; any other file fails as a picture of it does.
    fn eight_bits(path: &Path) -> Result<Self> {
        let image = Image::open(path)?;
        let frame = image.frame();
        let samples = (0..image.height()).flat_map(|y| frame.row(y)).map(|&value| f64::from(value)).collect();
        Ok(Self::new(image.width(), image.height(), frame.format().channels(), false, samples, 255.0))
    }

    fn at_its_depth(path: &Path) -> Result<Self> {
        let read = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
        let mut reader = read.map_err(|error| Error::io("read the mask", path, error))?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE as u32);
        limits.max_image_height = Some(MAX_SIDE as u32);
        limits.max_alloc = Some(8 * MAX_PIXELS + (64 << 20));
        reader.limits(limits);
        let decoded = reader.decode().map_err(|error| {
            Error::new(ErrorKind::Image, "the mask cannot be decoded: write it as PNG").at(path).because(error)
        })?;
        Ok(Self::of(&decoded))
    }

    fn of(image: &DynamicImage) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let channels = usize::from(image.color().channel_count());
        let alpha = image.color().has_alpha();
        let eight = image.as_bytes();
        let sixteen = |bytes: &[u8]| -> Vec<f64> {
            bytes.as_chunks::<2>().0.iter().map(|two| f64::from(u16::from_ne_bytes(*two))).collect()
        };
        let float = |bytes: &[u8]| -> Vec<f64> {
            bytes.as_chunks::<4>().0.iter().map(|four| f64::from(f32::from_ne_bytes(*four))).collect()
        };
        let (samples, white) = match usize::from(image.color().bytes_per_pixel()) / channels {
            1 => (eight.iter().map(|&value| f64::from(value)).collect(), 255.0),
            2 => (sixteen(eight), 65535.0),
            _ => (float(eight), 1.0),
        };
        Self::new(width, height, channels, alpha, samples, white)
    }

    fn new(width: usize, height: usize, channels: usize, alpha: bool, samples: Vec<f64>, white: f64) -> Self {
        let mut values: Option<[f64; 2]> = None;
        let mut inside = |pixel: &[f64]| {
            let (colours, opaque) = if alpha { pixel.split_at(channels - 1) } else { (pixel, &[1.0][..]) };
            let largest = colours.iter().copied().fold(0.0, f64::max);
            let defect = largest > 0.0 && opaque[0] > 0.0;
            if defect {
                let [least, most] = values.unwrap_or([largest; 2]);
                values = Some([least.min(largest), most.max(largest)]);
            }
            defect
        };
        let defect = samples.chunks_exact(channels).map(&mut inside).collect();
        Mask { width, height, defect, values, white }
    }

    /// The part of the mask inside `roi`, which lies in it.
    pub fn region(&self, roi: Roi) -> Mask {
        let rows = self.defect.chunks_exact(self.width).skip(roi.y).take(roi.height);
        let defect: Vec<bool> = rows.flat_map(|row| &row[roi.x..][..roi.width]).copied().collect();
        // Which values the marks have is known of the whole mask alone.
        let values = self.values.filter(|_| defect.contains(&true));
        Mask { width: roi.width, height: roi.height, defect, values, white: self.white }
    }

    /// Joins the mask into `into`, of `width` x `height` pixels: stretched, each pixel the nearest one's.
    pub fn join(&self, into: &mut [bool], width: usize, height: usize) {
        for (y, row) in into.chunks_exact_mut(width).enumerate() {
            let from = &self.defect[(2 * y + 1) * self.height / (2 * height) * self.width..][..self.width];
            for (x, inside) in row.iter_mut().enumerate() {
                *inside |= from[(2 * x + 1) * self.width / (2 * width)];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, Luma, Rgba, Rgba32FImage, RgbaImage};

    use super::*;

    fn inside(image: impl Into<DynamicImage>) -> Vec<bool> {
        Mask::of(&image.into()).defect
    }

    #[test]
    fn any_value_over_0_counts_at_any_depth_unless_it_is_transparent() {
        let expected = [false, true, true, false];
        let grey = GrayImage::from_raw(4, 1, vec![0, 1, 255, 0]).unwrap();
        assert_eq!(inside(grey), expected);
        let wide = ImageBuffer::<Luma<u16>, _>::from_raw(4, 1, vec![0, 1, 65535, 0]).unwrap();
        let mask = Mask::of(&DynamicImage::from(wide));
        assert_eq!((mask.defect.clone(), mask.values), (expected.to_vec(), Some([1.0, 65535.0])));
        // Blue alone; white that is wholly transparent; black on top.
        let pixels = vec![0, 0, 0, 255, 0, 0, 9, 255, 255, 255, 255, 1, 255, 255, 255, 0];
        assert_eq!(inside(RgbaImage::from_raw(4, 1, pixels).unwrap()), expected);
        let float = Rgba32FImage::from_fn(4, 1, |x, _| Rgba([[0.0, 0.001, 1.0, f32::NAN][x as usize], 0.0, 0.0, 1.0]));
        assert_eq!(inside(float), expected);
    }

    #[test]
    fn a_mask_may_be_any_picture_file_and_another_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let halves = GrayImage::from_fn(16, 8, |x, _| Luma([if x < 8 { 0 } else { 255 }]));
        let jpeg = cfg!(feature = "libjpeg").then_some("m.jpg");
        for name in ["m.bmp", "m.tif", "m.webp", "m.png"].into_iter().chain(jpeg) {
            let path = folder.path().join(name);
            halves.save(&path).unwrap();
            let mask = Mask::open(&path).map_err(|error| error.chain()).unwrap();
            assert_eq!((mask.width, mask.height), (16, 8), "{name}");
            assert!(mask.defect.chunks(16).all(|row| row.iter().enumerate().all(|(x, d)| *d == (x >= 8))), "{name}");
        }
        let path = folder.path().join("m.heic");
        std::fs::write(&path, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
        let error = Mask::open(&path).err().unwrap().chain();
        assert!(error.contains("HEIC") && error.contains("m.heic"), "{error}");
    }

    #[test]
    fn masks_of_other_sizes_are_stretched_and_joined() {
        let mask = |pixels: Vec<u8>, width| Mask::of(&GrayImage::from_raw(width, 2, pixels).unwrap().into());
        let mut joined = vec![false; 16];
        mask(vec![0, 7, 0, 0], 2).join(&mut joined, 4, 4);
        assert_eq!(joined[..8], [false, false, true, true, false, false, true, true]);
        assert!(joined[8..].iter().all(|inside| !inside));
        mask(vec![0, 0, 0, 0, 1, 0, 0, 0], 4).join(&mut joined, 4, 4);
        assert_eq!(joined[8..], [true, false, false, false, true, false, false, false]);
        assert_eq!(joined[..4], [false, false, true, true]);
        let mut small = vec![false; 2];
        mask(vec![0, 7, 0, 0], 2).join(&mut small, 2, 1);
        assert_eq!(small, [false, false]);
    }
}
