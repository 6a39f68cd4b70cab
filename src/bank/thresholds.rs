//! Where scores become decisions: kept in the bank, since scores of different banks do not compare.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The limits that a bank's scores are judged by. A value that reaches a limit is past it.
///
/// They come from scores of known good parts, or of good and bad ones; a bank without them gives scores and no decision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// [`crate::Score::score`] from which a person should look, at most `reject`.
    pub review: f32,
    /// [`crate::Score::score`] from which the part is rejected.
    pub reject: f32,
    /// Residual from which a cell of the map counts as defective.
    pub cell: f32,
}

impl Thresholds {
    /// # Errors
    /// [`ErrorKind::Argument`] for a limit that is not a finite number, or a `review` above `reject`.
    pub fn check(&self) -> Result<()> {
        let Thresholds { review, reject, cell } = *self;
        for (name, limit) in [("review", review), ("reject", reject), ("cell", cell)] {
            if !limit.is_finite() {
                return Err(Error::new(
                    ErrorKind::Argument,
                    format!("the threshold `{name}` is {limit}: it must be a finite number"),
                ));
            }
        }
        if review > reject {
            return Err(Error::new(
                ErrorKind::Argument,
                format!(
                    "the threshold `review` is {review}, above `reject` {reject}: scores from `review` up to `reject` \
                     are the doubtful ones; exchange the two, or make them equal to have none"
                ),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_finite_and_in_order() {
        let good = Thresholds { review: 0.4, reject: 0.6, cell: 0.2 };
        good.check().unwrap();
        Thresholds { review: 0.6, ..good }.check().unwrap();
        for (bad, name) in [
            (Thresholds { review: 0.7, ..good }, "`review` is 0.7"),
            (Thresholds { review: f32::NAN, ..good }, "`review`"),
            (Thresholds { reject: f32::INFINITY, ..good }, "`reject`"),
            (Thresholds { cell: f32::NEG_INFINITY, ..good }, "`cell`"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(error.kind() == ErrorKind::Argument && error.to_string().contains(name), "{error}");
        }
    }
}
