use criterion::Criterion;
use inctrl::backend::Backend;

use super::common::{HEADS, ONE, TOKENS, WIDTH, bench, check, cpu, dot, flop, numbers};

/// Element `x` of head 0 for a query of that head, in f64; `key` and `value` give the head's part of a token.
fn attended<'a>(
    query: &[f32],
    key: impl Fn(usize) -> &'a [f32],
    value: impl Fn(usize) -> &'a [f32],
    tokens: usize,
    x: usize,
) -> f64 {
    let weights: Vec<f64> = (0..tokens).map(|t| (dot(query, key(t)) / (HEADS.size as f64).sqrt()).exp()).collect();
    let sum: f64 = weights.iter().enumerate().map(|(t, weight)| weight * f64::from(value(t)[x])).sum();
    sum / weights.iter().sum::<f64>()
}

pub fn attention(c: &mut Criterion) {
    for (name, causal) in [("", false), (" causal", true)] {
        // Half of the products are hidden by the mask.
        let work = 4 * TOKENS * TOKENS * WIDTH / if causal { 2 } else { 1 };
        bench(c, "attention", format!("{TOKENS}x{WIDTH}{name}"), flop(work), || {
            let mut cpu = cpu();
            let (qkv, mut out) = (numbers(1, TOKENS * 3 * WIDTH), vec![0.0; TOKENS * WIDTH]);
            cpu.attention(&qkv, ONE, HEADS, causal, &mut out).expect("attention");
            let part = |t: usize, part: usize| &qkv[t * 3 * WIDTH + part * WIDTH..][..HEADS.size];
            for t in [0, 5, TOKENS - 1] {
                let tokens = if causal { t + 1 } else { TOKENS };
                check("attention", out[t * WIDTH + 9], attended(part(t, 0), |t| part(t, 1), |t| part(t, 2), tokens, 9));
            }
            move || cpu.attention(&qkv, ONE, HEADS, causal, &mut out).expect("attention")
        });
    }
    bench(c, "class_attention", format!("{TOKENS}x{WIDTH}"), flop(4 * TOKENS * WIDTH), || {
        let mut cpu = cpu();
        let (q, kv, mut out) = (numbers(1, WIDTH), numbers(2, TOKENS * 2 * WIDTH), vec![0.0; WIDTH]);
        cpu.class_attention(&q, &kv, ONE, HEADS, &mut out).expect("attention");
        let part = |t: usize, part: usize| &kv[t * 2 * WIDTH + part * WIDTH..][..HEADS.size];
        check("class_attention", out[9], attended(&q[..HEADS.size], |t| part(t, 0), |t| part(t, 1), TOKENS, 9));
        move || cpu.class_attention(&q, &kv, ONE, HEADS, &mut out).expect("attention")
    });
}
