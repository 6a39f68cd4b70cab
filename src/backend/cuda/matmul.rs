//! Products by cuBLASLt: the only place that knows that it counts matrices by columns.
//!
//! Ours are by rows. `y = x Wᵀ + b` with `x` `[M, K]`, `W` `[N, K]`, `y` `[M, N]` is, column by column, the product
//!
//! ```text
//! yᵀ [N, M] = W [N, K] · xᵀ [K, M] + b      A = W, stored as a K x N matrix with leading dimension K and transposed,
//!                                           B = xᵀ, the memory of x as a K x M matrix with leading dimension K,
//!                                           C = D = yᵀ, the memory of y as an N x M matrix with leading dimension N
//! ```
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

use cudarc::cublaslt::result::{
    CublasError, create_handle, create_matmul_desc, create_matmul_pref, create_matrix_layout, destroy_handle,
    destroy_matmul_desc, destroy_matmul_pref, destroy_matrix_layout, matmul, set_matmul_desc_attribute,
    set_matmul_pref_attribute,
};
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t, cublasLtEpilogue_t, cublasLtHandle_t, cublasLtMatmulAlgo_t as Algo,
    cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t as Desc, cublasLtMatmulHeuristicResult_t as Candidate,
    cublasLtMatmulPreferenceAttributes_t as Pref, cublasLtMatrixLayout_t, cudaDataType,
};
use cudarc::driver::CudaContext;
use cudarc::driver::sys::{CUdeviceptr, CUstream};
use serde::{Deserialize, Serialize};

use super::context::Shared;
use super::error::blas;
use super::memory::DeviceMemory;
use crate::error::Result;

/// Scratch memory of a queue, as much as the library asks for on the largest GPUs.
const WORKSPACE: usize = 32 << 20;

/// `CUBLAS_OP_N` and `CUBLAS_OP_T` of `cublasOperation_t`.
const AS_IT_IS: i32 = 0;
const TRANSPOSED: i32 = 1;

/// What one row of a product sees, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Shape {
    /// Outputs, N.
    pub outputs: usize,
    /// Inputs, K.
    pub inputs: usize,
    /// Whether operands are halves; otherwise f32.
    pub half: bool,
    /// Whether the output is halves; otherwise f32.
    pub half_out: bool,
    /// Whether a bias is added.
    pub bias: bool,
    /// Whether the product is added to the output.
    pub add: bool,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |half| if half { "f16" } else { "f32" };
        write!(f, "a product of {} inputs and {} outputs, {}", self.inputs, self.outputs, name(self.half))?;
        write!(f, " to {}{}", name(self.half_out), if self.add { ", added" } else { "" })
    }
}

/// cuBLASLt's handle and its scratch memory: one for each stream.
pub(super) struct Handle {
    raw: cublasLtHandle_t,
    workspace: DeviceMemory,
    context: Arc<CudaContext>,
}

// SAFETY: the library's handles may be used from any thread, one call at a time, which `&mut` of the queue ensures.
unsafe impl Send for Handle {}

impl Handle {
    pub fn new(shared: &Shared) -> Result<Self> {
        shared.bind()?;
        let workspace = DeviceMemory::new(&shared.context, "scratch memory for products", WORKSPACE)?;
        Ok(Handle { raw: blas("cublasLtCreate", create_handle())?, workspace, context: Arc::clone(&shared.context) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if super::context::bind(&self.context).is_ok() {
            // SAFETY: created by `new`, destroyed once.
            let _ = unsafe { destroy_handle(self.raw) };
        }
    }
}

/// A shape with a number of rows, in the library's terms.
pub(super) struct Problem {
    desc: cublasLtMatmulDesc_t,
    weight: cublasLtMatrixLayout_t,
    input: cublasLtMatrixLayout_t,
    output: cublasLtMatrixLayout_t,
}

// SAFETY: descriptions in host memory with one owner.
unsafe impl Send for Problem {}

impl Problem {
    /// The description of a product; where there is a bias, one that lies as the real ones do until [`Problem::run`].
    pub fn new(handle: &Handle, shape: Shape, rows: usize) -> Result<Self> {
        let kind = |half| if half { cudaDataType::CUDA_R_16F } else { cudaDataType::CUDA_R_32F };
        // Full f32 products: never TF32.
        let compute = cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let layout = |half, rows: usize, columns: usize| {
            let created = create_matrix_layout(kind(half), rows as u64, columns as u64, rows as i64);
            blas("cublasLtMatrixLayoutCreate", created)
        };
        // Dropped half made where a step fails.
        let none = std::ptr::null_mut();
        let mut problem = Problem { desc: std::ptr::null_mut(), weight: none, input: none, output: none };
        problem.desc = blas("cublasLtMatmulDescCreate", create_matmul_desc(compute, cudaDataType::CUDA_R_32F))?;
        problem.weight = layout(shape.half, shape.inputs, shape.outputs)?;
        problem.input = layout(shape.half, shape.inputs, rows)?;
        problem.output = layout(shape.half_out, shape.outputs, rows)?;
        problem.set(Desc::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        problem.set(Desc::CUBLASLT_MATMUL_DESC_TRANSB, &AS_IT_IS)?;
        if shape.bias {
            problem.set(Desc::CUBLASLT_MATMUL_DESC_EPILOGUE, &cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS)?;
            problem.set(Desc::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &kind(shape.half_out))?;
            // The library may refuse a product whose bias has no address, and judges algorithms by its alignment, which
            // is that of every allocation.
            problem.set(Desc::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &handle.workspace.pointer())?;
        }
        Ok(problem)
    }

    fn set<T: Copy>(&self, attribute: Desc, value: &T) -> Result<()> {
        // SAFETY: the description is alive, and `value` is of the attribute's type, whose size is given.
        let set =
            unsafe { set_matmul_desc_attribute(self.desc, attribute, (&raw const *value).cast(), size_of::<T>()) };
        blas("cublasLtMatmulDescSetAttribute", set)
    }

    /// Up to `count` algorithms, in the library's order of preference; `any` admits those that split sums.
    pub fn preferred(&self, handle: &Handle, count: usize, any: bool) -> Result<Vec<Candidate>> {
        let preference = blas("cublasLtMatmulPreferenceCreate", create_matmul_pref())?;
        let found = self.query(handle, preference, count, any);
        // SAFETY: created above, destroyed once.
        let _ = unsafe { destroy_matmul_pref(preference) };
        blas("cublasLtMatmulAlgoGetHeuristic", found)
    }

    fn query(
        &self,
        handle: &Handle,
        preference: sys::cublasLtMatmulPreference_t,
        count: usize,
        any: bool,
    ) -> std::result::Result<Vec<Candidate>, CublasError> {
        let workspace = handle.workspace.bytes();
        let no_reduction = 0u32;
        // SAFETY: the preference is alive, and both values are of their attributes' types.
        unsafe {
            let size = (&raw const workspace).cast();
            set_matmul_pref_attribute(
                preference,
                Pref::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                size,
                size_of::<usize>(),
            )?;
            if !any {
                let mask = (&raw const no_reduction).cast();
                let attribute = Pref::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
                set_matmul_pref_attribute(preference, attribute, mask, size_of::<u32>())?;
            }
        }
        let mut found = Vec::<Candidate>::with_capacity(count);
        let mut number = 0;
        // SAFETY: all descriptions are alive; there is room for `count` results, of which the first `number` are
        // written.
        unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                handle.raw,
                self.desc,
                self.weight,
                self.input,
                self.output,
                self.output,
                preference,
                count as i32,
                found.as_mut_ptr(),
                &mut number,
            )
            .result()?;
            found.set_len((number.max(0) as usize).min(count));
        }
        Ok(found)
    }

    /// Whether an algorithm can solve this, within the workspace.
    pub fn accepts(&self, handle: &Handle, algorithm: &Algo) -> bool {
        let mut verdict = std::mem::MaybeUninit::<Candidate>::zeroed();
        // SAFETY: all descriptions are alive; the answer has its place, and zeroes are a valid answer.
        let (status, verdict) = unsafe {
            let status = sys::cublasLtMatmulAlgoCheck(
                handle.raw,
                self.desc,
                self.weight,
                self.input,
                self.output,
                self.output,
                algorithm,
                verdict.as_mut_ptr(),
            );
            (status, verdict.assume_init())
        };
        status.result().is_ok() && verdict.workspaceSize <= handle.workspace.bytes()
    }

    /// Queues the product on `stream`.
    ///
    /// # Safety
    /// `operands` are device addresses of at least the sizes of the shape and the number of rows, valid until the
    /// stream has done the work, the output not used by other work meanwhile; `bias` is given if the shape has one.
    pub unsafe fn run(
        &self,
        handle: &Handle,
        algorithm: &Algo,
        operands: Operands,
        add: bool,
        stream: CUstream,
    ) -> Result<()> {
        if operands.bias != 0 {
            self.set(Desc::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &operands.bias)?;
        }
        let (one, scale) = (1.0f32, if add { 1.0f32 } else { 0.0 });
        let pointer = |address: CUdeviceptr| address as *mut c_void;
        // SAFETY: the caller vouches for the operands; the descriptions, the algorithm and the scalars are alive during
        // the call, which reads them before it returns; the workspace belongs to this stream alone.
        let queued = unsafe {
            matmul(
                handle.raw,
                self.desc,
                (&raw const one).cast(),
                (&raw const scale).cast(),
                pointer(operands.weight),
                self.weight,
                pointer(operands.input),
                self.input,
                pointer(operands.output),
                self.output,
                pointer(operands.output),
                self.output,
                algorithm,
                pointer(handle.workspace.pointer()),
                handle.workspace.bytes(),
                stream.cast(),
            )
        };
        blas("cublasLtMatmul", queued)
    }
}

/// Device addresses of a product; `bias` is 0 for none.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub weight: CUdeviceptr,
    pub input: CUdeviceptr,
    pub bias: CUdeviceptr,
    pub output: CUdeviceptr,
}

impl Drop for Problem {
    fn drop(&mut self) {
        // SAFETY: created by `new`, destroyed once; these calls touch host memory only.
        unsafe {
            if !self.desc.is_null() {
                let _ = destroy_matmul_desc(self.desc);
            }
            for layout in [self.weight, self.input, self.output].into_iter().filter(|layout| !layout.is_null()) {
                let _ = destroy_matrix_layout(layout);
            }
        }
    }
}
