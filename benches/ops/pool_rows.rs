use criterion::Criterion;
use inctrl::backend::{Backend, PoolToken, Sequences};

use super::common::{TOKENS, WIDTH, bench, cpu, floats, numbers};

const IMAGES: usize = 8;

pub fn pool_rows(c: &mut Criterion) {
    for (name, pool, row) in [("first", PoolToken::First, 0), ("last", PoolToken::Last, TOKENS - 1)] {
        bench(c, "pool_rows", format!("{IMAGES}x{TOKENS}x{WIDTH} {name}"), floats(2 * IMAGES * WIDTH), || {
            let mut cpu = cpu();
            let (x, mut out) = (numbers(1, IMAGES * TOKENS * WIDTH), vec![0.0; IMAGES * WIDTH]);
            let ends: Vec<usize> = (1..=IMAGES).map(|image| image * TOKENS).collect();
            cpu.pool_rows(&x, Sequences { ends: &ends }, WIDTH, pool, &mut out).expect("rows");
            for (image, found) in out.chunks_exact(WIDTH).enumerate() {
                assert_eq!(found, &x[(image * TOKENS + row) * WIDTH..][..WIDTH], "pool_rows: image {image}");
            }
            move || cpu.pool_rows(&x, Sequences { ends: &ends }, WIDTH, pool, &mut out).expect("rows")
        });
    }
}
