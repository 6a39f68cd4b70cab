//! The limits at which scores become decisions. They are kept in the bank, since scores of different banks are not
//! comparable.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::methods::Output;

/// The limits for a bank's scores. A value equal to a limit counts as past it.
///
/// They come from scores of known good parts, or of good and bad parts. A bank without limits gives scores but no
/// decisions. Each limit lies in the range of its output ([`crate::PromptBank::outputs`]): a limit beyond the range
/// would never reject anything.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// [`crate::Score::score`] from which a part is sent to manual review, at most `reject`.
    pub review: f32,
    /// [`crate::Score::score`] from which the part is rejected.
    pub reject: f32,
    /// Residual from which a cell of the map counts as defective.
    pub cell: f32,
}

impl Thresholds {
    /// Checks each limit against the range of its output: `review` and `reject` against the score, `cell` against the
    /// map's cells.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a limit that is not a number or lies outside the range of its output, and for a
    /// `review` above `reject`.
    pub fn check(&self, score: &Output, cells: &Output) -> Result<()> {
        let Thresholds { review, reject, cell } = *self;
        let fail = |message| Err(Error::new(ErrorKind::Argument, message));
        for (name, limit, limited) in [("review", review, score), ("reject", reject, score), ("cell", cell, cells)] {
            let Output { name: limited, low, high } = *limited;
            // In this order a NaN is refused.
            if !(low <= limit && limit <= high) {
                return fail(format!(
                    "the threshold `{name}` is {limit}: it must lie from {low} to {high}, as every `{limited}` of \
                    the bank does; give a share, not percent"
                ));
            }
        }
        if review > reject {
            return fail(format!(
                "the threshold `review` is {review}, above `reject` {reject}: scores from `review` up to `reject` \
                are doubtful; swap the two limits, or make them equal for no reviews"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_lie_in_the_range_of_their_output_and_in_order() {
        let good = Thresholds { review: 0.4, reject: 0.6, cell: 0.2 };
        let score = Output { name: "score", low: 0.0, high: 1.0 };
        let check = |limits: Thresholds| limits.check(&score, &Output { name: "map", ..score });
        for good in [
            good,
            Thresholds { review: 0.6, ..good },
            Thresholds { review: 0.0, reject: 0.0, cell: 0.0 },
            Thresholds { review: 1.0, reject: 1.0, cell: 1.0 },
        ] {
            check(good).unwrap();
        }
        for (bad, words) in [
            (Thresholds { review: 0.7, ..good }, "`review` is 0.7, above"),
            (Thresholds { review: f32::NAN, ..good }, "`review` is NaN"),
            (Thresholds { review: -0.001, ..good }, "`review` is -0.001: it must lie from 0 to 1"),
            (Thresholds { reject: f32::INFINITY, ..good }, "`reject` is inf"),
            (Thresholds { reject: 1.0f32.next_up(), ..good }, "`reject` is 1.0000001"),
            (Thresholds { cell: f32::NEG_INFINITY, ..good }, "`cell` is -inf"),
            (Thresholds { cell: f32::NAN, ..good }, "`cell` is NaN"),
            (Thresholds { cell: 20.0, ..good }, "as every `map`"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.kind() == ErrorKind::Argument && error.to_string().contains(words), "{error}");
        }
    }
}
