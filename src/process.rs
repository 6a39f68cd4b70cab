//! The process around the library: signals, which go to the program's own threads, and forks.
//!
//! A fork copies memory and one thread. The parent's other threads do not exist in the child, and a lock that one of
//! them held stays locked for ever. A value with threads, locks or a device therefore keeps its [`Origin`] and checks
//! whether the process is still the one it was made in. The check is one load, without a system call.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// How long a child waits for a lock: longer than any of its own threads holds one.
const PATIENCE: Duration = Duration::from_secs(1);

/// Number of forks between the library's first process and this one. It need not be exact, only different in a child.
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

    /// Whether the value was made in a parent process, before a fork.
    pub fn is_parent(self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.0
    }
}

/// The process in which something global began, set once and read without a lock, so that a fork at any moment leaves
/// nothing half done in the child.
#[cfg(any(feature = "cuda", test))]
pub(crate) struct Began(AtomicUsize);

#[cfg(any(feature = "cuda", test))]
impl Began {
    /// Not yet.
    pub const fn new() -> Self {
        Began(AtomicUsize::new(0))
    }

    /// Begins in this process, unless it has begun already.
    pub fn here(&self) {
        let Origin(forks) = Origin::here();
        // If another thread was first, its value stays.
        let _ = self.0.compare_exchange(0, forks + 1, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether it began before a fork that made this process.
    pub fn in_parent(&self) -> bool {
        let begun = self.0.load(Ordering::Acquire);
        begun != 0 && Origin(begun - 1).is_parent()
    }
}

/// Makes every later fork count itself in the child.
#[cfg(unix)]
fn watch() {
    static WATCHING: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    extern "C" fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    if !WATCHING.load(Ordering::Acquire) {
        // Two threads at once make forks count twice, which does no harm. If a flag were set first, a fork could see it
        // and not be counted. The call fails only where memory for one list entry is missing, and then nothing else
        // works either. SAFETY: the handler is a function of this library, which the C library forgets when this one is
        // unloaded. It runs in the child of a process with threads and does there what is allowed: it changes an
        // atomic.
        unsafe { nix::libc::pthread_atfork(None, None, Some(forked)) };
        WATCHING.store(true, Ordering::Release);
    }
}

#[cfg(not(unix))]
fn watch() {}

/// Locks a value that was made in `origin`. A panic under the lock does not poison it.
///
/// # Errors
/// [`ErrorKind::Device`] in a child, if a thread of the parent held the lock at the fork. `what` names the value in the
/// message.
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

/// Runs `work` with signals blocked on this thread. Threads that it starts inherit this from their first instruction
/// on, so signals go to the program's own threads, which may block and wait for them.
///
/// Signals that report a CPU fault stay unblocked. They go to the faulting thread, and a program may handle them to
/// write a report; if they were blocked, the system would end the process without calling the handler.
#[cfg(unix)]
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};

    struct Restore(nix::Result<SigSet>);
    impl Drop for Restore {
        fn drop(&mut self) {
            // Neither call can fail: the operation is one of three, and the sets are valid.
            let _ = self.0.map(|before| before.thread_set_mask());
        }
    }
    let mut blocked = SigSet::all();
    let faults = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP, Signal::SIGSYS];
    faults.into_iter().for_each(|signal| blocked.remove(signal));
    let _restore = Restore(blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK));
    work()
}

/// Runs `work`: this platform has no signals to block.
#[cfg(not(unix))]
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::mpsc;

    use nix::libc;

    use super::*;

    /// Whether `work` is true in a child by fork.
    fn in_child(work: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child runs `work` and ends, without the parent's destructors; glibc's allocator works in it.
        match unsafe { libc::fork() } {
            0 => {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                // SAFETY: ends this process.
                unsafe { libc::_exit(i32::from(!matches!(done, Ok(true)))) }
            }
            child => {
                assert!(child > 0, "{}", std::io::Error::last_os_error());
                let mut status = -1;
                // SAFETY: a child of this process and a place for its status.
                let waited = unsafe { libc::waitpid(child, &mut status, 0) };
                waited == child && status == 0
            }
        }
    }

    #[test]
    fn a_lock_that_the_parent_held_is_an_error_in_the_child_and_no_hang() {
        let (held, free, origin) = (Mutex::new(1), Mutex::new(2), Origin::here());
        let (locked, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let held = &held;
            let holder = scope.spawn(move || {
                let _guard = lock(held, origin, "the table").unwrap();
                locked.send(()).unwrap();
                ended.recv().unwrap();
            });
            told.recv().unwrap();
            assert!(in_child(|| {
                let error = lock(held, origin, "the table").unwrap_err();
                let text = "the table was in use when the process forked";
                error.kind() == ErrorKind::Device
                    && error.to_string().contains(text)
                    && *lock(&free, origin, "the other").unwrap() == 2
                    && origin.is_parent()
            }));
            end.send(()).unwrap();
            holder.join().unwrap();
        });
        assert!(!origin.is_parent());
        assert_eq!(*lock(&held, origin, "the table").unwrap(), 1);
    }

    #[test]
    fn what_began_in_the_parent_is_known_in_the_child_and_what_begins_there_is_its_own() {
        let (begun, fresh) = (Began::new(), Began::new());
        assert!(!begun.in_parent());
        begun.here();
        assert!(!begun.in_parent());
        assert!(in_child(|| {
            begun.here();
            fresh.here();
            begun.in_parent() && !fresh.in_parent()
        }));
        assert!(!begun.in_parent() && !fresh.in_parent());
    }
}
