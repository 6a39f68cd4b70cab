//! Every single operation of a model, at the sizes of a batch, compared with the machine's own peaks.

use std::sync::Arc;
use std::time::Instant;

use inctrl::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use inctrl::backend::cuda::Cuda;
use inctrl::backend::{
    AttentionShape, Backend, BankRole, BankTensor, Embedding, Gelu, ImageTokens, Largest, Norm, PoolToken, Role,
    Search, Sequences,
};
use inctrl::internals::check_memory;
use inctrl::methods::inctrl::{HeadLayers, HeadOps, OUTPUTS, Scored};
use inctrl::tensor::{DType, Dense, TensorView};
use inctrl::view::Fit;
use inctrl::weights::{Arch, Mlp};
use inctrl::{Engine, Error, Frame, Result};

/// The minimum time for the repetitions of one operation, and how often it is measured.
const SECONDS: f64 = 0.02;
const REPEATS: usize = 5;

/// One operation's time.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OperationTime {
    /// The operation, and which use of it.
    pub operation: String,
    /// Its sizes.
    pub shape: String,
    /// Median seconds of one call, queued back to back.
    pub seconds: f64,
    /// Multiplications and additions in the formula.
    pub flop: f64,
    /// Bytes that must be read and written at least once.
    pub bytes: f64,
}

/// What happens to a product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Store,
    Add,
    Gelu,
}

/// The machine's best rates.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Peak {
    /// Bytes read and written per second by a plain copy of a buffer larger than any cache.
    pub bytes_per_second: f64,
    /// Multiplications and additions per second in a large square product.
    pub flop_per_second: f64,
}

/// Times every operation of the engine's model on its device, for batches of `images` and banks of these numbers of
/// prompts, and returns the device's best rates. Calls `each` for each operation.
///
/// # Errors
/// [`inctrl::ErrorKind::Device`] where the device fails or has too little memory.
pub fn operation_times(
    engine: &Engine,
    images: usize,
    prompts: &[usize],
    each: impl FnMut(OperationTime),
) -> Result<Peak> {
    // A copy larger than any cache, and a product large enough to reach the device's peak.
    match engine.device_used() {
        #[cfg(feature = "cuda")]
        inctrl::Device::Cuda(ordinal) => {
            let mut cuda = Cuda::new(ordinal, engine.options().cuda())?;
            // With the best algorithm for this product, rather than one for batches of all sizes.
            let peak = peak(&mut cuda.fork_free()?, 128 << 20, 8192)?;
            operations(&mut cuda, engine.arch(), images, prompts, each)?;
            Ok(peak)
        }
        _ => {
            let mut cpu: Cpu = engine.options().cpu()?;
            let peak = peak(&mut cpu, 32 << 20, 1024)?;
            operations(&mut cpu, engine.arch(), images, prompts, each)?;
            Ok(peak)
        }
    }
}

/// The median time of `call` in seconds, over repetitions that are queued together and waited for once.
fn time<B: Backend>(backend: &mut B, mut call: impl FnMut(&mut B) -> Result<()>) -> Result<f64> {
    let mut run = |backend: &mut B, calls: usize| -> Result<f64> {
        let start = Instant::now();
        for _ in 0..calls {
            call(backend)?;
        }
        backend.wait()?;
        Ok(start.elapsed().as_secs_f64() / calls as f64)
    };
    run(backend, 1)?;
    let once = run(backend, 1)?;
    let calls = ((SECONDS / once.max(1e-7)) as usize).clamp(1, 1000);
    let mut times = (0..REPEATS).map(|_| run(backend, calls)).collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[REPEATS / 2])
}

/// Numbers without a pattern, between -1 and 1.
fn numbers(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Unit rows, as the nearest-neighbour search expects them.
fn unit_rows(rows: usize, width: usize) -> Vec<f32> {
    let mut values = numbers(rows * width);
    for row in values.chunks_exact_mut(width) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= length);
    }
    values
}

fn uploaded<B: Backend>(backend: &mut B, role: Role, values: &[f32]) -> Result<B::Buffer> {
    let mut buffer = backend.buffer(role, values.len())?;
    backend.upload(values, &mut buffer)?;
    Ok(buffer)
}

fn filled<B: Backend>(backend: &mut B, role: Role, len: usize) -> Result<B::Buffer> {
    check_memory("the operands of an operation", len.saturating_mul(8), "use smaller --batches")?;
    uploaded(backend, role, &numbers(len))
}

fn stored(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn constant<B: Backend>(backend: &mut B, len: usize) -> Result<B::Constant> {
    let bytes = stored(&numbers(len));
    backend.constant(&TensorView { name: "constant", shape: &[len], dtype: DType::F32, bytes: (&bytes).into() })
}

fn norm<B: Backend>(backend: &mut B, width: usize) -> Result<Norm<B>> {
    Ok(Norm { weight: constant(backend, width)?, bias: constant(backend, width)?, epsilon: 1e-5 })
}

fn layer<B: Backend>(backend: &mut B, outputs: usize, inputs: usize) -> Result<B::Linear> {
    let scale = 1.0 / (inputs as f32).sqrt();
    let weight: Vec<f32> = numbers(outputs * inputs).iter().map(|x| x * scale).collect();
    let (weight, bias) = (stored(&weight), stored(&numbers(outputs)));
    let weight = TensorView { name: "weight", shape: &[outputs, inputs], dtype: DType::F32, bytes: (&weight).into() };
    let bias = TensorView { name: "bias", shape: &[outputs], dtype: DType::F32, bytes: (&bias).into() };
    backend.linear_weights(&weight, 0..outputs, Some(&bias))
}

/// Measures this machine's best rates, with a copy of `copy` elements and a product of `side` cubed.
///
/// # Errors
/// [`inctrl::ErrorKind::Device`] where the device fails or has too little memory.
pub fn peak<B: Backend>(backend: &mut B, copy: usize, side: usize) -> Result<Peak> {
    let row = 1024;
    let rows = (copy / row).max(1);
    let ends: Vec<usize> = (1..=rows).collect();
    let (from, mut to) = (filled(backend, Role::Stream, rows * row)?, backend.buffer(Role::Stream, rows * row)?);
    let seconds = time(backend, |b| b.pool_rows(&from, Sequences { ends: &ends }, row, PoolToken::First, &mut to))?;
    let bytes_per_second = (2 * rows * row * 4) as f64 / seconds;
    drop((from, to));
    let (x, w) = (filled(backend, Role::Operand, side * side)?, layer(backend, side, side)?);
    let mut y = backend.buffer(Role::Operand, side * side)?;
    let seconds = time(backend, |b| b.linear(&x, side, &w, &mut y))?;
    Ok(Peak { bytes_per_second, flop_per_second: 2.0 * (side as f64).powi(3) / seconds })
}

/// Times every operation of `arch` on batches of `images`, with banks of each of these numbers of prompts. Calls `each`
/// for each operation.
///
/// # Errors
/// [`inctrl::ErrorKind::Device`] where the device fails or has too little memory.
pub fn operations<B: HeadOps>(
    backend: &mut B,
    arch: &Arch,
    images: usize,
    prompts: &[usize],
    mut each: impl FnMut(OperationTime),
) -> Result<()> {
    let vision = &arch.vision;
    let gelu = if arch.quick_gelu { Gelu::Quick } else { Gelu::Exact };
    let (width, patches, tokens) = (vision.width, vision.patches(), vision.tokens());
    let (rows, taps, embed) = (images * tokens, arch.taps.len(), arch.embed_dim);
    let shape = AttentionShape { heads: vision.heads, size: width / vision.heads };
    let ends: Vec<usize> = (1..=images).map(|image| image * tokens).collect();
    let sequences = Sequences { ends: &ends };
    let operand = backend.precision().stores(Role::Operand).size();
    let mut tell = |operation: &str, shape: String, seconds: f64, flop: usize, bytes: usize| {
        each(OperationTime { operation: operation.to_owned(), shape, seconds, flop: flop as f64, bytes: bytes as f64 });
    };

    let side = 2 * vision.image_size;
    let pixels: Vec<u8> = (0..side * side).map(|i| (i * 31 % 251) as u8).collect();
    let frame = Frame::packed(&pixels, side, side, inctrl::PixelFormat::Grey8)?;
    let plan = vision.plan(side, side, Fit::Crop)?;
    let columns = 3 * vision.patch_size * vision.patch_size;
    let mut patch_rows = backend.buffer(Role::Operand, images * patches * columns)?;
    let seconds = time(backend, |b| b.preprocess(frame, &plan, vision.patch_size, 0, &mut patch_rows))?;
    let bytes = side * side + patches * columns * operand;
    tell("preprocess", format!("1 x {side} x {side} grey"), seconds, 0, bytes);

    let mut product = |backend: &mut B, (name, then): (&str, Then), rows: usize, inputs: usize, outputs: usize| {
        let (x, w) = (filled(backend, Role::Operand, rows * inputs)?, layer(backend, outputs, inputs)?);
        let role = if then == Then::Add { Role::Stream } else { Role::Operand };
        let mut y = backend.buffer(role, rows * outputs)?;
        let seconds = time(backend, |b| match then {
            Then::Store => b.linear(&x, rows, &w, &mut y),
            Then::Add => b.linear_add(&x, rows, &w, &mut y),
            Then::Gelu => b.linear_gelu(&x, rows, &w, outputs, gelu, &mut y),
        })?;
        let out = if then == Then::Add { 2 * 4 } else { operand };
        let bytes = (rows * inputs + inputs * outputs) * operand + rows * outputs * out;
        tell(name, format!("{rows} x {inputs} x {outputs}"), seconds, 2 * rows * inputs * outputs, bytes);
        Ok::<_, Error>(())
    };
    product(backend, ("linear: patches", Then::Store), images * patches, columns, width)?;
    product(backend, ("linear: queries, keys, values", Then::Store), rows, width, 3 * width)?;
    product(backend, ("linear_add: attention", Then::Add), rows, width, width)?;
    match vision.mlp {
        Mlp::Gelu => product(backend, ("linear_gelu: MLP", Then::Gelu), rows, width, vision.mlp_width)?,
        Mlp::SwiGlu => product(backend, ("linear: gates", Then::Store), rows, width, 2 * vision.mlp_width)?,
    }
    product(backend, ("linear_add: MLP", Then::Add), rows, vision.mlp_width, width)?;

    let len = rows * vision.mlp_width;
    let sizes = format!("{rows} x {}", vision.mlp_width);
    match vision.mlp {
        Mlp::Gelu => {
            // Numbers where GELU is the identity, so that repeating it in place changes nothing.
            let large: Vec<f32> = numbers(len).iter().map(|x| x + 8.0).collect();
            let mut hidden = uploaded(backend, Role::Operand, &large)?;
            let seconds = time(backend, |b| b.gelu(gelu, len, &mut hidden))?;
            tell("gelu", sizes, seconds, 0, 2 * len * operand);
        }
        Mlp::SwiGlu => {
            let (gates, mut hidden) = (filled(backend, Role::Operand, 2 * len)?, backend.buffer(Role::Operand, len)?);
            let seconds = time(backend, |b| b.swiglu(&gates, rows, vision.mlp_width, &mut hidden))?;
            tell("swiglu", sizes, seconds, 0, 3 * len * operand);
        }
    }

    let mut x = filled(backend, Role::Stream, rows * width)?;
    let mut h = backend.buffer(Role::Operand, rows * width)?;
    let next = norm(backend, width)?;
    let image_tokens = ImageTokens { prefix: vision.prefix(), patches };
    let sizes = format!("{rows} x {width}");
    let seconds = time(backend, |b| b.layer_norm(&x, rows, &next, &mut h))?;
    tell("layer_norm", sizes.clone(), seconds, 0, rows * width * (4 + operand));
    let mut unit = uploaded(backend, Role::UnitRows, &unit_rows(taps * images * patches, width))?;
    let seconds =
        time(backend, |b| b.layer_norm_unit_patches(&x, images, image_tokens, width, &next, &mut h, 0, &mut unit))?;
    tell("layer_norm_unit_patches", sizes.clone(), seconds, 0, rows * width * (4 + 2 * operand));
    let embedding = Embedding {
        prefix: Arc::new(constant(backend, vision.prefix() * width)?),
        position: constant(backend, patches * width)?,
        norm: Some(Arc::new(norm(backend, width)?)),
        tokens: image_tokens,
    };
    let embedded = filled(backend, Role::Stream, images * patches * width)?;
    let seconds = time(backend, |b| b.embed_norm(&embedded, images, &embedding, &mut x, &next, &mut h))?;
    tell("embed_norm", sizes, seconds, 0, rows * width * (8 + operand));

    let qkv = filled(backend, Role::Operand, rows * 3 * width)?;
    let seconds = time(backend, |b| b.attention(&qkv, sequences, shape, false, &mut h))?;
    let sizes = format!("{images} x {tokens}, {} heads of {}", shape.heads, shape.size);
    tell("attention", sizes.clone(), seconds, 4 * rows * tokens * width, 4 * rows * width * operand);
    let q = filled(backend, Role::Operand, images * width)?;
    let seconds = time(backend, |b| b.class_attention(&q, &qkv, sequences, shape, &mut h))?;
    tell("class_attention", sizes, seconds, 4 * rows * width, 2 * rows * width * operand);

    let head = |cols: usize| {
        let dense = |rows: usize, cols: usize| Dense { rows, cols, weight: numbers(rows * cols), bias: numbers(rows) };
        [dense(128, cols), dense(64, 128), dense(1, 64)]
    };
    let adapter = |rows: usize, cols: usize| Dense { rows, cols, weight: numbers(rows * cols), bias: Vec::new() };
    let layers = HeadLayers {
        adapter: [adapter(embed / 4, embed), adapter(embed, embed / 4)],
        image: head(embed),
        holistic: head(patches),
        alpha: 1.0,
    };
    let heads = arch.text.as_ref().map(|_| backend.head_weights(&layers)).transpose()?;
    let class = filled(backend, Role::Stream, images * embed)?;
    let mut parts = backend.buffer(Role::Result, images * OUTPUTS)?;
    let mut map = backend.buffer(Role::Result, images * patches)?;
    let mut nearest = backend.buffer(Role::Nearest, taps * images * patches)?;
    for (i, &prompts) in prompts.iter().enumerate() {
        // The rows, and their integers.
        let bytes = [taps, prompts, patches, width, 6].into_iter().fold(1, usize::saturating_mul);
        check_memory(&format!("a bank of {prompts} prompts"), bytes, "use fewer --prompts")?;
        let bank: Arc<Vec<f32>> = unit_rows(taps * prompts * patches, width).into();
        let (mean, text): (Arc<Vec<f32>>, Arc<Vec<f32>>) = (numbers(embed).into(), numbers(2 * embed).into());
        let (queries, candidates) = (images * patches, prompts * patches);
        let bank = backend.bank(&[
            BankTensor { values: &bank, shape: [taps, candidates, width], role: BankRole::Rows },
            BankTensor { values: &mean, shape: [1, 1, embed], role: BankRole::Numbers },
            BankTensor { values: &text, shape: [1, 2, embed], role: BankRole::Numbers },
        ])?;
        let search = Search::all(queries, 0);
        let seconds = time(backend, |b| b.patch_nn(&unit, &search, &bank, &mut nearest))?;
        let sizes = format!("{taps} taps, {queries} x {candidates} x {width}");
        let bytes = taps * (queries + candidates) * width * operand + taps * queries * 8;
        tell(&format!("patch_nn: {prompts} prompts"), sizes, seconds, 2 * taps * queries * candidates * width, bytes);
        if i > 0 {
            continue;
        }
        let judged = filled(backend, Role::Stream, queries)?;
        let seconds = time(backend, |b| b.residual_mean(&nearest, taps, queries, 0.5, &judged, &mut map))?;
        tell("residual_mean", format!("{taps} x {queries}"), seconds, 0, queries * (taps * 8 + 8));
        let at = Largest { maps: images, cells: patches, one_in: 100, out_pitch: OUTPUTS, column: 0 };
        let seconds = time(backend, |b| b.mean_of_largest(&map, &judged, &at, &mut parts))?;
        tell("mean_of_largest", format!("{images} x {patches}"), seconds, 0, queries * 8);
        let Some(heads) = &heads else { continue };
        let scored = Scored { views: 0..images, first_slot: 0, cls_mean: 1, text_prototypes: 2 };
        let seconds = time(backend, |b| b.heads(&class, &map, scored.clone(), heads, &bank, &mut parts))?;
        let weights = embed * embed / 2 + 128 * (embed + patches) + 2 * 64 * 129;
        tell("inctrl_heads", format!("{images} images"), seconds, 2 * images * weights, 4 * weights);
    }
    Ok(())
}
