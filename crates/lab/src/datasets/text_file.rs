//! [`read_text`]: lists and tables as any program writes them.

use std::fs;
use std::path::Path;

use inctrl::{Error, ErrorKind, Result};

/// The text of a file in UTF-8. The byte order mark that some programs put before it is no part of it.
///
/// # Errors
/// [`ErrorKind::Io`] where the file cannot be read; [`ErrorKind::Argument`] for UTF-16, which is named, and for bytes that are
/// not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let mut bytes = fs::read(path).map_err(|error| Error::io("read", path, error))?;
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes[..] {
        return Err(Error::new(ErrorKind::Argument, "the text is UTF-16: save it as UTF-8").at(path));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        Error::new(ErrorKind::Argument, "the text is not UTF-8: save it as UTF-8").at(path).because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_text_and_other_encodings_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |bytes: &[u8]| {
            fs::write(file.path(), bytes).unwrap();
            read_text(file.path()).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"\xef\xbb\xbfa\r\n").as_deref(), Ok("a\r\n"));
        assert_eq!(read(b"\xef\xbb\xbf").as_deref(), Ok(""));
        assert_eq!(read(b"a\xef\xbb\xbf").as_deref(), Ok("a\u{feff}"));
        for bytes in [b"\xff\xfea\0", b"\xfe\xff\0a"] {
            assert!(read(bytes).is_err_and(|error| error.contains("UTF-16: save it as UTF-8")));
        }
        assert!(read(b"caf\xe9").is_err_and(|error| error.contains("not UTF-8")));
    }
}
