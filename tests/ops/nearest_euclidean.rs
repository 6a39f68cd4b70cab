//! The nearest row by differences, and how far it is.

use std::sync::Arc;

use inctrl::backend::{Backend, BankRole, BankTensor, Role, Search};

use super::{Real, ULP, finish, input, is_marked, output, random, within};

on_every_device! {
    nearest_euclidean,
}

fn nearest_euclidean<B: Backend>(backends: &mut [B]) {
    for (count, rows, width) in [(1, 1, 1), (70, 5, 3), (3, 200, 64), (130, 33, 77), (64, 64, 16), (5, 7, 130)] {
        let (pitch, first) = (count + 9, 4);
        let mut queries = random(1, (count + 2) * width, 40.0);
        let bank = random(2, rows * width, 40.0);
        // A row itself, of which there may be two.
        queries[2 * width..3 * width].copy_from_slice(&bank[(rows / 2) * width..][..width]);
        let twice = rows > 3;
        let mut bank = bank;
        if twice {
            bank.copy_within((rows / 2) * width..(rows / 2 + 1) * width, (rows - 1) * width);
        }
        let values: Arc<Vec<f32>> = bank.iter().copied().chain([f32::NAN; 9]).collect::<Vec<f32>>().into();
        let valid: Vec<f32> = (0..pitch).map(|i| if i % 4 == 3 { 0.0 } else { 1.0 }).collect();
        fn distances<T: Real>(query: &[f32], bank: &[f32], width: usize) -> Vec<T> {
            let pair = |row: &[f32]| {
                let of = |x: f32| T::of(x.into());
                query.iter().zip(row).map(|(&a, &b)| (of(a) - of(b)) * (of(a) - of(b))).sum::<T>().sqrt()
            };
            bank.chunks(width).map(pair).collect()
        }
        let least = |all: Vec<f64>| all.into_iter().fold(f64::INFINITY, f64::min);
        let query = |i: usize| &queries[(2 + i) * width..][..width];
        let exact: Vec<f64> =
            (0..count).map(|i| f64::from(valid[first + i]) * least(distances(query(i), &bank, width))).collect();
        for backend in &mut *backends {
            let tensor = BankTensor { values: &values, shape: [1, rows, width], role: BankRole::Numbers };
            let held = backend.bank(&[tensor]).unwrap();
            let at =
                Search { query_pitch: count + 2, queries: 2..count + 2, tensor: 0, out_pitch: pitch, first_out: first };
            let (source, counts) = (input(backend, Role::Stream, &queries), input(backend, Role::Stream, &valid));
            let (mut found, mut map) = (output(backend, Role::Nearest, pitch), output(backend, Role::Stream, pitch));
            backend.levels().nearest_euclidean(&source, &at, &held, &mut found, Some(&counts), &mut map).unwrap();
            let all = finish(backend, &map, pitch);
            assert!(all[..first].iter().chain(&all[first + count..]).all(|x| is_marked(*x)));
            let what = format!("nearest_euclidean, {}, {count} x {rows} x {width}", backend.describe());
            // A square of a difference errs by three roundings, and a sum by one an element.
            let budget = (width as f64 + 8.0) * ULP;
            within(&what, &all[first..first + count], &exact, |i| budget * exact[i]);
            assert_eq!(all[first].to_bits(), 0, "{what}: the row itself");
            // Elsewhere `found` is for the device to read: what it is told there is tested with `reweight`.
            if B::IN_HOST_MEMORY {
                let mut places = vec![0.0; pitch];
                backend.download(&found, &mut places).unwrap();
                assert_eq!(places[first].to_bits() as usize, rows / 2, "{what}: the first of equals");
            }
        }
    }
}
