//! Fork and join on threads of our own: no allocation, no lock, no work-dependent order of results.
//!
//! Tasks are numbered; threads claim the next number until none is left. Which thread runs a task never changes what it
//! computes, so a result has the same bits for any number of threads. Between jobs the threads spin for a moment, as the
//! next operation of the forward pass follows within microseconds, and then sleep.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// Set in `Shared::gate` while no job is open; the bits below count the threads inside the job.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Rounds of spinning before a thread sleeps: some tens of microseconds.
const SPINS: u32 = 4096;

type Body<'a> = dyn Fn(usize, usize) + Sync + 'a;

struct Job {
    body: *const Body<'static>,
    tasks: usize,
}

struct Shared {
    /// The open job. Written only while `gate` is CLOSED with no thread inside; read only by threads inside.
    job: UnsafeCell<Job>,
    gate: AtomicUsize,
    /// Next task to claim.
    next: AtomicUsize,
    /// Counts jobs, so that a waiting thread sees a new one.
    epoch: AtomicUsize,
    asleep: Vec<AtomicBool>,
    /// Threads that have started.
    up: AtomicUsize,
    quit: AtomicBool,
    panicked: AtomicBool,
}

// SAFETY: `job` is the only field that is not Sync by itself; the gate protocol documented on it keeps a writer alone.
// The body behind the pointer is Sync, so calling it from several threads is allowed.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is only followed while the borrow it was made from is alive (see `run`).
unsafe impl Send for Shared {}

/// A set of threads, one of them the caller's, each with scratch memory of type `S`.
pub(crate) struct Pool<S> {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    scratch: Vec<UnsafeCell<S>>,
}

// SAFETY: scratch cell i is touched only by the thread with index i, within `run`, which takes `&mut self`.
unsafe impl<S: Send> Sync for Pool<S> {}

impl<S: Send> Pool<S> {
    /// `threads` threads in all (the caller is the first), each with its own scratch.
    pub(crate) fn new(threads: usize, scratch: impl Fn() -> S) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(Job { body: &|_: usize, _: usize| (), tasks: 0 }),
            gate: AtomicUsize::new(CLOSED),
            next: AtomicUsize::new(0),
            epoch: AtomicUsize::new(0),
            asleep: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            up: AtomicUsize::new(1),
            quit: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let mut pool =
            Pool { shared, threads: Vec::new(), scratch: (0..threads).map(|_| UnsafeCell::new(scratch())).collect() };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let builder = thread::Builder::new().name(format!("inctrl-{index}"));
            pool.threads.push(builder.spawn(move || shared.work(index))?);
        }
        // A thread allocates when it starts, which must not happen in the middle of somebody's work.
        while pool.shared.up.load(Ordering::Acquire) < threads {
            thread::yield_now();
        }
        Ok(pool)
    }

    /// Number of threads, the caller's included.
    pub(crate) fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// The scratch of every thread.
    pub(crate) fn scratch_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.scratch.iter_mut().map(UnsafeCell::get_mut)
    }

    /// Runs `body(task, scratch)` for every task in `0..tasks`, on all threads, and returns when all are done.
    pub(crate) fn run(&mut self, tasks: usize, body: impl Fn(usize, &mut S) + Sync) {
        let scratch = &self.scratch;
        struct Cells<'a, S>(&'a [UnsafeCell<S>]);
        // SAFETY: each thread takes only the cell of its own index, see below.
        unsafe impl<S: Send> Sync for Cells<'_, S> {}
        impl<S> Cells<'_, S> {
            fn of(&self, thread: usize) -> *mut S {
                self.0[thread].get()
            }
        }
        let cells = Cells(scratch);
        let body = |task: usize, thread: usize| {
            // SAFETY: `thread` is the index of the running thread, every index belongs to one thread, a thread runs one task
            // at a time, and `&mut self` excludes another run.
            body(task, unsafe { &mut *cells.of(thread) });
        };
        if self.threads.is_empty() || tasks <= 1 {
            (0..tasks).for_each(|task| body(task, 0));
            return;
        }
        self.shared.open(&body, tasks);
        let closing = Closing(&self.shared);
        self.wake();
        self.shared.claim(&body, tasks, 0);
        drop(closing);
        if self.shared.panicked.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("a task of the thread pool panicked"));
        }
    }

    /// Wakes the threads that sleep, before a run of operations.
    fn wake(&self) {
        for (thread, asleep) in self.threads.iter().zip(&self.shared.asleep[1..]) {
            if asleep.swap(false, Ordering::SeqCst) {
                thread.thread().unpark();
            }
        }
    }

    /// Runs `body(i, chunk, scratch)` for every chunk of `chunk` elements (the last may be shorter).
    pub(crate) fn run_chunks<T: Send>(
        &mut self,
        data: &mut [T],
        chunk: usize,
        body: impl Fn(usize, &mut [T], &mut S) + Sync,
    ) {
        let len = data.len();
        let data = Disjoint::new(data);
        self.run(len.div_ceil(chunk), |i, scratch| {
            // SAFETY: chunk i covers elements i*chunk..(i+1)*chunk, and every i is run once.
            let part = unsafe { data.slice(i * chunk, chunk.min(len - i * chunk)) };
            body(i, part, scratch);
        });
    }
}

impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A worker cannot panic outside a task, and tasks are caught.
            let _ = thread.join();
        }
    }
}

/// Closes the job and waits until every thread has left it, also when the caller's own task panics: the job's body is
/// borrowed from the caller's stack.
struct Closing<'a>(&'a Shared);

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

impl Shared {
    /// Publishes a job. The caller must close it before `body` ends its life.
    fn open(&self, body: &Body<'_>, tasks: usize) {
        // SAFETY: only the lifetime changes. `Closing` waits for every thread to leave the job before `run` returns or
        // unwinds, and a thread that comes later finds the gate closed, so nobody follows the pointer after that.
        let body: *const Body<'static> = unsafe { std::mem::transmute(body as *const Body<'_>) };
        // SAFETY: the gate is closed and no thread is inside (`Closing` waited for that), so nobody reads the job.
        unsafe { *self.job.get() = Job { body, tasks } };
        self.next.store(0, Ordering::Relaxed);
        // A panic of the caller's own task leaves that of a worker unreported.
        self.panicked.store(false, Ordering::Relaxed);
        self.gate.fetch_and(!CLOSED, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::SeqCst);
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

    /// The life of a worker thread.
    fn work(&self, index: usize) {
        self.up.fetch_add(1, Ordering::Release);
        let mut seen = 0;
        loop {
            seen = self.wait(seen, index);
            if self.quit.load(Ordering::SeqCst) {
                return;
            }
            if self.gate.fetch_add(1, Ordering::Acquire) & CLOSED == 0 {
                // SAFETY: inside the open gate the job is not written, and its body is alive until this thread leaves.
                let (body, tasks) = unsafe {
                    let job = &*self.job.get();
                    (&*job.body, job.tasks)
                };
                if catch_unwind(AssertUnwindSafe(|| self.claim(body, tasks, index))).is_err() {
                    self.panicked.store(true, Ordering::Relaxed);
                }
            }
            self.gate.fetch_sub(1, Ordering::Release);
        }
    }

    /// Returns when the epoch is no longer `seen`, with the new one.
    fn wait(&self, seen: usize, index: usize) -> usize {
        for _ in 0..SPINS {
            let now = self.epoch.load(Ordering::Acquire);
            if now != seen {
                return now;
            }
            std::hint::spin_loop();
        }
        loop {
            self.asleep[index].store(true, Ordering::SeqCst);
            let now = self.epoch.load(Ordering::SeqCst);
            if now != seen {
                self.asleep[index].store(false, Ordering::Relaxed);
                return now;
            }
            thread::park();
        }
    }
}

/// A mutable slice that tasks write in places of their own.
#[derive(Clone, Copy)]
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    life: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: it hands out mutable slices only through `slice`, whose caller vouches that no two overlap.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Wraps a slice for the length of a run.
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Disjoint { start: slice.as_mut_ptr(), len: slice.len(), life: std::marker::PhantomData }
    }

    /// Elements `from .. from + len`.
    ///
    /// # Safety
    /// No other slice that is alive at the same time shares an element with this one.
    #[inline(always)]
    pub(crate) unsafe fn slice(&self, from: usize, len: usize) -> &'a mut [T] {
        assert!(from <= self.len && len <= self.len - from);
        // SAFETY: the range lies inside the slice, checked above; the caller vouches that it is not shared.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_on_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let mut pool = Pool::new(threads, || 0usize).unwrap();
            for round in 0..300 {
                let tasks = round % 37;
                let mut counts = vec![0u32; tasks];
                pool.run_chunks(&mut counts, 1, |i, c, done| {
                    c[0] += 1 + i as u32;
                    *done += 1;
                });
                assert!(counts.iter().enumerate().all(|(i, &c)| c == 1 + i as u32), "{threads} threads, {tasks} tasks");
            }
            let done: usize = pool.scratch.iter_mut().map(|cell| *cell.get_mut()).sum();
            assert_eq!(done, (0..300).map(|round| round % 37).sum::<usize>());
        }
    }

    #[test]
    fn sleeping_threads_wake() {
        let mut pool = Pool::new(2, || ()).unwrap();
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            // Each of the two tasks waits for the other: it ends only if a second thread joins.
            let arrived = AtomicUsize::new(0);
            pool.run(2, |_, ()| {
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        // Either thread may meet a bad task, and with every task bad both do.
        for bad in [0..1, 7..8, 0..64] {
            let mut pool = Pool::new(2, || ()).unwrap();
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(64, |task, ()| {
                    if bad.contains(&task) {
                        panic!("task {task}");
                    }
                });
            }));
            assert!(result.is_err());
            let mut data = vec![0; 64];
            pool.run_chunks(&mut data, 1, |i, d, ()| d[0] = i);
            assert!(data.iter().enumerate().all(|(i, &d)| d == i));
        }
    }
}
