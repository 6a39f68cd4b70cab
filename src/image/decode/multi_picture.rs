//! The index of a JPEG file with several pictures (CIPA DC-007, "MPO"): views of a stereo camera and parts of a panorama
//! lie one behind another. Thumbnails and gain maps, which phones append, are no pictures of their own.

/// What the segment APP2 with the index begins with.
const MAGIC: &[u8] = b"MPF\0";
const ENTRIES: u16 = 0xb002;
/// Bytes of an entry; the first four are its attributes.
const ENTRY: usize = 16;

/// How many pictures of equal rank, such as the views of a stereo camera, the index in an APP2 segment lists. `None` if
/// the segment holds no index, or one that is damaged, as the picture before the others is whole all the same.
pub(super) fn frames(segment: &[u8]) -> Option<usize> {
    let index = segment.strip_prefix(MAGIC)?;
    let little = index.starts_with(b"II");
    let short = |at: usize| {
        let bytes = *index.get(at..)?.first_chunk()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = *index.get(at..)?.first_chunk()?;
        let number = if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        usize::try_from(number).ok()
    };
    let directory = long(4)?;
    let fields = (0..usize::from(short(directory)?)).map(|field| directory.checked_add(2 + 12 * field));
    let field = fields.into_iter().flatten().find(|&at| short(at) == Some(ENTRIES))?;
    let (length, from) = (long(field.checked_add(4)?)?, long(field.checked_add(8)?)?);
    let entries = 0..length / ENTRY;
    // The type of a picture in the lower 24 bits: 0x02.... are panoramas, stereo and other views.
    let is_frame = |entry: usize| Some(long(from.checked_add(ENTRY * entry)?)? >> 16 & 0xff == 2);
    Some(entries.map_while(is_frame).filter(|frame| *frame).count())
}

#[cfg(test)]
mod tests {
    use super::super::Image;
    use super::*;
    use crate::view::tests::fixture_bytes;

    /// An index of pictures of these types.
    fn index(little: bool, types: &[u32]) -> Vec<u8> {
        let long = |number: u32| if little { number.to_le_bytes() } else { number.to_be_bytes() };
        let short = |number: u16| if little { number.to_le_bytes() } else { number.to_be_bytes() };
        let mut index = MAGIC.to_vec();
        index.extend(if little { b"II*\0" } else { b"MM\0*" });
        index.extend(long(8));
        index.extend(short(1));
        index.extend([&short(ENTRIES)[..], &short(7), &long(16 * types.len() as u32), &long(26)].concat());
        index.extend(long(0));
        for kind in types {
            // The upper bits are flags.
            index.extend(long(0xa000_0000 | kind));
            index.extend([0; 12]);
        }
        index
    }

    #[test]
    fn views_are_counted_and_thumbnails_are_not() {
        for little in [true, false] {
            assert_eq!(frames(&index(little, &[0x02_0002, 0x02_0002])), Some(2));
            assert_eq!(frames(&index(little, &[0x03_0000, 0x02_0001, 0x02_0003])), Some(2));
            assert_eq!(frames(&index(little, &[0x03_0000, 0x01_0001, 0])), Some(0));
            let whole = index(little, &[0x02_0002; 3]);
            // Of an entry only the first four bytes are read.
            for part in 0..whole.len() - 12 {
                assert!(frames(&whole[..part]).is_none_or(|found| found < 3), "{part}");
            }
            // A length and a place beyond the segment.
            let mut damaged = whole.clone();
            damaged[18..26].fill(0xff);
            assert!(frames(&damaged).is_none_or(|found| found == 0));
        }
        assert_eq!(frames(b"ICC_PROFILE\0"), None);
    }

    #[test]
    fn a_file_of_two_views_is_refused_and_one_with_a_thumbnail_is_read() {
        let with = |types: &[u32]| {
            let (file, index) = (fixture_bytes("rgb.jpg"), index(true, types));
            let length = (index.len() as u16 + 2).to_be_bytes();
            [&file[..2], &[0xff, 0xe2], &length, &index, &file[2..]].concat()
        };
        let error = Image::decode(&with(&[0x02_0002, 0x02_0002])).unwrap_err();
        assert!(error.to_string().contains("the JPEG data holds 2 views or frames"), "{error}");
        if cfg!(feature = "libjpeg") {
            Image::decode(&with(&[0x03_0000, 0x01_0001])).unwrap();
        }
    }
}
