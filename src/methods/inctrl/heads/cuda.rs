//! Launches `kernels/inctrl_heads.cu`: adapter, heads, text prior and final score, equations 3 to 7.

use super::{HeadInputs, HeadLayers, HeadOps, OUTPUTS};
use crate::backend::cuda::launch::{Argument, Grid, int, launch};
use crate::backend::cuda::{Bank, Buffer, Cuda, MethodKernel, Numbers, Storage};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Dense;

const THREADS: u32 = 256;

/// `HeadWeights` of `kernels/inctrl_heads.cu`, which its kernels take by value.
#[repr(C)]
#[derive(Clone, Copy)]
struct HeadWeights {
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

impl Argument for HeadWeights {}

/// The adapter and the heads on the device, f32.
pub struct Heads {
    weights: HeadWeights,
    _memory: Vec<Numbers>,
    adapter_kernel: MethodKernel,
    heads_kernel: MethodKernel,
}

impl Heads {
    fn new(cuda: &Cuda, layers: &HeadLayers) -> Result<Self> {
        let mut memory = Vec::new();
        let mut store = |values: &[f32]| -> Result<u64> {
            let stored = cuda.numbers("the heads", values)?;
            let pointer = stored.pointer();
            memory.push(stored);
            Ok(pointer)
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
            embed: int(layers.embedding())?,
            hidden: int(layers.adapter[0].rows)?,
            cells: int(layers.cells())?,
            h1: int(h1)?,
            h2: int(h2)?,
        };
        Ok(Heads {
            weights,
            _memory: memory,
            adapter_kernel: cuda.method_kernel("inctrl_adapter")?,
            heads_kernel: cuda.method_kernel("inctrl_heads")?,
        })
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

impl HeadOps for Cuda {
    type Heads = Heads;

    fn head_weights(&mut self, layers: &HeadLayers) -> Result<Heads> {
        Heads::new(self, layers)
    }

    fn adapter(&mut self, class: &Buffer, rows: usize, heads: &Heads, out: &mut Buffer) -> Result<()> {
        let len = rows * heads.embed();
        self.bind()?;
        let grid = Grid { blocks: [rows, 1, 1], threads: THREADS, shared: heads.adapter_shared() };
        launch!(
            self,
            heads.adapter_kernel.function(),
            grid,
            class.pointer("inctrl_adapter", "class", Storage::F32, len)?,
            heads.weights,
            out.pointer("inctrl_adapter", "out", Storage::F32, len)?,
        )
    }

    fn heads(
        &mut self,
        class: &Buffer,
        map: &Buffer,
        at: HeadInputs,
        heads: &Heads,
        bank: &Bank,
        out: &mut Buffer,
    ) -> Result<()> {
        const OP: &str = "inctrl_heads";
        let (views, slots) = (&at.views, at.slots());
        let cls_mean = self.bank_entry(bank, OP, at.cls_mean, [1, 1, heads.embed()])?;
        let text_prototypes = self.bank_entry(bank, OP, at.text_prototypes, [1, 2, heads.embed()])?;
        let grid = Grid { blocks: [views.len(), 1, 1], threads: THREADS, shared: heads.heads_shared() };
        let first = |row: usize, width: usize| (row * width * 4) as u64;
        let mirror = out.mirror();
        launch!(
            self,
            heads.heads_kernel.function(),
            grid,
            class.pointer(OP, "class", Storage::F32, views.end * heads.embed())? + first(views.start, heads.embed()),
            map.pointer(OP, "map", Storage::F32, slots.end * heads.cells())? + first(slots.start, heads.cells()),
            heads.weights,
            cls_mean,
            text_prototypes,
            out.pointer(OP, "out", Storage::F32, slots.end * OUTPUTS)? + first(slots.start, OUTPUTS),
            if mirror == 0 { 0 } else { mirror + first(slots.start, OUTPUTS) },
        )
    }
}
