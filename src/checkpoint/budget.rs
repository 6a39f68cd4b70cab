//! How much memory the content of a file may take, so that a small file cannot take a lot.

/// Bytes of memory that reading may still take. What is charged counts a vector's growth: while it moves to twice its
/// size, both copies are there, three times its content.
pub(super) struct Budget(usize);

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Budget(bytes)
    }

    /// Pays for so many bytes; the error is the rest of a sentence about the file.
    pub fn charge(&mut self, bytes: usize) -> Result<(), String> {
        self.0 = self.0.checked_sub(bytes).ok_or("takes more memory than a checkpoint of its size needs")?;
        Ok(())
    }

    /// Pays for `count` more elements of a vector of `T`.
    pub fn elements<T>(&mut self, count: usize) -> Result<(), String> {
        self.charge(count.saturating_mul(3 * size_of::<T>()))
    }
}
