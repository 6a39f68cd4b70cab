//! How to train.

use super::{Loss, LossInput};
use crate::datasets::Dataset;
use inctrl::view::Fit;
use inctrl::{Error, ErrorKind, Result};

/// Training options. The defaults are the published ones, except for [`LossInput`].
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Prompts of each sample, K.
    pub shots: usize,
    /// Epochs.
    pub epochs: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Samples of a step, half of them anomalous; an even number of at least 4.
    pub batch: usize,
    /// Learning rate of AdamW.
    pub rate: f64,
    /// Whether the learning rate falls linearly to 0 at the end of the last epoch. The published training keeps it
    /// constant.
    pub rate_decay: bool,
    /// Another seed gives other initial weights and other draws.
    pub seed: u64,
    /// L_b of equation 5.
    pub loss: Loss,
    /// The input of the loss.
    pub loss_input: LossInput,
    /// α in L_h, the loss of the final score. `None` means the model's α, as published. With 0 the loss is that of φ
    /// alone: beside a dominant patch maximum, φ has little left to learn and saturates.
    pub loss_alpha: Option<f64>,
    /// Whether each sample's residual map is mirrored and rotated at random, in eight forms, before φ sees it. The
    /// published training does not do this, so its φ learns where defects lie in its own data set.
    pub mirror: bool,
    /// How images are fitted to the model.
    pub fit: Fit,
    /// The classes; all where empty.
    pub classes: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            shots: 4,
            epochs: 10,
            steps: 100,
            batch: 16,
            rate: 1e-3,
            rate_decay: false,
            seed: 0,
            loss: Loss::default(),
            loss_input: LossInput::default(),
            loss_alpha: None,
            mirror: false,
            fit: Fit::default(),
            classes: Vec::new(),
        }
    }
}

impl Options {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`], naming the first number out of range.
    pub fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::new(ErrorKind::Argument, message));
        if self.shots == 0 || self.epochs == 0 || self.steps == 0 {
            return fail("the numbers of shots, epochs and steps must be at least 1".to_owned());
        }
        if self.batch < 4 || !self.batch.is_multiple_of(2) {
            return fail(format!(
                "a batch of {}: expected an even number of at least 4, half of them anomalous",
                self.batch
            ));
        }
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return fail(format!("a learning rate of {}: expected a number above 0", self.rate));
        }
        if let Some(alpha) = self.loss_alpha
            && !(alpha.is_finite() && alpha >= 0.0)
        {
            return fail(format!("an alpha of {alpha} in the loss: expected a number that is not negative"));
        }
        Ok(())
    }

    /// The learning rate of a step, counted from 0 over all epochs.
    pub(super) fn rate_at(&self, step: usize) -> f64 {
        let all = (self.epochs * self.steps) as f64;
        if self.rate_decay { self.rate * (1.0 - step as f64 / all) } else { self.rate }
    }

    /// The classes of a data set to train on.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an unknown class.
    pub fn classes<'a>(&self, dataset: &'a Dataset) -> Result<Vec<&'a str>> {
        let all = dataset.classes();
        if let Some(unknown) = self.classes.iter().find(|class| !all.contains(&class.as_str())) {
            let message = format!("the data set has no class `{unknown}`; it has {}", all.join(", "));
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let wanted = |class: &&str| self.classes.is_empty() || self.classes.iter().any(|wanted| wanted == class);
        Ok(all.into_iter().filter(wanted).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_to_nothing_or_stays() {
        let mut options = Options { epochs: 2, steps: 10, rate: 0.5, rate_decay: true, ..Options::default() };
        assert_eq!([0, 10, 19].map(|step| options.rate_at(step)), [0.5, 0.25, 0.5 * (1.0 - 19.0 / 20.0)]);
        options.rate_decay = false;
        assert_eq!(options.rate_at(19), 0.5);
    }
}
