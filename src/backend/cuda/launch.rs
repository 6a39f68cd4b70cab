//! Launching a kernel: its arguments by value, on the queue's stream, without allocating.
#![allow(unsafe_code)]

use std::ffi::c_void;

use cudarc::driver::result;
use cudarc::driver::sys::CUfunction;

use super::Cuda;
use super::error::driver;
use crate::error::{Error, ErrorKind, Result};

/// How many blocks of how many threads, and the shared memory of each block in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub blocks: [usize; 3],
    pub threads: u32,
    pub shared: usize,
}

impl Grid {
    /// Blocks of `threads` threads without shared memory, one of them for every `share` of `items`.
    pub fn over(items: usize, share: usize, threads: u32) -> Self {
        Grid { blocks: [items.div_ceil(share), 1, 1], threads, shared: 0 }
    }
}

/// Types that kernels take, as C has them: `int`, `float`, pointers to device memory, and `#[repr(C)]` structs whose
/// twin a kernel declares field by field the same.
pub(crate) trait Argument: Copy {}
impl Argument for i32 {}
impl Argument for f32 {}
impl Argument for u64 {}

/// The address of an argument for the driver's list.
pub(crate) fn address<T: Argument>(value: &mut T) -> *mut c_void {
    (&raw mut *value).cast()
}

/// Launches `$kernel` of the registry with arguments in the order of its signature.
macro_rules! launch {
    ($cuda:expr, $kernel:expr, $grid:expr, $($argument:expr),+ $(,)?) => {
        $cuda.launch($kernel, $grid, &mut [$($crate::backend::cuda::launch::address(&mut { $argument })),+])
    };
}
pub(crate) use launch;

impl Cuda {
    /// Queues a kernel. `arguments` point to values of the types of its signature, in order: see [`launch!`].
    ///
    /// Each launcher checks that the buffers hold what its shapes ask for; the kernel's header states what it touches.
    pub(crate) fn launch(&self, kernel: CUfunction, grid: Grid, arguments: &mut [*mut c_void]) -> Result<()> {
        let [x, y, z] = grid.blocks;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let dims = (int(x)? as u32, int(y)? as u32, int(z)? as u32);
        let (stream, shared) = (self.stream.cu_stream(), int(grid.shared)? as u32);
        // SAFETY: the kernel belongs to the module that `shared` keeps loaded; the arguments are alive during the call,
        // which copies them; the launcher has checked the sizes of all buffers, which outlive the work: their owners
        // wait for the stream, or the driver does when it frees them.
        driver("cuLaunchKernel", unsafe {
            result::launch_kernel(kernel, dims, (grid.threads, 1, 1), shared, stream, arguments)
        })
    }
}

/// A size as kernels take it.
pub(crate) fn int(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| {
        Error::new(
            ErrorKind::Argument,
            format!("a size of {n} is beyond what the GPU's kernels count: use smaller batches"),
        )
    })
}
