use criterion::Criterion;
use inctrl::backend::Backend;

use super::common::{TOKENS, bench_with, check, cpu, floats, numbers, sigmoid};

/// Hidden width of DINOv2's ViT-g.
const HIDDEN: usize = 4096;

pub fn swiglu(c: &mut Criterion) {
    let len = TOKENS * HIDDEN;
    bench_with(c, "swiglu", format!("{TOKENS}x{HIDDEN}"), floats(3 * len), || {
        let mut cpu = cpu();
        let x: Vec<f32> = numbers(1, 2 * len).iter().map(|x| 4.0 * x).collect();
        let mut out = vec![0.0; len];
        cpu.swiglu(&x, TOKENS, HIDDEN, &mut out).expect("a gate");
        for i in [0, 1, HIDDEN - 1, HIDDEN, len / 2, len - 1] {
            let at = i / HIDDEN * 2 * HIDDEN + i % HIDDEN;
            let (a, b) = (f64::from(x[at]), f64::from(x[at + HIDDEN]));
            check("swiglu", out[i], a * sigmoid(a) * b);
        }
        move |b| b.iter(|| cpu.swiglu(&x, TOKENS, HIDDEN, &mut out).expect("a gate"))
    });
}
