use super::*;
use crate::view::tests::{fixture, fixture_bytes};

fn message(bytes: &[u8]) -> String {
    let error = Image::decode(bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image, "{error:?}");
    error.to_string()
}

/// A PNG file of chunks, with right checksums.
fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in chunks {
        file.extend((data.len() as u32).to_be_bytes());
        let from = file.len();
        file.extend_from_slice(*kind);
        file.extend_from_slice(data);
        let crc = file[from..].iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        });
        file.extend((!crc).to_be_bytes());
    }
    file
}

#[test]
fn truncated_files_of_every_format_say_so() {
    for name in [
        "rgb.png",
        "grey16.png",
        "palette.png",
        "rgb.jpg",
        "progressive.jpg",
        "grey.jpg",
        "rgb.bmp",
        "palette.bmp",
        "rgb.tif",
        "grey16.tif",
        "bits.tif",
        "rgb.webp",
        "rgb.ppm",
        "grey16.pgm",
        "bits.pbm",
    ] {
        let whole = fixture_bytes(name);
        for part in [whole.len() / 2, whole.len() * 3 / 4, whole.len() * 9 / 10] {
            let text = message(&whole[..part]);
            assert!(text.contains("truncated"), "{name}, {part} of {} bytes: {text}", whole.len());
        }
    }
}

#[test]
fn no_prefix_of_a_file_panics() {
    for entry in std::fs::read_dir(fixture("")).unwrap() {
        let path = entry.unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        for part in 0..whole.len().min(400) {
            let _ = Image::decode(&whole[..part]);
        }
    }
}

#[test]
fn the_content_decides_and_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("note.png");
    std::fs::write(&path, "a line of text\n").unwrap();
    let error = Image::open(&path).unwrap_err();
    assert!(error.to_string().contains("not one of PNG, JPEG, BMP, TIFF, WebP, PNM"), "{error}");
    assert_eq!(error.path(), Some(&*path));
    std::fs::write(&path, fixture_bytes("rgb.bmp")).unwrap();
    assert_eq!(Image::open(&path).unwrap().width(), 17);
    std::fs::write(&path, "").unwrap();
    assert!(Image::open(&path).unwrap_err().to_string().contains("empty (0 bytes)"));
    assert_eq!(Image::open(folder.path().join("none.png")).unwrap_err().kind(), ErrorKind::Io);
    assert!(message(b"GIF89a\x01\x00\x01\x00").contains("GIF is not supported"));
}

#[test]
fn decompression_bombs_are_refused_by_their_header() {
    let header = |width: u32, height: u32| {
        let mut data = [width.to_be_bytes(), height.to_be_bytes()].concat();
        data.extend([8, 2, 0, 0, 0]);
        data
    };
    for (width, height) in [(30_000, 30_000), (65_536, 1), (1, 4_000_000)] {
        for chunks in
            [&[(b"IHDR", &header(width, height)[..])][..], &[(b"IHDR", &header(width, height)), (b"IDAT", b"")]]
        {
            let text = message(&png(chunks));
            assert!(text.contains(&format!("{width} x {height}")) && text.contains("178956970"), "{text}");
        }
    }
    let text = message(b"P6 30000 30000 255\n");
    assert!(text.contains("30000 x 30000"), "{text}");
    assert!(message(b"P6 0 5 255\n").contains("0 x 5"));
}

#[test]
fn floating_point_and_damage_are_told_apart() {
    assert!(message(&fixture_bytes("float.tif")).contains("floating point"));
    let mut damaged = fixture_bytes("rgb.png");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    assert!(message(&damaged).contains("damaged"));
}

#[test]
fn png_of_phones_is_named() {
    let text = message(&png(&[(b"CgBI", &[0x50, 0, 0x20, 2]), (b"IHDR", &[0; 13])]));
    assert!(text.contains("CgBI") && text.contains("not supported"), "{text}");
}

#[test]
fn a_region_is_a_picture_of_its_own() {
    let image = Image::from_pixels((0..24).collect(), 4, 2, PixelFormat::Rgb8).unwrap();
    let part = image.region(Roi { x: 1, y: 1, width: 2, height: 1 }).unwrap();
    assert_eq!((part.width(), part.height(), part.frame().row(0)), (2, 1, &[15, 16, 17, 18, 19, 20][..]));
    let error = image.region(Roi { x: 3, y: 0, width: 2, height: 1 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    // A doubt about the whole is one about its parts, however bright they are.
    let dark = Image::open(fixture("grey16.png")).unwrap();
    let part = dark.region(Roi { x: 0, y: 0, width: 1, height: 1 }).unwrap();
    assert_eq!(part.frame().depth_doubt(), dark.frame().depth_doubt());
}

#[test]
fn a_panic_of_a_decoder_costs_one_picture() {
    let error = contained::<()>(|| panic!("at this picture, on purpose")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("convert it to PNG"), "{error}");
    assert_eq!(contained(|| Ok(7)).unwrap(), 7);
}

#[test]
fn pixels_are_taken_over_only_in_the_right_number() {
    let image = Image::from_pixels(vec![7; 12], 2, 2, PixelFormat::Rgb8).unwrap();
    assert_eq!(image.frame().row(1), [7; 6]);
    for bytes in [11, 13] {
        let error = Image::from_pixels(vec![7; bytes], 2, 2, PixelFormat::Rgb8).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.to_string().contains("12"), "{error}");
    }
}
