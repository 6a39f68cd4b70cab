//! The image encoder: patches in, tapped patch tokens and the class embedding out.

use super::block::{Block, BlockShape, Workspace, load_norm};
use crate::backend::{AttentionShape, Backend, Embedding, Gelu, ImageTokens, Norm, Pool, Role, Sequences};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, TensorView};
use crate::view::Normalised;
use crate::weights::{Arch, Weights};

/// A point of the forward pass whose residual stream `[B * (1 + N), W]` can be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// After the embedding and `ln_pre`.
    Embed,
    /// After this block, counted from 1; a last block that serves the class token only is not observed.
    Block(usize),
}

/// The vision tower's weights on a device.
pub struct Vision<B: Backend> {
    arch: Arch,
    patch: B::Linear,
    embedding: Embedding<B>,
    blocks: Vec<Block<B>>,
    ln_post: Norm<B>,
    projection: B::Linear,
}

/// Activations and results of one lane, for up to `capacity` images.
pub struct VisionWorkspace<B: Backend> {
    capacity: usize,
    /// `sequences[..b]` describes a batch of `b` images.
    ends: Vec<usize>,
    rows: B::Buffer,
    embedded: B::Buffer,
    blocks: Workspace<B>,
    normalised: B::Buffer,
    /// What the last batch left.
    pub features: Features<B>,
}

/// What the encoder leaves of a batch, on the device.
pub struct Features<B: Backend> {
    /// Views in the batch, B.
    pub views: usize,
    /// Width of a patch token, W.
    pub width: usize,
    /// Class embeddings f_v(x), not normalised, `[B, E]`.
    pub class: B::Buffer,
    /// Unit patch tokens of every tap, `[L, B, N, W]`.
    pub taps: B::Buffer,
}

impl<B: Backend> VisionWorkspace<B> {
    /// Largest batch.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

impl<B: Backend> Vision<B> {
    /// Uploads the tower, tensor by tensor.
    pub fn load(backend: &mut B, weights: &Weights) -> Result<Self> {
        let arch = weights.arch().clone();
        let conv = weights.tensor("visual.conv1.weight")?;
        let patch = backend.linear_weights(&conv, 0..arch.vision.width, None)?;
        let layers = arch.vision.layers;
        let shape = block_shape(&arch);
        let blocks = (0..layers)
            .map(|i| {
                let pooled = i + 1 == layers && !arch.taps.contains(&layers);
                Block::load(backend, weights, &format!("visual.transformer.resblocks.{i}."), shape, pooled)
            })
            .collect::<Result<_>>()?;
        let (width, tokens) = (arch.vision.width, ImageTokens { prefix: 1, patches: arch.vision.patches() });
        let positions = weights.tensor("visual.positional_embedding")?.to_f32();
        let (first, positions) = positions.split_at(width);
        let class = weights.tensor("visual.class_embedding")?.to_f32();
        let prefix: Vec<f32> = class.iter().zip(first).map(|(class, position)| class + position).collect();
        let mut constant = |shape: &[usize], values: &[f32]| {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            backend.constant(&TensorView { name: "positions", dtype: DType::F32, shape, bytes: (&bytes).into() })
        };
        let prefix = constant(&[1, width], &prefix)?;
        let position = constant(&[tokens.patches, width], positions)?;
        Ok(Vision {
            patch,
            embedding: Embedding {
                prefix,
                position,
                norm: Some(load_norm(backend, weights, "visual.ln_pre")?),
                tokens,
            },
            blocks,
            ln_post: load_norm(backend, weights, "visual.ln_post")?,
            projection: backend.projection_weights(&weights.tensor("visual.proj")?)?,
            arch,
        })
    }

    /// The architecture that it was loaded with.
    pub fn arch(&self) -> &Arch {
        &self.arch
    }

    /// Memory for batches of up to `capacity` images.
    pub fn workspace(&self, backend: &B, capacity: usize) -> Result<VisionWorkspace<B>> {
        let (vision, patches) = (&self.arch.vision, self.arch.vision.patches());
        let tokens = vision.tokens();
        Ok(VisionWorkspace {
            capacity,
            ends: (1..=capacity).map(|image| image * tokens).collect(),
            rows: backend.buffer(Role::Operand, capacity * patches * 3 * vision.patch_size * vision.patch_size)?,
            embedded: backend.buffer(Role::Stream, capacity * patches * vision.width)?,
            blocks: Workspace::new(backend, block_shape(&self.arch), capacity * tokens, capacity)?,
            normalised: backend.buffer(Role::Operand, capacity * vision.width)?,
            features: Features {
                views: 0,
                width: vision.width,
                class: backend.buffer(Role::Stream, capacity * self.arch.embed_dim)?,
                taps: backend.buffer(Role::Operand, self.arch.taps.len() * capacity * patches * vision.width)?,
            },
        })
    }

    /// The patch rows of the batch to come, `[B * N, 3 P P]`, and the side P of a patch: [`Backend::preprocess`] fills them.
    pub fn patch_rows<'w>(&self, ws: &'w mut VisionWorkspace<B>) -> (&'w mut B::Buffer, usize) {
        (&mut ws.rows, self.arch.vision.patch_size)
    }

    /// Places an image that is already normalised, as image 0 of the batch to come.
    pub fn place_normalised(&self, backend: &mut B, ws: &mut VisionWorkspace<B>, image: &Normalised) -> Result<()> {
        let (found, expected) = (image.size(), self.arch.vision.image_size);
        if found != expected {
            let message = format!(
                "is {found} x {found} pixels, the model takes {expected} x {expected}: a normalised image is not resized, \
                 make it anew at this size or give the picture file"
            );
            return Err(Error::new(ErrorKind::Image, message));
        }
        backend.upload(&image.patch_rows(self.arch.vision.patch_size), &mut ws.rows)
    }

    /// Encodes the first `images` placed frames into `ws.features`.
    ///
    /// Taps count blocks from 1 and take the residual stream as it is, without `ln_post`; the class token is dropped.
    /// `observe` is shown the residual stream at each [`Stage`].
    pub fn encode(
        &self,
        backend: &mut B,
        ws: &mut VisionWorkspace<B>,
        images: usize,
        mut observe: impl FnMut(Stage, &B::Buffer),
    ) -> Result<()> {
        let (width, patches, tokens) = (self.arch.vision.width, self.arch.vision.patches(), self.embedding.tokens);
        let sequences = Sequences { ends: &ws.ends[..images] };
        ws.features.views = images;
        backend.linear(&ws.rows, images * patches, &self.patch, &mut ws.embedded)?;
        let (x, h) = (&mut ws.blocks.x, &mut ws.blocks.h);
        match self.blocks.first() {
            Some(first) => backend.embed_norm(&ws.embedded, images, &self.embedding, x, &first.ln_1, h)?,
            None => backend.embed(&ws.embedded, images, &self.embedding, x)?,
        }
        observe(Stage::Embed, &ws.blocks.x);
        let mut tap = 0;
        for (i, block) in self.blocks.iter().enumerate() {
            block.forward(backend, &mut ws.blocks, sequences, Pool::First)?;
            if block.is_pooled() {
                break;
            }
            observe(Stage::Block(i + 1), &ws.blocks.x);
            let (x, h, taps) = (&ws.blocks.x, &mut ws.blocks.h, &mut ws.features.taps);
            let tapped = self.arch.taps.get(tap) == Some(&(i + 1));
            match self.blocks.get(i + 1) {
                Some(next) if tapped => {
                    backend.layer_norm_unit_patches(x, images, tokens, width, &next.ln_1, h, tap, taps)?;
                }
                Some(next) => backend.layer_norm(x, sequences.rows(), &next.ln_1, h)?,
                None if tapped => backend.unit_patches(x, images, tokens, width, tap, taps)?,
                None => {}
            }
            tap += usize::from(tapped);
        }
        if self.blocks.last().is_none_or(|last| !last.is_pooled()) {
            backend.pool_rows(&ws.blocks.x, sequences, width, Pool::First, &mut ws.blocks.pooled)?;
        }
        backend.layer_norm(&ws.blocks.pooled, images, &self.ln_post, &mut ws.normalised)?;
        backend.linear(&ws.normalised, images, &self.projection, &mut ws.features.class)
    }
}

fn block_shape(arch: &Arch) -> BlockShape {
    let vision = &arch.vision;
    BlockShape {
        attention: AttentionShape { heads: vision.heads, size: vision.width / vision.heads },
        mlp_width: vision.mlp_width,
        gelu: gelu(arch),
        causal: false,
    }
}

/// The activation that the weights were trained with, in both towers.
pub(super) fn gelu(arch: &Arch) -> Gelu {
    if arch.quick_gelu { Gelu::Quick } else { Gelu::Exact }
}
