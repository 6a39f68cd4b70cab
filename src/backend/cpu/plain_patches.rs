//! Patch tokens of the length that they have, normalised where asked for.

use super::Cpu;
use crate::backend::{ImageTokens, Norm};
use crate::error::Result;

impl Cpu {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn run_plain_patches(
        &mut self,
        x: &[f32],
        images: usize,
        tokens: ImageTokens,
        width: usize,
        norm: Option<&Norm<Cpu>>,
        tap: usize,
        out: &mut [f32],
    ) -> Result<()> {
        self.each_patch("plain_patches", x, images, tokens, width, norm, tap, out, |_| ())
    }
}
