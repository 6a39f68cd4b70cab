//! A limit on the memory that a file's content may take, so that a small file cannot take much.

/// Bytes of memory that reading may still take. Charges include a growing vector's old and new copy, three times its
/// content.
pub(super) struct Budget(usize);

impl Budget {
    /// A budget of `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        Budget(bytes)
    }

    /// Charges `bytes` bytes. The error text continues a sentence about the file.
    pub fn charge(&mut self, bytes: usize) -> Result<(), String> {
        self.0 = self.0.checked_sub(bytes).ok_or("takes more memory than a checkpoint of its size needs")?;
        Ok(())
    }

    /// Charges `count` more elements of a vector of `T`.
    pub fn elements<T>(&mut self, count: usize) -> Result<(), String> {
        self.charge(count.saturating_mul(3 * size_of::<T>()))
    }
}
