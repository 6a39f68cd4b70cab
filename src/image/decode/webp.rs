//! Checks the chunks of a WebP file before the decoder reads them: the file's length and the number of frames.

use crate::error::Result;

use super::{holds, truncated};

const HEAD: usize = 8;

/// Checks that the file has its stated length, which the decoder would report as corruption, and one frame.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    // The length does not count its own eight bytes.
    let whole = bytes.get(HEAD..).and_then(|rest| rest.get(..length(bytes)?)).ok_or_else(|| truncated("WebP"))?;
    // After the name of the format. Every chunk is padded to an even length.
    let (mut rest, mut frames) = (whole.get(4..).unwrap_or_default(), 0);
    while let Some(length) = length(rest) {
        frames += usize::from(rest.starts_with(b"ANMF"));
        rest = rest.get(length.saturating_add(HEAD + length % 2)..).unwrap_or_default();
    }
    if frames > 1 {
        return Err(holds("WebP", &format!("{frames} frames")));
    }
    Ok(())
}

/// The stated length of a chunk's data.
fn length(chunk: &[u8]) -> Option<usize> {
    let length = chunk.get(4..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}
