//! Scorers from C.

use std::ffi::c_char;
use std::mem::offset_of;
use std::num::NonZeroUsize;

use super::abi::{Tagged, Versioned, hand_out, handle, object, read, slice, string};
use super::engine::inctrl_engine;
use super::exclusive::close_exclusive;
use super::frame::{frame, frames, inctrl_frame, inctrl_roi, pixel_format};
use super::result::inctrl_result;
use super::scorer_state::{ScorerState, Work, call};
use super::slot::inctrl_slot;
use super::status::{Failure, Outcome, guard};
use crate::engine::Late;
use crate::methods::Output;

/// Scores frames against the bank of a slot. Make one for each thread or camera. Any thread may use it, but only one at
/// a time: a second thread gets INCTRL_ERROR_BUSY.
pub struct inctrl_scorer {
    tagged: Tagged<ScorerState>,
}

handle!(inctrl_scorer, ScorerState, 4, "scorer");

/// Late: a late result is marked in its field `late` and keeps its verdict.
pub const INCTRL_LATE_MARK: i32 = 0;
/// Late: a late result is marked and never passes. INCTRL_VERDICT_PASS and INCTRL_VERDICT_NONE become
/// INCTRL_VERDICT_REVIEW with INCTRL_REASON_LATE.
pub const INCTRL_LATE_REVIEW: i32 = 1;

/// How a scorer works. Begin with `inctrl_scorer_options options = {0}; options.struct_size = sizeof options;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_scorer_options {
    /// sizeof(inctrl_scorer_options).
    pub struct_size: usize,
    /// The largest number of frames that are encoded at once: 1 for the shortest latency, more for throughput; 0 means
    /// 1. Scores do not depend on it.
    pub capacity: usize,
    /// What a result after its deadline means: INCTRL_LATE_MARK, which is 0, or INCTRL_LATE_REVIEW.
    pub late: i32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size; integers, which any bits are.
unsafe impl Versioned for inctrl_scorer_options {
    const NAME: &'static str = "inctrl_scorer_options";
    const FIRST: usize = offset_of!(inctrl_scorer_options, reserved) + size_of::<u32>();
    fn reserved(&self) -> u32 {
        self.reserved
    }
}

impl inctrl_scorer_options {
    pub(super) fn late(&self) -> Outcome<Late> {
        match self.late {
            INCTRL_LATE_MARK => Ok(Late::Mark),
            INCTRL_LATE_REVIEW => Ok(Late::Review),
            other => Err(Failure::argument(format!("{other} is not a value for `late`: use one of INCTRL_LATE_*"))),
        }
    }
}

/// # Safety
/// Handles of the caller's.
unsafe fn create(
    engine: *const inctrl_engine,
    slot: *const inctrl_slot,
    capacity: usize,
    late: Late,
) -> Outcome<inctrl_scorer> {
    // SAFETY: as of this function.
    let (engine, slot) = unsafe { (object(engine)?, object(slot)?) };
    let capacity = NonZeroUsize::new(capacity)
        .ok_or_else(|| Failure::argument("the capacity is 0 frames: it must be at least 1"))?;
    Ok(inctrl_scorer::from(ScorerState::new(&engine.engine, &slot.slot, capacity, late)?))
}

/// Makes a scorer for the bank in `slot`. Late results are only marked: INCTRL_LATE_MARK.
///
/// @param capacity the largest number of frames that are encoded at once: 1 for the shortest latency, more for
/// throughput. Scores do not depend on it.
/// @param scorer receives the scorer, NULL after an error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_create(
    engine: *const inctrl_engine,
    slot: *const inctrl_slot,
    capacity: usize,
    scorer: *mut *mut inctrl_scorer,
) -> i32 {
    // SAFETY: handles and variable of the caller's.
    guard(|| unsafe { hand_out(scorer, || create(engine, slot, capacity, Late::Mark)) })
}

/// Makes a scorer for the bank in `slot`, with options.
///
/// INCTRL_ERROR_DEVICE if there is not enough memory for the capacity; none is taken then.
///
/// @param options may be freed afterwards
/// @param scorer receives the scorer, NULL after an error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_create_with(
    engine: *const inctrl_engine,
    slot: *const inctrl_slot,
    options: *const inctrl_scorer_options,
    scorer: *mut *mut inctrl_scorer,
) -> i32 {
    guard(|| {
        // SAFETY: handles, structure and variable of the caller's.
        unsafe {
            hand_out(scorer, || {
                let options = read(options)?;
                create(engine, slot, options.capacity.max(1), options.late()?)
            })
        }
    })
}

/// Scores one frame. After a frame of the same size and format this allocates nothing, takes no lock and does no input
/// or output.
///
/// @param deadline_us microseconds from the start of the call after which the result is marked late, or 0. The call is
/// not cut short, and a late pass is still a pass: test `late`, or make the scorer with INCTRL_LATE_REVIEW.
/// @param result receives the result; after any error its verdict is INCTRL_VERDICT_REVIEW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_score(
    scorer: *const inctrl_scorer,
    frame: *const inctrl_frame,
    deadline_us: u64,
    result: *mut inctrl_result,
) -> i32 {
    // SAFETY: as the header asks.
    unsafe { inctrl_scorer_score_batch(scorer, frame, 1, deadline_us, result) }
}

/// Scores frames, as many at a time as the scorer has capacity for. A failing frame does not affect the others.
///
/// @param frames an array of `count` structures, all with the first one's struct_size; may be empty
/// @param results an array of `count` structures, all with the first one's struct_size
/// @return INCTRL_OK, or the status of the first frame that failed
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_score_batch(
    scorer: *const inctrl_scorer,
    frames: *const inctrl_frame,
    count: usize,
    deadline_us: u64,
    results: *mut inctrl_result,
) -> i32 {
    guard(|| {
        // SAFETY: handle and structures of the caller's, as the header asks; the list is emptied before the call
        // returns.
        unsafe {
            call(scorer, results, count, deadline_us, |push| {
                self::frames(frames, count, |i, frame| push(i, frame.map(|frame| (frame, (0, 0)))))
            })
        }
    })
}

/// Scores several regions of one frame, each like a frame. Maps and regions of results are in pixels of the whole
/// frame. If the bank has an ignore mask, each region must have the mask's size.
///
/// @param rois `count` rectangles inside the frame
/// @param results an array of `count` structures, all with the first one's struct_size
/// @return INCTRL_OK, or the status of the first region that failed
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_score_regions(
    scorer: *const inctrl_scorer,
    frame: *const inctrl_frame,
    rois: *const inctrl_roi,
    count: usize,
    deadline_us: u64,
    results: *mut inctrl_result,
) -> i32 {
    guard(|| {
        // SAFETY: handle and structures of the caller's, as the header asks; the list is emptied before the call
        // returns.
        unsafe {
            call(scorer, results, count, deadline_us, |push| {
                let (frame, rois) = (self::frame(frame)?.settled(), slice(rois, count, "regions of interest")?);
                for (i, roi) in rois.iter().enumerate() {
                    push(i, frame.region(roi.get()).map(|region| (region, (roi.x, roi.y))).map_err(Failure::from));
                }
                Ok(())
            })
        }
    })
}

/// Reads one output of a result of the scorer's last call, by its name in the method. All current methods have "score"
/// and "patch_max"; some have more. An unknown name is an error here; the fields of inctrl_result are NaN for outputs
/// that the method does not have.
///
/// @param result which result of the last call, counted from 0
/// @param value receives the number; NaN after an error, or if that result has no score
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_output(
    scorer: *const inctrl_scorer,
    result: usize,
    name: *const c_char,
    value: *mut f32,
) -> i32 {
    guard(|| {
        if value.is_null() {
            return Err(Failure::argument("the variable for the value is NULL"));
        }
        // SAFETY: a variable of the caller's.
        unsafe { value.write(f32::NAN) };
        // SAFETY: handle and string of the caller's.
        let (state, name) = unsafe { (object(scorer)?, string(name, "name of an output")?) };
        let mut entered = state.enter()?;
        let Work { names, outputs, .. } = entered.work();
        let found = output_of(names, outputs, result, name)?;
        // SAFETY: as above.
        unsafe { value.write(found) };
        Ok(())
    })
}

/// Output `name` of result `result`, of outputs `[results, names]`.
pub(super) fn output_of(names: &[Output], outputs: &[f32], result: usize, name: &str) -> Outcome<f32> {
    let Some(column) = names.iter().position(|output| output.name == name) else {
        let known: Vec<&str> = names.iter().map(|output| output.name).collect();
        let text = format!("the scorer's method has no output `{name}`: it has {}", known.join(", "));
        return Err(Failure::argument(text));
    };
    let count = outputs.len() / names.len();
    if result >= count {
        let text = format!("result {result} was asked for, but the last call had {count}, counted from 0");
        return Err(Failure::argument(text));
    }
    Ok(outputs[result * names.len() + column])
}

/// Rows and columns of the map of a frame of `width` x `height` pixels with the current bank of the scorer's slot: with
/// tiles, of the whole frame's. Any thread may call this, even while another one scores.
///
/// @param rows receives the rows
/// @param cols receives the columns
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_grid(
    scorer: *const inctrl_scorer,
    width: u32,
    height: u32,
    rows: *mut u32,
    cols: *mut u32,
) -> i32 {
    guard(|| {
        if rows.is_null() || cols.is_null() {
            return Err(Failure::argument("the variable for the rows or for the columns is NULL"));
        }
        // SAFETY: a handle of the caller's.
        let grid = unsafe { object(scorer) }?.slot.grid(width as usize, height as usize)?;
        // SAFETY: variables of the caller's.
        unsafe {
            rows.write(grid.rows as u32);
            cols.write(grid.cols as u32);
        }
        Ok(())
    })
}

/// Scores a grey frame of this size and format `count` times and discards the results. Memory, caches and clock rates
/// are then as in steady operation. Call it before the first frame, and in gaps between frames to keep the device warm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_warm_up(
    scorer: *const inctrl_scorer,
    width: u32,
    height: u32,
    format: i32,
    count: u32,
) -> i32 {
    guard(|| {
        // SAFETY: a handle of the caller's.
        let state = unsafe { object(scorer) }?;
        let mut entered = state.enter()?;
        let scorer = &mut entered.work().scorer;
        // The first one separately, as it may take memory.
        scorer.warm_up(width as usize, height as usize, pixel_format(format)?, count.min(1))?;
        state.tell_of_memory(scorer);
        Ok(scorer.warm_up(width as usize, height as usize, pixel_format(format)?, count.saturating_sub(1))?)
    })
}

/// Closes a scorer and sets the variable to NULL. Closing NULL does nothing. A scorer that another thread is using
/// stays open, with INCTRL_ERROR_BUSY; in the child after a fork it is closed anyway. Its slot, engine and bank are not
/// affected.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_close(scorer: *mut *mut inctrl_scorer) -> i32 {
    // SAFETY: a variable of the caller's, with a handle of a scorer that nobody will use any more.
    guard(|| unsafe { close_exclusive(scorer, |state| &state.work) })
}
