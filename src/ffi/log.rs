//! The log: sends lines to the caller's function. No lock is held while it runs.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::process::Origin;

/// Log level: a call failed.
pub const INCTRL_LOG_ERROR: i32 = 1;
/// Log level: something may be wrong, but it is not an error.
pub const INCTRL_LOG_WARNING: i32 = 2;
/// Log level: something happened that an operator may want to know, such as a swap of banks.
pub const INCTRL_LOG_INFO: i32 = 3;

/// Receives a line of the log: its level, its text (UTF-8, valid during the call), and the pointer given with the
/// callback.
///
/// It is called on the thread that logs, before the logging call returns, and by several threads at once. It may call
/// inctrl functions, including inctrl_set_log_callback; errors in these are not logged. An exception that leaves it
/// ends the process.
pub type inctrl_log_callback =
    Option<unsafe extern "C-unwind" fn(level: i32, message: *const c_char, user: *mut c_void)>;

/// A callback, and the number of its running calls.
struct Sink {
    callback: unsafe extern "C-unwind" fn(i32, *const c_char, *mut c_void),
    /// The caller's pointer as a number, which can be shared between threads.
    user: usize,
    running: AtomicUsize,
    /// The process in which it was set.
    origin: Origin,
}

/// Without a lock: a lock that a thread of the parent held at a fork would stay locked in the child.
static LOG: ArcSwapOption<Sink> = ArcSwapOption::const_empty();

/// How long a child waits for calls of an inherited callback: calls of the parent's threads never end in the child.
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    /// Whether this thread is in a callback.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A call of a callback, from before it begins until it has ended.
struct Running(Arc<Sink>);

impl Running {
    fn begin() -> Option<Self> {
        loop {
            let sink = LOG.load_full()?;
            // Counts the call, then reads the callback again: either a replacement sees the call, or the call sees the
            // new callback.
            sink.running.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if LOG.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, &sink)) {
                INSIDE.set(true);
                return Some(Running(sink));
            }
            sink.running.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        INSIDE.set(false);
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sends the log to a function; NULL stops this. The library writes nothing to standard output or standard error.
///
/// When this returns, the previous callback is no longer running and will not be called again. It waits for running
/// calls of other threads, so do not hold a lock that the callback takes. When called from within a callback it does
/// not wait. Successful scoring logs nothing, with two exceptions: a scorer's first frame whose brightness is in doubt
/// (see `white_level` of inctrl_frame), and the first frame with a new number of map rows and columns, as it takes
/// memory.
#[unsafe(no_mangle)]
pub extern "C" fn inctrl_set_log_callback(callback: inctrl_log_callback, user: *mut c_void) {
    let (user, origin) = (user as usize, Origin::here());
    let sink = callback.map(|callback| Arc::new(Sink { callback, user, running: AtomicUsize::new(0), origin }));
    let replaced = LOG.swap(sink);
    fence(Ordering::SeqCst);
    // Two callbacks that replace each other must not wait for each other.
    if let (Some(replaced), false) = (replaced, INSIDE.get()) {
        let begin = Instant::now();
        while replaced.running.load(Ordering::SeqCst) > 0
            && (!replaced.origin.is_parent() || begin.elapsed() < PATIENCE)
        {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Writes a line of the log.
pub(super) fn log(level: i32, text: &str) {
    if INSIDE.get() {
        return;
    }
    let Some(running) = Running::begin() else { return };
    let text: Vec<u8> = text.bytes().filter(|byte| *byte != 0).chain([0]).collect();
    // A panic of a Rust callback must not affect the call that logged, which has its own outcome.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let Sink { callback, user, .. } = *running.0;
        // SAFETY: the text ends in its only zero and outlives the call; the function and its pointer are the caller's,
        // who promised that they work until they are replaced, which waits for `running`.
        unsafe { callback(level, text.as_ptr().cast(), user as *mut c_void) }
    }));
}
