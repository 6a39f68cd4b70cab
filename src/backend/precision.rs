//! Precision as a policy: the arithmetic of an engine, and how a device stores each role in it. Only this file decides
//! it; kernels are chosen by the operation and by the type that this file names.
//!
//! | role | f32 | f16 (GPU) | bf16 (CPU) | int8 (CPU) |
//! |---|---|---|---|---|
//! | weights of the layers that all tokens pass through in a block, and their left operands | f32 | f16 | bf16 | bytes |
//! | weights of other products: patch rows, the last block's class token, projections, heads | f32 | f16 | bf16 | bf16 |
//! | operands of other products: patch rows, queries, keys, values | f32 | f16 | bf16 | bf16 |
//! | unit rows, of a query and of a bank | f32 | f16 | f32 | f32 |
//! | residual stream, class embeddings, maps, results | f32 | f32 | f32 | f32 |
//! | parameters of norms, positions, biases, a bank's numbers | f32 | f32 | f32 | f32 |
//!
//! A CPU that multiplies bytes and not bf16 computes in f32 what is bf16 in the last column.
//!
//! Sums of products, softmax, norms and a method's heads are computed in f32 in every precision. An operand is rounded
//! once, when it is written or when a product reads it; both give the same bits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::DType;

/// The arithmetic of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// Half precision, on GPUs: fast; scores are within 2e-3 of f32.
    F16,
    /// Brain floats, of CPUs with AVX512-BF16: about twice as fast as f32, scores within 2e-3 of it.
    Bf16,
    /// Bytes, of CPUs with VNNI, for the layers that all tokens pass through: about three times as fast as f32, scores
    /// mostly within 5e-3 of it; maps of models with massive activations change more (`inctrl verify` tells).
    Int8,
    /// Single precision: what the CPU computes in; slow on a GPU, for diagnosis.
    F32,
}

/// The role of numbers, from which a device decides how to store them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The weights of a product.
    Weight,
    /// The weights of a layer that every token passes through, in a block of many.
    TokenWeight,
    /// The operands of products: normalised activations, queries, keys and values.
    Operand,
    /// Rows of unit length, whose cosines are products: taps, and the rows of a bank.
    UnitRows,
    /// Sums over many operations, and all that needs f32: residual stream, class embeddings, maps.
    Stream,
    /// Nearest neighbours, the output of [`Backend::patch_nn`](super::Backend::patch_nn); a device may store more than
    /// the cosine.
    Nearest,
    /// Results that the host reads after every batch.
    Result,
    /// Parameters that are read without conversion: norms, positions, biases, and a bank's numbers for a method's own
    /// operations.
    Parameter,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 4] = [Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8];

    /// The type in which numbers of this role are stored; for bytes, the type from which they are made.
    pub fn stores(self, role: Role) -> DType {
        match role {
            Role::Weight | Role::TokenWeight | Role::Operand => match self {
                Precision::F16 => DType::F16,
                Precision::Bf16 => DType::Bf16,
                Precision::Int8 if role == Role::TokenWeight => DType::F32,
                Precision::Int8 => DType::Bf16,
                Precision::F32 => DType::F32,
            },
            // bf16 has too few digits for distances between rows that are nearly alike.
            Role::UnitRows => {
                if self == Precision::F16 {
                    DType::F16
                } else {
                    DType::F32
                }
            }
            Role::Stream | Role::Nearest | Role::Result | Role::Parameter => DType::F32,
        }
    }

    /// The name in arguments, files and messages: `f32`, `f16`, `bf16`, `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
            Precision::F32 => "f32",
        }
    }

    /// The precision `asked` on a device that supports `has`; without a wish the first of them, which is the default.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] for a precision that the device does not support, with those that it does.
    pub(crate) fn choose(asked: Option<Precision>, device: &str, has: &[Precision]) -> Result<Self> {
        let chosen = asked.or(has.first().copied()).unwrap_or(Precision::F32);
        if has.contains(&chosen) {
            return Ok(chosen);
        }
        let message = format!(
            "{device} does not compute in {chosen}; it has {}: ask for one of these, or for another device",
            listed(has)
        );
        Err(Error::new(ErrorKind::Device, message))
    }
}

/// Names for people: `f32, f16`.
fn listed(precisions: &[Precision]) -> String {
    precisions.iter().map(|precision| precision.name()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Precision::ALL.into_iter().find(|precision| precision.name() == text).ok_or_else(|| {
            let message = format!("{text:?} is not a precision: use one of {}", listed(&Precision::ALL));
            Error::new(ErrorKind::Argument, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_that_a_device_lacks_is_an_error_that_lists_what_it_has() {
        let choose = |asked| Precision::choose(asked, "the toaster", &[Precision::F32]);
        assert_eq!(choose(None).unwrap(), Precision::F32);
        assert_eq!(choose(Some(Precision::F32)).unwrap(), Precision::F32);
        let error = choose(Some(Precision::F16)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        let text = error.to_string();
        assert!(text.contains("the toaster does not compute in f16") && text.contains("it has f32"), "{text}");
        let both = |asked| Precision::choose(asked, "a GPU", &[Precision::F16, Precision::F32]).unwrap();
        assert_eq!([both(None), both(Some(Precision::F32))], [Precision::F16, Precision::F32]);
    }

    #[test]
    fn names_are_read_back() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        }
        assert!("F64".parse::<Precision>().unwrap_err().to_string().contains("f32"));
    }

    /// What many operations add to never loses digits, whatever products read.
    #[test]
    fn sums_are_f32_at_every_precision() {
        for precision in Precision::ALL {
            for role in [Role::Stream, Role::Nearest, Role::Result, Role::Parameter] {
                assert_eq!(precision.stores(role), DType::F32, "{precision}, {role:?}");
            }
        }
    }
}
