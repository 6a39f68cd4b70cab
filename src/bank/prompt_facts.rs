//! How a bank's prompts were shown to the model. It is for display and warnings; no score depends on it.

use serde::{Deserialize, Serialize};

use crate::image::WhiteLevel;
use crate::view::Placement;

/// How one prompt was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PromptFacts {
    /// Share of the area that the fit leaves out, in ten-thousandths.
    pub unseen: u16,
    /// The declared white level, or 0.
    pub white: u16,
}

/// How all prompts were shown, in their order. A list of only zeros is stored as empty, as in older files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PromptsShown {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unseen: Vec<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    white_levels: Vec<u16>,
}

/// [`PromptFacts::unseen`] of 1.
const WHOLE: f64 = 10_000.0;

impl PromptFacts {
    pub fn new(seen: Placement, width: usize, height: usize, white: Option<WhiteLevel>) -> Self {
        let unseen = 1.0 - seen.share_of(width, height);
        PromptFacts {
            // Less than a percent comes from rounding the sides.
            unseen: if unseen < 0.01 { 0 } else { (unseen * WHOLE).round() as u16 },
            white: white.filter(|white| *white != WhiteLevel::FULL).map_or(0, WhiteLevel::get),
        }
    }
}

impl PromptsShown {
    /// The lists of all prompts; none where all values are 0.
    pub fn of(prompts: &[PromptFacts]) -> Option<Self> {
        let list = |value: fn(&PromptFacts) -> u16| -> Vec<u16> {
            let all: Vec<u16> = prompts.iter().map(value).collect();
            if all.iter().all(|value| *value == 0) { Vec::new() } else { all }
        };
        let facts = PromptsShown { unseen: list(|prompt| prompt.unseen), white_levels: list(|prompt| prompt.white) };
        (!facts.unseen.is_empty() || !facts.white_levels.is_empty()).then_some(facts)
    }

    /// The facts of prompt `k`.
    pub fn prompt(&self, k: usize) -> PromptFacts {
        let at = |list: &[u16]| list.get(k).copied().unwrap_or(0);
        PromptFacts { unseen: at(&self.unseen), white: at(&self.white_levels) }
    }

    /// Whether the lists fit `prompts` prompts.
    pub fn fits(&self, prompts: usize) -> bool {
        [&self.unseen, &self.white_levels].iter().all(|list| [0, prompts].contains(&list.len()))
            && self.unseen.iter().all(|unseen| f64::from(*unseen) <= WHOLE)
    }

    /// Shares of the prompts' areas that are left out; empty where nothing is left out.
    pub fn unseen(&self) -> impl Iterator<Item = f64> + '_ {
        self.unseen.iter().map(|unseen| f64::from(*unseen) / WHOLE)
    }

    /// The largest declared white level.
    pub fn white_level(&self) -> Option<WhiteLevel> {
        self.white_levels.iter().filter_map(|level| WhiteLevel::new(u32::from(*level)).ok()).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nothing_is_not_written() {
        let square = PromptFacts::new(Placement { x: 0.0, y: 0.0, width: 99.5, height: 100.0 }, 100, 100, None);
        let full = PromptFacts { white: 0, ..square };
        assert_eq!((square, PromptsShown::of(&[square, full])), (PromptFacts::default(), None));
        let middle = Placement { x: 80.0, y: 0.0, width: 480.0, height: 480.0 };
        let wide = PromptFacts::new(middle, 640, 480, WhiteLevel::new(4095).ok());
        assert_eq!(wide, PromptFacts { unseen: 2500, white: 4095 });
        let facts = PromptsShown::of(&[square, wide]).unwrap();
        assert_eq!(facts.unseen().collect::<Vec<_>>(), [0.0, 0.25]);
        assert_eq!(facts.white_level().map(WhiteLevel::get), Some(4095));
        assert_eq!([0, 1].map(|k| facts.prompt(k)), [square, wide]);
        assert!(facts.fits(2) && !facts.fits(3));
        // A letterbox extends beyond the picture.
        let letterbox = Placement { x: 0.0, y: -80.0, width: 640.0, height: 640.0 };
        assert_eq!(PromptFacts::new(letterbox, 640, 480, Some(WhiteLevel::FULL)), PromptFacts::default());
    }
}
