//! The row that represents each sequence.

use inctrl::backend::{Backend, PoolToken, Sequences};

use super::{finish, input, output, random, same_bits};

on_every_backend! {
    pool_rows => pool_rows_cpu,
}

fn pool_rows<B: Backend>(backends: &mut [B]) {
    for (ends, width) in [(&[1][..], 1), (&[226, 452, 678], 896), (&[16, 36, 37, 50], 17)] {
        let rows = ends[ends.len() - 1];
        let host = random(1, rows * width, 1.0);
        for backend in &mut *backends {
            for pool in [PoolToken::First, PoolToken::Last] {
                let (x, mut out) = (input(backend, &host), output(backend, ends.len() * width));
                backend.pool_rows(&x, Sequences { ends }, width, pool, &mut out).unwrap();
                let found = finish(backend, &out, ends.len() * width);
                let row = |s: usize| match pool {
                    PoolToken::First => {
                        if s == 0 {
                            0
                        } else {
                            ends[s - 1]
                        }
                    }
                    PoolToken::Last => ends[s] - 1,
                };
                let expected: Vec<f32> =
                    (0..ends.len()).flat_map(|s| &host[row(s) * width..][..width]).copied().collect();
                same_bits(&format!("pool_rows {pool:?}, {}", backend.describe()), &found, &expected);
            }
        }
    }
}
