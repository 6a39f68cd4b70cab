//! Tokens of images: prefix, patches plus position, and their norms.

use std::sync::Arc;

use inctrl::Result;
use inctrl::backend::{Backend, Embedding, ImageTokens, Role};
use inctrl::methods::inctrl::HeadOps;
use inctrl::tensor::DType;

use super::comparison::{Comparison, places, rounding};
use super::inputs::{Input, NormInput, constant, exact, numbers, output};
use super::layer_norm::compare_row;
use super::{Case, Operation, Size, Sizes, Work};

const SIZES: &[Size] = &[
    Size::new("images", 1, "images of the batch"),
    Size::new("prefix", 1, "tokens before the patches"),
    Size::new("patches", 225, "patches of an image"),
    Size::row("width", 896, 64, "width of a token"),
];
pub const EMBED: Operation =
    Operation { name: "embed", formula: "out = layer_norm(prefix; patches + position)", sizes: SIZES };
pub const EMBED_NORM: Operation = Operation {
    name: "embed_norm",
    formula: "out = layer_norm(prefix; patches + position), normalised = layer_norm(out)",
    sizes: SIZES,
};

/// The norm of the block that follows, and where its result goes.
struct Next<B: Backend> {
    norm: NormInput<B>,
    out: B::Buffer,
}

pub struct Embed<B: Backend> {
    images: usize,
    tokens: ImageTokens,
    width: usize,
    patches: Input<B>,
    prefix: Vec<f32>,
    position: Vec<f32>,
    first: NormInput<B>,
    embedding: Embedding<B>,
    out: B::Buffer,
    next: Option<Next<B>>,
    operand: usize,
}

impl<B: HeadOps> Embed<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (images, width) = (sizes.get("images"), sizes.get("width"));
        let tokens = ImageTokens { prefix: sizes.get("prefix"), patches: sizes.get("patches") };
        let patches = Input::numbers(backend, Role::Stream, 1, images * tokens.patches * width)?;
        let (prefix, position) = (numbers(2, tokens.prefix * width), numbers(3, tokens.patches * width));
        let first = NormInput::new(backend, 4, width)?;
        let embedding = Embedding {
            prefix: Arc::new(constant(backend, &prefix)?),
            position: constant(backend, &position)?,
            norm: Some(Arc::clone(&first.norm)),
            tokens,
        };
        let rows = images * tokens.count();
        let next = if sizes.operation().name == "embed_norm" {
            Some(Next { norm: NormInput::new(backend, 6, width)?, out: backend.buffer(Role::Operand, rows * width)? })
        } else {
            None
        };
        Ok(Box::new(Embed {
            images,
            tokens,
            width,
            patches,
            prefix,
            position,
            first,
            embedding,
            out: backend.buffer(Role::Stream, rows * width)?,
            next,
            operand: backend.precision().stores(Role::Operand).size(),
        }))
    }

    fn rows(&self) -> usize {
        self.images * self.tokens.count()
    }

    /// Token `row` of the batch, in f64.
    fn token(&self, row: usize) -> Vec<f64> {
        let (image, token) = (row / self.tokens.count(), row % self.tokens.count());
        let Some(patch) = token.checked_sub(self.tokens.prefix) else {
            return self.first.of(&exact(&self.prefix[token * self.width..][..self.width]));
        };
        let content = &self.patches.values[(image * self.tokens.patches + patch) * self.width..][..self.width];
        let position = &self.position[patch * self.width..][..self.width];
        let sum: Vec<f64> = content.iter().zip(position).map(|(&x, &p)| f64::from(x) + f64::from(p)).collect();
        self.first.of(&sum)
    }
}

impl<B: HeadOps> Case<B> for Embed<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        let (patches, embedding) = (&self.patches.buffer, &self.embedding);
        match &mut self.next {
            None => backend.embed(patches, self.images, embedding, &mut self.out),
            Some(next) => {
                let (norm, normalised) = (&next.norm.norm, &mut next.out);
                backend.embed_norm(patches, self.images, embedding, &mut self.out, norm, normalised)
            }
        }
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let len = self.rows() * self.width;
        let out = output(backend, &self.out, len)?;
        found.all_finite(&out);
        let normalised = self.next.as_ref().map(|next| output(backend, &next.out, len)).transpose()?;
        for row in places(self.rows(), 64) {
            let first = row * self.width;
            let token = self.token(row);
            compare_row(found, first, &out[first..], &token, rounding(DType::F32));
            if let (Some(next), Some(normalised)) = (&self.next, &normalised) {
                let expected = next.norm.of(&token);
                compare_row(
                    found,
                    first,
                    &normalised[first..],
                    &expected,
                    rounding(backend.precision().stores(Role::Operand)),
                );
            }
        }
        Ok(())
    }

    fn work(&self) -> Work {
        let read = (self.images + 1) * self.tokens.patches + self.tokens.prefix;
        let written = self.rows() * (4 + if self.next.is_some() { self.operand } else { 0 });
        Work { flop: 0, bytes: self.width * (4 * read + written) }
    }

    fn shape(&self) -> String {
        format!("{} x ({} + {}) x {}", self.images, self.tokens.prefix, self.tokens.patches, self.width)
    }
}
