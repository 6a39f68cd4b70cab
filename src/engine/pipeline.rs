//! From frames to outputs on one queue of a device: all that one thread needs to score.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::device::{DeviceBank, Session};
use super::estimate::{self, PipelineSize};
use super::workspace::{Comparing, GRIDS, Memory, PipelineMethod, ReadyGrid, all_own, current, own, without_method};
use crate::backend::{Backend, BankRole, BankTensor, MAX_BANKS, Role, Search};
use crate::bank::PromptBank;
use crate::encoder::vision::{Features, Wanted};
use crate::encoder::{HookPoint, Vision, Wants};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DeviceFrame};
use crate::memory;
use crate::methods::{Batch, Groups, Loaded, Method, NamedTensor, Run, Runs, Setup, not_finite};
use crate::view::{Grid, Normalised, View};
use crate::weights::{Arch, Weights};

/// How long each step of a score took, in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StageTimes {
    /// Copying the frame's pixels to the device; none where the device reads them in place.
    pub upload: Option<Duration>,
    /// Frame to patch rows.
    pub preprocess: Duration,
    /// Patch rows to features.
    pub encode: Duration,
    /// The method's own steps, by name.
    pub compare: Vec<(&'static str, Duration)>,
}

impl StageTimes {
    /// Of two views, one after the other: the sum of each step.
    pub(super) fn and(mut self, next: Self) -> Self {
        let upload = [self.upload, next.upload].into_iter().flatten().reduce(|a, b| a + b);
        self.compare.iter_mut().zip(&next.compare).for_each(|((_, all), (_, own))| *all += *own);
        StageTimes {
            upload,
            preprocess: self.preprocess + next.preprocess,
            encode: self.encode + next.encode,
            compare: self.compare,
        }
    }
}

/// Features of one image in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFeatures {
    /// The grid of its N patches.
    pub grid: Grid,
    /// Unit patch tokens `[L, N, W]`.
    pub taps: Vec<f32>,
    /// Class embedding `[E]`, not normalised; empty where the method does not want it.
    pub class: Vec<f32>,
}

/// A queue of the device, its activations, the memory of one method or of several that look at one encoding, and host
/// memory for the results.
pub struct Pipeline<B: Backend> {
    backend: B,
    encoder: Arc<Vision<B>>,
    /// The different features that the methods want.
    wants: Vec<Wants>,
    /// None for a pipeline that only encodes.
    methods: Vec<PipelineMethod<B>>,
    /// The largest numbers of views and of slots of a batch, of any method.
    most: [usize; 2],
    memory: Memory<B>,
    /// The most recent grids, ready for batches. The last one is the next batch's.
    grids: Vec<ReadyGrid<B>>,
    recordings: B::Recordings,
    host_values: Vec<f32>,
    layout: Vec<usize>,
}

/// A method with its options, what is loaded of it, and the largest number of its slots.
pub(super) type Served<'a, B> = (&'a Setup, Arc<dyn Loaded<B>>, usize);

/// Called with the index of a result, the method's outputs, and the unclamped map `[N]`.
pub type EachResult<'a> = dyn FnMut(usize, &[f32], &[f32]) + 'a;

impl<B: Backend> Pipeline<B> {
    /// Takes memory for batches of up to `views` images of `grid`. [`Session::prepare`] takes more for larger grids. The
    /// encoder computes what the methods want; without a method, what its architecture names.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has not enough memory, [`ErrorKind::Argument`] for a grid for which the
    /// encoder has no positions.
    pub(super) fn new(
        mut backend: B,
        encoder: Arc<Vision<B>>,
        served: Vec<Served<'_, B>>,
        grid: Grid,
        views: usize,
    ) -> Result<Self> {
        let setups: Vec<&Setup> = served.iter().map(|(setup, ..)| *setup).collect();
        let wants = wants(&setups, encoder.arch())?;
        let method = |(setup, loaded, slots): Served<'_, B>| {
            let own = setup.wants(encoder.arch())?;
            let features = wants.iter().position(|wants| *wants == own).unwrap_or(0);
            Ok(PipelineMethod { loaded, setup: setup.clone(), slots, features })
        };
        let methods = served.into_iter().map(method).collect::<Result<Vec<_>>>()?;
        check_grid(&methods, encoder.arch(), grid)?;
        let slots = methods.iter().map(|method| method.slots).max().unwrap_or(0);
        let values = methods.iter().map(|method| method.slots * method.values()).max().unwrap_or(0);
        let tokens = encoder.tokens(&mut backend, grid, views)?;
        let held = Memory::new(&backend, &encoder, &wants, &methods, grid.cells(), [views, slots])?;
        let mut grids = Vec::with_capacity(GRIDS);
        grids.push(ReadyGrid::new(&backend, tokens, slots)?);
        Ok(Pipeline {
            host_values: memory::zeros("the results of a batch", values)?,
            layout: Vec::with_capacity(4 * MAX_BANKS + 3),
            recordings: B::Recordings::default(),
            most: [views, slots],
            wants,
            methods,
            memory: held,
            grids,
            encoder,
            backend,
        })
    }

    /// Loads the encoder and the method for a separate pipeline, for the grid of the model's own size.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has not enough memory, [`ErrorKind::Weights`] where the method's tensors
    /// are missing.
    pub fn open(
        mut backend: B,
        weights: &Weights,
        method: &'static dyn Method,
        views: usize,
        slots: usize,
    ) -> Result<Self>
    where
        B: Runs,
    {
        let encoder = Arc::new(Vision::load(&mut backend, weights)?);
        let setup = Setup::new(method, weights.arch());
        encoder.serve(&mut backend, weights, &setup.wants(weights.arch())?)?;
        let loaded = backend.load_method(method, weights)?;
        let grid = encoder.grid();
        Self::new(backend, encoder, vec![(&setup, loaded, slots)], grid, views)
    }

    /// Uploads a bank to the pipeline's device.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has not enough memory.
    pub fn upload(&mut self, bank: &PromptBank) -> Result<DeviceBank> {
        Ok(Box::new(self.backend.bank(&bank.device_tensors(0)?)?))
    }

    /// The device, and the features of the last batch.
    pub fn parts(&mut self) -> (&mut B, &Features<B>) {
        (&mut self.backend, &self.memory.vision.wanted[0].features)
    }

    /// Encodes the first `views` placed images and calls `observe` with the residual stream at each stage.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for more images than the pipeline has memory for.
    pub fn encode_observed(&mut self, views: usize, observe: impl FnMut(HookPoint, &B::Buffer)) -> Result<()> {
        self.check(views)?;
        let Pipeline { backend, encoder, memory, grids, .. } = self;
        encoder.count(views);
        encoder.encode(backend, &mut memory.vision, &current(grids)?.tokens, views, observe)
    }

    /// The grid of the next batch.
    fn grid(&self) -> Grid {
        self.grids.last().map_or_else(Grid::default, |last| last.tokens.grid)
    }

    fn read(&mut self, method: usize, slots: usize, each: &mut EachResult<'_>) -> Result<()> {
        let cells = self.grid().cells();
        let Memory { comparing, host_map, .. } = &mut self.memory;
        let Comparing { out, .. } = Comparing::of(comparing, method)?;
        let PipelineMethod { setup, .. } = self.methods.get(method).ok_or_else(without_method)?;
        let count = setup.method().outputs().len();
        let values = &mut self.host_values[..slots * count];
        let map = &mut host_map[..slots * cells];
        self.backend.download(&out.values, values)?;
        self.backend.download(&out.map, map)?;
        let finite = |x: &[f32]| x.iter().all(|x| x.is_finite());
        let rows = || values.chunks_exact(count).zip(map.chunks_exact(cells));
        if let Some(slot) = rows().position(|(values, map)| !finite(values) || !finite(map)) {
            setup.method().check_values(&values[slot * count..][..count])?;
            return Err(not_finite("the score").of_result(slot));
        }
        rows().enumerate().for_each(|(slot, (values, map))| each(slot, values, map));
        Ok(())
    }

    fn check(&self, views: usize) -> Result<()> {
        let most = self.most[0];
        if views <= most {
            return Ok(());
        }
        let message = format!("a batch of {views} images, but the pipeline has memory for {most}");
        Err(Error::new(ErrorKind::Argument, message))
    }

    /// Which of the wanted features are those of a method that supports the grid.
    fn checked(&self, method: usize) -> Result<usize> {
        let PipelineMethod { setup, features, .. } = self.methods.get(method).ok_or_else(without_method)?;
        setup.method().check_grid(self.encoder.arch(), self.grid())?;
        Ok(*features)
    }

    /// The slots of a method's `runs`, for which there must be memory.
    fn slots_of(&self, method: usize, runs: &[Run]) -> Result<usize> {
        let slots = runs.iter().map(|run| run.slots().end).max().unwrap_or(0);
        check_slots(slots, self.methods.get(method).map_or(0, |method| method.slots))?;
        Ok(slots)
    }
}

fn check_slots(slots: usize, most: usize) -> Result<()> {
    if slots <= most {
        return Ok(());
    }
    let message = format!("{slots} results in one batch, but the pipeline has memory for {most}");
    Err(Error::new(ErrorKind::Argument, message))
}

/// The different features that methods want; without a method, those that the architecture names.
pub(super) fn wants(setups: &[&Setup], arch: &Arch) -> Result<Vec<Wants>> {
    let mut different: Vec<Wants> = Vec::with_capacity(setups.len().max(1));
    for setup in setups {
        let wants = setup.wants(arch)?;
        if !different.contains(&wants) {
            different.push(wants);
        }
    }
    if setups.is_empty() {
        different.push(Wants::of(arch));
    }
    Ok(different)
}

/// The largest number of cells of a view. A model's own size never has more.
const MOST_CELLS: usize = 65_536;

/// Refuses a grid that the encoder or the one method does not support. Of several methods each is asked when it compares,
/// as the others may support the grid.
fn check_grid<B: Backend>(methods: &[PipelineMethod<B>], arch: &Arch, grid: Grid) -> Result<()> {
    if !(1..=MOST_CELLS).contains(&grid.cells()) {
        let message = format!(
            "a view of {grid} patches: from 1 to {MOST_CELLS} are supported; use another size, another fit (crop, \
            letterbox or stretch), or cut the picture into parts"
        );
        return Err(Error::new(ErrorKind::Argument, message));
    }
    match methods {
        [only] => only.setup.method().check_grid(arch, grid),
        _ => Ok(()),
    }
}

impl<B: Backend> Session for Pipeline<B> {
    fn capacity(&self) -> usize {
        self.most[0]
    }

    fn arithmetic(&self) -> String {
        format!("{} {}", B::KIND, self.backend.precision().name())
    }

    fn wait(&mut self) -> Result<()> {
        self.backend.wait()
    }

    fn copy_to_host(&mut self, frame: &DeviceFrame, out: &mut Vec<u8>) -> Result<()> {
        self.backend.copy_to_host(frame, out)
    }

    fn prepare(&mut self, grid: Grid) -> Result<bool> {
        if let Some(at) = self.grids.iter().rposition(|kept| kept.tokens.grid == grid) {
            self.grids[at..].rotate_left(1);
            return Ok(false);
        }
        let [views, slots] = self.most;
        check_grid(&self.methods, self.encoder.arch(), grid)?;
        if grid.cells() > self.memory.cells {
            if B::IN_HOST_MEMORY {
                let threads = self.backend.threads();
                let size = PipelineSize { wants: &self.wants, patches: grid.cells(), views, slots, threads };
                let bytes = estimate::pipeline_bytes(self.encoder.arch(), size);
                let what = format!("work on {views} images of {grid} patches at once");
                memory::check(&what, bytes, "use a smaller size or a smaller capacity")?;
            }
            let Pipeline { backend, encoder, wants, methods, most, .. } = self;
            let larger = Memory::new(backend, encoder, wants, methods, grid.cells(), *most)?;
            // Recordings hold addresses of the old memory.
            self.recordings = B::Recordings::default();
            self.memory = larger;
        }
        let tokens = self.encoder.tokens(&mut self.backend, grid, views)?;
        let ready = ReadyGrid::new(&self.backend, tokens, slots)?;
        if self.grids.len() == GRIDS {
            // So do the recordings of an evicted grid.
            self.recordings = B::Recordings::default();
            self.grids.remove(0);
        }
        self.grids.push(ready);
        Ok(true)
    }

    fn place(&mut self, frame: AnyFrame<'_>, views: &[View], first: usize) -> Result<()> {
        self.check(first + views.len())?;
        let current = self.grid();
        let (rows, patch) = self.encoder.patch_rows(&mut self.memory.vision);
        if let Some(grid) = views.iter().map(|view| view.grid(patch)).find(|grid| *grid != current) {
            let message = format!("a view of {grid} patches was placed in a batch of {current} patches");
            return Err(Error::new(ErrorKind::Internal, message));
        }
        self.backend.preprocess(frame, views, patch, first, rows, |_, _| Ok(()))
    }

    fn place_normalised(&mut self, image: &Normalised) -> Result<()> {
        let own = self.encoder.grid();
        self.prepare(own)?;
        self.encoder.place_normalised(&mut self.backend, &mut self.memory.vision, image)
    }

    fn set_valid(&mut self, slot: usize, valid: &[f32]) -> Result<()> {
        check_slots(slot + 1, self.most[1])?;
        let ReadyGrid { host_valid, valid_changed, .. } = current(&mut self.grids)?;
        let row = &mut host_valid[slot * valid.len()..][..valid.len()];
        if row != valid {
            row.copy_from_slice(valid);
            *valid_changed = true;
        }
        Ok(())
    }

    fn encode(&mut self, views: usize) -> Result<()> {
        self.encode_observed(views, |_, _| ())
    }

    fn score(&mut self, views: usize, runs: &[Run], banks: &[&DeviceBank], each: &mut EachResult<'_>) -> Result<()> {
        self.check(views)?;
        let slots = self.slots_of(0, runs)?;
        let banks = own::<B>(banks)?;
        let banks = banks.as_slice();
        let grid = self.grid();
        self.layout.clear();
        self.layout.extend([views, grid.rows, grid.cols]);
        let places = |run: &Run| [run.views.start, run.views.end, run.first_slot, run.bank];
        self.layout.extend(runs.iter().flat_map(places));
        let Pipeline { backend, encoder, memory, grids, recordings, layout, .. } = self;
        let Memory { vision, comparing, .. } = memory;
        let Comparing { compare, out } = Comparing::of(comparing, 0)?;
        let at = current(grids)?;
        at.upload_valid(backend)?;
        let ReadyGrid { tokens, valid, .. } = &*at;
        encoder.count(views);
        backend.replay(recordings, layout, banks, |backend| {
            encoder.encode(backend, vision, tokens, views, |_, _| ())?;
            let batch = Batch { features: &vision.wanted[0].features, valid, runs, banks };
            compare.record(backend, &batch, out, &mut |_, _| Ok(()))
        })?;
        self.read(0, slots, each)
    }

    fn compare(&mut self, runs: &[Run], banks: &[&DeviceBank], each: &mut EachResult<'_>) -> Result<()> {
        let slots = self.slots_of(0, runs)?;
        let banks = own::<B>(banks)?;
        let Pipeline { backend, memory, grids, .. } = self;
        let Comparing { compare, out } = Comparing::of(&mut memory.comparing, 0)?;
        let at = current(grids)?;
        at.upload_valid(backend)?;
        let features = &memory.vision.wanted[0].features;
        let batch = Batch { features, valid: &at.valid, runs, banks: banks.as_slice() };
        compare.record(backend, &batch, out, &mut |_, _| Ok(()))?;
        self.read(0, slots, each)
    }

    fn compare_groups(
        &mut self,
        method: usize,
        banks: &[&DeviceBank],
        groups: &[&DeviceBank],
        members: &[Vec<usize>],
        each: &mut EachResult<'_>,
    ) -> Result<()> {
        let runs: Vec<Run> = (0..banks.len()).map(|bank| Run { views: 0..1, first_slot: bank, bank }).collect();
        let slots = self.slots_of(method, &runs)?;
        let (own_banks, own_groups) = (all_own::<B>(banks)?, all_own::<B>(groups)?);
        let own = self.checked(method)?;
        let Pipeline { backend, memory, grids, .. } = self;
        let Comparing { compare, out } = Comparing::of(&mut memory.comparing, method)?;
        let at = current(grids)?;
        at.upload_valid(backend)?;
        let features = &memory.vision.wanted[own].features;
        let batch = Batch { features, valid: &at.valid, runs: &runs, banks: &own_banks };
        if groups.is_empty() {
            compare.record(backend, &batch, out, &mut |_, _| Ok(()))?;
        } else {
            compare.record_groups(backend, &batch, &Groups { groups: &own_groups, members }, out)?;
        }
        self.read(method, slots, each)
    }

    fn stage_times(&mut self, frame: AnyFrame<'_>, view: &View, bank: &DeviceBank) -> Result<StageTimes> {
        let banks = own::<B>(&[bank])?;
        let Pipeline { backend, encoder, memory, grids, .. } = self;
        let Memory { vision, comparing, .. } = memory;
        let Comparing { compare, out } = Comparing::of(comparing, 0)?;
        let at = current(grids)?;
        at.upload_valid(backend)?;
        let ReadyGrid { tokens, valid, .. } = &*at;
        encoder.count(1);
        backend.wait()?;
        let mut last = Instant::now();
        let mut lap = |backend: &mut B| -> Result<Duration> {
            backend.wait()?;
            let now = Instant::now();
            Ok(now.duration_since(std::mem::replace(&mut last, now)))
        };
        let (rows, patch) = encoder.patch_rows(vision);
        let mut upload = None;
        backend.preprocess(frame, std::slice::from_ref(view), patch, 0, rows, |backend, copied| {
            upload = Some(lap(backend)?).filter(|_| copied);
            Ok(())
        })?;
        let preprocess = lap(backend)?;
        encoder.encode(backend, vision, tokens, 1, |_, _| ())?;
        let encode = lap(backend)?;
        let mut steps = Vec::new();
        let runs = [Run { views: 0..1, first_slot: 0, bank: 0 }];
        let features = &vision.wanted[0].features;
        let batch = Batch { features, valid, runs: &runs, banks: banks.as_slice() };
        compare.record(backend, &batch, out, &mut |backend, step| {
            steps.push((step, lap(backend)?));
            Ok(())
        })?;
        Ok(StageTimes { upload, preprocess, encode, compare: steps })
    }

    fn prompt(&mut self, method: usize, valid: &[f32]) -> Result<Vec<NamedTensor>> {
        let own = self.checked(method)?;
        let Memory { vision, comparing, .. } = &mut self.memory;
        let features = &vision.wanted[own].features;
        Comparing::of(comparing, method)?.compare.prompt(&mut self.backend, features, valid)
    }

    fn features(&mut self) -> Result<HostFeatures> {
        let Wanted { wants, features: found } = &self.memory.vision.wanted[0];
        let what = "the features of an image";
        let mut taps = memory::zeros(what, wants.taps.len() * found.grid.cells() * found.width)?;
        let mut class = memory::zeros(what, if wants.class { self.encoder.arch().embed_dim } else { 0 })?;
        self.backend.download(&found.taps, &mut taps)?;
        self.backend.download(&found.class, &mut class)?;
        if !taps.iter().chain(&class).all(|x| x.is_finite()) {
            return Err(not_finite("the features of an image"));
        }
        Ok(HostFeatures { grid: found.grid, taps, class })
    }

    fn rows_bank(&mut self, rows: &Arc<Vec<f32>>, shape: [usize; 3]) -> Result<DeviceBank> {
        let bank = self.backend.bank(&[BankTensor { values: rows, shape, role: BankRole::Rows }])?;
        Ok(Box::new(bank))
    }

    fn nearest_of(&mut self, taps: &[f32], bank: &DeviceBank, cosines: &mut [f32]) -> Result<()> {
        let (layers, patches) = (self.wants[0].taps.len(), self.grid().cells());
        let bank = own::<B>(&[bank])?;
        let Memory { cells, vision, nearest, .. } = &mut self.memory;
        let found = match nearest {
            Some(found) => found,
            // Only the few callers that compare without a method take this, once.
            none => none.insert(self.backend.buffer(Role::Nearest, layers * *cells)?),
        };
        let queries = &mut vision.wanted[0].features.taps;
        self.backend.upload(taps, queries)?;
        self.backend.patch_nn(queries, &Search::all(patches, 0), bank.as_slice()[0], found)?;
        self.backend.download(found, cosines)
    }
}
