use std::sync::Arc;

use criterion::Criterion;
use inctrl::backend::{Backend, BankRole, BankTensor};
use inctrl::methods::inctrl::{HeadLayers, HeadOps, OUTPUTS, Scored};
use inctrl::tensor::Dense;

use super::common::{EMBED, PATCHES, bench, check, cpu, dot, flop, numbers, sigmoid, unit_rows};

fn dense(seed: u64, rows: usize, cols: usize) -> Dense {
    let scale = 3.0 / (cols as f32).sqrt();
    let weight = numbers(seed, rows * cols).iter().map(|x| scale * x).collect();
    Dense { rows, cols, weight, bias: numbers(seed + 1, rows) }
}

fn layers() -> HeadLayers {
    let head = |seed, inputs| [dense(seed, 128, inputs), dense(seed + 2, 64, 128), dense(seed + 4, 1, 64)];
    let mut adapter = [dense(10, EMBED / 4, EMBED), dense(12, EMBED, EMBED / 4)];
    adapter.iter_mut().for_each(|layer| layer.bias.clear());
    HeadLayers { adapter, image: head(20, EMBED), holistic: head(30, PATCHES), alpha: 1.0 }
}

/// `relu(W x + b)` after each layer but, where `last_is_linear`, the last; in f64.
fn through(layers: &[Dense], x: &[f64], last_is_linear: bool) -> Vec<f64> {
    let mut x = x.to_vec();
    for (i, layer) in layers.iter().enumerate() {
        let row = |r: usize| {
            let weights = &layer.weight[r * layer.cols..][..layer.cols];
            let bias = layer.bias.get(r).map_or(0.0, |&b| b.into());
            weights.iter().zip(&x).map(|(&w, x)| f64::from(w) * x).sum::<f64>() + bias
        };
        let linear = last_is_linear && i + 1 == layers.len();
        x = (0..layer.rows).map(row).map(|y| if linear { y } else { y.max(0.0) }).collect();
    }
    x
}

pub fn heads(c: &mut Criterion) {
    let adapter_flop = EMBED * EMBED;
    bench(c, "inctrl_adapter", format!("1x{EMBED}"), flop(adapter_flop), || {
        let mut cpu = cpu();
        let (layers, class, mut out) = (layers(), numbers(1, EMBED), vec![0.0; EMBED]);
        cpu.adapter(&class, 1, &layers, &mut out).expect("an adapted embedding");
        let exact: Vec<f64> = class.iter().map(|&x| x.into()).collect();
        for (found, expected) in out.iter().zip(through(&layers.adapter, &exact, false)) {
            check("adapter", *found, expected);
        }
        move || cpu.adapter(&class, 1, &layers, &mut out).expect("an adapted embedding")
    });
    for images in [1, 8] {
        let work = images * (adapter_flop + 2 * (128 * (EMBED + PATCHES) + 2 * (64 * 128 + 64)));
        bench(c, "inctrl_heads", format!("{images}x{EMBED} {images}x{PATCHES}"), flop(work), || {
            let mut cpu = cpu();
            let layers = layers();
            let (class, mean) = (numbers(1, images * EMBED), numbers(2, EMBED));
            let map: Vec<f32> = numbers(3, images * PATCHES).iter().map(|x| x + 0.5).collect();
            let texts = unit_rows(numbers(4, 2 * EMBED), EMBED);
            let (on_mean, on_texts): (Arc<Vec<f32>>, Arc<Vec<f32>>) = (mean.clone().into(), texts.clone().into());
            let tensor = |values, rows| BankTensor { values, shape: [1, rows, EMBED], role: BankRole::Numbers };
            let bank = cpu.bank(&[tensor(&on_mean, 1), tensor(&on_texts, 2)]).expect("a bank");
            let at = Scored { views: 0..images, first_slot: 0, cls_mean: 0, text_prototypes: 1 };
            let mut out = vec![0.0; images * OUTPUTS];
            cpu.heads(&class, &map, at.clone(), &layers, &bank, &mut out).expect("scores");
            for image in [0, images - 1] {
                let class = &class[image * EMBED..][..EMBED];
                let map = &map[image * PATCHES..][..PATCHES];
                let exact: Vec<f64> = class.iter().map(|&x| x.into()).collect();
                let adapted = through(&layers.adapter, &exact, false);
                let residual: Vec<f64> = mean.iter().zip(&adapted).map(|(&m, a)| f64::from(m) - a).collect();
                let s_i = sigmoid(through(&layers.image, &residual, true)[0]);
                let logit =
                    |text: usize| 100.0 * dot(class, &texts[text * EMBED..][..EMBED]) / dot(class, class).sqrt();
                let s_a = sigmoid(logit(1) - logit(0));
                let s_p = map.iter().copied().fold(f32::NEG_INFINITY, f32::max).into();
                let holistic: Vec<f64> = map.iter().map(|&m| f64::from(m) + s_i + s_a).collect();
                let s_h = sigmoid(through(&layers.holistic, &holistic, true)[0]);
                let expected = [(s_h + s_p) / 2.0, s_h, s_p, s_i, s_a];
                for (found, expected) in out[image * OUTPUTS..].iter().zip(expected) {
                    check("heads", *found, expected);
                }
            }
            move || cpu.heads(&class, &map, at.clone(), &layers, &bank, &mut out).expect("scores")
        });
    }
}
