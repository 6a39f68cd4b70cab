//! What is remembered of a product: a [`PromptBank`] is a header (method, model, class, fit, prompts, limits) and the named
//! tensors of its method, any number of rows. It knows no device: an engine uploads it.

pub(crate) mod file;
pub(crate) mod prompt_bank;
pub(crate) mod prompt_facts;
mod thresholds;

pub use prompt_bank::{BankId, BankInfo, PromptBank};
pub use thresholds::Thresholds;
