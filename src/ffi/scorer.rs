//! Scorers from C: the hot path.

use std::cell::UnsafeCell;
use std::ffi::{CString, c_char};
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::abi::{Tagged, Versioned, close, hand_out, handle, object, slice, write};
use super::engine::{c_string, inctrl_engine};
use super::frame::{frame, frames, inctrl_frame, inctrl_roi, pixel_format};
use super::result::{Place, bank_id, inctrl_result};
use super::slot::inctrl_slot;
use super::status::{Failure, INCTRL_ERROR_BUSY, Outcome, guard};
use crate::detector::{BankSlot, Latencies, Scorer};
use crate::preprocess::AnyFrame;

/// Scores frames against the bank of a slot. Make one for each thread or camera: any thread may use it, but only one at a time;
/// a second thread gets INCTRL_ERROR_BUSY.
pub struct inctrl_scorer {
    tagged: Tagged<Lane>,
}

/// What the handle holds.
pub(super) struct Lane {
    /// Set while a call uses `work`.
    busy: AtomicBool,
    work: UnsafeCell<Work>,
    slot: Arc<BankSlot>,
    model_hash: CString,
    device: CString,
    opened: Instant,
    latencies: Latencies,
    errors: AtomicU64,
    late: AtomicU64,
    last_error: Mutex<String>,
}

handle!(inctrl_scorer, Lane, 4, "scorer");

struct Work {
    scorer: Scorer,
    /// Empty between calls; kept for its memory.
    frames: Vec<AnyFrame<'static>>,
    places: Vec<Job>,
}

/// One result of a call.
struct Job {
    place: Place,
    origin: (u32, u32),
}

// SAFETY: `work` is reached through `enter` alone, which lets one thread in at a time and orders what it did before what the next
// one sees; `Scorer` is `Send`. `Place` holds pointers of the caller during a call only. All else is `Sync` by itself.
unsafe impl Sync for Lane {}

/// Lets the next thread in when it is dropped, after a panic too.
struct Entered<'a>(&'a Lane);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

impl Entered<'_> {
    fn work(&mut self) -> &mut Work {
        // SAFETY: the flag was taken by this value and is given back when it is dropped; it is borrowed mutably meanwhile.
        unsafe { &mut *self.0.work.get() }
    }
}

impl Lane {
    fn enter(&self) -> Outcome<Entered<'_>> {
        match self.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(Entered(self)),
            Err(_) => Err(Failure {
                code: INCTRL_ERROR_BUSY,
                text: "another thread is using this scorer: make a scorer for each thread".into(),
            }),
        }
    }

    /// Remembers an error of a frame for the health report, and says so in its result.
    fn failed(&self, place: &mut Place, failure: &Failure) -> Outcome {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone_from(&failure.text);
        place.fail(failure.code)
    }

    /// Scores the frames of `work`, up to the scorer's capacity at a time, into its places.
    fn run(&self, work: &mut Work, begin: Instant, deadline: Option<Duration>) -> Outcome {
        let Work { scorer, frames, places } = work;
        let mut first = Ok(());
        let capacity = scorer.capacity();
        for (frames, jobs) in frames.chunks(capacity).zip(places.chunks_mut(capacity)) {
            if let Ok(scores) = scorer.score_some(frames) {
                for (score, job) in scores.iter().zip(jobs) {
                    let done = self.deliver(score, job, begin, deadline);
                    first = first.and(done);
                }
                continue;
            }
            // One of them fails: each by itself, so that it costs no other its score. The bits are the same.
            for (frame, job) in frames.iter().zip(jobs) {
                let done = match scorer.score(*frame) {
                    Ok(score) => self.deliver(score, job, begin, deadline),
                    Err(error) => {
                        let failure = Failure::from(error);
                        self.failed(&mut job.place, &failure)?;
                        Err(failure)
                    }
                };
                first = first.and(done);
            }
        }
        first
    }

    fn deliver(&self, score: &crate::Score, job: &mut Job, begin: Instant, deadline: Option<Duration>) -> Outcome {
        let latency = begin.elapsed();
        let late = deadline.is_some_and(|deadline| latency > deadline);
        if let Err(failure) = job.place.fill(score, job.origin, latency.as_micros() as u64, late) {
            self.failed(&mut job.place, &failure)?;
            return Err(failure);
        }
        self.latencies.record(latency);
        self.late.fetch_add(u64::from(late), Ordering::Relaxed);
        Ok(())
    }
}

/// The call's deadline; 0 is none.
fn deadline(microseconds: u64) -> Option<Duration> {
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

/// Empties lists that point into the caller's memory, whichever way a call ends.
struct Clear<'a>(&'a mut Work);

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        self.0.frames.clear();
        self.0.places.clear();
    }
}

/// A scorer of the bank in `slot`.
///
/// @param capacity most frames encoded at once: 1 for the shortest latency, more for throughput. Scores do not depend on it.
/// @param scorer receives the scorer, NULL after an error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_create(
    engine: *const inctrl_engine,
    slot: *const inctrl_slot,
    capacity: usize,
    scorer: *mut *mut inctrl_scorer,
) -> i32 {
    guard(|| {
        // SAFETY: handles and variable of the caller's.
        unsafe {
            hand_out(scorer, || {
                let (engine, slot) = (object(engine)?, object(slot)?);
                let capacity = NonZeroUsize::new(capacity)
                    .ok_or_else(|| Failure::argument("the capacity is 0 frames: it must be at least 1"))?;
                let work = Work {
                    scorer: engine.engine.scorer_of(&slot.slot, capacity)?,
                    frames: Vec::with_capacity(capacity.get()),
                    places: Vec::with_capacity(capacity.get()),
                };
                Ok(inctrl_scorer::from(Lane {
                    busy: AtomicBool::new(false),
                    work: UnsafeCell::new(work),
                    slot: Arc::clone(&slot.slot),
                    model_hash: c_string(engine.engine.model_hash()),
                    device: c_string(&engine.engine.device()),
                    opened: Instant::now(),
                    latencies: Latencies::default(),
                    errors: AtomicU64::new(0),
                    late: AtomicU64::new(0),
                    last_error: Mutex::default(),
                }))
            })
        }
    })
}

/// Scores one frame. After a frame of the same size and format this allocates nothing, takes no lock and does no input or output.
///
/// @param deadline_us microseconds from the beginning of the call after which the result is marked late, or 0; it always comes
/// @param result receives the result; after any error it says INCTRL_VERDICT_REVIEW
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

/// Scores frames, as many at a time as the scorer has capacity for. A frame that fails costs no other its score.
///
/// @param frames `count` structures one after the other, all of the size that the first one says; none is fine
/// @param results `count` structures one after the other, all of the size that the first one says
/// @return INCTRL_OK, or the status of the first frame that failed
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_score_batch(
    scorer: *const inctrl_scorer,
    frames: *const inctrl_frame,
    count: usize,
    deadline_us: u64,
    results: *mut inctrl_result,
) -> i32 {
    let begin = Instant::now();
    guard(|| {
        // SAFETY: handle and structures of the caller's, as the header asks.
        let places = unsafe { places(results, count) }?;
        // SAFETY: as above.
        let lane = unsafe { object(scorer) };
        let Ok(lane) = lane else { return refuse(places, lane.err()) };
        let mut entered = match lane.enter() {
            Ok(entered) => entered,
            Err(busy) => return refuse(places, Some(busy)),
        };
        let clear = Clear(entered.work());
        let mut bad = Ok(());
        // SAFETY: as above; the list is emptied before the call returns.
        let listed = unsafe {
            self::frames(frames, count, |i, frame| {
                // SAFETY: `places` has seen all of them.
                let place = place(results, i);
                match (frame, place) {
                    (Ok(frame), Ok(place)) => {
                        clear.0.frames.push(frame);
                        clear.0.places.push(Job { place, origin: (0, 0) });
                    }
                    (Err(failure), Ok(mut place)) => {
                        let failure = lane.failed(&mut place, &failure).err().unwrap_or(failure);
                        keep_first(&mut bad, failure);
                    }
                    (_, Err(failure)) => keep_first(&mut bad, failure),
                }
            })
        };
        if let Err(failure) = listed {
            return refuse(places, Some(failure));
        }
        let scored = lane.run(clear.0, begin, deadline(deadline_us));
        bad.and(scored)
    })
}

/// Scores several regions of one frame, each as if it were a frame; maps and regions of results are in pixels of the whole frame.
/// Where the bank has an ignore mask, each has the size of the mask.
///
/// @param rois `count` rectangles inside the frame
/// @param results `count` structures one after the other, all of the size that the first one says
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
    let begin = Instant::now();
    guard(|| {
        // SAFETY: handle and structures of the caller's, as the header asks.
        let places = unsafe { places(results, count) }?;
        // SAFETY: as above.
        let given = unsafe {
            object(scorer).and_then(|lane| Ok((lane, self::frame(frame)?, slice(rois, count, "regions of interest")?)))
        };
        let (lane, frame, rois) = match given {
            Ok(given) => given,
            Err(failure) => return refuse(places, Some(failure)),
        };
        let mut entered = match lane.enter() {
            Ok(entered) => entered,
            Err(busy) => return refuse(places, Some(busy)),
        };
        let clear = Clear(entered.work());
        let mut bad = Ok(());
        for (i, roi) in rois.iter().enumerate() {
            // SAFETY: `places` has seen all of them.
            let mut place = unsafe { place(results, i) }?;
            match frame.region(roi.get()) {
                Ok(region) => {
                    clear.0.frames.push(region);
                    clear.0.places.push(Job { place, origin: (roi.x, roi.y) });
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    lane.failed(&mut place, &failure)?;
                    keep_first(&mut bad, failure);
                }
            }
        }
        let scored = lane.run(clear.0, begin, deadline(deadline_us));
        bad.and(scored)
    })
}

fn keep_first(kept: &mut Outcome, failure: Failure) {
    if kept.is_ok() {
        *kept = Err(failure);
    }
}

/// The caller's results: where they begin and how many they are, every one of them marked as failed.
#[derive(Clone, Copy)]
struct Places {
    first: *mut inctrl_result,
    count: usize,
}

/// # Safety
/// As [`Place::new`], for each of `count` structures of the first one's size.
unsafe fn places(first: *mut inctrl_result, count: usize) -> Outcome<Places> {
    let mut checked = Ok(());
    for i in 0..count {
        // SAFETY: as of this function.
        let place = unsafe { place(first, i) };
        checked = checked.and(place.map(drop));
    }
    checked.map(|()| Places { first, count })
}

/// # Safety
/// As [`places`], for a result among them.
unsafe fn place(first: *mut inctrl_result, i: usize) -> Outcome<Place> {
    // SAFETY: as of this function.
    let step = unsafe { super::abi::size_at(first.cast_const()) }?;
    // SAFETY: the caller has the structure.
    unsafe { Place::new(first.byte_add(i * step)) }
}

/// Ends a call that scored nothing: every result has its status.
fn refuse(places: Places, failure: Option<Failure>) -> Outcome {
    let failure = failure.unwrap_or_else(|| Failure::argument("the scorer is NULL"));
    for i in 0..places.count {
        // SAFETY: `places` has seen all of them.
        unsafe { place(places.first, i) }?.fail(failure.code)?;
    }
    Err(failure)
}

/// Scores a grey frame of a size and format `count` times and forgets the results: memory, caches and clocks are then as in
/// steady running. Call it before the first frame, and in gaps between frames to keep the device warm.
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
        Ok(lane.enter()?.work().scorer.warm_up(width as usize, height as usize, pixel_format(format)?, count)?)
    })
}

/// How a scorer is doing. Begin with `inctrl_health health = {0}; health.struct_size = sizeof health;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_health {
    /// sizeof(inctrl_health); set by the caller.
    pub struct_size: usize,
    /// Identity of the model; valid until the scorer is closed.
    pub model_hash: *const c_char,
    /// The device and how it is used; valid until the scorer is closed.
    pub device: *const c_char,
    /// Identity of the bank in the slot: 16 hexadecimal digits and a zero.
    pub bank_id: [c_char; 24],
    /// Which of the slot's banks that is, counted from 1.
    pub generation: u64,
    /// Microseconds since the scorer was made.
    pub uptime_us: u64,
    /// Frames scored, without those of warm-up.
    pub frames: u64,
    /// Frames that failed.
    pub errors: u64,
    /// Frames whose result came after the deadline.
    pub late: u64,
    /// Median latency in microseconds; quantiles are at most 1/32 too long.
    pub p50_us: u64,
    /// Latency that 90 % of frames stay within.
    pub p90_us: u64,
    /// Latency that 99 % of frames stay within.
    pub p99_us: u64,
    /// Latency that 99.9 % of frames stay within.
    pub p999_us: u64,
    /// The longest latency, to the microsecond.
    pub max_us: u64,
    /// The error of the last frame that failed, in UTF-8, cut off if need be; "" if none did.
    pub last_error: [c_char; 512],
}

// SAFETY: `repr(C)`, begins with its size; numbers and pointers, which any bits are.
unsafe impl Versioned for inctrl_health {
    const NAME: &'static str = "inctrl_health";
    const FIRST: usize = size_of::<inctrl_health>();
}

/// How a scorer is doing. Any thread may ask, also while another one scores.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_health(scorer: *const inctrl_scorer, health: *mut inctrl_health) -> i32 {
    guard(|| {
        // SAFETY: a handle of the caller's.
        let lane = unsafe { object(scorer) }?;
        let (bank, generation) = lane.slot.current();
        let micros = |time: Duration| time.as_micros() as u64;
        let quantile = |q| micros(lane.latencies.quantile(q));
        let mut last_error = [0; 512];
        let text = lane.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        // Cut between characters, so that it stays UTF-8.
        let cut = (0..last_error.len()).rev().find(|cut| text.is_char_boundary(*cut)).unwrap_or(0);
        for (place, byte) in last_error.iter_mut().zip(text[..cut].bytes()) {
            *place = byte as c_char;
        }
        drop(text);
        let report = inctrl_health {
            struct_size: 0,
            model_hash: lane.model_hash.as_ptr(),
            device: lane.device.as_ptr(),
            bank_id: bank_id(bank.bank_id()),
            generation,
            uptime_us: micros(lane.opened.elapsed()),
            frames: lane.latencies.count(),
            errors: lane.errors.load(Ordering::Relaxed),
            late: lane.late.load(Ordering::Relaxed),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: micros(lane.latencies.max()),
            last_error,
        };
        // SAFETY: a structure of the caller's.
        unsafe { write(health, &report) }
    })
}

/// Closes a scorer and sets the variable to NULL, which is fine to close again. A scorer that is found in use by another thread
/// stays open: INCTRL_ERROR_BUSY. Its slot, engine and bank stay as they are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_scorer_close(scorer: *mut *mut inctrl_scorer) -> i32 {
    guard(|| {
        if !scorer.is_null() {
            // SAFETY: a variable of the caller's.
            let pointer = unsafe { scorer.read() };
            if !pointer.is_null() {
                // SAFETY: a handle of the caller's. Whoever is in it is found; nobody may come after.
                drop(unsafe { object(pointer) }?.enter()?);
            }
        }
        // SAFETY: a variable of the caller's, whose handle nobody uses.
        unsafe { close(scorer) }
    })
}
