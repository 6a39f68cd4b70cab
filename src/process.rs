//! The process around the library: signals, which its threads leave to the program's own, and forks.
//!
//! A fork copies memory and one thread. Threads of the parent do not exist in the child, and a lock that one of them held stays
//! locked there for ever. What has threads, locks or a device therefore keeps its [`Origin`] and asks whether the process is
//! still the one that it was made in: one load, no system call.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// How long a child waits for a lock: longer than any thread of its own holds one.
const PATIENCE: Duration = Duration::from_secs(1);

/// Forks between the first process of the library and this one. It need not be exact, only different in a child.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// The process in which a value was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(usize);

impl Origin {
    /// This process.
    pub fn here() -> Self {
        watch();
        Origin(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this process is a child, by fork, of the one in which the value was made.
    pub fn is_parent(self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.0
    }
}

/// Has every fork from now on counted, in the child.
#[cfg(unix)]
fn watch() {
    static WATCHING: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    extern "C" fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    if !WATCHING.load(Ordering::Acquire) {
        // Two threads at once have forks counted twice, which does no harm; a flag that is set first could be seen by a fork
        // that nobody counts. It fails where there is no memory for one entry of a list, and then nothing else works either.
        // SAFETY: the handler is a function of this library, which the C library forgets when this one is unloaded. It runs
        // in the child of a process with threads and does there what is allowed: it changes an atomic.
        unsafe { nix::libc::pthread_atfork(None, None, Some(forked)) };
        WATCHING.store(true, Ordering::Release);
    }
}

#[cfg(not(unix))]
fn watch() {}

/// Locks what was made in `origin`. A thread that panicked under the lock leaves it open.
///
/// # Errors
/// [`ErrorKind::Device`] in a child, where a thread of the parent held the lock at the fork; `what` is in use, in words.
pub(crate) fn lock<'a, T>(mutex: &'a Mutex<T>, origin: Origin, what: &str) -> Result<MutexGuard<'a, T>> {
    if !origin.is_parent() {
        return Ok(mutex.lock().unwrap_or_else(PoisonError::into_inner));
    }
    let begin = Instant::now();
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if begin.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::WouldBlock) => {
                let message = format!("{what} was in use when the process forked: make it again in the child process");
                return Err(Error::new(ErrorKind::Device, message));
            }
        }
    }
}

/// Does `work` with signals blocked on this thread. Threads that it starts inherit that, from their first instruction on: signals
/// go to threads of the program, which may block them and wait for them.
///
/// The signals by which a processor reports a fault stay open. They go to the thread at fault, and a program may handle them to
/// write a report; the system ends a process that blocks them without asking the handler.
#[cfg(unix)]
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};

    struct Restore(nix::Result<SigSet>);
    impl Drop for Restore {
        fn drop(&mut self) {
            // Neither call can fail: the operation is one of three, the sets are valid.
            let _ = self.0.map(|before| before.thread_set_mask());
        }
    }
    let mut blocked = SigSet::all();
    let faults = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP, Signal::SIGSYS];
    faults.into_iter().for_each(|signal| blocked.remove(signal));
    let _restore = Restore(blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK));
    work()
}

#[cfg(not(unix))]
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    work()
}
