//! Pictures that do not fit into memory are refused by their headers. The test runs in a process of its own under a
//! limit, where a failed allocation would end it.

use std::process::Command;

use super::Image;
use crate::error::ErrorKind;
use crate::view::tests::fixture_bytes;

/// Tells the process that it is the one under a limit.
const CHILD: &str = "INCTRL_TEST_DECODERS_UNDER_A_LIMIT";
/// The limit of its address space, in kilobytes.
const LIMIT: &str = "1000000";
/// Its pictures take a gigabyte as they are decoded and in 8-bit colours.
const SIDE: u32 = 13_000;

#[cfg(target_os = "linux")]
#[test]
fn pictures_that_memory_does_not_hold_are_refused() {
    if std::env::var_os(CHILD).is_some() {
        under_a_limit();
        println!("THE END");
        return;
    }
    let name = "image::decode::memory_tests::pictures_that_memory_does_not_hold_are_refused";
    let output = Command::new("sh")
        .args(["-c", "ulimit -v $0 && exec \"$@\"", LIMIT])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let [said, wrong] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success() && said.contains("THE END"), "{}\n{said}\n{wrong}", output.status);
}

fn under_a_limit() {
    for (name, file) in [
        ("PNG", png()),
        ("PNM", format!("P6 {SIDE} {SIDE} 255\n").into_bytes()),
        ("BMP", bmp()),
        ("WebP", webp()),
        ("TIFF", tiff()),
        #[cfg(feature = "libjpeg")]
        ("JPEG", jpeg()),
    ] {
        let error = Image::decode(&file).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Device, "{name}: {text}");
        for part in ["13000 x 13000", " needs ", " MB are left of the limit of the address space", "scale it down"] {
            assert!(text.contains(part), "{name}: no {part:?} in {text}");
        }
    }
    for name in ["rgb.png", "rgb.bmp", "rgb.tif", "rgb.webp", "rgb.ppm", "grey16.png"] {
        Image::decode(&fixture_bytes(name)).unwrap();
    }
}

fn png() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&SIDE.to_be_bytes()[..], &SIDE.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    for (kind, data) in [(b"IHDR", &header[..]), (b"IDAT", b"\x78\x9c"), (b"IEND", b"")] {
        file.extend((data.len() as u32).to_be_bytes());
        let from = file.len();
        file.extend_from_slice(kind);
        file.extend_from_slice(data);
        let crc = file[from..].iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        });
        file.extend((!crc).to_be_bytes());
    }
    file
}

/// The headers of 24 bits a pixel, and no pixels.
fn bmp() -> Vec<u8> {
    let mut file = b"BM".to_vec();
    for number in [54, 0, 54, 40, SIDE, SIDE] {
        file.extend(u32::to_le_bytes(number));
    }
    // One plane of 24 bits, without compression.
    file.extend([1, 0, 24, 0]);
    file.extend([0; 24]);
    file
}

/// The header of a lossless picture: 14 bits a side, less one.
fn webp() -> Vec<u8> {
    let mut data = vec![0x2f];
    data.extend(((SIDE - 1) | (SIDE - 1) << 14).to_le_bytes());
    data.push(0);
    let mut file = b"RIFF".to_vec();
    file.extend((4 + 8 + data.len() as u32).to_le_bytes());
    file.extend_from_slice(b"WEBPVP8L");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

/// The directory of three samples of 8 bits, one strip, and no pixels.
fn tiff() -> Vec<u8> {
    const SHORT: u16 = 3;
    const LONG: u16 = 4;
    let mut file = b"II*\0".to_vec();
    file.extend(16u32.to_le_bytes());
    // What BitsPerSample points to.
    file.extend([8, 0, 8, 0, 8, 0, 0, 0]);
    let entries = [
        (256u16, LONG, 1u32, SIDE),
        (257, LONG, 1, SIDE),
        (258, SHORT, 3, 8),
        (259, SHORT, 1, 1),
        (262, SHORT, 1, 2),
        (273, LONG, 1, 8),
        (277, SHORT, 1, 3),
        (278, LONG, 1, SIDE),
        (279, LONG, 1, 3 * SIDE * SIDE),
    ];
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file
}

/// A file whose frame header says other sides.
#[cfg(feature = "libjpeg")]
fn jpeg() -> Vec<u8> {
    let mut file = fixture_bytes("rgb.jpg");
    let frame = file.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    let side = (SIDE as u16).to_be_bytes();
    file[frame + 5..][..4].copy_from_slice(&[side, side].concat());
    file
}
