//! The call into `jpeg.c`, which wraps libjpeg.

use std::ffi::{CStr, c_char, c_int, c_uint};

// Linked for jpeg.c; none of its functions is called from Rust.
use mozjpeg_sys as _;

/// `JMSG_LENGTH_MAX`, as in jpeg.c.
const MESSAGE: usize = 200;

/// Why decoding failed. The numbers are those of jpeg.c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Truncated,
    Damaged,
    Unsupported,
    Memory,
    /// Hundreds of scans.
    Scans,
    /// A different size or number of channels than requested.
    Header,
}

// SAFETY: the declaration is that of jpeg.c, with C's types.
#[allow(unsafe_code, reason = "libjpeg is C")]
unsafe extern "C" {
    fn inctrl_jpeg_decode(
        bytes: *const u8,
        length: usize,
        pixels: *mut u8,
        width: c_uint,
        height: c_uint,
        channels: c_int,
        memory: usize,
        message: *mut c_char,
    ) -> c_int;
}

/// Decodes to packed pixels of `channels` bytes: 1 grey, 3 RGB, 4 CMYK as the file stores it. libjpeg takes at most
/// `memory` bytes in addition. A failure comes with libjpeg's message, which may be empty.
pub(super) fn decode(
    bytes: &[u8],
    pixels: &mut [u8],
    (width, height): (u32, u32),
    channels: usize,
    memory: usize,
) -> Result<(), (Failure, String)> {
    let expected = (width as usize).checked_mul(height as usize).and_then(|area| area.checked_mul(channels));
    let (true, 1 | 3 | 4) = (expected == Some(pixels.len()), channels) else {
        return Err((Failure::Header, String::new()));
    };
    let mut message = [0; MESSAGE];
    // SAFETY: `bytes` and `pixels` are valid for the length given and `height * width * channels` bytes, as checked;
    // `message` has the 200 bytes that jpeg.c writes at most. None is kept. It returns by `return` alone and calls
    // nothing of ours.
    #[allow(unsafe_code, reason = "libjpeg is C")]
    let outcome = unsafe {
        inctrl_jpeg_decode(
            bytes.as_ptr(),
            bytes.len(),
            pixels.as_mut_ptr(),
            width,
            height,
            channels as c_int,
            memory,
            message.as_mut_ptr(),
        )
    };
    let failure = match outcome {
        0 => return Ok(()),
        1 => Failure::Truncated,
        3 => Failure::Unsupported,
        4 => Failure::Memory,
        5 => Failure::Scans,
        6 => Failure::Header,
        _ => Failure::Damaged,
    };
    let text = message.map(|byte| byte as u8);
    let text = CStr::from_bytes_until_nul(&text).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    Err((failure, text))
}
