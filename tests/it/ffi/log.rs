//! The log callback is called without a lock and may call the library.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use inctrl::ffi::*;

use super::handles::{last_error, of, ok, open, sized};
use crate::tiny::{MODELS, Model, Picture};

/// The log is one for the whole process: one test at a time sets it.
pub(super) static ALONE: Mutex<()> = Mutex::new(());

/// Far longer than anything here takes.
const FOREVER: Duration = Duration::from_secs(60);

/// What a callback of these tests knows. Calls of other tests on other threads log, too, and are passed over.
struct Seen {
    thread: ThreadId,
    calls: AtomicUsize,
    ended: AtomicBool,
    inside: Mutex<Sender<()>>,
}

impl Seen {
    fn new(thread: ThreadId) -> (Self, Receiver<()>) {
        let (inside, receiver) = channel();
        let seen =
            Seen { thread, calls: AtomicUsize::new(0), ended: AtomicBool::new(false), inside: Mutex::new(inside) };
        (seen, receiver)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn pointer(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

/// The `Seen` of a callback on the thread that it is for.
///
/// # Safety
/// `user` is the pointer of a `Seen` that lives.
unsafe fn seen<'a>(user: *mut c_void) -> Option<&'a Seen> {
    // SAFETY: as of this function.
    let seen = unsafe { &*user.cast::<Seen>() };
    (seen.thread == thread::current().id()).then(|| {
        seen.calls.fetch_add(1, Ordering::SeqCst);
        seen
    })
}

/// A call that fails and says `name`.
fn fail(name: &CStr) -> i32 {
    let mut bank = null_mut();
    // SAFETY: a string and a variable of this function.
    unsafe { inctrl_bank_open(name.as_ptr(), &mut bank) }
}

unsafe extern "C-unwind" fn fails_and_waits(_: i32, message: *const c_char, user: *mut c_void) {
    // SAFETY: the pointer that the tests give.
    let Some(seen) = (unsafe { seen(user) }) else { return };
    // SAFETY: the library's text.
    assert!(unsafe { CStr::from_ptr(message) }.to_str().unwrap().contains("/nowhere/outer"));
    seen.inside.lock().unwrap().send(()).unwrap();
    // Time for the other thread to come to its replacement.
    thread::sleep(Duration::from_millis(200));
    assert_eq!(fail(c"/nowhere/inner"), INCTRL_ERROR_IO);
    assert!(last_error().contains("/nowhere/inner"));
    seen.ended.store(true, Ordering::SeqCst);
}

/// A callback that makes a failing call while another thread replaces it: neither waits for ever, the replacement
/// returns when the callback has ended, and the failing call keeps its own error.
#[test]
fn a_callback_may_fail_while_it_is_replaced() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, finished) = channel();
    thread::spawn(move || {
        let (seen, inside) = Seen::new(thread::current().id());
        inctrl_set_log_callback(Some(fails_and_waits), seen.pointer());
        let seen = &seen;
        thread::scope(|scope| {
            scope.spawn(move || {
                inside.recv().unwrap();
                inctrl_set_log_callback(None, null_mut());
                assert!(seen.ended.load(Ordering::SeqCst), "the replaced callback still runs");
            });
            assert_eq!(fail(c"/nowhere/outer"), INCTRL_ERROR_IO);
        });
        assert!(last_error().contains("/nowhere/outer"), "{}", last_error());
        assert_eq!(seen.calls(), 1, "a failure within a callback is not logged");
        done.send(()).unwrap();
    });
    finished.recv_timeout(FOREVER).expect("the callback and its replacement wait for each other");
}

unsafe extern "C-unwind" fn replaces_itself(_: i32, _: *const c_char, user: *mut c_void) {
    // SAFETY: the pointer that the tests give.
    if unsafe { seen(user) }.is_some() {
        inctrl_set_log_callback(Some(counts), user);
    }
}

unsafe extern "C-unwind" fn counts(_: i32, _: *const c_char, user: *mut c_void) {
    // SAFETY: the pointer that the tests give.
    if let Some(seen) = unsafe { seen(user) } {
        seen.ended.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_callback_may_replace_itself() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, finished) = channel();
    thread::spawn(move || {
        let (seen, _inside) = Seen::new(thread::current().id());
        inctrl_set_log_callback(Some(replaces_itself), seen.pointer());
        fail(c"/nowhere/1");
        assert_eq!((seen.calls(), seen.ended.load(Ordering::SeqCst)), (1, false));
        fail(c"/nowhere/2");
        assert_eq!((seen.calls(), seen.ended.load(Ordering::SeqCst)), (2, true));
        inctrl_set_log_callback(None, null_mut());
        fail(c"/nowhere/3");
        assert_eq!(seen.calls(), 2);
        done.send(()).unwrap();
    });
    finished.recv_timeout(FOREVER).expect("a callback that replaces itself waits for itself");
}

unsafe extern "C-unwind" fn panics(_: i32, _: *const c_char, user: *mut c_void) {
    // SAFETY: the pointer that the tests give.
    if unsafe { seen(user) }.is_some() {
        panic!("a callback that panics, which is tested");
    }
}

#[test]
fn a_panic_of_a_callback_changes_no_outcome() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (seen, _inside) = Seen::new(thread::current().id());
    inctrl_set_log_callback(Some(panics), seen.pointer());
    for calls in 1..3 {
        assert_eq!(fail(c"/nowhere/panic"), INCTRL_ERROR_IO);
        assert!(last_error().contains("/nowhere/panic"), "{}", last_error());
        assert_eq!(seen.calls(), calls);
    }
    // The calls that panicked have ended: nothing is waited for.
    inctrl_set_log_callback(None, null_mut());
}

/// Other tests log at the same time: only what this one caused is looked for.
#[test]
fn the_log_has_errors_and_swaps() {
    static LINES: Mutex<Vec<(i32, String)>> = Mutex::new(Vec::new());
    unsafe extern "C-unwind" fn collect(level: i32, message: *const c_char, user: *mut c_void) {
        assert_eq!(user as usize, 42);
        // SAFETY: a C string, which lives through the call.
        let text = unsafe { CStr::from_ptr(message) }.to_str().unwrap().to_owned();
        LINES.lock().unwrap().push((level, text));
    }
    let model = Model::new(MODELS[1].1, 7);
    let picture = Picture::new(0);
    let all = open(&model, &[of(&picture.frame())], 1);
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    inctrl_set_log_callback(Some(collect), 42 as *mut _);
    let mut bank = null_mut();
    let mut result = sized!(inctrl_result);
    // SAFETY: handles and variables of this test.
    let id = unsafe {
        assert_eq!(inctrl_bank_open(c"/nowhere/logged".as_ptr(), &mut bank), INCTRL_ERROR_IO);
        ok(inctrl_slot_swap(all.slot, all.bank, null_mut()));
        ok(inctrl_scorer_score(all.scorer, &of(&picture.frame()), 0, &mut result));
        CStr::from_ptr(inctrl_bank_id(all.bank)).to_str().unwrap().to_owned()
    };
    inctrl_set_log_callback(None, null_mut());
    let lines = LINES.lock().unwrap();
    assert!(
        lines.iter().any(|(level, text)| *level == INCTRL_LOG_ERROR && text.contains("/nowhere/logged")),
        "{lines:?}"
    );
    let swapped = |(level, text): &(i32, String)| *level == INCTRL_LOG_INFO && text.contains(&id) && text.contains("2");
    assert!(lines.iter().any(swapped), "{lines:?}");
}
