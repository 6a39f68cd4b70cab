//! One image against the banks of several methods.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Score;
use super::batch::{Batch, ManyBanks};
use super::device::{DeviceBank, HasSession, Model, Session, on_lent};
use super::kept_views::KeptViews;
use super::shared::SCORING_COPIES;
use super::shared_bank::{LoadedBank, upload};
use super::verdict::Regions;
use crate::bank::PromptBank;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DepthDoubt};
use crate::memory;
use crate::view::Look;
use crate::weights::Arch;

/// Scores each image against banks of several methods. The image is encoded once for all of them, and each method
/// compares it as a [`crate::MultiBankScorer`] does. Made by [`crate::Engine::multi_method_scorer`].
///
/// Scores have the same bits as those of a [`crate::Scorer`] with the same bank. An image that one method cannot judge
/// is judged by the others.
pub struct MultiMethodScorer {
    batch: Batch,
    methods: Vec<Banks>,
    /// Of each method, as a bank may be of one place.
    views: Vec<KeptViews>,
    regions: Regions,
    /// By method and bank.
    scores: Vec<Vec<Score>>,
}

/// The banks of a method.
struct Banks {
    banks: Vec<Arc<PromptBank>>,
    loaded: Vec<LoadedBank>,
    /// Prompts that belong to the same set of banks form a group. Each prompt is in exactly one group.
    groups: Vec<DeviceBank>,
    /// The groups of each bank, as indices into `groups`.
    members: Vec<Vec<usize>>,
    /// Whether each position of a tile has its own.
    per_tile: bool,
}

impl Banks {
    fn new(model: &dyn Model, model_hash: &str, arch: &Arch, banks: &[Arc<PromptBank>]) -> Result<Self> {
        let first = first(banks)?;
        // For each prompt, the banks that contain it and its place in the first of them.
        let mut owners: BTreeMap<&str, (Vec<usize>, usize)> = BTreeMap::new();
        let mut loaded = Vec::with_capacity(banks.len());
        for (at, bank) in banks.iter().enumerate() {
            bank.check_model(model_hash, arch)?;
            bank.check_precision(model.precision())?;
            check_alike(first, bank)?;
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
        let per_tile = first.setup().has_bank_per_tile();
        let mut places: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        // Banks for each position of a tile would have groups for each of them: they are compared one by one.
        if first.has_separate_prompts() && first.method_entry().shares_prompts() && !per_tile {
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
        Ok(Banks { banks: banks.to_vec(), loaded, groups, members, per_tile })
    }

    /// The banks that a view is compared with.
    fn of_view(&self, view: usize) -> Vec<&DeviceBank> {
        self.loaded.iter().map(|bank| &bank.devices[if self.per_tile { view } else { 0 }]).collect()
    }
}

fn first(banks: &[Arc<PromptBank>]) -> Result<&Arc<PromptBank>> {
    banks.first().ok_or_else(|| Error::new(ErrorKind::Argument, "no banks were given: at least one is needed"))
}

/// Refuses a bank that cannot be scored together with the first one of its method.
fn check_alike(first: &PromptBank, bank: &PromptBank) -> Result<()> {
    let fail = |message: String| Err(Error::new(ErrorKind::Argument, message));
    first.setup().check_same(bank.setup(), "the banks scored together").map_err(|error| {
        let message = "all banks of one call must be for one method, as an image is encoded once";
        Error::new(ErrorKind::Argument, message).because(error)
    })?;
    if bank.fit() != first.fit() || bank.mask() != first.mask() || bank.bound_grid() != first.bound_grid() {
        return fail(format!(
            "banks with fits {} and {}, or with different ignore masks or grids, cannot be scored together: an image is \
             encoded once",
            bank.fit(),
            first.fit()
        ));
    }
    if bank.frame_positions() != first.frame_positions() {
        return fail(format!(
            "banks with {} and {} positions of a tile cannot be scored together: an image is cut once; build them from \
             images of one size and with one ignore mask",
            bank.positions(),
            first.positions()
        ));
    }
    Ok(())
}

impl MultiMethodScorer {
    pub(super) fn new(
        session: Box<dyn Session>,
        model: &dyn Model,
        model_hash: &str,
        arch: &Arch,
        methods: &[&[Arc<PromptBank>]],
    ) -> Result<Self> {
        let count: usize = methods.iter().map(|banks| banks.len()).sum();
        let bytes = methods.iter().flat_map(|banks| banks.iter()).map(|bank| bank.info().bytes);
        let bytes = bytes.fold(0, usize::saturating_add).saturating_mul(SCORING_COPIES);
        memory::check(&format!("scoring against {count} banks at once"), bytes, "use fewer banks")?;
        let mut mask = None;
        for banks in methods {
            if *mask.get_or_insert(first(banks)?.mask()) != first(banks)?.mask() {
                let message = "banks with different ignore masks cannot be scored together: an image is encoded once";
                return Err(Error::new(ErrorKind::Argument, message));
            }
        }
        let mut regions = Regions::default();
        let mut scores = Vec::with_capacity(methods.len());
        for banks in methods {
            let first = first(banks)?;
            let grid = first.setup().grid(&arch.vision)?;
            regions.reserve(grid)?;
            let of_bank = |_: &Arc<PromptBank>| Score::empty(first.outputs(), grid);
            scores.push(banks.iter().map(of_bank).collect::<Result<Vec<_>>>()?);
        }
        Ok(MultiMethodScorer {
            batch: Batch::new(session),
            views: methods.iter().map(|_| KeptViews::new(&arch.vision)).collect(),
            methods: methods.iter().map(|banks| Banks::new(model, model_hash, arch, banks)).collect::<Result<_>>()?,
            regions,
            scores,
        })
    }

    /// The banks of a method, in the order of its scores.
    pub fn banks(&self, method: usize) -> &[Arc<PromptBank>] {
        self.methods.get(method).map_or(&[], |method| &method.banks)
    }

    /// The scores of the last image by a method.
    pub(super) fn scores(&self, method: usize) -> &[Score] {
        self.scores.get(method).map_or(&[], Vec::as_slice)
    }

    /// Scores one image against the banks of the methods with these numbers, ascending. The results are in their order: the
    /// scores against each bank, or why the method cannot judge the image.
    ///
    /// # Errors
    /// For an image that cannot be encoded at all. Errors of a method are as of [`crate::Scorer::score`].
    pub fn score<'a>(&mut self, frame: impl Into<AnyFrame<'a>>, methods: &[usize]) -> Result<Vec<Result<&[Score]>>> {
        let frame = frame.into();
        let mut errors = on_lent(self, &[frame], |scorer| scorer.run(frame, methods))?;
        let result = |&method: &usize| match errors.get_mut(method).and_then(Option::take) {
            Some(error) => Err(error),
            None => Ok(self.scores.get(method).map_or(&[][..], Vec::as_slice)),
        };
        Ok(methods.iter().map(result).collect())
    }

    /// The errors of methods.
    fn run(&mut self, frame: AnyFrame<'_>, asked: &[usize]) -> Result<Vec<Option<Error>>> {
        let MultiMethodScorer { batch, methods, views, regions, scores } = self;
        let size = [frame.width(), frame.height()];
        let mut errors: Vec<Option<Error>> = methods.iter().map(|_| None).collect();
        let mut looks: Vec<Option<&Look>> = vec![None; methods.len()];
        let mut patch = 0;
        for (at, (views, method)) in views.iter_mut().zip(&*methods).enumerate().filter(|(at, _)| asked.contains(at)) {
            patch = views.patch(&method.banks[0]);
            match views.of(&frame, &method.banks[0]) {
                Ok(look) => looks[at] = Some(&**look),
                Err(error) => errors[at] = Some(error),
            }
        }
        // They look alike, so what one sees is what all see.
        let Some(Look { views, tiled }) = looks.iter().flatten().next() else { return Ok(errors) };
        let Some(view) = views.first() else { return Ok(errors) };
        let grid = view.grid(patch);
        if batch.begin(grid)? {
            scores.iter_mut().flatten().try_for_each(|score| score.reserve(grid))?;
        }
        regions.reserve(tiled.as_ref().map_or(grid, |tiled| tiled.layout.grid()))?;
        let able = |at: &usize| looks[*at].is_some();
        for score in scores.iter_mut().enumerate().filter(|(at, _)| able(at)).flat_map(|(_, scores)| scores) {
            match tiled {
                Some(tiled) => score.begin_tiles(tiled, views, size)?,
                None => score.begin(view, patch, size)?,
            }
        }
        let groups: Vec<Vec<&DeviceBank>> = methods.iter().map(|method| method.groups.iter().collect()).collect();
        let of_view: Vec<_> = methods.iter().map(|method| move |view: usize| method.of_view(view)).collect();
        let many = |at: usize| ManyBanks {
            method: at,
            of_view: &of_view[at],
            groups: &groups[at],
            members: &methods[at].members,
        };
        let many: Vec<ManyBanks<'_>> = (0..methods.len()).filter(able).map(many).collect();
        let mut doubts: Vec<Vec<Option<DepthDoubt>>> = Vec::with_capacity(methods.len());
        let doubt = |seen: &AnyFrame<'_>, method: &Banks| {
            method.banks.iter().map(|bank| seen.depth_doubt_beside(bank.white_level())).collect()
        };
        let named = |error: Error| match tiled {
            Some(tiled) => error.naming_result(|view| tiled.name(view)),
            None => error,
        };
        let found = batch.score_groups(
            (frame, methods[0].banks[0].mask()),
            views,
            &many,
            |seen| doubts.extend(methods.iter().map(|method| doubt(seen, method))),
            &mut |at, view, slot, values, map| match tiled {
                Some(tiled) => scores[at][slot].add_tile(tiled, view, values, map),
                None => scores[at][slot].fill(values, map, methods[at].loaded[slot].judge(), regions),
            },
            &mut |at, error| errors[at] = Some(named(error)),
        );
        found.map_err(named)?;
        for at in (0..methods.len()).filter(able) {
            let each = scores[at].iter_mut().zip(&methods[at].loaded).zip(std::mem::take(&mut doubts[at]));
            for ((score, loaded), doubt) in each {
                score.depth_doubt = doubt;
                if let Some(tiled) = tiled {
                    score.finish_tiles(tiled, loaded.judge(), regions);
                }
            }
        }
        Ok(errors)
    }
}

impl HasSession for MultiMethodScorer {
    fn session(&mut self) -> &mut dyn Session {
        self.batch.session()
    }
}
