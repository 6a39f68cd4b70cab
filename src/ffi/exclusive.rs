//! What one thread at a time uses.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use super::abi::{Handle, abandon, close, object};
use super::status::{Failure, INCTRL_ERROR_BUSY, Outcome};
use crate::process::Origin;

/// What a scorer is called, and what to do instead of using one in two threads.
pub(super) const SCORER: [&str; 2] = ["scorer", "make a scorer for each thread"];

/// A value that one thread at a time may use. A second one gets an error at once.
pub(super) struct Exclusive<T> {
    /// Set while a call uses the value.
    busy: AtomicBool,
    value: UnsafeCell<T>,
    origin: Origin,
    /// What it is, for messages, and what to do instead of using it twice.
    noun: [&'static str; 2],
}

// SAFETY: the value is reached through `enter` alone, which lets one thread in at a time and orders what it did before
// what the next one sees.
unsafe impl<T: Send> Sync for Exclusive<T> {}

/// Releases the value when it is dropped, even after a panic.
pub(super) struct Entered<'a, T>(&'a Exclusive<T>);

impl<T> Drop for Entered<'_, T> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

impl<T> Entered<'_, T> {
    pub fn work(&mut self) -> &mut T {
        // SAFETY: the flag was taken by this value and is given back when it is dropped; it is borrowed mutably
        // meanwhile.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Exclusive<T> {
    /// A value that nobody is in. `noun` is what it is, for messages, and what to do instead of using it twice.
    pub fn new(value: T, noun: [&'static str; 2]) -> Self {
        Exclusive { busy: AtomicBool::new(false), value: UnsafeCell::new(value), origin: Origin::here(), noun }
    }

    /// Keeps other threads out until what it returns is dropped.
    pub fn enter(&self) -> Outcome<Entered<'_, T>> {
        match self.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(Entered(self)),
            Err(_) => {
                let [noun, remedy] = self.noun;
                let text = if self.origin.is_parent() {
                    format!(
                        "this {noun} was in use when the process forked, or another thread is using it: {remedy} of the child process"
                    )
                } else {
                    format!("another thread is using this {noun}: {remedy}")
                };
                Err(Failure { code: INCTRL_ERROR_BUSY, text })
            }
        }
    }
}

/// Closes a handle unless a thread is using what it holds.
///
/// # Safety
/// As [`close`], except that a thread may still be using it.
pub(super) unsafe fn close_exclusive<T: Handle, W>(
    handle: *mut *mut T,
    work: impl Fn(&T::State) -> &Exclusive<W>,
) -> Outcome {
    if !handle.is_null() {
        // SAFETY: a variable of the caller's.
        let pointer = unsafe { handle.read() };
        if !pointer.is_null() {
            // SAFETY: a handle of the caller's. Whoever is in it is found; nobody may come after.
            let work = work(unsafe { object(pointer) }?);
            match work.enter() {
                Ok(entered) => drop(entered),
                // The thread that used it at the fork does not exist in the child, and what it was about to change
                // cannot be freed.
                Err(_) if work.origin.is_parent() => {
                    // SAFETY: a variable of the caller's, with a live handle.
                    unsafe { abandon(handle) };
                    return Ok(());
                }
                Err(busy) => return Err(busy),
            }
        }
    }
    // SAFETY: a variable of the caller's, whose handle nobody uses.
    unsafe { close(handle) }
}
