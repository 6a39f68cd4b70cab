//! Regions of a frame against banks of their own, from C.

use std::ffi::c_char;
use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::abi::{Array, Tagged, Versioned, hand_out, handle, object, read, slice, string, write};
use super::bank::inctrl_thresholds;
use super::engine::inctrl_engine;
use super::exclusive::{Exclusive, SCORER, close_exclusive};
use super::frame::{frame, inctrl_frame, inctrl_roi};
use super::log::{INCTRL_LOG_WARNING, log};
use super::places::Places;
use super::result::inctrl_result;
use super::scorer::{inctrl_scorer_options, output_of};
use super::slot::inctrl_slot;
use super::status::{Failure, Outcome, guard};
use crate::engine::{BestBank, Deadline, Inspection, Late, RoiScorer, Score};
use crate::image::AnyFrame;
use crate::memory;
use crate::methods::Output;

/// Scores regions of a frame, each against whichever of its banks a call names. A region is encoded once, whatever the
/// number of its banks. Any thread may use it, but only one at a time: a second thread gets INCTRL_ERROR_BUSY.
pub struct inctrl_roi_scorer {
    tagged: Tagged<RoiState>,
}

handle!(inctrl_roi_scorer, RoiState, 5, "scorer of regions");

/// What the handle holds.
pub(super) struct RoiState {
    work: Exclusive<RoiWork>,
    late: Late,
}

/// What one thread at a time works with.
struct RoiWork {
    scorer: RoiScorer,
    /// The numbers of all slots, for regions that name none.
    all: Vec<usize>,
    names: &'static [Output],
    /// The outputs of every result of the last call, `[results, names]`; NaN if there is none.
    outputs: Vec<f32>,
    /// The best bank of every region of the last call, if it was scored.
    best: Vec<Option<BestBank>>,
    /// Empty between calls; kept for its memory.
    asked: Vec<Inspection<'static>>,
    /// Whether a frame with doubtful brightness has been logged.
    doubted: bool,
}

/// A region of a frame, and what it is compared with. Begin with
/// `inctrl_inspection inspection = {0}; inspection.struct_size = sizeof inspection;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_inspection {
    /// sizeof(inctrl_inspection).
    pub struct_size: usize,
    /// `slot_count` places of slots in the list that the scorer was made with, counted from 0. NULL with a `slot_count`
    /// of 0 means all of them. They must hold banks with the same fit, ignore mask and layout of tiles.
    pub slots: *const usize,
    /// Number of slots.
    pub slot_count: usize,
    /// Limits for this region in place of those of its banks, or NULL.
    pub thresholds: *const inctrl_thresholds,
    /// The region, if `has_roi` is 1.
    pub roi: inctrl_roi,
    /// 1 if `roi` is set. With 0 the region is the whole frame.
    pub has_roi: i32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size; addresses and integers, which any bits are.
unsafe impl Versioned for inctrl_inspection {
    const NAME: &'static str = "inctrl_inspection";
    const FIRST: usize = offset_of!(inctrl_inspection, reserved) + size_of::<u32>();
    fn reserved(&self) -> u32 {
        self.reserved
    }
}

/// The bank that a region fits best: the one with the smallest score. If each bank is a product, this is the product that
/// the region shows. Begin with `inctrl_best_bank best = {0}; best.struct_size = sizeof best;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_best_bank {
    /// sizeof(inctrl_best_bank); set by the caller.
    pub struct_size: usize,
    /// Its place among the slots of the inspection, counted from 0; of several with the same value, the first.
    pub place: usize,
    /// Its `scaled` score if `is_scaled` is 1, else its score.
    pub value: f32,
    /// By how much the second smallest value is larger: a small margin is a doubtful answer. NaN with one bank.
    pub margin: f32,
    /// 1 if all the banks have limits, so that their scores are compared as the results' field `scaled`; else 0.
    pub is_scaled: i32,
    /// Written as 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size; numbers, which any bits are.
unsafe impl Versioned for inctrl_best_bank {
    const NAME: &'static str = "inctrl_best_bank";
    const FIRST: usize = offset_of!(inctrl_best_bank, reserved) + size_of::<u32>();
}

impl inctrl_inspection {
    /// The inspection in Rust, which must not outlive the call. Without slots it names all of `all`.
    ///
    /// # Safety
    /// Slots and limits are NULL or the caller's.
    unsafe fn get(&self, all: &[usize]) -> Outcome<Inspection<'static>> {
        let roi = match self.has_roi {
            0 => None,
            1 => Some(self.roi.get()),
            other => return Err(Failure::argument(format!("`has_roi` is {other}: it must be 0 or 1"))),
        };
        let (slots, count) = match self.slot_count {
            0 if self.slots.is_null() => (all.as_ptr(), all.len()),
            count => (self.slots, count),
        };
        // SAFETY: as of this function.
        let banks = unsafe { slice(slots, count, "slots of an inspection") }?;
        let mut thresholds = None;
        if !self.thresholds.is_null() {
            // SAFETY: as of this function.
            thresholds = Some(unsafe { read(self.thresholds) }?.get());
        }
        Ok(Inspection { roi, banks, thresholds })
    }
}

/// Makes a scorer of regions for the banks in slots, which must be of one method with the same options. A slot can be
/// given to other scorers, too; inctrl_slot_swap() replaces its bank for all of them.
///
/// @param slots `slot_count` slots, at least one; an inspection names them by their places here
/// @param options as for inctrl_scorer_create_with, or NULL; `capacity` is the number of regions encoded at once
/// @param scorer receives the scorer, NULL after an error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_roi_scorer_create(
    engine: *const inctrl_engine,
    slots: *const *const inctrl_slot,
    slot_count: usize,
    options: *const inctrl_scorer_options,
    scorer: *mut *mut inctrl_roi_scorer,
) -> i32 {
    guard(|| {
        // SAFETY: handles, structure and variable of the caller's, as the header asks.
        unsafe {
            hand_out(scorer, || {
                let (mut capacity, mut late) = (1, Late::Mark);
                if !options.is_null() {
                    let options = read(options)?;
                    (capacity, late) = (options.capacity.max(1), options.late()?);
                }
                let given = slice(slots, slot_count, "slots")?;
                let slots = given.iter().map(|slot| Ok(Arc::clone(&object(*slot)?.slot)));
                let slots = slots.collect::<Outcome<Vec<_>>>()?;
                let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
                let scorer = object(engine)?.engine.roi_scorer(&slots, capacity)?;
                let names = slots.first().map_or(&[][..], |slot| slot.current().0.outputs());
                let all = (0..slots.len()).collect();
                let work = RoiWork {
                    scorer,
                    all,
                    names,
                    outputs: Vec::new(),
                    best: Vec::new(),
                    asked: Vec::new(),
                    doubted: false,
                };
                Ok(RoiState { work: Exclusive::new(work, SCORER), late }.into())
            })
        }
    })
}

/// Scores regions of one frame, each against the banks of its inspection. A region that fails does not affect the
/// others. Maps and regions of results are in pixels of the whole frame. After a call with the same inspections of a
/// frame of the same format this allocates nothing and takes no lock.
///
/// @param inspections `count` structures, all with the first one's struct_size
/// @param deadline_us as for inctrl_scorer_score
/// @param results an array of `result_count` structures, all with the first one's struct_size: one for each slot of the
/// first inspection, then for each of the second, and so on; after any error their verdict is INCTRL_VERDICT_REVIEW
/// @param result_count the number of all slots of all inspections
/// @return INCTRL_OK, or the status of the first region that failed
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_roi_scorer_score(
    scorer: *const inctrl_roi_scorer,
    frame: *const inctrl_frame,
    inspections: *const inctrl_inspection,
    count: usize,
    deadline_us: u64,
    results: *mut inctrl_result,
    result_count: usize,
) -> i32 {
    guard(|| {
        let begin = Instant::now();
        // SAFETY: results of the caller's, as the header asks.
        let places = unsafe { Places::new(results, result_count) }?;
        // Each result that is scored gets its own status.
        let mut scoring = false;
        let mut call = || -> Outcome {
            // SAFETY: a handle of the caller's.
            let state = unsafe { object(scorer) }?;
            let mut entered = state.work.enter()?;
            let clear = Clear(entered.work());
            // SAFETY: structures of the caller's, as the header asks; the list is emptied before the call returns.
            unsafe { clear.0.ask(inspections, count, result_count) }?;
            // SAFETY: as above.
            let frame = unsafe { self::frame(frame) }?.settled();
            scoring = true;
            let limit = Duration::from_micros(deadline_us);
            let deadline = (deadline_us > 0).then_some(Deadline { limit, late: state.late });
            clear.0.run(frame, &places, begin, deadline)
        };
        let scored = call();
        if let Some(failure) = scored.as_ref().err().filter(|_| !scoring) {
            places.fail(failure.code);
        }
        scored
    })
}

/// Empties the list that points into the caller's memory, however a call ends.
struct Clear<'a>(&'a mut RoiWork);

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        self.0.asked.clear();
    }
}

impl RoiWork {
    /// Lists the caller's inspections and takes memory for what they find.
    ///
    /// # Safety
    /// As [`Array::new`] and [`inctrl_inspection::get`] for each of them; the list must be emptied before the caller's
    /// memory goes.
    unsafe fn ask(&mut self, inspections: *const inctrl_inspection, count: usize, result_count: usize) -> Outcome {
        let RoiWork { all, names, outputs, best, asked, .. } = self;
        const WHAT: &str = "the list of a call's regions and results";
        outputs.clear();
        best.clear();
        // SAFETY: as of this function.
        let array = unsafe { Array::new(inspections.cast_mut(), count) }?;
        memory::reserve(WHAT, asked, count)?;
        for i in 0..count {
            // SAFETY: as of this function, as `i < count`.
            let one = unsafe { array.get(i).and_then(|one| read(one.cast_const())?.get(all)) };
            asked
                .push(one.map_err(|failure| Failure { text: format!("inspection {i}: {}", failure.text), ..failure })?);
        }
        let expected = asked.iter().map(|one| one.banks.len()).fold(0, usize::saturating_add);
        if expected != result_count {
            return Err(Failure::argument(format!(
                "there is memory for {result_count} results, but the {count} inspections name {expected} slots: one result is \
                 needed for each"
            )));
        }
        let numbers = expected.saturating_mul(names.len());
        memory::reserve(WHAT, outputs, numbers)?;
        memory::reserve(WHAT, best, count)?;
        outputs.resize(numbers, f32::NAN);
        best.resize(count, None);
        Ok(())
    }

    /// Scores what is listed into the caller's results.
    fn run(&mut self, frame: AnyFrame<'_>, places: &Places, begin: Instant, deadline: Option<Deadline>) -> Outcome {
        let RoiWork { scorer, names, outputs, best, asked, doubted, .. } = self;
        let mut deliver = |i: usize, result: usize, scores: &[Score], first: &mut Option<Failure>| {
            best[i] = BestBank::among(scores);
            if let Some(doubt) = scores.iter().find_map(|score| score.depth_doubt)
                && !std::mem::replace(doubted, true)
            {
                log(INCTRL_LOG_WARNING, &format!("a region of a frame: {doubt}"));
            }
            let own = outputs.chunks_exact_mut(names.len()).skip(result);
            for (own, score) in own.zip(scores) {
                own.iter_mut().zip(score.outputs()).for_each(|(own, (_, value))| *own = value);
            }
            let origin = asked[i].roi.map_or((0, 0), |roi| (roi.x as u32, roi.y as u32));
            for (k, score) in scores.iter().enumerate() {
                let latency = begin.elapsed();
                let (late, decision) =
                    deadline.map_or((false, score.decision), |deadline| deadline.judge(latency, score.decision));
                let latency = latency.as_micros() as u64;
                let place = places.get(result + k);
                let filled = place.and_then(|mut place| {
                    place.fill(score, decision, origin, latency, late).inspect_err(|failure| {
                        // The result was written to before, so its structure is valid.
                        let _ = place.fail(failure.code);
                    })
                });
                if let Err(failure) = filled {
                    first.get_or_insert(failure);
                }
            }
        };
        let firsts = |i: usize| asked[..i].iter().map(|one| one.banks.len()).sum::<usize>();
        let mut first = None;
        if scorer.score(frame, asked).is_ok() {
            (0..asked.len()).for_each(|i| deliver(i, firsts(i), scorer.scores_of(i), &mut first));
            return first.map_or(Ok(()), Err);
        }
        // One of them fails: scores each by itself, so that the others keep their scores. The bits are the same.
        for i in 0..asked.len() {
            match scorer.score(frame, &asked[i..=i]) {
                Ok(scores) => deliver(i, firsts(i), scores, &mut first),
                Err(error) => {
                    let failure = Failure::from(error);
                    for result in firsts(i)..firsts(i + 1) {
                        let _ = places.get(result).and_then(|mut place| place.fail(failure.code));
                    }
                    let text = format!("inspection {i}: {}", failure.text);
                    first.get_or_insert(Failure { text, ..failure });
                }
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// Reads which bank an inspection of the scorer's last call fits best, and by how much.
///
/// @param inspection which inspection of the last call, counted from 0
/// @param best receives the bank; unchanged after an error, such as for a region that was not scored
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_roi_scorer_best(
    scorer: *const inctrl_roi_scorer,
    inspection: usize,
    best: *mut inctrl_best_bank,
) -> i32 {
    guard(|| {
        // SAFETY: a handle of the caller's.
        let state = unsafe { object(scorer) }?;
        let mut entered = state.work.enter()?;
        let found = &entered.work().best;
        let found = match found.get(inspection) {
            None => Err(format!(
                "inspection {inspection} was asked for, but the last call had {}, counted from 0",
                found.len()
            )),
            Some(None) => Err(format!("inspection {inspection} of the last call has no score")),
            Some(Some(best)) => Ok(*best),
        };
        let BestBank { place, value, margin, scaled, .. } = found.map_err(Failure::argument)?;
        let found = inctrl_best_bank {
            struct_size: 0,
            place,
            value,
            margin: margin.unwrap_or(f32::NAN),
            is_scaled: i32::from(scaled),
            reserved: 0,
        };
        // SAFETY: a structure of the caller's.
        unsafe { write(best, &found) }
    })
}

/// Reads one output of a result of the scorer's last call, as inctrl_scorer_output does.
///
/// @param result which result of the last call, counted from 0
/// @param value receives the number; NaN after an error, or if that result has no score
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_roi_scorer_output(
    scorer: *const inctrl_roi_scorer,
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
        let mut entered = state.work.enter()?;
        let RoiWork { names, outputs, .. } = entered.work();
        let found = output_of(names, outputs, result, name)?;
        // SAFETY: as above.
        unsafe { value.write(found) };
        Ok(())
    })
}

/// Closes a scorer of regions and sets the variable to NULL, as inctrl_scorer_close does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_roi_scorer_close(scorer: *mut *mut inctrl_roi_scorer) -> i32 {
    // SAFETY: a variable of the caller's, with a handle of a scorer that nobody will use any more.
    guard(|| unsafe { close_exclusive(scorer, |state| &state.work) })
}
