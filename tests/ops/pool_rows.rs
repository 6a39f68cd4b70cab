//! The row that represents each sequence.

use inctrl::backend::{Backend, PoolToken, Role, Sequences};

use super::{cases, finish, input, numbers, output, same_bits, unless};

on_every_device! {
    pool_rows,
}

fn pool_rows<B: Backend>(backends: &mut [B]) {
    let all = [
        (&[1][..], 1, Role::Stream),
        (&[226, 452, 678], 896, Role::Stream),
        (&[5, 10, 15], 192, Role::Operand),
        (&[16, 36, 37, 50], 17, Role::Stream),
    ];
    let against = |&(ends, width, _): &(&[usize], usize, Role)| match ends {
        [first, second, ..] if 2 * first != *second => Some("images are sequences of one length"),
        _ => unless(width, 8, 0),
    };
    for (ends, width, role) in cases(backends, &all, against) {
        let rows = ends[ends.len() - 1];
        let host = numbers(backends, role, 1, rows * width, 1.0);
        for backend in &mut *backends {
            for pool in [PoolToken::First, PoolToken::Last] {
                let (x, mut out) = (input(backend, role, &host), output(backend, role, ends.len() * width));
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
