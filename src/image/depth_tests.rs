//! Formats of more than 8 bits against a reader that takes one bit at a time.

use proptest::prelude::*;

use super::depth::DepthDoubt;
use super::{AnyFrame, Frame, IgnoreMask, Image, PixelFormat, Roi, WhiteLevel};
use PixelFormat as P;

/// The value of pixel `i` of a row, bit by bit, as the formats are defined.
fn value(format: PixelFormat, row: &[u8], i: usize) -> u32 {
    let bit = |at: usize| u32::from(row[at / 8] >> (at % 8) & 1);
    let places: Vec<usize> = match format {
        P::Grey10p => (0..10).map(|b| 10 * i + b).collect(),
        P::Grey12p => (0..12).map(|b| 12 * i + b).collect(),
        // Bits 0 to 3 in the byte between, 4 to 11 in the byte of the pixel's own.
        P::Grey12Packed => {
            let (own, middle) = (8 * (3 * (i / 2) + 2 * (i % 2)), 8 * (3 * (i / 2) + 1) + 4 * (i % 2));
            (middle..middle + 4).chain(own..own + 8).collect()
        }
        _ => (16 * i..16 * i + 16).collect(),
    };
    places.into_iter().enumerate().map(|(b, place)| bit(place) << b).sum()
}

/// Its byte, by the definition.
fn byte(value: u32, depth: u32, white: Option<u32>) -> u8 {
    match white.unwrap_or((1 << depth) - 1) {
        65_535 => (f64::from(value) * 255.0 / 65_535.0).round() as u8,
        white => (256 * u64::from(value) / (u64::from(white) + 1)).min(255) as u8,
    }
}

/// Rows of values in a format, `stride` bytes apart, the rest noise.
fn written(format: PixelFormat, values: &[u16], width: usize, stride: usize) -> Vec<u8> {
    let mut data = vec![0xa5; stride * (values.len() / width)];
    for (row, values) in data.chunks_mut(stride).zip(values.chunks(width)) {
        let used = format.row_bytes(width).unwrap();
        row[..used].fill(0);
        for (i, &v) in values.iter().enumerate() {
            for b in 0..16 {
                // The place of a bit is where the reader finds it.
                let place = (0..8 * used).find(|&place| {
                    let mut one = vec![0; used];
                    one[place / 8] = 1 << (place % 8);
                    value(format, &one, i) == 1 << b
                });
                if let Some(place) = place {
                    row[place / 8] |= ((v >> b & 1) as u8) << (place % 8);
                }
            }
        }
    }
    data
}

fn shown(frame: &Frame<'_>) -> Vec<u8> {
    let mut memory = Vec::new();
    let converted = frame.convert(&mut memory).unwrap();
    (0..frame.height()).flat_map(|y| converted.row(y).to_vec()).collect()
}

const GREY: [PixelFormat; 6] = [P::Grey10, P::Grey12, P::Grey16, P::Grey10p, P::Grey12p, P::Grey12Packed];

fn unpacked(format: PixelFormat) -> PixelFormat {
    match format {
        P::Grey10p => P::Grey10,
        P::Grey12p | P::Grey12Packed => P::Grey12,
        other => other,
    }
}

proptest! {
    #[test]
    fn every_format_gives_the_bytes_of_its_definition(
        seed in proptest::collection::vec(any::<u16>(), 200),
        width in 1usize..=40,
        height in 1usize..=5,
        padding in 0usize..4,
        white in proptest::option::of(255u32..=1023),
        at in (0usize..40, 0usize..5),
    ) {
        let values = &seed[..width * height];
        let white_level = white.map(|white| WhiteLevel::new(white).unwrap());
        for format in GREY {
            let stride = format.row_bytes(width).unwrap() + padding;
            let values: Vec<u16> = values.iter().map(|v| if format == unpacked(format) { *v } else { v & ((1 << format.depth()) - 1) }).collect();
            let data = written(format, &values, width, stride);
            let mut frame = Frame::new(&data, width, height, stride, format).unwrap();
            if let Some(level) = white_level {
                frame = frame.with_white_level(level).unwrap();
            }
            let expected: Vec<u8> = values.iter().map(|v| byte(u32::from(*v), format.depth(), white)).collect();
            prop_assert_eq!(shown(&frame), &expected[..], "{:?}", format);
            // A region begins wherever it likes.
            let (x, y) = (at.0 % width, at.1 % height);
            let roi = Roi { x, y, width: width - x, height: height - y };
            let region = frame.region(roi).unwrap();
            let part: Vec<u8> = expected.chunks(width).skip(y).flat_map(|row| &row[x..]).copied().collect();
            prop_assert_eq!(shown(&region), part, "{:?}", format);
            let inner = region.region(Roi { x: (width - x) / 2, y: 0, width: 1, height: 1 }).unwrap();
            prop_assert_eq!(shown(&inner), &expected[y * width + x + (width - x) / 2..][..1]);
            // Packed or not, the picture is the same.
            let loose = written(unpacked(format), &values, width, 2 * width);
            let mut twin = Frame::packed(&loose, width, height, unpacked(format)).unwrap();
            if let Some(level) = white_level {
                twin = twin.with_white_level(level).unwrap();
            }
            prop_assert_eq!(frame.content_hash().unwrap(), twin.content_hash().unwrap());
        }
    }
}

/// Byte patterns as the manuals of cameras draw them.
#[test]
fn packed_pixels_lie_as_the_naming_convention_has_them() {
    let first = |format, data: &[u8], width| -> Vec<u32> { (0..width).map(|i| value(format, data, i)).collect() };
    for (format, data, values) in [
        // Byte 0 is bits 7 to 0 of pixel 0; byte 1 bits 5 to 0 of pixel 1, then bits 9 and 8 of pixel 0.
        (P::Grey10p, &[0xff, 0b0000_0011, 0, 0, 0][..], &[0x3ff, 0, 0, 0][..]),
        (P::Grey10p, &[0x34, 0b1000_1010, 0b0000_0010, 0, 0x80], &[0x234, 0x0a2, 0, 0x200]),
        (P::Grey12p, &[0xbc, 0xfa, 0xde], &[0xabc, 0xdef]),
        (P::Grey12Packed, &[0xab, 0xfc, 0xde], &[0xabc, 0xdef]),
    ] {
        assert_eq!(first(format, data, values.len()), values, "{format:?}");
        let frame = Frame::packed(data, values.len(), 1, format).unwrap();
        let expected: Vec<u8> = values.iter().map(|v| (v >> (format.depth() - 8)) as u8).collect();
        assert_eq!(shown(&frame), expected, "{format:?}");
    }
}

#[test]
fn rows_that_end_in_a_byte_ask_for_a_stride() {
    let data = [0x5a; 64];
    for (format, width, row) in [(P::Grey10p, 5, 7), (P::Grey12p, 7, 11), (P::Grey12Packed, 1, 2)] {
        let error = Frame::packed(&data, width, 3, format).unwrap_err().to_string();
        assert!(error.contains("middle of a byte") && error.contains(&format!("{row} bytes")), "{error}");
        let frame = Frame::new(&data, width, 3, row, format).unwrap();
        assert_eq!((frame.row(2).len(), frame.width()), (row, width));
        assert!(Frame::new(&data, width, 3, row - 1, format).is_err());
        assert!(Frame::packed(&data, width, 1, format).is_ok(), "one row has no next one");
        assert!(Frame::new(&data[..3 * row - 1], width, 3, row, format).is_err());
    }
    assert!(Frame::packed(&data, 8, 3, P::Grey10p).is_ok());
}

#[test]
fn wide_arrays_give_the_colours_of_their_eight_bit_twins() {
    let (width, height) = (11, 7);
    let bytes: Vec<u8> = (0..width * height).map(|i| (i * i * 13 + 5 * i) as u8).collect();
    for format in PixelFormat::ALL.into_iter().filter(|format| format.bayer_red().is_some()) {
        let twin =
            PixelFormat::ALL.into_iter().find(|f| f.depth() == 8 && f.bayer_red() == format.bayer_red()).unwrap();
        let expected = shown(&Frame::packed(&bytes, width, height, twin).unwrap());
        // 14 bits in 16 beside the format's own range.
        for bits in if format.depth() == 16 { vec![14, 12, 10] } else { vec![format.depth()] } {
            if format.depth() == 8 {
                continue;
            }
            let wide: Vec<u8> = bytes.iter().flat_map(|b| (u16::from(*b) << (bits - 8)).to_le_bytes()).collect();
            let mut frame = Frame::packed(&wide, width, height, format).unwrap();
            if bits < format.depth() {
                frame = frame.with_white_level(WhiteLevel::new((1 << bits) - 1).unwrap()).unwrap();
            }
            assert_eq!(shown(&frame), expected, "{format:?}, {bits} bits");
            // Pictures that are taken over are as large as they are.
            if bits == format.depth() {
                let image = Image::from_pixels(wide.clone(), width, height, format).unwrap();
                assert_eq!(image.frame().content_hash().unwrap(), frame.content_hash().unwrap());
            }
        }
    }
}

#[test]
fn a_mask_hides_the_pixels_of_every_format() {
    let values: Vec<u16> = (0..60).map(|i| 16 * i).collect();
    let mask = IgnoreMask::from_rectangles(10, 6, &[Roi { x: 3, y: 1, width: 4, height: 2 }]).unwrap();
    for format in GREY {
        let stride = format.row_bytes(10).unwrap();
        let data = written(format, &values, 10, stride);
        let frame = Frame::new(&data, 10, 6, stride, format).unwrap();
        let mut expected = shown(&frame);
        for y in 1..3 {
            expected[10 * y + 3..10 * y + 7].fill(super::PADDING);
        }
        let mut memory = Vec::new();
        let masked = mask.apply(&frame, &mut memory).unwrap();
        assert_eq!((0..6).flat_map(|y| masked.row(y).to_vec()).collect::<Vec<_>>(), expected, "{format:?}");
        assert_eq!(masked.depth_doubt(), frame.depth_doubt());
    }
    let error = IgnoreMask::from_frame(Frame::new(&[0; 64], 4, 4, 8, P::Grey12).unwrap()).unwrap_err();
    assert!(error.to_string().contains("Grey12"), "{error}");
}

#[test]
fn levels_beyond_the_format_are_refused() {
    let data = [0u8; 64];
    for (format, level, fits) in [
        (P::Grey12, 4095, true),
        (P::Grey12, 4096, false),
        (P::Grey12, 3000, true),
        (P::Grey10p, 4095, false),
        (P::BayerGb16, 16_383, true),
        (P::Grey8, 255, true),
        (P::Grey8, 1023, false),
        (P::Bgra8, 4095, false),
    ] {
        let frame = Frame::packed(&data, 4, 4, format).unwrap();
        let declared = frame.with_white_level(WhiteLevel::new(level).unwrap());
        assert_eq!(declared.is_ok(), fits, "{format:?} {level}");
        if let Err(error) = declared {
            let text = error.to_string();
            assert!(text.contains(&level.to_string()) && text.contains(&format!("{format:?}")), "{text}");
        }
    }
}

#[test]
fn a_sliver_of_sixteen_bits_is_in_doubt_and_nothing_else() {
    let doubt = |format, values: &[u16]| {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Frame::packed(&data, 2, values.len() / 2, format).unwrap().depth_doubt()
    };
    let likely = |values: &[u16]| doubt(P::Grey16, values).map(|doubt| doubt.likely().get());
    assert_eq!(likely(&[0, 4095, 17, 200]), Some(4095));
    assert_eq!(likely(&[0, 1023]), Some(1023));
    assert_eq!(likely(&[0, 255]), Some(255));
    assert_eq!([likely(&[0, 4096]), likely(&[0, 0]), likely(&[65_535, 1])], [None; 3]);
    assert_eq!(doubt(P::BayerBg16, &[800, 3000]), Some(DepthDoubt::Sliver { largest: 3000 }));
    assert_eq!(doubt(P::Grey12, &[800, 3000]), None);

    // A region of a picture that was looked at as a whole is not judged by itself.
    let values = [65_535u16, 9, 9, 9];
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let frame = Frame::packed(&data, 4, 1, P::Grey16).unwrap();
    let right = Roi { x: 1, y: 0, width: 3, height: 1 };
    assert!(frame.region(right).unwrap().depth_doubt().is_some());
    assert!(frame.settled().region(right).unwrap().depth_doubt().is_none());
    // What is said goes along with regions and conversions, and ends the doubt.
    let dark = Frame::packed(&data[2..], 3, 1, P::Grey16).unwrap();
    assert!(dark.convert(&mut Vec::new()).unwrap().depth_doubt().is_some() && dark.check_depth().is_err());
    let declared = dark.with_white_level(WhiteLevel::FULL).unwrap();
    assert!(declared.check_depth().is_ok() && declared.convert(&mut Vec::new()).unwrap().check_depth().is_ok());

    let twelve = WhiteLevel::new(4095).unwrap();
    let beside = |frame: Frame<'_>| AnyFrame::from(frame).depth_doubt_beside(Some(twelve));
    assert_eq!(beside(frame), Some(DepthDoubt::Undeclared { prompts: twelve }));
    assert_eq!(beside(frame.with_white_level(WhiteLevel::FULL).unwrap()), None);
    assert_eq!(beside(Frame::packed(&data, 4, 1, P::Grey8).unwrap()), None);
}
