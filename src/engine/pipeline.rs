//! From frames to outputs on one lane of a device: everything that one thread needs to score.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::device::{DeviceBank, Session};
use crate::backend::{Backend, BankRole, BankTensor, MAX_BANKS, Role, Search};
use crate::bank::PromptBank;
use crate::encoder::vision::{Features, VisionWorkspace};
use crate::encoder::{Stage, Vision};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DeviceFrame};
use crate::methods::{Batch, Compare, Groups, Loaded, Method, NamedTensor, Outputs, Run, Runs, not_finite};
use crate::view::{Normalised, Plan};
use crate::weights::Weights;

/// How long the steps of a score took, in their order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StageTimes {
    /// The frame's pixels to the device; none where the device reads them where they are.
    pub upload: Option<Duration>,
    /// Frame to patch rows.
    pub preprocess: Duration,
    /// Patch rows to features.
    pub encode: Duration,
    /// The method's own steps, by name.
    pub compare: Vec<(&'static str, Duration)>,
}

/// Features of one image in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFeatures {
    /// Unit patch tokens `[L, N, W]`.
    pub taps: Vec<f32>,
    /// Class embedding `[E]`, as the encoder gives it.
    pub class: Vec<f32>,
}

/// A lane of the device, its activations, a method's memory, and host memory for the results.
pub struct Pipeline<B: Backend> {
    backend: B,
    encoder: Arc<Vision<B>>,
    vision: VisionWorkspace<B>,
    /// A method's memory; without one the lane only encodes.
    method: Option<Comparing<B>>,
    judged: B::Buffer,
    /// Largest cosines of [`Session::nearest_of`], `[L, N]`.
    nearest: Option<B::Buffer>,
    recordings: B::Recordings,
    host_map: Vec<f32>,
    /// What `judged` holds once it is uploaded, `[slots, N]`.
    host_judged: Vec<f32>,
    judged_changed: bool,
    host_values: Vec<f32>,
    layout: Vec<usize>,
}

/// One scorer's memory of a method.
struct Comparing<B: Backend> {
    compare: Box<dyn Compare<B>>,
    out: Outputs<B>,
    /// Numbers that the method gives for an image.
    values: usize,
}

impl<B: Backend> Comparing<B> {
    fn of(method: &mut Option<Self>) -> Result<&mut Self> {
        method.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "a lane without a method is asked to compare"))
    }
}

/// Called with the place of a result, the method's outputs, and the map `[N]` as computed.
pub type EachResult<'a> = dyn FnMut(usize, &[f32], &[f32]) + 'a;

impl<B: Backend> Pipeline<B> {
    /// Memory for batches of up to `views` images with up to `slots` results.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has no memory.
    pub fn new(
        backend: B,
        encoder: Arc<Vision<B>>,
        method: Option<(&dyn Method, Arc<dyn Loaded<B>>)>,
        views: usize,
        slots: usize,
    ) -> Result<Self> {
        let (slots, values) = method.as_ref().map_or((0, 0), |(method, _)| (slots, method.outputs().len()));
        let cells = slots * encoder.arch().vision.patches();
        let comparing = |(_, loaded): (&dyn Method, Arc<dyn Loaded<B>>)| -> Result<Comparing<B>> {
            let compare = loaded.compare(&backend, slots)?;
            Ok(Comparing { compare, out: Outputs::new(&backend, slots, values, cells)?, values })
        };
        Ok(Pipeline {
            vision: encoder.workspace(&backend, views)?,
            method: method.map(comparing).transpose()?,
            judged: backend.buffer(Role::Stream, cells)?,
            nearest: None,
            recordings: B::Recordings::default(),
            host_map: vec![0.0; cells],
            host_judged: vec![1.0; cells],
            judged_changed: true,
            host_values: vec![0.0; slots * values],
            layout: Vec::with_capacity(4 * MAX_BANKS + 1),
            encoder,
            backend,
        })
    }

    /// A pipeline of its own, for which the encoder and the method are loaded.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has no memory, [`ErrorKind::Weights`] where the method's tensors are missing.
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
        let loaded = backend.load_method(method, weights)?;
        Self::new(backend, encoder, Some((method, loaded)), views, slots)
    }

    /// A bank on the pipeline's device.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has no memory.
    pub fn upload(&mut self, bank: &PromptBank) -> Result<DeviceBank> {
        Ok(Box::new(self.backend.bank(&bank.device_tensors()?)?))
    }

    /// The device lane, and what the last batch left on it.
    pub fn parts(&mut self) -> (&mut B, &Features<B>) {
        (&mut self.backend, &self.vision.features)
    }

    /// Encodes the first `views` placed images, showing `observe` the residual stream on its way.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for more images than there is memory for.
    pub fn encode_observed(&mut self, views: usize, observe: impl FnMut(Stage, &B::Buffer)) -> Result<()> {
        self.check(views)?;
        self.encoder.encode(&mut self.backend, &mut self.vision, views, observe)
    }

    /// Uploads which cells count, if that has changed.
    fn upload_judged(&mut self) -> Result<()> {
        if self.judged_changed {
            self.backend.upload(&self.host_judged, &mut self.judged)?;
            self.judged_changed = false;
        }
        Ok(())
    }

    fn read(&mut self, slots: usize, each: &mut EachResult<'_>) -> Result<()> {
        let cells = self.encoder.arch().vision.patches();
        let Comparing { out, values: count, .. } = Comparing::of(&mut self.method)?;
        let count = *count;
        let values = &mut self.host_values[..slots * count];
        let map = &mut self.host_map[..slots * cells];
        self.backend.download(&out.values, values)?;
        self.backend.download(&out.map, map)?;
        let finite = |x: &[f32]| x.iter().all(|x| x.is_finite());
        let rows = || values.chunks_exact(count).zip(map.chunks_exact(cells));
        if let Some(slot) = rows().position(|(values, map)| !finite(values) || !finite(map)) {
            return Err(not_finite(&format!("the score of image {slot} of the batch")));
        }
        rows().enumerate().for_each(|(slot, (values, map))| each(slot, values, map));
        Ok(())
    }

    fn check(&self, views: usize) -> Result<()> {
        if views <= self.vision.capacity() {
            return Ok(());
        }
        let message = format!("a batch of {views} images, but the lane has memory for {}", self.vision.capacity());
        Err(Error::new(ErrorKind::Argument, message))
    }

    fn check_slots(&self, runs: &[Run]) -> Result<usize> {
        let slots = runs.iter().map(|run| run.slots().end).max().unwrap_or(0);
        let cells = self.encoder.arch().vision.patches();
        if slots * cells <= self.host_map.len() {
            return Ok(slots);
        }
        let message = format!("{slots} results in one batch, but there is memory for {}", self.host_map.len() / cells);
        Err(Error::new(ErrorKind::Argument, message))
    }
}

/// The bank as this backend's own.
fn own_bank<B: Backend>(bank: &DeviceBank) -> Result<&B::Bank> {
    bank.downcast_ref().ok_or_else(|| {
        let message = "the bank is on another device than the scorer: make both with one engine";
        Error::new(ErrorKind::Argument, message)
    })
}

/// Any number of banks as this backend's own.
fn all_own<'a, B: Backend>(banks: &[&'a DeviceBank]) -> Result<Vec<&'a B::Bank>> {
    banks.iter().map(|bank| own_bank::<B>(bank)).collect()
}

/// The banks of a batch as this backend's own.
fn own<'a, B: Backend>(banks: &[&'a DeviceBank]) -> Result<Own<'a, B>> {
    let Some(first) = banks.first() else {
        return Err(Error::new(ErrorKind::Argument, "no bank to compare with"));
    };
    if banks.len() > MAX_BANKS {
        let message = format!("{} banks in one batch, at most {MAX_BANKS} are supported", banks.len());
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let mut own = [own_bank::<B>(first)?; MAX_BANKS];
    for (own, erased) in own.iter_mut().zip(banks) {
        *own = own_bank::<B>(erased)?;
    }
    Ok(Own { banks: own, count: banks.len() })
}

/// Banks in memory of fixed size: the hot path allocates nothing.
struct Own<'a, B: Backend> {
    banks: [&'a B::Bank; MAX_BANKS],
    count: usize,
}

impl<'a, B: Backend> Own<'a, B> {
    fn as_slice(&self) -> &[&'a B::Bank] {
        &self.banks[..self.count]
    }
}

impl<B: Backend> Session for Pipeline<B> {
    fn capacity(&self) -> usize {
        self.vision.capacity()
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

    fn place(&mut self, frame: AnyFrame<'_>, plan: &Plan, view: usize) -> Result<()> {
        let (rows, patch) = self.encoder.patch_rows(&mut self.vision);
        self.backend.preprocess(frame, plan, patch, view, rows)
    }

    fn place_normalised(&mut self, image: &Normalised) -> Result<()> {
        self.encoder.place_normalised(&mut self.backend, &mut self.vision, image)
    }

    fn judge(&mut self, slot: usize, judged: &[f32]) {
        let row = &mut self.host_judged[slot * judged.len()..][..judged.len()];
        if row != judged {
            row.copy_from_slice(judged);
            self.judged_changed = true;
        }
    }

    fn encode(&mut self, views: usize) -> Result<()> {
        self.encode_observed(views, |_, _| ())
    }

    fn score(&mut self, views: usize, runs: &[Run], banks: &[&DeviceBank], each: &mut EachResult<'_>) -> Result<()> {
        self.check(views)?;
        let slots = self.check_slots(runs)?;
        let banks = own::<B>(banks)?;
        let banks = banks.as_slice();
        self.upload_judged()?;
        self.layout.clear();
        self.layout.push(views);
        let places = |run: &Run| [run.views.start, run.views.end, run.first_slot, run.bank];
        self.layout.extend(runs.iter().flat_map(places));
        let Pipeline { backend, encoder, vision, method, judged, recordings, layout, .. } = self;
        let Comparing { compare, out, .. } = Comparing::of(method)?;
        backend.replay(recordings, layout, banks, |backend| {
            encoder.encode(backend, vision, views, |_, _| ())?;
            let batch = Batch { features: &vision.features, judged, runs, banks };
            compare.record(backend, &batch, out, &mut |_, _| Ok(()))
        })?;
        self.read(slots, each)
    }

    fn compare(&mut self, runs: &[Run], banks: &[&DeviceBank], each: &mut EachResult<'_>) -> Result<()> {
        let slots = self.check_slots(runs)?;
        let banks = own::<B>(banks)?;
        self.upload_judged()?;
        let Pipeline { backend, vision, method, judged, .. } = self;
        let Comparing { compare, out, .. } = Comparing::of(method)?;
        let batch = Batch { features: &vision.features, judged, runs, banks: banks.as_slice() };
        compare.record(backend, &batch, out, &mut |_, _| Ok(()))?;
        self.read(slots, each)
    }

    fn compare_groups(
        &mut self,
        banks: &[&DeviceBank],
        groups: &[&DeviceBank],
        members: &[Vec<usize>],
        each: &mut EachResult<'_>,
    ) -> Result<()> {
        let runs: Vec<Run> = (0..banks.len()).map(|bank| Run { views: 0..1, first_slot: bank, bank }).collect();
        let slots = self.check_slots(&runs)?;
        let (own_banks, own_groups) = (all_own::<B>(banks)?, all_own::<B>(groups)?);
        self.upload_judged()?;
        let Pipeline { backend, vision, method, judged, .. } = self;
        let Comparing { compare, out, .. } = Comparing::of(method)?;
        let batch = Batch { features: &vision.features, judged, runs: &runs, banks: &own_banks };
        if groups.is_empty() {
            compare.record(backend, &batch, out, &mut |_, _| Ok(()))?;
        } else {
            compare.record_groups(backend, &batch, &Groups { groups: &own_groups, members }, out)?;
        }
        self.read(slots, each)
    }

    fn stage_times(&mut self, frame: AnyFrame<'_>, plan: &Plan, bank: &DeviceBank) -> Result<StageTimes> {
        self.upload_judged()?;
        let banks = own::<B>(&[bank])?;
        let Pipeline { backend, encoder, vision, method, judged, .. } = self;
        let Comparing { compare, out, .. } = Comparing::of(method)?;
        backend.wait()?;
        let mut last = Instant::now();
        let mut lap = |backend: &mut B| -> Result<Duration> {
            backend.wait()?;
            let now = Instant::now();
            Ok(now.duration_since(std::mem::replace(&mut last, now)))
        };
        let uploaded = backend.upload_frame(frame, plan)?;
        let upload = lap(backend)?;
        let upload = uploaded.then_some(upload);
        let (rows, patch) = encoder.patch_rows(vision);
        backend.patch_rows(frame, plan, patch, 0, rows)?;
        let preprocess = lap(backend)?;
        encoder.encode(backend, vision, 1, |_, _| ())?;
        let encode = lap(backend)?;
        let mut steps = Vec::new();
        let runs = [Run { views: 0..1, first_slot: 0, bank: 0 }];
        let batch = Batch { features: &vision.features, judged, runs: &runs, banks: banks.as_slice() };
        compare.record(backend, &batch, out, &mut |backend, step| {
            steps.push((step, lap(backend)?));
            Ok(())
        })?;
        Ok(StageTimes { upload, preprocess, encode, compare: steps })
    }

    fn prompt(&mut self, judged: &[f32]) -> Result<Vec<NamedTensor>> {
        Comparing::of(&mut self.method)?.compare.prompt(&mut self.backend, &self.vision.features, judged)
    }

    fn features(&mut self) -> Result<HostFeatures> {
        let arch = self.encoder.arch();
        let mut taps = vec![0.0; arch.taps.len() * arch.vision.patches() * arch.vision.width];
        let mut class = vec![0.0; arch.embed_dim];
        self.backend.download(&self.vision.features.taps, &mut taps)?;
        self.backend.download(&self.vision.features.class, &mut class)?;
        if !taps.iter().chain(&class).all(|x| x.is_finite()) {
            return Err(not_finite("the features of an image"));
        }
        Ok(HostFeatures { taps, class })
    }

    fn rows_bank(&mut self, rows: &Arc<[f32]>, shape: [usize; 3]) -> Result<DeviceBank> {
        let bank = self.backend.bank(&[BankTensor { values: rows, shape, role: BankRole::Rows }])?;
        Ok(Box::new(bank))
    }

    fn nearest_of(&mut self, taps: &[f32], bank: &DeviceBank, cosines: &mut [f32]) -> Result<()> {
        let arch = self.encoder.arch();
        let (layers, patches) = (arch.taps.len(), arch.vision.patches());
        let bank = own::<B>(&[bank])?;
        let found = match &mut self.nearest {
            Some(found) => found,
            // Taken once, by the few that compare without a method.
            none => none.insert(self.backend.buffer(Role::Nearest, layers * patches)?),
        };
        self.backend.upload(taps, &mut self.vision.features.taps)?;
        self.backend.patch_nn(&self.vision.features.taps, &Search::all(patches, 0), bank.as_slice()[0], found)?;
        self.backend.download(found, cosines)
    }
}
