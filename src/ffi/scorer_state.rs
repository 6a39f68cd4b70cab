//! What a scorer's handle holds, and a call of the hot path.

use std::ffi::CString;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::abi::object;
use super::engine::c_string;
use super::exclusive::{Entered, Exclusive, SCORER};
use super::health::Counts;
use super::log::{INCTRL_LOG_INFO, INCTRL_LOG_WARNING, log};
use super::places::Places;
use super::result::{Place, inctrl_result};
use super::scorer::inctrl_scorer;
use super::status::{Failure, Outcome};
use crate::engine::{Deadline, Engine, Late, Scorer, SharedBank};
use crate::image::AnyFrame;
use crate::memory;
use crate::methods::Output;

/// What the handle holds.
pub(super) struct ScorerState {
    pub(super) work: Exclusive<Work>,
    late: Late,
    pub(super) slot: Arc<SharedBank>,
    pub(super) model_hash: CString,
    pub(super) device: CString,
    pub(super) counts: Counts,
    /// Whether a frame with doubtful brightness has been logged.
    doubted: AtomicBool,
}

/// What one thread at a time works with.
pub(super) struct Work {
    pub(super) scorer: Scorer,
    /// Empty between calls; kept for its memory.
    frames: Vec<AnyFrame<'static>>,
    pending: Vec<Pending>,
    /// The outputs of the scorer's method.
    pub(super) names: &'static [Output],
    /// The outputs of every result of the last call, `[results, names]`; NaN if there is none.
    pub(super) outputs: Vec<f32>,
}

/// One result of a call.
struct Pending {
    /// Index of the result in the call.
    index: usize,
    place: Place,
    origin: (u32, u32),
}

// SAFETY: `Place` holds pointers of the caller during a call only, in which one thread has the value; all else is `Send`
// by itself.
unsafe impl Send for Work {}

impl ScorerState {
    /// A scorer of the slot's bank that nobody is in.
    pub(super) fn new(engine: &Engine, slot: &Arc<SharedBank>, capacity: NonZeroUsize, late: Late) -> Outcome<Self> {
        let work = Work {
            scorer: engine.scorer_of(slot, capacity)?,
            frames: Vec::with_capacity(capacity.get()),
            pending: Vec::with_capacity(capacity.get()),
            names: slot.current().0.outputs(),
            outputs: Vec::new(),
        };
        Ok(ScorerState {
            work: Exclusive::new(work, SCORER),
            late,
            slot: Arc::clone(slot),
            model_hash: c_string(engine.model_hash()),
            device: c_string(&engine.device()),
            counts: Counts::new(),
            doubted: AtomicBool::new(false),
        })
    }

    /// Keeps other threads out until what it returns is dropped.
    pub(super) fn enter(&self) -> Outcome<Entered<'_, Work>> {
        self.work.enter()
    }

    /// Scores the frames of `work`, up to the scorer's capacity at a time, into its places.
    fn run(&self, work: &mut Work, begin: Instant, deadline: Option<Deadline>, first: &mut First) {
        let Work { scorer, frames, pending, names, outputs } = work;
        let mut keep = |index: usize, score: &crate::Score| {
            let own = outputs.chunks_exact_mut(names.len()).nth(index);
            own.into_iter().flatten().zip(score.outputs()).for_each(|(own, (_, value))| *own = value);
        };
        let capacity = scorer.capacity();
        for (frames, pending) in frames.chunks(capacity).zip(pending.chunks_mut(capacity)) {
            if let Ok(scores) = scorer.score_some(frames) {
                for (score, pending) in scores.iter().zip(pending) {
                    keep(pending.index, score);
                    self.deliver(score, pending, begin, deadline, first);
                }
                self.tell_of_memory(scorer);
                continue;
            }
            // One of them fails: scores each by itself, so that the others keep their scores. The bits are the same.
            for (frame, pending) in frames.iter().zip(pending) {
                match scorer.score(*frame) {
                    Ok(score) => {
                        keep(pending.index, score);
                        self.deliver(score, pending, begin, deadline, first);
                    }
                    Err(error) => self.failed(pending.index, Ok(&mut pending.place), error.into(), first),
                }
                self.tell_of_memory(scorer);
            }
        }
    }

    /// Logs that a call took memory for a map with a new number of rows and columns.
    pub(super) fn tell_of_memory(&self, scorer: &Scorer) {
        if let Some(grid) = scorer.grown() {
            let class = self.slot.current().0.of_class();
            log(INCTRL_LOG_INFO, &format!("a scorer{class} took memory for the first map of {grid} cells"));
        }
    }

    fn deliver(
        &self,
        score: &crate::Score,
        pending: &mut Pending,
        begin: Instant,
        deadline: Option<Deadline>,
        first: &mut First,
    ) {
        let latency = begin.elapsed();
        let (late, decision) =
            deadline.map_or((false, score.decision), |deadline| deadline.judge(latency, score.decision));
        match pending.place.fill(score, decision, pending.origin, latency.as_micros() as u64, late) {
            Ok(()) => self.counts.scored(latency, late),
            Err(failure) => self.failed(pending.index, Ok(&mut pending.place), failure, first),
        }
        if let Some(doubt) = score.depth_doubt
            && !self.doubted.swap(true, Ordering::Relaxed)
        {
            log(INCTRL_LOG_WARNING, &format!("a frame{}: {doubt}", self.slot.current().0.of_class()));
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
        self.0.pending.clear();
    }
}

/// A call of the hot path: marks the results, lets `list` collect the frames to score for them, and scores these. A
/// failure of `list` applies to every result.
///
/// # Safety
/// Handle and results are the caller's, as the header asks; what `list` lists lives until this returns.
pub(super) unsafe fn call(
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
    let state = match unsafe { object(scorer) } {
        Ok(state) => state,
        Err(failure) => {
            if let Ok(places) = places {
                places.fail(failure.code);
            }
            return Err(failure);
        }
    };
    let places = places.inspect_err(|failure| state.counts.failed(1, &failure.text))?;
    let refuse = |failure: Failure| {
        state.counts.failed(count as u64, &failure.text);
        places.fail(failure.code);
        Err(failure)
    };
    let mut entered = match state.enter() {
        Ok(entered) => entered,
        Err(busy) => return refuse(busy),
    };
    let clear = Clear(entered.work());
    let mut first = First::default();
    let Work { frames, pending, names, outputs, .. } = &mut *clear.0;
    outputs.clear();
    let numbers = count.saturating_mul(names.len());
    const WHAT: &str = "the list of a call's frames and results";
    let reserved = memory::reserve(WHAT, frames, count)
        .and_then(|()| memory::reserve(WHAT, pending, count))
        .and_then(|()| memory::reserve(WHAT, outputs, numbers));
    if let Err(error) = reserved {
        return refuse(error.into());
    }
    outputs.resize(numbers, f32::NAN);
    let listed = list(&mut |index, given| match (given, places.get(index)) {
        (Ok((frame, origin)), Ok(place)) => {
            clear.0.frames.push(frame);
            clear.0.pending.push(Pending { index, place, origin });
        }
        (Err(failure), Ok(mut place)) => state.failed(index, Ok(&mut place), failure, &mut first),
        (_, Err(failure)) => state.failed(index, Err(()), failure, &mut first),
    });
    if let Err(failure) = listed {
        return refuse(failure);
    }
    let deadline = (deadline_us > 0).then(|| Deadline { limit: Duration::from_micros(deadline_us), late: state.late });
    state.run(clear.0, begin, deadline, &mut first);
    first.outcome()
}
