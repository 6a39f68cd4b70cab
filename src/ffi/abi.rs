//! Compatibility of both sides of the interface: versions, tags of handles, sizes of structures, strings.

use std::ffi::{CStr, c_char};
use std::mem::{MaybeUninit, size_of};
use std::path::PathBuf;

use super::status::{Failure, Outcome};

/// Version of this interface. A client that was built with another version needs another library.
pub const INCTRL_ABI_VERSION: u32 = 1;

/// The version of the loaded library's interface. Compare it with INCTRL_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn inctrl_abi_version() -> u32 {
    INCTRL_ABI_VERSION
}

/// The version of the library as text, such as "0.1.0". Never NULL; always valid.
#[unsafe(no_mangle)]
pub extern "C" fn inctrl_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}

/// What a handle points to. The first field of every kind is its tag, or 0 once it is closed.
#[repr(C)]
pub(super) struct Tagged<T> {
    pub tag: u64,
    pub state: T,
}

/// A kind of handle.
pub(super) trait Handle: Sized {
    const TAG: u64;
    const NAME: &'static str;
    type State;
    fn close(&mut self);
}

/// Makes `$name`, whose one field is `tagged: Tagged<$state>`, a handle.
macro_rules! handle {
    ($name:ident, $state:ty, $tag:literal, $noun:literal) => {
        // `object` reads the tag at the address of the handle.
        const _: () = assert!(std::mem::offset_of!($name, tagged) == 0);

        impl $crate::ffi::abi::Handle for $name {
            // The first bytes are those of the project's name.
            const TAG: u64 = 0x696e_6374_726c_0000 + $tag;
            const NAME: &'static str = $noun;
            type State = $state;
            fn close(&mut self) {
                self.tagged.tag = 0;
            }
        }

        impl From<$state> for $name {
            fn from(state: $state) -> Self {
                $name { tagged: $crate::ffi::abi::Tagged { tag: <$name as $crate::ffi::abi::Handle>::TAG, state } }
            }
        }
    };
}
pub(super) use handle;

/// Gives a new object to the caller.
///
/// # Safety
/// `out` is NULL or valid for writing a pointer.
pub(super) unsafe fn hand_out<T: Handle>(out: *mut *mut T, make: impl FnOnce() -> Outcome<T>) -> Outcome {
    if out.is_null() {
        return Err(Failure::argument(format!("the variable for the new {} is NULL", T::NAME)));
    }
    // SAFETY: not NULL, so valid for writing. A caller who does not look at the status finds NULL, which every call
    // refuses.
    unsafe { out.write(std::ptr::null_mut()) };
    let object = Box::into_raw(Box::new(make()?));
    // SAFETY: as above.
    unsafe { out.write(object) };
    Ok(())
}

/// The object behind a handle.
///
/// # Safety
/// `handle` is NULL or points to a live handle of this library, of whatever kind.
pub(super) unsafe fn object<'a, T: Handle>(handle: *const T) -> Outcome<&'a T::State> {
    if handle.is_null() {
        return Err(Failure::argument(format!("the {} is NULL", T::NAME)));
    }
    if !handle.is_aligned() {
        return Err(Failure::argument(format!("the {} is not a pointer from this library", T::NAME)));
    }
    // SAFETY: every handle begins with its tag, as `handle!` asserts, and is aligned for it.
    if unsafe { handle.cast::<u64>().read() } != T::TAG {
        return Err(Failure::argument(format!("the {} was closed, or is a handle of another kind", T::NAME)));
    }
    // SAFETY: the tag says that it is a live `T`, which begins with what `handle!` asserts.
    Ok(unsafe { &(*handle.cast::<Tagged<T::State>>()).state })
}

/// Frees the object behind a handle and sets the caller's pointer to NULL. NULL is allowed, so closing twice is, too.
///
/// # Safety
/// `handle` is NULL, or points to NULL or to a handle that nobody uses.
pub(super) unsafe fn close<T: Handle>(handle: *mut *mut T) -> Outcome {
    if handle.is_null() {
        return Ok(());
    }
    // SAFETY: not NULL, so the caller's variable.
    let pointer = unsafe { handle.read() };
    if pointer.is_null() {
        return Ok(());
    }
    // SAFETY: not NULL, so a live handle of some kind.
    unsafe { object::<T>(pointer) }?;
    // SAFETY: the tag said that it came from `hand_out::<T>`, and nobody else uses it.
    let mut object = unsafe { Box::from_raw(pointer) };
    object.close();
    // SAFETY: as above.
    unsafe { handle.write(std::ptr::null_mut()) };
    Ok(())
}

/// Closes a handle without freeing what it holds, and sets the caller's pointer to NULL.
///
/// # Safety
/// `handle` points to a live handle of this kind.
pub(super) unsafe fn abandon<T: Handle>(handle: *mut *mut T) {
    // SAFETY: as of this function.
    unsafe {
        (**handle).close();
        handle.write(std::ptr::null_mut());
    }
}

/// A structure of the interface whose first field is its size, in the caller's version of it.
///
/// # Safety
/// `#[repr(C)]`, the first field a `usize`, and every pattern of bits a valid value. A field of zeros means its
/// default, as for callers who do not know the field.
pub(super) unsafe trait Versioned: Copy {
    const NAME: &'static str;
    /// Size of its first version: the end of its last field then.
    const FIRST: usize;
    /// The value of reserved fields, which must be 0.
    fn reserved(&self) -> u32 {
        0
    }
}

/// Reads a structure of the caller's size. Fields that the caller's version lacks are zero. Fields that this version
/// does not know must be zero.
///
/// # Safety
/// `pointer` is NULL or points to as many bytes as the `usize` there says.
pub(super) unsafe fn read<T: Versioned>(pointer: *const T) -> Outcome<T> {
    // SAFETY: as of this function.
    let size = unsafe { size_at(pointer) }?;
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the caller's structure has `size` bytes, and no more than `value` has are written.
    unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), value.as_mut_ptr().cast(), size.min(size_of::<T>())) };
    for extra in size_of::<T>()..size {
        // SAFETY: within the caller's structure.
        if unsafe { pointer.cast::<u8>().add(extra).read() } != 0 {
            return Err(Failure::argument(format!(
                "{} has {size} bytes, but this library knows {} and the others are not zero: the caller was built \
                for a newer library",
                T::NAME,
                size_of::<T>()
            )));
        }
    }
    // SAFETY: `Versioned` promises that any bits are a value.
    let value = unsafe { value.assume_init() };
    match value.reserved() {
        0 => Ok(value),
        other => Err(Failure::argument(format!(
            "the field `reserved` of {0} is {other}: it must be 0; begin with `{0} x = {{0}}`",
            T::NAME
        ))),
    }
}

/// Writes the part of a structure that the caller's version has. Its size field stays.
///
/// # Safety
/// As [`read`], and `pointer` is valid for writing.
pub(super) unsafe fn write<T: Versioned>(pointer: *mut T, value: &T) -> Outcome {
    // SAFETY: as of this function.
    let size = unsafe { size_at(pointer) }?.min(size_of::<T>());
    let head = size_of::<usize>();
    // SAFETY: both structures have `size` bytes, of which the first `head` stay.
    unsafe {
        let from = std::ptr::from_ref(value).cast::<u8>().add(head);
        std::ptr::copy_nonoverlapping(from, pointer.cast::<u8>().add(head), size - head);
    }
    Ok(())
}

/// The size stated in the caller's structure.
///
/// # Safety
/// `pointer` is NULL or points to a `usize`, aligned or not.
pub(super) unsafe fn size_at<T: Versioned>(pointer: *const T) -> Outcome<usize> {
    if pointer.is_null() {
        return Err(Failure::argument(format!("{} is NULL", T::NAME)));
    }
    // SAFETY: not NULL, so a `usize`.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    // No structure will grow beyond a page. A larger number is an uninitialised size.
    if (T::FIRST..=4096).contains(&size) {
        return Ok(size);
    }
    Err(Failure::argument(format!(
        "struct_size of {} is {size}: set it to the sizeof of the structure (at least {})",
        T::NAME,
        T::FIRST
    )))
}

/// An array of the caller's structures, all with the first one's size.
#[derive(Clone, Copy)]
pub(super) struct Array<T> {
    first: *mut T,
    count: usize,
    size: usize,
}

impl<T: Versioned> Array<T> {
    /// # Safety
    /// `first` is NULL or as [`size_at`] asks.
    pub unsafe fn new(first: *mut T, count: usize) -> Outcome<Self> {
        if count == 0 {
            return Ok(Array { first, count, size: 0 });
        }
        // SAFETY: as of this function.
        let size = unsafe { size_at(first.cast_const()) }?;
        match count.checked_mul(size) {
            Some(bytes) if isize::try_from(bytes).is_ok() => Ok(Array { first, count, size }),
            _ => Err(Failure::argument(format!("{count} structures {} exceed the address space", T::NAME))),
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Structure `i`. It is an error if its stated size differs from the first one's, as structures would overlap.
    ///
    /// # Safety
    /// The caller has `count` structures of that size, and `i` is below `count`.
    pub unsafe fn get(&self, i: usize) -> Outcome<*mut T> {
        // SAFETY: within the caller's structures, whose bytes are within the address space.
        let pointer = unsafe { self.first.byte_add(i * self.size) };
        // SAFETY: a structure of the caller's.
        let size = unsafe { size_at(pointer.cast_const()) }?;
        if size == self.size {
            return Ok(pointer);
        }
        Err(Failure::argument(format!(
            "struct_size of {} {i} is {size}, but that of the first is {}: all structures of an array must have the \
            same size",
            T::NAME,
            self.size
        )))
    }
}

/// A string from the caller.
///
/// # Safety
/// `text` is NULL or a C string that lives through the call.
pub(super) unsafe fn string<'a>(text: *const c_char, name: &str) -> Outcome<&'a str> {
    if text.is_null() {
        return Err(Failure::argument(format!("the {name} is NULL")));
    }
    // SAFETY: not NULL, so a C string.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::argument(format!("the {name} {text:?} is not UTF-8")))
}

/// A path from the caller: any bytes on Unix, UTF-8 elsewhere.
///
/// # Safety
/// As [`string`].
pub(super) unsafe fn path(text: *const c_char, name: &str) -> Outcome<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        if !text.is_null() {
            // SAFETY: not NULL, so a C string.
            let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
            return Ok(std::ffi::OsStr::from_bytes(bytes).into());
        }
    }
    // SAFETY: as of this function.
    Ok(unsafe { string(text, name) }?.into())
}

/// `count` elements of the caller.
///
/// # Safety
/// `pointer` is valid for `count` elements, or NULL.
pub(super) unsafe fn slice<'a, T>(pointer: *const T, count: usize, name: &str) -> Outcome<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() || !pointer.is_aligned() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Failure::argument(format!("{count} {name} at {pointer:?}: NULL, not aligned, or too many")));
    }
    // SAFETY: not NULL, aligned, no more than the address space, and the caller's.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}
