//! The threads of an engine, which help whichever scorers are at work.
//!
//! A scorer's own thread always works on its job; the crew's threads join it where they have nothing else to do. Several
//! scorers at once have a job open each, in a slot each, and a thread that is free joins the one with the fewest. Counted
//! together, scorers at work and threads that help them are never more than the engine's threads: with as many scorers
//! as threads each works alone, which is the fastest way, as no thread waits for another. So nobody waits for a turn, whoever
//! works has at least its own thread, and threads do not multiply with scorers.
//!
//! Which thread runs a task never changes what it computes. Between jobs the threads spin for a moment, as the next operation of
//! a forward pass follows within microseconds, and then sleep. Nothing here allocates or locks.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::process::{Origin, without_signals};

/// Set in `Slot::gate` while its job takes no more threads; the bits below count the threads inside the job.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Rounds of spinning before a thread sleeps: some tens of microseconds.
const SPINS: u32 = 4096;

/// Work on a task, by a thread of this index: 0 is the caller.
pub(super) type Body<'a> = dyn Fn(usize, usize) + Sync + 'a;

struct Job {
    body: *const Body<'static>,
    tasks: usize,
}

/// Where a caller opens its job.
#[repr(align(128))]
struct Slot {
    /// Whether a caller has it.
    taken: AtomicBool,
    /// Written only while `gate` is CLOSED with no thread inside; read only by threads inside.
    job: UnsafeCell<Job>,
    gate: AtomicUsize,
    /// Next task to claim.
    next: AtomicUsize,
    /// Threads up to this index may join.
    helpers: AtomicUsize,
    panicked: AtomicBool,
}

/// On a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Apart<T>(T);

struct Shared {
    slots: Box<[Slot]>,
    /// Counts jobs, so that a waiting thread sees a new one.
    epoch: Apart<AtomicUsize>,
    /// Callers that have a job now.
    callers: Apart<AtomicUsize>,
    asleep: Box<[AtomicBool]>,
    /// No slot from this index on was ever taken.
    used: AtomicUsize,
    /// Threads that have started.
    up: AtomicUsize,
    quit: AtomicBool,
}

// SAFETY: `Slot::job` is the only field that is not Sync by itself; the gate protocol documented on it keeps a writer alone.
// The body behind the pointer is Sync, so calling it from several threads is allowed.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is only followed while the borrow it was made from is alive (see `Crew::run`).
unsafe impl Send for Shared {}

/// The threads, which end when it is dropped.
pub(super) struct Crew {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    origin: Origin,
}

impl Crew {
    /// Threads for callers that are to have `threads` threads, their own included.
    pub(super) fn new(threads: usize) -> std::io::Result<Self> {
        let helpers = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            slots: (0..helpers).map(|_| Slot::new()).collect(),
            epoch: Apart::default(),
            callers: Apart::default(),
            asleep: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
            used: AtomicUsize::new(0),
            up: AtomicUsize::new(0),
            quit: AtomicBool::new(false),
        });
        let mut crew = Crew { shared, threads: Vec::with_capacity(helpers), origin: Origin::here() };
        without_signals(|| {
            for index in 1..=helpers {
                let shared = Arc::clone(&crew.shared);
                let builder = thread::Builder::new().name(format!("inctrl-{index}"));
                crew.threads.push(builder.spawn(move || shared.work(index))?);
            }
            Ok::<(), std::io::Error>(())
        })?;
        // A thread allocates when it starts, which must not happen in the middle of somebody's work.
        while crew.shared.up.load(Ordering::Acquire) < helpers {
            thread::yield_now();
        }
        Ok(crew)
    }

    /// Most threads that work on a job, the caller's included.
    pub(super) fn threads(&self) -> usize {
        self.shared.slots.len() + 1
    }

    /// Runs `body` for every task in `0..tasks` and returns when all are done. No two threads with the same index run at
    /// once; indices are below [`Crew::threads`].
    ///
    /// `before` is the caller's own, 0 at first: how many callers there were in its last job. One that is between two
    /// operations is counted by it, so that its thread is not given away for that moment.
    pub(super) fn run(&self, before: &mut usize, tasks: usize, body: &Body<'_>) {
        let alone = || (0..tasks).for_each(|task| body(task, 0));
        // In a child process the threads are not there.
        if self.threads.is_empty() || tasks <= 1 || self.origin.is_parent() {
            return alone();
        }
        let caller = Caller::come(&self.shared.callers.0);
        let callers = caller.number.max(std::mem::replace(before, caller.number));
        let helpers = self.threads().saturating_sub(callers);
        let Some(taken) = (helpers > 0).then(|| self.shared.take()).flatten() else { return alone() };
        let slot = taken.0;
        slot.open(body, tasks, helpers);
        let closing = Closing(slot);
        self.shared.epoch.0.fetch_add(1, Ordering::SeqCst);
        self.wake(helpers);
        slot.claim(body, tasks, 0);
        drop(closing);
        let panicked = slot.panicked.load(Ordering::Relaxed);
        drop(taken);
        if panicked {
            resume_unwind(Box::new("a task of the thread pool panicked"));
        }
    }

    /// Wakes those of the first threads that sleep.
    fn wake(&self, helpers: usize) {
        for (thread, asleep) in self.threads.iter().zip(&self.shared.asleep).take(helpers) {
            if asleep.load(Ordering::SeqCst) && asleep.swap(false, Ordering::SeqCst) {
                thread.thread().unpark();
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let threads = std::mem::take(&mut self.threads);
        if self.origin.is_parent() {
            // There is nobody to join, and nothing of the system's may be done with their handles.
            std::mem::forget(threads);
            return;
        }
        self.shared.quit.store(true, Ordering::SeqCst);
        self.shared.epoch.0.fetch_add(1, Ordering::SeqCst);
        for thread in threads {
            thread.thread().unpark();
            // A thread cannot panic outside a task, and tasks are caught.
            let _ = thread.join();
        }
    }
}

/// A caller that has a job.
struct Caller<'a> {
    callers: &'a AtomicUsize,
    /// How many there are, this one included.
    number: usize,
}

impl<'a> Caller<'a> {
    fn come(callers: &'a AtomicUsize) -> Self {
        Caller { number: callers.fetch_add(1, Ordering::Relaxed) + 1, callers }
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.callers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A slot that a caller has.
struct Taken<'a>(&'a Slot);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

/// Closes the job and waits until every thread has left it, also when the caller's own task panics: the job's body is
/// borrowed from the caller's stack.
struct Closing<'a>(&'a Slot);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_or(CLOSED, Ordering::Relaxed);
        let mut spins = 0u32;
        while self.0.gate.load(Ordering::Acquire) != CLOSED {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { thread::yield_now() }
        }
    }
}

impl Slot {
    fn new() -> Self {
        Slot {
            taken: AtomicBool::new(false),
            job: UnsafeCell::new(Job { body: &|_: usize, _: usize| (), tasks: 0 }),
            gate: AtomicUsize::new(CLOSED),
            next: AtomicUsize::new(0),
            helpers: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        }
    }

    /// Publishes a job. The caller, who has taken the slot, must close it before `body` ends its life.
    fn open(&self, body: &Body<'_>, tasks: usize, helpers: usize) {
        // SAFETY: only the lifetime changes. `Closing` waits for every thread to leave the job before `run` returns or
        // unwinds, and a thread that comes later finds the gate closed, so nobody follows the pointer after that.
        let body: *const Body<'static> = unsafe { std::mem::transmute(body as *const Body<'_>) };
        // SAFETY: the gate is closed and no thread is inside (`Closing` waited for that), so nobody reads the job.
        unsafe { *self.job.get() = Job { body, tasks } };
        self.next.store(0, Ordering::Relaxed);
        self.helpers.store(helpers, Ordering::Relaxed);
        // A panic of the caller's own task leaves that of a thread unreported.
        self.panicked.store(false, Ordering::Relaxed);
        self.gate.fetch_and(!CLOSED, Ordering::Release);
    }

    fn claim(&self, body: &Body<'_>, tasks: usize, thread: usize) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return;
            }
            body(task, thread);
        }
    }

    /// How many threads are inside the job, where this one may join.
    fn open_to(&self, index: usize) -> Option<usize> {
        let inside = self.gate.load(Ordering::Relaxed);
        (inside & CLOSED == 0 && index <= self.helpers.load(Ordering::Relaxed)).then_some(inside)
    }

    /// Works on the job until it has no more tasks; whether it was still open.
    fn join(&self, index: usize) -> bool {
        let open = self.gate.fetch_add(1, Ordering::Acquire) & CLOSED == 0;
        if open {
            // SAFETY: inside the open gate the job is not written, and its body is alive until this thread leaves.
            let (body, tasks) = unsafe {
                let job = &*self.job.get();
                (&*job.body, job.tasks)
            };
            if catch_unwind(AssertUnwindSafe(|| self.claim(body, tasks, index))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            // Nothing is left for others, who would only get in the way of the last.
            if self.gate.load(Ordering::Relaxed) & CLOSED == 0 {
                self.gate.fetch_or(CLOSED, Ordering::Relaxed);
            }
        }
        self.gate.fetch_sub(1, Ordering::Release);
        open
    }
}

impl Shared {
    /// A free slot, the first of them: threads look through those that are in use.
    fn take(&self) -> Option<Taken<'_>> {
        let free = |slot: &Slot| !slot.taken.load(Ordering::Relaxed) && !slot.taken.swap(true, Ordering::Acquire);
        let at = self.slots.iter().position(free)?;
        if self.used.load(Ordering::Relaxed) <= at {
            self.used.fetch_max(at + 1, Ordering::Relaxed);
        }
        Some(Taken(&self.slots[at]))
    }

    /// The life of a thread.
    fn work(&self, index: usize) {
        self.up.fetch_add(1, Ordering::Release);
        let mut spins = 0;
        loop {
            let seen = self.epoch.0.load(Ordering::Acquire);
            if self.quit.load(Ordering::Acquire) {
                return;
            }
            if self.help(index) {
                spins = 0;
                continue;
            }
            // Jobs of which none is for this thread do not keep it awake.
            spins += 1;
            while spins < SPINS && self.epoch.0.load(Ordering::Acquire) == seen {
                std::hint::spin_loop();
                spins += 1;
            }
            if spins >= SPINS {
                self.sleep(index);
                spins = 0;
            }
        }
    }

    /// Sleeps until a caller wants this thread.
    fn sleep(&self, index: usize) {
        let asleep = &self.asleep[index - 1];
        asleep.store(true, Ordering::SeqCst);
        // A caller counts its job first and looks at the flag then. Either it sees the flag, or this thread sees the
        // count, and with it the job, or the end.
        self.epoch.0.load(Ordering::SeqCst);
        if !self.quit.load(Ordering::Acquire) && !self.help(index) {
            thread::park();
        }
        asleep.store(false, Ordering::Relaxed);
    }

    /// Joins the job with the fewest threads; whether there was one.
    fn help(&self, index: usize) -> bool {
        let used = &self.slots[..self.used.load(Ordering::Relaxed)];
        let open = used.iter().filter_map(|slot| Some((slot.open_to(index)?, slot)));
        open.min_by_key(|(inside, _)| *inside).is_some_and(|(_, slot)| slot.join(index))
    }
}
