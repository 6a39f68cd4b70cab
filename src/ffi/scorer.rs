//! Scorers from C: the hot path.

use std::cell::UnsafeCell;
use std::ffi::{CString, c_char};
use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::abi::{Tagged, Versioned, abandon, close, hand_out, handle, object, read, slice, string};
use super::engine::{c_string, inctrl_engine};
use super::frame::{frame, frames, inctrl_frame, inctrl_roi, pixel_format};
use super::health::Counts;
use super::log::{INCTRL_LOG_INFO, INCTRL_LOG_WARNING, log};
use super::places::Places;
use super::result::{Place, inctrl_result};
use super::slot::inctrl_slot;
use super::status::{Failure, INCTRL_ERROR_BUSY, INCTRL_ERROR_DEVICE, Outcome, guard};
use crate::engine::{Deadline, Late, Scorer, SharedBank};
use crate::image::AnyFrame;
use crate::methods::Output;
use crate::process::Origin;

/// Scores frames against the bank of a slot. Make one for each thread or camera. Any thread may use it, but only one at
/// a time: a second thread gets INCTRL_ERROR_BUSY.
pub struct inctrl_scorer {
    tagged: Tagged<Lane>,
}

/// What the handle holds.
pub(super) struct Lane {
    /// Set while a call uses `work`.
    busy: AtomicBool,
    work: UnsafeCell<Work>,
    origin: Origin,
    late: Late,
    pub(super) slot: Arc<SharedBank>,
    pub(super) model_hash: CString,
    pub(super) device: CString,
    pub(super) counts: Counts,
    /// Whether a frame with doubtful brightness has been logged.
    doubted: AtomicBool,
}

handle!(inctrl_scorer, Lane, 4, "scorer");

struct Work {
    scorer: Scorer,
    /// Empty between calls; kept for its memory.
    frames: Vec<AnyFrame<'static>>,
    jobs: Vec<Job>,
    /// The outputs of the scorer's method.
    names: &'static [Output],
    /// The outputs of every result of the last call, `[results, names]`; NaN if there is none.
    outputs: Vec<f32>,
}

/// One result of a call.
struct Job {
    /// Index of the result in the call.
    index: usize,
    place: Place,
    origin: (u32, u32),
}

// SAFETY: `work` is reached through `enter` alone, which lets one thread in at a time and orders what it did before
// what the next one sees; `Scorer` is `Send`. `Place` holds pointers of the caller during a call only. All else is
// `Sync` by itself.
unsafe impl Sync for Lane {}

/// Releases the scorer when it is dropped, even after a panic.
struct Entered<'a>(&'a Lane);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

impl Entered<'_> {
    fn work(&mut self) -> &mut Work {
        // SAFETY: the flag was taken by this value and is given back when it is dropped; it is borrowed mutably
        // meanwhile.
        unsafe { &mut *self.0.work.get() }
    }
}

impl Lane {
    fn enter(&self) -> Outcome<Entered<'_>> {
        match self.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(Entered(self)),
            Err(_) => {
                let text = if self.origin.is_parent() {
                    "this scorer was in use when the process forked, or another thread is using it: make a scorer \
                    for each thread of the child process"
                } else {
                    "another thread is using this scorer: make a scorer for each thread"
                };
                Err(Failure { code: INCTRL_ERROR_BUSY, text: text.into() })
            }
        }
    }

    /// Scores the frames of `work`, up to the scorer's capacity at a time, into its places.
    fn run(&self, work: &mut Work, begin: Instant, deadline: Option<Deadline>, first: &mut First) {
        let Work { scorer, frames, jobs, names, outputs } = work;
        let mut keep = |index: usize, score: &crate::Score| {
            let own = outputs.chunks_exact_mut(names.len()).nth(index);
            own.into_iter().flatten().zip(score.outputs()).for_each(|(own, (_, value))| *own = value);
        };
        let capacity = scorer.capacity();
        for (frames, jobs) in frames.chunks(capacity).zip(jobs.chunks_mut(capacity)) {
            if let Ok(scores) = scorer.score_some(frames) {
                for (score, job) in scores.iter().zip(jobs) {
                    keep(job.index, score);
                    self.deliver(score, job, begin, deadline, first);
                }
                self.tell_of_memory(scorer);
                continue;
            }
            // One of them fails: scores each by itself, so that the others keep their scores. The bits are the same.
            for (frame, job) in frames.iter().zip(jobs) {
                match scorer.score(*frame) {
                    Ok(score) => {
                        keep(job.index, score);
                        self.deliver(score, job, begin, deadline, first);
                    }
                    Err(error) => self.failed(job.index, Ok(&mut job.place), error.into(), first),
                }
                self.tell_of_memory(scorer);
            }
        }
    }

    /// Logs that a call took memory for a map with a new number of rows and columns.
    fn tell_of_memory(&self, scorer: &Scorer) {
        if let Some(grid) = scorer.grown() {
            let class = self.slot.current().0.class().to_owned();
            log(INCTRL_LOG_INFO, &format!("a scorer of class `{class}` took memory for the first map of {grid} cells"));
        }
    }

    fn deliver(
        &self,
        score: &crate::Score,
        job: &mut Job,
        begin: Instant,
        deadline: Option<Deadline>,
        first: &mut First,
    ) {
        let latency = begin.elapsed();
        let (late, decision) =
            deadline.map_or((false, score.decision), |deadline| deadline.judge(latency, score.decision));
        match job.place.fill(score, decision, job.origin, latency.as_micros() as u64, late) {
            Ok(()) => self.counts.scored(latency, late),
            Err(failure) => self.failed(job.index, Ok(&mut job.place), failure, first),
        }
        if let Some(doubt) = score.depth_doubt
            && !self.doubted.swap(true, Ordering::Relaxed)
        {
            log(INCTRL_LOG_WARNING, &format!("a frame of class `{}`: {doubt}", self.slot.current().0.class()));
        }
    }

    /// Counts a result without a score, and marks it if it can be written to.
    fn failed(&self, index: usize, place: Result<&mut Place, ()>, failure: Failure, first: &mut First) {
        self.counts.failed(1, &failure.text);
        if let Ok(place) = place {
            // The result was written to before, so its structure is valid.
            let _ = place.fail(failure.code);
        }
        first.keep(index, failure);
    }
}

/// The first failure among a call's results.
#[derive(Default)]
struct First(Option<(usize, Failure)>);

impl First {
    fn keep(&mut self, index: usize, failure: Failure) {
        if self.0.as_ref().is_none_or(|(kept, _)| index < *kept) {
            self.0 = Some((index, failure));
        }
    }

    fn outcome(self) -> Outcome {
        self.0.map_or(Ok(()), |(_, failure)| Err(failure))
    }
}

/// Empties lists that point into the caller's memory, however a call ends.
struct Clear<'a>(&'a mut Work);

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        self.0.frames.clear();
        self.0.jobs.clear();
    }
}

/// A call of the hot path: marks the results, lets `list` collect the frames to score for them, and scores these. A
/// failure of `list` applies to every result.
///
/// # Safety
/// Handle and results are the caller's, as the header asks; what `list` lists lives until this returns.
unsafe fn call(
    scorer: *const inctrl_scorer,
    results: *mut inctrl_result,
    count: usize,
    deadline_us: u64,
    list: impl FnOnce(&mut dyn FnMut(usize, Outcome<(AnyFrame<'static>, (u32, u32))>)) -> Outcome,
) -> Outcome {
    let begin = Instant::now();
    // SAFETY: as of this function.
    let places = unsafe { Places::new(results, count) };
    // SAFETY: as above.
    let lane = match unsafe { object(scorer) } {
        Ok(lane) => lane,
        Err(failure) => {
            if let Ok(places) = places {
                places.fail(failure.code);
            }
            return Err(failure);
        }
    };
    let places = places.inspect_err(|failure| lane.counts.failed(1, &failure.text))?;
    let refuse = |failure: Failure| {
        lane.counts.failed(count as u64, &failure.text);
        places.fail(failure.code);
        Err(failure)
    };
    let mut entered = match lane.enter() {
        Ok(entered) => entered,
        Err(busy) => return refuse(busy),
    };
    let clear = Clear(entered.work());
    let mut first = First::default();
    let Work { frames, jobs, names, outputs, .. } = &mut *clear.0;
    outputs.clear();
    let numbers = count.saturating_mul(names.len());
    if frames.try_reserve(count).is_err() || jobs.try_reserve(count).is_err() || outputs.try_reserve(numbers).is_err() {
        let text = format!("a call for {count} results: not enough memory for the list of them; score fewer at once");
        return refuse(Failure { code: INCTRL_ERROR_DEVICE, text });
    }
    outputs.resize(numbers, f32::NAN);
    let listed = list(&mut |index, given| match (given, places.get(index)) {
        (Ok((frame, origin)), Ok(place)) => {
            clear.0.frames.push(frame);
            clear.0.jobs.push(Job { index, place, origin });
        }
        (Err(failure), Ok(mut place)) => lane.failed(index, Ok(&mut place), failure, &mut first),
        (_, Err(failure)) => lane.failed(index, Err(()), failure, &mut first),
    });
    if let Err(failure) = listed {
        return refuse(failure);
    }
    let deadline = (deadline_us > 0).then(|| Deadline { limit: Duration::from_micros(deadline_us), late: lane.late });
    lane.run(clear.0, begin, deadline, &mut first);
    first.outcome()
}

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
    let work = Work {
        scorer: engine.engine.scorer_of(&slot.slot, capacity)?,
        frames: Vec::with_capacity(capacity.get()),
        jobs: Vec::with_capacity(capacity.get()),
        names: slot.slot.current().0.outputs(),
        outputs: Vec::new(),
    };
    Ok(inctrl_scorer::from(Lane {
        busy: AtomicBool::new(false),
        work: UnsafeCell::new(work),
        origin: Origin::here(),
        late,
        slot: Arc::clone(&slot.slot),
        model_hash: c_string(engine.engine.model_hash()),
        device: c_string(&engine.engine.device()),
        counts: Counts::new(),
        doubted: AtomicBool::new(false),
    }))
}

/// Makes a scorer for the bank in `slot`. Late results are only marked: INCTRL_LATE_MARK.
///
/// @param capacity the largest number of frames that are encoded at once: 1 for the shortest latency, more for
/// throughput. Scores do not depend on it. @param scorer receives the scorer, NULL after an error
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
                let late = match options.late {
                    INCTRL_LATE_MARK => Late::Mark,
                    INCTRL_LATE_REVIEW => Late::Review,
                    other => {
                        let text = format!("{other} is not a value for `late`: use one of INCTRL_LATE_*");
                        return Err(Failure::argument(text));
                    }
                };
                create(engine, slot, options.capacity.max(1), late)
            })
        }
    })
}

/// Scores one frame. After a frame of the same size and format this allocates nothing, takes no lock and does no input
/// or output.
///
/// @param deadline_us microseconds from the start of the call after which the result is marked late, or 0. The call is
/// not cut short, and a late pass is still a pass: test `late`, or make the scorer with INCTRL_LATE_REVIEW. @param
/// result receives the result; after any error its verdict is INCTRL_VERDICT_REVIEW
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
/// @param frames an array of `count` structures, all with the first one's struct_size; may be empty @param results an
/// array of `count` structures, all with the first one's struct_size @return INCTRL_OK, or the status of the first
/// frame that failed
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
/// @param rois `count` rectangles inside the frame @param results an array of `count` structures, all with the first
/// one's struct_size @return INCTRL_OK, or the status of the first region that failed
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
/// @param result which result of the last call, counted from 0 @param value receives the number; NaN after an error, or
/// if that result has no score
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
        let (lane, name) = unsafe { (object(scorer)?, string(name, "name of an output")?) };
        let mut entered = lane.enter()?;
        let Work { names, outputs, .. } = entered.work();
        let Some(column) = names.iter().position(|output| output.name == name) else {
            let known: Vec<&str> = names.iter().map(|output| output.name).collect();
            return Err(Failure::argument(format!(
                "the scorer's method has no output `{name}`: it has {}",
                known.join(", ")
            )));
        };
        let count = outputs.len() / names.len();
        if result >= count {
            return Err(Failure::argument(format!(
                "result {result} was asked for, but the last call had {count}, counted from 0"
            )));
        }
        // SAFETY: as above.
        unsafe { value.write(outputs[result * names.len() + column]) };
        Ok(())
    })
}

/// Rows and columns of the map of a frame of `width` x `height` pixels with the current bank of the scorer's slot. Any
/// thread may call this, even while another one scores.
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
        let lane = unsafe { object(scorer) }?;
        let mut entered = lane.enter()?;
        let scorer = &mut entered.work().scorer;
        // The first one separately, as it may take memory.
        scorer.warm_up(width as usize, height as usize, pixel_format(format)?, count.min(1))?;
        lane.tell_of_memory(scorer);
        Ok(scorer.warm_up(width as usize, height as usize, pixel_format(format)?, count.saturating_sub(1))?)
    })
}

/// Closes a scorer and sets the variable to NULL. Closing NULL does nothing. A scorer that another thread is using
/// stays open, with INCTRL_ERROR_BUSY; in the child after a fork it is closed anyway. Its slot, engine and bank are not
/// affected.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_close(scorer: *mut *mut inctrl_scorer) -> i32 {
    guard(|| {
        if !scorer.is_null() {
            // SAFETY: a variable of the caller's.
            let pointer = unsafe { scorer.read() };
            if !pointer.is_null() {
                // SAFETY: a handle of the caller's. Whoever is in it is found; nobody may come after.
                let lane = unsafe { object(pointer) }?;
                match lane.enter() {
                    Ok(entered) => drop(entered),
                    // The thread that used it at the fork does not exist in the child, and what it was about to change
                    // cannot be freed.
                    Err(_) if lane.origin.is_parent() => {
                        // SAFETY: a variable of the caller's, with a handle of a scorer.
                        unsafe { abandon(scorer) };
                        return Ok(());
                    }
                    Err(busy) => return Err(busy),
                }
            }
        }
        // SAFETY: a variable of the caller's, whose handle nobody uses.
        unsafe { close(scorer) }
    })
}
