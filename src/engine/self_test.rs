//! Checks that this machine computes correctly, before a production line starts, with the line's own weights and
//! device.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{Engine, Score};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Frame, PixelFormat};
use crate::methods;
use crate::view::Fit;

/// The largest residual of an image against itself with half-precision operands.
const SAME: f32 = 1e-3;

impl Engine {
    /// Scores synthetic pictures and checks what holds for every model: a picture has no residual against itself, a
    /// defect raises it, and a score has the same bits when repeated and in a batch.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where a check fails, with the numbers; otherwise as for scoring.
    pub fn self_test(&self) -> Result<()> {
        let side = self.arch().vision.image_size;
        let good: Vec<u8> = (0..side * side).map(|i| texture(i % side, i / side)).collect();
        let mut bad = good.clone();
        for row in bad.chunks_exact_mut(side).skip(side / 4).take(side / 2) {
            row[side / 4..side * 3 / 4].iter_mut().for_each(|pixel| *pixel = 255 - *pixel);
        }
        let frame = |pixels| Frame::packed(pixels, side, side, PixelFormat::Grey8);
        let (good, bad) = (frame(&good)?, frame(&bad)?);
        let method = methods::able(self.weights()).next().map_or_else(|| methods::default_for(self.weights()), Ok)?;
        let mut builder = self.bank_builder_for(method.name(), "object", Fit::Crop)?;
        builder.add(good)?;
        let bank = Arc::new(builder.finish()?);
        let mut scorer = self.batch_scorer(bank, const { NonZeroUsize::new(2).unwrap() })?;

        let first = scorer.score(good)?.clone();
        let again = scorer.score(good)?.clone();
        let defect = scorer.score(bad)?.clone();
        let batch = scorer.score_some(&[bad, good])?;
        let bits = |score: &Score| (score.score.to_bits(), score.map.largest().to_bits());
        let failed = |what: &str, a: &Score, b: &Score| {
            Error::new(
                ErrorKind::Device,
                format!(
                    "the self-test failed on {}: {what} (scores {} and {}, largest residuals {} and {}); do not use this \
                     device before it is repaired or its driver replaced",
                    self.device(),
                    a.score,
                    b.score,
                    a.map.largest(),
                    b.map.largest()
                ),
            )
        };
        if bits(&first) != bits(&again) {
            return Err(failed("the same image scored twice differs", &first, &again));
        }
        if bits(&batch[1]) != bits(&first) || bits(&batch[0]) != bits(&defect) {
            return Err(failed("an image scored in a batch differs", &batch[1], &first));
        }
        let (found_again, seen) = (first.map.largest() <= SAME, defect.map.largest() > first.map.largest());
        if !found_again {
            return Err(failed("an image differs from itself", &first, &again));
        }
        if !seen {
            return Err(failed("a defect is not seen", &defect, &first));
        }
        Ok(())
    }
}

/// A pattern with detail of several sizes.
fn texture(x: usize, y: usize) -> u8 {
    (96 + (x * 5 + y * 3) % 64 + (x / 16 * 7 + y / 16 * 13) % 48) as u8
}
