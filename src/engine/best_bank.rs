//! Which of several banks an image fits best.

use super::Score;

/// The bank that an image fits best: the one against which its score is smallest. If each bank is a product, this is the
/// product that the image shows.
///
/// Scores of different banks are comparable only if all the banks have limits: they are then compared as
/// [`Score::scaled`], on which 0.5 is each bank's own limit. Otherwise the scores themselves are compared, which is
/// less reliable.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BestBank {
    /// Its place among the scores; the first, if several have the smallest value.
    pub place: usize,
    /// The smallest value.
    pub value: f32,
    /// By how much the second smallest value is larger, 0 or more: a small margin is a doubtful answer. `None` with one
    /// bank.
    pub margin: Option<f32>,
    /// Whether the values are [`Score::scaled`].
    pub scaled: bool,
}

impl BestBank {
    /// The best of an image's scores against several banks; `None` without scores.
    pub fn among(scores: &[Score]) -> Option<Self> {
        let scaled = scores.iter().all(|score| score.scaled.is_some());
        Self::of(scores.iter().map(|score| score.scaled.filter(|_| scaled).unwrap_or(score.score)), scaled)
    }

    fn of(values: impl Iterator<Item = f32>, scaled: bool) -> Option<Self> {
        let mut best: Option<BestBank> = None;
        for (place, value) in values.enumerate() {
            let next = |margin| BestBank { place, value, margin, scaled };
            best = Some(match best {
                None => next(None),
                Some(old) if value < old.value => next(Some(old.value - value)),
                Some(old) => {
                    let margin = old.margin.map_or(value - old.value, |margin| margin.min(value - old.value));
                    BestBank { margin: Some(margin), ..old }
                }
            });
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_is_best_and_the_margin_is_to_the_second() {
        let of = |values: &[f32]| BestBank::of(values.iter().copied(), true).map(|best| (best.place, best.margin));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[0.5]), Some((0, None)));
        for order in [[0.25, 0.5, 1.0], [0.5, 1.0, 0.25], [1.0, 0.25, 0.5], [0.5, 0.25, 1.0]] {
            let place = order.iter().position(|value| *value == 0.25).unwrap();
            assert_eq!(of(&order), Some((place, Some(0.25))), "{order:?}");
        }
        assert_eq!(of(&[0.5, 0.25, 0.25]), Some((1, Some(0.0))));
    }
}
