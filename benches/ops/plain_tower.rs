//! The vision tower in plain loops over the stored weights, to hold the encoder against: no packing, no fusing, no tap
//! computed on the way, all of the last block.

use inctrl::weights::Weights;

use inctrl::backend::Gelu;
use inctrl_lab::measure::op::gelu_formula;

/// A class embedding `[E]` and the unit taps `[L, N, W]` of one image.
pub struct Encoded {
    pub class: Vec<f32>,
    pub taps: Vec<f32>,
}

/// Encodes one image's patch rows `[N, 3 * patch * patch]`.
pub fn encode(weights: &Weights, rows: &[f32]) -> Encoded {
    let arch = weights.arch();
    let (width, tokens) = (arch.vision.width, arch.vision.tokens());
    let tensor = |name: &str| {
        let tensor = weights.tensor(&format!("visual.{name}")).and_then(|tensor| tensor.to_f32());
        tensor.expect("a tensor of the tower")
    };
    let norm =
        |x: &[f32], name: &str| layer_norm(x, &tensor(&format!("{name}.weight")), &tensor(&format!("{name}.bias")));
    let mut x = tensor("class_embedding");
    x.extend(product(rows, &tensor("conv1.weight"), &vec![0.0; width]));
    add(&mut x, &tensor("positional_embedding"));
    let mut x = norm(&x, "ln_pre");
    let mut taps = Vec::new();
    for block in 0..arch.vision.layers {
        let name = |part: &str| format!("transformer.resblocks.{block}.{part}");
        let linear = |x: &[f32], part: &str, joint: &str| {
            product(x, &tensor(&name(&format!("{part}{joint}weight"))), &tensor(&name(&format!("{part}{joint}bias"))))
        };
        let qkv = linear(&norm(&x, &name("ln_1")), "attn.in_proj", "_");
        add(&mut x, &linear(&attention(&qkv, tokens, arch.vision.heads), "attn.out_proj", "."));
        let mut hidden = linear(&norm(&x, &name("ln_2")), "mlp.c_fc", ".");
        hidden.iter_mut().for_each(|x| *x = gelu_formula(Gelu::Exact, f64::from(*x)) as f32);
        add(&mut x, &linear(&hidden, "mlp.c_proj", "."));
        if arch.taps.contains(&(block + 1)) {
            for row in x[width..].chunks_exact(width) {
                let length = dot(row, row).sqrt();
                taps.extend(row.iter().map(|x| x / length));
            }
        }
    }
    let class = norm(&x[..width], "ln_post");
    let (projection, embed) = (tensor("proj"), arch.embed_dim);
    let product = |e: usize| -> f64 {
        class.iter().enumerate().map(|(i, x)| f64::from(*x) * f64::from(projection[i * embed + e])).sum()
    };
    Encoded { class: (0..embed).map(|e| product(e) as f32).collect(), taps }
}

/// A sum in 16 parts, which a compiler can vectorise.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 16];
    for (a, b) in a.chunks(16).zip(b.chunks(16)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// `x Wᵀ + b` for rows of `x`, the rows shared out over all cores.
fn product(x: &[f32], w: &[f32], b: &[f32]) -> Vec<f32> {
    let (outputs, inputs) = (b.len(), w.len() / b.len());
    let rows = x.len() / inputs;
    let share = rows.div_ceil(std::thread::available_parallelism().map_or(1, usize::from));
    let mut out = vec![0.0; rows * outputs];
    std::thread::scope(|scope| {
        for (x, out) in x.chunks(share * inputs).zip(out.chunks_mut(share * outputs)) {
            scope.spawn(move || {
                for (o, (w, b)) in w.chunks_exact(inputs).zip(b).enumerate() {
                    for (r, x) in x.chunks_exact(inputs).enumerate() {
                        out[r * outputs + o] = dot(x, w) + b;
                    }
                }
            });
        }
    });
    out
}

fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let width = weight.len();
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(width) {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
        let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
        let scaled = row.iter().map(|&x| ((f64::from(x) - mean) / (variance + 1e-5).sqrt()) as f32);
        out.extend(scaled.zip(weight.iter().zip(bias)).map(|(x, (w, b))| x * w + b));
    }
    out
}

/// `softmax(Q Kᵀ / sqrt(d)) V` of each head, from rows of queries, keys and values side by side.
fn attention(qkv: &[f32], tokens: usize, heads: usize) -> Vec<f32> {
    let width = qkv.len() / tokens / 3;
    let size = width / heads;
    let part = |token: usize, part: usize, head: usize| &qkv[(token * 3 + part) * width + head * size..][..size];
    let mut out = vec![0.0; tokens * width];
    for (token, out) in out.chunks_exact_mut(width).enumerate() {
        for (head, out) in out.chunks_exact_mut(size).enumerate() {
            let logit = |t: usize| f64::from(dot(part(token, 0, head), part(t, 1, head))) / (size as f64).sqrt();
            let logits: Vec<f64> = (0..tokens).map(logit).collect();
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (t, weight) in weights.iter().enumerate() {
                let share = (weight / sum) as f32;
                out.iter_mut().zip(part(t, 2, head)).for_each(|(out, v)| *out += share * v);
            }
        }
    }
    out
}
