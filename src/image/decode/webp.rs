//! The chunks of a WebP file, before its decoder reads them: its length and its frames.

use crate::error::Result;

use super::{holds, truncated};

const HEAD: usize = 8;

/// Checks that the file is as long as it says, for which the decoder would call it corrupt, and that it has one frame.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    // The length does not count its own eight bytes.
    let whole = bytes.get(HEAD..).and_then(|rest| rest.get(..length(bytes)?)).ok_or_else(|| truncated("WebP"))?;
    // Behind the name of the format; every chunk is padded to an even length.
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

/// The length that a chunk says of its data.
fn length(chunk: &[u8]) -> Option<usize> {
    let length = chunk.get(4..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}
