//! Screens the prompt patches by cosines of integers, of which one instruction takes twice as many: what lies further below
//! the largest than both can differ is not the nearest, and the few that remain are judged by floats.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::integers::{self, Quantise};
use super::{Part, Parts, Queries, Room, WHAT};
use crate::backend::cpu::Scratch;
use crate::backend::cpu::blocks::{BLOCK_PANELS, BLOCK_ROWS, Panels, SCRATCH, walk};
use crate::backend::cpu::packed::Aligned;
use crate::backend::cpu::pairs::{PairIsa, PairKernel, Pairs};
use crate::backend::cpu::pool::{Disjoint, Pool};
use crate::backend::cpu::simd::Isa;
use crate::backend::cpu::tile::{Lines, Rows};
use crate::error::Result;
use crate::memory::grow;

/// Candidates that a task has room for. A task that finds more, as between images of one colour, leaves its part of the
/// search to the floats.
const CANDIDATES: usize = 16 * BLOCK_ROWS;
/// Patches of the full product that cost what one candidate costs.
const JUDGED: usize = 16;
/// Query rows of a task that quantises.
const ROWS: usize = 15;

/// The prompt patches of a bank as integers.
pub(in crate::backend::cpu) struct Integers {
    isa: PairIsa,
    window: i32,
    /// `[layers, panels, words, panel_width]`.
    panels: Aligned<i32>,
}

/// Working memory of [`Integers::screen`], which grows to what [`Room`] asks for.
#[derive(Default)]
pub(super) struct Memory {
    query: Vec<i32>,
    floors: Vec<AtomicI32>,
    candidates: Vec<Candidate>,
    counts: Vec<usize>,
}

impl Memory {
    /// How many bytes it grows to.
    pub(super) fn bytes(room: &Room, width: usize) -> usize {
        let row = integers::words(width) * size_of::<i32>() + size_of::<AtomicI32>();
        let task = CANDIDATES * size_of::<Candidate>() + size_of::<usize>();
        room.rows.saturating_mul(row).saturating_add(room.tasks.saturating_mul(task))
    }
}

/// A prompt patch that may be the nearest of a query patch.
#[derive(Clone, Copy, Default)]
pub(super) struct Candidate {
    /// Of the task's block of query patches.
    pub row: u32,
    pub prompt: u32,
    cosine: i32,
}

/// What [`Integers::screen`] found.
pub(super) struct Screened<'a> {
    rows: usize,
    floors: &'a [AtomicI32],
    candidates: &'a [Candidate],
    counts: &'a [usize],
}

impl Screened<'_> {
    /// The candidates of a part; `None` where they are so many that the whole part costs less.
    pub(super) fn of(&self, task: usize, part: &Part) -> Option<impl Iterator<Item = Candidate>> {
        let found = self.candidates[task * CANDIDATES..][..CANDIDATES].get(..self.counts[task])?;
        let floors = &self.floors[part.layer * self.rows + part.first..];
        let left = found.iter().copied().filter(|c| c.cosine > floors[c.row as usize].load(Ordering::Relaxed));
        (left.clone().count() * JUDGED <= part.count * part.prompts.len()).then_some(left)
    }
}

impl Integers {
    /// Of unit vectors `[layers, prompts, width]`; `None` if they are not, or if integers are not faster beside `isa`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(super) fn new(
        pool: &mut Pool<Scratch>,
        isa: Isa,
        pairs: Option<PairIsa>,
        taps: &[f32],
        [layers, prompts, width]: [usize; 3],
    ) -> Result<Option<Self>> {
        let (Some(pairs), Some(window)) = (pairs, integers::window(width)) else { return Ok(None) };
        let (words, columns) = (integers::words(width), pairs.panel_width());
        let panels = prompts.div_ceil(columns);
        let mut packed = Aligned::zeros("the search in a bank", layers * panels * words * columns)?;
        for scratch in pool.scratch_mut() {
            grow("the working memory of a thread", &mut scratch.words, words)?;
        }
        let all_unit = AtomicBool::new(true);
        pool.run_chunks(packed.as_mut_slice(), (words * columns).max(1), |chunk, panel, scratch| {
            let (layer, first) = (chunk / panels, chunk % panels * columns);
            let row_words = scratch.take_words(words);
            for column in 0..columns.min(prompts - first) {
                let row = &taps[(layer * prompts + first + column) * width..][..width];
                if !isa.run(Quantise { row, words: row_words }) {
                    all_unit.store(false, Ordering::Relaxed);
                }
                for (packed, word) in panel.chunks_exact_mut(columns).zip(&*row_words) {
                    packed[column] = *word;
                }
            }
        });
        Ok(all_unit.into_inner().then_some(Integers { isa: pairs, window, panels: packed }))
    }

    /// Finds the candidates of every part of a search; `None` if a query patch is not a unit vector.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(super) fn screen<'a>(
        &self,
        pool: &mut Pool<Scratch>,
        isa: Isa,
        queries: Queries<'_>,
        parts: &Parts,
        room: &Room,
        memory: &'a mut Memory,
    ) -> Result<Option<Screened<'a>>> {
        let Parts { layers, rows, prompts, width, .. } = *parts;
        let (words, tasks) = (integers::words(width), parts.tasks());
        grow(WHAT, &mut memory.query, room.rows * words)?;
        grow(WHAT, &mut memory.floors, room.rows)?;
        grow(WHAT, &mut memory.candidates, room.tasks * CANDIDATES)?;
        grow(WHAT, &mut memory.counts, room.tasks)?;
        let floors = &mut memory.floors[..layers * rows];
        floors.iter_mut().for_each(|floor| *floor.get_mut() = i32::MIN);
        let floors = &*floors;
        let query = &mut memory.query[..layers * rows * words];
        let all_unit = AtomicBool::new(true);
        pool.run_chunks(query, ROWS * words, |chunk, query, _| {
            for (row, words) in (chunk * ROWS..).zip(query.chunks_exact_mut(words)) {
                let row = &queries.from(row / rows, row % rows)[..width];
                if !isa.run(Quantise { row, words }) {
                    all_unit.store(false, Ordering::Relaxed);
                }
            }
        });
        if !all_unit.into_inner() {
            return Ok(None);
        }
        let (query, columns) = (&*query, self.isa.panel_width());
        let panels = prompts.div_ceil(columns) * words * columns;
        let candidates = Disjoint::new(&mut memory.candidates[..tasks * CANDIDATES]);
        let counts = Disjoint::new(&mut memory.counts[..tasks]);
        pool.run(tasks, |task, scratch| {
            let part = parts.part(task);
            let first = part.layer * rows + part.first;
            // SAFETY: each task has its own candidates and its own count, and is run once.
            #[allow(unsafe_code)]
            let (found, count) =
                unsafe { (candidates.slice(task * CANDIDATES, CANDIDATES), &mut counts.slice(task, 1)[0]) };
            self.isa.run(Screen {
                query: Rows::new(&query[first * words..], words, words),
                panels: part.panels(columns),
                scratch: scratch.take_words(SCRATCH),
                prompts: Prompts {
                    panels: &self.panels.as_slice()[part.layer * panels..][..panels],
                    words,
                    count: prompts,
                    window: self.window,
                    floors: &floors[first..][..part.count],
                    candidates: found,
                    found: 0,
                },
                count,
            });
        });
        Ok(Some(Screened { rows, floors, candidates: &memory.candidates, counts: &memory.counts }))
    }
}

/// One task: a block of query patches and a share of the prompts.
struct Screen<'a> {
    query: Rows<'a, i32>,
    panels: Range<usize>,
    scratch: &'a mut [i32],
    prompts: Prompts<'a>,
    /// The result: how many candidates there are, or more than [`CANDIDATES`].
    count: &'a mut usize,
}

impl PairKernel for Screen<'_> {
    #[inline(always)]
    fn run<P: Pairs>(mut self, pairs: P) {
        let mut first = self.panels.start;
        while first < self.panels.end && self.prompts.found <= CANDIDATES {
            let last = self.panels.end.min(first + BLOCK_PANELS);
            walk(pairs, self.query, self.prompts.floors.len(), first..last, self.scratch, &mut self.prompts);
            first = last;
        }
        *self.count = self.prompts.found;
    }
}

/// The prompt patches of a layer, and which of them may be nearest.
struct Prompts<'a> {
    /// `[panels, words, 2 * LANES]`.
    panels: &'a [i32],
    words: usize,
    count: usize,
    window: i32,
    /// A query patch's nearest prompt patch lies above its floor. All tasks raise them; when one sees it hardly matters.
    floors: &'a [AtomicI32],
    candidates: &'a mut [Candidate],
    found: usize,
}

impl Prompts<'_> {
    #[inline(always)]
    fn strip<P: Pairs>(&self, panel: usize, from: usize, length: usize) -> &[i32] {
        let width = 2 * P::LANES;
        &self.panels[(panel * self.words + from) * width..][..length * width]
    }

    /// Takes note of the cosines of one query patch that lie above its floor.
    #[cold]
    #[inline(never)]
    fn note(&mut self, row: usize, first: usize, cosines: &[i32]) {
        // The columns beyond the last prompt patch are zero, which a cosine can lie below.
        let cosines = &cosines[..cosines.len().min(self.count - first)];
        let largest = cosines.iter().copied().max().unwrap_or(i32::MIN);
        let floor = largest.saturating_sub(self.window).saturating_sub(1);
        let floor = floor.max(self.floors[row].fetch_max(floor, Ordering::Relaxed));
        for (column, cosine) in cosines.iter().enumerate().filter(|(_, cosine)| **cosine > floor) {
            if self.found == CANDIDATES {
                self.forget();
            }
            if let Some(candidate) = self.candidates.get_mut(self.found) {
                *candidate = Candidate { row: row as u32, prompt: (first + column) as u32, cosine: *cosine };
            }
            self.found = CANDIDATES.min(self.found) + 1;
        }
    }

    /// Drops candidates that were found before their floor rose; gives up where few were, as it would soon be asked again.
    fn forget(&mut self) {
        let mut kept = 0;
        for i in 0..self.found {
            let candidate = self.candidates[i];
            if candidate.cosine > self.floors[candidate.row as usize].load(Ordering::Relaxed) {
                self.candidates[kept] = candidate;
                kept += 1;
            }
        }
        self.found = if kept > CANDIDATES / 4 * 3 { CANDIDATES + 1 } else { kept };
    }
}

impl<P: Pairs> Panels<P> for Prompts<'_> {
    #[inline(always)]
    fn piece<'a>(&'a self, _: P, panel: usize, from: usize, length: usize, _: &'a mut [i32]) -> &'a [i32] {
        self.strip::<P>(panel, from, length)
    }

    #[inline(always)]
    fn lines(&self, _: P, panel: usize, from: usize, length: usize) -> Lines<'_, i32> {
        let strip = self.strip::<P>(panel, from, length);
        Lines::new(Rows::new(strip, strip.len(), strip.len()), 1)
    }

    #[inline(always)]
    fn finish(&mut self, pairs: P, panel: usize, sums: &[i32]) {
        let width = 2 * P::LANES;
        for (row, cosines) in sums.chunks_exact(width).enumerate() {
            let floor = pairs.splat(self.floors[row].load(Ordering::Relaxed));
            let largest = pairs.max(pairs.load(cosines), pairs.load(&cosines[P::LANES..]));
            if pairs.any_above(largest, floor) {
                self.note(row, panel * width, cosines);
            }
        }
    }
}
