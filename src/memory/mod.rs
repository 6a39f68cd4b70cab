//! Memory whose size a caller chooses: checked before it is taken, and taken so that a refusal is an error.
//!
//! A size passes three steps. `engine::estimate` computes the total bytes from the architecture and the size. [`check`]
//! compares that with what the system has left ([`available`]) and refuses with both figures. Large pieces are then
//! taken by [`reserve`], [`grow`], [`filled`], [`collected`] and [`zeros`], which return an error where the system has
//! less than it reported. Small fixed-size pieces are allocated as in any program: if even those fail, the process ends.

mod available;

use crate::error::{Error, ErrorKind, Result};

/// Smaller sizes are not checked, as a check reads files.
const SMALL: usize = 16 << 20;

/// Bytes in megabytes, for messages.
fn megabytes(bytes: usize) -> usize {
    bytes.div_ceil(1_000_000)
}

/// Refuses more `bytes` than are left. `what` begins the message, `remedy` ends it.
///
/// # Errors
/// [`ErrorKind::Device`], with what is needed, what is left, and whose limit that is.
pub fn check(what: &str, bytes: usize, remedy: &str) -> Result<()> {
    if bytes <= SMALL {
        return Ok(());
    }
    available::least().map_or(Ok(()), |left| check_left(what, bytes, left.bytes, left.limit, remedy))
}

/// [`check`] against `left` bytes, which are left of `limit` (in words).
///
/// # Errors
/// As [`check`].
pub(crate) fn check_left(what: &str, bytes: usize, left: usize, limit: &str, remedy: &str) -> Result<()> {
    if bytes <= left {
        return Ok(());
    }
    let (needed, left) = (megabytes(bytes), left / 1_000_000);
    let message = format!("{what} needs {needed} MB, but only {left} MB are left of {limit}: {remedy}");
    Err(Error::new(ErrorKind::Device, message))
}

/// Bytes that are left, where the system says so.
pub fn left() -> Option<usize> {
    available::least().map(|left| left.bytes)
}

/// The error for memory that the system refused.
fn refused(what: &str, bytes: usize) -> Error {
    let message = format!("{what} needs {} MB, which the system does not give", megabytes(bytes));
    Error::new(ErrorKind::Device, message)
}

/// What to do where a piece of memory is refused.
const REMEDY: &str = "use smaller pictures, a smaller size or a smaller capacity";

/// Makes room for `len` elements in total.
///
/// # Errors
/// [`ErrorKind::Device`] where memory is short; the contents of `memory` stay.
pub(crate) fn reserve<T>(what: &str, memory: &mut Vec<T>, len: usize) -> Result<()> {
    if len > memory.capacity() {
        let bytes = len.saturating_mul(size_of::<T>());
        check(what, bytes, REMEDY)?;
        memory.try_reserve_exact(len - memory.len()).map_err(|_| refused(what, bytes))?;
    }
    Ok(())
}

/// Makes `memory` hold at least `len` elements.
///
/// # Errors
/// As `reserve`.
pub(crate) fn grow<T: Default>(what: &str, memory: &mut Vec<T>, len: usize) -> Result<()> {
    if memory.len() < len {
        reserve(what, memory, len)?;
        memory.resize_with(len, T::default);
    }
    Ok(())
}

/// `len` times `value`.
///
/// # Errors
/// As `reserve`.
pub(crate) fn filled<T: Clone>(what: &str, value: T, len: usize) -> Result<Vec<T>> {
    let mut memory = Vec::new();
    reserve(what, &mut memory, len)?;
    memory.resize(len, value);
    Ok(memory)
}

/// The `len` values of `all`, or fewer where it ends before.
///
/// # Errors
/// As `reserve`.
pub fn collected<T>(what: &str, len: usize, all: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
    let mut memory = Vec::new();
    reserve(what, &mut memory, len)?;
    memory.extend(all.into_iter().take(len));
    Ok(memory)
}

/// `len` zeros, whose pages are taken when they are first written to.
///
/// # Errors
/// As `reserve`.
pub(crate) fn zeros<T: bytemuck::Zeroable>(what: &str, len: usize) -> Result<Vec<T>> {
    let bytes = len.saturating_mul(size_of::<T>());
    check(what, bytes, REMEDY)?;
    bytemuck::allocation::try_zeroed_vec(len).map_err(|()| refused(what, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_refused_with_megabytes() {
        let error = check("a test", usize::MAX, "ask for less");
        if cfg!(target_os = "linux") {
            let text = error.unwrap_err().to_string();
            assert!(text.contains("a test needs 18446744073710 MB, but only"), "{text}");
            assert!(text.ends_with("ask for less"), "{text}");
        }
        check_left("a model", 7_000_001, 7_000_001, "the GPU's memory", "wait").unwrap();
        let error = check_left("a model", 7_000_001, 6_999_999, "the GPU's memory", "wait").unwrap_err();
        assert_eq!(error.to_string(), "a model needs 8 MB, but only 6 MB are left of the GPU's memory: wait");
        let error = zeros::<f32>("a buffer", isize::MAX as usize / 4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.to_string().contains("a buffer needs"), "{error}");
        let mut memory = vec![7u8; 3];
        assert_eq!(grow("a frame", &mut memory, isize::MAX as usize).unwrap_err().kind(), ErrorKind::Device);
        assert_eq!(memory, [7; 3]);
        grow("a frame", &mut memory, 5).unwrap();
        assert_eq!(memory, [7, 7, 7, 0, 0]);
        assert_eq!(zeros::<u8>("none", 3).unwrap(), [0; 3]);
        assert_eq!(filled("none", true, 3).unwrap(), [true; 3]);
        assert_eq!(collected("none", 3, 5..).unwrap(), [5, 6, 7]);
        assert_eq!(collected("none", isize::MAX as usize, [1u8]).unwrap_err().kind(), ErrorKind::Device);
        assert_eq!(filled("a map", 1.0f32, isize::MAX as usize / 4).unwrap_err().kind(), ErrorKind::Device);
        let mut room = vec![1u64];
        assert_eq!(reserve("room", &mut room, usize::MAX).unwrap_err().kind(), ErrorKind::Device);
        reserve("room", &mut room, 5).unwrap();
        assert!(room == [1] && room.capacity() >= 5);
    }
}
