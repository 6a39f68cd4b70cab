//! Against Pillow's pixels, with the other files of the table; scripts/fixtures/pictures.py makes them.

use safetensors::SafeTensors;

use super::super::{Image, WhiteLevel};

fn table() -> Vec<u8> {
    std::fs::read([env!("CARGO_MANIFEST_DIR"), "tests/fixtures/pictures.safetensors"].join("/")).unwrap()
}

fn pixels(image: &Image) -> Vec<u8> {
    (0..image.height()).flat_map(|y| image.frame().row(y)).copied().collect()
}

#[test]
fn pixels_are_those_of_pillow() {
    let bytes = table();
    let table = SafeTensors::deserialize(&bytes).unwrap();
    let (mut seen, mut wrong) = (0, Vec::new());
    for (key, expected) in table.tensors() {
        let Some(name) = key.strip_prefix("pixels/") else { continue };
        seen += 1;
        let file = table.tensor(&format!("file/{name}")).unwrap();
        match Image::decode(file.data()) {
            Ok(image) => {
                let shape = [image.height(), image.width(), image.frame().format().channels()];
                if shape != expected.shape() || pixels(&image) != expected.data() {
                    wrong.push(format!("{name}: {shape:?} for {:?}", expected.shape()));
                }
            }
            Err(error) => wrong.push(format!("{name}: {error:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {seen}: {wrong:#?}", wrong.len());
    assert!(seen >= 90, "{seen}");
}

/// The first part of a file's name is what the message must say.
#[test]
fn other_files_are_refused_by_name() {
    let bytes = table();
    let table = SafeTensors::deserialize(&bytes).unwrap();
    let (mut seen, mut wrong) = (0, Vec::new());
    for (key, file) in table.tensors() {
        let Some((expected, _)) = key.strip_prefix("refused/").and_then(|name| name.split_once('/')) else { continue };
        seen += 1;
        match Image::decode(file.data()) {
            Err(error) if error.to_string().contains(expected) && !error.to_string().contains("damaged") => {}
            other => wrong.push(format!("{key}: {:?}", other.map_err(|error| error.to_string()))),
        }
    }
    assert!(wrong.is_empty(), "{} of {seen}: {wrong:#?}", wrong.len());
    assert!(seen >= 45, "{seen}");
}

fn file(table: &SafeTensors, name: &str) -> Vec<u8> {
    table.tensor(&format!("file/{name}")).unwrap().data().to_vec()
}

/// Every prefix of files whose directory comes before their data, and behind.
#[test]
fn what_ends_early_is_truncated() {
    let bytes = table();
    let table = SafeTensors::deserialize(&bytes).unwrap();
    for name in ["tiff/little/strips", "bigtiff/big/rgb", "tiff/big/tiles", "cmyk_lzw", "thumbnail_first"] {
        let whole = file(&table, name);
        let expected = Image::decode(&whole).unwrap();
        for length in 5..whole.len() {
            match Image::decode(&whole[..length]) {
                // Padding, or the last offset, which is 0.
                Ok(image) => {
                    assert!(whole.len() - length <= 8 && pixels(&image) == pixels(&expected), "{name}, {length}")
                }
                Err(error) => {
                    assert!(error.to_string().contains("TIFF data is truncated"), "{name}, {length}: {error}");
                }
            }
        }
    }
}

#[test]
fn pages_in_a_circle_are_damage() {
    let bytes = table();
    let table = SafeTensors::deserialize(&bytes).unwrap();
    let mut whole = file(&table, "tiff/little/rgb");
    let first = whole[4..8].to_vec();
    let at = u32::from_le_bytes(first.as_slice().try_into().unwrap()) as usize;
    let entries = usize::from(u16::from_le_bytes([whole[at], whole[at + 1]]));
    whole[at + 2 + 12 * entries..][..4].copy_from_slice(&first);
    assert!(Image::decode(&whole).unwrap_err().to_string().contains("the TIFF data is damaged"));
}

/// The decoder behind would take memory for whole rows of tiles, whatever its limits are.
#[test]
fn rows_of_tiles_are_no_longer_than_pictures() {
    let bytes = table();
    let table = SafeTensors::deserialize(&bytes).unwrap();
    let changed = |name: &str, tag: u16, value: u32| {
        let mut whole = file(&table, name);
        let at = u32::from_le_bytes(whole[4..8].try_into().unwrap()) as usize + 2;
        let entry = (0..).map(|i| at + 12 * i).find(|&entry| whole[entry..entry + 2] == tag.to_le_bytes()).unwrap();
        whole[entry + 2..entry + 8].copy_from_slice(&[4, 0, 1, 0, 0, 0]);
        whole[entry + 8..entry + 12].copy_from_slice(&value.to_le_bytes());
        Image::decode(&whole).unwrap_err().to_string()
    };
    let wide = changed("tiff/little/tiles", 322, 1 << 30);
    assert!(wide.contains("the TIFF data is damaged"), "{wide}");
    let many = changed("tiff/little/rgb", 277, 60_000);
    assert!(many.contains("TIFF of 60000 samples per pixel, more than 64"), "{many}");
}

/// The decoder behind would print a line.
#[test]
fn a_text_longer_than_the_file_is_truncated() {
    let bytes = table();
    let table = SafeTensors::deserialize(&bytes).unwrap();
    for (name, width) in [("tiff/little/rgb", 4), ("bigtiff/little/rgb", 8)] {
        let mut whole = file(&table, name);
        let number =
            |at: usize| whole[at..at + width].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte));
        let (at, entry) = if width == 4 { (number(4) + 2, 12) } else { (number(8) + 8, 20) };
        // The third entry, behind width and height: the decoder reads the bits of a sample, whatever their type.
        let third = at + 2 * entry;
        assert_eq!(whole[third..third + 2], 258u16.to_le_bytes());
        whole[third + 2..third + 4].copy_from_slice(&2u16.to_le_bytes());
        whole[third + 4..third + 8].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        let text = Image::decode(&whole).unwrap_err().to_string();
        assert!(text.contains("TIFF data is truncated"), "{name}: {text}");
    }
}

/// The white level that a file says is that of its full page, wherever it stands.
#[test]
fn the_white_level_is_that_of_the_page() {
    let bytes = table();
    let table = SafeTensors::deserialize(&bytes).unwrap();
    let whole = file(&table, "white_behind_thumbnail");
    let said = Image::decode(&whole).unwrap();
    let given = Image::decode_with(&whole, Some(WhiteLevel::new(4095).unwrap())).unwrap();
    assert!(said.frame().depth_doubt().is_none());
    assert_eq!(pixels(&said), pixels(&given));
}

#[test]
fn sizes_are_checked_before_anything_is_taken() {
    let bytes = table();
    let table = SafeTensors::deserialize(&bytes).unwrap();
    let mut whole = file(&table, "tiff/little/rgb");
    let at = u32::from_le_bytes(whole[4..8].try_into().unwrap()) as usize;
    for entry in 0..2 {
        // Width and height come first.
        whole[at + 2 + 12 * entry + 2..][..10].copy_from_slice(&[4, 0, 1, 0, 0, 0, 0xff, 0xff, 0, 0]);
    }
    let text = Image::decode(&whole).unwrap_err().to_string();
    assert!(text.contains("65535 x 65535 pixels: at most"), "{text}");
}
