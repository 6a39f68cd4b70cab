//! The geometry of a fit: where the picture goes on the model input.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// How a picture that is not square is fitted to the model's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The shorter side becomes `size` and the middle of the longer side is kept: torchvision's `Resize` and
    /// `CenterCrop`, as CLIP and the published InCTRL do. The ends of the longer side are cut off. For an encoder that
    /// was trained on the middle of larger pictures, the shorter side becomes 8/7 of `size`, and a margin is cut off,
    /// too.
    #[default]
    Crop,
    /// The longer side becomes `size`; the picture is centred on a canvas of neutral grey.
    Letterbox,
    /// Both sides become `size`; the aspect ratio is not kept.
    Stretch,
    /// The shorter side becomes `size` and the aspect ratio is kept, so the input has the picture's shape: for encoders
    /// and methods that take any grid. At the right and at the bottom a strip of less than one patch is cut off, as in
    /// the published AnomalyDINO.
    Trim,
}

impl Fit {
    /// The lower-case name that files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Fit::Crop => "crop",
            Fit::Letterbox => "letterbox",
            Fit::Stretch => "stretch",
            Fit::Trim => "trim",
        }
    }

    /// What to use instead, in words, where this fit leaves a part of a picture out.
    pub fn remedy(self) -> &'static str {
        match self {
            Fit::Crop | Fit::Trim => "letterbox and stretch use the whole image",
            Fit::Letterbox | Fit::Stretch => "a size that is a multiple of the encoder's patch uses the whole image",
        }
    }

    /// The geometry of both axes for a picture of `width` x `height` pixels, whose shorter side becomes `crop` before
    /// the crop. None of the numbers is zero.
    pub(super) fn spans(self, width: usize, height: usize, size: usize, crop: usize) -> [Span; 2] {
        let (short, long) = (width.min(height), width.max(height));
        [width, height].map(|source| {
            let resized = match self {
                // int(size * long / short): floor, as in torchvision.
                Fit::Crop if source == short => crop,
                Fit::Crop => scaled(crop, long, short, 0),
                Fit::Trim if source == short => size,
                Fit::Trim => scaled(size, long, short, 0),
                Fit::Letterbox if source == long => size,
                Fit::Letterbox => scaled(size, short, long, long / 2).max(1),
                Fit::Stretch => size,
            };
            let target = if self == Fit::Trim { resized } else { size };
            let first = half_to_even(resized.saturating_sub(target));
            let (kept, pad) = (first..first + resized.min(target), target.saturating_sub(resized) / 2);
            Span { source, resized, target, kept, pad }
        })
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Fit::Crop, Fit::Letterbox, Fit::Stretch, Fit::Trim].into_iter().find(|fit| fit.name() == text).ok_or_else(
            || Error::new(ErrorKind::Argument, format!("{text:?} is not a fit: use crop, letterbox, stretch or trim")),
        )
    }
}

/// `(size * numerator + addend) / denominator`, rounded down, in 64 bits.
fn scaled(size: usize, numerator: usize, denominator: usize, addend: usize) -> usize {
    ((size as u64 * numerator as u64 + addend as u64) / denominator as u64) as usize
}

/// Half of `n`, rounded to the even neighbour where `n` is odd: Python's `round(n / 2)`.
fn half_to_even(n: usize) -> usize {
    let half = n / 2;
    half + (n & half & 1)
}

/// One axis: `source` pixels are resized to `resized`. The pixels `kept` of these go to the `target` pixels of the
/// model input, from index `pad` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub source: usize,
    pub resized: usize,
    pub target: usize,
    pub kept: Range<usize>,
    pub pad: usize,
}

impl Span {
    /// Start and extent, in source pixels, of the interval that the target covers.
    pub fn covered(&self) -> (f64, f64) {
        // Integers are multiplied before the division, so that whole results are exact.
        let in_source = |length: f64| length * self.source as f64 / self.resized as f64;
        (in_source(self.kept.start as f64 - self.pad as f64), in_source(self.target as f64))
    }
}

/// The rectangle of the original picture that the model's input covers.
///
/// The unit is a pixel of the original. Coordinates are continuous: pixel `i` spans `[i, i + 1)`, and the origin is the
/// top left corner. Column `u` (continuous, `0..=W`) of an input `W` pixels wide shows the original at `x + u * width /
/// W`; rows likewise. This places a heat map over the original. With [`Fit::Letterbox`] the rectangle extends outside
/// the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Horizontal extent.
    pub width: f64,
    /// Vertical extent.
    pub height: f64,
}

impl Placement {
    /// The share of a picture of `width` x `height` pixels that lies inside.
    pub fn share_of(&self, width: usize, height: usize) -> f64 {
        let inside = |from: f64, extent: f64, side: f64| ((from + extent).min(side) - from.max(0.0)).max(0.0) / side;
        inside(self.x, self.width, width as f64) * inside(self.y, self.height, height as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_count_what_is_inside_the_picture() {
        let share = |x, y, width, height| Placement { x, y, width, height }.share_of(640, 480);
        assert_eq!(share(80.0, 0.0, 480.0, 480.0), 0.75);
        assert_eq!(share(0.0, -80.0, 640.0, 640.0), 1.0);
        assert_eq!(share(600.0, 0.0, 80.0, 480.0), 0.0625);
        assert_eq!(share(700.0, 0.0, 80.0, 480.0), 0.0);
    }

    #[test]
    fn crop_offsets_round_half_to_even_as_python_does() {
        // [round(n / 2) for n in range(10)]
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(half_to_even), [0, 0, 1, 2, 2, 2, 3, 4, 4, 4]);
    }

    #[test]
    fn sides_of_the_resized_picture() {
        let resized = |fit: Fit, width, height, size| fit.spans(width, height, size, size).map(|span| span.resized);
        assert_eq!(resized(Fit::Crop, 1280, 1024, 240), [300, 240]);
        assert_eq!(resized(Fit::Crop, 207, 301, 240), [240, 348]); // 348.98 rounds down
        assert_eq!(resized(Fit::Crop, 240, 999, 240), [240, 999]);
        assert_eq!(resized(Fit::Letterbox, 1280, 1024, 240), [240, 192]);
        assert_eq!(resized(Fit::Letterbox, 207, 301, 240), [165, 240]); // 165.05
        assert_eq!(resized(Fit::Letterbox, 31, 48, 24), [16, 24]); // 15.5
        assert_eq!(resized(Fit::Letterbox, 1, 9000, 24), [1, 24]);
        assert_eq!(resized(Fit::Stretch, 1, 9000, 24), [24, 24]);
        assert_eq!(resized(Fit::Trim, 207, 301, 240), [240, 348]);
        assert_eq!(resized(Fit::Trim, 301, 207, 240), [348, 240]);
        // torchvision's Resize(256) and CenterCrop(224), of either side.
        let [x, y] = Fit::Crop.spans(301, 207, 224, 256);
        assert_eq!((x.resized, x.kept, y.resized, y.kept), (372, 74..298, 256, 16..240));
    }

    #[test]
    fn names_round_trip() {
        for fit in [Fit::Crop, Fit::Letterbox, Fit::Stretch, Fit::Trim] {
            assert_eq!(fit.to_string().parse::<Fit>().unwrap(), fit);
            assert_eq!(serde_json::to_string(&fit).unwrap(), format!("\"{fit}\""));
        }
        let error = "Crop".parse::<Fit>().unwrap_err();
        assert!(error.to_string().contains("letterbox"), "{error}");
        assert_eq!(Fit::default(), Fit::Crop);
        // A fit is no remedy for itself.
        for fit in [Fit::Letterbox, Fit::Stretch] {
            assert!(!fit.remedy().contains(fit.name()) && Fit::Crop.remedy().contains(fit.name()), "{fit}");
        }
    }
}
