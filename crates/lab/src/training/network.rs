//! What is trained: the adapter ψ, the image head η and the holistic head φ, equations 3 to 7, forward and backward.
//!
//! All numbers of the network lie in two vectors, trained parameters and running statistics, so that optimisers, files
//! and tests see only vectors. [`Network::names`] says which tensor is where.

use std::ops::Range;

use super::layers::{
    Normalised, axpy, batch_norm, batch_norm_back, batch_norm_running, linear, linear_back, relu, relu_back,
};
use super::loss::{Loss, LossInput};
use super::random::Random;
use inctrl::methods::inctrl::equations::{self, Given, Heads, Parts, sigmoid};
use inctrl::weights::{Arch, Tower, table};
use inctrl::{Error, ErrorKind, Result};

/// Weight of the batch in the running statistics, PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// A tensor of the heads: its name in a file, its shape, and its place in one of the two vectors.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub range: Range<usize>,
    /// Among the running statistics, not the parameters.
    pub running: bool,
}

/// The samples of a step, `B` of them with `K` prompts each.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    /// f_v of each query, `[B, E]`.
    pub queries: Vec<f64>,
    /// f_v of each query's prompts, `[B, K, E]`.
    pub prompts: Vec<f64>,
    /// M_x of each query, `[B, N]`.
    pub maps: Vec<f64>,
    /// s_a of each query, `[B]`.
    pub text_priors: Vec<f64>,
    /// y_x, `[B]`.
    pub anomalous: Vec<bool>,
}

/// One of the two heads: Linear, ReLU, BatchNorm, Linear, ReLU, BatchNorm, Linear.
#[derive(Clone, Debug)]
struct Head {
    inputs: usize,
    /// Weight and bias of the three layers, among the parameters.
    layers: [[Range<usize>; 2]; 3],
    /// Scale and shift of the two normalisations, among the parameters.
    norms: [[Range<usize>; 2]; 2],
    /// Mean and variance of the two, among the running statistics.
    running: [[Range<usize>; 2]; 2],
}

/// The two vectors and the places of the layers in them.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub parameters: Vec<f64>,
    pub running: Vec<f64>,
    tensors: Vec<Tensor>,
    embedding: usize,
    adapter: [Range<usize>; 2],
    image: Head,
    holistic: Head,
    alpha: f64,
    /// α in L_h; the model's α unless it is set.
    pub loss_alpha: f64,
}

/// What a head's backward pass needs from its forward pass.
struct Trace {
    input: Vec<f64>,
    /// Outputs of the first two layers after their ReLU, and after normalisation.
    active: [Vec<f64>; 2],
    normal: [Vec<f64>; 2],
    kept: [Normalised; 2],
}

impl Network {
    /// The heads of `arch` as PyTorch initialises them: weights and biases uniform within one over the square root of
    /// the inputs, normalisations the identity.
    pub fn new(arch: &Arch, seed: u64) -> Result<Self> {
        let (mut parameters, mut running) = (Vec::new(), Vec::new());
        let mut tensors: Vec<Tensor> = Vec::new();
        let mut bound = 0.0;
        for (index, spec) in table(arch).into_iter().filter(|spec| spec.tower == Tower::Heads).enumerate() {
            let len = spec.shape.iter().product::<usize>();
            let is_running = spec.name.contains(".running_");
            let vector = if is_running { &mut running } else { &mut parameters };
            let range = vector.len()..vector.len() + len;
            let norm = spec.name.contains(".bn");
            if norm {
                let one = spec.name.ends_with(".weight") || spec.name.ends_with(".running_var");
                vector.resize(range.end, if one { 1.0 } else { 0.0 });
            } else {
                // A bias follows its weight, whose inputs bound it too.
                if let [_, inputs] = spec.shape[..] {
                    bound = 1.0 / (inputs as f64).sqrt();
                }
                let mut random = Random::new(&[seed, PURPOSE, index as u64]);
                vector.extend((0..len).map(|_| bound * (2.0 * random.unit() - 1.0)));
            }
            tensors.push(Tensor { name: spec.name, shape: spec.shape, range, running: is_running });
        }
        let find = |name: String| -> Result<Range<usize>> {
            let found = tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.range.clone());
            found.ok_or_else(|| {
                Error::new(ErrorKind::Internal, format!("the heads have no tensor `{name}`")).of_tensor(&name)
            })
        };
        let pair = |module: &str, [first, second]: [&str; 2]| -> Result<[Range<usize>; 2]> {
            Ok([find(format!("{module}.{first}"))?, find(format!("{module}.{second}"))?])
        };
        let head = |name: &str, inputs: usize| -> Result<Head> {
            let affine = |module: &str| pair(&format!("{name}.{module}"), ["weight", "bias"]);
            let running = |module: &str| pair(&format!("{name}.{module}"), ["running_mean", "running_var"]);
            Ok(Head {
                inputs,
                layers: [affine("projection1")?, affine("projection2")?, affine("projection3")?],
                norms: [affine("bn2")?, affine("bn3")?],
                running: [running("bn2")?, running("bn3")?],
            })
        };
        Ok(Network {
            adapter: pair("adapter.fc", ["0.weight", "2.weight"])?,
            image: head("diff_head_ref", arch.embed_dim)?,
            holistic: head("diff_head", arch.vision.patches())?,
            embedding: arch.embed_dim,
            alpha: f64::from(arch.alpha),
            loss_alpha: f64::from(arch.alpha),
            tensors,
            parameters,
            running,
        })
    }

    /// Every tensor of the heads, in the order of a file.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The numbers of a tensor.
    pub fn values(&self, tensor: &Tensor) -> &[f64] {
        let vector = if tensor.running { &self.running } else { &self.parameters };
        &vector[tensor.range.clone()]
    }

    /// One step's loss L_IRL + L_h, with the statistics of the batch; adds its gradient to `gradient` and moves the
    /// running statistics.
    pub fn step(&mut self, batch: &Batch, loss: Loss, input: LossInput, gradient: &mut [f64]) -> f64 {
        let (b, e) = (batch.anomalous.len(), self.embedding);
        let k = batch.prompts.len() / (b * e);
        let p = &self.parameters;

        // Equations 3 and 4: F_x = mean over prompts of ψ(x'_k), minus ψ(x).
        let of_queries = self.adapt(&batch.queries);
        let of_prompts = self.adapt(&batch.prompts);
        let mut residual: Vec<f64> = of_queries[1].iter().map(|a| -a).collect();
        for (residual, prompts) in residual.chunks_exact_mut(e).zip(of_prompts[1].chunks_exact(k * e)) {
            prompts.chunks_exact(e).for_each(|prompt| axpy(1.0 / k as f64, prompt, residual));
        }
        let (image_logits, image_trace) = self.image.forward(p, residual);

        // Equation 7: M⁺ = M + s_i + s_a.
        let cells = self.holistic.inputs;
        let mut maps = batch.maps.clone();
        for (i, map) in maps.chunks_exact_mut(cells).enumerate() {
            let scalar = sigmoid(image_logits[i]) + batch.text_priors[i];
            map.iter_mut().for_each(|cell| *cell += scalar);
        }
        let (holistic_logits, holistic_trace) = self.holistic.forward(p, maps);

        let (mut total, mut d_image, mut d_holistic) = (0.0, vec![0.0; b], vec![0.0; b]);
        for i in 0..b {
            let [of_image, slope] = loss.of_head(input, image_logits[i], batch.anomalous[i]);
            let holistic = sigmoid(holistic_logits[i]);
            let map = &batch.maps[i * cells..][..cells];
            let [of_score, by_score] = loss.of_score(
                input,
                equations::combine(holistic, equations::largest(map), self.loss_alpha),
                batch.anomalous[i],
            );
            total += (of_image + of_score) / b as f64;
            d_image[i] = slope / b as f64;
            d_holistic[i] = by_score / b as f64 / (1.0 + self.loss_alpha) * holistic * (1.0 - holistic);
        }

        let d_maps = self.holistic.backward(p, &holistic_trace, &d_holistic, gradient);
        for (i, d_map) in d_maps.chunks_exact(cells).enumerate() {
            let s_i = sigmoid(image_logits[i]);
            d_image[i] += d_map.iter().sum::<f64>() * s_i * (1.0 - s_i);
        }
        let d_residual = self.image.backward(p, &image_trace, &d_image, gradient);
        let d_queries = d_residual.iter().map(|d| -d).collect();
        let share = |d: &[f64]| d.iter().map(|d| d / k as f64).collect::<Vec<_>>();
        let d_prompts = d_residual.chunks_exact(e).flat_map(|d| share(d).repeat(k)).collect();
        self.adapt_back(&batch.queries, &of_queries, d_queries, gradient);
        self.adapt_back(&batch.prompts, &of_prompts, d_prompts, gradient);

        for (head, trace) in [(&self.image, &image_trace), (&self.holistic, &holistic_trace)] {
            head.track(&mut self.running, trace);
        }
        total
    }

    /// Scores the samples of a batch with the running statistics, as the engine does.
    pub fn evaluate(&self, batch: &Batch) -> Vec<Parts<f64>> {
        let (e, cells) = (self.embedding, self.holistic.inputs);
        let k = batch.prompts.len() / (batch.anomalous.len() * e);
        let [_, prompts] = self.adapt(&batch.prompts);
        let mut room = vec![0.0; e.max(cells)];
        let sample = |i: usize| {
            let mut cls_mean = vec![0.0; e];
            prompts[i * k * e..][..k * e].chunks_exact(e).for_each(|p| axpy(1.0 / k as f64, p, &mut cls_mean));
            let given = Given {
                map: &batch.maps[i * cells..][..cells],
                class: &batch.queries[i * e..][..e],
                cls_mean: &cls_mean,
                text_prior: batch.text_priors[i],
                alpha: self.alpha,
            };
            equations::score(&mut WithRunning(self), given, &mut room)
        };
        (0..batch.anomalous.len()).map(sample).collect()
    }

    /// ψ of each row: the outputs of both layers after their ReLU.
    fn adapt(&self, x: &[f64]) -> [Vec<f64>; 2] {
        let [first, second] = self.adapter.clone().map(|range| &self.parameters[range]);
        let mut hidden = linear(x, self.embedding, first, &[]);
        relu(&mut hidden);
        let mut out = linear(&hidden, self.hidden(), second, &[]);
        relu(&mut out);
        [hidden, out]
    }

    /// The backward pass of [`Network::adapt`].
    fn adapt_back(&self, x: &[f64], [hidden, out]: &[Vec<f64>; 2], mut d_out: Vec<f64>, gradient: &mut [f64]) {
        let [first, second] = self.adapter.clone();
        relu_back(out, &mut d_out);
        let mut d_hidden = vec![0.0; hidden.len()];
        let weight = &self.parameters[second.clone()];
        linear_back(hidden, self.hidden(), weight, &d_out, [&mut gradient[second], &mut []], &mut d_hidden);
        relu_back(hidden, &mut d_hidden);
        let weight = &self.parameters[first.clone()];
        linear_back(x, self.embedding, weight, &d_hidden, [&mut gradient[first], &mut []], &mut []);
    }

    /// Width between the adapter's layers.
    fn hidden(&self) -> usize {
        self.adapter[0].len() / self.embedding
    }
}

/// The network with its running statistics, as it is after training.
struct WithRunning<'a>(&'a Network);

impl Heads<f64> for WithRunning<'_> {
    fn adapt(&mut self, class: &[f64], out: &mut [f64]) {
        let [_, adapted] = self.0.adapt(class);
        out.copy_from_slice(&adapted);
    }

    fn image_logit(&mut self, residual: &[f64]) -> f64 {
        self.0.image.evaluate(self.0, residual)
    }

    fn holistic_logit(&mut self, map: &[f64]) -> f64 {
        self.0.holistic.evaluate(self.0, map)
    }
}

/// Tells the streams of the initial weights from those of the draws.
const PURPOSE: u64 = 0;

impl Head {
    /// The logits of each row, with the statistics of the batch.
    fn forward(&self, p: &[f64], input: Vec<f64>) -> (Vec<f64>, Trace) {
        let affine = |x: &[f64], inputs: usize, layer: &[Range<usize>; 2]| {
            linear(x, inputs, &p[layer[0].clone()], &p[layer[1].clone()])
        };
        let normalised = |x: &[f64], norm: &[Range<usize>; 2]| batch_norm(x, &p[norm[0].clone()], &p[norm[1].clone()]);
        let mut first = affine(&input, self.inputs, &self.layers[0]);
        relu(&mut first);
        let (first_normal, first_kept) = normalised(&first, &self.norms[0]);
        let mut second = affine(&first_normal, self.norms[0][0].len(), &self.layers[1]);
        relu(&mut second);
        let (second_normal, second_kept) = normalised(&second, &self.norms[1]);
        let logits = affine(&second_normal, self.norms[1][0].len(), &self.layers[2]);
        let trace = Trace {
            input,
            active: [first, second],
            normal: [first_normal, second_normal],
            kept: [first_kept, second_kept],
        };
        (logits, trace)
    }

    /// Adds to the gradients of the parameters and returns that of the input.
    fn backward(&self, p: &[f64], trace: &Trace, d_logits: &[f64], gradient: &mut [f64]) -> Vec<f64> {
        let mut d = d_logits.to_vec();
        for layer in (0..3).rev() {
            let x = if layer == 0 { &trace.input } else { &trace.normal[layer - 1] };
            let [weight, bias] = self.layers[layer].clone();
            let inputs = weight.len() / bias.len();
            let mut dx = vec![0.0; x.len()];
            let gradients = two(gradient, weight.clone(), bias);
            linear_back(x, inputs, &p[weight], &d, gradients, &mut dx);
            if layer == 0 {
                return dx;
            }
            let [scale, shift] = self.norms[layer - 1].clone();
            let gradients = two(gradient, scale.clone(), shift);
            d = batch_norm_back(&trace.kept[layer - 1], &p[scale], &dx, gradients);
            relu_back(&trace.active[layer - 1], &mut d);
        }
        d
    }

    /// The logit of one row, with the running statistics.
    fn evaluate(&self, network: &Network, input: &[f64]) -> f64 {
        let (p, r) = (&network.parameters, &network.running);
        let mut x = input.to_vec();
        for layer in 0..3 {
            let [weight, bias] = self.layers[layer].clone();
            x = linear(&x, x.len(), &p[weight], &p[bias]);
            if layer < 2 {
                relu(&mut x);
                let [scale, shift] = self.norms[layer].clone();
                let [mean, variance] = self.running[layer].clone();
                batch_norm_running(&mut x, &p[scale], &p[shift], &r[mean], &r[variance]);
            }
        }
        x[0]
    }

    /// Moves the running statistics towards those of the batch.
    fn track(&self, running: &mut [f64], trace: &Trace) {
        for (kept, [mean, variance]) in trace.kept.iter().zip(&self.running) {
            for (range, batch) in [(mean, &kept.mean), (variance, &kept.unbiased)] {
                let statistics = running[range.clone()].iter_mut();
                statistics.zip(batch).for_each(|(s, b)| *s = (1.0 - MOMENTUM) * *s + MOMENTUM * b);
            }
        }
    }
}

/// Two parts of a vector, the second after the first.
fn two(vector: &mut [f64], first: Range<usize>, second: Range<usize>) -> [&mut [f64]; 2] {
    let (low, high) = vector.split_at_mut(second.start);
    [&mut low[first], &mut high[..second.len()]]
}
