//! One operation at any size on any device: its inputs, its formula in f64, the work it takes.
//!
//! A file holds an operation and its fused forms. [`Operation`] says what it is called, what it computes and which
//! sizes it has; a [`Case`] is the operation at one size, with inputs on a device. [`prepare`] makes a case, runs it
//! once and compares the result with the formula before anybody times it: all of a small output, sampled rows of a
//! large one.
//!
//! | file | job |
//! |---|---|
//! | `sizes.rs` | names, defaults and limits of sizes |
//! | `inputs.rs` | numbers without a pattern, on the host and on the device |
//! | `comparison.rs` | a result beside its formula, with a tolerance |
//! | the others | one operation each |

mod attention;
mod comparison;
mod embed;
mod gelu;
mod inctrl_heads;
pub(super) mod inputs;
mod layer_norm;
mod linear;
mod mean_of_largest;
mod patch_nn;
mod pool_rows;
mod preprocess;
mod residual_mean;
mod sizes;
mod swiglu;
mod unit_patches;

use inctrl::backend::Backend;
use inctrl::methods::inctrl::HeadOps;
use inctrl::{Error, ErrorKind, Result};

pub use comparison::{Agreement, Comparison};
pub use gelu::formula as gelu_formula;
pub use sizes::{Operation, Size, Sizes};

/// The work of an operation's formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Work {
    /// Multiplications and additions of its products; 0 if it has none.
    pub flop: usize,
    /// Bytes that must be read and written at least once.
    pub bytes: usize,
}

/// An operation at one size, its inputs on a device.
pub trait Case<B: Backend>: Send {
    /// Runs it once. Repetitions read the same inputs, or inputs that take the same time.
    ///
    /// # Errors
    /// Those of the operation.
    fn run(&mut self, backend: &mut B) -> Result<()>;

    /// Compares the result of the first run with the formula.
    ///
    /// # Errors
    /// If the device fails. A wrong result goes to `found`.
    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()>;

    /// The work of one run.
    fn work(&self) -> Work;

    /// Its sizes in words.
    fn shape(&self) -> String;
}

/// A case whose first result agreed with its formula.
pub struct Checked<B> {
    /// The case to time.
    pub case: Box<dyn Case<B>>,
    /// The agreement of the result.
    pub agreement: Agreement,
}

type Make<B> = fn(&mut B, &Sizes) -> Result<Box<dyn Case<B>>>;

/// Every operation that can be measured.
pub const OPERATIONS: &[&Operation] = &[
    &preprocess::PREPROCESS,
    &linear::LINEAR,
    &linear::LINEAR_ADD,
    &linear::LINEAR_GELU,
    &gelu::GELU,
    &swiglu::SWIGLU,
    &embed::EMBED,
    &embed::EMBED_NORM,
    &layer_norm::LAYER_NORM,
    &attention::ATTENTION,
    &attention::CLASS_ATTENTION,
    &pool_rows::POOL_ROWS,
    &unit_patches::UNIT_PATCHES,
    &unit_patches::LAYER_NORM_UNIT_PATCHES,
    &patch_nn::PATCH_NN,
    &residual_mean::RESIDUAL_MEAN,
    &mean_of_largest::MEAN_OF_LARGEST,
    &inctrl_heads::INCTRL_ADAPTER,
    &inctrl_heads::INCTRL_HEADS,
];

/// The operation of that name.
///
/// # Errors
/// [`ErrorKind::Argument`] if there is none.
pub fn named(name: &str) -> Result<&'static Operation> {
    OPERATIONS.iter().copied().find(|operation| operation.name == name).ok_or_else(|| {
        let names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
        Error::new(ErrorKind::Argument, format!("{name:?} is not an operation: use one of {}", names.join(", ")))
    })
}

fn maker<B: HeadOps>(operation: &Operation) -> Result<Make<B>> {
    Ok(match operation.name {
        "preprocess" => preprocess::Preprocess::case,
        "linear" | "linear_add" | "linear_gelu" => linear::Linear::case,
        "gelu" => gelu::Activation::case,
        "swiglu" => swiglu::SwiGlu::case,
        "embed" | "embed_norm" => embed::Embed::case,
        "layer_norm" => layer_norm::LayerNorm::case,
        "attention" => attention::Attention::case,
        "class_attention" => attention::ClassAttention::case,
        "pool_rows" => pool_rows::PoolRows::case,
        "unit_patches" | "layer_norm_unit_patches" => unit_patches::UnitPatches::case,
        "patch_nn" => patch_nn::PatchNn::case,
        "residual_mean" => residual_mean::ResidualMean::case,
        "mean_of_largest" => mean_of_largest::MeanOfLargest::case,
        "inctrl_adapter" => inctrl_heads::Adapter::case,
        "inctrl_heads" => inctrl_heads::InctrlHeads::case,
        name => return Err(Error::new(ErrorKind::Internal, format!("the operation {name} has no case"))),
    })
}

/// Makes the case of these sizes on a device, runs it once, and compares the result with its formula in f64.
///
/// # Errors
/// [`ErrorKind::Device`] if the device fails or has too little memory; [`ErrorKind::Internal`] if the result is wrong,
/// with the worst element and its tolerance.
pub fn prepare<B: HeadOps>(backend: &mut B, sizes: &Sizes) -> Result<Checked<B>> {
    let operation = sizes.operation();
    if !B::IN_HOST_MEMORY {
        sizes.check_gpu()?;
    }
    let mut case = maker::<B>(operation)?(backend, sizes)?;
    case.run(backend)?;
    let mut comparison = Comparison::new(operation.name);
    case.compare(backend, &mut comparison)?;
    Ok(Checked { case, agreement: comparison.finish()? })
}

#[cfg(test)]
mod tests {
    use inctrl::Precision;
    use inctrl::backend::cpu::Cpu;

    use super::*;

    /// Sizes that no tile divides.
    fn small(operation: &'static Operation) -> Sizes {
        let odd = |size: &Size| (size.usual.min(size.most).min(37)).max(size.least);
        let given: Vec<(String, usize)> =
            operation.sizes.iter().map(|size| (size.name.to_owned(), odd(size))).collect();
        Sizes::new(operation, &given).unwrap()
    }

    #[test]
    fn every_operation_agrees_with_its_formula() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            for mut cpu in Cpu::of_each_instruction_set(2, precision).unwrap() {
                for operation in OPERATIONS {
                    let checked = prepare(&mut cpu, &small(operation)).unwrap();
                    assert!(checked.agreement.compared > 0, "{}", operation.name);
                    assert!(checked.case.work().bytes > 0, "{}", operation.name);
                }
            }
        }
    }

    #[test]
    fn a_name_makes_its_own_operation() {
        let mut cpu = Cpu::new(1).unwrap();
        let shape = |name: &str, cpu: &mut Cpu| {
            let operation = OPERATIONS.iter().find(|operation| operation.name == name).unwrap();
            prepare(cpu, &small(operation)).unwrap().case.work()
        };
        // A sum and an activation are done beside the same product.
        assert_eq!(shape("linear", &mut cpu).flop, shape("linear_gelu", &mut cpu).flop);
        assert!(shape("linear", &mut cpu).bytes < shape("linear_add", &mut cpu).bytes);
        assert!(shape("embed", &mut cpu).bytes < shape("embed_norm", &mut cpu).bytes);
        assert!(shape("unit_patches", &mut cpu).bytes < shape("layer_norm_unit_patches", &mut cpu).bytes);
    }

    #[test]
    fn a_wrong_result_is_an_error() {
        struct Wrong(Box<dyn Case<Cpu>>);
        impl Case<Cpu> for Wrong {
            fn run(&mut self, _: &mut Cpu) -> Result<()> {
                Ok(())
            }
            fn compare(&mut self, cpu: &mut Cpu, found: &mut Comparison) -> Result<()> {
                self.0.compare(cpu, found)
            }
            fn work(&self) -> Work {
                self.0.work()
            }
            fn shape(&self) -> String {
                self.0.shape()
            }
        }
        let mut cpu = Cpu::new(1).unwrap();
        for operation in OPERATIONS {
            // The output of an operation that was never run.
            let sizes = small(operation);
            let mut never_run = Wrong(maker::<Cpu>(operation).unwrap()(&mut cpu, &sizes).unwrap());
            never_run.run(&mut cpu).unwrap();
            let mut comparison = Comparison::new(operation.name);
            never_run.compare(&mut cpu, &mut comparison).unwrap();
            let error = comparison.finish().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{}", operation.name);
            assert!(error.to_string().starts_with(operation.name), "{error}");
        }
    }
}
