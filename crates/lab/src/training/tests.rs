//! The whole network: against finite differences, against PyTorch, and against the engine's own heads.

use std::path::Path;

use super::adamw::AdamW;
use super::network::{Batch, Network};
use super::random::Random;
use super::{Loss, LossInput};
use inctrl::backend::cpu::Cpu;
use inctrl::backend::{Backend, BankRole, BankTensor, Role};
use inctrl::internals::TensorFile;
use inctrl::methods::inctrl::{HeadInputs, HeadOps, OUTPUTS, cls_mean, head_layers};
use inctrl::tensor::DType;
use inctrl::weights::{Arch, LoadOptions, Weights, random};

/// Embedding 8, 9 patches.
const CONFIG: &str = r#"{"embed_dim": 8, "vision_cfg": {"image_size": 48, "patch_size": 16, "width": 64, "layers": 1},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1]}}"#;
const EMBEDDING: usize = 8;
const CELLS: usize = 9;
const BATCH: usize = 6;
const SHOTS: usize = 3;

const VARIANTS: [(&str, Loss, LossInput); 4] = [
    ("focal.logit", Loss::Focal, LossInput::Logit),
    ("focal.sigmoid", Loss::Focal, LossInput::Sigmoid),
    ("cross-entropy.logit", Loss::CrossEntropy, LossInput::Logit),
    ("cross-entropy.sigmoid", Loss::CrossEntropy, LossInput::Sigmoid),
];

/// Numbers in [0, 1) that follow from the name: `numbers` of scripts/fixtures/training.py, to the bit.
fn numbers(name: &str, len: usize) -> Vec<f64> {
    let salt: u64 = name.bytes().zip(1..).map(|(byte, place)| place * u64::from(byte)).sum();
    let mixed = |i: u64| (i * 2_654_435_761 + salt * 2_246_822_519) % (1 << 32);
    (0..len as u64).map(|i| mixed(i) as f64 / (1u64 << 32) as f64).collect()
}

/// The network that the fixture begins with.
fn network() -> Network {
    let mut network = Network::new(&Arch::from_json(CONFIG).unwrap(), 0).unwrap();
    for tensor in network.tensors().to_vec() {
        let one = tensor.name.contains(".bn") && (tensor.name.ends_with(".weight") || tensor.name.ends_with("_var"));
        let base = if one { 1.0 } else { 0.0 };
        let vector = if tensor.running { &mut network.running } else { &mut network.parameters };
        let values = numbers(&tensor.name, tensor.range.len());
        vector[tensor.range].iter_mut().zip(values).for_each(|(x, v)| *x = base + 0.6 * (v - 0.5));
    }
    network
}

fn batch(step: usize) -> Batch {
    let signed = |name: &str, len: usize| numbers(name, len).into_iter().map(|x| 2.0 * x - 1.0).collect();
    Batch {
        queries: signed(&format!("queries {step}"), BATCH * EMBEDDING),
        prompts: signed(&format!("prompts {step}"), BATCH * SHOTS * EMBEDDING),
        maps: numbers(&format!("maps {step}"), BATCH * CELLS).into_iter().map(|x| 0.5 * x).collect(),
        text_priors: numbers(&format!("text priors {step}"), BATCH),
        anomalous: (0..BATCH).map(|i| i >= BATCH / 2).collect(),
    }
}

#[test]
fn the_gradient_of_the_whole_objective_is_that_of_finite_differences() {
    const STEP: f64 = 1e-6;
    // With the model's α, and with one of the loss's own.
    for ((name, loss, input), loss_alpha) in VARIANTS.into_iter().flat_map(|v| [None, Some(0.3)].map(|a| (v, a))) {
        let mut network = network();
        network.loss_alpha = loss_alpha.unwrap_or(network.loss_alpha);
        let mut gradient = vec![0.0; network.parameters.len()];
        network.clone().step(&batch(0), loss, input, &mut gradient);
        let mut random = Random::new(&[1]);
        for tensor in network.tensors().iter().filter(|tensor| !tensor.running) {
            for at in random.choose(tensor.range.clone().collect(), 12) {
                let at_distance = |step: f64| {
                    let mut moved = network.clone();
                    moved.parameters[at] += step;
                    moved.step(&batch(0), loss, input, &mut vec![0.0; gradient.len()])
                };
                // Of fourth order: where a column hardly varies, normalisation makes third derivatives of 1e-5 to the
                // power of -3/2.
                let [near, far] = [STEP, 2.0 * STEP].map(|step| at_distance(step) - at_distance(-step));
                let expected = (8.0 * near - far) / (12.0 * STEP);
                // Rounding of a loss near 1 over the step is a few 1e-10.
                let tolerance = 1e-8 + 1e-8 * expected.abs();
                let found = gradient[at];
                assert!(
                    (found - expected).abs() <= tolerance,
                    "{name}, {} element {}: {found}, differences say {expected}",
                    tensor.name,
                    at - tensor.range.start
                );
            }
            let largest = gradient[tensor.range.clone()].iter().fold(0.0, |m: f64, g| m.max(g.abs()));
            assert!(largest > 1e-6, "{name}: {} has no gradient", tensor.name);
        }
    }
}

#[test]
fn three_steps_are_those_of_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/training/three_steps.safetensors");
    let file = TensorFile::open(&path).unwrap();
    let stored = |name: &str| file.read(file.tensors[name].range.clone()).unwrap();
    for (name, loss, input) in VARIANTS {
        let mut network = network();
        let mut optimiser = AdamW::new(network.parameters.len(), 1e-3);
        let losses = stored(&format!("{name}/losses"));
        let losses = losses.as_chunks::<8>().0;
        for (step, expected) in losses.iter().enumerate() {
            let mut gradient = vec![0.0; network.parameters.len()];
            let found = network.step(&batch(step), loss, input, &mut gradient);
            optimiser.step(&mut network.parameters, &gradient);
            let expected = f64::from_le_bytes(*expected);
            // AdamW divides by the size of the gradient, so that rounding of one that is nearly zero counts in the next
            // step.
            assert!((found - expected).abs() <= 1e-8, "{name}, step {step}: loss {found}, PyTorch {expected}");
        }
        assert_eq!(losses.len(), 3);
        for tensor in network.tensors() {
            let expected: Vec<f32> = stored(&format!("{name}/{}", tensor.name))
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            let found = network.values(tensor).iter().step_by(if tensor.running { 1 } else { 7 });
            assert_eq!(found.len(), expected.len(), "{name}, {}", tensor.name);
            for (i, (found, expected)) in found.zip(expected).enumerate() {
                // The fixture is f32, and its numbers are at most 1.4: half a unit in the last place is 6e-8.
                let error = (found - f64::from(expected)).abs();
                assert!(error <= 2e-7, "{name}, {}, element {i}: {found}, PyTorch {expected}", tensor.name);
            }
        }
    }
}

#[test]
fn without_the_patch_maximum_the_loss_does_not_see_the_map_s_largest_cell_by_itself() {
    // L_h of s_h alone: the same for any α of the model, which the score still has.
    let step = |alpha: f64, loss_alpha: f64| {
        let config = CONFIG.replace(r#""taps": [1]"#, &format!(r#""taps": [1], "alpha": {alpha}"#));
        let mut network = Network::new(&Arch::from_json(&config).unwrap(), 0).unwrap();
        network.loss_alpha = loss_alpha;
        let loss =
            network.clone().step(&batch(0), Loss::Focal, LossInput::Logit, &mut vec![0.0; network.parameters.len()]);
        (loss, network.evaluate(&batch(0))[0])
    };
    let (one, four) = (step(1.0, 0.0), step(4.0, 0.0));
    assert_eq!(one.0, four.0);
    assert_eq!(one.1.holistic, four.1.holistic);
    assert!(one.1.score != four.1.score);
    assert!(step(1.0, 1.0).0 != one.0);
}

#[test]
fn the_engines_heads_score_alike() {
    let folder = tempfile::tempdir().unwrap();
    let arch = Arch::from_json(CONFIG).unwrap();
    let clip = folder.path().join("clip.safetensors");
    random::write(&clip, &arch, 1, DType::F32).unwrap();
    let weights = Weights::open(&LoadOptions { weights: clip, heads: None, config: None }).unwrap();
    let path = folder.path().join("model.safetensors");
    let mut network = network();
    // Running statistics of a few steps, which is what folding has to get right.
    for step in 0..3 {
        network.step(&batch(step), Loss::Focal, LossInput::Logit, &mut vec![0.0; network.parameters.len()]);
    }
    super::files::write_merged(&path, &network, &weights).unwrap();
    let weights = Weights::open(&LoadOptions { weights: path, heads: None, config: None }).unwrap();

    let mut cpu = Cpu::new(1).unwrap();
    let heads = cpu.head_weights(&head_layers(&weights).unwrap()).unwrap();
    let one = HeadInputs { views: 0..1, first_slot: 0, cls_mean: 0, text_prototypes: 1 };
    let f32s = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    let batch = batch(0);
    let scored = network.evaluate(&batch);
    let mut prompts = cpu.buffer(Role::Stream, SHOTS * EMBEDDING).unwrap();
    let mut adapted = cpu.buffer(Role::Stream, SHOTS * EMBEDDING).unwrap();
    let mut class = cpu.buffer(Role::Stream, EMBEDDING).unwrap();
    let mut map = cpu.buffer(Role::Result, CELLS).unwrap();
    let mut out = cpu.buffer(Role::Result, OUTPUTS).unwrap();
    for (i, scored) in scored.iter().enumerate() {
        let query = &batch.queries[i * EMBEDDING..][..EMBEDDING];
        cpu.upload(&f32s(&batch.prompts[i * SHOTS * EMBEDDING..][..SHOTS * EMBEDDING]), &mut prompts).unwrap();
        cpu.adapter(&prompts, SHOTS, &heads, &mut adapted).unwrap();
        let mut host = vec![0.0; SHOTS * EMBEDDING];
        cpu.download(&adapted, &mut host).unwrap();
        // Prototypes along the query give the logit of the wanted prior.
        let (s_a, norm) = (batch.text_priors[i], query.iter().map(|x| x * x).sum::<f64>().sqrt());
        let share = (s_a / (1.0 - s_a)).ln() / 100.0;
        let anomaly = query.iter().map(|x| share * x / norm);
        let text_prototypes = f32s(&[0.0; EMBEDDING].into_iter().chain(anomaly).collect::<Vec<f64>>());
        let (mean, text) = (cls_mean(&host, EMBEDDING).into(), text_prototypes.into());
        let numbers = |values, rows| BankTensor { values, shape: [1, rows, EMBEDDING], role: BankRole::Numbers };
        let bank = cpu.bank(&[numbers(&mean, 1), numbers(&text, 2)]).unwrap();
        cpu.upload(&f32s(query), &mut class).unwrap();
        cpu.upload(&f32s(&batch.maps[i * CELLS..][..CELLS]), &mut map).unwrap();
        cpu.heads(&class, &map, one.clone(), &heads, &bank, &mut out).unwrap();
        let mut parts = [0.0; OUTPUTS];
        cpu.download(&out, &mut parts).unwrap();
        let [score, holistic, _, image_residual, text_prior] = parts.map(f64::from);
        // f32 through three layers of at most 128 terms of size 1.
        for (part, found, expected) in [
            ("score", score, scored.score),
            ("s_h", holistic, scored.holistic),
            ("s_i", image_residual, scored.image_residual),
            ("s_a", text_prior, s_a),
        ] {
            assert!((found - expected).abs() <= 1e-5, "sample {i}, {part}: {found}, the trainer has {expected}");
        }
    }
}

#[test]
fn the_initial_heads_are_spread_as_pytorch_spreads_them() {
    let arch = Arch::from_json(CONFIG).unwrap();
    let network = Network::new(&arch, 3).unwrap();
    let values = |name: &str| network.values(network.tensors().iter().find(|t| t.name == name).unwrap());
    for (name, inputs) in [("diff_head.projection2.weight", 128.0), ("diff_head.projection1.bias", CELLS as f64)] {
        let (values, bound) = (values(name), 1.0 / f64::sqrt(inputs));
        let largest = values.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        assert!(largest <= bound && largest > 0.9 * bound, "{name}: {largest}, bound {bound}");
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        // Five standard deviations of the mean of uniform numbers.
        assert!(mean.abs() <= 5.0 * bound / (3.0 * values.len() as f64).sqrt(), "{name}: mean {mean}");
    }
    assert!(values("diff_head.bn2.weight").iter().all(|&x| x == 1.0));
    assert!(values("diff_head_ref.bn3.running_var").iter().all(|&x| x == 1.0));
    assert!(values("diff_head.bn2.bias").iter().chain(values("diff_head.bn2.running_mean")).all(|&x| x == 0.0));
    assert!(Network::new(&arch, 4).unwrap().parameters != network.parameters);
}
