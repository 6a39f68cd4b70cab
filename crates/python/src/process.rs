//! What a child by fork must not touch: threads and devices stay with the parent.

use std::process;

use inctrl::{Error, ErrorKind, Result};

/// A value that is used, and freed, only in the process that made it.
///
/// `multiprocessing` forks on Linux where nobody asks for another start. The engine's threads do not exist in the child, and a
/// scorer that another thread was using at that moment is in no state to be used or freed.
pub struct Here<T> {
    value: Option<T>,
    process: u32,
    /// What it is, in words.
    what: &'static str,
}

impl<T> Here<T> {
    /// A value of this process.
    pub fn new(what: &'static str, value: T) -> Self {
        Here { value: Some(value), process: process::id(), what }
    }

    /// The value.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] in another process than the one that made it.
    pub fn get(&self) -> Result<&T> {
        let (here, what) = (process::id(), self.what);
        match &self.value {
            Some(value) if here == self.process => Ok(value),
            _ => Err(Error::new(
                ErrorKind::Device,
                format!(
                    "this {what} was made in process {} and used in process {here}, a child by fork, where its threads and \
                     its device are not: open an inctrl.Engine in the child, or start workers with \
                     multiprocessing.get_context(\"spawn\")",
                    self.process
                ),
            )),
        }
    }
}

impl<T> Drop for Here<T> {
    fn drop(&mut self) {
        if process::id() != self.process {
            std::mem::forget(self.value.take());
        }
    }
}
