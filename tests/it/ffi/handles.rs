//! Helpers for tests of the C interface: structures, frames, and handles that close themselves.

use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};

use inctrl::ffi::*;
use inctrl::{Frame, PixelFormat};

use crate::tiny::Model;

pub fn last_error() -> String {
    // SAFETY: a C string of this thread, copied before the next call.
    unsafe { CStr::from_ptr(inctrl_last_error()) }.to_str().unwrap().to_owned()
}

/// A structure of the interface, all zero.
pub fn zeroed<T: Copy>() -> T {
    // SAFETY: this is for structures of the interface only, which are numbers and pointers.
    unsafe { std::mem::zeroed() }
}

/// A structure of the interface, all zero but its size.
macro_rules! sized {
    ($kind:ty) => {{
        let mut value: $kind = $crate::ffi::handles::zeroed();
        value.struct_size = size_of::<$kind>();
        value
    }};
}
pub(super) use sized;

/// Handles that close themselves.
pub struct Handles {
    pub engine: *mut inctrl_engine,
    pub bank: *mut inctrl_bank,
    pub slot: *mut inctrl_slot,
    pub scorer: *mut inctrl_scorer,
}

impl Drop for Handles {
    fn drop(&mut self) {
        // SAFETY: handles of this value's own, each closed once.
        unsafe {
            assert_eq!(inctrl_scorer_close(&mut self.scorer), INCTRL_OK);
            assert_eq!(inctrl_slot_close(&mut self.slot), INCTRL_OK);
            assert_eq!(inctrl_bank_close(&mut self.bank), INCTRL_OK);
            assert_eq!(inctrl_engine_close(&mut self.engine), INCTRL_OK);
        }
        assert!(self.scorer.is_null() && self.slot.is_null() && self.bank.is_null() && self.engine.is_null());
    }
}

#[track_caller]
pub fn ok(status: i32) {
    assert_eq!(status, INCTRL_OK, "{}", last_error());
}

/// Fails unless the status is `code` and its text has all of `words`.
#[track_caller]
pub fn refused(status: i32, code: i32, words: &[&str]) {
    let text = last_error();
    assert_eq!(status, code, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

pub fn c_frame(bytes: &[u8], width: u32, height: u32, stride: usize, format: i32) -> inctrl_frame {
    let mut frame = sized!(inctrl_frame);
    (frame.data, frame.width, frame.height) = (bytes.as_ptr().cast(), width, height);
    (frame.stride, frame.format) = (stride, format);
    frame
}

/// The same frame for C.
pub fn of(frame: &Frame<'_>) -> inctrl_frame {
    let format = if frame.format() == PixelFormat::Grey8 { INCTRL_MONO8 } else { INCTRL_RGB8 };
    let stride = if frame.height() > 1 {
        frame.row(1).as_ptr() as usize - frame.row(0).as_ptr() as usize
    } else {
        frame.row(0).len()
    };
    let mut c = c_frame(&[], frame.width() as u32, frame.height() as u32, stride, format);
    c.data = frame.row(0).as_ptr().cast();
    c
}

pub fn open(model: &Model, prompts: &[inctrl_frame], capacity: usize) -> Handles {
    let weights = CString::new(model.path.to_str().unwrap()).unwrap();
    let mut options = sized!(inctrl_engine_options);
    (options.weights, options.device, options.threads) = (weights.as_ptr(), c"cpu".as_ptr(), 1);
    let mut all = Handles { engine: null_mut(), bank: null_mut(), slot: null_mut(), scorer: null_mut() };
    // SAFETY: structures, strings and variables of this function.
    unsafe {
        ok(inctrl_engine_open(&options, &mut all.engine));
        let (frames, count) = (prompts.as_ptr(), prompts.len());
        ok(inctrl_bank_build(all.engine, c"cat".as_ptr(), INCTRL_FIT_CROP, frames, count, null(), &mut all.bank));
        ok(inctrl_slot_create(all.engine, all.bank, &mut all.slot));
        ok(inctrl_scorer_create(all.engine, all.slot, capacity, &mut all.scorer));
    }
    all
}
