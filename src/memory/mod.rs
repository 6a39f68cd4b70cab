//! Memory whose size a caller chooses: checked before it is taken, and taken so that a refusal is an error.
//!
//! A size passes three steps. `engine::estimate` computes the total bytes from the architecture and the size. [`check`]
//! compares that with what the system has left ([`available`]) and refuses with both figures. Large pieces are then
//! taken by [`grow`] and [`zeros`], which return an error where the system has less than it reported. Small fixed-size
//! pieces are allocated as in any program: if even those fail, the process ends.

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
pub(crate) fn check(what: &str, bytes: usize, remedy: &str) -> Result<()> {
    if bytes <= SMALL {
        return Ok(());
    }
    match available::least() {
        Some(left) if left.bytes < bytes => Err(Error::new(
            ErrorKind::Device,
            format!(
                "{what} needs {} MB, but only {} MB are left of {}: {remedy}",
                megabytes(bytes),
                left.bytes / 1_000_000,
                left.limit
            ),
        )),
        _ => Ok(()),
    }
}

/// The error for memory that the system refused.
fn refused(what: &str, bytes: usize) -> Error {
    let message = format!("{what} needs {} MB, which the system does not give", megabytes(bytes));
    Error::new(ErrorKind::Device, message)
}

/// Makes `memory` hold at least `len` elements.
///
/// # Errors
/// [`ErrorKind::Device`] where memory is short; the contents of `memory` stay.
pub(crate) fn grow<T: Clone + Default>(what: &str, memory: &mut Vec<T>, len: usize) -> Result<()> {
    if memory.len() < len {
        let bytes = len.saturating_mul(size_of::<T>());
        if len > memory.capacity() {
            check(what, bytes, "give it smaller pictures")?;
            memory.try_reserve_exact(len - memory.len()).map_err(|_| refused(what, bytes))?;
        }
        memory.resize(len, T::default());
    }
    Ok(())
}

/// `len` zeros, whose pages are taken when they are first written to.
///
/// # Errors
/// [`ErrorKind::Device`] where memory is short.
pub(crate) fn zeros<T: bytemuck::Zeroable>(what: &str, len: usize) -> Result<Vec<T>> {
    bytemuck::allocation::try_zeroed_vec(len).map_err(|()| refused(what, len.saturating_mul(size_of::<T>())))
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
        let error = zeros::<f32>("a buffer", isize::MAX as usize / 4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.to_string().contains("a buffer needs"), "{error}");
        let mut memory = vec![7u8; 3];
        assert_eq!(grow("a frame", &mut memory, isize::MAX as usize).unwrap_err().kind(), ErrorKind::Device);
        assert_eq!(memory, [7; 3]);
        grow("a frame", &mut memory, 5).unwrap();
        assert_eq!(memory, [7, 7, 7, 0, 0]);
        assert_eq!(zeros::<u8>("none", 3).unwrap(), [0; 3]);
    }
}
