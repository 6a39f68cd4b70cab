//! Images that are part of a file: pieces of a picture, and the records of a file with many pictures.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::masks::{Mask, region};
use inctrl::{Error, ErrorKind, Image, PixelFormat, Result, Roi};

/// The part of its file that an image is. It follows the file name, as in `kos01/Part5.jpg#third=2`. Indices begin at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The whole file.
    #[default]
    Whole,
    /// A third of a picture of H rows, from top to bottom: rows ⌊i H / 3⌋ to ⌊(i + 1) H / 3⌋.
    Third(usize),
    /// A square of a picture, from left to right, as wide as the picture is high. The last one may be narrower.
    Square(usize),
    /// A record of a file with many pictures.
    Record(Arc<Pictures>, usize),
}

impl Part {
    /// How many squares a picture has.
    pub(super) fn squares([width, height]: [usize; 2]) -> usize {
        width.div_ceil(height.max(1))
    }

    /// The rectangle of the part in a picture of this width and height; `None` for the whole picture.
    fn region(&self, [width, height]: [usize; 2]) -> Option<Roi> {
        match self {
            Part::Third(index) => {
                let [top, bottom] = [index * height / 3, (index + 1) * height / 3];
                Some(Roi { x: 0, y: top, width, height: bottom - top })
            }
            Part::Square(index) => {
                let left = index * height;
                Some(Roi { x: left, y: 0, width: width.saturating_sub(left).min(height), height })
            }
            Part::Whole | Part::Record(..) => None,
        }
    }

    /// The part of a decoded picture.
    ///
    /// # Errors
    /// [`ErrorKind::Image`] if the picture is too small for it.
    pub(super) fn of(&self, image: Image) -> Result<Image> {
        let sides = [image.width(), image.height()];
        match self.region(sides) {
            Some(roi) => image.region(roi).map_err(|error| self.missing(sides, error)),
            None => Ok(image),
        }
    }

    /// The same part of a mask, in the mask's own width and height.
    ///
    /// # Errors
    /// As [`Part::of`].
    pub(super) fn of_mask(&self, mask: &Mask) -> Result<Mask> {
        let sides = [mask.width, mask.height];
        let Some(roi) = self.region(sides) else { return Ok(mask.clone()) };
        if roi.width == 0 || roi.height == 0 {
            let why = Error::new(ErrorKind::Argument, "there are no pixels");
            return Err(self.missing(sides, why));
        }
        Ok(region(mask, roi))
    }

    fn missing(&self, [width, height]: [usize; 2], why: Error) -> Error {
        let part = self.to_string();
        let message = format!("the picture is {width} x {height} pixels and has no {}", part.trim_start_matches('#'));
        Error::new(ErrorKind::Image, message).because(why)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Whole => Ok(()),
            Part::Third(index) => write!(f, "#third={index}"),
            // Leading zeros make the order of names the order of pictures.
            Part::Square(index) => write!(f, "#square={index:02}"),
            Part::Record(_, index) => write!(f, "#image={index:05}"),
        }
    }
}

/// The layout of pictures in a file, one record after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Records {
    /// Bytes before the first picture.
    pub start: usize,
    /// Bytes from a picture to the next.
    pub stride: usize,
    pub width: usize,
    pub height: usize,
    /// Planes of a picture, one after the other: one of grey, or three of red, green and blue.
    pub planes: usize,
}

/// Pictures of one size in memory, as stored in their file.
#[derive(PartialEq, Eq)]
pub struct Pictures {
    bytes: Vec<u8>,
    records: Records,
}

impl Pictures {
    /// Takes the content of a file of `count` records.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if the file is too short for them.
    pub(super) fn new(bytes: Vec<u8>, count: usize, records: Records) -> Result<Arc<Self>> {
        let size = records.planes * records.width * records.height;
        let end = count.checked_sub(1).map_or(Some(0), |last| last.checked_mul(records.stride)?.checked_add(size));
        match end.and_then(|end| end.checked_add(records.start)) {
            Some(end) if end <= bytes.len() => Ok(Arc::new(Pictures { bytes, records })),
            _ => {
                let Records { width, height, .. } = records;
                let found = bytes.len();
                let message = format!("{count} pictures of {width} x {height} pixels do not fit in {found} bytes");
                Err(Error::new(ErrorKind::Argument, message))
            }
        }
    }

    /// Width, height and planes of a picture.
    pub(super) fn shape(&self) -> [usize; 3] {
        [self.records.width, self.records.height, self.records.planes]
    }

    /// The bytes of a picture, plane by plane.
    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        let Records { start, stride, width, height, planes } = self.records;
        &self.bytes[start + index * stride..][..planes * width * height]
    }

    /// A picture, grey or RGB.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for sides of 0.
    pub(super) fn image(&self, index: usize) -> Result<Image> {
        let Records { width, height, planes, .. } = self.records;
        let bytes = self.bytes(index);
        if planes == 1 {
            return Image::from_pixels(bytes.to_vec(), width, height, PixelFormat::Grey8);
        }
        let area = width * height;
        let pixels = (0..area).flat_map(|at| (0..planes).map(move |plane| bytes[plane * area + at])).collect();
        Image::from_pixels(pixels, width, height, PixelFormat::Rgb8)
    }
}

impl fmt::Debug for Pictures {
    /// The geometry alone: the pixels would bury any message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pictures({:?})", self.records)
    }
}

/// Width and height of a picture file, from its header alone.
///
/// # Errors
/// [`ErrorKind::Image`] if the header cannot be read.
pub(super) fn sides(path: &Path) -> Result<[usize; 2]> {
    let reader = image::ImageReader::open(path).and_then(image::ImageReader::with_guessed_format);
    let reader = reader.map_err(|error| Error::io("read", path, error))?;
    let (width, height) = reader.into_dimensions().map_err(|error| {
        Error::new(ErrorKind::Image, "the header of the picture cannot be read").at(path).because(error)
    })?;
    Ok([width as usize, height as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: usize, height: usize) -> Image {
        let pixels = (0..width * height).map(|at| (at / width * 16 + at % width) as u8).collect();
        Image::from_pixels(pixels, width, height, PixelFormat::Grey8).unwrap()
    }

    #[test]
    fn thirds_are_cut_as_the_published_script_cuts() {
        // numpy: a[:7 // 3], a[7 // 3:14 // 3], a[14 // 3:].
        let rows = [0, 1, 2].map(|index| {
            let part = Part::Third(index).of(numbered(2, 7)).unwrap();
            (0..part.height()).map(|y| part.frame().row(y)[0] / 16).collect::<Vec<_>>()
        });
        assert_eq!(rows, [vec![0, 1], vec![2, 3], vec![4, 5, 6]]);
        let error = Part::Third(0).of(numbered(2, 2)).unwrap_err();
        assert!(error.to_string().contains("2 x 2 pixels and has no third=0"), "{error}");
    }

    #[test]
    fn the_last_square_may_be_narrower() {
        assert_eq!([[16, 1], [9, 4], [8, 4], [3, 4], [3, 0]].map(Part::squares), [16, 3, 2, 1, 3]);
        let part = Part::Square(2).of(numbered(9, 4)).unwrap();
        assert_eq!((part.width(), part.height(), part.frame().row(3)), (1, 4, &[56][..]));
        assert_eq!(Part::Square(1).of(numbered(9, 4)).unwrap().frame().row(0), [4, 5, 6, 7]);
        let error = Part::Square(3).of(numbered(9, 4)).unwrap_err();
        assert!(error.to_string().contains("no square=03") && error.kind() == ErrorKind::Image, "{error}");
    }

    #[test]
    fn planes_become_pixels() {
        let records = Records { start: 1, stride: 7, width: 2, height: 1, planes: 3 };
        let bytes = vec![9, 1, 2, 3, 4, 5, 6, 9, 11, 12, 13, 14, 15, 16];
        let pictures = Pictures::new(bytes.clone(), 2, records).unwrap();
        assert_eq!(pictures.image(1).unwrap().frame().row(0), [11, 13, 15, 12, 14, 16]);
        for count in [3, usize::MAX] {
            assert!(Pictures::new(bytes.clone(), count, records).is_err());
        }
        assert!(Pictures::new(Vec::new(), 0, Records { start: 0, ..records }).is_ok());
    }
}
