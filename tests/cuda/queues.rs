//! What only a GPU has: queues, algorithms, keys of the nearest rows.

use std::sync::Arc;

use inctrl::backend::cuda::{Cuda, CudaOptions};
use inctrl::backend::{Backend, BankRole, BankTensor, Role, Search};
use inctrl::methods::inctrl::{HeadInputs, HeadLayers, HeadOps, OUTPUTS};
use inctrl::tensor::{DType, Dense, TensorView};

use crate::{filled, halves, read, turn};

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

/// A queue that chooses freely multiplies each number of rows as a device that was opened so, and leaves its device as
/// it was.
#[test]
fn cuda_a_free_queue_takes_the_library_s_choice() {
    let Some(turn) = turn() else { return };
    let (outputs, inputs) = (24, 200);
    let products = |cuda: &mut Cuda, rows: usize| {
        let weight: Vec<u8> = halves(1, outputs * inputs, 1.0).iter().flat_map(|x| x.to_le_bytes()).collect();
        let weight = TensorView { name: "w", shape: &[outputs, inputs], dtype: DType::F32, bytes: (&weight).into() };
        let layer = cuda.linear_weights(&weight, 0..outputs, None).unwrap();
        let x = filled(cuda, Role::Operand, &halves(2, rows * inputs, 1.0));
        let mut out = cuda.buffer(Role::Stream, rows * outputs).unwrap();
        cuda.linear(&x, rows, &layer, &mut out).unwrap();
        read(cuda, &out, rows * outputs)
    };
    let mut fixed = turn.cuda(true);
    let mut options = CudaOptions::default();
    options.fast = true;
    let mut fast = Cuda::new(0, options).unwrap();
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

fn dense(seed: u64, rows: usize, cols: usize, biased: bool) -> Dense {
    let scale = 1.0 / (cols as f32).sqrt();
    let bias = if biased { halves(seed + 1, rows, 0.1) } else { Vec::new() };
    Dense { rows, cols, weight: halves(seed, rows * cols, scale), bias }
}

#[test]
fn cuda_heads_keep_nan() {
    let Some(turn) = turn() else { return };
    let mut cuda = turn.cuda(true);
    let (embed, cells) = (24, 9);
    let layers = HeadLayers {
        adapter: [dense(1, embed / 4, embed, false), dense(2, embed, embed / 4, false)],
        image: [dense(3, 128, embed, true), dense(5, 64, 128, true), dense(7, 1, 64, true)],
        holistic: [dense(9, 128, cells, true), dense(11, 64, 128, true), dense(13, 1, 64, true)],
        alpha: 1.0,
    };
    let heads = cuda.head_weights(&layers).unwrap();
    let (mean, texts): (Arc<Vec<f32>>, Arc<Vec<f32>>) = (vec![0.1; embed].into(), vec![0.1; 2 * embed].into());
    let numbers = |values, rows| BankTensor { values, shape: [1, rows, embed], role: BankRole::Numbers };
    let bank = cuda.bank(&[numbers(&mean, 1), numbers(&texts, 2)]).unwrap();
    let at = HeadInputs { views: 0..1, first_slot: 0, cls_mean: 0, text_prototypes: 1 };
    for place in [0, 4, 8] {
        let mut map = vec![0.1; cells];
        map[place] = f32::NAN;
        let class = filled(&mut cuda, Role::Stream, &halves(17, embed, 0.5));
        let map = filled(&mut cuda, Role::Stream, &map);
        let mut parts = cuda.buffer(Role::Result, OUTPUTS).unwrap();
        cuda.heads(&class, &map, at.clone(), &heads, &bank, &mut parts).unwrap();
        let parts = read(&mut cuda, &parts, OUTPUTS);
        assert!(parts[0].is_nan() && parts[2].is_nan(), "a NaN at {place} of the map was lost: {parts:?}");
    }
}
