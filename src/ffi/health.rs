//! Counts and latencies of a scorer, for monitoring.

use std::ffi::c_char;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::abi::{Versioned, object, write};
use super::result::bank_id;
use super::scorer::inctrl_scorer;
use super::status::guard;
use crate::engine::Latencies;

/// Counts of a scorer's results. Every requested result is counted once, as scored or as failed.
pub(super) struct Counts {
    opened: Instant,
    latencies: Latencies,
    errors: AtomicU64,
    late: AtomicU64,
    /// Replaced as a whole, without a lock: a lock that a thread of the parent held at a fork would stay locked in the
    /// child.
    last_error: ArcSwapOption<String>,
}

impl Counts {
    pub fn new() -> Self {
        Counts {
            opened: Instant::now(),
            latencies: Latencies::default(),
            errors: AtomicU64::new(0),
            late: AtomicU64::new(0),
            last_error: ArcSwapOption::empty(),
        }
    }

    pub fn scored(&self, latency: Duration, late: bool) {
        self.latencies.record(latency);
        self.late.fetch_add(u64::from(late), Ordering::Relaxed);
    }

    /// Counts `results` results without a score, all because of one error.
    pub fn failed(&self, results: u64, text: &str) {
        if results == 0 {
            return;
        }
        self.errors.fetch_add(results, Ordering::Relaxed);
        self.last_error.store(Some(Arc::new(text.to_owned())));
    }

    /// The last error as a C string, cut between characters, so that it stays UTF-8.
    fn last_error(&self) -> [c_char; 512] {
        let mut last_error = [0; 512];
        let last = self.last_error.load();
        let text = last.as_ref().map_or("", |last| last.as_str());
        let cut = (0..last_error.len()).rev().find(|cut| text.is_char_boundary(*cut)).unwrap_or(0);
        for (place, byte) in last_error.iter_mut().zip(text[..cut].bytes()) {
            *place = byte as c_char;
        }
        last_error
    }
}

/// The health of a scorer. Begin with `inctrl_health health = {0}; health.struct_size = sizeof health;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_health {
    /// sizeof(inctrl_health); set by the caller.
    pub struct_size: usize,
    /// Identity of the model; valid until the scorer is closed.
    pub model_hash: *const c_char,
    /// The device and how it is used; valid until the scorer is closed.
    pub device: *const c_char,
    /// Identity of the bank in the slot: 16 hexadecimal digits and a zero.
    pub bank_id: [c_char; 24],
    /// Generation of that bank, counted from 1.
    pub generation: u64,
    /// Microseconds since the scorer was made.
    pub uptime_us: u64,
    /// Number of results with a score, not counting warm-up.
    pub frames: u64,
    /// Number of results without a score, for any reason: a bad frame, rectangle or result structure, a bad call (each
    /// of its results counts), a scorer in use by another thread. Every requested result counts in `frames` or in
    /// `errors`; a call whose results have no memory counts once. Warm-up and calls with an invalid scorer do not
    /// count.
    pub errors: u64,
    /// Number of results with a score that came after the deadline.
    pub late: u64,
    /// Median latency in microseconds. Quantiles are at most 1/32 too large.
    pub p50_us: u64,
    /// 90 % quantile of the latency.
    pub p90_us: u64,
    /// 99 % quantile of the latency.
    pub p99_us: u64,
    /// 99.9 % quantile of the latency.
    pub p999_us: u64,
    /// The longest latency, to the microsecond.
    pub max_us: u64,
    /// The error of the last result without a score, in UTF-8, truncated if necessary; "" if there was none.
    pub last_error: [c_char; 512],
}

// SAFETY: `repr(C)`, begins with its size; numbers and pointers, which any bits are.
unsafe impl Versioned for inctrl_health {
    const NAME: &'static str = "inctrl_health";
    const FIRST: usize = offset_of!(inctrl_health, last_error) + 512;
}

/// Reads a scorer's health. Any thread may call this, even while another one scores.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_health(scorer: *const inctrl_scorer, health: *mut inctrl_health) -> i32 {
    guard(|| {
        // SAFETY: a handle of the caller's.
        let state = unsafe { object(scorer) }?;
        let (bank, generation) = state.slot.current();
        let counts = &state.counts;
        let micros = |time: Duration| time.as_micros() as u64;
        let quantile = |q| micros(counts.latencies.quantile(q));
        let report = inctrl_health {
            struct_size: 0,
            model_hash: state.model_hash.as_ptr(),
            device: state.device.as_ptr(),
            bank_id: bank_id(bank.bank_id()),
            generation,
            uptime_us: micros(counts.opened.elapsed()),
            frames: counts.latencies.count(),
            errors: counts.errors.load(Ordering::Relaxed),
            late: counts.late.load(Ordering::Relaxed),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: micros(counts.latencies.max()),
            last_error: counts.last_error(),
        };
        // SAFETY: a structure of the caller's.
        unsafe { write(health, &report) }
    })
}
