//! Rows averaged to bins.

use inctrl::backend::{Backend, Role};

use super::{Real, accurate, exactly, finish, input, output, random, real};

on_every_device! {
    pool_columns,
}

/// The mean of `floor(i n / bins) .. ceil((i + 1) n / bins)` for each bin i.
pub fn averaged<T: Real>(row: &[T], bins: usize) -> Vec<T> {
    let n = row.len() as f64;
    let bin = |i: usize| {
        let from = (i as f64 * n / bins as f64).floor() as usize;
        let to = ((i + 1) as f64 * n / bins as f64).ceil() as usize;
        row[from..to].iter().copied().sum::<T>() / T::of((to - from) as f64)
    };
    (0..bins).map(bin).collect()
}

fn pool_columns<B: Backend>(backends: &mut [B]) {
    for (rows, width, bins) in [(1, 1, 1), (33, 200, 77), (17, 3, 1), (5, 4, 9)] {
        let x = random(1, rows * width, 1.0);
        let valid: Vec<f32> = (0..rows).map(|row| if row % 3 == 1 { 0.0 } else { 1.0 }).collect();
        for backend in &mut *backends {
            for valid in [None, Some(&valid)] {
                // NaN is after the end, or nothing.
                let make = if valid.is_some() { input::<B> } else { exactly::<B> };
                let source = make(backend, Role::Stream, &x);
                let mut out = output(backend, Role::Stream, rows * bins);
                let counts = valid.map(|valid| input(backend, Role::Stream, valid));
                backend.levels().pool_columns(&source, rows, width, bins, counts.as_ref(), &mut out).unwrap();
                let found = finish(backend, &out, rows * bins);
                let row = |row: usize| valid.map_or(1.0, |valid| f64::from(valid[row]));
                let exact: Vec<f64> = (0..rows)
                    .flat_map(|r| {
                        averaged(&real::<f64>(&x[r * width..][..width]), bins).into_iter().map(move |x| (r, x))
                    })
                    .map(|(r, x)| row(r) * x)
                    .collect();
                let naive: Vec<f32> = (0..rows)
                    .flat_map(|r| averaged(&x[r * width..][..width], bins).into_iter().map(move |x| (r, x)))
                    .map(|(r, x)| row(r) as f32 * x)
                    .collect();
                accurate(
                    &format!("pool_columns, {}, {width} to {bins}", backend.describe()),
                    &found,
                    &exact,
                    &naive,
                    0.0,
                );
            }
        }
    }
}
