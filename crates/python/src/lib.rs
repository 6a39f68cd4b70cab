//! The engine for Python: the module `_inctrl` under the package `inctrl`.
//!
//! Objects of Python become arguments of the library and its results objects of Python; nothing is computed here.
//! Whatever takes longer than a copy is done without the interpreter's lock.
//!
//! | file | job |
//! |---|---|
//! | `engine.rs`, `scorer.rs`, `bank.rs`, `score.rs` | the classes |
//! | `arguments.rs` | numbers and paths |
//! | `pictures.rs` | arrays, files and device memory to frames; all that is unsafe |
//! | `arrays.rs` | results to arrays of numpy |
//! | `laboratory.rs` | evaluation, procedural images, the command line |
//! | `errors.rs` | the library's errors as exceptions |
//! | `interrupt.rs` | Ctrl-C during long work |
//! | `process.rs` | what a child by fork must not touch |

mod arguments;
mod arrays;
mod bank;
mod engine;
mod errors;
mod interrupt;
mod laboratory;
mod pictures;
mod process;
mod score;
mod scorer;

use pyo3::prelude::*;

/// The engine of the package `inctrl`: use that.
#[pymodule]
mod _inctrl {
    #[pymodule_export]
    use crate::bank::Bank;
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::laboratory::{demo_weights, evaluate, run_cli, synth_dataset, synth_families, synth_sample};
    #[pymodule_export]
    use crate::score::{Region, Score};
    #[pymodule_export]
    use crate::scorer::Scorer;

    #[pymodule_export]
    const __VERSION__: &str = env!("CARGO_PKG_VERSION");
}
