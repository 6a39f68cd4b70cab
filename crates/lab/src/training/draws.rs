//! Which images make up each step, and which are their prompts: a function of seed, epoch and step alone.

use super::Options;
use super::random::Random;
use super::set::Set;

/// An image of a step with its prompts, as members of the set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub member: usize,
    pub prompts: Vec<usize>,
    /// Which of the eight mirrored and rotated forms of its residual map is used; 0 is the unchanged map.
    pub form: u8,
}

/// Tells the streams of random numbers from each other, and from those of the initial weights.
const NORMAL: u64 = 1;
const ANOMALOUS: u64 = 2;
const PROMPTS: u64 = 3;

/// The samples of an epoch, step after step. A step has its normal images first.
///
/// Normal and anomalous images, each over all classes, come in a random order, each once before any comes again, across
/// epochs too. Prompts are drawn anew for every sample.
pub(super) fn epoch(set: &Set, options: &Options, epoch: usize) -> Vec<Sample> {
    let of_kind = |anomalous: bool| -> Vec<usize> {
        (0..set.members.len()).filter(|&member| set.members[member].anomalous == anomalous).collect()
    };
    let half = options.batch / 2;
    let mut kinds =
        [Rounds::new(options.seed, NORMAL, of_kind(false)), Rounds::new(options.seed, ANOMALOUS, of_kind(true))];
    let mut samples = Vec::with_capacity(options.steps * options.batch);
    for step in epoch * options.steps..(epoch + 1) * options.steps {
        for kind in &mut kinds {
            for slot in step * half..(step + 1) * half {
                let member = kind.at(slot);
                let candidates: Vec<usize> = set.candidates(&set.members[member]).collect();
                let mut random = Random::new(&[options.seed, PROMPTS, kind.purpose, slot as u64]);
                let prompts = random.choose(candidates, options.shots);
                let form = if options.mirror { random.below(8) as u8 } else { 0 };
                samples.push(Sample { member, prompts, form });
            }
        }
    }
    samples
}

/// A list without end: all items in random order, then all in another.
struct Rounds {
    seed: u64,
    purpose: u64,
    items: Vec<usize>,
    /// The latest round, and its order.
    round: Option<(usize, Vec<usize>)>,
}

impl Rounds {
    fn new(seed: u64, purpose: u64, items: Vec<usize>) -> Self {
        Rounds { seed, purpose, items, round: None }
    }

    /// The item at a place of the list. There is at least one item.
    fn at(&mut self, place: usize) -> usize {
        let (round, within) = (place / self.items.len(), place % self.items.len());
        if self.round.as_ref().is_none_or(|(latest, _)| *latest != round) {
            let mut random = Random::new(&[self.seed, self.purpose, round as u64]);
            self.round = Some((round, random.choose(self.items.clone(), self.items.len())));
        }
        self.round.as_ref().map_or(0, |(_, order)| order[within])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_once_before_any_comes_again() {
        let mut rounds = Rounds::new(5, NORMAL, vec![3, 4, 5, 6, 7]);
        let order: Vec<usize> = (0..15).map(|place| rounds.at(place)).collect();
        for round in order.chunks(5) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [3, 4, 5, 6, 7]);
        }
        assert!(order[..5] != order[5..10] || order[5..10] != order[10..]);
        // Any place can be asked for, in any order.
        let mut again = Rounds::new(5, NORMAL, vec![3, 4, 5, 6, 7]);
        assert!((0..15).rev().all(|place| again.at(place) == order[place]));
    }
}
