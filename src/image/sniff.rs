//! [`sniff`] recognises a file by its first bytes, whatever its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How many bytes from the start of a file [`sniff`] needs at most. Most formats need fewer.
pub const HEAD: usize = 256;

/// What the first bytes of a file show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A format that [`Image::decode`](super::Image::decode) reads. The file may still be damaged or of an unsupported
    /// variant.
    Picture(Format),
    /// A picture, film or page of a format that is not read, by its common name: "HEIC", "JPEG XL".
    Unsupported(&'static str),
    /// Not a known picture format, or an empty file.
    Other,
}

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG, in any wrapper (JFIF, EXIF, none).
    Jpeg,
    /// Windows and OS/2 bitmaps.
    Bmp,
    /// TIFF and BigTIFF, in either byte order.
    Tiff,
    /// WebP.
    WebP,
    /// Netpbm: PBM, PGM, PPM, PAM.
    Pnm,
}

impl Format {
    /// The common name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Png => "PNG",
            Format::Jpeg => "JPEG",
            Format::Bmp => "BMP",
            Format::Tiff => "TIFF",
            Format::WebP => "WebP",
            Format::Pnm => "PNM",
        }
    }
}

/// Recognises a file by its first [`HEAD`] bytes, or by all of them if there are fewer.
pub fn sniff(head: &[u8]) -> Content {
    if let Some(format) = supported(head) {
        return Content::Picture(format);
    }
    match UNSUPPORTED.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic))) {
        Some((_, _, name)) => Content::Unsupported(name),
        None => iso_media(head).map_or(Content::Other, Content::Unsupported),
    }
}

/// [`sniff`] of a file.
///
/// # Errors
/// As opening or reading the file.
pub fn sniff_file(path: &Path) -> io::Result<Content> {
    let mut head = Vec::with_capacity(HEAD);
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(sniff(&head))
}

fn supported(head: &[u8]) -> Option<Format> {
    // Camera raw files with TIFF's signature, followed by one of their own.
    const CANON_RAW: &[u8] = b"CR\x02";
    match head {
        [0x89, b'P', b'N', b'G', ..] => Some(Format::Png),
        [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
        [b'I', b'I', 42 | 43, 0, rest @ ..] | [b'M', b'M', 0, 42 | 43, rest @ ..] => {
            (!rest.get(4..).is_some_and(|rest| rest.starts_with(CANON_RAW))).then_some(Format::Tiff)
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::WebP),
        // Prose may begin with these two letters, too. The size of a second header must follow after twelve bytes.
        [b'B', b'M', rest @ ..] => {
            (rest.len() < 16 || matches!(rest[12..16], [12..=124, 0, 0, 0])).then_some(Format::Bmp)
        }
        [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n' | b'#', rest @ ..] => {
            let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
            let follows = next.is_none_or(|&byte| byte.is_ascii_digit() || byte == b'#' || head[1] == b'7');
            follows.then_some(Format::Pnm)
        }
        _ => None,
    }
}

/// Where a signature lies, its bytes, and the format's name.
const UNSUPPORTED: [(usize, &[u8], &str); 34] = [
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"8BPS", "Photoshop"),
    (0, b"gimp xcf", "GIMP"),
    (0, b"II*\0\x10\0\0\0CR", "Canon raw"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    (0, b"IIRO", "Olympus raw"),
    (0, b"IIRS", "Olympus raw"),
    (0, b"MMOR", "Olympus raw"),
    (0, b"IIU\0", "Panasonic raw"),
    (0, b"FOVb", "Sigma raw"),
    (0, b"\0\0\x01\0", "ICO"),
    (0, b"\0\0\x02\0", "CUR"),
    (0, b"icns", "ICNS"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"PF\n", "PFM"),
    (0, b"Pf\n", "PFM"),
    (0, b"qoif", "QOI"),
    (0, b"farbfeld", "farbfeld"),
    (0, b"DDS ", "DDS"),
    (0, b"\x01\xda\x01", "SGI"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"\x8aMNG", "MNG"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"%PDF-", "PDF"),
];

/// The name for an ISO base media file (`ftyp` box): HEIC, AVIF, Canon's newer raw format, films.
fn iso_media(head: &[u8]) -> Option<&'static str> {
    let size = u32::from_be_bytes(*head.first_chunk()?) as usize;
    let brands = head.get(4..size.clamp(4, head.len().max(4)))?.strip_prefix(b"ftyp")?;
    // The main brand, a version, compatible brands.
    let mut of = brands.as_chunks::<4>().0.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, brand)| brand);
    let named = of.find_map(|brand| match brand {
        b"avif" | b"avis" => Some("AVIF"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some("HEIC"),
        b"crx " => Some("Canon raw"),
        _ => None,
    });
    // A generic HEIF brand may come before the codec's brand.
    let heif = || brands.as_chunks::<4>().0.iter().any(|brand| matches!(brand, b"mif1" | b"msf1"));
    named.or_else(|| heif().then_some("HEIF")).or(Some("MP4"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::fixture;

    #[test]
    fn fixtures_are_what_they_are_named() {
        let mut seen = 0;
        for entry in std::fs::read_dir(fixture("")).unwrap() {
            let path = entry.unwrap().path();
            let expected = match path.extension().unwrap().to_str().unwrap() {
                "png" => Content::Picture(Format::Png),
                "jpg" => Content::Picture(Format::Jpeg),
                "bmp" => Content::Picture(Format::Bmp),
                "tif" => Content::Picture(Format::Tiff),
                "webp" => Content::Picture(Format::WebP),
                "ppm" | "pgm" | "pbm" => Content::Picture(Format::Pnm),
                _ => Content::Other,
            };
            assert_eq!(sniff_file(&path).unwrap(), expected, "{}", path.display());
            seen += 1;
        }
        assert!(seen > 30);
    }

    #[test]
    fn other_pictures_are_named() {
        let ftyp = |brands: &[u8]| [&(8 + brands.len() as u32).to_be_bytes(), &b"ftyp"[..], brands, b"more"].concat();
        let dicom = [&[0; 128][..], b"DICM"].concat();
        for (head, name) in [
            (b"GIF89a\x01\0\x01\0".to_vec(), "GIF"),
            (ftyp(b"heic\0\0\0\0mif1heic"), "HEIC"),
            (ftyp(b"mif1\0\0\0\0mif1heic"), "HEIC"),
            (ftyp(b"mif1\0\0\0\0mif1miaf"), "HEIF"),
            (ftyp(b"avif\0\0\0\0mif1"), "AVIF"),
            (ftyp(b"mif1\0\0\0\0avifmif1"), "AVIF"),
            (ftyp(b"crx \0\0\0\x01"), "Canon raw"),
            (ftyp(b"isom\0\0\x02\0isomiso2"), "MP4"),
            (b"\xff\x0a\xfa\x1f".to_vec(), "JPEG XL"),
            (b"\0\0\0\x0cjP  \r\n\x87\n".to_vec(), "JPEG 2000"),
            (b"II*\0\x10\0\0\0CR\x02\0".to_vec(), "Canon raw"),
            (dicom, "DICOM"),
        ] {
            assert_eq!(sniff(&head), Content::Unsupported(name));
        }
        assert_eq!(sniff(b"II+\0\x08\0\0\0"), Content::Picture(Format::Tiff), "BigTIFF");
    }

    #[test]
    fn prose_is_no_picture() {
        for head in [
            "",
            "B",
            "BMW, Munich: a list of parts",
            "P3 is a part, not a picture",
            "P1",
            "notes\n",
            "path,label\n",
            "{}",
        ] {
            assert_eq!(sniff(head.as_bytes()), Content::Other, "{head:?}");
        }
    }
}
