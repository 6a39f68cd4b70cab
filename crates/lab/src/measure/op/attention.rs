//! `softmax(Q Kᵀ / sqrt(d)) V` of each head: of every token, and of one query an image.

use inctrl::Result;
use inctrl::backend::{AttentionShape, Backend, Role, Sequences};
use inctrl::methods::inctrl::HeadOps;
use inctrl::tensor::DType;

use super::comparison::{Comparison, places, rounding};
use super::inputs::{Input, dot, output};
use super::{Case, Operation, Size, Sizes, Work};

const IMAGES: Size = Size::new("images", 1, "sequences of the batch");
const TOKENS: Size = Size::new("tokens", 226, "tokens of a sequence");
const HEADS: Size = Size { most: 256, ..Size::new("heads", 14, "heads") };
const HEAD_WIDTH: Size = Size { most: 128, ..Size::row("head-width", 64, 64, "width of a head") };

pub const ATTENTION: Operation = Operation {
    name: "attention",
    formula: "out = softmax(Q Kᵀ / sqrt(d)) V of each head",
    sizes: &[IMAGES, TOKENS, HEADS, HEAD_WIDTH, Size::switch("causal", "1: a token does not see those that follow")],
};
pub const CLASS_ATTENTION: Operation = Operation {
    name: "class_attention",
    formula: "out = softmax(q Kᵀ / sqrt(d)) V of each head, one query a sequence",
    sizes: &[IMAGES, TOKENS, HEADS, HEAD_WIDTH],
};

struct Layout {
    images: usize,
    tokens: usize,
    shape: AttentionShape,
    ends: Vec<usize>,
}

impl Layout {
    fn new(sizes: &Sizes) -> Self {
        let (images, tokens) = (sizes.get("images"), sizes.get("tokens"));
        let shape = AttentionShape { heads: sizes.get("heads"), size: sizes.get("head-width") };
        Layout { images, tokens, shape, ends: (1..=images).map(|image| image * tokens).collect() }
    }

    fn text(&self) -> String {
        format!("{} x {}, {} heads of {}", self.images, self.tokens, self.shape.heads, self.shape.size)
    }
}

/// One head's answer to a query over tokens `0..seen`, and the largest value.
fn attended<'a>(
    query: &[f32],
    seen: usize,
    key: impl Fn(usize) -> &'a [f32],
    value: impl Fn(usize) -> &'a [f32],
) -> (Vec<f64>, f64) {
    let root = (query.len() as f64).sqrt();
    let scores: Vec<f64> = (0..seen).map(|t| dot(query, key(t)) / root).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut out, mut most) = (0.0, vec![0.0; query.len()], 0.0f64);
    for (t, score) in scores.iter().enumerate() {
        let weight = (score - largest).exp();
        sum += weight;
        for (out, &v) in out.iter_mut().zip(value(t)) {
            *out += weight * f64::from(v);
            most = most.max(f64::from(v).abs());
        }
    }
    out.iter_mut().for_each(|x| *x /= sum);
    (out, most)
}

/// Weights and result are stored in the operand's precision; scores in f32 have an error of some units in the last place.
fn tolerance(dtype: DType, most: f64) -> f64 {
    (4.0 * rounding(dtype) + 1e-5) * most
}

pub struct Attention<B: Backend> {
    layout: Layout,
    causal: bool,
    qkv: Input<B>,
    out: B::Buffer,
    operand: usize,
}

impl<B: HeadOps> Attention<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let layout = Layout::new(sizes);
        let len = layout.images * layout.tokens * layout.shape.width();
        let qkv = Input::numbers(backend, Role::Operand, 1, 3 * len)?;
        let out = backend.buffer(Role::Operand, len)?;
        let operand = backend.precision().stores(Role::Operand).size();
        Ok(Box::new(Attention { layout, causal: sizes.on("causal"), qkv, out, operand }))
    }
}

impl<B: HeadOps> Case<B> for Attention<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        let sequences = Sequences { ends: &self.layout.ends };
        backend.attention(&self.qkv.buffer, sequences, self.layout.shape, self.causal, &mut self.out)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let Layout { images, tokens, shape, .. } = self.layout;
        let width = shape.width();
        let out = output(backend, &self.out, images * tokens * width)?;
        found.all_finite(&out);
        for row in places(images * tokens, 24) {
            let (first, token) = (row / tokens * tokens, row % tokens);
            for head in places(shape.heads, 4) {
                let part = |row: usize, part: usize| {
                    &self.qkv.values[row * 3 * width + part * width + head * shape.size..][..shape.size]
                };
                let seen = if self.causal { token + 1 } else { tokens };
                let (expected, most) = attended(part(row, 0), seen, |t| part(first + t, 1), |t| part(first + t, 2));
                for (x, expected) in expected.iter().enumerate() {
                    let at = row * width + head * shape.size + x;
                    found.compare(at, out[at], *expected, tolerance(backend.precision().stores(Role::Operand), most));
                }
            }
        }
        Ok(())
    }

    fn work(&self) -> Work {
        let Layout { images, tokens, shape, .. } = self.layout;
        let pairs = if self.causal { tokens * (tokens + 1) / 2 } else { tokens * tokens };
        let width = shape.width();
        Work { flop: 4 * images * pairs * width, bytes: 4 * images * tokens * width * self.operand }
    }

    fn shape(&self) -> String {
        self.layout.text()
    }
}

pub struct ClassAttention<B: Backend> {
    layout: Layout,
    q: Input<B>,
    kv: Input<B>,
    out: B::Buffer,
    operand: usize,
}

impl<B: HeadOps> ClassAttention<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let layout = Layout::new(sizes);
        let width = layout.shape.width();
        let q = Input::numbers(backend, Role::Operand, 1, layout.images * width)?;
        let kv = Input::numbers(backend, Role::Operand, 2, 2 * layout.images * layout.tokens * width)?;
        let out = backend.buffer(Role::Operand, layout.images * width)?;
        Ok(Box::new(ClassAttention { layout, q, kv, out, operand: backend.precision().stores(Role::Operand).size() }))
    }
}

impl<B: HeadOps> Case<B> for ClassAttention<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        let sequences = Sequences { ends: &self.layout.ends };
        backend.class_attention(&self.q.buffer, &self.kv.buffer, sequences, self.layout.shape, &mut self.out)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let Layout { images, tokens, shape, .. } = self.layout;
        let width = shape.width();
        let out = output(backend, &self.out, images * width)?;
        found.all_finite(&out);
        for image in places(images, 24) {
            for head in places(shape.heads, 8) {
                let part = |t: usize, part: usize| {
                    let row = image * tokens + t;
                    &self.kv.values[row * 2 * width + part * width + head * shape.size..][..shape.size]
                };
                let query = &self.q.values[image * width + head * shape.size..][..shape.size];
                let (expected, most) = attended(query, tokens, |t| part(t, 0), |t| part(t, 1));
                for (x, expected) in expected.iter().enumerate() {
                    let at = image * width + head * shape.size + x;
                    found.compare(at, out[at], *expected, tolerance(backend.precision().stores(Role::Operand), most));
                }
            }
        }
        Ok(())
    }

    fn work(&self) -> Work {
        let Layout { images, tokens, shape, .. } = self.layout;
        let width = shape.width();
        Work { flop: 4 * images * tokens * width, bytes: 2 * images * (tokens + 1) * width * self.operand }
    }

    fn shape(&self) -> String {
        self.layout.text()
    }
}
