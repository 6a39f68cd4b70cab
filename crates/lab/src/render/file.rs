//! Pictures and maps as files.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use tiff::encoder::{TiffEncoder, colortype::Gray32Float};

use super::Picture;
use inctrl::internals::{collected, write_atomically};
use inctrl::{Error, ErrorKind, Result};

/// Writes `picture` as an 8-bit RGB PNG. The file appears complete or not at all.
///
/// # Errors
/// [`ErrorKind::Argument`] if the sides do not fit the pixels, [`ErrorKind::Io`] if the file cannot be written.
pub fn write_png(path: &Path, picture: &Picture) -> Result<()> {
    let (width, height) = sides(path, picture.width, picture.height, 3, picture.pixels.len())?;
    write_atomically(path, |out| {
        PngEncoder::new(out)
            .write_image(&picture.pixels, width, height, ExtendedColorType::Rgb8)
            .map_err(|source| Error::new(ErrorKind::Io, "cannot write the PNG").at(path).because(source))
    })
}

/// Writes `picture` as a JPEG of this `quality`, 1 to 100. The file appears complete or not at all.
///
/// # Errors
/// As [`write_png`].
pub fn write_jpeg(path: &Path, picture: &Picture, quality: u8) -> Result<()> {
    let (width, height) = sides(path, picture.width, picture.height, 3, picture.pixels.len())?;
    write_atomically(path, |out| {
        JpegEncoder::new_with_quality(out, quality.clamp(1, 100))
            .write_image(&picture.pixels, width, height, ExtendedColorType::Rgb8)
            .map_err(|source| Error::new(ErrorKind::Io, "cannot write the JPEG").at(path).because(source))
    })
}

/// Writes `height` rows of `width` values, including NaN, as a single-channel 32-bit float TIFF. The file appears
/// complete or not at all.
///
/// # Errors
/// As [`write_png`]; also [`ErrorKind::Argument`] for more than 4 GiB, which TIFF cannot hold, and [`ErrorKind::Device`]
/// where there is not enough memory for the file.
pub fn write_tiff_f32(path: &Path, width: usize, height: usize, values: &[f32]) -> Result<()> {
    let (columns, rows) = sides(path, width, height, 1, values.len())?;
    // The encoder seeks back to fill in offsets, which a file that is only written forwards does not allow.
    // Strips are of whole rows, each with an offset and a length of four bytes.
    let bytes = collected("writing a map", values.len() * 4 + height * 8 + 4096, std::iter::empty())?;
    let mut file = Cursor::new(bytes);
    TiffEncoder::new(&mut file).and_then(|mut tiff| tiff.write_image::<Gray32Float>(columns, rows, values)).map_err(
        |source| {
            let message = format!("a map of {width} x {height} values does not fit a TIFF file");
            Error::new(ErrorKind::Argument, message).at(path).because(source)
        },
    )?;
    write_atomically(path, |out| out.write_all(file.get_ref()).map_err(|source| Error::io("write", path, source)))
}

/// The sides as the formats count them, checked against `found` numbers.
fn sides(path: &Path, width: usize, height: usize, channels: usize, found: usize) -> Result<(u32, u32)> {
    let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(channels));
    match (u32::try_from(width), u32::try_from(height)) {
        (Ok(w), Ok(h)) if w > 0 && h > 0 && expected == Some(found) => Ok((w, h)),
        _ => {
            let message = format!(
                "{found} numbers are not a picture of {width} x {height} pixels with {channels} channels: both sides \
                 must be at least 1 and every pixel present"
            );
            Err(Error::new(ErrorKind::Argument, message).at(path))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::BufReader;

    use tiff::decoder::{Decoder, DecodingResult};

    use super::*;

    #[test]
    fn a_png_round_trips() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.png");
        let picture = Picture { width: 5, height: 3, pixels: (0..45).map(|i| i * 5).collect() };
        write_png(&path, &picture).unwrap();
        let read = image::open(&path).unwrap();
        assert_eq!(read.color(), image::ColorType::Rgb8);
        let read = read.to_rgb8();
        assert_eq!((read.width(), read.height()), (5, 3));
        assert_eq!(read.into_raw(), picture.pixels);
    }

    #[test]
    fn a_tiff_round_trips_bit_by_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.tif");
        let mut values: Vec<f32> = (0..70 * 33).map(|i| i as f32 * 1e-3 - 0.7).collect();
        values[7] = f32::NAN;
        values[8] = f32::MIN_POSITIVE / 2.0;
        write_tiff_f32(&path, 70, 33, &values).unwrap();
        let mut decoder = Decoder::new(BufReader::new(File::open(&path).unwrap())).unwrap();
        assert_eq!(decoder.dimensions().unwrap(), (70, 33));
        assert_eq!(decoder.colortype().unwrap(), tiff::ColorType::Gray(32));
        let DecodingResult::F32(read) = decoder.read_image().unwrap() else { panic!("not 32-bit floats") };
        assert_eq!(read.len(), values.len());
        assert!(read.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn impossible_sizes_are_argument_errors_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for (width, height) in [(2, 3), (0, 0), (usize::MAX, 2)] {
            let picture = Picture { width, height, pixels: vec![0; 6] };
            for error in [write_png(&path, &picture), write_tiff_f32(&path, width, height, &[0.0; 4])] {
                let error = error.unwrap_err();
                assert_eq!((error.kind(), error.path()), (ErrorKind::Argument, Some(path.as_path())), "{error}");
            }
        }
        assert!(!path.exists());
    }
}
