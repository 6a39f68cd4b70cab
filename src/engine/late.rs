//! Results that miss their deadline. They are still delivered; the caller chooses what they mean.

use std::time::Duration;

use super::{Decision, Reason, Verdict};

/// What a late result means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Late {
    /// The same as in time.
    #[default]
    Mark,
    /// Never a pass. A pass, or a result without limits, becomes a review with the reason [`Reason::Late`]. A review or
    /// a reject keeps its own reason.
    Review,
}

impl Late {
    /// The decision for a late result, given the decision that it would have had in time.
    pub fn decide(self, decision: Option<Decision>) -> Option<Decision> {
        match (self, decision) {
            (Late::Review, None | Some(Decision { verdict: Verdict::Pass, .. })) => {
                Some(Decision { verdict: Verdict::Review, reason: Reason::Late })
            }
            _ => decision,
        }
    }
}

/// How long a score may take. Scoring is never cut short: lateness is checked when the result is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// A result that took longer is late.
    pub limit: Duration,
    /// What a late result means.
    pub late: Late,
}

impl Deadline {
    /// Whether a result that took `latency` is late, and its decision.
    pub fn judge(&self, latency: Duration, decision: Option<Decision>) -> (bool, Option<Decision>) {
        let late = latency > self.limit;
        (late, if late { self.late.decide(decision) } else { decision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_pass_is_a_review_only_if_asked_for() {
        let of = |verdict, reason| Some(Decision { verdict, reason });
        let late = of(Verdict::Review, Reason::Late);
        for (decision, reviewed) in [
            (None, late),
            (of(Verdict::Pass, Reason::Below), late),
            (of(Verdict::Review, Reason::Regions), of(Verdict::Review, Reason::Regions)),
            (of(Verdict::Reject, Reason::Score), of(Verdict::Reject, Reason::Score)),
        ] {
            let limit = Duration::from_millis(20);
            for (kind, expected) in [(Late::Mark, decision), (Late::Review, reviewed)] {
                let deadline = Deadline { limit, late: kind };
                assert_eq!(deadline.judge(limit, decision), (false, decision), "in time");
                assert_eq!(deadline.judge(limit + Duration::from_nanos(1), decision), (true, expected));
            }
        }
    }
}
