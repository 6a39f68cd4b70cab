//! Tensors of a bank for a device, and searches in them.

use std::ops::Range;
use std::sync::Arc;

use super::Role;

/// How a device keeps a tensor of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BankRole {
    /// Unit rows that [`Backend::patch_nn`](super::Backend::patch_nn) searches, stored as [`Role::UnitRows`].
    Rows,
    /// Numbers for a method's own operations, stored as [`Role::Parameter`].
    Numbers,
}

impl BankRole {
    /// The role of its numbers.
    pub fn role(self) -> Role {
        match self {
            BankRole::Rows => Role::UnitRows,
            BankRole::Numbers => Role::Parameter,
        }
    }
}

/// A tensor of a bank for a device. Operations name it by its index in the list for
/// [`Backend::bank`](super::Backend::bank).
#[derive(Clone, Copy, Debug)]
pub struct BankTensor<'a> {
    /// The elements, row-major. A device in host memory does not copy them.
    pub values: &'a Arc<Vec<f32>>,
    /// Layers, rows of a layer, width.
    pub shape: [usize; 3],
    /// How it is stored.
    pub role: BankRole,
}

/// Most tensors of a bank on a device.
pub const MAX_BANK_TENSORS: usize = 4;

/// Most banks of one batch.
pub const MAX_BANKS: usize = 32;

/// The query rows of [`Backend::patch_nn`](super::Backend::patch_nn), the tensor to search, and the place of the
/// results.
#[derive(Clone, Debug)]
pub struct Search {
    /// Rows of a layer of the queries, `[L, query_pitch, W]`.
    pub query_pitch: usize,
    /// The rows to search for, the same in every layer.
    pub queries: Range<usize>,
    /// The bank's tensor of unit rows, `[L, R, W]`.
    pub tensor: usize,
    /// Elements of a layer of the output, `[L, out_pitch]`.
    pub out_pitch: usize,
    /// Index of the first query's result in each layer.
    pub first_out: usize,
}

impl Search {
    /// A search of all `rows` rows of every layer in the bank's tensor `tensor`.
    pub fn all(rows: usize, tensor: usize) -> Self {
        Search { query_pitch: rows, queries: 0..rows, tensor, out_pitch: rows, first_out: 0 }
    }

    /// Rows that the queries must have in `layers` layers.
    pub(crate) fn query_len(&self, layers: usize) -> usize {
        layers.saturating_sub(1) * self.query_pitch + self.queries.end
    }

    /// Elements that the output must have in `layers` layers.
    pub(crate) fn out_len(&self, layers: usize) -> usize {
        layers.saturating_sub(1) * self.out_pitch + self.first_out + self.queries.len()
    }
}
