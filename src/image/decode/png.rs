//! Checks the chunks of a PNG file before the decoder reads them: the number of frames, and a missing end.

use crate::error::Result;

use super::{check_size, holds, not_supported};

const SIGNATURE: usize = 8;
/// Length and name come before the data, the checksum after it.
const HEAD: usize = 8;
const CHECKSUM: usize = 4;
/// The last chunk.
const END: [u8; 12] = *b"\0\0\0\0IEND\xaeB`\x82";

/// Checks the size, for which the decoder needs the first data chunk, and that there is one frame. If a file has all
/// data chunks but ends before the last chunk, returns it with that chunk added, as Pillow reads it. If more is
/// missing, the decoder reports it.
pub(super) fn checked(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    if bytes.get(12..16) == Some(b"CgBI") {
        return Err(not_supported("PNG in Apple's form for its phones (CgBI)"));
    }
    if let Some(size) = bytes.get(16..24) {
        check_size((number(size), number(&size[4..])))?;
    }
    // An animation states its number of frames. The picture itself may not be one of them.
    let (mut frames, mut first, mut data, mut ended) = (0, false, false, false);
    let mut at = SIGNATURE;
    while let (false, Some((name, content))) = (ended, chunk(bytes, at)) {
        match name {
            b"acTL" if !data => frames = u64::from(number(content)),
            b"fcTL" if !data => first = true,
            b"IDAT" => data = true,
            b"IEND" => ended = true,
            _ => {}
        }
        at += HEAD + content.len() + CHECKSUM;
    }
    if frames > 0 && !first {
        frames += 1;
    }
    if frames > 1 {
        return Err(holds("PNG", &format!("{frames} frames")));
    }
    Ok((!ended).then(|| completed(bytes, at)))
}

/// The file with its last chunk added, where the chunk at `at` is the first incomplete one.
fn completed(bytes: &[u8], at: usize) -> Vec<u8> {
    let at = at.min(bytes.len());
    let mut whole = bytes[..at].to_vec();
    if let Some(head) = bytes.get(at..at + HEAD).filter(|head| head.ends_with(b"IDAT")) {
        let end = (at + HEAD).saturating_add(number(head) as usize);
        match bytes.get(at..end) {
            // Only the checksum is missing or cut.
            Some(chunk) => {
                whole.extend(chunk);
                whole.extend(checksum(&chunk[4..]).to_be_bytes());
            }
            None => whole.extend(&bytes[at..]),
        }
    }
    whole.extend(END);
    whole
}

/// Name and data of a chunk that is complete, including its checksum.
fn chunk(bytes: &[u8], at: usize) -> Option<(&[u8; 4], &[u8])> {
    let (head, rest) = bytes.get(at..)?.split_at_checked(HEAD)?;
    let length = number(head) as usize;
    rest.get(..length.checked_add(CHECKSUM)?)?;
    Some((head.last_chunk()?, &rest[..length]))
}

/// The first number, or 0 if there is none.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |number| u32::from_be_bytes(*number))
}

/// CRC-32 of a chunk's name and data.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1))))
}

#[cfg(test)]
mod tests {
    use super::super::Image;
    use super::*;
    use crate::view::tests::fixture_bytes;

    /// Pillow reads a file that ends anywhere behind its image data.
    #[test]
    fn a_file_without_its_last_chunk_is_read_where_its_data_is_complete() {
        for name in ["rgb.png", "grey16.png", "palette.png", "bits.png"] {
            let whole = fixture_bytes(name);
            let pixels = |bytes: &[u8]| {
                let image = Image::decode(bytes)?;
                Ok::<_, crate::Error>(
                    (0..image.height()).flat_map(|y| image.frame().row(y).to_vec()).collect::<Vec<_>>(),
                )
            };
            let expected = pixels(&whole).unwrap();
            let text = [&17u32.to_be_bytes()[..], b"tEXt", b"half of a comment"].concat();
            for missing in 1..whole.len() - 40 {
                let part = &whole[..whole.len() - missing];
                // The last chunk and the checksum before it.
                if missing <= END.len() + CHECKSUM {
                    assert_eq!(pixels(part).map_err(|e| format!("{name}, {missing}: {e:?}")).unwrap(), expected);
                } else {
                    let text = pixels(part).unwrap_err().to_string();
                    assert!(text.contains("truncated"), "{name}, {missing}: {text}");
                }
            }
            for cut in 1..text.len() {
                let part = [&whole[..whole.len() - END.len()], &text[..cut]].concat();
                assert_eq!(pixels(&part).unwrap(), expected, "{name}, {cut}");
            }
            // A checksum that is there must be right.
            let mut wrong = whole.clone();
            wrong[whole.len() - END.len() - 1] ^= 1;
            assert!(pixels(&wrong).unwrap_err().to_string().contains("damaged"));
        }
    }
}
