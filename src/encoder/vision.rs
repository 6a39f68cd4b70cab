//! The image encoder: patch rows in, features out. It is a transformer or a ResNet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::resnet::{ResNet, ResNetWorkspace};
use super::vit::{Vit, VitWorkspace};
use super::wants::Wants;
use super::windows::WindowFeatures;
use crate::backend::{Backend, Embedding, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::view::{Grid, Normalised};
use crate::weights::{Arch, Weights};

/// A point of the forward pass whose residual stream `[B * (1 + N), W]` can be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// After the embedding and, if there is one, the norm before the blocks.
    Embed,
    /// After this block, counted from 1. A last block that serves only the class token is not observed.
    Block(usize),
}

/// The image encoder's weights on a device.
pub struct Vision<B: Backend> {
    arch: Arch,
    tower: Tower<B>,
    /// Images that were encoded.
    encoded: AtomicU64,
}

enum Tower<B: Backend> {
    Vit(Box<Vit<B>>),
    ResNet(ResNet<B>),
}

/// Activations and results of one pipeline, for up to `views` images of up to `cells` patches each.
pub struct VisionWorkspace<B: Backend> {
    views: usize,
    cells: usize,
    /// Side in pixels of a cell.
    cell: usize,
    rows: B::Buffer,
    tower: TowerWorkspace<B>,
    /// What is wanted of the last batch.
    pub wanted: Vec<Wanted<B>>,
}

/// Features that one or several methods want, of which a batch is encoded once.
pub struct Wanted<B: Backend> {
    /// Which they are.
    pub wants: Wants,
    /// Those of the last batch.
    pub features: Features<B>,
}

enum TowerWorkspace<B: Backend> {
    Vit(Box<VitWorkspace<B>>),
    ResNet(ResNetWorkspace<B>),
}

/// A grid that a pipeline is ready to encode.
pub struct GridTokens<B: Backend> {
    /// The grid.
    pub grid: Grid,
    /// That of a transformer.
    embedding: Option<Arc<Embedding<B>>>,
    /// `ends[..b]` describes a batch of `b` images of a transformer.
    ends: Vec<usize>,
}

/// The encoder's results for a batch, on the device.
pub struct Features<B: Backend> {
    /// Views in the batch, B.
    pub views: usize,
    /// The grid of each view's N patches, or cells of the first wanted stage.
    pub grid: Grid,
    /// Width of a patch token, W.
    pub width: usize,
    /// Class embeddings f_v(x), not normalised, `[B, E]`: the class token after the final norm and, if there is one,
    /// the projection; of a ResNet the mean over the cells of its last stage. Empty where none are [wanted](Wants).
    pub class: B::Buffer,
    /// Patch tokens of every tap, `[L, B, N, W]`: of unit length, or as they are, as is [wanted](Wants).
    pub taps: B::Buffer,
    /// What stands before the patches of a view in `tokens`.
    pub prefix: usize,
    /// Tokens after the final norm, `[B, prefix + N, W]`; empty where they are not [wanted](Wants).
    pub tokens: B::Buffer,
    /// The embeddings of windows, in the order in which they are [wanted](Wants).
    pub windows: Vec<WindowFeatures<B>>,
    /// The wanted stages of a ResNet, in their order.
    pub levels: Vec<Level<B>>,
}

/// The output of a stage of a ResNet.
pub struct Level<B: Backend> {
    /// Its grid.
    pub grid: Grid,
    /// Numbers of a cell.
    pub width: usize,
    /// `[B, rows, cols, width]`.
    pub rows: B::Buffer,
}

impl<B: Backend> VisionWorkspace<B> {
    /// The largest possible batch.
    pub fn capacity(&self) -> usize {
        self.views
    }
}

impl<B: Backend> Vision<B> {
    /// Uploads the tower, tensor by tensor, to serve [`Wants::of`] its architecture.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has not enough memory.
    pub fn load(backend: &mut B, weights: &Weights) -> Result<Self> {
        let arch = weights.arch().clone();
        let tower = match arch.vision.resnet {
            Some(resnet) => Tower::ResNet(ResNet::load(backend, weights, resnet)?),
            None => Tower::Vit(Box::new(Vit::load(backend, weights)?)),
        };
        Ok(Vision { arch, tower, encoded: AtomicU64::new(0) })
    }

    /// Counts images that a pipeline encodes; a device that repeats recorded work does not call [`Vision::encode`].
    pub fn count(&self, images: usize) {
        self.encoded.fetch_add(images as u64, Ordering::Relaxed);
    }

    /// Images that were encoded so far.
    pub fn encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }

    /// The architecture that it was loaded with.
    pub fn arch(&self) -> &Arch {
        &self.arch
    }

    /// The grid of the model's own size.
    pub fn grid(&self) -> Grid {
        Grid::square(self.arch.vision.grid())
    }

    /// Reads the weights that serving `wants` needs and that [`Vision::load`] did not read.
    ///
    /// # Errors
    /// As loading.
    pub fn serve(&self, backend: &mut B, weights: &Weights, wants: &Wants) -> Result<()> {
        match &self.tower {
            Tower::Vit(vit) => vit.serve(backend, weights, wants),
            Tower::ResNet(_) => Ok(()),
        }
    }

    /// Takes memory for batches of up to `views` images of up to `cells` patches each, and for each of the features that
    /// are wanted of them. Those of a ResNet must have cells of one size.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has not enough memory, [`ErrorKind::Internal`] where nothing is wanted.
    pub fn workspace(&self, backend: &B, wants: &[Wants], views: usize, cells: usize) -> Result<VisionWorkspace<B>> {
        let vision = &self.arch.vision;
        let mut sides = wants.iter().map(|wants| vision.cell(&wants.taps));
        let cell = match sides.next() {
            Some(cell) if sides.all(|other| other == cell) => cell,
            _ => {
                let message = "an image was to be encoded for nothing, or for cells of several sizes";
                return Err(Error::new(ErrorKind::Internal, message));
            }
        };
        let mut wanted = Vec::with_capacity(wants.len());
        for wants in wants {
            let (windows, levels) = match &self.tower {
                Tower::Vit(vit) => (vit.windows(backend, wants, [views, cells])?, Vec::new()),
                Tower::ResNet(resnet) => (Vec::new(), resnet.levels(backend, vision, wants, [views, cells])?),
            };
            let classes = if wants.class { views } else { 0 };
            let tokens = if levels.is_empty() { wants.taps.len() * views * cells * vision.width } else { 0 };
            let whole = if wants.tokens { views * (vision.prefix() + cells) * vision.width } else { 0 };
            let features = Features {
                views: 0,
                grid: self.grid(),
                width: vision.width,
                class: backend.buffer(Role::Stream, classes * self.arch.embed_dim)?,
                taps: backend.buffer(if wants.unit { Role::UnitRows } else { Role::Stream }, tokens)?,
                prefix: vision.prefix(),
                tokens: backend.buffer(Role::Stream, whole)?,
                windows,
                levels,
            };
            wanted.push(Wanted { wants: wants.clone(), features });
        }
        let tower = match &self.tower {
            Tower::Vit(vit) => TowerWorkspace::Vit(Box::new(vit.workspace(backend, wants, [views, cells])?)),
            Tower::ResNet(resnet) => {
                TowerWorkspace::ResNet(resnet.workspace(backend, vision, wants, [views, cells])?)
            }
        };
        let rows = backend.buffer(Role::Operand, views * cells * 3 * cell * cell)?;
        Ok(VisionWorkspace { views, cells, cell, rows, tower, wanted })
    }

    /// Prepares a grid for batches of up to `views` images.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has not enough memory for its positions.
    pub fn tokens(&self, backend: &mut B, grid: Grid, views: usize) -> Result<GridTokens<B>> {
        let Tower::Vit(vit) = &self.tower else { return Ok(GridTokens { grid, embedding: None, ends: Vec::new() }) };
        let embedding = vit.embedding(backend, grid)?;
        let ends = (1..=views).map(|image| image * embedding.tokens.count()).collect();
        Ok(GridTokens { grid, embedding: Some(embedding), ends })
    }

    /// The patch rows of the next batch, `[B * N, 3 P P]`, and the side P of a patch: [`Backend::preprocess`] fills
    /// them.
    pub fn patch_rows<'w>(&self, ws: &'w mut VisionWorkspace<B>) -> (&'w mut B::Buffer, usize) {
        (&mut ws.rows, ws.cell)
    }

    /// Places an image that is already normalised, as image 0 of the next batch, which must have the grid
    /// [`Vision::grid`].
    pub fn place_normalised(&self, backend: &mut B, ws: &mut VisionWorkspace<B>, image: &Normalised) -> Result<()> {
        let (found, expected) = (image.size(), self.arch.vision.image_size);
        if found != expected {
            let message = format!(
                "is {found} x {found} pixels, but the model takes {expected} x {expected}: a normalised image cannot \
                be resized, so make it again at this size or give the picture file"
            );
            return Err(Error::new(ErrorKind::Image, message).with_shapes(&[expected; 2], &[found; 2]));
        }
        let (rows, patch) = self.patch_rows(ws);
        backend.upload(&image.patch_rows(patch), rows)
    }

    /// Encodes the first `images` placed frames, which have the grid of `at`, once for everything in `ws.wanted`. Each of
    /// them has the bits that it has alone. `observe` sees the residual stream of a transformer at each [`HookPoint`].
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for more images or patches than there is memory for.
    pub fn encode(
        &self,
        backend: &mut B,
        ws: &mut VisionWorkspace<B>,
        at: &GridTokens<B>,
        images: usize,
        observe: impl FnMut(HookPoint, &B::Buffer),
    ) -> Result<()> {
        let VisionWorkspace { views, cells, cell, rows, tower, wanted } = ws;
        for Wanted { features, .. } in wanted.iter_mut() {
            (features.views, features.grid) = (images, at.grid);
        }
        let fits = images <= *views && at.grid.cells() <= *cells;
        match (&self.tower, tower, &at.embedding) {
            (Tower::Vit(vit), TowerWorkspace::Vit(ws), Some(embedding)) if fits && images <= at.ends.len() => {
                vit.encode(backend, ws, (rows, &**embedding, &at.ends[..images]), wanted, observe)
            }
            (Tower::ResNet(resnet), TowerWorkspace::ResNet(ws), None) if fits => {
                resnet.encode(backend, ws, rows, *cell, wanted)
            }
            _ => {
                let message = format!("{images} views of {} patches exceed the memory of the pipeline", at.grid);
                Err(Error::new(ErrorKind::Internal, message))
            }
        }
    }
}
