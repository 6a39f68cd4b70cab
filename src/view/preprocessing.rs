//! [`Preprocessing`]: how pictures were prepared when an encoder was trained, as stated in its files.

use std::fmt;

use super::fit::Fit;
use super::patches::{self, ValueTable};
use crate::error::{Error, ErrorKind, Result};

/// The kernel of a resize, as in Pillow: antialiased, with a support that grows with the reduction factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Keys' cubic convolution with a = -0.5, over two pixels on either side.
    #[default]
    Bicubic,
    /// A triangle, over one pixel on either side.
    Bilinear,
}

impl Filter {
    /// The lower-case name that files use.
    pub fn name(self) -> &'static str {
        match self {
            Filter::Bicubic => "bicubic",
            Filter::Bilinear => "bilinear",
        }
    }
}

/// How an encoder's training brought pictures to a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResizeMode {
    /// The shorter side to the size of the input, then the middle: [`Fit::Crop`].
    #[default]
    Shortest,
    /// Both sides to the size of the input: [`Fit::Stretch`].
    Squash,
    /// The shorter side to 8/7 of the size of the input, then the middle: torchvision's 256 and 224. [`Fit::Crop`]
    /// leaves out this margin on every side.
    Margin,
}

impl ResizeMode {
    /// The lower-case name that files use.
    pub fn name(self) -> &'static str {
        match self {
            ResizeMode::Shortest => "shortest",
            ResizeMode::Squash => "squash",
            ResizeMode::Margin => "margin",
        }
    }

    /// The same as a [`Fit`].
    pub fn fit(self) -> Fit {
        match self {
            ResizeMode::Shortest | ResizeMode::Margin => Fit::Crop,
            ResizeMode::Squash => Fit::Stretch,
        }
    }

    /// What the shorter side of a picture becomes before the middle of `size` pixels is cut out.
    pub(super) fn before_crop(self, size: usize) -> usize {
        match self {
            ResizeMode::Shortest | ResizeMode::Squash => size,
            ResizeMode::Margin => size * 8 / 7,
        }
    }
}

/// How pixels are prepared for an encoder. This is part of the model's identity.
///
/// The default is CLIP's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// Subtracted from each channel: red, green, blue, in units of full scale.
    pub mean: [f32; 3],
    /// Then each channel is divided by this.
    pub std: [f32; 3],
    /// The kernel of the resize.
    pub filter: Filter,
    /// The default fit of a bank.
    pub resize: ResizeMode,
}

impl Default for Preprocessing {
    fn default() -> Self {
        Preprocessing::CLIP
    }
}

impl Preprocessing {
    /// CLIP's, and that of the published InCTRL.
    pub const CLIP: Preprocessing =
        Preprocessing { mean: patches::MEAN, std: patches::STD, filter: Filter::Bicubic, resize: ResizeMode::Shortest };

    /// ImageNet's, and that of DINOv2.
    pub const IMAGENET: Preprocessing = Preprocessing {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        filter: Filter::Bicubic,
        resize: ResizeMode::Shortest,
    };

    /// That of torchvision's ResNets.
    pub const TORCHVISION: Preprocessing =
        Preprocessing { filter: Filter::Bilinear, resize: ResizeMode::Margin, ..Preprocessing::IMAGENET };

    /// `[channel][value]`: `(value / 255 - mean) / std`, each step rounded to f32 as torch does.
    pub fn value_table(&self) -> ValueTable {
        patches::value_table(self.mean, self.std)
    }

    /// Checks that the numbers are for pixels from 0 to 1.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the number and its range.
    pub fn validate(&self) -> Result<()> {
        for (name, values, low, high) in [("mean", self.mean, 0.0, 1.0), ("std", self.std, 1e-3, 10.0)] {
            if !values.iter().all(|value| (low..=high).contains(value)) {
                let message = format!(
                    "the pixels' {name} is {values:?}, expected numbers from {low} to {high}, in units of full scale \
                    (divide numbers for 0 to 255 by 255)"
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (filter, resize) = (self.filter.name(), self.resize.name());
        write!(f, "{filter}, {resize} (fit {}), mean {:?}, std {:?}", self.resize.fit(), self.mean, self.std)
    }
}
