//! A vision transformer: patches in, tapped patch tokens and the class embedding out.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::block::{Block, BlockShape, Served, Workspace, load_norm};
use super::positions::Positions;
use super::vision::{Features, HookPoint, Wanted};
use super::wants::Wants;
use super::windows::{self, Tower, WindowFeatures, WindowWorkspace};
use crate::backend::{AttentionShape, Backend, Embedding, Gelu, ImageTokens, Norm, PoolToken, Role, Sequences};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::process::{self, Origin};
use crate::tensor::{DType, TensorView};
use crate::view::Grid;
use crate::weights::{Arch, VitLayout, Weights};

/// The weights of a transformer on a device.
pub(super) struct Vit<B: Backend> {
    arch: Arch,
    patch: B::Linear,
    prefix: Arc<B::Constant>,
    pre_norm: Option<Arc<Norm<B>>>,
    positions: Positions,
    /// What depends on the grid, for the most recent grids; the most recently used one is last.
    embeddings: Mutex<Vec<(Grid, Arc<Embedding<B>>)>>,
    origin: Origin,
    blocks: Vec<Block<B>>,
    final_norm: Norm<B>,
    projection: Option<B::Linear>,
}

/// One block in so many counts as early ([`Block::load`]).
const EARLY: usize = 3;
/// Grids whose positions are kept on the device.
const GRIDS: usize = 32;

/// Activations of one pipeline.
pub(super) struct VitWorkspace<B: Backend> {
    embedded: B::Buffer,
    blocks: Workspace<B>,
    normalised: B::Buffer,
    /// Where windows are wanted.
    windows: Option<WindowWorkspace<B>>,
}

impl<B: Backend> Vit<B> {
    /// Uploads the tower, tensor by tensor, to serve [`Wants::of`] its architecture.
    pub fn load(backend: &mut B, weights: &Weights) -> Result<Self> {
        let arch = weights.arch().clone();
        let names = layout(&arch)?;
        let bias = names.patch_bias.map(|name| weights.tensor(name)).transpose()?;
        let patch = backend.linear_weights(&weights.tensor(names.patch)?, 0..arch.vision.width, bias.as_ref())?;
        let (layers, shape, wants) = (arch.vision.layers, block_shape(&arch), Wants::of(&arch));
        let load = |i| {
            let early = i < layers / EARLY;
            Block::load(backend, weights, &block_name(names, i), shape, early, served(&wants, i, layers))
        };
        let blocks = (0..layers).map(load).collect::<Result<_>>()?;
        let width = arch.vision.width;
        let mut positions = weights.tensor(names.positions)?.to_f32()?;
        let patch_positions = positions.split_off(width);
        let mut prefix = weights.tensor(names.class)?.to_f32()?;
        prefix.iter_mut().zip(positions).for_each(|(class, position)| *class += position);
        if let Some(name) = names.registers.filter(|_| arch.vision.registers > 0) {
            prefix.append(&mut weights.tensor(name)?.to_f32()?);
        }
        let pre_norm = names.pre_norm.map(|name| load_norm(backend, weights, name)).transpose()?;
        let project = |name| backend.projection_weights(&weights.tensor(name)?);
        let projection = names.projection.map(project).transpose()?;
        let vit = Vit {
            patch,
            prefix: Arc::new(constant(backend, &[arch.vision.prefix(), width], &prefix)?),
            pre_norm: pre_norm.map(Arc::new),
            positions: Positions::new(patch_positions, Grid::square(arch.vision.grid()), arch.interpolation()),
            embeddings: Mutex::default(),
            origin: Origin::here(),
            blocks,
            final_norm: load_norm(backend, weights, names.final_norm)?,
            projection,
            arch,
        };
        vit.embedding(backend, Grid::square(vit.arch.vision.grid()))?;
        Ok(vit)
    }

    /// Reads the weights that serving `wants` needs and that [`Vit::load`] did not read.
    ///
    /// # Errors
    /// As loading.
    pub fn serve(&self, backend: &mut B, weights: &Weights, wants: &Wants) -> Result<()> {
        let (layers, names) = (self.blocks.len(), layout(&self.arch)?);
        let blocks = self.blocks.iter().enumerate().take(wants.blocks(layers));
        blocks.into_iter().try_for_each(|(i, block)| {
            block.serve(backend, weights, &block_name(names, i), served(wants, i, layers))
        })?;
        if wants.windows.is_empty() {
            return Ok(());
        }
        self.blocks
            .iter()
            .enumerate()
            .try_for_each(|(i, block)| block.serve(backend, weights, &block_name(names, i), windows::served(i, layers)))
    }

    /// Takes memory for batches of up to `views` images of up to `cells` patches each.
    pub fn workspace(&self, backend: &B, wants: &[Wants], [views, cells]: [usize; 2]) -> Result<VitWorkspace<B>> {
        let vision = &self.arch.vision;
        let tokens = vision.prefix() + cells;
        let classes = if wants.iter().any(|wants| wants.class) { views } else { 0 };
        let shape = block_shape(&self.arch);
        let sides: BTreeSet<usize> = wants.iter().flat_map(|wants| wants.windows.iter().copied()).collect();
        let windows = match sides.is_empty() {
            true => None,
            false => Some(WindowWorkspace::new(backend, shape, self.window_widths(), sides, [views, cells])?),
        };
        Ok(VitWorkspace {
            embedded: backend.buffer(Role::Stream, views * cells * vision.width)?,
            blocks: Workspace::new(backend, shape, views * tokens, classes)?,
            normalised: backend.buffer(Role::Operand, classes * vision.width)?,
            windows,
        })
    }

    /// Takes memory for the windows that are wanted of such batches.
    pub fn windows(&self, backend: &B, wants: &Wants, most: [usize; 2]) -> Result<Vec<WindowFeatures<B>>> {
        WindowFeatures::of(backend, wants, self.window_widths(), most)
    }

    /// Tokens before the patches of a window, and the width of an embedding.
    fn window_widths(&self) -> [usize; 2] {
        [self.arch.vision.prefix(), self.arch.embed_dim]
    }

    /// The embedding of a grid, computed once for all pipelines.
    pub fn embedding(&self, backend: &mut B, grid: Grid) -> Result<Arc<Embedding<B>>> {
        let mut kept = process::lock(&self.embeddings, self.origin, "the engine")?;
        if let Some(at) = kept.iter().rposition(|(kept, _)| *kept == grid) {
            kept[at..].rotate_left(1);
        } else {
            let position = constant(backend, &[grid.cells(), self.arch.vision.width], &self.positions.of(grid)?)?;
            if kept.len() == GRIDS {
                kept.remove(0);
            }
            let embedding = Embedding {
                prefix: Arc::clone(&self.prefix),
                position,
                norm: self.pre_norm.clone(),
                tokens: ImageTokens { prefix: self.arch.vision.prefix(), patches: grid.cells() },
            };
            kept.push((grid, Arc::new(embedding)));
        }
        Ok(Arc::clone(&kept[kept.len() - 1].1))
    }

    /// Encodes images, given as patch rows, once for everything in `wanted`; `ends` describes the batch.
    ///
    /// Taps count blocks from 1. A tap is the residual stream, with or without the final norm; the class token is
    /// dropped. `observe` sees the residual stream at each [`HookPoint`].
    pub fn encode(
        &self,
        backend: &mut B,
        ws: &mut VitWorkspace<B>,
        (rows, embedding, ends): (&B::Buffer, &Embedding<B>, &[usize]),
        wanted: &mut [Wanted<B>],
        mut observe: impl FnMut(HookPoint, &B::Buffer),
    ) -> Result<()> {
        let (tokens, layers, images) = (embedding.tokens, self.blocks.len(), ends.len());
        let sequences = Sequences { ends };
        backend.linear(rows, images * tokens.patches, &self.patch, &mut ws.embedded)?;
        let most = wanted.iter().map(|wanted| wanted.wants.blocks(layers)).max().unwrap_or(0);
        let blocks = &self.blocks[..most];
        let (x, h) = (&mut ws.blocks.x, &mut ws.blocks.h);
        match blocks.first() {
            Some(first) => backend.embed_norm(&ws.embedded, images, embedding, x, &first.ln_1, h)?,
            None => backend.embed(&ws.embedded, images, embedding, x)?,
        }
        observe(HookPoint::Embed, &ws.blocks.x);
        if let (Some(windows), Some(grid)) = (&mut ws.windows, wanted.first().map(|wanted| wanted.features.grid)) {
            let tower = Tower {
                blocks: &self.blocks,
                final_norm: &self.final_norm,
                projection: self.projection.as_ref(),
                embedding: self.arch.embed_dim,
            };
            windows.encode(backend, &tower, &ws.blocks.x, [images, tokens.prefix], grid, wanted)?;
        }
        for (i, block) in blocks.iter().enumerate() {
            let runs = |wants: &Wants| i < wants.blocks(layers);
            // A block that serves the class token alone leaves the others as they are, for those who want them.
            let is = |wants: &Wants, how: Served| runs(wants) && served(wants, i, layers) == how;
            if wanted.iter().any(|wanted| is(&wanted.wants, Served::Pooled)) {
                block.forward(backend, &mut ws.blocks, sequences, PoolToken::First, Served::Pooled)?;
                for Wanted { features, .. } in wanted.iter_mut().filter(|wanted| is(&wanted.wants, Served::Pooled)) {
                    self.embed_class(backend, ws, images, features)?;
                }
            }
            if !wanted.iter().any(|wanted| is(&wanted.wants, Served::All)) {
                break;
            }
            block.forward(backend, &mut ws.blocks, sequences, PoolToken::First, Served::All)?;
            observe(HookPoint::Block(i + 1), &ws.blocks.x);
            self.tap(backend, ws, (i + 1, blocks.get(i + 1)), (images, tokens), wanted)?;
        }
        for Wanted { wants, features } in wanted.iter_mut() {
            if wants.tokens {
                backend.layer_norm(&ws.blocks.x, sequences.rows(), &self.final_norm, &mut features.tokens)?;
            }
            if wants.class && !wants.pools_last(layers) {
                let width = self.arch.vision.width;
                backend.pool_rows(&ws.blocks.x, sequences, width, PoolToken::First, &mut ws.blocks.pooled)?;
                self.embed_class(backend, ws, images, features)?;
            }
        }
        Ok(())
    }

    /// Keeps the tokens of block `at`, counted from 1, for those who want them, and normalises them for the `next` one.
    fn tap(
        &self,
        backend: &mut B,
        ws: &mut VitWorkspace<B>,
        (at, next): (usize, Option<&Block<B>>),
        (images, tokens): (usize, ImageTokens),
        wanted: &mut [Wanted<B>],
    ) -> Result<()> {
        let (x, h, width) = (&ws.blocks.x, &mut ws.blocks.h, self.arch.vision.width);
        let mut normalised = false;
        for Wanted { wants, features } in wanted.iter_mut() {
            let Some(tap) = wants.taps.iter().position(|tap| *tap == at) else { continue };
            let taps = &mut features.taps;
            match (wants.norm.then_some(&self.final_norm), next) {
                // To the bit the two operations.
                (None, Some(next)) if wants.unit => {
                    backend.layer_norm_unit_patches(x, images, tokens, width, &next.ln_1, h, tap, taps)?;
                    normalised = true;
                }
                (norm, _) if wants.unit => backend.unit_patches(x, images, tokens, width, norm, tap, taps)?,
                (norm, _) => backend.plain_patches(x, images, tokens, width, norm, tap, taps)?,
            }
        }
        match next {
            Some(next) if !normalised => backend.layer_norm(x, images * tokens.count(), &next.ln_1, h),
            _ => Ok(()),
        }
    }

    /// From the pooled class tokens to the class embeddings.
    fn embed_class(
        &self,
        backend: &mut B,
        ws: &mut VitWorkspace<B>,
        images: usize,
        features: &mut Features<B>,
    ) -> Result<()> {
        let Some(projection) = &self.projection else {
            return backend.layer_norm(&ws.blocks.pooled, images, &self.final_norm, &mut features.class);
        };
        backend.layer_norm(&ws.blocks.pooled, images, &self.final_norm, &mut ws.normalised)?;
        backend.linear(&ws.normalised, images, projection, &mut features.class)
    }
}

/// The prefix of the tensor names of block `i`, counted from 0.
fn block_name(names: &VitLayout, i: usize) -> String {
    format!("{}{i}.", names.blocks)
}

/// The names of a transformer's tensors.
pub(super) fn layout(arch: &Arch) -> Result<&'static VitLayout> {
    arch.family.vit().ok_or_else(|| Error::new(ErrorKind::Internal, "a ResNet was taken for a transformer"))
}

/// The tokens that block `i` of `layers`, counted from 0, serves.
fn served(wants: &Wants, i: usize, layers: usize) -> Served {
    if i + 1 == layers && wants.pools_last(layers) { Served::Pooled } else { Served::All }
}

fn constant<B: Backend>(backend: &mut B, shape: &[usize], values: &[f32]) -> Result<B::Constant> {
    let mut bytes = memory::zeros::<u8>("the positions of patches", size_of_val(values))?;
    bytes.as_chunks_mut().0.iter_mut().zip(values).for_each(|(bytes, x)| *bytes = x.to_le_bytes());
    backend.constant(&TensorView { name: "positions", dtype: DType::F32, shape, bytes: (&bytes).into() })
}

fn block_shape(arch: &Arch) -> BlockShape {
    let vision = &arch.vision;
    BlockShape {
        attention: AttentionShape { heads: vision.heads, size: vision.width / vision.heads },
        mlp: vision.mlp,
        mlp_width: vision.mlp_width,
        gelu: gelu(arch),
        causal: false,
    }
}

/// The activation that the weights were trained with, in both towers.
pub(super) fn gelu(arch: &Arch) -> Gelu {
    if arch.quick_gelu { Gelu::Quick } else { Gelu::Exact }
}
