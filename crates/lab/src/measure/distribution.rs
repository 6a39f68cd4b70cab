//! Quantiles of durations.

use std::time::Duration;

/// A summary of many durations, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Distribution {
    /// Number of durations.
    pub count: usize,
    /// The median.
    pub p50: f64,
    /// The 99 % quantile.
    pub p99: f64,
    /// The 99.9 % quantile; the maximum of fewer than 1000 durations.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Distribution {
    /// The summary of at least one duration; `None` for none.
    pub fn of(mut durations: Vec<Duration>) -> Option<Self> {
        durations.sort_unstable();
        let count = durations.len();
        // The smallest duration that at least this share does not exceed.
        let quantile = |per_mille: usize| {
            let rank = (count * per_mille).div_ceil(1000).max(1);
            durations.get(rank - 1).map(Duration::as_secs_f64)
        };
        let max = durations.last()?.as_secs_f64();
        Some(Distribution { count, p50: quantile(500)?, p99: quantile(990)?, p999: quantile(999)?, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(milliseconds: impl IntoIterator<Item = u64>) -> Option<Distribution> {
        Distribution::of(milliseconds.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn quantiles_are_durations_that_were_seen() {
        let d = of((1..=1000).rev()).unwrap();
        assert_eq!((d.count, d.p50, d.p99, d.p999, d.max), (1000, 0.5, 0.99, 0.999, 1.0));
        let d = of([7]).unwrap();
        assert_eq!((d.p50, d.p99, d.p999, d.max), (0.007, 0.007, 0.007, 0.007));
        let d = of([1, 2, 3]).unwrap();
        assert_eq!((d.p50, d.p99, d.max), (0.002, 0.003, 0.003));
        assert_eq!(of([]), None);
    }
}
