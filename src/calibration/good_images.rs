//! Which of some good images a bank is calibrated with.

use std::collections::HashSet;

use super::{Source, enough};
use crate::error::Result;
use crate::pictures::PictureId;

/// The images that a bank is calibrated with: those that are no prompts of it or, where all are, the prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoodImages {
    /// Their places among the given images: different pictures, all held out or all prompts.
    pub used: Vec<usize>,
    /// Which of the two.
    pub source: Source,
    /// Prompts beside images that are held out: they do not count.
    pub prompts: usize,
    /// Images that are copies of those used: they do not count.
    pub copies: usize,
}

impl GoodImages {
    /// Chooses among images, of each of which this is the picture and whether it is a prompt of the bank.
    pub fn among(images: &[(PictureId, bool)]) -> Self {
        let held_out = images.iter().filter(|(_, prompt)| !prompt).count();
        let source = if held_out > 0 { Source::HeldOut } else { Source::LeaveOneOut };
        let own = |&i: &usize| images[i].1 == (source == Source::LeaveOneOut);
        let of_source: Vec<usize> = (0..images.len()).filter(own).collect();
        let mut seen = HashSet::new();
        let used: Vec<usize> = of_source.iter().copied().filter(|&i| seen.insert(images[i].0)).collect();
        let prompts = if source == Source::HeldOut { images.len() - held_out } else { 0 };
        GoodImages { copies: of_source.len() - used.len(), used, source, prompts }
    }

    /// Whether they are enough for a false-reject rate, which is known before any is scored.
    ///
    /// # Errors
    /// As [`enough`].
    pub fn enough(&self, max_false_reject: f64) -> Result<()> {
        enough(self.used.len(), self.used.len() + self.copies, max_false_reject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(picture: u8, prompt: bool) -> (PictureId, bool) {
        (PictureId::from_bytes([picture; 32]), prompt)
    }

    #[test]
    fn prompts_count_only_where_nothing_is_held_out_and_copies_never() {
        let prompts = [image(1, true), image(2, true), image(1, true)];
        let good = GoodImages::among(&prompts);
        let expected = GoodImages { used: vec![0, 1], source: Source::LeaveOneOut, prompts: 0, copies: 1 };
        assert_eq!(good, expected);
        let mixed = [&prompts[..], &[image(3, false), image(3, false), image(4, false)]].concat();
        let expected = GoodImages { used: vec![3, 5], source: Source::HeldOut, prompts: 3, copies: 1 };
        assert_eq!(GoodImages::among(&mixed), expected);
        assert!(expected.enough(0.34).is_ok() && expected.enough(0.3).is_err());
    }
}
