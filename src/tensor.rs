//! Host tensors as stored in files: a name, a shape, a storage type and borrowed or owned bytes.

use std::borrow::Cow;

use half::{bf16, f16};

use crate::error::Result;
use crate::memory::zeros;

/// How the numbers of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain float: the upper half of an `F32`.
    Bf16,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::Bf16 => 2,
        }
    }

    /// The name that files and messages use: `f32`, `f16`, `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
        }
    }
}

/// A read-only tensor: row-major, little-endian, not necessarily aligned.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    /// Name in the file.
    pub name: &'a str,
    /// Extent of each dimension, outermost first.
    pub shape: &'a [usize],
    /// Storage type of `bytes`.
    pub dtype: DType,
    /// `shape.product() * dtype.size()` bytes.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> TensorView<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether the tensor has no element.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements in f32, exactly (f16 and bf16 are subsets of f32).
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let mut out = zeros(&format!("the tensor `{}`", self.name), self.len())?;
        self.read_f32(0, &mut out);
        Ok(out)
    }

    /// Elements `start .. start + out.len()` in f32, exactly.
    ///
    /// # Panics
    /// If the range exceeds the tensor.
    pub fn read_f32(&self, start: usize, out: &mut [f32]) {
        let size = self.dtype.size();
        let bytes = &self.bytes[start * size..(start + out.len()) * size];
        match self.dtype {
            DType::F32 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *o = f32::from_le_bytes(*b);
                }
            }
            DType::F16 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *o = f16::from_le_bytes(*b).to_f32();
                }
            }
            DType::Bf16 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *o = bf16::from_le_bytes(*b).to_f32();
                }
            }
        }
    }

    /// Index of the first element that is NaN or infinite.
    pub fn first_non_finite(&self) -> Option<usize> {
        // An exponent of all ones marks NaN or infinity in all three formats.
        match self.dtype {
            DType::F32 => {
                position(self.bytes.as_chunks::<4>().0, |b| u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000)
            }
            DType::F16 => position(self.bytes.as_chunks::<2>().0, |b| u16::from_le_bytes(b) & 0x7c00 == 0x7c00),
            DType::Bf16 => position(self.bytes.as_chunks::<2>().0, |b| u16::from_le_bytes(b) & 0x7f80 == 0x7f80),
        }
    }
}

/// First index where `bad` holds. Whole blocks are folded without a branch, so that the compiler can vectorise the
/// scan.
fn position<const N: usize>(items: &[[u8; N]], bad: impl Fn([u8; N]) -> bool) -> Option<usize> {
    const BLOCK: usize = 1024;
    for (i, block) in items.chunks(BLOCK).enumerate() {
        if block.iter().fold(false, |any, &item| any | bad(item)) {
            return block.iter().position(|&item| bad(item)).map(|at| i * BLOCK + at);
        }
    }
    None
}

/// A dense layer in host memory: `weight` is `[rows, cols]` row-major (`[out, in]` as PyTorch stores it).
#[derive(Clone, Debug)]
pub struct Dense {
    /// Number of outputs.
    pub rows: usize,
    /// Number of inputs.
    pub cols: usize,
    /// `rows * cols` weights.
    pub weight: Vec<f32>,
    /// `rows` biases, or empty for none.
    pub bias: Vec<f32>,
}

/// A shape as messages print it: `[226, 896]`.
pub fn shape_text(shape: &[usize]) -> Cow<'static, str> {
    if shape.is_empty() {
        return Cow::Borrowed("scalar");
    }
    Cow::Owned(format!("{shape:?}"))
}
