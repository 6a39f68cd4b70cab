//! A frame to patch rows: resized by Pillow's bicubic filter, normalised, cut.

use inctrl::backend::{Backend, Role};
use inctrl::methods::inctrl::HeadOps;
use inctrl::view::patches::{MEAN, STD};
use inctrl::view::{Plan, View};
use inctrl::{Fit, Frame, PixelFormat, Result};

use super::comparison::{Comparison, places, rounding};
use super::inputs::output;
use super::sizes::unfit;
use super::{Case, Operation, Size, Sizes, Work};

pub const PREPROCESS: Operation = Operation {
    name: "preprocess",
    formula: "patch rows of the frame, resized (bicubic, widened), normalised",
    sizes: &[
        Size { most: 16_384, ..Size::new("side", 1024, "width and height of the frame") },
        Size { most: 4096, ..Size::new("size", 240, "width and height after resizing") },
        Size { most: 256, ..Size::new("patch", 16, "width and height of a patch") },
        Size { least: 1, most: 3, ..Size::new("channels", 1, "1: grey, 3: RGB") },
    ],
};

pub struct Preprocess<B: Backend> {
    side: usize,
    size: usize,
    patch: usize,
    format: PixelFormat,
    pixels: Vec<u8>,
    view: [View; 1],
    out: B::Buffer,
    operand: usize,
}

impl<B: HeadOps> Preprocess<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (side, size, patch) = (sizes.get("side"), sizes.get("size"), sizes.get("patch"));
        let format = match sizes.get("channels") {
            1 => PixelFormat::Grey8,
            3 => PixelFormat::Rgb8,
            _ => return Err(unfit(sizes, "a frame has 1 channel or 3")),
        };
        if patch > size {
            return Err(unfit(sizes, "a patch is larger than the resized frame: make it smaller"));
        }
        let channels = format.channels();
        let pixels = (0..side * side * channels).map(|i| ((i * 7) ^ (i / side * 13) ^ (i / 5)) as u8).collect();
        let view = [View::whole(Plan::new(side, side, size, Fit::Crop)?, None, patch)];
        let grid = (size / patch).pow(2);
        let out = backend.buffer(Role::Operand, grid * 3 * patch * patch)?;
        let operand = backend.precision().stores(Role::Operand).size();
        Ok(Box::new(Preprocess { side, size, patch, format, pixels, view, out, operand }))
    }

    /// Numbers of the patch rows.
    fn len(&self) -> usize {
        (self.size / self.patch).pow(2) * 3 * self.patch.pow(2)
    }

    /// The resized byte at (x, y): across, rounded, then down, rounded.
    fn resized(&self, x: usize, y: usize, channel: usize) -> f64 {
        let byte = |sum: f64| sum.clamp(0.0, 255.0).round();
        let channels = self.format.channels();
        let pixel = |x: usize, y: usize| f64::from(self.pixels[(y * self.side + x) * channels + channel % channels]);
        let columns = weights(self.side, self.size, x);
        let across = |row: usize| byte(columns.iter().map(|(j, w)| w * pixel(*j, row)).sum());
        byte(weights(self.side, self.size, y).iter().map(|(j, w)| w * across(*j)).sum())
    }
}

/// Weights of bicubic resampling (a = -0.5, widened by the scale) from `source` pixels to output `i` of `size`.
fn weights(source: usize, size: usize, i: usize) -> Vec<(usize, f64)> {
    let scale = source as f64 / size as f64;
    let support = scale.max(1.0);
    let centre = (i as f64 + 0.5) * scale;
    let cubic = |x: f64| match x.abs() {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    };
    let first = (centre - 2.0 * support + 0.5).max(0.0) as usize;
    let last = ((centre + 2.0 * support + 0.5) as usize).min(source);
    let each: Vec<(usize, f64)> = (first..last).map(|j| (j, cubic((j as f64 - centre + 0.5) / support))).collect();
    let sum: f64 = each.iter().map(|(_, w)| w).sum();
    each.into_iter().map(|(j, w)| (j, w / sum)).collect()
}

impl<B: HeadOps> Case<B> for Preprocess<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        let frame = Frame::packed(&self.pixels, self.side, self.side, self.format)?;
        backend.preprocess(frame, &self.view, self.patch, 0, &mut self.out, |_, _| Ok(()))
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let out = output(backend, &self.out, self.len())?;
        found.all_finite(&out);
        let (patch, columns) = (self.patch, self.size / self.patch);
        for at in places(out.len(), 512) {
            let (cell, within) = (at / (3 * patch * patch), at % (3 * patch * patch));
            let (channel, y, x) = (within / (patch * patch), within / patch % patch, within % patch);
            let byte = self.resized(cell % columns * patch + x, cell / columns * patch + y, channel);
            let (mean, std) = (f64::from(MEAN[channel]), f64::from(STD[channel]));
            let expected = (byte / 255.0 - mean) / std;
            // Weights are fixed-point numbers: a sum near a half may be rounded the other way.
            let step = 1.001 / 255.0 / std;
            found.compare(
                at,
                out[at],
                expected,
                step + rounding(backend.precision().stores(Role::Operand)) * expected.abs(),
            );
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work { flop: 0, bytes: self.pixels.len() + self.len() * self.operand }
    }

    fn shape(&self) -> String {
        format!("{0} x {0} x {1} to {2} x {2}", self.side, self.format.channels(), self.size)
    }
}
