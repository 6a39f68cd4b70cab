//! Inputs for operations, and tensors in the form of files.

use inctrl::tensor::{DType, TensorView};

/// `len` numbers, roughly normal with standard deviation `scale`, that depend on the arguments only.
pub fn random(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let number = |i: usize| {
        let mut x = (seed << 40).wrapping_add(i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        // Three uniform numbers in [-1, 1) have variance 1 together.
        let uniform = |shift: u32| ((x >> shift) & 0xf_ffff) as f32 / 524_288.0 - 1.0;
        scale * (uniform(0) + uniform(20) + uniform(40))
    };
    (0..len).map(number).collect()
}

/// A tensor as a file holds it.
pub struct Stored {
    shape: Vec<usize>,
    dtype: DType,
    bytes: Vec<u8>,
}

impl Stored {
    /// Stores `values` in `dtype`; they come back rounded from [`Stored::values`].
    pub fn new(shape: &[usize], dtype: DType, values: &[f32]) -> Self {
        let bytes = match dtype {
            DType::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            DType::F16 => values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
            DType::Bf16 => values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect(),
        };
        Stored { shape: shape.to_vec(), dtype, bytes }
    }

    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        Self::new(shape, DType::F32, values)
    }

    pub fn view(&self) -> TensorView<'_> {
        TensorView { name: "tensor", shape: &self.shape, dtype: self.dtype, bytes: (&self.bytes).into() }
    }

    pub fn values(&self) -> Vec<f32> {
        self.view().to_f32().unwrap()
    }
}
