//! A ResNet: convolutions, their normalisations folded into them, in four stages of blocks.
//!
//! Activations are `[B, rows, cols, channels]`. A stage that is wanted leaves its output as a [`Level`]; stages after
//! the last wanted one do not run.

use super::vision::{Level, Wanted};
use super::wants::Wants;
use crate::backend::{Backend, Convolution, Resample, Role, Then, halved};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::tensor::{DType, TensorView};
use crate::view::Grid;
use crate::weights::resnet::{ConvNames, stage, stem};
use crate::weights::{ResNetArch, STAGES, VisionArch, Weights};

/// Added to a variance: torch's default.
const EPSILON: f64 = 1e-5;

/// A convolution with its normalisation.
struct Conv<B: Backend> {
    layer: B::Linear,
    channels: usize,
    side: usize,
    stride: usize,
}

struct Block<B: Backend> {
    convs: Vec<Conv<B>>,
    projection: Option<Conv<B>>,
    stride: usize,
}

/// The weights of a ResNet on a device.
pub(super) struct ResNet<B: Backend> {
    resnet: ResNetArch,
    stem: Conv<B>,
    stages: Vec<Vec<Block<B>>>,
}

/// Activations for a batch.
pub(super) struct ResNetWorkspace<B: Backend> {
    /// The input of a block, and its output.
    x: B::Buffer,
    y: B::Buffer,
    /// What its convolutions pass to each other.
    inner: [B::Buffer; 2],
    /// The neighbourhoods that a convolution unfolds.
    unfolded: B::Buffer,
}

/// The side in pixels of the cells of stage `stage`, counted from 1.
fn side(vision: &VisionArch, stage: usize) -> usize {
    vision.patch_size << stage.saturating_sub(1)
}

/// The largest number of cells of stage `stage` for a picture of `cells` cells of `cell` pixels. A side of one cell
/// stays one when the grid is halved.
pub(crate) fn most_cells(vision: &VisionArch, stage: usize, cells: usize, cell: usize) -> usize {
    let (mut own, mut most) = (side(vision, stage), cells);
    if own <= cell {
        return cells.saturating_mul((cell / own).pow(2));
    }
    while own > cell {
        (own, most) = (own / 2, most.div_ceil(2));
    }
    most
}

/// Stages that must run.
fn stages(wants: &Wants) -> usize {
    if wants.class { STAGES } else { wants.taps.last().map_or(0, |&last| last.min(STAGES)) }
}

/// Elements of each of the two outer and of each of the two inner buffers of [`ResNetWorkspace`] for an image, and of the
/// neighbourhoods that convolutions unfold of `views` images.
pub(crate) fn workspace_len<B: Backend>(
    vision: &VisionArch,
    resnet: &ResNetArch,
    wants: &Wants,
    [views, cells]: [usize; 2],
) -> [usize; 3] {
    let cell = vision.cell(&wants.taps);
    let at = |stage: usize| most_cells(vision, stage, cells, cell);
    let unfolded_of = |conv: &ConvNames, cells: usize| {
        let [_, channels, side] = conv.shape;
        B::unfolded_len(side * side * channels, views, cells)
    };
    // The stem's cells are half as large as those of the first stage.
    let first = 4 * at(1);
    let (mut outer, mut inner) = (at(1) * resnet.stem, first * resnet.stem);
    let mut unfolded = unfolded_of(&stem(resnet), first);
    for s in 0..stages(wants) {
        let width = resnet.inner.map_or(resnet.widths[s], |inner| inner[s]);
        let before = if s == 0 || resnet.inner.is_none() { at(s + 1) } else { at(s) };
        outer = outer.max(at(s + 1) * resnet.widths[s]);
        inner = inner.max(before * width);
        // Blocks after the first are on the stage's own grid.
        for block in stage(resnet, s).iter().take(2) {
            let cells = |i: usize| if block.stride > 1 && i < block.strided { before } else { at(s + 1) };
            let convs = block.convs.iter().enumerate().map(|(i, conv)| unfolded_of(conv, cells(i)));
            let projection = block.projection.iter().map(|conv| unfolded_of(conv, at(s + 1)));
            unfolded = convs.chain(projection).fold(unfolded, usize::max);
        }
    }
    [outer, inner, unfolded]
}

impl<B: Backend> ResNet<B> {
    /// Uploads the tower, convolution by convolution.
    pub fn load(backend: &mut B, weights: &Weights, resnet: ResNetArch) -> Result<Self> {
        let mut conv = |names: &ConvNames, stride| Conv::load(backend, weights, names, stride);
        let first = conv(&stem(&resnet), 2)?;
        let mut stages = Vec::with_capacity(STAGES);
        for at in 0..STAGES {
            let mut blocks = Vec::new();
            for block in stage(&resnet, at) {
                let stride = |i: usize| if i == block.strided { block.stride } else { 1 };
                let convs = block.convs.iter().enumerate().map(|(i, names)| conv(names, stride(i)));
                let convs = convs.collect::<Result<Vec<_>>>()?;
                let projection = block.projection.as_ref().map(|names| conv(names, block.stride)).transpose()?;
                blocks.push(Block { convs, projection, stride: block.stride });
            }
            stages.push(blocks);
        }
        Ok(ResNet { resnet, stem: first, stages })
    }

    /// Takes memory for `views` images of up to `cells` cells.
    pub fn workspace(
        &self,
        backend: &B,
        vision: &VisionArch,
        wants: &[Wants],
        [views, cells]: [usize; 2],
    ) -> Result<ResNetWorkspace<B>> {
        let each = wants.iter().map(|wants| workspace_len::<B>(vision, &self.resnet, wants, [views, cells]));
        let [outer, inner, unfolded] = each.fold([0; 3], |most, own| std::array::from_fn(|i| most[i].max(own[i])));
        let buffer = |len: usize| backend.buffer(Role::Stream, views * len);
        let inner = [buffer(inner)?, buffer(inner)?];
        let unfolded = backend.buffer(Role::Operand, unfolded)?;
        Ok(ResNetWorkspace { x: buffer(outer)?, y: buffer(outer)?, inner, unfolded })
    }

    /// Takes memory for the levels that are wanted of `views` images of up to `cells` cells.
    pub fn levels(
        &self,
        backend: &B,
        vision: &VisionArch,
        wants: &Wants,
        [views, cells]: [usize; 2],
    ) -> Result<Vec<Level<B>>> {
        let cell = vision.cell(&wants.taps);
        let level = |&stage: &usize| {
            let width = self.resnet.widths[stage - 1];
            let rows = backend.buffer(Role::Stream, views * most_cells(vision, stage, cells, cell) * width)?;
            Ok(Level { grid: Grid::default(), width, rows })
        };
        wants.taps.iter().map(level).collect()
    }

    /// Encodes the images of `wanted`, given as patch rows of their grid, whose cells have `cell` pixels.
    pub fn encode(
        &self,
        backend: &mut B,
        ws: &mut ResNetWorkspace<B>,
        rows: &B::Buffer,
        cell: usize,
        wanted: &mut [Wanted<B>],
    ) -> Result<()> {
        let Some(Wanted { features, .. }) = wanted.first() else { return Ok(()) };
        let images = features.views;
        let pixels = Grid::new(features.grid.rows * cell, features.grid.cols * cell);
        let stem = Convolution { patch: Some(cell), ..self.stem.at(pixels) };
        let ResNetWorkspace { x, y, inner: [first, second], unfolded } = ws;
        backend.levels().convolve(rows, images, &stem, &self.stem.layer, Then::Relu, unfolded, first)?;
        let mut grid = halved(stem.output(), 2);
        backend.levels().max_pool(first, images, stem.output(), self.resnet.stem, x)?;
        let most = wanted.iter().map(|wanted| stages(&wanted.wants)).max().unwrap_or(0);
        for (number, blocks) in self.stages.iter().enumerate().take(most) {
            for block in blocks {
                block.forward(backend, images, grid, [&mut *x, &mut *y, &mut *first, &mut *second, &mut *unfolded])?;
                grid = halved(grid, block.stride);
            }
            for Wanted { wants, features } in wanted.iter_mut() {
                let Some(tap) = wants.taps.iter().position(|tap| *tap == number + 1) else { continue };
                let level = &mut features.levels[tap];
                level.grid = grid;
                let width = level.width;
                let copy = Resample { from: grid, width, to: grid, pitch: width, column: 0, bilinear: false };
                backend.levels().resample(x, images, &copy, &mut level.rows)?;
            }
        }
        let width = self.resnet.widths[STAGES - 1];
        // Whoever wants it has had all stages run.
        for Wanted { features, .. } in wanted.iter_mut().filter(|wanted| wanted.wants.class) {
            backend.levels().mean_cells(x, images, grid.cells(), width, &mut features.class)?;
        }
        Ok(())
    }
}

impl<B: Backend> Block<B> {
    /// `x = relu(x + f(x))`, or `relu(projection(x) + f(x))`.
    fn forward(&self, backend: &mut B, images: usize, input: Grid, buffers: [&mut B::Buffer; 5]) -> Result<()> {
        let [x, y, first, second, unfolded] = buffers;
        let mut grid = input;
        let (mut from, mut to) = (first, second);
        let Some((last, before)) = self.convs.split_last() else { return Ok(()) };
        for (i, conv) in before.iter().enumerate() {
            let at = conv.at(grid);
            let source = if i == 0 { &*x } else { &*from };
            backend.levels().convolve(source, images, &at, &conv.layer, Then::Relu, unfolded, to)?;
            grid = at.output();
            std::mem::swap(&mut from, &mut to);
        }
        if let Some(projection) = &self.projection {
            let at = projection.at(input);
            backend.levels().convolve(x, images, &at, &projection.layer, Then::Store, unfolded, y)?;
            std::mem::swap(x, y);
        }
        backend.levels().convolve(from, images, &last.at(grid), &last.layer, Then::AddRelu, unfolded, x)
    }
}

impl<B: Backend> Conv<B> {
    fn load(backend: &mut B, weights: &Weights, names: &ConvNames, stride: usize) -> Result<Self> {
        let [outputs, channels, side] = names.shape;
        let (weight, bias) = folded(weights, names)?;
        let shape = [outputs, side, side, channels];
        let weight = TensorView { name: &names.weight, dtype: DType::F32, shape: &shape, bytes: (&weight).into() };
        let bias = TensorView { name: &names.norm, dtype: DType::F32, shape: &shape[..1], bytes: (&bias).into() };
        Ok(Conv { layer: backend.linear_weights(&weight, 0..outputs, Some(&bias))?, channels, side, stride })
    }

    fn at(&self, input: Grid) -> Convolution {
        Convolution { input, channels: self.channels, side: self.side, stride: self.stride, patch: None }
    }
}

/// The bytes of a weight as `[outputs, y, x, inputs]`, times the scale of its normalisation, and those of the bias that
/// the normalisation adds. Both are computed in f64 and rounded once.
fn folded(weights: &Weights, names: &ConvNames) -> Result<(Vec<u8>, Vec<u8>)> {
    let ConvNames { weight, norm, shape: [outputs, inputs, side] } = names;
    let area = side * side;
    let stored = weights.tensor(weight)?.to_f32()?;
    let part = |field: &str| weights.tensor(&format!("{norm}.{field}"))?.to_f32();
    let (gain, offset) = (part("weight")?, part("bias")?);
    let (mean, variance) = (part("running_mean")?, part("running_var")?);
    let mut bytes = memory::zeros::<u8>("a convolution", 4 * outputs * inputs * area)?;
    let mut biases = memory::zeros::<u8>("a convolution's bias", 4 * outputs)?;
    let each = stored.chunks_exact(inputs * area).zip(bytes.chunks_exact_mut(4 * inputs * area));
    for (output, (from, to)) in each.enumerate() {
        let scale = f64::from(gain[output]) / (f64::from(variance[output]) + EPSILON).sqrt();
        for (at, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (place, input) = (at / inputs, at % inputs);
            *to = ((f64::from(from[input * area + place]) * scale) as f32).to_le_bytes();
        }
        let bias = (f64::from(offset[output]) - f64::from(mean[output]) * scale) as f32;
        if !bias.is_finite() || !scale.is_finite() {
            let message = format!("the normalisation `{norm}` has a variance or a scale that no trained model has");
            return Err(Error::new(ErrorKind::Numeric, message).of_tensor(norm));
        }
        biases[4 * output..][..4].copy_from_slice(&bias.to_le_bytes());
    }
    Ok((bytes, biases))
}
