//! Patch tokens of a tap, scaled to length 1, alone or beside the norm that follows.

use inctrl::Result;
use inctrl::backend::{Backend, ImageTokens, Role};
use inctrl::methods::inctrl::HeadOps;

use super::comparison::{Comparison, places, rounding};
use super::inputs::{Input, NormInput, dot, exact, output};
use super::layer_norm::compare_row;
use super::{Case, Operation, Size, Sizes, Work};

const SIZES: &[Size] = &[
    Size::new("images", 1, "images of the batch"),
    Size::new("prefix", 1, "tokens before the patches"),
    Size::new("patches", 225, "patches of an image"),
    Size::row("width", 896, 64, "width of a token"),
];
pub const UNIT_PATCHES: Operation =
    Operation { name: "unit_patches", formula: "taps = x / |x|, prefix tokens left out", sizes: SIZES };
pub const LAYER_NORM_UNIT_PATCHES: Operation = Operation {
    name: "layer_norm_unit_patches",
    formula: "taps = x / |x|, prefix tokens left out; normalised = layer_norm(x)",
    sizes: SIZES,
};

/// The norm of the block that follows, and where its result goes.
struct Next<B: Backend> {
    norm: NormInput<B>,
    out: B::Buffer,
}

pub struct UnitPatches<B: Backend> {
    images: usize,
    tokens: ImageTokens,
    width: usize,
    x: Input<B>,
    taps: B::Buffer,
    next: Option<Next<B>>,
    operand: usize,
}

impl<B: HeadOps> UnitPatches<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (images, width) = (sizes.get("images"), sizes.get("width"));
        let tokens = ImageTokens { prefix: sizes.get("prefix"), patches: sizes.get("patches") };
        let len = images * tokens.count() * width;
        let x = Input::numbers(backend, Role::Stream, 1, len)?;
        let next = if sizes.operation().name == "layer_norm_unit_patches" {
            Some(Next { norm: NormInput::new(backend, 2, width)?, out: backend.buffer(Role::Operand, len)? })
        } else {
            None
        };
        let taps = backend.buffer(Role::UnitRows, images * tokens.patches * width)?;
        Ok(Box::new(UnitPatches {
            images,
            tokens,
            width,
            x,
            taps,
            next,
            operand: backend.precision().stores(Role::Operand).size(),
        }))
    }
}

impl<B: HeadOps> Case<B> for UnitPatches<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        let (x, taps) = (&self.x.buffer, &mut self.taps);
        match &mut self.next {
            None => backend.unit_patches(x, self.images, self.tokens, self.width, None, 0, taps),
            Some(next) => backend.layer_norm_unit_patches(
                x,
                self.images,
                self.tokens,
                self.width,
                &next.norm.norm,
                &mut next.out,
                0,
                taps,
            ),
        }
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let (width, tokens) = (self.width, self.tokens);
        let stored = rounding(backend.precision().stores(Role::Operand));
        let taps = output(backend, &self.taps, self.images * tokens.patches * width)?;
        found.all_finite(&taps);
        for row in places(self.images * tokens.patches, 64) {
            let (image, patch) = (row / tokens.patches, row % tokens.patches);
            let x = &self.x.values[(image * tokens.count() + tokens.prefix + patch) * width..][..width];
            let length = dot(x, x).sqrt();
            for (column, x) in x.iter().enumerate() {
                let expected = f64::from(*x) / length;
                let at = row * width + column;
                found.compare(at, taps[at], expected, (stored + 1e-6) * expected.abs() + 1e-8);
            }
        }
        let Some(next) = &self.next else { return Ok(()) };
        let normalised = output(backend, &next.out, self.images * tokens.count() * width)?;
        found.all_finite(&normalised);
        for row in places(self.images * tokens.count(), 64) {
            let expected = next.norm.of(&exact(&self.x.values[row * width..][..width]));
            compare_row(found, row * width, &normalised[row * width..], &expected, stored);
        }
        Ok(())
    }

    fn work(&self) -> Work {
        let (patches, tokens) = (self.images * self.tokens.patches, self.images * self.tokens.count());
        let read = if self.next.is_some() { tokens } else { patches };
        let normalised = if self.next.is_some() { tokens * self.operand } else { 0 };
        Work { flop: 0, bytes: self.width * (4 * read + patches * self.operand + normalised) }
    }

    fn shape(&self) -> String {
        format!("{} x ({} + {}) x {}", self.images, self.tokens.prefix, self.tokens.patches, self.width)
    }
}
