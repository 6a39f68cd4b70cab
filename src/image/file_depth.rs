//! What a picture file states about the range of its 16-bit values.

use std::io::Cursor;

use image::ImageFormat;
use image::codecs::pnm::PnmDecoder;
use tiff::decoder::Decoder;
use tiff::decoder::ifd::Value;
use tiff::tags::Tag;

use super::depth::WhiteLevel;

/// The white level of a file's decoded 16-bit values, if the file or the caller (`white`) declares one. For TIFF see
/// [`tiff_white`].
pub(super) fn declared(bytes: &[u8], format: ImageFormat, white: Option<WhiteLevel>) -> Option<WhiteLevel> {
    match format {
        // The decoder scales a smaller maxval to the full range.
        ImageFormat::Pnm if pnm_maxval(bytes).is_some_and(|maxval| maxval < 65_535) => Some(WhiteLevel::FULL),
        _ => white,
    }
}

fn pnm_maxval(bytes: &[u8]) -> Option<u32> {
    let (_, header) = PnmDecoder::new(Cursor::new(bytes)).ok()?.into_inner();
    Some(header.maximal_sample())
}

/// SMaxSampleValue or MaxSampleValue of the decoder's current page, if it is the same for all samples and the largest
/// value of 9 to 15 bits. Any other value is the largest of that one picture, which declares no range.
pub(super) fn tiff_white(decoder: &mut Decoder<Cursor<&[u8]>>) -> Option<WhiteLevel> {
    [Tag::SMaxSampleValue, Tag::MaxSampleValue].into_iter().find_map(|tag| {
        let value = decoder.find_tag(tag).ok()??;
        let levels = match value {
            Value::List(values) => values.into_iter().map(whole).collect::<Option<Vec<u32>>>()?,
            value => vec![whole(value)?],
        };
        let (&first, rest) = levels.split_first()?;
        let a_range = (first + 1).is_power_of_two() && (511..=32_767).contains(&first);
        (a_range && rest.iter().all(|level| *level == first)).then(|| WhiteLevel::new(first).ok())?
    })
}

/// A tag's number, if it is whole and small.
fn whole(value: Value) -> Option<u32> {
    let number = match value {
        Value::Float(number) => f64::from(number),
        Value::Double(number) => number,
        value => f64::from(value.into_u32().ok()?),
    };
    (number.fract() == 0.0 && (0.0..=65_535.0).contains(&number)).then_some(number as u32)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{DepthDoubt, Image};
    use super::*;

    /// A grey TIFF of 16 bits, 4 x 1, with further tags of type SHORT.
    fn tiff(values: [u16; 4], tags: &[(u16, u16)]) -> Vec<u8> {
        let mut entries =
            vec![(256u16, 4u32), (257, 1), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 8)];
        entries.extend(tags.iter().map(|(tag, value)| (*tag, u32::from(*value))));
        entries.sort_unstable();
        let mut file = b"II*\0".to_vec();
        file.extend(16u32.to_le_bytes());
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
        file.extend((entries.len() as u16).to_le_bytes());
        for (tag, value) in entries {
            file.extend(tag.to_le_bytes());
            file.extend(3u16.to_le_bytes());
            file.extend(1u32.to_le_bytes());
            file.extend(value.to_le_bytes());
        }
        file.extend([0; 4]);
        file
    }

    fn pgm(maxval: u32, values: [u16; 4]) -> Vec<u8> {
        let mut file = Vec::new();
        writeln!(file, "P5 4 1 {maxval}").unwrap();
        values.iter().for_each(|value| file.extend(value.to_be_bytes()));
        file
    }

    fn shown(file: &[u8], white: Option<u32>) -> (Vec<u8>, Option<DepthDoubt>) {
        let image = Image::decode_with(file, white.map(|white| WhiteLevel::new(white).unwrap())).unwrap();
        (image.frame().row(0).to_vec(), image.frame().depth_doubt())
    }

    #[test]
    fn a_file_that_says_its_range_is_believed() {
        let values = [0, 1000, 2048, 4095];
        let right = (vec![0, 62, 128, 255], None);
        let doubt = Some(DepthDoubt::Sliver { largest: 4095 });
        assert_eq!(shown(&tiff(values, &[]), None), (vec![0, 4, 8, 16], doubt));
        assert_eq!(shown(&tiff(values, &[]), Some(4095)), right);
        assert_eq!(shown(&tiff(values, &[(281, 4095)]), None), right);
        assert_eq!(shown(&tiff(values, &[(341, 4095)]), None), right);
        // The caller knows better.
        assert_eq!(shown(&tiff(values, &[(281, 4095)]), Some(8191)), (vec![0, 31, 64, 127], None));
        // The largest value of one picture declares nothing, and all of 16 bits is no news.
        assert_eq!(shown(&tiff([0, 1000, 2048, 3127], &[(281, 3127)]), None).0, [0, 4, 8, 12]);
        assert_eq!(shown(&tiff(values, &[(281, 65_535)]), None), (vec![0, 4, 8, 16], doubt));
        // The decoder scales to 16 bits: within one step.
        assert_eq!(shown(&pgm(4095, values), None), right);
        assert_eq!(shown(&pgm(4095, values), Some(4095)), right);
        assert_eq!(shown(&pgm(65_535, values), None).1, doubt);
        assert_eq!(shown(&pgm(65_535, values), Some(4095)), right);
        // 14 bits are not in doubt by themselves, but can be declared.
        let fourteen = [0, 4000, 8192, 16_383];
        assert_eq!(shown(&tiff(fourteen, &[]), None), (vec![0, 16, 32, 64], None));
        assert_eq!(shown(&tiff(fourteen, &[]), Some(16_383)), (vec![0, 62, 128, 255], None));
    }

    #[test]
    fn pictures_of_eight_bits_are_what_they_are() {
        let file = b"P5 4 1 255\n\x00\x10\x80\xff";
        assert_eq!(shown(file, Some(4095)), (vec![0, 16, 128, 255], None));
    }

    #[test]
    fn the_alpha_of_a_picture_says_nothing_of_its_range() {
        let mut file = b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 2\nMAXVAL 65535\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n".to_vec();
        file.extend([0x0f, 0xff, 0xff, 0xff]);
        assert_eq!(shown(&file, None), (vec![16], Some(DepthDoubt::Sliver { largest: 4095 })));
    }
}
