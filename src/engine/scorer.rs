//! Scoring: the hot path.

use std::sync::Arc;
use std::time::Instant;

use super::batch::Batch;
use super::device::{HasSession, Session, on_lent};
use super::kept_views::{KeptViews, look_alike};
use super::pipeline::StageTimes;
use super::shared_bank::LoadedBank;
use super::verdict::Regions;
use super::{Score, SharedBank, estimate};
use crate::bank::PromptBank;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, Frame, PixelFormat};
use crate::memory;
use crate::view::Grid;
use crate::weights::Arch;

/// Scores images against a bank. Make one for each thread or camera with [`crate::Engine::scorer`]; it is `Send`.
///
/// A score has the same bits for every batch size, position in the batch, thread count and order of the prompts, and
/// does not depend on the other images. After one image of each size (up to 32 sizes) and pixel format,
/// [`Scorer::score`] allocates nothing and takes no lock.
pub struct Scorer {
    batch: Batch,
    /// The largest number of images of a call.
    capacity: usize,
    shared: Arc<SharedBank>,
    loaded: Arc<LoadedBank>,
    views: KeptViews,
    regions: Regions,
    scores: Vec<Score>,
    /// The grid of each image of the batch, until it is scored.
    grids: Vec<Option<Grid>>,
    /// The images of the batch that are encoded together.
    together: Vec<usize>,
    grown: Option<Grid>,
}

impl Scorer {
    /// A scorer of up to `capacity` images at a time, with a session of at least as many views.
    pub(super) fn new(
        session: Box<dyn Session>,
        arch: &Arch,
        shared: Arc<SharedBank>,
        capacity: usize,
    ) -> Result<Self> {
        let loaded = Arc::clone(&shared.load());
        // The grid that the session was made for: that of a square picture, or of a tile.
        let grid = loaded.bank.setup().grid(&arch.vision)?;
        let names = loaded.bank.outputs();
        let mut regions = Regions::default();
        regions.reserve(grid)?;
        Ok(Scorer {
            scores: (0..capacity).map(|_| Score::empty(names, grid)).collect::<Result<_>>()?,
            grids: Vec::with_capacity(capacity),
            together: Vec::with_capacity(capacity),
            capacity,
            grown: None,
            batch: Batch::new(session),
            shared,
            loaded,
            views: KeptViews::new(&arch.vision),
            regions,
        })
    }

    /// Scores one image: a [`Frame`], or a [`DeviceFrame`](crate::DeviceFrame) on the scorer's own GPU.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for a frame that cannot be resized, does not have the size of the bank's ignore
    /// mask, or is in memory that the scorer's device does not read; [`crate::ErrorKind::Numeric`] where the model
    /// overflows. The scorer stays usable after an error.
    pub fn score<'a>(&mut self, frame: impl Into<AnyFrame<'a>>) -> Result<&Score> {
        self.run(&[frame.into()])?;
        Ok(&self.scores[0])
    }

    /// Scores images in order, as many at a time as the scorer has memory for.
    ///
    /// # Errors
    /// As [`Scorer::score`], for the first image that fails.
    pub fn score_batch<'a>(&mut self, frames: &[impl Into<AnyFrame<'a>> + Copy]) -> Result<Vec<Score>> {
        let mut scores = Vec::with_capacity(frames.len());
        for frames in frames.chunks(self.capacity()) {
            scores.extend_from_slice(self.score_some(frames)?);
        }
        Ok(scores)
    }

    /// How long each step of scoring `frame` takes. It waits after each step, so the sum is larger than the time of
    /// [`Scorer::score`]. Converting camera formats and applying an ignore mask count as preprocessing, and so do the
    /// copies from a device that they need.
    ///
    /// # Errors
    /// As [`Scorer::score`].
    pub fn stage_times<'a>(&mut self, frame: impl Into<AnyFrame<'a>>) -> Result<StageTimes> {
        let frame = frame.into();
        on_lent(self, &[frame], |scorer| scorer.time_stages(frame))
    }

    fn time_stages(&mut self, frame: AnyFrame<'_>) -> Result<StageTimes> {
        self.follow();
        let (bank, patch, devices) = (&self.loaded.bank, self.views.patch(&self.loaded.bank), &self.loaded.devices);
        let look = self.views.of(&frame, bank)?;
        let began = Instant::now();
        let (seen, session) = self.batch.prepared(frame, bank.mask())?;
        let converted = began.elapsed();
        session.prepare(look.view_grid(patch))?;
        let mut times: Option<StageTimes> = None;
        for (view, device) in look.views.iter().zip(devices.iter().cycle()) {
            let own = session.stage_times(seen, view, device)?;
            times = Some(match times {
                Some(times) => times.and(own),
                None => own,
            });
        }
        let mut times = times.ok_or_else(|| Error::new(ErrorKind::Internal, "a frame was looked at in no view"))?;
        times.preprocess += converted;
        Ok(times)
    }

    /// As [`Scorer::score_batch`], for up to [`Scorer::capacity`] images: it allocates nothing, as the scores are in
    /// the scorer's own memory.
    ///
    /// # Errors
    /// As [`Scorer::score`], for the first image that fails; [`crate::ErrorKind::Argument`] for too many images.
    pub fn score_some<'a>(&mut self, frames: &[impl Into<AnyFrame<'a>> + Copy]) -> Result<&[Score]> {
        if frames.len() > self.capacity() {
            let message = format!("{} images at once, but the scorer has memory for {}", frames.len(), self.capacity());
            return Err(Error::new(ErrorKind::Argument, message));
        }
        if !frames.is_empty() {
            self.run(frames)?;
        }
        Ok(&self.scores[..frames.len()])
    }

    /// Scores a grey picture of this size and format `count` times and discards the scores. Memory, caches and clock
    /// rates are then as in steady operation.
    ///
    /// # Errors
    /// As [`Scorer::score`]; [`crate::ErrorKind::Device`] if there is not enough memory for such a picture.
    pub fn warm_up(&mut self, width: usize, height: usize, format: PixelFormat, count: u32) -> Result<()> {
        // Refuses bad sizes before taking memory for them.
        self.loaded.bank.grid(self.views.vision(), width, height)?;
        // Sizes that have a plan do not overflow.
        let stride = format.row_bytes(width).unwrap_or(width);
        let (picture, converted) = (stride * height, estimate::conversion_bytes(width, height, format));
        let what = format!("a warm-up with {width} x {height} pixels of {format:?}");
        memory::check(&what, picture.saturating_add(converted), "warm up with the size of the camera's frames")?;
        let mut pixels = memory::zeros::<u8>(&what, picture)?;
        pixels.fill(format.grey_byte());
        for _ in 0..count {
            self.score(Frame::new(&pixels, width, height, stride, format)?)?;
        }
        Ok(())
    }

    /// The grid for which the last call took memory, because no call had used it before; none where no memory was
    /// taken. With the fit [`Fit::Trim`](crate::Fit::Trim) each shape of frames has its own grid, and with tiles each
    /// size: warm up with each of them.
    pub fn grown(&self) -> Option<Grid> {
        self.grown
    }

    /// The largest number of images of a call of [`Scorer::score_some`], which are encoded at once. Images in tiles are
    /// encoded one after another, several tiles at once.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The bank that the last image was scored against.
    pub fn bank(&self) -> &Arc<PromptBank> {
        &self.loaded.bank
    }

    /// What it takes its bank from.
    pub fn shared_bank(&self) -> &Arc<SharedBank> {
        &self.shared
    }

    /// From the next image on, this scorer and all others of its [`SharedBank`] score against `bank`, which must be of
    /// the same model.
    ///
    /// # Errors
    /// As [`SharedBank::swap`]; the old one stays in use.
    pub fn set_bank(&mut self, bank: Arc<PromptBank>) -> Result<()> {
        self.shared.swap(bank)?;
        self.follow();
        Ok(())
    }

    /// Switches to the bank that is shared now.
    fn follow(&mut self) {
        let current = self.shared.load();
        if current.generation == self.loaded.generation {
            return;
        }
        if !look_alike(&self.loaded.bank, &current.bank) {
            self.views.clear();
        }
        self.loaded = Arc::clone(&current);
    }

    /// Scores up to a batch into `self.scores`.
    fn run<'a>(&mut self, frames: &[impl Into<AnyFrame<'a>> + Copy]) -> Result<()> {
        on_lent(self, frames, |scorer| scorer.place_and_score(frames))
    }

    /// Frames with the same grid are encoded together.
    fn place_and_score<'a>(&mut self, frames: &[impl Into<AnyFrame<'a>> + Copy]) -> Result<()> {
        self.follow();
        self.grown = None;
        self.grids.clear();
        let patch = self.views.patch(&self.loaded.bank);
        if self.loaded.bank.tiling().is_some() {
            let mut each = frames.iter().enumerate();
            return each.try_for_each(|(image, frame)| self.score_tiles(image, frames.len(), (*frame).into()));
        }
        for frame in frames {
            self.grids.push(Some(self.views.of(&(*frame).into(), &self.loaded.bank)?.view_grid(patch)));
        }
        while let Some(grid) = self.grids.iter().find_map(|grid| *grid) {
            self.score_those_of(grid, frames)?;
        }
        Ok(())
    }

    /// Scores frame `image` of `count` by its tiles.
    fn score_tiles(&mut self, image: usize, count: usize, frame: AnyFrame<'_>) -> Result<()> {
        let Scorer { batch, loaded, views, regions, scores, grown, .. } = self;
        let (bank, patch, score) = (&loaded.bank, views.patch(&loaded.bank), &mut scores[image]);
        let look = views.of(&frame, bank)?;
        let Some(tiled) = &look.tiled else {
            return Err(Error::new(ErrorKind::Internal, "a bank with tiles looks at a frame without them"));
        };
        let grid = tiled.layout.grid();
        if score.map.cells.capacity() < grid.cells() {
            *grown = Some(grid);
        }
        regions.reserve(grid)?;
        score.begin_tiles(tiled, &look.views, [frame.width(), frame.height()])?;
        batch.begin(look.view_grid(patch))?;
        let mut doubt = None;
        let scored = batch.score_views(
            frame,
            bank.mask(),
            &look.views,
            &loaded.devices,
            |seen| doubt = seen.depth_doubt_beside(bank.white_level()),
            &mut |view, values, map| score.add_tile(tiled, view, values, map),
        );
        let name = |view| match count {
            1 => tiled.name(view),
            _ => format!("{} of image {image} of the batch", tiled.name(view)),
        };
        scored.map_err(|error| error.naming_result(name))?;
        score.depth_doubt = doubt;
        score.finish_tiles(tiled, loaded.judge(), regions);
        Ok(())
    }

    /// Scores the frames of the batch that have this grid.
    fn score_those_of<'a>(&mut self, grid: Grid, frames: &[impl Into<AnyFrame<'a>> + Copy]) -> Result<()> {
        if self.batch.begin(grid)? {
            self.grown = Some(grid);
            self.scores.iter_mut().try_for_each(|score| score.reserve(grid))?;
        }
        self.regions.reserve(grid)?;
        self.together.clear();
        let Scorer { batch, loaded, views, regions, scores, grids, together, .. } = self;
        let bank = &loaded.bank;
        let patch = views.patch(bank);
        for (image, frame) in frames.iter().enumerate().filter(|(image, _)| grids[*image] == Some(grid)) {
            let frame = (*frame).into();
            let size = [frame.width(), frame.height()];
            together.push(image);
            batch.place(
                frame,
                bank.mask(),
                &views.of(&frame, bank)?.views,
                |_| 0..1,
                |_, seen, view| {
                    scores[image].depth_doubt = seen.depth_doubt_beside(bank.white_level());
                    scores[image].begin(view, patch, size)
                },
            )?;
        }
        together.iter().for_each(|image| grids[*image] = None);
        let scored = batch.score(&[&loaded.devices[0]], &mut |slot, values, map| {
            scores[together[slot]].fill(values, map, loaded.judge(), regions);
        });
        // One image needs no number.
        scored.map_err(|error| match frames.len() {
            1 => error,
            _ => error.naming_result(|slot| format!("image {} of the batch", together[slot])),
        })
    }
}

impl HasSession for Scorer {
    fn session(&mut self) -> &mut dyn Session {
        self.batch.session()
    }
}
