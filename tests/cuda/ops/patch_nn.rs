//! The search for the nearest rows, and what is made of its cosines.

use super::*;

/// A bank of unit rows, layers x rows x width.
fn rows_bank<B: Backend>(backend: &mut B, rows: Vec<f32>, shape: [usize; 3]) -> B::Bank {
    backend.bank(&[BankTensor { values: &rows.into(), shape, role: BankRole::Rows }]).unwrap()
}

pub(super) fn unit_rows(seed: u64, rows: usize, width: usize) -> Vec<f32> {
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
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
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
                let valid: Vec<f32> = (0..queries).map(|i| f32::from(i % 7 != 3)).collect();
                let valid = filled(backend, Role::Stream, &valid);
                backend.residual_mean(&nearest, layers, queries, 0.5, &valid, &mut map).unwrap();
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
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            // Fewer cells than threads and more, one of a hundred and the largest alone, ties, maps of which nothing
            // counts.
            for (maps, cells, one_in) in
                [(1, 1, 100), (3, 37, 100), (2, 300, 100), (1, 1024, 100), (2, 513, 7), (2, 90, 91)]
            {
                let map: Vec<f32> = halves(1, maps * cells, 0.3).iter().map(|x| (x * 50.0).round() / 64.0).collect();
                let valid: Vec<f32> = (0..maps * cells).map(|i| f32::from(i % 7 != 3 && i / cells != 2)).collect();
                let (map, valid) = (filled(backend, Role::Result, &map), filled(backend, Role::Stream, &valid));
                let mut out = filled(backend, Role::Result, &vec![7.0; maps * 3]);
                let at = Largest { maps, cells, one_in, out_pitch: 3, column: 1 };
                backend.mean_of_largest(&map, &valid, &at, &mut out).unwrap();
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
        for (nan, valid) in [(f32::NAN, 1.0), (-f32::NAN, 0.0)] {
            let mut cells = vec![0.5; 300];
            cells[299] = nan;
            let mut counts = vec![1.0; 300];
            counts[299] = valid;
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
