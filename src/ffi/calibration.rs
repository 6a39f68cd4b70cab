//! Limits of banks from good images, and reports on banks, from C.

use std::mem::offset_of;

use super::abi::{Array, Versioned, hand_out, object, read, write};
use super::bank::inctrl_bank;
use super::engine::inctrl_engine;
use super::frame::{frames, inctrl_frame, inctrl_roi};
use super::status::{Failure, Outcome, guard};
use crate::calibration::Source;
use crate::engine::{BankReport, ReportedPrompt};
use crate::image::{AnyFrame, Frame, Roi};

/// Source: good images that are not in the bank. The bound on false rejects holds.
pub const INCTRL_SOURCE_HELD_OUT: i32 = 0;
/// Source: the bank's own images, each against the others. The bound is approximate.
pub const INCTRL_SOURCE_LEAVE_ONE_OUT: i32 = 1;

/// What the limits of a bank were computed from. Begin with
/// `inctrl_calibration calibration = {0}; calibration.struct_size = sizeof calibration;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_calibration {
    /// sizeof(inctrl_calibration); set by the caller.
    pub struct_size: usize,
    /// The share of good parts that may be rejected.
    pub max_false_reject: f64,
    /// The number of different good images.
    pub images: usize,
    /// One of INCTRL_SOURCE_*.
    pub source: i32,
    /// Written as 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size; numbers, which any bits are.
unsafe impl Versioned for inctrl_calibration {
    const NAME: &'static str = "inctrl_calibration";
    const FIRST: usize = offset_of!(inctrl_calibration, reserved) + size_of::<u32>();
}

/// One image of a report: a prompt of the bank against the others. Begin with
/// `inctrl_prompt_check check = {0}; check.struct_size = sizeof check;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_prompt_check {
    /// sizeof(inctrl_prompt_check); set by the caller.
    pub struct_size: usize,
    /// 1 if the image was scored; 0 if it is not in the bank, or a copy of an image before it.
    pub is_prompt: i32,
    /// 1 if its score is an outlier: it may show a defect, or a kind of good part that needs more images.
    pub outlier: i32,
    /// Its score against the others; NaN if it was not scored.
    pub score: f32,
    /// The largest residual of its map; NaN if it was not scored.
    pub patch_max: f32,
}

// SAFETY: `repr(C)`, begins with its size; numbers, which any bits are.
unsafe impl Versioned for inctrl_prompt_check {
    const NAME: &'static str = "inctrl_prompt_check";
    const FIRST: usize = offset_of!(inctrl_prompt_check, patch_max) + size_of::<f32>();
}

/// A report on a bank. Begin with `inctrl_report report = {0}; report.struct_size = sizeof report;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_report {
    /// sizeof(inctrl_report); set by the caller.
    pub struct_size: usize,
    /// The caller's memory for `map_capacity` residuals, or NULL: receives the mean map of the images, row by row. Where
    /// it is large, the object is badly covered.
    pub mean_map: *mut f32,
    /// Elements at `mean_map`. A map that does not fit is an error; rows and columns are written all the same.
    pub map_capacity: usize,
    /// Number of images that were scored.
    pub prompts: usize,
    /// Number of images of the bank that were not given.
    pub missing: usize,
    /// Number of images of the bank that are copies of others.
    pub copies: usize,
    /// Rows of the map.
    pub grid_rows: u32,
    /// Columns of the map.
    pub grid_cols: u32,
}

// SAFETY: `repr(C)`, begins with its size; numbers and a pointer, which any bits are.
unsafe impl Versioned for inctrl_report {
    const NAME: &'static str = "inctrl_report";
    const FIRST: usize = offset_of!(inctrl_report, grid_cols) + size_of::<u32>();
}

/// The caller's region, if there is one.
///
/// # Safety
/// `roi` is NULL or the caller's.
pub(super) unsafe fn optional_roi(roi: *const inctrl_roi) -> Option<Roi> {
    // SAFETY: as of this function.
    (!roi.is_null()).then(|| unsafe { roi.read_unaligned() }.get())
}

/// The caller's frames in host memory, or a region of each.
///
/// # Safety
/// As [`frames`].
pub(super) unsafe fn host_frames<'a>(
    pointer: *const inctrl_frame,
    count: usize,
    roi: Option<Roi>,
) -> Outcome<Vec<Frame<'a>>> {
    let mut found: Vec<Outcome<Frame<'a>>> = Vec::new();
    let on_host = |frame: AnyFrame<'a>| -> Outcome<Frame<'a>> {
        match frame {
            AnyFrame::Host(frame) => Ok(roi.map_or(Ok(frame), |roi| frame.settled().region(roi))?),
            AnyFrame::Device(frame) => Err(Failure::argument(format!(
                "{frame:?} is in device memory: copy it to host memory, INCTRL_MEMORY_HOST"
            ))),
        }
    };
    // SAFETY: as of this function.
    unsafe { frames(pointer, count, |_, frame| found.push(frame.and_then(on_host))) }?;
    let named = |(i, frame): (usize, Outcome<Frame<'a>>)| {
        frame.map_err(|failure| Failure { text: format!("image {i}: {}", failure.text), ..failure })
    };
    found.into_iter().enumerate().map(named).collect()
}

/// The bank with limits from good images: at most the share `max_false_reject` of good parts will be rejected, whatever
/// the distribution of their scores. This scores each image, one after another.
///
/// Only images that are not in the bank count; if all are in it, each is scored against the others, and the bound is
/// approximate. A share of 0.01 needs 99 different images, 0.05 needs 19; with fewer it is an error.
///
/// @param frames good images in host memory: an array of `count` structures, all with the first one's struct_size
/// @param roi the region of each image that the bank is for, as for inctrl_scorer_score_regions, or NULL
/// @param max_false_reject between 0 and 1, such as 0.01
/// @param calibrated receives the new bank, NULL after an error; `bank` does not change
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_calibrate(
    engine: *const inctrl_engine,
    bank: *const inctrl_bank,
    frames: *const inctrl_frame,
    count: usize,
    roi: *const inctrl_roi,
    max_false_reject: f64,
    calibrated: *mut *mut inctrl_bank,
) -> i32 {
    guard(|| {
        // SAFETY: handles, structures and variable of the caller's, as the header asks.
        unsafe {
            hand_out(calibrated, || {
                let (engine, bank) = (object(engine)?, object(bank)?);
                let frames = host_frames(frames, count, optional_roi(roi))?;
                Ok(inctrl_bank::new(engine.engine.calibrate(&bank.bank, &frames, max_false_reject)?))
            })
        }
    })
}

/// Reads what a bank's limits were computed from.
///
/// @param present receives 1, or 0 if the bank has no calibration; `calibration` is then left unchanged
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_calibration(
    bank: *const inctrl_bank,
    calibration: *mut inctrl_calibration,
    present: *mut i32,
) -> i32 {
    guard(|| {
        if present.is_null() {
            return Err(Failure::argument("the variable for `present` is NULL"));
        }
        // SAFETY: handle, structure and variable of the caller's.
        unsafe {
            let found = object(bank)?.bank.calibration();
            if let Some(found) = found {
                let said = inctrl_calibration {
                    struct_size: 0,
                    max_false_reject: found.max_false_reject(),
                    images: found.scores().len(),
                    source: match found.source() {
                        Source::HeldOut => INCTRL_SOURCE_HELD_OUT,
                        Source::LeaveOneOut => INCTRL_SOURCE_LEAVE_ONE_OUT,
                    },
                    reserved: 0,
                };
                write(calibration, &said)?;
            }
            present.write(i32::from(found.is_some()));
        }
        Ok(())
    })
}

/// How often a good part scores `score` or higher, from the bank's calibration; never below 1 / (images + 1). NaN if
/// the bank has no calibration or is not a bank. Results have the number for their own score in `p_value`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_p_value(bank: *const inctrl_bank, score: f32) -> f64 {
    // SAFETY: a handle of the caller's.
    let bank = unsafe { object(bank) };
    bank.ok().and_then(|bank| Some(bank.bank.calibration()?.p_value(score))).unwrap_or(f64::NAN)
}

/// Scores each image that a bank was built from against the others, one after another, to find odd images and parts of
/// the object that the others do not cover. INCTRL_ERROR_ARGUMENT if no image is in the bank, or there is no other.
///
/// @param frames images in host memory, recognised by their pixels: an array of `count` structures, all with the first
/// one's struct_size
/// @param roi the region of each image that the bank is for, or NULL
/// @param checks an array of `count` structures, all with the first one's struct_size: one for each frame
/// @param report receives the rest, or NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_report(
    engine: *const inctrl_engine,
    bank: *const inctrl_bank,
    frames: *const inctrl_frame,
    count: usize,
    roi: *const inctrl_roi,
    checks: *mut inctrl_prompt_check,
    report: *mut inctrl_report,
) -> i32 {
    guard(|| {
        // SAFETY: structures of the caller's, as the header asks.
        let checks = unsafe { Array::new(checks, count) }?;
        // SAFETY: as above. A structure that cannot be used is found before the slow work.
        let mut own = (!report.is_null()).then(|| unsafe { read(report.cast_const()) }).transpose()?;
        let write_check = |i: usize, found: Option<&ReportedPrompt>| -> Outcome {
            let score = found.map(|prompt| &prompt.check.score);
            let check = inctrl_prompt_check {
                struct_size: 0,
                is_prompt: i32::from(found.is_some()),
                outlier: i32::from(found.is_some_and(|prompt| prompt.outlier)),
                score: score.map_or(f32::NAN, |score| score.score),
                patch_max: score.map_or(f32::NAN, |score| score.map.largest()),
            };
            // SAFETY: structure `i` of the caller's, of whom there are `count`.
            unsafe { write(checks.get(i)?, &check) }
        };
        (0..count).try_for_each(|i| write_check(i, None))?;
        // SAFETY: handles and structures of the caller's, as the header asks.
        let found: BankReport = unsafe {
            let (engine, bank) = (object(engine)?, object(bank)?);
            engine.engine.report(&bank.bank, &host_frames(frames, count, optional_roi(roi))?)?
        };
        found.prompts.iter().try_for_each(|prompt| write_check(prompt.image, Some(prompt)))?;
        let Some(own) = &mut own else { return Ok(()) };
        let (grid, cells) = (found.mean_map.grid, &found.mean_map.cells);
        (own.prompts, own.missing, own.copies) = (found.prompts.len(), found.missing, found.copies);
        (own.grid_rows, own.grid_cols) = (grid.rows as u32, grid.cols as u32);
        // SAFETY: a structure of the caller's, which was read above.
        unsafe { write(report, own) }?;
        if own.mean_map.is_null() {
            return Ok(());
        }
        if own.map_capacity < cells.len() {
            let text =
                format!("the map has {} residuals, but the report has room for {}", cells.len(), own.map_capacity);
            return Err(Failure::argument(text));
        }
        // SAFETY: room for `map_capacity` floats of the caller's, checked just now.
        unsafe { std::ptr::copy_nonoverlapping(cells.as_ptr(), own.mean_map, cells.len()) };
        Ok(())
    })
}
