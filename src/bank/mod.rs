//! What is kept of a product. A [`PromptBank`] is a header (method, model, class, fit, prompts, limits) and the named
//! tensors of its method, with any number of rows. It does not know devices: an engine uploads it.

pub(crate) mod arrivals;
mod contents;
pub(crate) mod file;
pub(crate) mod header;
pub(crate) mod prompt_bank;
pub(crate) mod prompt_facts;

pub use prompt_bank::{BankId, BankInfo, PromptBank};
