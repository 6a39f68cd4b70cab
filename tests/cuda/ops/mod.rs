//! Every operation of the CUDA backend against the CPU's, at sizes with every kind of remainder.

use std::sync::Arc;

use inctrl::backend::cpu::Cpu;
use inctrl::backend::{
    AttentionShape, Backend, BankRole, BankTensor, Embedding, Gelu, ImageTokens, Largest, Norm, PoolToken, Role,
    Search, Sequences,
};
use inctrl::methods::inctrl::HeadOps;
use inctrl::tensor::{DType, TensorView};
use inctrl::view::{Filter, Plan, Preprocessing};
use inctrl::{Fit, Frame, PixelFormat};

use crate::common::numbers::Stored;
use crate::compare::close_to_max;
use crate::{Turn, filled, halves, read, tolerance, turn};

mod heads;

/// Runs `operation` on the CPU and on the GPU, in both precisions and every schedule, and compares what it returns.
fn compare<O>(roundings: f32, operation: O)
where
    O: Operation,
{
    let Some(turn) = turn() else { return };
    let expected = operation.run(&mut Cpu::new(2).unwrap());
    for half in [true, false] {
        turn.each_schedule(|schedule| {
            let found = operation.run(&mut turn.cuda(half));
            assert_eq!(found.len(), expected.len());
            for ((what, found), (_, expected)) in found.iter().zip(&expected) {
                let what = format!("{what}, {}, {schedule}", if half { "f16" } else { "f32" });
                close_to_max(&what, found, expected, tolerance(half, roundings));
            }
        });
    }
}

/// An operation at all its sizes, written once for every backend.
trait Operation {
    /// Named results.
    fn run<B: HeadOps>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)>;
}

fn ends(images: usize, tokens: usize) -> Vec<usize> {
    (1..=images).map(|image| image * tokens).collect()
}

fn constant<B: Backend>(backend: &mut B, values: &[f32]) -> B::Constant {
    backend.constant(&Stored::f32(&[values.len()], values).view()).unwrap()
}

fn norm<B: Backend>(backend: &mut B, seed: u64, width: usize) -> Norm<B> {
    let weight: Vec<f32> = halves(seed, width, 0.3).iter().map(|x| 1.0 + x).collect();
    Norm { weight: constant(backend, &weight), bias: constant(backend, &halves(seed + 1, width, 0.3)), epsilon: 1e-5 }
}

#[test]
fn cuda_linear() {
    struct Op;
    impl Operation for Op {
        fn run<B: HeadOps>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (rows, inputs, outputs, biased) in
                [(1, 64, 64, true), (5, 64, 192, true), (17, 128, 32, false), (10, 588, 64, true), (3, 256, 24, false)]
            {
                let (x, old) = (halves(1, rows * inputs, 1.0), halves(2, rows * outputs, 1.0));
                // Rows of a larger weight, as the joint projection of queries, keys and values is split.
                let weight = Stored::f32(&[outputs + 3, inputs], &halves(3, (outputs + 3) * inputs, 0.1));
                let bias = Stored::f32(&[outputs + 3], &halves(4, outputs + 3, 1.0));
                let bias = biased.then(|| bias.view());
                let layer = backend.linear_weights(&weight.view(), 2..2 + outputs, bias.as_ref()).unwrap();
                let x = filled(backend, Role::Operand, &x);
                let mut out = backend.buffer(Role::Operand, rows * outputs).unwrap();
                backend.linear(&x, rows, &layer, &mut out).unwrap();
                results.push((format!("linear {rows} x {inputs} x {outputs}"), read(backend, &out, rows * outputs)));
                let mut out = backend.buffer(Role::Stream, rows * outputs).unwrap();
                backend.linear(&x, rows, &layer, &mut out).unwrap();
                results.push((format!("to f32 {rows} x {inputs} x {outputs}"), read(backend, &out, rows * outputs)));
                let mut out = filled(backend, Role::Stream, &old);
                backend.linear_add(&x, rows, &layer, &mut out).unwrap();
                results.push((format!("added {rows} x {inputs} x {outputs}"), read(backend, &out, rows * outputs)));
                for kind in [Gelu::Exact, Gelu::Quick] {
                    let mut out = backend.buffer(Role::Operand, rows * outputs).unwrap();
                    backend.linear_gelu(&x, rows, &layer, outputs, kind, &mut out).unwrap();
                    results.push((format!("{kind:?} {rows} x {inputs}"), read(backend, &out, rows * outputs)));
                }
                let stored = Stored::f32(&[inputs, outputs], &halves(5, inputs * outputs, 0.1));
                let projection = backend.projection_weights(&stored.view()).unwrap();
                let mut out = backend.buffer(Role::Stream, rows * outputs).unwrap();
                backend.linear(&x, rows, &projection, &mut out).unwrap();
                results.push((format!("projection {rows} x {inputs}"), read(backend, &out, rows * outputs)));
            }
            results
        }
    }
    // The product, and the activation of the rounded product.
    compare(2.0, Op);
}

#[test]
fn cuda_gelu() {
    struct Op;
    impl Operation for Op {
        fn run<B: HeadOps>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (kind, len) in [(Gelu::Exact, 1), (Gelu::Exact, 2049), (Gelu::Quick, 4103), (Gelu::Exact, 4096)] {
                let host = halves(1, len, 3.0);
                let mut x = filled(backend, Role::Operand, &host);
                backend.gelu(kind, len, &mut x).unwrap();
                results.push((format!("gelu {kind:?} {len}"), read(backend, &x, len)));
            }
            results
        }
    }
    compare(1.0, Op);
}

#[test]
fn cuda_swiglu() {
    struct Op;
    impl Operation for Op {
        fn run<B: HeadOps>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            // Rows of whole vectors and of others, and blocks with a rest of either.
            for (rows, width) in [(1, 8), (1, 1), (3, 344), (2, 1024), (7, 37), (5, 416), (1, 2056)] {
                let x = filled(backend, Role::Operand, &halves(1, rows * 2 * width, 3.0));
                let mut out = backend.buffer(Role::Operand, rows * width).unwrap();
                backend.swiglu(&x, rows, width, &mut out).unwrap();
                results.push((format!("swiglu {rows} x {width}"), read(backend, &out, rows * width)));
            }
            results
        }
    }
    compare(1.0, Op);
}

#[test]
fn cuda_embed_and_norms() {
    struct Op;
    impl Operation for Op {
        fn run<B: HeadOps>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (images, prefix, patches, width, pre) in [
                (1, 1, 1, 64, true),
                (2, 1, 9, 128, true),
                (3, 1, 4, 896, true),
                (1, 1, 25, 192, false),
                (2, 5, 9, 128, false),
                (2, 0, 4, 64, true),
            ] {
                let tokens = ImageTokens { prefix, patches };
                let what = format!("{images} x ({prefix} + {patches}) x {width}");
                let embedding = Embedding {
                    prefix: Arc::new(constant(backend, &halves(1, prefix * width, 1.0))),
                    position: constant(backend, &halves(2, patches * width, 1.0)),
                    norm: pre.then(|| Arc::new(Norm { epsilon: 1e-6, ..norm(backend, 3, width) })),
                    tokens,
                };
                let next = norm(backend, 5, width);
                let rows = images * tokens.count() * width;
                let input = filled(backend, Role::Stream, &halves(7, images * patches * width, 1.0));
                let mut x = backend.buffer(Role::Stream, rows).unwrap();
                backend.embed(&input, images, &embedding, &mut x).unwrap();
                results.push((format!("embed {what}"), read(backend, &x, rows)));
                let mut again = backend.buffer(Role::Stream, rows).unwrap();
                let mut h = backend.buffer(Role::Operand, rows).unwrap();
                backend.embed_norm(&input, images, &embedding, &mut again, &next, &mut h).unwrap();
                assert_eq!(read(backend, &again, rows), read(backend, &x, rows), "fused is composed, {what}");
                results.push((format!("embed_norm {what}"), read(backend, &h, rows)));

                let stream = filled(backend, Role::Stream, &halves(8, rows, 2.0));
                backend.layer_norm(&stream, images * tokens.count(), &next, &mut h).unwrap();
                results.push((format!("layer_norm {what}"), read(backend, &h, rows)));
                let len = images * patches * width;
                let mut taps = backend.buffer(Role::UnitRows, 3 * len).unwrap();
                backend.unit_patches(&stream, images, tokens, width, None, 1, &mut taps).unwrap();
                results.push((format!("unit_patches {what}"), read(backend, &taps, 3 * len)));
                let mut normed = backend.buffer(Role::UnitRows, 3 * len).unwrap();
                backend.unit_patches(&stream, images, tokens, width, Some(&next), 2, &mut normed).unwrap();
                results.push((format!("unit_patches by a norm {what}"), read(backend, &normed, 3 * len)));
                let (mut fused_h, mut fused) =
                    (backend.buffer(Role::Operand, rows).unwrap(), backend.buffer(Role::UnitRows, 3 * len).unwrap());
                backend
                    .layer_norm_unit_patches(&stream, images, tokens, width, &next, &mut fused_h, 1, &mut fused)
                    .unwrap();
                assert_eq!(read(backend, &fused_h, rows), read(backend, &h, rows), "fused is composed, {what}");
                assert_eq!(read(backend, &fused, 3 * len), read(backend, &taps, 3 * len), "fused is composed, {what}");
            }
            results
        }
    }
    compare(1.0, Op);
}

#[test]
fn cuda_vectors_without_length_stay_zero() {
    let Some(turn) = turn() else { return };
    for half in [true, false] {
        let mut cuda = turn.cuda(half);
        let x = filled(&mut cuda, Role::Stream, &[[1.0; 64], [0.0; 64]].concat());
        let mut out = cuda.buffer(Role::Operand, 64).unwrap();
        cuda.unit_patches(&x, 1, ImageTokens { prefix: 1, patches: 1 }, 64, None, 0, &mut out).unwrap();
        assert!(read(&mut cuda, &out, 64).iter().all(|x| *x == 0.0));
    }
}

#[test]
fn cuda_attention() {
    struct Op;
    impl Operation for Op {
        fn run<B: HeadOps>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            // Each kernel at its last key and one before; the last two cases take the online one, also with whole
            // tiles.
            for (images, tokens, heads) in [
                (2, 1, 1),
                (2, 10, 2),
                (1, 63, 1),
                (1, 64, 1),
                (1, 65, 1),
                (1, 197, 1),
                (1, 226, 1),
                (1, 257, 1),
                (1, 290, 1),
                (1, 320, 1),
            ] {
                let shape = AttentionShape { heads, size: 64 };
                let (width, ends) = (shape.width(), ends(images, tokens));
                // Some large scores: a softmax that forgets its maximum overflows.
                let mut host = halves(tokens as u64, images * tokens * 3 * width, 1.0);
                host.iter_mut().step_by(97).for_each(|x| *x *= 8.0);
                let qkv = filled(backend, Role::Operand, &host);
                let mut out = backend.buffer(Role::Operand, images * tokens * width).unwrap();
                backend.attention(&qkv, Sequences { ends: &ends }, shape, false, &mut out).unwrap();
                results.push((format!("attention {images} x {tokens}"), read(backend, &out, images * tokens * width)));
                let (q, kv) = (halves(1, images * width, 1.0), halves(2, images * tokens * 2 * width, 1.0));
                let (q, kv) = (filled(backend, Role::Operand, &q), filled(backend, Role::Operand, &kv));
                let mut out = backend.buffer(Role::Operand, images * width).unwrap();
                backend.class_attention(&q, &kv, Sequences { ends: &ends }, shape, &mut out).unwrap();
                results.push((format!("class_attention {images} x {tokens}"), read(backend, &out, images * width)));
            }
            results
        }
    }
    // Weights of the softmax and the output.
    compare(3.0, Op);
}

#[test]
fn cuda_pool_rows() {
    struct Op;
    impl Operation for Op {
        fn run<B: HeadOps>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (role, pool) in [
                (Role::Stream, PoolToken::First),
                (Role::Operand, PoolToken::First),
                (Role::Stream, PoolToken::Last),
                (Role::Operand, PoolToken::Last),
            ] {
                let (count, tokens, width) = (3, 5, 192);
                let x = filled(backend, role, &halves(1, count * tokens * width, 1.0));
                let mut out = backend.buffer(role, count * width).unwrap();
                backend.pool_rows(&x, Sequences { ends: &ends(count, tokens) }, width, pool, &mut out).unwrap();
                results.push((format!("pool_rows {role:?} {pool:?}"), read(backend, &out, count * width)));
            }
            results
        }
    }
    compare(0.0, Op);
}

/// A bank of unit rows, layers x rows x width.
fn rows_bank<B: Backend>(backend: &mut B, rows: Vec<f32>, shape: [usize; 3]) -> B::Bank {
    backend.bank(&[BankTensor { values: &rows.into(), shape, role: BankRole::Rows }]).unwrap()
}

fn unit_rows(seed: u64, rows: usize, width: usize) -> Vec<f32> {
    let mut all = halves(seed, rows * width, 1.0);
    for row in all.chunks_mut(width) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x = half::f16::from_f32(*x / norm).to_f32());
    }
    all
}

#[test]
fn cuda_patch_nn_and_residual_mean() {
    struct Op;
    impl Operation for Op {
        fn run<B: HeadOps>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            // Less than a tile, a tile and one more of queries and of bank rows, many bank tiles.
            for (layers, images, prompts, patches, width) in [
                (1, 1, 1, 1, 64),
                (2, 1, 2, 9, 64),
                (3, 2, 1, 25, 192),
                (2, 3, 3, 43, 64),
                (1, 1, 5, 65, 128),
                (2, 1, 2, 64, 64),
            ] {
                let what = format!("{layers} taps, {images} images, {prompts} prompts, {patches} x {width}");
                let queries = images * patches;
                let bank = unit_rows(1, layers * prompts * patches, width);
                let mut taps = unit_rows(2, layers * queries, width);
                // A query that is a prompt's last patch.
                let last = (prompts * patches - 1) * width;
                taps[..width].copy_from_slice(&bank[last..last + width]);
                let bank = rows_bank(backend, bank, [layers, prompts * patches, width]);
                let taps = filled(backend, Role::UnitRows, &taps);
                let mut nearest = backend.buffer(Role::Nearest, layers * queries).unwrap();
                backend.patch_nn(&taps, &Search::all(queries, 0), &bank, &mut nearest).unwrap();
                results.push((format!("patch_nn {what}"), read(backend, &nearest, layers * queries)));
                let mut map = backend.buffer(Role::Result, queries).unwrap();
                let judged: Vec<f32> = (0..queries).map(|i| f32::from(i % 7 != 3)).collect();
                let judged = filled(backend, Role::Stream, &judged);
                backend.residual_mean(&nearest, layers, queries, 0.5, &judged, &mut map).unwrap();
                results.push((format!("residual_mean {what}"), read(backend, &map, queries)));
            }
            results
        }
    }
    // Operands are halves already; sums are f32.
    compare(0.0, Op);
}

#[test]
fn cuda_mean_of_largest() {
    struct Op;
    impl Operation for Op {
        fn run<B: HeadOps>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            // Fewer cells than threads and more, one of a hundred and the largest alone, ties, maps of which nothing
            // counts.
            for (maps, cells, one_in) in
                [(1, 1, 100), (3, 37, 100), (2, 300, 100), (1, 1024, 100), (2, 513, 7), (2, 90, 91)]
            {
                let map: Vec<f32> = halves(1, maps * cells, 0.3).iter().map(|x| (x * 50.0).round() / 64.0).collect();
                let judged: Vec<f32> = (0..maps * cells).map(|i| f32::from(i % 7 != 3 && i / cells != 2)).collect();
                let (map, judged) = (filled(backend, Role::Result, &map), filled(backend, Role::Stream, &judged));
                let mut out = filled(backend, Role::Result, &vec![7.0; maps * 3]);
                let at = Largest { maps, cells, one_in, out_pitch: 3, column: 1 };
                backend.mean_of_largest(&map, &judged, &at, &mut out).unwrap();
                let numbers = read(backend, &out, maps * 3).into_iter().skip(1).step_by(3).collect();
                results.push((format!("mean_of_largest {maps} x {cells}, one in {one_in}"), numbers));
            }
            results
        }
    }
    compare(0.0, Op);
}

#[test]
fn cuda_mean_of_largest_keeps_nan() {
    let Some(turn) = turn() else { return };
    turn.each_schedule(|schedule| {
        let mut cuda = turn.cuda(true);
        for (nan, judged) in [(f32::NAN, 1.0), (-f32::NAN, 0.0)] {
            let mut cells = vec![0.5; 300];
            cells[299] = nan;
            let mut counts = vec![1.0; 300];
            counts[299] = judged;
            let (map, counts) = (filled(&mut cuda, Role::Result, &cells), filled(&mut cuda, Role::Stream, &counts));
            let mut out = cuda.buffer(Role::Result, 1).unwrap();
            let at = Largest { maps: 1, cells: 300, one_in: 100, out_pitch: 1, column: 0 };
            cuda.mean_of_largest(&map, &counts, &at, &mut out).unwrap();
            assert!(read(&mut cuda, &out, 1)[0].is_nan(), "{schedule}");
        }
    });
}

#[test]
fn cuda_patch_nn_of_opposites_is_negative() {
    let Some(turn) = turn() else { return };
    let (patches, width) = (9, 64);
    for half in [true, false] {
        turn.each_schedule(|schedule| {
            let mut cuda = turn.cuda(half);
            // Row i is axis i, and the query minus one eighth of every axis: what fills a tile up must not win with 0.
            let bank: Vec<f32> = (0..patches * width).map(|i| f32::from(i % width == i / width)).collect();
            let bank = rows_bank(&mut cuda, bank, [1, patches, width]);
            let taps = filled(&mut cuda, Role::UnitRows, &vec![-0.125; patches * width]);
            let mut nearest = cuda.buffer(Role::Nearest, patches).unwrap();
            cuda.patch_nn(&taps, &Search::all(patches, 0), &bank, &mut nearest).unwrap();
            assert_eq!(read(&mut cuda, &nearest, patches), [-0.125; 9], "{schedule}");
        });
    }
}

#[test]
fn cuda_patch_nn_finds_the_first_of_equals_and_keeps_nan() {
    let Some(turn) = turn() else { return };
    let width = 64;
    for half in [true, false] {
        turn.each_schedule(|schedule| {
            let mut cuda = turn.cuda(half);
            // Several prompts with the same patches: the first one's index wins, whether copies meet in different
            // blocks, in one thread, or in neighbouring threads.
            for (patches, prompts) in [(70, 3), (16, 5), (10, 6)] {
                let rows = unit_rows(1, patches, width);
                let bank = rows_bank(&mut cuda, rows.repeat(prompts), [1, prompts * patches, width]);
                let mut taps = rows;
                taps[3 * width] = f32::NAN;
                let taps = filled(&mut cuda, Role::UnitRows, &taps);
                let mut nearest = cuda.buffer(Role::Nearest, patches).unwrap();
                cuda.patch_nn(&taps, &Search::all(patches, 0), &bank, &mut nearest).unwrap();
                read(&mut cuda, &nearest, 1);
                for (i, (cosine, index)) in nearest.nearest(patches).unwrap().into_iter().enumerate() {
                    let what = format!("{patches} patches, {schedule}");
                    if i == 3 {
                        assert!(cosine.is_nan(), "{what}: a NaN was lost: {cosine}");
                    } else {
                        assert_eq!(index as usize, i, "{what}: cosine {cosine}");
                        assert!((cosine - 1.0).abs() < 2e-3, "{what}: {cosine}");
                    }
                }
            }
        });
    }
}

/// Frames whose resizing shrinks, enlarges, copies, crops and pads.
fn preprocess_to_the_bit(turn: &Turn, half: bool, schedule: &str) {
    let mut cpu = Cpu::new(1).unwrap();
    let mut cuda = turn.cuda(half);
    for (width, height, size, patch) in
        [(61, 97, 48, 16), (40, 30, 32, 16), (32, 32, 32, 8), (7, 3, 32, 16), (200, 33, 50, 7), (3, 90, 28, 14)]
    {
        for (format, padding) in [(PixelFormat::Grey8, 0), (PixelFormat::Rgb8, 5)] {
            for fit in [Fit::Crop, Fit::Letterbox, Fit::Stretch, Fit::Trim] {
                let stride = width * format.channels() + padding;
                let bytes: Vec<u8> = (0..stride * height).map(|i| ((i * 37) ^ ((i >> 3) * 11)) as u8).collect();
                let frame = Frame::new(&bytes, width, height, stride, format).unwrap();
                let imagenet = Preprocessing {
                    mean: [0.485, 0.456, 0.406],
                    std: [0.229, 0.224, 0.225],
                    filter: Filter::Bilinear,
                    ..Preprocessing::CLIP
                };
                // One after the other in one size and fit: the tables of one must not serve the other.
                let plans = [imagenet, Preprocessing::CLIP].map(|p| Plan::with(width, height, size, fit, &p).unwrap());
                let len = plans[0].grid(patch).cells() * 3 * patch * patch;
                let mut expected = cpu.buffer(Role::Operand, 2 * len).unwrap();
                let mut found = cuda.buffer(Role::Operand, 2 * len).unwrap();
                for (image, plan) in plans.iter().enumerate().rev() {
                    cpu.preprocess(frame, plan, patch, image, &mut expected).unwrap();
                    cuda.preprocess(frame, plan, patch, image, &mut found).unwrap();
                }
                let round = |x: &f32| if half { half::f16::from_f32(*x).to_f32() } else { *x };
                let expected: Vec<f32> = read(&mut cpu, &expected, 2 * len).iter().map(round).collect();
                let found = read(&mut cuda, &found, 2 * len);
                assert!(expected == found, "{width} x {height} {format:?} {fit} to {size}, {schedule}");
            }
        }
    }
}

#[test]
fn cuda_preprocess_is_exact() {
    let Some(turn) = turn() else { return };
    for half in [true, false] {
        turn.each_schedule(|schedule| preprocess_to_the_bit(&turn, half, schedule));
    }
}

#[test]
fn cuda_patch_rows_are_those_of_the_frame_that_was_uploaded() {
    let Some(turn) = turn() else { return };
    let mut cuda = turn.cuda(true);
    let bytes = vec![9; 40 * 30];
    let frame = Frame::packed(&bytes, 40, 30, PixelFormat::Grey8).unwrap();
    let plan = |fit| Plan::new(40, 30, 32, fit).unwrap();
    let mut out = cuda.buffer(Role::Operand, 32 * 32 * 3).unwrap();
    cuda.patch_rows(frame.into(), &plan(Fit::Crop), 16, 0, &mut out).unwrap_err();
    assert!(cuda.upload_frame(frame.into(), &plan(Fit::Crop)).unwrap());
    cuda.patch_rows(frame.into(), &plan(Fit::Crop), 16, 0, &mut out).unwrap();
    cuda.patch_rows(frame.into(), &plan(Fit::Stretch), 16, 0, &mut out).unwrap_err();
    assert!(!Cpu::new(1).unwrap().upload_frame(frame.into(), &plan(Fit::Crop)).unwrap());
}

/// Work that is queued keeps the bank that it was queued with, although nobody waits before the next bank is chosen.
#[test]
fn cuda_queued_work_keeps_its_bank() {
    let Some(turn) = turn() else { return };
    turn.each_schedule(|schedule| {
        let mut cuda = turn.cuda(true);
        let (patches, width) = (36, 64);
        let rows = unit_rows(5, patches, width);
        let taps = filled(&mut cuda, Role::UnitRows, &rows);
        let banks = [1, 2, 3].map(|seed| rows_bank(&mut cuda, unit_rows(seed, patches, width), [1, patches, width]));
        let expected = banks.each_ref().map(|bank| {
            let mut nearest = cuda.buffer(Role::Nearest, patches).unwrap();
            cuda.patch_nn(&taps, &Search::all(patches, 0), bank, &mut nearest).unwrap();
            read(&mut cuda, &nearest, patches)
        });
        assert!(expected[0] != expected[1] && expected[1] != expected[2]);
        let mut queued = [0, 1, 2].map(|_| cuda.buffer(Role::Nearest, patches).unwrap());
        for (bank, nearest) in banks.iter().zip(&mut queued) {
            cuda.patch_nn(&taps, &Search::all(patches, 0), bank, nearest).unwrap();
        }
        for (i, (nearest, expected)) in queued.iter().zip(&expected).enumerate() {
            assert_eq!(&read(&mut cuda, nearest, patches), expected, "bank {i}, {schedule}");
        }
    });
}

/// A lane that chooses freely multiplies each number of rows as a device that was opened so, and leaves its device as
/// it was.
#[test]
fn cuda_a_free_lane_takes_the_library_s_choice() {
    let Some(turn) = turn() else { return };
    let (outputs, inputs) = (24, 200);
    let products = |cuda: &mut inctrl::backend::cuda::Cuda, rows: usize| {
        let weight: Vec<u8> = halves(1, outputs * inputs, 1.0).iter().flat_map(|x| x.to_le_bytes()).collect();
        let weight = TensorView { name: "w", shape: &[outputs, inputs], dtype: DType::F32, bytes: (&weight).into() };
        let layer = cuda.linear_weights(&weight, 0..outputs, None).unwrap();
        let x = filled(cuda, Role::Operand, &halves(2, rows * inputs, 1.0));
        let mut out = cuda.buffer(Role::Stream, rows * outputs).unwrap();
        cuda.linear(&x, rows, &layer, &mut out).unwrap();
        read(cuda, &out, rows * outputs)
    };
    let mut fixed = turn.cuda(true);
    let mut options = inctrl::backend::cuda::CudaOptions::default();
    options.fast = true;
    let mut fast = inctrl::backend::cuda::Cuda::new(0, options).unwrap();
    let mut free = fixed.fork_free().unwrap();
    let mut differ = false;
    for rows in [1, 3, 40, 300] {
        let (a, b, c) = (products(&mut fixed, rows), products(&mut fast, rows), products(&mut free, rows));
        assert!(b.iter().zip(&c).all(|(b, c)| b.to_bits() == c.to_bits()), "{rows} rows");
        differ |= a != c;
        assert_eq!(products(&mut fixed, rows), a, "{rows} rows, again");
    }
    assert!(differ || !turn.is_emulated(), "the emulator's choices differ in their last bits");
}
