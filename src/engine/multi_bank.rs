//! One image against many banks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::{Batch, ManyBanks};
use super::device::{DeviceBank, HasSession, Model, Session, on_lent};
use super::kept_views::KeptViews;
use super::shared_bank::{LoadedBank, upload};
use super::verdict::Regions;
use super::{BestBank, Score};
use crate::bank::PromptBank;
use crate::error::{Error, ErrorKind, Result};
use crate::image::AnyFrame;
use crate::memory;
use crate::view::Look;
use crate::weights::Arch;

/// Scores each image against several banks. The image is encoded once and compared once with each prompt, even if
/// several banks share the prompt. An evaluation over many draws of prompts then costs little more than one. Made by
/// [`crate::Engine::multi_bank_scorer`].
///
/// Scores have the same bits as those of a [`crate::Scorer`] with the same bank.
pub struct MultiBankScorer {
    batch: Batch,
    banks: Vec<Arc<PromptBank>>,
    loaded: Vec<LoadedBank>,
    /// Prompts that belong to the same set of banks form a group. Each prompt is in exactly one group.
    groups: Vec<DeviceBank>,
    /// The groups of each bank, as indices into `groups`.
    members: Vec<Vec<usize>>,
    views: KeptViews,
    regions: Regions,
    scores: Vec<Score>,
}

impl MultiBankScorer {
    pub(super) fn new(
        session: Box<dyn Session>,
        model: &dyn Model,
        model_hash: &str,
        arch: &Arch,
        banks: &[Arc<PromptBank>],
    ) -> Result<Self> {
        let Some(first) = banks.first() else {
            return Err(Error::new(ErrorKind::Argument, "no banks were given: at least one is needed"));
        };
        // Three copies: each bank's bytes for the search, and the groups' rows with theirs.
        let bytes = banks.iter().map(|bank| bank.info().bytes).fold(0, usize::saturating_add).saturating_mul(3);
        memory::check(&format!("scoring against {} banks at once", banks.len()), bytes, "use fewer banks")?;
        // For each prompt, the banks that contain it and its place in the first of them.
        let mut owners: BTreeMap<&str, (Vec<usize>, usize)> = BTreeMap::new();
        let mut loaded = Vec::with_capacity(banks.len());
        for (at, bank) in banks.iter().enumerate() {
            bank.check_model(model_hash, arch)?;
            bank.check_precision(model.precision())?;
            first.setup().check_same(bank.setup(), "the banks scored together").map_err(|error| {
                Error::new(
                    ErrorKind::Argument,
                    "all banks of one call must be for one method, as an image is encoded once",
                )
                .because(error)
            })?;
            if bank.fit() != first.fit() || bank.mask() != first.mask() || bank.bound_grid() != first.bound_grid() {
                let message = format!(
                    "banks with fits {} and {}, or with different ignore masks or grids, cannot be scored together: an \
                     image is encoded once",
                    bank.fit(),
                    first.fit()
                );
                return Err(Error::new(ErrorKind::Argument, message));
            }
            if bank.frame_positions() != first.frame_positions() {
                let message = format!(
                    "banks with {} and {} positions of a tile cannot be scored together: an image is cut once; build them from \
                     images of one size and with one ignore mask",
                    bank.positions(),
                    first.positions()
                );
                return Err(Error::new(ErrorKind::Argument, message));
            }
            for (place, hash) in bank.prompt_hashes().iter().enumerate() {
                let (owners, _) = owners.entry(hash).or_insert_with(|| (Vec::new(), place));
                // A bank may hold a prompt twice. This changes no maximum.
                if owners.last() != Some(&at) {
                    owners.push(at);
                }
            }
            let devices = upload(model, bank)?;
            loaded.push(LoadedBank { bank: Arc::clone(bank), devices, id: bank.bank_id(), generation: 1 });
        }
        let mut places: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        // Banks for each position of a tile would have groups for each of them: they are compared one by one.
        if first.has_separate_prompts() && first.method_entry().shares_prompts() && !first.setup().has_bank_per_tile() {
            for (owners, place) in owners.into_values() {
                places.entry(owners).or_default().push(place);
            }
        }
        let (mut groups, mut members) = (Vec::with_capacity(places.len()), vec![Vec::new(); banks.len()]);
        for (owners, places) in &places {
            let Some(&first) = owners.first() else { continue };
            owners.iter().for_each(|&bank| members[bank].push(groups.len()));
            groups.push(model.upload(&banks[first].subset(places)?.device_tensors(0)?)?);
        }
        let grid = first.setup().grid(&arch.vision)?;
        let names = first.outputs();
        let mut regions = Regions::default();
        regions.reserve(grid)?;
        Ok(MultiBankScorer {
            batch: Batch::new(session),
            banks: banks.to_vec(),
            loaded,
            groups,
            members,
            views: KeptViews::new(&arch.vision),
            regions,
            scores: banks.iter().map(|_| Score::empty(names, grid)).collect::<Result<_>>()?,
        })
    }

    /// The banks, in the order of the scores.
    pub fn banks(&self) -> &[Arc<PromptBank>] {
        &self.banks
    }

    /// Which bank the last image fits best, and by how much.
    pub fn best(&self) -> Option<BestBank> {
        BestBank::among(&self.scores)
    }

    /// Scores one image against each bank.
    ///
    /// # Errors
    /// As [`crate::Scorer::score`].
    pub fn score<'a>(&mut self, frame: impl Into<AnyFrame<'a>>) -> Result<&[Score]> {
        let frame = frame.into();
        on_lent(self, &[frame], |scorer| scorer.run(frame))?;
        Ok(&self.scores)
    }

    fn run(&mut self, frame: AnyFrame<'_>) -> Result<()> {
        let MultiBankScorer { batch, banks, loaded, groups, members, views, regions, scores } = self;
        let (bank, patch, size) = (&banks[0], views.patch(&banks[0]), [frame.width(), frame.height()]);
        let look = views.of(&frame, bank)?;
        let Look { views, tiled } = &**look;
        let Some(view) = views.first() else { return Ok(()) };
        let grid = view.grid(patch);
        if batch.begin(grid)? {
            scores.iter_mut().try_for_each(|score| score.reserve(grid))?;
        }
        regions.reserve(tiled.as_ref().map_or(grid, |tiled| tiled.layout.grid()))?;
        scores.iter_mut().try_for_each(|score| match tiled {
            Some(tiled) => score.begin_tiles(tiled, views, size),
            None => score.begin(view, patch, size),
        })?;
        let groups: Vec<&DeviceBank> = groups.iter().collect();
        let per_tile = bank.setup().has_bank_per_tile();
        let devices = |view: usize| -> Vec<&DeviceBank> {
            loaded.iter().map(|bank| &bank.devices[if per_tile { view } else { 0 }]).collect()
        };
        let mut doubts = Vec::with_capacity(banks.len());
        let found = batch.score_groups(
            (frame, bank.mask()),
            views,
            &ManyBanks { of_view: &devices, groups: &groups, members },
            |seen| doubts.extend(banks.iter().map(|bank| seen.depth_doubt_beside(bank.white_level()))),
            &mut |view, slot, values, map| match tiled {
                Some(tiled) => scores[slot].add_tile(tiled, view, values, map),
                None => scores[slot].fill(values, map, loaded[slot].judge(), regions),
            },
        );
        found.map_err(|error| match tiled {
            Some(tiled) => error.naming_result(|view| tiled.name(view)),
            None => error,
        })?;
        for ((score, loaded), doubt) in scores.iter_mut().zip(loaded.iter()).zip(doubts) {
            score.depth_doubt = doubt;
            if let Some(tiled) = tiled {
                score.finish_tiles(tiled, loaded.judge(), regions);
            }
        }
        Ok(())
    }
}

impl HasSession for MultiBankScorer {
    fn session(&mut self) -> &mut dyn Session {
        self.batch.session()
    }
}
