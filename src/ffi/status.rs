//! Status codes and error texts.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::log::{INCTRL_LOG_ERROR, log};
use crate::error::{Error, ErrorKind};

/// Status: done.
pub const INCTRL_OK: i32 = 0;
/// Status: the operating system refused; a file is missing or unreadable, or the disk is full.
pub const INCTRL_ERROR_IO: i32 = 1;
/// Status: a weights file is damaged or does not fit its architecture.
pub const INCTRL_ERROR_WEIGHTS: i32 = 2;
/// Status: a model configuration is malformed or not supported.
pub const INCTRL_ERROR_CONFIG: i32 = 3;
/// Status: an image cannot be decoded or exceeds the limits.
pub const INCTRL_ERROR_IMAGE: i32 = 4;
/// Status: a bank is damaged, has another format version, or belongs to another model.
pub const INCTRL_ERROR_BANK: i32 = 5;
/// Status: an argument is NULL, out of range, or contradicts another.
pub const INCTRL_ERROR_ARGUMENT: i32 = 6;
/// Status: the device is not available or has failed, or memory is short.
pub const INCTRL_ERROR_DEVICE: i32 = 7;
/// Status: a result is not finite.
pub const INCTRL_ERROR_NUMERIC: i32 = 8;
/// Status: a bug in the library.
pub const INCTRL_ERROR_INTERNAL: i32 = 9;
/// Status: a scorer was used by two threads at once; the call did nothing.
pub const INCTRL_ERROR_BUSY: i32 = 10;

/// Why a call failed.
pub(super) struct Failure {
    pub code: i32,
    pub text: String,
}

pub(super) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn argument(text: impl Into<String>) -> Self {
        Failure { code: INCTRL_ERROR_ARGUMENT, text: text.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Io => INCTRL_ERROR_IO,
            ErrorKind::Weights => INCTRL_ERROR_WEIGHTS,
            ErrorKind::Config => INCTRL_ERROR_CONFIG,
            ErrorKind::Image => INCTRL_ERROR_IMAGE,
            ErrorKind::Bank => INCTRL_ERROR_BANK,
            ErrorKind::Argument => INCTRL_ERROR_ARGUMENT,
            ErrorKind::Device => INCTRL_ERROR_DEVICE,
            ErrorKind::Numeric => INCTRL_ERROR_NUMERIC,
            ErrorKind::Internal => INCTRL_ERROR_INTERNAL,
        };
        Failure { code, text: error.chain() }
    }
}

thread_local! {
    /// Text of this thread's last error, zero-terminated; empty after a successful call.
    static LAST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs the work of an entry point. Every function that can fail is one call of it.
pub(super) fn guard(work: impl FnOnce() -> Outcome) -> i32 {
    let failure = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => {
            // Truncating frees nothing, so a successful call does not use the allocator. A thread that is ending has no
            // text.
            let _ = LAST.try_with(|last| last.borrow_mut().clear());
            return INCTRL_OK;
        }
        Ok(Err(failure)) => failure,
        Err(panic) => Failure { code: INCTRL_ERROR_INTERNAL, text: panic_text(panic.as_ref()) },
    };
    log(INCTRL_LOG_ERROR, &failure.text);
    let _ = LAST.try_with(|last| {
        let mut last = last.borrow_mut();
        last.clear();
        // A C string ends at its first zero.
        last.extend(failure.text.bytes().map(|byte| if byte == 0 { b' ' } else { byte }));
        last.push(0);
    });
    failure.code
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a bug in inctrl, please report it: {}", said.unwrap_or("a panic without a message"))
}

/// Why this thread's last call failed, with all causes, in UTF-8; "" after a successful call.
///
/// Never NULL. Valid until this thread's next call.
#[unsafe(no_mangle)]
pub extern "C" fn inctrl_last_error() -> *const c_char {
    const NONE: &std::ffi::CStr = c"";
    LAST.try_with(|last| {
        let last = last.borrow();
        if last.is_empty() { NONE.as_ptr() } else { last.as_ptr().cast() }
    })
    .unwrap_or(NONE.as_ptr())
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn last() -> String {
        // SAFETY: the pointer is to a C string, and no call of this thread comes between.
        unsafe { CStr::from_ptr(inctrl_last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_is_an_error_and_a_success_clears_it() {
        let panic = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let code = guard(|| panic!("seven {}", 7));
        std::panic::set_hook(panic);
        assert_eq!(code, INCTRL_ERROR_INTERNAL);
        assert!(last().contains("seven 7"), "{}", last());
        let error = Error::new(ErrorKind::Bank, "what\0 happened").because(Error::new(ErrorKind::Io, "why"));
        assert_eq!(guard(|| Err(error.into())), INCTRL_ERROR_BANK);
        assert_eq!(last(), "what  happened: why");
        assert_eq!(guard(|| Ok(())), INCTRL_OK);
        assert_eq!(last(), "");
    }
}
