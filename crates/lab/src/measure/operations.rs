//! Every single operation of a model, at the sizes of a batch, compared with the machine's own peaks.

use inctrl::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use inctrl::backend::cuda::Cuda;
use inctrl::backend::{Backend, PoolToken, Role, Sequences};
use inctrl::methods::inctrl::HeadOps;
use inctrl::weights::{Arch, Mlp};
use inctrl::{Engine, EngineOptions, Error, ErrorKind, Result};

use super::contest::{OpReport, Turns, contest, median};
use super::op::inputs::{Input, LayerInput};
use super::op::{self, Sizes, Work};
use super::rival::{Rival, own_turn};

/// The minimum time for the repetitions of one operation, and how often it is measured.
const SECONDS: f64 = 0.02;
const REPEATS: usize = 5;

/// One operation's time.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OperationTime {
    /// The operation and its use.
    pub operation: String,
    /// Its sizes.
    pub shape: String,
    /// Median seconds of one call, queued back to back.
    pub seconds: f64,
    /// Multiplications and additions of the formula.
    pub flop: f64,
    /// Bytes that must be read and written at least once.
    pub bytes: f64,
}

/// The machine's best rates.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Peak {
    /// Bytes read and written a second by a plain copy of a buffer larger than any cache.
    pub bytes_per_second: f64,
    /// Multiplications and additions a second in a large square product.
    pub flop_per_second: f64,
}

/// Times every operation of the engine's model on its device, for batches of `images` and banks of these numbers of
/// prompts, and returns the device's peaks; `each` receives the operations one by one.
///
/// # Errors
/// [`inctrl::ErrorKind::Device`] if the device fails or has too little memory.
pub fn operation_times(
    engine: &Engine,
    images: usize,
    prompts: &[usize],
    each: impl FnMut(OperationTime),
) -> Result<Peak> {
    match engine.device_used() {
        #[cfg(feature = "cuda")]
        inctrl::Device::Cuda(ordinal) => {
            let mut cuda = Cuda::new(ordinal, engine.options().cuda())?;
            let peak = cuda_peak(&mut cuda)?;
            operations(&mut cuda, engine.arch(), images, prompts, each)?;
            Ok(peak)
        }
        _ => {
            let mut cpu: Cpu = engine.options().cpu()?;
            let peak = cpu_peak(&mut cpu)?;
            operations(&mut cpu, engine.arch(), images, prompts, each)?;
            Ok(peak)
        }
    }
}

/// Checks one operation on the device in the options and times it with its rivals; see [`contest`].
///
/// # Errors
/// Those of [`contest`]; [`ErrorKind::Device`] if the device is missing; [`ErrorKind::Argument`] for
/// [`inctrl::Device::Auto`], because a time without its device has no meaning.
pub fn op_report(options: &EngineOptions, sizes: &Sizes, rivals: &[Rival], turns: Turns) -> Result<OpReport> {
    match options.device {
        inctrl::Device::Cpu => {
            let mut cpu = options.cpu()?;
            let peak = cpu_peak(&mut cpu)?;
            contest(&mut cpu, peak, sizes, rivals, turns)
        }
        #[cfg(feature = "cuda")]
        inctrl::Device::Cuda(ordinal) => {
            let mut cuda = Cuda::new(ordinal, options.cuda())?;
            let peak = cuda_peak(&mut cuda)?;
            contest(&mut cuda, peak, sizes, rivals, turns)
        }
        device => {
            let message = format!("one operation cannot be timed on {device}: name a device, cpu or cuda:N");
            Err(Error::new(ErrorKind::Argument, message))
        }
    }
}

/// Buffers larger than any cache, and a product large enough for the CPU's peak.
fn cpu_peak(cpu: &mut Cpu) -> Result<Peak> {
    peak(cpu, 32 << 20, 1024)
}

/// The same of a GPU, by the algorithm for this product and not by one that suits batches of all sizes.
#[cfg(feature = "cuda")]
fn cuda_peak(cuda: &mut Cuda) -> Result<Peak> {
    peak(&mut cuda.fork_free()?, 128 << 20, 8192)
}

/// The median seconds of `call`, over turns of repetitions that are queued together and waited for once.
fn time<B: Backend>(backend: &mut B, mut call: impl FnMut(&mut B) -> Result<()>) -> Result<f64> {
    let mut calls = 1;
    own_turn(backend, SECONDS, &mut calls, &mut call)?;
    let turns = (0..REPEATS).map(|_| own_turn(backend, SECONDS, &mut calls, &mut call));
    Ok(median(turns.collect::<Result<_>>()?))
}

/// The peaks of this machine, from a copy of `copy` elements and a product of `side` cubed.
///
/// # Errors
/// [`inctrl::ErrorKind::Device`] if the device fails or has too little memory.
pub fn peak<B: Backend>(backend: &mut B, copy: usize, side: usize) -> Result<Peak> {
    let row = 1024;
    let rows = (copy / row).max(1);
    let ends: Vec<usize> = (1..=rows).collect();
    let from = Input::numbers(backend, Role::Stream, 1, rows * row)?;
    let mut to = backend.buffer(Role::Stream, rows * row)?;
    let seconds =
        time(backend, |b| b.pool_rows(&from.buffer, Sequences { ends: &ends }, row, PoolToken::First, &mut to))?;
    let bytes_per_second = (2 * rows * row * 4) as f64 / seconds;
    drop((from, to));
    let (x, w) = (Input::numbers(backend, Role::Operand, 1, side * side)?, LayerInput::new(backend, 2, side, side)?);
    let mut y = backend.buffer(Role::Operand, side * side)?;
    let seconds = time(backend, |b| b.linear(&x.buffer, side, &w.layer, &mut y))?;
    Ok(Peak { bytes_per_second, flop_per_second: 2.0 * (side as f64).powi(3) / seconds })
}

/// Times every operation of `arch` on batches of `images`, with banks of each of these numbers of prompts, each
/// compared with its formula before it is timed. Calls `each` for each operation. Those of a ResNet are not timed one
/// by one.
///
/// # Errors
/// [`inctrl::ErrorKind::Device`] where the device fails or has too little memory, [`inctrl::ErrorKind::Internal`] where
/// an operation is wrong.
pub fn operations<B: HeadOps>(
    backend: &mut B,
    arch: &Arch,
    images: usize,
    prompts: &[usize],
    mut each: impl FnMut(OperationTime),
) -> Result<()> {
    let vision = &arch.vision;
    if vision.resnet.is_some() {
        return Ok(());
    }
    let quick = usize::from(arch.quick_gelu);
    let (width, patches, tokens, prefix) = (vision.width, vision.patches(), vision.tokens(), vision.prefix());
    let (rows, taps, embed, hidden) = (images * tokens, arch.taps.len(), arch.embed_dim, vision.mlp_width);
    let (heads, head_width) = (vision.heads, width / vision.heads);
    let columns = 3 * vision.patch_size * vision.patch_size;
    let mut tell = |name: &'static str, use_of_it: &str, sizes: &[(&str, usize)]| -> Result<()> {
        let given: Vec<(String, usize)> = sizes.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        let mut case = op::prepare(backend, &Sizes::new(op::named(name)?, &given)?)?.case;
        let seconds = time(backend, |backend| case.run(backend))?;
        let Work { flop, bytes } = case.work();
        let operation = if use_of_it.is_empty() { name.to_owned() } else { format!("{name}: {use_of_it}") };
        each(OperationTime { operation, shape: case.shape(), seconds, flop: flop as f64, bytes: bytes as f64 });
        Ok(())
    };
    let product =
        |rows: usize, inputs: usize, outputs: usize| [("rows", rows), ("inputs", inputs), ("outputs", outputs)];

    let side = 2 * vision.image_size;
    tell("preprocess", "", &[("side", side), ("size", vision.image_size), ("patch", vision.patch_size)])?;
    tell("linear", "patches", &product(images * patches, columns, width))?;
    tell("linear", "queries, keys, values", &product(rows, width, 3 * width))?;
    tell("linear_add", "attention", &product(rows, width, width))?;
    match vision.mlp {
        Mlp::Gelu => {
            tell("linear_gelu", "MLP", &[&product(rows, width, hidden)[..], &[("quick", quick)]].concat())?;
            tell("gelu", "", &[("rows", rows), ("width", hidden), ("quick", quick)])?;
        }
        Mlp::SwiGlu => {
            tell("linear", "gates", &product(rows, width, 2 * hidden))?;
            tell("swiglu", "", &[("rows", rows), ("width", hidden)])?;
        }
    }
    tell("linear_add", "MLP", &product(rows, hidden, width))?;
    tell("layer_norm", "", &[("rows", rows), ("width", width)])?;
    let of_images = [("images", images), ("prefix", prefix), ("patches", patches), ("width", width)];
    tell("layer_norm_unit_patches", "", &of_images)?;
    tell("embed_norm", "", &of_images)?;
    let attention = [("images", images), ("tokens", tokens), ("heads", heads), ("head-width", head_width)];
    tell("attention", "", &attention)?;
    tell("class_attention", "", &attention)?;
    for &prompts in prompts {
        let search = [("taps", taps), ("q", images * patches), ("rows", prompts * patches), ("width", width)];
        tell("patch_nn", &format!("{prompts} prompts"), &search)?;
    }
    tell("residual_mean", "", &[("taps", taps), ("cells", images * patches)])?;
    tell("mean_of_largest", "", &[("maps", images), ("cells", patches)])?;
    if arch.text.is_some() {
        tell("inctrl_heads", "", &[("images", images), ("embed", embed), ("cells", patches)])?;
    }
    Ok(())
}
