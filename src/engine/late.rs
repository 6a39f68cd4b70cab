//! Results that come after their deadline: they come all the same, and what they then mean is the caller's choice.

use std::time::Duration;

use super::{Decision, Reason, Verdict};

/// What a late result says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Late {
    /// What it would have said in time.
    #[default]
    Mark,
    /// Never a pass: what would be a pass, or has no limits to be judged by, is a review for the reason [`Reason::Late`]. A
    /// review or a reject keeps its own reason.
    Review,
}

impl Late {
    /// The decision of a late result, from what it would have been in time.
    pub fn decide(self, decision: Option<Decision>) -> Option<Decision> {
        match (self, decision) {
            (Late::Review, None | Some(Decision { verdict: Verdict::Pass, .. })) => {
                Some(Decision { verdict: Verdict::Review, reason: Reason::Late })
            }
            _ => decision,
        }
    }
}

/// How long a score may take. It is never cut short: whether it was late is known when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// A result that took longer is late.
    pub limit: Duration,
    /// What it then says.
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
