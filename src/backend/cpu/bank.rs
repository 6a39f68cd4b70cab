//! The tensors of a bank, where the host keeps them.

use std::sync::Arc;

use super::patch_nn::Integers;
use crate::backend::BankRole;
use crate::error::{Error, ErrorKind, Result};

/// The tensors of a bank.
pub struct Bank(pub(super) Vec<Tensor>);

/// A tensor where the bank keeps it. Unit rows take a quarter more memory for their bytes, and many rows up to an
/// eighth more for those along axes.
pub(super) struct Tensor {
    pub values: Arc<Vec<f32>>,
    /// Layers, rows of a layer, width.
    pub shape: [usize; 3],
    pub role: BankRole,
    pub integers: Option<Integers>,
}

impl Bank {
    /// The unit rows at place `tensor`.
    pub(super) fn rows(&self, op: &'static str, tensor: usize) -> Result<&Tensor> {
        let found = self.0.get(tensor).filter(|found| found.role == BankRole::Rows);
        found.ok_or_else(|| missing(op, tensor))
    }

    /// The rows at place `tensor`, of unit length or not.
    pub(crate) fn any_rows(&self, op: &'static str, tensor: usize) -> Result<(&[f32], [usize; 3])> {
        let found = self.0.get(tensor).ok_or_else(|| missing(op, tensor))?;
        Ok((&found.values, found.shape))
    }

    /// The numbers at place `tensor`, whatever their extents.
    pub(crate) fn any_numbers(&self, op: &'static str, tensor: usize) -> Result<(&[f32], [usize; 3])> {
        let found = self.0.get(tensor).filter(|found| found.role == BankRole::Numbers);
        found.map(|found| (&found.values[..], found.shape)).ok_or_else(|| missing(op, tensor))
    }

    /// The numbers at place `tensor`, `len` of them.
    pub(crate) fn numbers(&self, op: &'static str, tensor: usize, len: usize) -> Result<&[f32]> {
        let found = self.0.get(tensor).filter(|found| found.role == BankRole::Numbers && found.values.len() == len);
        found.map(|found| &found.values[..]).ok_or_else(|| missing(op, tensor))
    }
}

fn missing(op: &'static str, tensor: usize) -> Error {
    Error::new(ErrorKind::Internal, format!("{op}: the bank has no tensor of the kind and size at place {tensor}"))
        .in_operation(op)
}
