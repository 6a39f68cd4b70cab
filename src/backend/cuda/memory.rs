//! Memory of the device and memory that both sides see, freed when dropped. Every size is exact: what a kernel touches
//! beyond it is an error that memory checkers see.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fmt::Display;
use std::sync::Arc;

use cudarc::driver::sys::{CUdeviceptr, CUstream};
use cudarc::driver::{CudaContext, result, sys};

use super::context::device_error;
use super::error::{driver, is_full};
use crate::error::Result;

/// A plain number that may be copied to and from a device byte by byte.
pub(super) trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for i32 {}
impl Plain for u64 {}
impl Plain for f32 {}

/// `bytes` of device memory.
pub(super) struct DeviceMemory {
    context: Arc<CudaContext>,
    pointer: CUdeviceptr,
    bytes: usize,
}

impl DeviceMemory {
    /// Uninitialised memory; `what` names its purpose if there is not enough.
    pub fn new(context: &Arc<CudaContext>, what: impl Display, bytes: usize) -> Result<Self> {
        super::context::bind(context)?;
        // SAFETY: the context is current; a size of zero is avoided, which the driver refuses.
        let pointer = unsafe { result::malloc_sync(bytes.max(1)) };
        let pointer = pointer.map_err(|error| {
            if !is_full(error) {
                return driver::<()>("cuMemAlloc", Err(error)).unwrap_err();
            }
            let (free, total) = result::mem_get_info().unwrap_or_default();
            let mib = |bytes: usize| bytes.div_ceil(1 << 20);
            device_error(format!(
                "{what} takes {} MiB of GPU memory, of which {} of {} MiB are free: score smaller batches, use fewer scorers \
                 or a smaller bank, or close other programs on this GPU",
                mib(bytes),
                mib(free),
                mib(total)
            ))
        })?;
        Ok(DeviceMemory { context: Arc::clone(context), pointer, bytes })
    }

    /// Memory full of zeros.
    pub fn zeroed(context: &Arc<CudaContext>, what: impl Display, bytes: usize) -> Result<Self> {
        let memory = Self::new(context, what, bytes)?;
        // SAFETY: the memory has `bytes` bytes and nobody else knows it.
        driver("cuMemsetD8", unsafe { result::memset_d8_sync(memory.pointer, 0, bytes) })?;
        wait_for_null_stream()?;
        Ok(memory)
    }

    pub fn pointer(&self) -> CUdeviceptr {
        self.pointer
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies `values` to byte `at`, and waits for it.
    pub fn write<T: Plain>(&mut self, at: usize, values: &[T]) -> Result<()> {
        self.check(at, size_of_val(values))?;
        // An empty slice has no address that a copy may be given.
        if values.is_empty() {
            return Ok(());
        }
        super::context::bind(&self.context)?;
        // SAFETY: the range lies in this memory, checked above; `values` are plain numbers.
        driver("cuMemcpyHtoD", unsafe { result::memcpy_htod_sync(self.pointer + at as u64, values) })?;
        wait_for_null_stream()
    }

    /// Copies from byte `at` on into `values`, and waits for it.
    pub fn read<T: Plain>(&self, at: usize, values: &mut [T]) -> Result<()> {
        self.check(at, size_of_val(values))?;
        super::context::bind(&self.context)?;
        // SAFETY: the range lies in this memory, checked above; any bits are valid for plain numbers.
        driver("cuMemcpyDtoH", unsafe { result::memcpy_dtoh_sync(values, self.pointer + at as u64) })
    }

    /// Queues a copy of the first `bytes` of `host` to the beginning on `stream`; `host` must stay as it is until then.
    pub fn write_pinned(&mut self, host: &HostMemory, bytes: usize, stream: CUstream) -> Result<()> {
        self.check(0, bytes)?;
        let source = &host.bytes()[..bytes];
        // SAFETY: the range lies in this memory, and the source in `host`, which its owner keeps until an event tells
        // that the copy is done.
        driver("cuMemcpyHtoDAsync", unsafe { result::memcpy_htod_async(self.pointer, source, stream) })
    }

    fn check(&self, at: usize, bytes: usize) -> Result<()> {
        super::need("copy", "device memory", self.bytes, at + bytes)
    }
}

/// Synchronous copies and fills of the driver may return before the device has done them, and queues' streams do not
/// wait for the null stream by themselves.
fn wait_for_null_stream() -> Result<()> {
    // SAFETY: the null stream always exists.
    driver("cuStreamSynchronize", unsafe { result::stream::synchronize(result::stream::null()) })
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // A failed device cannot free, and there is nobody to tell.
        if super::context::bind(&self.context).is_ok() {
            // SAFETY: allocated by `new`, freed once. The driver waits for work that uses it.
            let _ = unsafe { result::free_sync(self.pointer) };
        }
    }
}

/// Page-locked host memory, which the device can reach.
pub(super) struct HostMemory {
    context: Arc<CudaContext>,
    pointer: *mut c_void,
    device: CUdeviceptr,
    bytes: usize,
}

// SAFETY: plain memory with one owner; the driver's functions may be called from any thread.
unsafe impl Send for HostMemory {}
// SAFETY: shared references only read it.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// Memory full of zeros, at an address that kernels may write.
    pub fn new(context: &Arc<CudaContext>, what: impl Display, bytes: usize) -> Result<Self> {
        super::context::bind(context)?;
        let size = bytes.max(1);
        // SAFETY: the context is current.
        let pointer = unsafe { result::malloc_host(size, sys::CU_MEMHOSTALLOC_DEVICEMAP) };
        let pointer = pointer.map_err(|error| {
            let cause = driver::<()>("cuMemHostAlloc", Err(error)).unwrap_err();
            device_error(format!("{what} takes {size} bytes of page-locked host memory, which cannot be had"))
                .because(cause)
        })?;
        let mut memory = HostMemory { context: Arc::clone(context), pointer, device: 0, bytes };
        let mut device = 0;
        // SAFETY: `pointer` was allocated for mapping, and `device` is a valid place for the answer.
        let mapped = unsafe { sys::cuMemHostGetDevicePointer_v2(&mut device, pointer, 0) };
        driver("cuMemHostGetDevicePointer", mapped.result())?;
        memory.device = device;
        memory.bytes_mut().fill(0);
        Ok(memory)
    }

    /// The address by which kernels reach it.
    pub fn device(&self) -> CUdeviceptr {
        self.device
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `bytes` bytes were allocated and written; they live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.pointer.cast(), self.bytes) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `bytes` bytes were allocated, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.cast(), self.bytes) }
    }

    /// The first numbers of the memory, which a kernel may have written: call it when the stream has been waited for.
    pub fn read(&self, out: &mut [f32]) -> Result<()> {
        super::need("read", "results", self.bytes / 4, out.len())?;
        for (out, bytes) in out.iter_mut().zip(self.bytes().as_chunks::<4>().0) {
            *out = f32::from_ne_bytes(*bytes);
        }
        Ok(())
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        if super::context::bind(&self.context).is_ok() {
            // SAFETY: allocated by `new`, freed once.
            let _ = unsafe { result::free_host(self.pointer) };
        }
    }
}
