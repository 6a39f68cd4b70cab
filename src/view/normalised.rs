//! [`Normalised`]: a model input that is already resized, cropped and normalised, as in PyTorch code.

use super::patches;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{ContentHash, MAX_SIDE, PixelFormat};

/// The largest accepted magnitude. CLIP's normalisation maps 8-bit pixels to -1.8 .. 2.2, so larger numbers come from
/// an image that was not normalised.
const LIMIT: f32 = 10.0;

/// A square image after CLIP's normalisation: `(value / 255 - mean) / std`, `[3, size, size]`, red, green, blue.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalised {
    size: usize,
    values: Vec<f32>,
}

impl Normalised {
    /// An image of `size` x `size` pixels from its `3 * size * size` numbers, channel by channel, rows from the top.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a wrong count of numbers, [`ErrorKind::Image`] where one is not finite or too large
    /// for a normalised pixel.
    pub fn new(values: Vec<f32>, size: usize) -> Result<Self> {
        if !(1..=MAX_SIDE).contains(&size) || values.len() != 3 * size * size {
            let message = format!("{} numbers given for a normalised image of 3 x {size} x {size}", values.len());
            return Err(Error::new(ErrorKind::Argument, message));
        }
        if let Some(at) = values.iter().position(|value| !(-LIMIT..=LIMIT).contains(value)) {
            let [channel, y, x] = [at / (size * size), at / size % size, at % size];
            let message = format!(
                "holds {} at channel {channel}, row {y}, column {x}, expected -{LIMIT} to {LIMIT}: pixels of 0 to 1 minus \
                 CLIP's mean, divided by its standard deviation",
                values[at]
            );
            return Err(Error::new(ErrorKind::Image, message));
        }
        Ok(Normalised { size, values })
    }

    /// Side in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The numbers, `[3, size, size]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The 8-bit RGB picture `[size, size, 3]` whose normalisation has exactly these bits, if there is one.
    pub fn pixels(&self) -> Option<Vec<u8>> {
        let plane = self.size * self.size;
        (0..3 * plane).map(|i| patches::level(i % 3, self.values[i % 3 * plane + i / 3])).collect()
    }

    /// Identifies the image by its content. If it is the normalisation of an 8-bit RGB picture, this is the hash of
    /// that picture ([`Frame::content_hash`](crate::Frame::content_hash)), so that the picture and its tensor are the
    /// same prompt. Otherwise it is a BLAKE3 hash over the side and the bits of the numbers.
    pub fn content_hash(&self) -> [u8; 32] {
        if let Some(pixels) = self.pixels() {
            let mut hash = ContentHash::new(self.size, self.size, PixelFormat::Rgb8);
            hash.update(&pixels);
            return hash.finish();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"inctrl normalised 1\0");
        hasher.update(&(self.size as u64).to_le_bytes());
        for value in &self.values {
            hasher.update(&value.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// The rows of the patch matrix `[patches, 3 * patch * patch]`, in the order of [`patches::write`].
    ///
    /// # Panics
    /// If `patch` is not in `1..=size`.
    pub fn patch_rows(&self, patch: usize) -> Vec<f32> {
        assert!((1..=self.size).contains(&patch), "patches of {patch} pixels in a picture of {}", self.size);
        let (size, grid) = (self.size, self.size / patch);
        let mut rows = Vec::with_capacity(grid * grid * 3 * patch * patch);
        for row in 0..grid * grid {
            let corner = row / grid * patch * size + row % grid * patch;
            for plane in self.values.chunks_exact(size * size) {
                for y in 0..patch {
                    rows.extend_from_slice(&plane[corner + y * size..][..patch]);
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Frame;

    /// A picture and its normalisation.
    fn pair(size: usize) -> (Vec<u8>, Normalised) {
        let pixels: Vec<u8> = (0..3 * size * size).map(|i| (i * 37 % 256) as u8).collect();
        // One patch of the whole picture is the picture channel by channel.
        let mut planes = vec![0.0; pixels.len()];
        patches::write(&pixels, 3, [size, size], size, 0..1, &patches::NORMALISED, &mut planes);
        (pixels, Normalised::new(planes, size).unwrap())
    }

    #[test]
    fn an_8_bit_picture_and_its_normalisation_are_one_prompt() {
        let (pixels, mut image) = pair(16);
        let frame = Frame::packed(&pixels, 16, 16, PixelFormat::Rgb8).unwrap();
        assert_eq!(image.pixels().unwrap(), pixels);
        assert_eq!(image.content_hash(), frame.content_hash().unwrap());
        // One bit away from every level.
        image.values[5] = f32::from_bits(image.values[5].to_bits() ^ 1);
        assert_eq!(image.pixels(), None);
        assert_ne!(image.content_hash(), frame.content_hash().unwrap());
        let other = image.content_hash();
        image.values[6] = f32::from_bits(image.values[6].to_bits() ^ 1);
        assert_ne!(image.content_hash(), other);
    }

    #[test]
    fn rows_are_those_of_the_picture() {
        let (pixels, image) = pair(11);
        for patch in [1, 3, 4, 11] {
            let grid = 11 / patch;
            let mut rows = vec![0.0; grid * grid * 3 * patch * patch];
            patches::write(&pixels, 3, [11, 11], patch, 0..grid * grid, &patches::NORMALISED, &mut rows);
            assert_eq!(image.patch_rows(patch), rows, "{patch}");
        }
    }

    #[test]
    fn numbers_that_no_pixel_has_are_refused_with_their_place() {
        for bad in [f32::NAN, f32::INFINITY, -255.0] {
            let mut values = vec![0.0; 12];
            values[7] = bad;
            let error = Normalised::new(values, 2).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Image);
            assert!(error.to_string().contains("channel 1, row 1, column 1"), "{error}");
        }
        for (count, size) in [(11, 2), (0, 0), (12, usize::MAX)] {
            assert_eq!(Normalised::new(vec![0.0; count], size).unwrap_err().kind(), ErrorKind::Argument);
        }
    }
}
