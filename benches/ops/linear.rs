use criterion::Criterion;
use inctrl::backend::{Backend, Gelu};

use super::common::{TOKENS, WIDTH, bench, check, cpu, dot, flop, layer, numbers};
use super::gelu::exact;

const HIDDEN: usize = 4 * WIDTH;
/// Elements that are compared: the first, one amid a block, the last.
const PLACES: [(f64, f64); 3] = [(0.0, 0.0), (0.03, 0.3), (1.0, 1.0)];

#[derive(Clone, Copy)]
enum Form {
    Plain,
    Add,
    Gelu,
}

pub fn linear(c: &mut Criterion) {
    for (inputs, outputs) in [(768, WIDTH), (WIDTH, 3 * WIDTH), (WIDTH, HIDDEN)] {
        product(c, "linear", Form::Plain, inputs, outputs);
    }
    for inputs in [WIDTH, HIDDEN] {
        product(c, "linear_add", Form::Add, inputs, WIDTH);
    }
    product(c, "linear_gelu", Form::Gelu, WIDTH, HIDDEN);
}

fn product(c: &mut Criterion, op: &str, form: Form, inputs: usize, outputs: usize) {
    let shape = format!("{TOKENS}x{inputs}x{outputs}");
    bench(c, op, shape, flop(2 * TOKENS * inputs * outputs), || {
        let mut cpu = cpu();
        let x = numbers(1, TOKENS * inputs);
        let (w, layer) = layer(&mut cpu, 2, outputs, inputs);
        let mut out = vec![0.25; TOKENS * outputs];
        let mut run = move |out: &mut Vec<f32>| match form {
            Form::Plain => cpu.linear(&x, TOKENS, &layer, out),
            Form::Add => cpu.linear_add(&x, TOKENS, &layer, out),
            Form::Gelu => cpu.linear_gelu(&x, TOKENS, &layer, outputs, Gelu::Exact, out),
        };
        run(&mut out).expect("a product");
        let x = numbers(1, TOKENS * inputs);
        for (r, o) in PLACES {
            let (r, o) = ((r * (TOKENS - 1) as f64) as usize, (o * (outputs - 1) as f64) as usize);
            let sum = dot(&x[r * inputs..][..inputs], &w[o * inputs..][..inputs]);
            let expected = match form {
                Form::Plain => sum,
                Form::Add => sum + 0.25,
                Form::Gelu => exact(sum),
            };
            check("linear", out[r * outputs + o], expected);
        }
        move || run(&mut out).expect("a product")
    });
}
