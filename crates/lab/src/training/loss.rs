//! The losses of equation 5 and of the holistic score, and their derivatives.

use std::str::FromStr;

use serde::Serialize;

use inctrl::methods::inctrl::equations::sigmoid;
use inctrl::{Error, ErrorKind, Result};

/// A binary classification loss L_b on a logit x with label y, written with `b = ln(1 + e^x) - x y` (cross-entropy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Loss {
    /// `(1 - e^-b)² b`: focal loss with γ = 2 and no class weight, as published. Samples that are right already count
    /// little.
    #[default]
    Focal,
    /// `b`.
    CrossEntropy,
}

/// The input of the loss, which expects a logit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LossInput {
    /// The logit of the score, so that the loss is that of the score as a probability, as the paper defines it.
    #[default]
    Logit,
    /// The score itself, between 0 and 1, as in the published code. The loss then sees probabilities between 0.5 and
    /// 0.73, and never a normal sample.
    Sigmoid,
}

impl FromStr for Loss {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "focal" => Ok(Loss::Focal),
            "cross-entropy" => Ok(Loss::CrossEntropy),
            _ => {
                let message = format!("{text:?} is not a loss: use focal or cross-entropy");
                Err(Error::new(ErrorKind::Argument, message))
            }
        }
    }
}

impl FromStr for LossInput {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "logit" => Ok(LossInput::Logit),
            "sigmoid" => Ok(LossInput::Sigmoid),
            _ => {
                let message = format!("{text:?} is not an input of the loss: use logit or sigmoid");
                Err(Error::new(ErrorKind::Argument, message))
            }
        }
    }
}

/// The smallest distance of a score from 0 and 1 when its logit is taken. Rounding can turn a patch maximum of 0 into
/// -1e-7, and the logarithm needs a positive number.
const MARGIN: f64 = 1e-6;

impl Loss {
    /// Loss and derivative by `x`.
    pub(super) fn of_logit(self, x: f64, anomalous: bool) -> [f64; 2] {
        let y = if anomalous { 1.0 } else { 0.0 };
        // ln(1 + e^x) without overflow.
        let cross_entropy = x.max(0.0) + (-x.abs()).exp().ln_1p() - x * y;
        let slope = sigmoid(x) - y;
        match self {
            Loss::CrossEntropy => [cross_entropy, slope],
            Loss::Focal => {
                let right = (-cross_entropy).exp();
                let wrong = -(-cross_entropy).exp_m1();
                let factor = wrong * wrong;
                [factor * cross_entropy, (2.0 * wrong * right * cross_entropy + factor) * slope]
            }
        }
    }

    /// Loss of a head whose sigmoid is the score, and derivative by the head's logit.
    pub(super) fn of_head(self, input: LossInput, logit: f64, anomalous: bool) -> [f64; 2] {
        match input {
            LossInput::Logit => self.of_logit(logit, anomalous),
            LossInput::Sigmoid => {
                let score = sigmoid(logit);
                let [loss, slope] = self.of_logit(score, anomalous);
                [loss, slope * score * (1.0 - score)]
            }
        }
    }

    /// Loss of a score that is not a head's sigmoid, and derivative by the score.
    pub(super) fn of_score(self, input: LossInput, score: f64, anomalous: bool) -> [f64; 2] {
        match input {
            LossInput::Logit => {
                let score = score.clamp(MARGIN, 1.0 - MARGIN);
                let [loss, slope] = self.of_logit((score / (1.0 - score)).ln(), anomalous);
                [loss, slope / (score * (1.0 - score))]
            }
            LossInput::Sigmoid => self.of_logit(score, anomalous),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central differences with a step of 1e-5, as for the layers.
    fn differences(f: impl Fn(f64) -> f64, x: f64) -> f64 {
        (f(x + 1e-5) - f(x - 1e-5)) / 2e-5
    }

    #[test]
    fn derivatives_are_those_of_finite_differences() {
        for loss in [Loss::Focal, Loss::CrossEntropy] {
            for input in [LossInput::Logit, LossInput::Sigmoid] {
                for anomalous in [false, true] {
                    for x in [-6.0, -1.3, -0.2, 0.4, 2.5, 7.0] {
                        let [_, found] = loss.of_head(input, x, anomalous);
                        let expected = differences(|x| loss.of_head(input, x, anomalous)[0], x);
                        assert!((found - expected).abs() <= 1e-8, "{loss:?} {input:?} {anomalous} head {x}");
                    }
                    for s in [0.03, 0.3, 0.5, 0.9] {
                        let [_, found] = loss.of_score(input, s, anomalous);
                        let expected = differences(|s| loss.of_score(input, s, anomalous)[0], s);
                        // Derivatives of the logit at 0.03 reach 1e3 and higher ones more.
                        assert!((found - expected).abs() <= 1e-5, "{loss:?} {input:?} {anomalous} score {s}");
                    }
                }
            }
        }
    }

    #[test]
    fn values_are_those_of_the_definition() {
        // p = 3/4 for an anomaly: cross-entropy ln 4/3, focal (1/4)² of it.
        let x = 3f64.ln();
        let b = (4f64 / 3.0).ln();
        assert!((Loss::CrossEntropy.of_logit(x, true)[0] - b).abs() <= 1e-15);
        assert!((Loss::Focal.of_logit(x, true)[0] - b / 16.0).abs() <= 1e-15);
        assert!((Loss::CrossEntropy.of_score(LossInput::Logit, 0.75, true)[0] - b).abs() <= 1e-15);
        assert!((Loss::CrossEntropy.of_score(LossInput::Sigmoid, 0.0, false)[0] - 2f64.ln()).abs() <= 1e-15);
        // No overflow far out, and none at scores that rounding puts below 0.
        assert_eq!(Loss::CrossEntropy.of_logit(-1e4, true), [1e4, -1.0]);
        assert_eq!(Loss::Focal.of_logit(1e4, true)[0], 0.0);
        assert!(Loss::Focal.of_score(LossInput::Logit, -1e-7, true)[0].is_finite());
    }
}
