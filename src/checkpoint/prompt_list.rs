//! Few-shot prompt lists: `torch.save` of a list of normalised images, as the published code loads them (`<class>.pt`).

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;

use super::read_at::{ReadAt, SourceFile};
use super::{SAMPLE, Tensor, torch};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::shape_text;
use crate::view::Normalised;

/// An open prompt list. Its images go to [`BankBuilder::add_normalised`](crate::BankBuilder::add_normalised).
///
/// Each tensor is `[3, S, S]` or `[1, 3, S, S]`, resized, cropped and normalised as CLIP's images are, in f32, f16 or
/// bf16, with any strides. It is read from the file when requested.
pub struct PromptList {
    path: PathBuf,
    file: SourceFile,
    tensors: Vec<Tensor>,
}

impl PromptList {
    /// Opens a file and reads where its tensors lie. Nothing in it is executed.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be read, [`ErrorKind::Weights`] if it is not a list of tensors, is empty,
    /// or is refused (see [the module](crate::checkpoint)).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = SourceFile::open(path, "a list of tensors of torch.save (.pt)")?;
        let broken = |message: &str| Error::new(ErrorKind::Weights, message).at(path);
        if !torch::is_torch(&file.head(SAMPLE)?) {
            return Err(broken(
                "was not written by torch.save, expected a list of tensors: torch.save([tensor, ...], path)",
            ));
        }
        let tensors = torch::read_list(&file).map_err(|error| error.at(path))?;
        if tensors.is_empty() {
            return Err(broken("is an empty list: K = 0, but at least one normal image is needed"));
        }
        Ok(PromptList { path: path.to_path_buf(), file, tensors })
    }

    /// Number of images, K; at least one.
    #[expect(clippy::len_without_is_empty, reason = "an empty list is refused")]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Image `i` of the list, counted from 0.
    ///
    /// # Errors
    /// [`ErrorKind::Image`] if its type or shape is wrong, or a number cannot be a normalised pixel;
    /// [`ErrorKind::Argument`] if there is no such image; [`ErrorKind::Weights`] if the file has become shorter;
    /// [`ErrorKind::Io`]; [`ErrorKind::Device`] if there is not enough memory.
    pub fn get(&self, i: usize) -> Result<Normalised> {
        let tensor = self.tensors.get(i).ok_or_else(|| {
            let message = format!("image {i} of a list of {}", self.tensors.len());
            Error::new(ErrorKind::Argument, message).at(&self.path)
        })?;
        self.read(tensor).map_err(|error| error.prefixed(&format!("item {i} of the list")).at(&self.path))
    }

    fn read(&self, tensor: &Tensor) -> Result<Normalised> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Image, what));
        let to_f32: fn(&[u8]) -> f32 = match tensor.dtype {
            Dtype::F32 => |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Dtype::F16 => |b| f16::from_le_bytes([b[0], b[1]]).to_f32(),
            Dtype::BF16 => |b| bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            other => return wrong(format!("is stored as {other:?}, expected F32, F16 or BF16")),
        };
        let (size, [down, right], channel) = match (&tensor.shape[..], &tensor.strides[..]) {
            (&[3, height, width], &[channel, down, right]) | (&[1, 3, height, width], &[_, channel, down, right])
                if height == width && height > 0 =>
            {
                (height, [down, right], channel)
            }
            _ => {
                let found = shape_text(&tensor.shape);
                return wrong(format!("has shape {found}, expected [3, S, S]: a normalised square image"));
            }
        };
        let (bytes, element) = (self.file.read(tensor.range.clone())?, tensor.dtype.bitsize() / 8);
        // Every index lies in the storage, as was checked when the tensor was described.
        let values = (0..3 * size * size).map(|i| {
            let [c, y, x] = [i / (size * size), i / size % size, i % size];
            let at = c * channel + y * down + x * right;
            to_f32(&bytes[at * element..(at + 1) * element])
        });
        Normalised::new(values.collect(), size)
    }
}
