//! Frames in device memory: whether kernels can read them, and copies of them for the host.
#![allow(unsafe_code)]

use std::ffi::c_void;

use cudarc::driver::sys::{CUcontext, CUdeviceptr, CUmemorytype, CUpointer_attribute as Attribute, CUresult};
use cudarc::driver::{result, sys};

use super::Cuda;
use super::error::driver;
use crate::error::{Error, ErrorKind, Result};
use crate::image::DeviceFrame;

/// What the driver knows of an address; all zero where it knows none.
struct Facts {
    /// Of the allocation; null for memory that belongs to no context, such as that of a pool.
    context: CUcontext,
    memory_type: u32,
    /// By which kernels reach it.
    device_pointer: CUdeviceptr,
    managed: u32,
    ordinal: i32,
    range_start: CUdeviceptr,
    range_bytes: usize,
}

impl Facts {
    fn of(address: u64) -> Result<Facts> {
        let mut facts = Facts {
            context: std::ptr::null_mut(),
            memory_type: 0,
            device_pointer: 0,
            managed: 0,
            ordinal: 0,
            range_start: 0,
            range_bytes: 0,
        };
        let mut asked = [
            Attribute::CU_POINTER_ATTRIBUTE_CONTEXT,
            Attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
            Attribute::CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
            Attribute::CU_POINTER_ATTRIBUTE_IS_MANAGED,
            Attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
            Attribute::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
            Attribute::CU_POINTER_ATTRIBUTE_RANGE_SIZE,
        ];
        let mut places: [*mut c_void; 7] = [
            (&raw mut facts.context).cast(),
            (&raw mut facts.memory_type).cast(),
            (&raw mut facts.device_pointer).cast(),
            (&raw mut facts.managed).cast(),
            (&raw mut facts.ordinal).cast(),
            (&raw mut facts.range_start).cast(),
            (&raw mut facts.range_bytes).cast(),
        ];
        // SAFETY: as many places as attributes, each of the type that the driver's manual gives for it. The address is
        // looked up, not followed.
        let answer =
            unsafe { sys::cuPointerGetAttributes(7, asked.as_mut_ptr(), places.as_mut_ptr(), address) }.result();
        match answer {
            // Some drivers answer so, where others leave zeros, for what they do not know.
            Err(error) if error.0 == CUresult::CUDA_ERROR_INVALID_VALUE => facts.memory_type = 0,
            other => driver("cuPointerGetAttributes", other)?,
        }
        Ok(facts)
    }

    fn is_of(&self, memory_type: CUmemorytype) -> bool {
        self.memory_type == memory_type as u32
    }
}

impl Cuda {
    /// The address by which kernels read the frame, all of which is in one allocation that this device reaches.
    pub(super) fn readable(&self, frame: &DeviceFrame) -> Result<CUdeviceptr> {
        self.shared.bind()?;
        let facts = Facts::of(frame.address())?;
        let refuse = |why: String| Err(Error::new(ErrorKind::Argument, format!("{frame:?} {why}")));
        if facts.managed == 0 && facts.is_of(CUmemorytype::CU_MEMORYTYPE_DEVICE) {
            let ordinal = self.shared.context.ordinal();
            if facts.ordinal != ordinal as i32 {
                return refuse(format!(
                    "is in the memory of device cuda:{}, and the engine runs on cuda:{ordinal}: copy the frame there, or open \
                     an engine on its device",
                    facts.ordinal
                ));
            }
            if !facts.context.is_null() && facts.context != self.shared.context.cu_ctx() {
                return refuse(
                    "was allocated in another CUDA context than the primary one of the device, in which the engine runs: \
                     allocate it in the primary context, as the CUDA runtime does"
                        .into(),
                );
            }
        } else if facts.managed == 0 && (!facts.is_of(CUmemorytype::CU_MEMORYTYPE_HOST) || facts.device_pointer == 0) {
            return refuse(
                "is in no memory that the device reads: it is host memory, to be given as such (INCTRL_MEMORY_HOST in C, Frame \
                 in Rust), or was freed"
                    .into(),
            );
        }
        let left = frame
            .address()
            .checked_sub(facts.range_start)
            .and_then(|offset| facts.range_bytes.checked_sub(usize::try_from(offset).ok()?))
            .unwrap_or(0);
        if left < frame.bytes() {
            return refuse(format!(
                "takes {} bytes, but its allocation has {left} from there on: check size, stride and format",
                frame.bytes()
            ));
        }
        Ok(facts.device_pointer)
    }

    /// Copies the frame to the beginning of `out` and waits for it.
    pub(super) fn copy_frame_to_host(&mut self, frame: &DeviceFrame, out: &mut Vec<u8>) -> Result<()> {
        let source = self.readable(frame)?;
        let bytes = frame.bytes();
        if out.len() < bytes {
            out.resize(bytes, 0);
        }
        let stream = self.stream.cu_stream();
        // SAFETY: `bytes` bytes from `source` on are in one allocation, by `readable`; `out` has as many, and is
        // borrowed until the stream has been waited for.
        let queued = unsafe { result::memcpy_dtoh_async(&mut out[..bytes], source, stream) };
        driver("cuMemcpyDtoHAsync", queued).and(self.synchronise())
    }
}
