//! One image against many banks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Score;
use super::device::{DeviceBank, HasSession, Model, Session, on_lent};
use super::frame_prep::FramePrep;
use super::scorer::{ViewPlan, fitted};
use super::shared_bank::LoadedBank;
use super::verdict::Regions;
use crate::bank::PromptBank;
use crate::error::{Error, ErrorKind, Result};
use crate::image::AnyFrame;
use crate::memory;
use crate::weights::{Arch, VisionArch};

/// Scores each image against several banks. The image is encoded once and compared once with each prompt, even if
/// several banks share the prompt. An evaluation over many draws of prompts then costs little more than one. Made by
/// [`crate::Engine::multi_bank_scorer`].
///
/// Scores have the same bits as those of a [`crate::Scorer`] with the same bank.
pub struct MultiBankScorer {
    session: Box<dyn Session>,
    vision: VisionArch,
    banks: Vec<Arc<PromptBank>>,
    prepared: Vec<LoadedBank>,
    /// Prompts that belong to the same set of banks form a group. Each prompt is in exactly one group.
    groups: Vec<DeviceBank>,
    /// The groups of each bank, as indices into `groups`.
    members: Vec<Vec<usize>>,
    plans: Vec<ViewPlan>,
    prep: FramePrep,
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
        let mut prepared = Vec::with_capacity(banks.len());
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
            for (place, hash) in bank.prompt_hashes().iter().enumerate() {
                let (owners, _) = owners.entry(hash).or_insert_with(|| (Vec::new(), place));
                // A bank may hold a prompt twice. This changes no maximum.
                if owners.last() != Some(&at) {
                    owners.push(at);
                }
            }
            let device = model.upload(&bank.device_tensors()?)?;
            prepared.push(LoadedBank { bank: Arc::clone(bank), device, id: bank.bank_id(), generation: 1 });
        }
        let mut places: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        if first.has_separate_prompts() && first.method_entry().shares_prompts() {
            for (owners, place) in owners.into_values() {
                places.entry(owners).or_default().push(place);
            }
        }
        let (mut groups, mut members) = (Vec::with_capacity(places.len()), vec![Vec::new(); banks.len()]);
        for (owners, places) in &places {
            let Some(&first) = owners.first() else { continue };
            owners.iter().for_each(|&bank| members[bank].push(groups.len()));
            groups.push(model.upload(&banks[first].subset(places)?.device_tensors()?)?);
        }
        let grid = first.setup().grid(&arch.vision)?;
        let names = first.outputs();
        let mut regions = Regions::default();
        regions.reserve(grid)?;
        Ok(MultiBankScorer {
            session,
            vision: arch.vision.clone(),
            banks: banks.to_vec(),
            prepared,
            groups,
            members,
            plans: Vec::new(),
            prep: FramePrep::default(),
            regions,
            scores: banks.iter().map(|_| Score::empty(names, grid)).collect::<Result<_>>()?,
        })
    }

    /// The banks, in the order of the scores.
    pub fn banks(&self) -> &[Arc<PromptBank>] {
        &self.banks
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
        let mask = self.banks[0].mask();
        let at = fitted(&mut self.plans, &frame, &self.vision, &self.banks[0])?;
        let ViewPlan { plan, valid } = &self.plans[at];
        let seen = self.prep.of(&mut *self.session, frame, mask)?;
        let doubts: Vec<_> = self.banks.iter().map(|bank| seen.depth_doubt_beside(bank.white_level())).collect();
        let grid = plan.grid(self.vision.patch_size);
        if self.session.prepare(grid)? {
            self.scores.iter_mut().try_for_each(|score| score.reserve(grid))?;
        }
        self.regions.reserve(grid)?;
        self.session.place(seen, plan, 0)?;
        (0..self.banks.len()).for_each(|slot| self.session.set_valid(slot, valid));
        let placement = plan.placement_of_grid(self.vision.patch_size);
        for (score, doubt) in self.scores.iter_mut().zip(doubts) {
            score.depth_doubt = doubt;
            score.map.placement = placement;
            score.begin(grid, valid, [frame.width(), frame.height()])?;
        }
        self.session.encode(1)?;
        let MultiBankScorer { session, prepared, groups, members, regions, scores, .. } = self;
        let banks: Vec<&DeviceBank> = prepared.iter().map(|prepared| &prepared.device).collect();
        let groups: Vec<&DeviceBank> = groups.iter().collect();
        session.compare_groups(&banks, &groups, members, &mut |slot, values, map| {
            scores[slot].fill(values, map, &prepared[slot], regions);
        })
    }
}

impl HasSession for MultiBankScorer {
    fn session(&mut self) -> &mut dyn Session {
        &mut *self.session
    }
}
