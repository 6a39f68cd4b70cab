//! JPEG. Rust reads the frame header, so that errors can name an unsupported variant. libjpeg decodes the pixels, with
//! Pillow's conversion of CMYK.

use image::DynamicImage;

use super::{check_size, holds, multi_picture, not_supported, refuse};
use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    width: u32,
    height: u32,
    components: u8,
}

/// Decodes to the pixels of libjpeg-turbo and Pillow: grey or RGB, for every sampling, order of scans and coding.
pub(super) fn decode(bytes: &[u8]) -> Result<DynamicImage> {
    let header = header(bytes)?;
    check_size((header.width, header.height))?;
    pixels(bytes, header)
}

#[cfg(not(feature = "libjpeg"))]
fn pixels(_: &[u8], _: Header) -> Result<DynamicImage> {
    Err(refuse(
        "this build cannot read JPEG, as it lacks the feature `libjpeg`: build with the feature, or convert the \
        picture to PNG",
    ))
}

#[cfg(feature = "libjpeg")]
fn pixels(bytes: &[u8], header: Header) -> Result<DynamicImage> {
    use image::{GrayImage, RgbImage};

    use super::libjpeg::{self, Failure};
    use super::{check_memory, cmyk_to_rgb, memory_limit};
    use crate::memory;

    let Header { width, height, components } = header;
    let channels = usize::from(components);
    let length = width as usize * height as usize * channels;
    check_memory(length as u64, (width, height))?;
    let mut pixels = memory::zeros::<u8>("the JPEG picture", length)?;
    let most = usize::try_from(memory_limit(pixels.len() as u64)).unwrap_or(usize::MAX);
    libjpeg::decode(bytes, &mut pixels, (width, height), channels, most).map_err(|(failure, message)| {
        let error = match failure {
            Failure::Truncated => truncated(),
            Failure::Unsupported => not_supported("this variant of JPEG"),
            Failure::Memory => {
                refuse("the JPEG data takes more memory than a picture of its size should: write it again")
            }
            Failure::Scans => refuse("the JPEG data has hundreds of scans: write it again"),
            Failure::Damaged | Failure::Header => damaged(),
        };
        if message.is_empty() { error } else { error.because(message) }
    })?;
    if components == 4 {
        cmyk_to_rgb(&mut pixels);
    }
    let picture = match components {
        1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
    };
    picture.ok_or_else(damaged)
}

/// Reads up to the frame header, which describes the entropy-coded data.
fn header(bytes: &[u8]) -> Result<Header> {
    // After the start-of-image marker, which identified the format.
    let mut at = 2;
    loop {
        at = marker(bytes, at).ok_or_else(truncated)?;
        let code = bytes[at];
        at += 1;
        let name = match code {
            // No marker, and markers without a segment.
            0x00 | 0x01 | 0xd0..=0xd7 => continue,
            0xc0..=0xc2 | 0xc9 | 0xca => return frame(segment(bytes, at)?),
            0xc3 | 0xcb => "lossless JPEG",
            0xc5..=0xc7 | 0xcd..=0xcf | 0xde | 0xdf => "hierarchical JPEG",
            0xf7 => "JPEG-LS",
            0xd9 => return Err(refuse("the JPEG data holds no picture: it ends before a frame begins")),
            0xc8 | 0xd8 | 0xda => return Err(damaged()),
            _ => {
                let segment = segment(bytes, at)?;
                if let (0xe2, Some(frames @ 2..)) = (code, multi_picture::frames(segment)) {
                    return Err(holds("JPEG", &format!("{frames} views or frames")));
                }
                at += 2 + segment.len();
                continue;
            }
        };
        return Err(not_supported(name));
    }
}

/// The position of the next marker's code. Any number of 0xff bytes may precede it.
fn marker(bytes: &[u8], from: usize) -> Option<usize> {
    let first = from + bytes.get(from..)?.iter().position(|&byte| byte == 0xff)?;
    Some(first + bytes[first..].iter().position(|&byte| byte != 0xff)?)
}

/// What a segment holds after its length.
fn segment(bytes: &[u8], at: usize) -> Result<&[u8]> {
    let length = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(truncated)?;
    let end = at + usize::from(u16::from_be_bytes(*length));
    if end < at + 2 {
        return Err(damaged());
    }
    bytes.get(at + 2..end).ok_or_else(truncated)
}

/// The frame headers of all codings begin with precision, height, width and number of components.
fn frame(segment: &[u8]) -> Result<Header> {
    let &[precision, h1, h0, w1, w0, components, ..] = segment else { return Err(damaged()) };
    let (width, height) = (u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
    if precision != 8 {
        return Err(not_supported(&format!("{precision}-bit JPEG")));
    }
    if height == 0 {
        return Err(not_supported("JPEG with its height only after the data (DNL)"));
    }
    if !matches!(components, 1 | 3 | 4) {
        return Err(not_supported(&format!("JPEG of {components} components")));
    }
    Ok(Header { width, height, components })
}

fn truncated() -> Error {
    super::truncated("JPEG")
}

fn damaged() -> Error {
    super::damaged("JPEG")
}

#[cfg(all(test, feature = "libjpeg"))]
mod tests {
    //! Against Pillow's pixels; scripts/fixtures/jpeg.py makes the files.

    use std::path::PathBuf;

    use safetensors::SafeTensors;

    use super::super::Image;
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Image> {
        Image::from_dynamic(super::decode(bytes)?, None)
    }

    /// The committed table, or the whole product that the script's `--all` writes.
    fn table() -> Vec<u8> {
        let path = std::env::var_os("INCTRL_JPEG_TABLE").map(PathBuf::from);
        let carried = || [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/jpeg.safetensors"].iter().collect();
        std::fs::read(path.unwrap_or_else(carried)).unwrap()
    }

    fn file(table: &SafeTensors, name: &str) -> Vec<u8> {
        table.tensor(&format!("file/{name}")).unwrap().data().to_vec()
    }

    fn message(bytes: &[u8]) -> String {
        decode(bytes).unwrap_err().to_string()
    }

    #[test]
    fn pixels_are_those_of_pillow() {
        let bytes = table();
        let table = SafeTensors::deserialize(&bytes).unwrap();
        let (mut seen, mut wrong) = (0, Vec::new());
        for (key, expected) in table.tensors() {
            let Some(name) = key.strip_prefix("pixels/") else { continue };
            let image = decode(&file(&table, name)).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let &[height, width, channels] = expected.shape() else { panic!("{key}") };
            let found: Vec<u8> = (0..image.height()).flat_map(|y| image.frame().row(y)).copied().collect();
            let shape = [image.height(), image.width(), image.frame().format().channels()];
            if shape != [height, width, channels] || found != expected.data() {
                wrong.push(name.to_string());
            }
            seen += 1;
        }
        assert!(wrong.is_empty(), "{} of {seen}: {wrong:?}", wrong.len());
        assert!(seen >= 160, "{seen}");
    }

    #[test]
    fn variants_that_are_not_decoded_are_refused_by_name() {
        let bytes = table();
        let table = SafeTensors::deserialize(&bytes).unwrap();
        let mut seen = 0;
        for (name, expected) in [
            ("twelve_bits", "12-bit JPEG is not supported"),
            ("twelve_bits_colour", "12-bit JPEG is not supported"),
            ("lossless", "lossless JPEG is not supported"),
            ("lossless_16_bits", "lossless JPEG is not supported"),
            ("ls", "JPEG-LS is not supported"),
            ("ls_16_bits", "JPEG-LS is not supported"),
            ("hierarchical", "hierarchical JPEG is not supported"),
            ("fraction", "this variant of JPEG is not supported"),
            ("no_height", "height only after the data (DNL) is not supported"),
            ("two_components", "JPEG of 2 components is not supported"),
        ] {
            let text = message(table.tensor(&format!("refused/{name}")).unwrap().data());
            assert!(text.contains(expected), "{name}: {text}");
            seen += 1;
        }
        assert_eq!(table.names().iter().filter(|name| name.starts_with("refused/")).count(), seen);
    }

    /// Every prefix of a file of each order of scans, to the last byte.
    #[test]
    fn what_ends_early_is_truncated() {
        let bytes = table();
        let table = SafeTensors::deserialize(&bytes).unwrap();
        for order in ["baseline", "restart", "planes", "progressive", "arithmetic", "arithmetic_progressive"] {
            let whole = file(&table, &format!("ycbcr/2x2,1x1,1x1/19x13/{order}"));
            for length in 3..whole.len() {
                let text = message(&whole[..length]);
                assert!(text.contains("truncated"), "{order}, {length} of {} bytes: {text}", whole.len());
            }
        }
    }

    #[test]
    fn damage_is_an_error_with_its_cause_and_padding_is_none() {
        use std::error::Error as _;

        let bytes = table();
        let table = SafeTensors::deserialize(&bytes).unwrap();
        let whole = file(&table, "ycbcr/2x2,1x1,1x1/19x13/restart");
        // Another restart marker than the one that is due.
        let at = whole.windows(2).position(|pair| pair == [0xff, 0xd0]).unwrap();
        let mut wrong = whole.clone();
        wrong[at + 1] = 0xd3;
        let error = decode(&wrong).unwrap_err();
        assert!(error.to_string().contains("the JPEG data is damaged"), "{error}");
        assert!(error.source().unwrap().to_string().contains("instead of RST0"), "{error:?}");
        // What stands before the end of the image: zeros, as hardware writes them; something; nothing.
        let end = whole.len() - 2;
        let with = |padding: &[u8]| decode(&[&whole[..end], padding, &whole[end..], b"behind the end"].concat());
        let expected = decode(&whole).unwrap();
        for padding in [&[0; 500][..], &[0xff; 3], &[7; 8]] {
            assert_eq!(with(padding).unwrap().frame().row(12), expected.frame().row(12));
        }
        assert!(with(&[7; 100]).unwrap_err().to_string().contains("damaged"));
        assert!(message(&[0xff, 0xd8, 0xff, 0xd9]).contains("holds no picture"));
        assert!(message(&[0xff, 0xd8, 0xff, 0xda, 0, 8]).contains("damaged"));
    }

    /// A scan of a few bytes costs a pass over the whole picture.
    #[test]
    fn hundreds_of_scans_are_refused() {
        let bytes = table();
        let whole = file(&SafeTensors::deserialize(&bytes).unwrap(), "grey/2x2/19x13/dc_only");
        let scan = whole.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
        // The scan says all that there is of its coefficients, however often it comes.
        let with = |times| {
            let end = whole.len() - 2;
            [&whole[..scan], &whole[scan..end].repeat(times), &whole[end..]].concat()
        };
        assert_eq!(decode(&with(400)).unwrap().frame().row(12), decode(&whole).unwrap().frame().row(12));
        assert!(message(&with(600)).contains("hundreds of scans"));
    }

    #[test]
    fn sizes_are_checked_before_anything_is_taken() {
        let bytes = table();
        let mut whole = file(&SafeTensors::deserialize(&bytes).unwrap(), "ycbcr/2x2,1x1,1x1/19x13/baseline");
        let frame = whole.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        whole[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
        assert!(message(&whole).contains("65535 x 65535 pixels: at most"));
    }
}
