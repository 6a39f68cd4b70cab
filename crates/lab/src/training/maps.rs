//! Residual maps of samples (equations 1 and 2), each independent of the others.
//!
//! The largest cosines between an image and one prompt do not change, so they are kept. Those with K prompts are
//! exactly the largest of the K.

use std::collections::{BTreeSet, HashMap};

use super::Event;
use super::draws::Sample;
use super::set::Set;
use inctrl::Result;
use inctrl::internals::Encoder;
use inctrl::methods::inctrl::equations::residual;

/// Most bytes of cosines that are kept from one epoch to the next.
const BUDGET: usize = 1 << 30;

/// Largest cosines `[L, N]` of a member's patches with those of another.
pub(super) struct Maps {
    taps: usize,
    cells: usize,
    pairs: HashMap<(usize, usize), Box<[f32]>>,
}

impl Maps {
    pub fn new(taps: usize, cells: usize) -> Self {
        Maps { taps, cells, pairs: HashMap::new() }
    }

    /// Compares every sample with every prompt of its own, as far as that is not done.
    ///
    /// # Errors
    /// As [`Encoder::reference`] and [`Encoder::nearest`].
    pub fn prepare(
        &mut self,
        encoder: &mut Encoder<'_>,
        set: &Set,
        samples: &[Sample],
        observe: &mut impl FnMut(Event),
    ) -> Result<()> {
        // By prompt, so that each is brought to the device once.
        let wanted: BTreeSet<(usize, usize)> =
            samples.iter().flat_map(|sample| sample.prompts.iter().map(|&prompt| (prompt, sample.member))).collect();
        let len = self.taps * self.cells;
        if (self.pairs.len() + wanted.len()) * len * size_of::<f32>() > BUDGET {
            self.pairs.retain(|(member, prompt), _| wanted.contains(&(*prompt, *member)));
        }
        let missing: Vec<(usize, usize)> =
            wanted.into_iter().filter(|&(prompt, member)| !self.pairs.contains_key(&(member, prompt))).collect();
        observe(Event::Pairs(missing.len()));
        for pairs in missing.chunk_by(|a, b| a.0 == b.0) {
            let record = set.members[pairs[0].0].record;
            let reference = encoder.reference(&set.store.taps(record)?, &set.store.valid(record)?)?;
            for &(prompt, member) in pairs {
                let mut cosines = vec![0.0; len].into_boxed_slice();
                encoder.nearest(&set.store.taps(set.members[member].record)?, &reference, &mut cosines)?;
                self.pairs.insert((member, prompt), cosines);
                observe(Event::Compared);
            }
        }
        Ok(())
    }

    /// M_x of a sample in the form that it wants, `[N]`: the mean over taps of `0.5 (1 - cosine)`, 0 where a patch is
    /// ignored. [`Maps::prepare`] must have been called.
    ///
    /// # Errors
    /// As [`Store`](super::cache::Store).
    pub fn map(&self, set: &Set, sample: &Sample) -> Result<Vec<f64>> {
        let mut best = vec![f32::NEG_INFINITY; self.taps * self.cells];
        for &prompt in &sample.prompts {
            if let Some(cosines) = self.pairs.get(&(sample.member, prompt)) {
                best.iter_mut().zip(cosines).for_each(|(best, cosine)| *best = best.max(*cosine));
            }
        }
        let valid = set.store.valid(set.members[sample.member].record)?;
        let cell = |(cell, valid): (usize, f32)| {
            let residuals = (0..self.taps).map(|tap| residual(f64::from(best[tap * self.cells + cell])));
            f64::from(valid) * residuals.sum::<f64>() / self.taps as f64
        };
        let map: Vec<f64> = valid.into_iter().enumerate().map(cell).collect();
        let side = self.cells.isqrt();
        Ok((0..self.cells).map(|at| map[source(at, side, sample.form)]).collect())
    }
}

/// The source of cell `at` of a mirrored or rotated map of `side` x `side`: bit 0 of `form` mirrors columns, bit 1
/// rows, and bit 2 swaps the two.
fn source(at: usize, side: usize, form: u8) -> usize {
    let (mut row, mut column) = (at / side, at % side);
    if form & 4 != 0 {
        (row, column) = (column, row);
    }
    if form & 2 != 0 {
        row = side - 1 - row;
    }
    if form & 1 != 0 {
        column = side - 1 - column;
    }
    row * side + column
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eight_forms_are_different_orders_of_the_same_cells() {
        let forms: BTreeSet<Vec<usize>> = (0..8).map(|form| (0..9).map(|at| source(at, 3, form)).collect()).collect();
        assert_eq!(forms.len(), 8);
        assert!(forms.contains(&(0..9).collect::<Vec<_>>()));
        for form in forms {
            assert_eq!(form[4], 4, "the middle stays: {form:?}");
            assert_eq!(form.iter().collect::<BTreeSet<_>>().len(), 9);
            // Opposite corners stay opposite.
            assert_eq!(form[0].abs_diff(form[8]) % 4, 0, "{form:?}");
        }
    }
}
