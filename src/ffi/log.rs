//! The log: lines to a function of the caller's. No lock is held while that runs.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Log level: a call failed.
pub const INCTRL_LOG_ERROR: i32 = 1;
/// Log level: something may be wrong that is no error.
pub const INCTRL_LOG_WARNING: i32 = 2;
/// Log level: something happened that an operator may want to know, such as a swap of banks.
pub const INCTRL_LOG_INFO: i32 = 3;

/// Receives a line of the log: its level, its text (UTF-8, valid during the call), and the pointer given with the callback.
///
/// Called on whichever thread logs, by several at once, before the call that logs returns. It may call inctrl functions, also
/// inctrl_set_log_callback; what fails in them meanwhile is not logged. An exception that leaves it ends the process.
pub type inctrl_log_callback =
    Option<unsafe extern "C-unwind" fn(level: i32, message: *const c_char, user: *mut c_void)>;

/// A callback, and how many calls of it run.
struct Sink {
    callback: unsafe extern "C-unwind" fn(i32, *const c_char, *mut c_void),
    /// The caller's pointer as a number, which can be shared between threads.
    user: usize,
    running: Mutex<usize>,
    idle: Condvar,
}

static LOG: Mutex<Option<Arc<Sink>>> = Mutex::new(None);

thread_local! {
    /// Whether this thread is in a callback.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// What the locks of this file guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call of a callback, from before it begins until it has ended.
struct Running(Arc<Sink>);

impl Running {
    fn begin() -> Option<Self> {
        // Counted under the lock that a replacement takes: either that sees the call, or the call sees the new callback.
        let log = lock(&LOG);
        let sink = Arc::clone(log.as_ref()?);
        *lock(&sink.running) += 1;
        INSIDE.set(true);
        Some(Running(sink))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        INSIDE.set(false);
        *lock(&self.0.running) -= 1;
        self.0.idle.notify_all();
    }
}

/// Sends the log to a function; NULL ends that. The library writes nothing to standard output or standard error.
///
/// When it returns, the previous callback runs nowhere and is not called any more: it waits for calls that other threads are in,
/// so hold no lock that the callback takes. Called from within a callback it does not wait. A frame that is scored without an
/// error logs nothing, but for the first one of a scorer whose brightness is in doubt (see `white_level` of inctrl_frame), and the
/// first one whose map has other rows and columns, as it takes memory.
#[unsafe(no_mangle)]
pub extern "C" fn inctrl_set_log_callback(callback: inctrl_log_callback, user: *mut c_void) {
    let sink = callback
        .map(|callback| Arc::new(Sink { callback, user: user as usize, running: Mutex::new(0), idle: Condvar::new() }));
    let replaced = std::mem::replace(&mut *lock(&LOG), sink);
    // Two callbacks that replace each other must not wait for each other.
    if let (Some(replaced), false) = (replaced, INSIDE.get()) {
        let mut running = lock(&replaced.running);
        while *running > 0 {
            running = replaced.idle.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A line of the log.
pub(super) fn log(level: i32, text: &str) {
    if INSIDE.get() {
        return;
    }
    let Some(running) = Running::begin() else { return };
    let text: Vec<u8> = text.bytes().filter(|byte| *byte != 0).chain([0]).collect();
    // A panic of a callback in Rust is none of the caller's business, whose call has an outcome.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let Sink { callback, user, .. } = *running.0;
        // SAFETY: the text ends in its only zero and outlives the call; the function and its pointer are the caller's, who
        // promised that they work until they are replaced, which waits for `running`.
        unsafe { callback(level, text.as_ptr().cast(), user as *mut c_void) }
    }));
}
