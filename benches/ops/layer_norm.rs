use criterion::Criterion;
use inctrl::backend::Backend;

use super::common::{TOKENS, WIDTH, bench, check, cpu, floats, norm, normalised, numbers};

pub fn layer_norm(c: &mut Criterion) {
    bench(c, "layer_norm", format!("{TOKENS}x{WIDTH}"), floats(2 * TOKENS * WIDTH), || {
        let mut cpu = cpu();
        let (x, norm, mut out) = (numbers(1, TOKENS * WIDTH), norm(2), vec![0.0; TOKENS * WIDTH]);
        cpu.layer_norm(&x, TOKENS, &norm, &mut out).expect("a norm");
        for row in [0, 100, TOKENS - 1] {
            let exact: Vec<f64> = x[row * WIDTH..][..WIDTH].iter().map(|&x| x.into()).collect();
            for (found, expected) in out[row * WIDTH..].iter().zip(normalised(&exact, &norm)) {
                check("layer_norm", *found, expected);
            }
        }
        move || cpu.layer_norm(&x, TOKENS, &norm, &mut out).expect("a norm")
    });
}
