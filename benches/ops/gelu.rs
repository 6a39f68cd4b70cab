use criterion::{BatchSize, Criterion};
use inctrl::backend::{Backend, Gelu};

use super::common::{TOKENS, WIDTH, bench_with, check, cpu, floats, numbers, sigmoid};

/// `x Φ(x)`, Φ by the series of the error function.
pub fn exact(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    if z.abs() > 4.0 {
        return x.max(0.0);
    }
    let (mut term, mut sum) = (z, z);
    for n in 1..100 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    0.5 * x * (1.0 + 2.0 / std::f64::consts::PI.sqrt() * sum)
}

pub fn gelu(c: &mut Criterion) {
    let len = TOKENS * 4 * WIDTH;
    for (name, kind) in [("exact", Gelu::Exact), ("quick", Gelu::Quick)] {
        bench_with(c, "gelu", format!("{TOKENS}x{} {name}", 4 * WIDTH), floats(2 * len), || {
            let mut cpu = cpu();
            let x: Vec<f32> = numbers(1, len).iter().map(|x| 8.0 * x).collect();
            let mut out = x.clone();
            cpu.gelu(kind, len, &mut out).expect("an activation");
            for i in [0, 1, 17, len / 2, len - 1] {
                let x = f64::from(x[i]);
                let expected = match kind {
                    Gelu::Exact => exact(x),
                    Gelu::Quick => x * sigmoid(1.702 * x),
                };
                check("gelu", out[i], expected);
            }
            // In place, so each run has new numbers: those of the last one would go to zero.
            move |b| {
                b.iter_batched_ref(
                    || x.clone(),
                    |x| cpu.gelu(kind, len, x).expect("an activation"),
                    BatchSize::LargeInput,
                );
            }
        });
    }
}
