//! AdamW (Loshchilov & Hutter 2019), as PyTorch's `torch.optim.AdamW` computes it.

const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;
const WEIGHT_DECAY: f64 = 0.01;

/// The optimiser's memory: running means of the gradient and of its square, for every parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AdamW {
    pub rate: f64,
    pub steps: u64,
    pub mean: Vec<f64>,
    pub square: Vec<f64>,
}

impl AdamW {
    pub fn new(parameters: usize, rate: f64) -> Self {
        AdamW { rate, steps: 0, mean: vec![0.0; parameters], square: vec![0.0; parameters] }
    }

    /// One step: every parameter decays by 0.01 of the rate, then moves against its gradient.
    pub fn step(&mut self, parameters: &mut [f64], gradient: &[f64]) {
        self.steps += 1;
        // Beyond any run: there both corrections are 1.
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let [first, second] = BETAS.map(|beta| 1.0 - beta.powi(steps));
        let moments = self.mean.iter_mut().zip(self.square.iter_mut());
        for ((p, g), (mean, square)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *p *= 1.0 - self.rate * WEIGHT_DECAY;
            *mean = BETAS[0] * *mean + (1.0 - BETAS[0]) * g;
            *square = BETAS[1] * *square + (1.0 - BETAS[1]) * g * g;
            *p -= self.rate / first * *mean / (square.sqrt() / second.sqrt() + EPSILON);
        }
    }
}
