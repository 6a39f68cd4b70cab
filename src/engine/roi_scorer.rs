//! Regions of one frame, each compared with banks of its own after one encoding.

use std::sync::Arc;

use super::device::{DeviceBank, HasSession, Session, on_lent};
use super::frame_prep::FramePrep;
use super::kept_views::{KeptViews, look_alike};
use super::score::Judge;
use super::shared_bank::LoadedBank;
use super::verdict::Regions;
use super::{BestBank, Score, SharedBank};
use crate::backend::MAX_BANKS;
use crate::bank::PromptBank;
use crate::calibration::Thresholds;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, Roi};
use crate::memory;
use crate::methods::Run;
use crate::view::{Grid, Look};
use crate::weights::Arch;

/// A region of a frame, and what it is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Inspection<'a> {
    /// The region; `None` is the whole frame.
    pub roi: Option<Roi>,
    /// The banks, as places in the list of slots that the scorer was made with. At least one; all must look at frames
    /// alike (one fit, ignore mask and layout of tiles), as the region is encoded once.
    pub banks: &'a [usize],
    /// Limits for this region in place of those of its banks, where two regions share a bank but not its limits.
    pub thresholds: Option<Thresholds>,
}

/// Scores regions of frames, each against one bank or more. Every region is encoded once, whatever the number of its
/// banks; regions whose maps have the same rows and columns are encoded together. Made by
/// [`crate::Engine::roi_scorer`].
///
/// Scores have the same bits as those of a [`crate::Scorer`] for [`AnyFrame::region`], and are in pixels of the region.
/// After a call with the same inspections of a frame of the same format nothing is allocated.
pub struct RoiScorer {
    session: Box<dyn Session>,
    prep: FramePrep,
    shared: Vec<Arc<SharedBank>>,
    loaded: Vec<Arc<LoadedBank>>,
    /// The views of regions of each size, for each bank.
    views: Vec<KeptViews>,
    regions: Regions,
    scores: Vec<Score>,
    /// The first score of each inspection of the last call, and the number of scores.
    firsts: Vec<usize>,
    /// The views of each inspection.
    looks: Vec<Arc<Look>>,
    /// The grid of each inspection, until it is scored.
    grids: Vec<Option<Grid>>,
    pairs: Vec<Pair>,
    runs: Vec<Run>,
    /// The largest number of results of a comparison.
    results: usize,
}

/// A view of the batch, and a bank that it is compared with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    bank: usize,
    /// Which content of the bank.
    position: usize,
    /// The view's place in the batch.
    placed: usize,
    /// The view's place among those of its inspection.
    view: usize,
    inspection: usize,
    score: usize,
}

impl RoiScorer {
    pub(super) fn new(
        session: Box<dyn Session>,
        arch: &Arch,
        shared: &[Arc<SharedBank>],
        results: usize,
    ) -> Result<Self> {
        Ok(RoiScorer {
            session,
            prep: FramePrep::default(),
            shared: shared.to_vec(),
            loaded: shared.iter().map(|slot| Arc::clone(&slot.load())).collect(),
            views: shared.iter().map(|_| KeptViews::new(&arch.vision)).collect(),
            regions: Regions::default(),
            scores: Vec::new(),
            firsts: Vec::new(),
            looks: Vec::new(),
            grids: Vec::new(),
            pairs: Vec::new(),
            runs: Vec::new(),
            results,
        })
    }

    /// The slots of its banks.
    pub fn slots(&self) -> &[Arc<SharedBank>] {
        &self.shared
    }

    /// Scores the regions of a frame. The scores of an inspection, one for each of its banks in their order, follow those
    /// of the inspection before.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an inspection without banks, with a bank that the scorer does not have, or with
    /// banks that do not look at frames alike; for a region outside the frame and limits out of range; otherwise as
    /// [`crate::Scorer::score`]. The message names the inspection. There are no scores after an error.
    pub fn score<'a>(&mut self, frame: impl Into<AnyFrame<'a>>, inspections: &[Inspection<'_>]) -> Result<&[Score]> {
        let frame = frame.into();
        self.firsts.clear();
        let scored = on_lent(self, &[frame], |scorer| scorer.run(frame, inspections));
        self.looks.clear();
        if let Err(error) = scored {
            self.firsts.clear();
            return Err(error);
        }
        Ok(&self.scores[..self.firsts.last().copied().unwrap_or(0)])
    }

    /// The scores of an inspection of the last call, counted from 0; none after an error.
    pub fn scores_of(&self, inspection: usize) -> &[Score] {
        match self.firsts.get(inspection..) {
            Some(&[first, end, ..]) => &self.scores[first..end],
            _ => &[],
        }
    }

    /// Which bank an inspection of the last call fits best, and by how much: [`BestBank::place`] is a place in
    /// [`Inspection::banks`].
    pub fn best(&self, inspection: usize) -> Option<BestBank> {
        BestBank::among(self.scores_of(inspection))
    }

    /// Rows and columns of the map of a region of `width` x `height` pixels with the bank that is now in slot `bank`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a slot that the scorer does not have, and as [`SharedBank::grid`].
    pub fn grid(&self, bank: usize, width: usize, height: usize) -> Result<Grid> {
        match self.shared.get(bank) {
            Some(slot) => slot.grid(width, height),
            None => Err(no_bank(bank, self.shared.len())),
        }
    }

    /// Switches to the banks that are in the slots now.
    fn follow(&mut self) {
        for ((slot, loaded), views) in self.shared.iter().zip(&mut self.loaded).zip(&mut self.views) {
            let current = slot.load();
            if current.generation != loaded.generation {
                if !look_alike(&loaded.bank, &current.bank) {
                    views.clear();
                }
                *loaded = Arc::clone(&current);
            }
        }
    }

    fn run(&mut self, frame: AnyFrame<'_>, inspections: &[Inspection<'_>]) -> Result<()> {
        self.follow();
        const WHAT: &str = "the regions of a frame";
        memory::reserve(WHAT, &mut self.firsts, inspections.len() + 1)?;
        memory::reserve(WHAT, &mut self.looks, inspections.len())?;
        memory::reserve(WHAT, &mut self.grids, inspections.len())?;
        self.grids.clear();
        self.firsts.push(0);
        for (i, inspection) in inspections.iter().enumerate() {
            self.begin(frame, inspection).map_err(|error| of_inspection(error, i, inspections))?;
        }
        while let Some(grid) = self.grids.iter().find_map(|grid| *grid) {
            self.session.prepare(grid)?;
            if self.looks.first().is_some_and(|look| look.tiled.is_some()) {
                let i = self.grids.iter().position(Option::is_some).unwrap_or(0);
                self.grids[i] = None;
                self.score_tiles(frame, inspections, i)?;
            } else {
                self.score_those_of(grid, frame, inspections)?;
            }
        }
        Ok(())
    }

    /// Checks an inspection, finds its views and prepares its scores.
    fn begin(&mut self, frame: AnyFrame<'_>, inspection: &Inspection<'_>) -> Result<()> {
        let RoiScorer { loaded, views, scores, firsts, looks, grids, regions, .. } = self;
        let Some(&first) = inspection.banks.first() else {
            return Err(Error::new(ErrorKind::Argument, "no bank is named: name at least one"));
        };
        let part = part_of(frame, inspection)?;
        for &bank in inspection.banks {
            let Some(other) = loaded.get(bank) else { return Err(no_bank(bank, loaded.len())) };
            check_alike(&loaded[first].bank, &other.bank, [first, bank])?;
            inspection.thresholds.map_or(Ok(()), |limits| other.bank.check_limits(&limits))?;
        }
        let size = [part.width(), part.height()];
        let patch = views[first].patch(&loaded[first].bank);
        let look = views[first].of(&part, &loaded[first].bank)?;
        let begun = firsts.last().copied().unwrap_or(0);
        let (grid, end) = (look.view_grid(patch), begun + inspection.banks.len());
        while scores.len() < end {
            memory::reserve("the scores of a frame's regions", scores, end)?;
            scores.push(Score::empty(loaded[first].bank.outputs(), grid)?);
        }
        regions.reserve(look.tiled.as_ref().map_or(grid, |tiled| tiled.layout.grid()))?;
        let [view, ..] = &look.views[..] else {
            return Err(Error::new(ErrorKind::Internal, "a frame was looked at in no view"));
        };
        scores[begun..end].iter_mut().try_for_each(|score| match &look.tiled {
            Some(tiled) => score.begin_tiles(tiled, &look.views, size),
            None => score.begin(view, patch, size),
        })?;
        looks.push(Arc::clone(look));
        grids.push(Some(grid));
        firsts.push(end);
        Ok(())
    }

    /// Scores as many inspections with maps of this grid as are encoded at once.
    fn score_those_of(&mut self, grid: Grid, frame: AnyFrame<'_>, inspections: &[Inspection<'_>]) -> Result<()> {
        self.pairs.clear();
        let (mut placed, capacity) = (0, self.session.capacity());
        for (i, inspection) in inspections.iter().enumerate() {
            if placed == capacity {
                break;
            }
            if self.grids[i] != Some(grid) {
                continue;
            }
            self.grids[i] = None;
            let RoiScorer { session, prep, loaded, scores, firsts, looks, .. } = self;
            let mask = loaded[inspection.banks[0]].bank.mask();
            let look = &looks[i];
            let mut place = |session: &mut dyn Session| -> Result<()> {
                let seen = prep.of(session, part_of(frame, inspection)?, mask)?;
                for (score, bank) in scores[firsts[i]..].iter_mut().zip(inspection.banks) {
                    score.depth_doubt = seen.depth_doubt_beside(loaded[*bank].bank.white_level());
                }
                session.place(seen, &look.views, placed)
            };
            place(&mut **session).map_err(|error| of_inspection(error, i, inspections))?;
            self.pair(i, inspection, |_| 0, placed..placed + 1)?;
            placed += 1;
        }
        self.compare(placed, inspections, 0)
    }

    /// Scores an inspection by its tiles.
    fn score_tiles(&mut self, frame: AnyFrame<'_>, inspections: &[Inspection<'_>], i: usize) -> Result<()> {
        let inspection = &inspections[i];
        let bank = Arc::clone(&self.loaded[inspection.banks[0]]);
        let look = Arc::clone(&self.looks[i]);
        let own = bank.bank.setup().has_bank_per_tile();
        let mut prep = std::mem::take(&mut self.prep);
        let mut score = || -> Result<()> {
            let seen = prep.of(&mut *self.session, part_of(frame, inspection)?, bank.bank.mask())?;
            for (score, bank) in self.scores[self.firsts[i]..].iter_mut().zip(inspection.banks) {
                score.depth_doubt = seen.depth_doubt_beside(self.loaded[*bank].bank.white_level());
            }
            let together = self.session.capacity();
            for (chunk, views) in look.views.chunks(together).enumerate() {
                let first = chunk * together;
                self.session.place(seen, views, 0)?;
                self.pairs.clear();
                self.pair(i, inspection, |view| if own { first + view } else { 0 }, 0..views.len())?;
                self.compare(views.len(), inspections, first)?;
            }
            Ok(())
        };
        let scored = score();
        self.prep = prep;
        scored.map_err(|error| of_inspection(error, i, inspections))?;
        let RoiScorer { loaded, regions, scores, firsts, .. } = self;
        for (score, bank) in scores[firsts[i]..].iter_mut().zip(inspection.banks) {
            if let Some(tiled) = &look.tiled {
                score.finish_tiles(tiled, judge(&loaded[*bank], inspection), regions);
            }
        }
        Ok(())
    }

    /// Adds the comparisons of an inspection's views, which are in these places of the batch.
    fn pair(
        &mut self,
        i: usize,
        inspection: &Inspection<'_>,
        position: impl Fn(usize) -> usize,
        placed: std::ops::Range<usize>,
    ) -> Result<()> {
        memory::reserve("the comparisons of a batch", &mut self.pairs, placed.len() * inspection.banks.len())?;
        for (k, &bank) in inspection.banks.iter().enumerate() {
            for (view, placed) in placed.clone().enumerate() {
                let score = self.firsts[i] + k;
                self.pairs.push(Pair { bank, position: position(view), placed, view, inspection: i, score });
            }
        }
        Ok(())
    }

    /// Encodes the placed views and compares them with the banks of their pairs: the first comparisons together with the
    /// encoding, the others with the features that it left. `first` is the place of the batch's first tile in its look.
    fn compare(&mut self, views: usize, inspections: &[Inspection<'_>], first: usize) -> Result<()> {
        let RoiScorer { session, loaded, regions, scores, looks, pairs, runs, results, .. } = self;
        pairs.sort_unstable();
        let (mut rest, mut encoded) = (&pairs[..], false);
        while let Some(pair) = rest.first() {
            let device = |pair: &Pair| -> &DeviceBank { &loaded[pair.bank].devices[pair.position] };
            let (mut banks, mut count) = ([device(pair); MAX_BANKS], 0);
            runs.clear();
            let (mut last, mut slot) = (None, 0);
            for pair in rest.iter().take(*results) {
                if last != Some((pair.bank, pair.position)) {
                    if count == MAX_BANKS {
                        break;
                    }
                    banks[count] = device(pair);
                    count += 1;
                    last = Some((pair.bank, pair.position));
                }
                let view = &looks[pair.inspection].views[first + pair.view];
                session.set_valid(slot, view.valid())?;
                add(runs, pair.placed, count - 1, slot);
                slot += 1;
            }
            let (now, later) = rest.split_at(slot);
            let mut each = |slot: usize, values: &[f32], map: &[f32]| {
                let Pair { bank, inspection, view, score, .. } = now[slot];
                match &looks[inspection].tiled {
                    Some(tiled) => scores[score].add_tile(tiled, first + view, values, map),
                    None => scores[score].fill(values, map, judge(&loaded[bank], &inspections[inspection]), regions),
                }
            };
            let scored = match encoded {
                false => session.score(views, runs, &banks[..count], &mut each),
                true => session.compare(runs, &banks[..count], &mut each),
            };
            scored.map_err(|error| error.naming_result(|slot| name(&now[slot], looks, inspections, first)))?;
            (rest, encoded) = (later, true);
        }
        Ok(())
    }
}

impl HasSession for RoiScorer {
    fn session(&mut self) -> &mut dyn Session {
        &mut *self.session
    }
}

/// The bank with the limits that apply to an inspection.
fn judge<'a>(loaded: &'a LoadedBank, inspection: &'a Inspection<'_>) -> Judge<'a> {
    Judge { loaded, limits: inspection.thresholds.as_ref().or(loaded.bank.thresholds()) }
}

/// The part of the frame that is inspected.
fn part_of<'a>(frame: AnyFrame<'a>, inspection: &Inspection<'_>) -> Result<AnyFrame<'a>> {
    inspection.roi.map_or(Ok(frame), |roi| frame.region(roi))
}

/// Adds a comparison to the last run where it continues it.
fn add(runs: &mut Vec<Run>, view: usize, bank: usize, slot: usize) {
    match runs.last_mut() {
        Some(last) if (last.bank, last.views.end) == (bank, view) => last.views.end += 1,
        _ => runs.push(Run { views: view..view + 1, first_slot: slot, bank }),
    }
}

fn no_bank(bank: usize, count: usize) -> Error {
    let message = format!("bank {bank} was named, but the scorer has {count}, counted from 0");
    Error::new(ErrorKind::Argument, message)
}

/// An error where a region cannot be encoded once for both banks.
fn check_alike(a: &PromptBank, b: &PromptBank, [first, other]: [usize; 2]) -> Result<()> {
    if look_alike(a, b) {
        return Ok(());
    }
    let message = format!(
        "banks {first} (fit {}) and {other} (fit {}) do not look at the region alike, as their fits, ignore masks or grids differ: \
         give each an inspection, or a run, of its own, or build both in the same way",
        a.fit(),
        b.fit()
    );
    Err(Error::new(ErrorKind::Argument, message))
}

/// The error of an inspection, which it names if there are several.
fn of_inspection(error: Error, i: usize, inspections: &[Inspection<'_>]) -> Error {
    match inspections {
        [_] => error,
        _ => error.prefixed(&format!("inspection {i}:")),
    }
}

/// A comparison in words, for messages.
fn name(pair: &Pair, looks: &[Arc<Look>], inspections: &[Inspection<'_>], first: usize) -> String {
    let tile = looks[pair.inspection].tiled.as_ref().map(|tiled| format!("{}, ", tiled.name(first + pair.view)));
    let tile = tile.unwrap_or_default();
    match inspections {
        [_] => format!("{tile}bank {}", pair.bank),
        _ => format!("inspection {}, {tile}bank {}", pair.inspection, pair.bank),
    }
}
