//! Which prompts of a bank were appended under a cap on rows, and in which order: the oldest of them leaves first. No score
//! depends on it.

use serde::{Deserialize, Serialize};

/// The prompts that were appended to a bank under a cap, by their content hashes in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arrivals {
    /// Oldest first, without repetitions.
    order: Vec<String>,
    /// How many of them, the last ones, came after the bank's limits were set.
    after_limits: usize,
}

impl Arrivals {
    /// All of them, oldest first.
    pub fn order(&self) -> &[String] {
        &self.order
    }

    /// Those that may leave, oldest first: with `keep_limits` only those that came after the limits were set, as the
    /// limits hold for banks with all the others.
    pub fn may_leave(&self, keep_limits: bool) -> &[String] {
        let stay = if keep_limits { self.order.len().saturating_sub(self.after_limits) } else { 0 };
        &self.order[stay..]
    }

    /// Adds the newest one.
    pub fn push(&mut self, hash: String) {
        self.order.push(hash);
        self.after_limits += 1;
    }

    /// Removes the newest one.
    pub fn pop(&mut self) {
        self.order.pop();
        self.after_limits = self.after_limits.saturating_sub(1);
    }

    /// Limits were set for the bank with all of them.
    pub fn limits_set(&self) -> Self {
        Arrivals { after_limits: 0, ..self.clone() }
    }

    /// Those for which `stays` is true.
    pub fn only(&self, stays: impl Fn(&str) -> bool) -> Self {
        let before = self.order.len().saturating_sub(self.after_limits);
        let order: Vec<String> = self.order.iter().filter(|hash| stays(hash)).cloned().collect();
        let after_limits = self.order[before..].iter().filter(|hash| stays(hash)).count();
        Arrivals { order, after_limits }
    }

    /// Whether they can be those of a bank with these prompts, ascending.
    pub fn fits(&self, prompts: &[String]) -> bool {
        let mut sorted: Vec<&String> = self.order.iter().collect();
        sorted.sort_unstable();
        self.after_limits <= self.order.len()
            && sorted.windows(2).all(|pair| pair[0] != pair[1])
            && sorted.iter().all(|hash| prompts.binary_search(hash).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leaves_first_and_limits_hold_those_they_were_set_with() {
        let mut arrivals = Arrivals::default();
        ["b", "a"].iter().for_each(|hash| arrivals.push((*hash).to_owned()));
        let mut arrivals = arrivals.limits_set();
        ["d", "c"].iter().for_each(|hash| arrivals.push((*hash).to_owned()));
        assert_eq!(arrivals.may_leave(false), ["b", "a", "d", "c"]);
        assert_eq!(arrivals.may_leave(true), ["d", "c"]);
        let fewer = arrivals.only(|hash| hash != "d" && hash != "b");
        assert_eq!(
            (fewer.may_leave(false), fewer.may_leave(true)),
            (&["a", "c"].map(str::to_owned)[..], &["c".to_owned()][..])
        );
        arrivals.pop();
        assert_eq!(arrivals.may_leave(true), ["d"]);
        let prompts = ["a", "b", "c", "d"].map(str::to_owned);
        assert!(arrivals.fits(&prompts) && !arrivals.fits(&prompts[..3]));
        assert!(!Arrivals { after_limits: 4, ..arrivals.clone() }.fits(&prompts));
        arrivals.push("a".to_owned());
        assert!(!arrivals.fits(&prompts));
    }
}
