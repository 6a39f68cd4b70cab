//! Shared by methods for any vision transformer: the blocks that they read, and the view of a picture.

use super::options::{Opt, OptKind, Options, Setting};
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::view::Fit;
use crate::weights::{Arch, Family};

/// Option: the blocks whose tokens are read.
pub(crate) const TAPS: &str = "taps";
/// Option: the size of the view.
pub(crate) const SIZE: &str = "size";
/// Option: views of a prompt.
pub(crate) const ROTATIONS: &str = "rotations";

/// The shorter side at which DINOv2 is used for inspection.
const DINO_SIZE: usize = 448;

/// The option `taps`.
pub(crate) const fn taps(default: &'static str) -> Opt {
    Opt {
        name: TAPS,
        help: "encoder blocks whose patch tokens are compared, counted from 1, such as 6,12; stages of a ResNet",
        kind: OptKind::ModelCounts { low: 1, high: 1024, default },
        of_prompts: false,
    }
}

/// The option `size`.
pub(crate) const fn size(default: &'static str) -> Opt {
    Opt {
        name: SIZE,
        help: "length in pixels that the shorter side of pictures is resized to",
        kind: OptKind::ModelCount { low: 1, high: 4096, default },
        of_prompts: false,
    }
}

/// The default of [`size`] unless the method has its own.
pub(crate) const USUAL_SIZE: &str = "448 for DINOv2, otherwise the model's";

/// The option `rotations`, by equal steps.
pub(crate) const fn rotations(default: usize) -> Opt {
    Opt {
        name: ROTATIONS,
        help: "views of each normal image, rotated in equal steps: 8 means every 45 degrees, 1 only the image itself",
        kind: OptKind::Count { low: 1, high: 64, default },
        of_prompts: true,
    }
}

/// Settles `taps` at the last block, and `size` at what the encoder is used with.
pub(crate) fn settle(arch: &Arch, options: &mut Options) {
    options.settle(TAPS, Setting::Counts(vec![arch.vision.layers]));
    let size = if arch.family == Family::Dinov2 { DINO_SIZE } else { arch.vision.image_size };
    options.settle(SIZE, Setting::Count(size));
}

/// The whole picture where the encoder takes any grid; otherwise that of the model's training.
pub(crate) fn usual_fit(arch: &Arch) -> Option<Fit> {
    (arch.family == Family::Dinov2).then_some(Fit::Trim)
}

/// The blocks that the option `taps` names.
///
/// # Errors
/// [`ErrorKind::Argument`] for a block that the encoder does not have.
pub(crate) fn tapped(arch: &Arch, options: &Options) -> Result<Vec<usize>> {
    let (taps, layers) = (options.counts(TAPS)?, arch.vision.layers);
    if taps.last().is_some_and(|last| *last > layers) {
        let message = format!(
            "the option `taps` names block {}, and the encoder has {layers}: name blocks from 1 to {layers}",
            taps[taps.len() - 1]
        );
        return Err(Error::new(ErrorKind::Argument, message));
    }
    Ok(taps.to_vec())
}

/// The tokens of the [`tapped`] blocks after the final norm, to unit length, and the class embedding if `class` is.
///
/// # Errors
/// As [`tapped`].
pub(crate) fn unit_tokens(arch: &Arch, options: &Options, class: bool) -> Result<Wants> {
    Ok(Wants { taps: tapped(arch, options)?, norm: true, class, unit: true, ..Wants::default() })
}
