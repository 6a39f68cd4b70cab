//! How long scores take, in fixed-size memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of each power of two: a quantile is at most 1/32 above the truth.
const STEPS: usize = 32;
/// Resolves microseconds up to 2^32, more than an hour.
const BUCKETS: usize = STEPS * 28;

/// A histogram of latencies. Recording is lock-free and allocates nothing; other threads can read at the same time.
pub struct Latencies {
    counts: Box<[AtomicU64]>,
    count: AtomicU64,
    /// Microseconds.
    max: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(BUCKETS).collect();
        Latencies { counts, count: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

impl Latencies {
    /// Records one latency.
    pub fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(micros, Ordering::Relaxed);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The longest latency, to the microsecond.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max.load(Ordering::Relaxed))
    }

    /// The `q` quantile (0 to 1) of the latencies: exact below 32 microseconds, at most 1/32 too large above. Zero
    /// where nothing was recorded.
    pub fn quantile(&self, q: f64) -> Duration {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let total: u64 = counts.clone().sum();
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in counts.enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(upper(bucket)).min(self.max());
            }
        }
        Duration::ZERO
    }
}

/// Values below `STEPS` have a bucket each; above, each power of two has `STEPS`.
fn bucket(micros: u64) -> usize {
    let shift = (u64::BITS - (micros / STEPS as u64).leading_zeros()).saturating_sub(1) as usize;
    if micros < 2 * STEPS as u64 {
        return micros as usize;
    }
    (shift * STEPS + (micros >> shift) as usize).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    (((bucket % STEPS + STEPS) as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        let mut last = 0;
        for micros in (0..5000).chain((0..30).map(|i| 5000 << i)).take_while(|micros| *micros < 1 << 31) {
            let at = bucket(micros);
            assert!(at >= last, "{micros}");
            last = at;
            let end = upper(at);
            assert!(micros <= end && end - micros <= micros / STEPS as u64, "{micros} is in a bucket up to {end}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let latencies = Latencies::default();
        assert_eq!((latencies.quantile(0.5), latencies.max()), (Duration::ZERO, Duration::ZERO));
        for i in 1..=1000 {
            latencies.record(Duration::from_micros(i * 10));
        }
        assert_eq!((latencies.count(), latencies.max()), (1000, Duration::from_micros(10_000)));
        for (q, exact) in [(0.0, 10), (0.5, 5000), (0.9, 9000), (0.999, 9990), (1.0, 10_000)] {
            let found = latencies.quantile(q).as_micros() as u64;
            assert!(found >= exact && found <= exact + exact / 32, "{q}: {found}");
        }
    }
}
