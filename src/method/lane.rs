//! The pipeline from frames to scores on one lane of a device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Backend, BankVectors, HEAD_OUTPUTS, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::method::head_layers;
use crate::model::vision::VisionWorkspace;
use crate::model::{Stage, Vision};
use crate::preprocess::{AnyFrame, Normalised, Plan};
use crate::weights::{Arch, Weights};

/// The network on a device: vision tower, adapter and heads. Shared by all lanes.
pub struct Detector<B: Backend> {
    arch: Arch,
    vision: Vision<B>,
    heads: B::Heads,
}

impl<B: Backend> Detector<B> {
    /// Uploads everything that scoring needs; the text tower stays in the file.
    pub fn load(backend: &mut B, weights: &Weights) -> Result<Self> {
        let heads = backend.head_weights(&head_layers(weights)?)?;
        Ok(Detector { arch: weights.arch().clone(), vision: Vision::load(backend, weights)?, heads })
    }
}

/// The parts of one image's score, before any clamping.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// s(x), equation 7.
    pub score: f32,
    /// s_h, the holistic head on M_x + s_i + s_a.
    pub holistic: f32,
    /// s_p, the maximum of M_x.
    pub patch_max: f32,
    /// s_i, equation 5.
    pub image_residual: f32,
    /// s_a, equation 6.
    pub text_prior: f32,
}

/// How long the steps of a score took.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StageTimes {
    /// The frame's pixels to the device; none where the device reads them where they are.
    pub upload: Option<Duration>,
    /// Frame to patch rows.
    pub preprocess: Duration,
    /// Patch rows to taps and class embedding.
    pub encode: Duration,
    /// Nearest neighbours and the residual map, equations 1 and 2.
    pub residual_map: Duration,
    /// Equations 3 to 7.
    pub heads: Duration,
}

/// Everything that one thread needs to score: a lane of the device, its activations, and host memory for the results.
pub struct Lane<B: Backend> {
    backend: B,
    work: Work<B>,
    recordings: B::Recordings,
    host_map: Vec<f32>,
    /// What `work.judged` holds once it is uploaded, `[B, N]`.
    host_judged: Vec<f32>,
    judged_changed: bool,
    host_parts: Vec<f32>,
}

/// The network and the activations of one lane.
struct Work<B: Backend> {
    detector: Arc<Detector<B>>,
    vision: VisionWorkspace<B>,
    adapted: B::Buffer,
    cosines: B::Buffer,
    judged: B::Buffer,
    map: B::Buffer,
    parts: B::Buffer,
}

impl<B: Backend> Work<B> {
    fn encode(&mut self, backend: &mut B, images: usize, observe: impl FnMut(Stage, &B::Buffer)) -> Result<()> {
        self.detector.vision.encode(backend, &mut self.vision, images, observe)
    }

    /// M_x against a bank, equations 1 and 2; then equations 3 to 7.
    fn compare(&mut self, backend: &mut B, images: usize, bank: &B::Bank) -> Result<()> {
        self.residual_map(backend, images, bank)?;
        self.heads(backend, images, bank)
    }

    fn residual_map(&mut self, backend: &mut B, images: usize, bank: &B::Bank) -> Result<()> {
        let arch = &self.detector.arch;
        backend.patch_nn(&self.vision.taps, images, bank, &mut self.cosines)?;
        let cells = images * arch.vision.patches();
        backend.residual_mean(&self.cosines, arch.taps.len(), cells, &self.judged, &mut self.map)
    }

    fn heads(&mut self, backend: &mut B, images: usize, bank: &B::Bank) -> Result<()> {
        backend.heads(&self.vision.class, &self.map, images, &self.detector.heads, bank, &mut self.parts)
    }
}

impl<B: Backend> Lane<B> {
    /// Memory for batches of up to `capacity` images.
    pub fn new(backend: B, detector: Arc<Detector<B>>, capacity: usize) -> Result<Self> {
        let arch = &detector.arch;
        let (cells, taps) = (capacity * arch.vision.patches(), arch.taps.len());
        Ok(Lane {
            work: Work {
                vision: detector.vision.workspace(&backend, capacity)?,
                adapted: backend.buffer(Role::Stream, capacity * arch.embed_dim)?,
                cosines: backend.buffer(Role::Nearest, taps * cells)?,
                judged: backend.buffer(Role::Stream, cells)?,
                map: backend.buffer(Role::Result, cells)?,
                parts: backend.buffer(Role::Result, capacity * HEAD_OUTPUTS)?,
                detector,
            },
            recordings: B::Recordings::default(),
            host_map: vec![0.0; cells],
            host_judged: vec![1.0; cells],
            judged_changed: true,
            host_parts: vec![0.0; capacity * HEAD_OUTPUTS],
            backend,
        })
    }

    /// Largest batch.
    pub fn capacity(&self) -> usize {
        self.work.vision.capacity()
    }

    /// The device lane, for work beside the pipeline.
    pub fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Uploads a bank: unit taps of shape `[L, K, N, W]` and the class's vectors.
    pub fn bank(&mut self, taps: &Arc<[f32]>, prompts: usize, vectors: BankVectors<'_>) -> Result<B::Bank> {
        let arch = &self.work.detector.arch;
        let shape = [arch.taps.len(), prompts, arch.vision.patches(), arch.vision.width];
        self.backend.bank(taps, shape, vectors)
    }

    /// Places a frame at `image` of the batch to come.
    pub fn place<'a>(&mut self, frame: impl Into<AnyFrame<'a>>, plan: &Plan, image: usize) -> Result<()> {
        self.work.detector.vision.place(&mut self.backend, &mut self.work.vision, frame.into(), plan, image)
    }

    /// Says which cells of `image` of the batch to come count: `judged` is `[N]`, 1 or 0 where a cell is ignored. It holds for
    /// this place of the batch until it is said again; at first all cells count.
    pub fn judge(&mut self, image: usize, judged: &[f32]) {
        let row = &mut self.host_judged[image * judged.len()..][..judged.len()];
        if row != judged {
            row.copy_from_slice(judged);
            self.judged_changed = true;
        }
    }

    fn upload_judged(&mut self) -> Result<()> {
        if self.judged_changed {
            self.backend.upload(&self.host_judged, &mut self.work.judged)?;
            self.judged_changed = false;
        }
        Ok(())
    }

    /// Scores the first `images` placed frames against a bank, equations 1 to 7: encodes and compares them as one recording
    /// of the device, then calls `each(image, parts, map)` with the map `[N]` as computed.
    ///
    /// # Errors
    /// [`ErrorKind::Numeric`] where a score is not finite; [`ErrorKind::Argument`] for more images than the lane has memory
    /// for, here and below.
    pub fn score(&mut self, images: usize, bank: &B::Bank, each: impl FnMut(usize, Parts, &[f32])) -> Result<()> {
        self.check(images)?;
        self.upload_judged()?;
        let work = &mut self.work;
        self.backend.replay(&mut self.recordings, images, bank, |backend| {
            work.encode(backend, images, |_, _| ())?;
            work.compare(backend, images, bank)
        })?;
        self.read(images, each)
    }

    /// Places an image that is already normalised, as image 0 of the batch to come.
    ///
    /// # Errors
    /// [`ErrorKind::Image`] for an image of another size than the model's.
    pub fn place_normalised(&mut self, image: &Normalised) -> Result<()> {
        let Work { detector, vision, .. } = &mut self.work;
        detector.vision.place_normalised(&mut self.backend, vision, image)
    }

    /// Encodes the first `images` placed frames, showing `observe` the residual stream on its way.
    ///
    /// # Errors
    /// As [`Lane::score`].
    pub fn encode(&mut self, images: usize, observe: impl FnMut(Stage, &B::Buffer)) -> Result<()> {
        self.check(images)?;
        self.work.encode(&mut self.backend, images, observe)
    }

    /// Compares images that [`Lane::encode`] encoded with a bank, and reports as [`Lane::score`]: what is encoded once can be
    /// held against many banks.
    ///
    /// # Errors
    /// As [`Lane::score`].
    pub fn compare(&mut self, images: usize, bank: &B::Bank, each: impl FnMut(usize, Parts, &[f32])) -> Result<()> {
        self.check(images)?;
        self.upload_judged()?;
        self.work.compare(&mut self.backend, images, bank)?;
        self.read(images, each)
    }

    /// Scores one frame step by step, waiting after each, and says how long each took. Together they take longer than
    /// [`Lane::score`], which does not wait in between.
    ///
    /// # Errors
    /// As [`Lane::score`].
    pub fn stage_times(&mut self, frame: AnyFrame<'_>, plan: &Plan, bank: &B::Bank) -> Result<StageTimes> {
        self.upload_judged()?;
        let Lane { backend, work, .. } = self;
        backend.wait()?;
        let mut last = Instant::now();
        let mut lap = |backend: &mut B| -> Result<Duration> {
            backend.wait()?;
            let now = Instant::now();
            Ok(now.duration_since(std::mem::replace(&mut last, now)))
        };
        let uploaded = work.detector.vision.upload(backend, frame, plan)?;
        let upload = lap(backend)?;
        let upload = uploaded.then_some(upload);
        work.detector.vision.place_uploaded(backend, &mut work.vision, frame, plan, 0)?;
        let preprocess = lap(backend)?;
        work.encode(backend, 1, |_, _| ())?;
        let encode = lap(backend)?;
        work.residual_map(backend, 1, bank)?;
        let residual_map = lap(backend)?;
        work.heads(backend, 1, bank)?;
        let heads = lap(backend)?;
        Ok(StageTimes { upload, preprocess, encode, residual_map, heads })
    }

    /// Largest cosines `[L, N]` of the one encoded image's patches with a bank's, the inner part of equation 1.
    ///
    /// # Errors
    /// As [`Lane::score`].
    pub fn nearest(&mut self, bank: &B::Bank, cosines: &mut [f32]) -> Result<()> {
        self.backend.patch_nn(&self.work.vision.taps, 1, bank, &mut self.work.cosines)?;
        self.backend.download(&self.work.cosines, cosines)
    }

    /// Equations 1 to 7 for the one encoded image from its largest cosines `[L, N]` with the bank's patches, reported as by
    /// [`Lane::score`].
    ///
    /// # Errors
    /// As [`Lane::score`].
    pub fn score_nearest(
        &mut self,
        cosines: &[f32],
        bank: &B::Bank,
        each: impl FnMut(usize, Parts, &[f32]),
    ) -> Result<()> {
        self.upload_judged()?;
        let Work { detector, vision, cosines: nearest, judged, map, parts, .. } = &mut self.work;
        let arch = &detector.arch;
        self.backend.upload(cosines, nearest)?;
        self.backend.residual_mean(nearest, arch.taps.len(), arch.vision.patches(), judged, map)?;
        self.backend.heads(&vision.class, map, 1, &detector.heads, bank, parts)?;
        self.read(1, each)
    }

    /// [`Lane::nearest`] of an image that was encoded before, from its unit taps `[L, N, W]` as [`Lane::features`] gave them.
    ///
    /// # Errors
    /// As [`Lane::score`].
    pub fn nearest_of(&mut self, taps: &[f32], bank: &B::Bank, cosines: &mut [f32]) -> Result<()> {
        self.backend.upload(taps, &mut self.work.vision.taps)?;
        self.nearest(bank, cosines)
    }

    /// What the one encoded image is compared by, after [`Lane::encode`]: its unit taps `[L, N, W]` and its class embedding
    /// `[E]`, not adapted.
    pub fn features(&mut self) -> Result<(Vec<f32>, Vec<f32>)> {
        let Work { detector, vision, .. } = &mut self.work;
        let arch = &detector.arch;
        let mut taps = vec![0.0; arch.taps.len() * arch.vision.patches() * arch.vision.width];
        let mut class = vec![0.0; arch.embed_dim];
        self.backend.download(&vision.taps, &mut taps)?;
        self.backend.download(&vision.class, &mut class)?;
        if !taps.iter().chain(&class).all(|x| x.is_finite()) {
            return Err(not_finite("the features of an image"));
        }
        Ok((taps, class))
    }

    /// What a prompt leaves in a bank, after [`Lane::encode`] of one image: its unit taps `[L, N, W]` and its adapted
    /// class embedding `[E]`.
    pub fn prompt_features(&mut self) -> Result<(Vec<f32>, Vec<f32>)> {
        let Work { detector, vision, adapted: device, .. } = &mut self.work;
        let arch = &detector.arch;
        let mut taps = vec![0.0; arch.taps.len() * arch.vision.patches() * arch.vision.width];
        let mut adapted = vec![0.0; arch.embed_dim];
        self.backend.download(&vision.taps, &mut taps)?;
        self.backend.adapter(&vision.class, 1, &detector.heads, device)?;
        self.backend.download(device, &mut adapted)?;
        if !taps.iter().chain(&adapted).all(|x| x.is_finite()) {
            return Err(not_finite("the features of a prompt"));
        }
        Ok((taps, adapted))
    }

    fn read(&mut self, images: usize, mut each: impl FnMut(usize, Parts, &[f32])) -> Result<()> {
        let cells = self.work.detector.arch.vision.patches();
        let parts = &mut self.host_parts[..images * HEAD_OUTPUTS];
        let map = &mut self.host_map[..images * cells];
        self.backend.download(&self.work.parts, parts)?;
        self.backend.download(&self.work.map, map)?;
        let finite = |x: &[f32]| x.iter().all(|x| x.is_finite());
        let rows = || parts.chunks_exact(HEAD_OUTPUTS).zip(map.chunks_exact(cells));
        if let Some(image) = rows().position(|(parts, map)| !finite(parts) || !finite(map)) {
            return Err(not_finite(&format!("the score of image {image} of the batch")));
        }
        for (image, (parts, map)) in rows().enumerate() {
            let [score, holistic, patch_max, image_residual, text_prior] = *parts else { continue };
            each(image, Parts { score, holistic, patch_max, image_residual, text_prior }, map);
        }
        Ok(())
    }

    fn check(&self, images: usize) -> Result<()> {
        if images <= self.capacity() {
            return Ok(());
        }
        let message = format!("a batch of {images} images, but the lane has memory for {}", self.capacity());
        Err(Error::new(ErrorKind::Argument, message))
    }

    /// The device buffers of the last batch, for comparing intermediates: class embeddings `[B, E]`, unit taps
    /// `[L, B, N, W]`, cosines `[L, B, N]`.
    pub fn intermediates(&self) -> [&B::Buffer; 3] {
        [&self.work.vision.class, &self.work.vision.taps, &self.work.cosines]
    }
}

pub(super) fn not_finite(what: &str) -> Error {
    Error::new(
        ErrorKind::Numeric,
        format!(
            "{what} is not a finite number: the weights overflow on this input; make sure that they are what was trained"
        ),
    )
}
