//! Appending images to the bank of a slot, from C.

use std::mem::offset_of;
use std::sync::Arc;

use super::abi::{Tagged, Versioned, hand_out, handle, object, read, write};
use super::bank::inctrl_bank;
use super::calibration::{host_frames, optional_roi};
use super::engine::inctrl_engine;
use super::exclusive::{Exclusive, close_exclusive};
use super::frame::{frame, inctrl_frame, inctrl_roi};
use super::slot::inctrl_slot;
use super::status::{Failure, Outcome, guard};
use crate::engine::{AppendOptions, Appended, Appender};
use crate::image::{AnyFrame, Roi};

/// Appends images to the bank of a slot, one by one, while scorers use it. Any thread may use it, but only one at a
/// time: a second thread gets INCTRL_ERROR_BUSY. A thread of its own is best.
pub struct inctrl_appender {
    tagged: Tagged<AppenderState>,
}

handle!(inctrl_appender, AppenderState, 6, "appender");

/// What the handle holds.
pub(super) struct AppenderState {
    work: Exclusive<Appender>,
    roi: Option<Roi>,
}

/// Limits: the longer bank keeps the limits of the bank, and the images that it had when they were set. This is an error
/// for methods whose scores may rise when a bank gets more images; those of "anomaly-dino" can only fall.
pub const INCTRL_LIMITS_KEEP: i32 = 0;
/// Limits: the longer bank has none, so that results have no verdict.
pub const INCTRL_LIMITS_DROP: i32 = 1;

/// How an appender works. Begin with `inctrl_append_options options = {0}; options.struct_size = sizeof options;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_append_options {
    /// sizeof(inctrl_append_options).
    pub struct_size: usize,
    /// The most rows that the bank may have, the patches of the views of all its images; 0 for no cap. Of the images that
    /// were appended under a cap, the oldest leaves first, with all its rows; all others stay.
    pub max_rows: usize,
    /// The region of each image that the bank is for, as for inctrl_scorer_score_regions, or NULL.
    pub roi: *const inctrl_roi,
    /// One of INCTRL_LIMITS_*.
    pub limits: i32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size; an address and integers, which any bits are.
unsafe impl Versioned for inctrl_append_options {
    const NAME: &'static str = "inctrl_append_options";
    const FIRST: usize = offset_of!(inctrl_append_options, reserved) + size_of::<u32>();
    fn reserved(&self) -> u32 {
        self.reserved
    }
}

/// What became of an appended image. Begin with `inctrl_appended done = {0}; done.struct_size = sizeof done;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_appended {
    /// sizeof(inctrl_appended); set by the caller.
    pub struct_size: usize,
    /// Generation of the slot's bank.
    pub generation: u64,
    /// Rows of that bank.
    pub rows: usize,
    /// Number of its images.
    pub prompts: usize,
    /// Number of images that left because of the cap on rows.
    pub left: usize,
    /// Microseconds that encoding the image took.
    pub encoding_us: u64,
    /// Microseconds that making the longer bank, its limits and the exchange took.
    pub exchange_us: u64,
    /// 1 if the image was new; 0 if the bank had it already, to the pixel, so that nothing changed.
    pub is_new: i32,
    /// Written as 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size; numbers, which any bits are.
unsafe impl Versioned for inctrl_appended {
    const NAME: &'static str = "inctrl_appended";
    const FIRST: usize = offset_of!(inctrl_appended, reserved) + size_of::<u32>();
}

/// Begins to append images to the bank in `slot`. INCTRL_ERROR_ARGUMENT for a bank of a method that mixes its images
/// ("patchcore" with a coreset), and for limits that do not hold for a longer bank.
///
/// @param options may be freed afterwards; NULL for no cap and INCTRL_LIMITS_KEEP
/// @param appender receives the appender, NULL after an error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_appender_create(
    engine: *const inctrl_engine,
    slot: *const inctrl_slot,
    options: *const inctrl_append_options,
    appender: *mut *mut inctrl_appender,
) -> i32 {
    guard(|| {
        // SAFETY: handles, structure and variable of the caller's, as the header asks.
        unsafe {
            hand_out(appender, || {
                let (mut chosen, mut roi) = (AppendOptions::default(), None);
                if !options.is_null() {
                    let options = read(options)?;
                    chosen.max_rows = (options.max_rows > 0).then_some(options.max_rows);
                    chosen.drop_limits = match options.limits {
                        INCTRL_LIMITS_KEEP => false,
                        INCTRL_LIMITS_DROP => true,
                        other => {
                            let text = format!("{other} is not a value for `limits`: use one of INCTRL_LIMITS_*");
                            return Err(Failure::argument(text));
                        }
                    };
                    roi = optional_roi(options.roi);
                }
                let appender = object(engine)?.engine.appender(&object(slot)?.slot, &chosen)?;
                Ok(AppenderState { work: Exclusive::new(appender, ["appender", "append from one thread"]), roi }.into())
            })
        }
    })
}

/// # Safety
/// Handle and structures of the caller's.
unsafe fn append(
    appender: *const inctrl_appender,
    frame: *const inctrl_frame,
    done: *mut inctrl_appended,
    work: impl FnOnce(&mut Appender, AnyFrame<'_>) -> Outcome<Appended>,
) -> Outcome {
    // SAFETY: as of this function. A structure that cannot be used is found before anything changes.
    let own = (!done.is_null()).then(|| unsafe { read(done.cast_const()) }).transpose()?;
    // SAFETY: as above.
    let (state, frame) = unsafe { (object(appender)?, self::frame(frame)?) };
    // The depth of 16 bits is that of the whole frame, as it is when the region is scored.
    let frame = state.roi.map_or(Ok(frame), |roi| frame.settled().region(roi))?;
    let Appended { bank, generation, is_new, left, encoding, exchange, .. } = work(state.work.enter()?.work(), frame)?;
    let Some(own) = own else { return Ok(()) };
    let said = inctrl_appended {
        generation,
        rows: bank.rows(),
        prompts: bank.prompt_hashes().len(),
        left: left.len(),
        encoding_us: encoding.as_micros() as u64,
        exchange_us: exchange.as_micros() as u64,
        is_new: i32::from(is_new),
        reserved: 0,
        ..own
    };
    // SAFETY: as above.
    unsafe { write(done, &said) }
}

/// Appends one normal image: encodes it, makes the longer bank and puts it into the slot, for all its scorers from their
/// next frame on. After an error the slot keeps its bank, and the image is forgotten. INCTRL_ERROR_ARGUMENT where the cap
/// on rows has no room for it, or another bank was put into the slot since the appender was made.
///
/// @param done receives what became of the image, or NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_appender_append(
    appender: *const inctrl_appender,
    frame: *const inctrl_frame,
    done: *mut inctrl_appended,
) -> i32 {
    // SAFETY: handle and structures of the caller's, as the header asks.
    guard(|| unsafe { append(appender, frame, done, |appender, frame| Ok(appender.append(frame)?)) })
}

/// Appends one normal image, and gives the longer bank limits from good images, as inctrl_bank_calibrate does, before it
/// is put into the slot. This scores each of them.
///
/// @param good good images in host memory: an array of `count` structures, all with the first one's struct_size; of
/// each the appender's region is scored
/// @param max_false_reject between 0 and 1, such as 0.01
/// @param done receives what became of the image, or NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_appender_append_calibrated(
    appender: *const inctrl_appender,
    frame: *const inctrl_frame,
    good: *const inctrl_frame,
    count: usize,
    max_false_reject: f64,
    done: *mut inctrl_appended,
) -> i32 {
    guard(|| {
        // SAFETY: handle and structures of the caller's, as the header asks.
        unsafe {
            let good = host_frames(good, count, object(appender)?.roi)?;
            append(appender, frame, done, |appender, frame| {
                Ok(appender.append_calibrated(frame, &good, max_false_reject)?)
            })
        }
    })
}

/// The bank that the appender put into the slot last, or began with: to save it.
///
/// @param bank receives the bank, NULL after an error; close it as any other
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_appender_bank(appender: *const inctrl_appender, bank: *mut *mut inctrl_bank) -> i32 {
    guard(|| {
        // SAFETY: handle and variable of the caller's.
        unsafe { hand_out(bank, || Ok(inctrl_bank::shared(Arc::clone(object(appender)?.work.enter()?.work().bank())))) }
    })
}

/// Closes an appender and sets the variable to NULL. Closing NULL does nothing. An appender that another thread is using
/// stays open, with INCTRL_ERROR_BUSY. Its slot keeps its bank.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_appender_close(appender: *mut *mut inctrl_appender) -> i32 {
    // SAFETY: a variable of the caller's, with a handle of an appender that nobody will use any more.
    guard(|| unsafe { close_exclusive(appender, |state| &state.work) })
}
