//! [`Batch`]: views of frames that are encoded together, and the slots in which they are compared with banks.

use std::ops::Range;

use super::device::{DeviceBank, HasSession, Session};
use super::frame_prep::{FramePrep, place};
use super::pipeline::EachResult;
use crate::backend::MAX_BANKS;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, IgnoreMask};
use crate::methods::Run;
use crate::view::{Grid, View};

/// Views of frames that are encoded together. Each is compared with one bank or more, and each comparison has a slot,
/// numbered in the order in which they are placed. The whole frames and the tiles of a [`crate::Scorer`], the many
/// banks of a [`crate::MultiBankScorer`] and the rotations of a prompt are such batches.
pub struct Batch {
    session: Box<dyn Session>,
    prep: FramePrep,
    /// A rotated frame.
    turned: Vec<u8>,
    /// Views that are placed.
    views: usize,
    /// Their comparisons.
    runs: Vec<Run>,
}

/// Banks of a method that share prompts.
pub(super) struct ManyBanks<'a> {
    /// The number of the method in the session.
    pub method: usize,
    /// Those that a view is compared with.
    pub of_view: &'a dyn Fn(usize) -> Vec<&'a DeviceBank>,
    /// Groups of prompts, each as a bank; none where each bank is compared by itself.
    pub groups: &'a [&'a DeviceBank],
    /// The groups of each bank.
    pub members: &'a [Vec<usize>],
}

/// Called with the number of a method, the index of a view, that of a bank, the method's outputs, and the unclamped map.
pub(super) type EachBank<'a> = dyn FnMut(usize, usize, usize, &[f32], &[f32]) + 'a;

impl Batch {
    /// Batches of this session, at first empty.
    pub(super) fn new(session: Box<dyn Session>) -> Self {
        let runs = Vec::with_capacity(session.capacity());
        Batch { session, prep: FramePrep::default(), turned: Vec::new(), views: 0, runs }
    }

    /// Begins a batch of views of `grid`. Returns whether this took memory ([`Session::prepare`]).
    ///
    /// # Errors
    /// As [`Session::prepare`].
    pub fn begin(&mut self, grid: Grid) -> Result<bool> {
        self.views = 0;
        self.runs.clear();
        self.session.prepare(grid)
    }

    /// Places views of a frame, without the pixels that `mask` covers. View `i` of them is compared with the banks
    /// `banks(i)`, which are numbers of those that [`Batch::score`] is given. `result` is called with each slot, the
    /// frame as the model sees it, and the view.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for a frame that does not have the mask's size or more slots than there is memory
    /// for, and as [`Session::place`]; what `result` returns.
    pub fn place(
        &mut self,
        frame: AnyFrame<'_>,
        mask: Option<&IgnoreMask>,
        views: &[View],
        banks: impl Fn(usize) -> Range<usize>,
        mut result: impl FnMut(usize, &AnyFrame<'_>, &View) -> Result<()>,
    ) -> Result<()> {
        let session = &mut *self.session;
        let seen = if views.iter().any(|view| view.turn().is_some()) {
            self.prep.on_host(session, frame, mask)?.into()
        } else {
            self.prep.of(session, frame, mask)?
        };
        place(session, seen, views, self.views, &mut self.turned)?;
        for (i, view) in views.iter().enumerate() {
            for bank in banks(i) {
                let slot = add(&mut self.runs, self.views + i, bank);
                self.session.set_valid(slot, view.valid())?;
                result(slot, &seen, view)?;
            }
        }
        self.views += views.len();
        Ok(())
    }

    /// Encodes the batch and compares it. `each` is called with each slot, the method's outputs, and the unclamped map.
    ///
    /// # Errors
    /// As [`Session::score`].
    pub fn score(&mut self, banks: &[&DeviceBank], each: &mut EachResult<'_>) -> Result<()> {
        self.session.score(self.views, &self.runs, banks, each)
    }

    /// Scores views of one frame, as many at a time as there is memory for, each against the one bank of `banks` or
    /// against its own. The frame is prepared once and then given to `seen`. `each` is called with each view's index,
    /// outputs and map.
    ///
    /// # Errors
    /// As [`Batch::begin`], [`Batch::place`] and [`Batch::score`]; the result that an error is about is a view's.
    pub(super) fn score_views(
        &mut self,
        frame: AnyFrame<'_>,
        mask: Option<&IgnoreMask>,
        views: &[View],
        banks: &[DeviceBank],
        seen: impl FnOnce(&AnyFrame<'_>),
        each: &mut EachResult<'_>,
    ) -> Result<()> {
        let Batch { session, prep, runs, .. } = self;
        let session = &mut **session;
        let one = banks.first().ok_or_else(|| Error::new(ErrorKind::Internal, "no bank to compare views with"))?;
        let shared = banks.len() == 1;
        if !shared && banks.len() != views.len() {
            let message = format!("{} views and {} banks, one for each was expected", views.len(), banks.len());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        let frame = prep.of(session, frame, mask)?;
        seen(&frame);
        let together = if shared { session.capacity() } else { session.capacity().min(MAX_BANKS) };
        let mut own = [one; MAX_BANKS];
        for (chunk, views) in views.chunks(together).enumerate() {
            let first = chunk * together;
            session.place(frame, views, 0)?;
            runs.clear();
            for (i, view) in views.iter().enumerate() {
                let bank = if shared { 0 } else { i };
                if !shared {
                    own[i] = &banks[first + i];
                }
                session.set_valid(add(runs, i, bank), view.valid())?;
            }
            let count = if shared { 1 } else { views.len() };
            session
                .score(views.len(), runs, &own[..count], &mut |slot, values, map| each(first + slot, values, map))
                .map_err(|error| error.renumbering_result(|slot| first + slot))?;
        }
        Ok(())
    }

    /// Scores each view of a frame, without the pixels that a mask covers, against the banks of several methods. The
    /// frame is prepared once and then given to `seen`, and each view is encoded once. `each` is called with every
    /// result. An error of a method goes to `failed`; the method has no more results, and the others continue.
    ///
    /// # Errors
    /// As [`Batch::place`] and [`Session::encode`]. The error that a method has is about the result of a view.
    pub(super) fn score_groups(
        &mut self,
        (frame, mask): (AnyFrame<'_>, Option<&IgnoreMask>),
        views: &[View],
        methods: &[ManyBanks<'_>],
        seen: impl FnOnce(&AnyFrame<'_>),
        each: &mut EachBank<'_>,
        failed: &mut dyn FnMut(usize, Error),
    ) -> Result<()> {
        let Batch { session, prep, .. } = self;
        let session = &mut **session;
        let frame = prep.of(session, frame, mask)?;
        seen(&frame);
        let mut alive = vec![true; methods.len()];
        for (i, view) in views.iter().enumerate() {
            session.place(frame, std::slice::from_ref(view), 0)?;
            session.encode(1)?;
            for (many, alive) in methods.iter().zip(&mut alive).filter(|(_, alive)| **alive) {
                let banks = (many.of_view)(i);
                (0..banks.len()).try_for_each(|slot| session.set_valid(slot, view.valid()))?;
                let each = &mut |slot, values: &[f32], map: &[f32]| each(many.method, i, slot, values, map);
                if let Err(error) = session.compare_groups(many.method, &banks, many.groups, many.members, each) {
                    *alive = false;
                    failed(many.method, error.renumbering_result(|_| i));
                }
            }
        }
        Ok(())
    }

    /// The frame as the model sees it, without the pixels that `mask` covers.
    ///
    /// # Errors
    /// As [`Batch::place`].
    pub(super) fn prepared<'a>(
        &'a mut self,
        frame: AnyFrame<'a>,
        mask: Option<&IgnoreMask>,
    ) -> Result<(AnyFrame<'a>, &'a mut dyn Session)> {
        Ok((self.prep.of(&mut *self.session, frame, mask)?, &mut *self.session))
    }

    /// The largest number of views.
    pub fn capacity(&self) -> usize {
        self.session.capacity()
    }
}

impl HasSession for Batch {
    fn session(&mut self) -> &mut dyn Session {
        &mut *self.session
    }
}

/// Adds the comparison of a view with a bank, to the last run where it continues it. Returns its slot.
fn add(runs: &mut Vec<Run>, view: usize, bank: usize) -> usize {
    if let Some(last) = runs.last_mut()
        && (last.bank, last.views.end) == (bank, view)
    {
        last.views.end += 1;
        return last.slots().end - 1;
    }
    let first_slot = runs.last().map_or(0, |last| last.slots().end);
    runs.push(Run { views: view..view + 1, first_slot, bank });
    first_slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_views_of_one_bank_are_one_run() {
        let mut runs = Vec::new();
        let pairs = [(0, 0), (1, 0), (2, 0), (2, 1), (3, 1), (3, 0), (5, 0)];
        let slots: Vec<usize> = pairs.iter().map(|&(view, bank)| add(&mut runs, view, bank)).collect();
        assert_eq!(slots, [0, 1, 2, 3, 4, 5, 6]);
        let run = |views, first_slot, bank| Run { views, first_slot, bank };
        assert_eq!(runs, [run(0..3, 0, 0), run(2..4, 3, 1), run(3..4, 5, 0), run(5..6, 6, 0)]);
    }
}
