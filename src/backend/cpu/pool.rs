//! What a queue hands to the threads of its engine: no allocation, no lock, no work-dependent order of results.
//!
//! Tasks are numbered; threads claim the next number until none is left. Which thread runs a task never changes what it
//! computes, so a result has the same bits for any number of threads, and whoever else they work for. The threads are
//! those of [`Crew`]; a thread's scratch memory is the queue's.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::sync::Arc;

use super::crew::Crew;

/// A queue's hold on the threads of its engine, with scratch memory of type `S` for each of them. The caller is one of
/// them, the first.
pub(crate) struct Pool<S> {
    crew: Arc<Crew>,
    /// [`Crew::run`]'s.
    callers: usize,
    scratch: Vec<UnsafeCell<S>>,
}

// SAFETY: scratch cell i is touched only by the thread with index i, within `run`, which takes `&mut self`.
unsafe impl<S: Send> Sync for Pool<S> {}

impl<S: Send> Pool<S> {
    /// Starts threads: `threads` in all (the caller is the first), each with its own scratch.
    pub(crate) fn new(threads: usize, scratch: impl Fn() -> S) -> std::io::Result<Self> {
        Ok(Self::on(Arc::new(Crew::new(threads)?), scratch))
    }

    /// Another queue's hold on the same threads, with scratch of its own.
    pub(crate) fn beside(&self, scratch: impl Fn() -> S) -> Self {
        Self::on(Arc::clone(&self.crew), scratch)
    }

    fn on(crew: Arc<Crew>, scratch: impl Fn() -> S) -> Self {
        let scratch = (0..crew.threads()).map(|_| UnsafeCell::new(scratch())).collect();
        Pool { crew, callers: 0, scratch }
    }

    /// Number of threads, the caller's included.
    pub(crate) fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// The scratch of every thread.
    pub(crate) fn scratch_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.scratch.iter_mut().map(UnsafeCell::get_mut)
    }

    /// Runs `body(task, scratch)` for every task in `0..tasks`, on the threads that are free, and returns when all are
    /// done.
    pub(crate) fn run(&mut self, tasks: usize, body: impl Fn(usize, &mut S) + Sync) {
        struct Cells<'a, S>(&'a [UnsafeCell<S>]);
        // SAFETY: each thread takes only the cell of its own index, see below.
        unsafe impl<S: Send> Sync for Cells<'_, S> {}
        impl<S> Cells<'_, S> {
            fn of(&self, thread: usize) -> *mut S {
                self.0[thread].get()
            }
        }
        let cells = Cells(&self.scratch);
        let body = |task: usize, thread: usize| {
            // SAFETY: `thread` is the index of the running thread, every index belongs to one thread, a thread runs one
            // task at a time, and `&mut self` excludes another run with this scratch.
            body(task, unsafe { &mut *cells.of(thread) });
        };
        self.crew.run(&mut self.callers, tasks, &body);
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
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    #[test]
    fn queues_share_threads_and_never_a_task() {
        let first = Pool::new(4, || 0usize).unwrap();
        let mut pools: Vec<_> = (0..6).map(|_| first.beside(|| 0usize)).collect();
        std::thread::scope(|scope| {
            for pool in &mut pools {
                scope.spawn(|| {
                    for round in 0..2000 {
                        let tasks = round % 37;
                        let mut counts = vec![0u32; tasks];
                        pool.run_chunks(&mut counts, 1, |i, c, done| {
                            c[0] += 1 + i as u32;
                            *done += 1;
                        });
                        assert!(counts.iter().enumerate().all(|(i, &c)| c == 1 + i as u32), "{tasks} tasks");
                    }
                });
            }
        });
        for pool in &mut pools {
            let done: usize = pool.scratch_mut().map(|done| *done).sum();
            assert_eq!(done, (0..2000).map(|round| round % 37).sum::<usize>());
        }
    }

    /// Eight callers on two threads: whoever calls has at least its own thread, so that none waits for the others to
    /// stop.
    #[test]
    fn no_caller_starves() {
        const CALLERS: usize = 8;
        let first = Pool::new(2, || ()).unwrap();
        let counts: Vec<AtomicUsize> = (0..CALLERS).map(|_| AtomicUsize::new(0)).collect();
        let enough = |count: &AtomicUsize| count.load(Ordering::Relaxed) >= 200;
        std::thread::scope(|scope| {
            for count in &counts {
                let mut pool = first.beside(|| ());
                let counts = &counts;
                scope.spawn(move || {
                    // All go on until the slowest has done enough, so that all are at work all the time.
                    while !counts.iter().all(enough) {
                        pool.run(16, |task, ()| {
                            let sum = (0..20_000).fold(task as u64, |x, i| std::hint::black_box(x * 31 + i));
                            std::hint::black_box(sum);
                        });
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let counts: Vec<usize> = counts.into_iter().map(AtomicUsize::into_inner).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        // A system that gives equal time gives nearly equal counts; one that takes turns by luck gives some none.
        assert!(*most <= 4 * least, "{counts:?}");
    }

    #[test]
    fn a_panic_reaches_its_own_caller_alone() {
        let mut bad = Pool::new(3, || ()).unwrap();
        let mut good = bad.beside(|| ());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..100 {
                    let failed = catch_unwind(AssertUnwindSafe(|| bad.run(8, |task, ()| assert!(task != 5, "task 5"))));
                    assert!(failed.is_err());
                }
            });
            scope.spawn(|| {
                for _ in 0..2000 {
                    let done = AtomicUsize::new(0);
                    good.run(8, |_, ()| {
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                    assert_eq!(done.into_inner(), 8);
                }
            });
        });
    }
}
