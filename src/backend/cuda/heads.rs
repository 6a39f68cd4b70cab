//! Launches `kernels/heads.cu`: adapter, heads, text prior and final score, equations 3 to 7.

use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::memory::DeviceMemory;
use super::{Bank, Cuda};
use crate::backend::{HEAD_OUTPUTS, HeadLayers};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Dense;

const THREADS: u32 = 256;

/// `HeadWeights` of `kernels/abi.cuh`, which kernels take by value.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct HeadWeights {
    adapter: [u64; 2],
    image_weight: [u64; 3],
    image_bias: [u64; 3],
    holistic_weight: [u64; 3],
    holistic_bias: [u64; 3],
    alpha: f32,
    embed: i32,
    hidden: i32,
    cells: i32,
    h1: i32,
    h2: i32,
}

/// The adapter and the heads on the device, f32.
pub struct Heads {
    weights: HeadWeights,
    _memory: Vec<DeviceMemory>,
}

impl Heads {
    pub(super) fn new(cuda: &Cuda, layers: &HeadLayers) -> Result<Self> {
        let mut memory = Vec::new();
        let mut store = |values: &[f32]| -> Result<u64> {
            let mut stored = DeviceMemory::new(&cuda.shared.context, "the heads", values.len() * 4)?;
            stored.write(0, values)?;
            memory.push(stored);
            Ok(memory.last().map_or(0, DeviceMemory::pointer))
        };
        let sizes = |head: &[Dense; 3]| [head[0].rows, head[1].rows];
        let [h1, h2] = sizes(&layers.image);
        if sizes(&layers.holistic) != [h1, h2] {
            return Err(Error::new(ErrorKind::Internal, "heads: the two heads have hidden layers of different sizes"));
        }
        let mut head = |layers: &[Dense; 3]| -> Result<([u64; 3], [u64; 3])> {
            let (mut weight, mut bias) = ([0; 3], [0; 3]);
            for (i, layer) in layers.iter().enumerate() {
                weight[i] = store(&layer.weight)?;
                bias[i] = store(&layer.bias)?;
            }
            Ok((weight, bias))
        };
        let (image_weight, image_bias) = head(&layers.image)?;
        let (holistic_weight, holistic_bias) = head(&layers.holistic)?;
        let weights = HeadWeights {
            adapter: [store(&layers.adapter[0].weight)?, store(&layers.adapter[1].weight)?],
            image_weight,
            image_bias,
            holistic_weight,
            holistic_bias,
            alpha: layers.alpha,
            embed: int(layers.image[0].cols)?,
            hidden: int(layers.adapter[0].rows)?,
            cells: int(layers.holistic[0].cols)?,
            h1: int(h1)?,
            h2: int(h2)?,
        };
        Ok(Heads { weights, _memory: memory })
    }

    fn embed(&self) -> usize {
        self.weights.embed as usize
    }

    fn cells(&self) -> usize {
        self.weights.cells as usize
    }

    /// Shared memory of the adapter's kernel: an embedding and the hidden layer.
    fn adapter_shared(&self) -> usize {
        (self.embed() + self.weights.hidden as usize) * 4
    }

    /// Shared memory of the heads' kernel: see its header.
    fn heads_shared(&self) -> usize {
        let HeadWeights { hidden, h1, h2, .. } = self.weights;
        (2 * self.embed() + self.cells() + hidden as usize + h1 as usize + h2 as usize + 32) * 4
    }
}

impl Cuda {
    pub(super) fn adapt(&mut self, class: &Buffer, rows: usize, heads: &Heads, out: &mut Buffer) -> Result<()> {
        let len = rows * heads.embed();
        self.shared.bind()?;
        let grid = Grid { blocks: [rows, 1, 1], threads: THREADS, shared: heads.adapter_shared() };
        launch!(
            self,
            self.shared.kernels.adapter,
            grid,
            class.pointer("adapter", "class", Storage::F32, len)?,
            heads.weights,
            out.pointer("adapter", "out", Storage::F32, len)?,
        )
    }

    pub(super) fn score(
        &mut self,
        class: &Buffer,
        map: &Buffer,
        images: usize,
        heads: &Heads,
        bank: &Bank,
        out: &mut Buffer,
    ) -> Result<()> {
        self.select(bank)?;
        let grid = Grid { blocks: [images, 1, 1], threads: THREADS, shared: heads.heads_shared() };
        launch!(
            self,
            self.shared.kernels.heads,
            grid,
            class.pointer("heads", "class", Storage::F32, images * heads.embed())?,
            map.pointer("heads", "map", Storage::F32, images * heads.cells())?,
            heads.weights,
            self.slot.pointer(),
            out.pointer("heads", "out", Storage::F32, images * HEAD_OUTPUTS)?,
            out.mirror(),
        )
    }
}
