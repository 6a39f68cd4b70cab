//! Comparison of a result with its formula.

use inctrl::tensor::DType;
use inctrl::{Error, ErrorKind, Result};

/// The agreement of a result with its formula.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Agreement {
    /// Number of compared elements.
    pub compared: usize,
    /// The largest error, as a share of its tolerance: at most 1.
    pub worst_share_of_tolerance: f64,
    /// The largest error.
    pub largest_error: f64,
}

/// Collects the errors of one result.
pub struct Comparison {
    operation: &'static str,
    agreement: Agreement,
    wrong: Option<String>,
}

impl Comparison {
    pub(super) fn new(operation: &'static str) -> Self {
        let agreement = Agreement { compared: 0, worst_share_of_tolerance: 0.0, largest_error: 0.0 };
        Comparison { operation, agreement, wrong: None }
    }

    /// Compares element `place` with the formula; NaN never agrees.
    pub fn compare(&mut self, place: usize, found: f32, expected: f64, tolerance: f64) {
        let error = (f64::from(found) - expected).abs();
        self.agreement.compared += 1;
        let agrees = error <= tolerance;
        if !agrees {
            let message = || format!("element {place} is {found:e}, its formula gives {expected:e} +- {tolerance:e}");
            self.wrong.get_or_insert_with(message);
            return;
        }
        self.agreement.largest_error = self.agreement.largest_error.max(error);
        if tolerance > 0.0 {
            let share = error / tolerance;
            self.agreement.worst_share_of_tolerance = self.agreement.worst_share_of_tolerance.max(share);
        }
    }

    /// Reports an element that is not finite.
    pub(super) fn all_finite(&mut self, values: &[f32]) {
        if let Some(place) = values.iter().position(|x| !x.is_finite()) {
            self.wrong.get_or_insert_with(|| format!("element {place} is {}", values[place]));
        }
    }

    /// The agreement, or an error about the first wrong element.
    pub(super) fn finish(self) -> Result<Agreement> {
        match self.wrong {
            None => Ok(self.agreement),
            Some(wrong) => Err(Error::new(
                ErrorKind::Internal,
                format!("{}: {wrong}: the result on this device is wrong, so it is not timed", self.operation),
            )),
        }
    }
}

/// Half the distance between 1 and the next number: the largest relative error of storing in `dtype`.
pub(super) fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 2f64.powi(-24),
        DType::F16 => 2f64.powi(-11),
        DType::Bf16 => 2f64.powi(-8),
    }
}

/// A bound for the error of a sum of `terms` products in f32 whose magnitudes sum to `magnitude`: it grows with the
/// root of their number (Higham and Mary 2019, section 3, with a constant of 4, beyond which one sum in a thousand
/// lies).
pub(super) fn sum_error(terms: usize, magnitude: f64) -> f64 {
    4.0 * (terms as f64).sqrt() * rounding(DType::F32) * magnitude
}

/// At most `most` places out of `len`, the first and the last among them, evenly spread.
pub(super) fn places(len: usize, most: usize) -> Vec<usize> {
    if len <= most.max(2) {
        return (0..len).collect();
    }
    (0..most).map(|i| i * (len - 1) / (most - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_hold_both_ends_once() {
        for (len, most) in [(1, 5), (5, 5), (6, 5), (1000, 64), (2, 2)] {
            let found = places(len, most);
            assert_eq!((found[0], *found.last().unwrap()), (0, len - 1), "{len} {most}");
            assert!(found.is_sorted_by(|a, b| a < b) && found.len() <= most.max(2));
        }
    }

    #[test]
    fn nan_never_agrees() {
        let mut comparison = Comparison::new("sum");
        comparison.compare(3, f32::NAN, 1.0, f64::INFINITY);
        let error = comparison.finish().unwrap_err().to_string();
        assert!(error.contains("element 3 is NaN"), "{error}");
        let mut comparison = Comparison::new("sum");
        comparison.compare(0, 1.5, 1.0, 1.0);
        assert_eq!(comparison.finish().unwrap().worst_share_of_tolerance, 0.5);
    }
}
