//! Buffers: device memory with a type, uploaded from and downloaded to f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::Cuda;
use super::memory::{DeviceMemory, HostMemory};
use crate::backend::{Role, need};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::zeros;
use crate::tensor::DType;

/// Numbers converted at a time.
const CHUNK: usize = 1 << 18;

/// How elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Numbers of this type, of those that [`crate::backend::Precision::stores`] names for [`super::PRECISIONS`].
    Number(DType),
    /// Order-preserving bits of a cosine over the complement of an index: the keys of `kernels/patch_nn.cu`.
    Key,
}

impl Storage {
    pub const F32: Storage = Storage::Number(DType::F32);
    pub const F16: Storage = Storage::Number(DType::F16);

    pub fn size(self) -> usize {
        match self {
            Storage::Number(dtype) => dtype.size(),
            Storage::Key => 8,
        }
    }

    /// The error of a type in which nothing is stored.
    fn unused(self) -> Error {
        Error::new(ErrorKind::Internal, format!("a buffer of {self:?}, in which a GPU stores nothing"))
    }
}

/// Activations on the device.
pub struct Buffer {
    pub(super) storage: Storage,
    pub(super) memory: DeviceMemory,
    len: usize,
    /// A second copy that kernels write, for the host to read.
    mirror: Option<HostMemory>,
}

impl Buffer {
    pub(super) fn new(cuda: &Cuda, role: Role, len: usize) -> Result<Self> {
        let storage = if role == Role::Nearest { Storage::Key } else { cuda.stored(role) };
        let context = &cuda.shared.context;
        let memory = DeviceMemory::zeroed(context, "memory for activations", len * storage.size())?;
        let mirror =
            (role == Role::Result).then(|| HostMemory::new(context, "memory for results", len * 4)).transpose()?;
        Ok(Buffer { storage, memory, len, mirror })
    }

    /// Elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The device address of the first element, if there are `wanted` elements stored as `storage`.
    pub(crate) fn pointer(&self, op: &'static str, name: &'static str, storage: Storage, wanted: usize) -> Result<u64> {
        need(op, name, self.len, wanted)?;
        if self.storage == storage {
            return Ok(self.memory.pointer());
        }
        let message = format!("{op}: {name} is stored as {:?}, the operation takes {storage:?}", self.storage);
        Err(Error::new(ErrorKind::Internal, message))
    }

    /// The address by which kernels reach the host's copy; 0 where there is none.
    pub(crate) fn mirror(&self) -> u64 {
        self.mirror.as_ref().map_or(0, HostMemory::device)
    }

    /// The nearest bank row of each query row, as its index in the layer, with its cosine: the result of
    /// [`crate::backend::Backend::patch_nn`] in a buffer for nearest neighbours.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device fails.
    pub fn nearest(&self, len: usize) -> Result<Vec<(f32, u32)>> {
        need("nearest", "buffer", self.len, len)?;
        let mut keys = zeros("the nearest neighbours", len)?;
        self.memory.read(0, &mut keys)?;
        Ok(keys.into_iter().map(|key| (cosine(key), !(key as u32))).collect())
    }
}

/// The cosine of a key: the inverse of `ordered` in `kernels/patch_nn.cu`.
fn cosine(key: u64) -> f32 {
    let bits = (key >> 32) as u32;
    f32::from_bits(if bits & 0x8000_0000 != 0 { bits & 0x7fff_ffff } else { !bits })
}

impl Cuda {
    /// How numbers of this role are stored.
    pub(crate) fn stored(&self, role: Role) -> Storage {
        Storage::Number(self.shared.precision.stores(role))
    }

    /// How operands are stored.
    pub(super) fn operand(&self) -> Storage {
        self.stored(Role::Operand)
    }

    pub(super) fn upload_floats(&mut self, host: &[f32], out: &mut Buffer) -> Result<()> {
        need("upload", "out", out.len, host.len())?;
        self.synchronise()?;
        match out.storage {
            Storage::F32 => out.memory.write(0, host)?,
            Storage::F16 => write_halves(&mut out.memory, 0, host)?,
            Storage::Key => {
                let mut keys = zeros::<u64>("the nearest neighbours", host.len())?;
                keys.iter_mut().zip(host).for_each(|(key, x)| *key = key_of(*x));
                out.memory.write(0, &keys)?;
            }
            other => return Err(other.unused()),
        }
        if let Some(mirror) = &mut out.mirror {
            for (bytes, x) in mirror.bytes_mut().as_chunks_mut::<4>().0.iter_mut().zip(host) {
                *bytes = x.to_ne_bytes();
            }
        }
        Ok(())
    }

    pub(super) fn download_floats(&mut self, buffer: &Buffer, out: &mut [f32]) -> Result<()> {
        need("download", "buffer", buffer.len, out.len())?;
        self.synchronise()?;
        if let Some(mirror) = &buffer.mirror {
            return mirror.read(out);
        }
        match buffer.storage {
            Storage::F32 => buffer.memory.read(0, out),
            Storage::F16 => {
                let mut halves = vec![0u16; CHUNK.min(out.len())];
                for (at, out) in (0..).step_by(CHUNK).zip(out.chunks_mut(CHUNK)) {
                    let halves = &mut halves[..out.len()];
                    buffer.memory.read(2 * at, halves)?;
                    out.iter_mut().zip(halves).for_each(|(x, bits)| *x = f16::from_bits(*bits).to_f32());
                }
                Ok(())
            }
            Storage::Key => {
                let nearest = buffer.nearest(out.len())?;
                out.iter_mut().zip(nearest).for_each(|(x, (cosine, _))| *x = cosine);
                Ok(())
            }
            other => Err(other.unused()),
        }
    }
}

/// A key with this cosine and the first index.
fn key_of(cosine: f32) -> u64 {
    let bits = cosine.to_bits();
    let ordered = if bits & 0x8000_0000 != 0 { !bits } else { bits | 0x8000_0000 };
    u64::from(ordered) << 32 | 0xffff_ffff
}

/// Rounds `values` to halves at element `at` of `memory`.
pub(super) fn write_halves(memory: &mut DeviceMemory, at: usize, values: &[f32]) -> Result<()> {
    let mut halves = vec![f16::ZERO; CHUNK.min(values.len())];
    for (start, values) in (at..).step_by(CHUNK).zip(values.chunks(CHUNK)) {
        let halves = &mut halves[..values.len()];
        halves.convert_from_f32_slice(values);
        memory.write(2 * start, halves.reinterpret_cast())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_of_cosines() {
        let cosines = [-1.5f32, -1.0, -1e-30, -0.0, 0.0, 1e-30, 0.25, 1.0, 1.0000001];
        for pair in cosines.windows(2) {
            assert!(key_of(pair[0]) < key_of(pair[1]), "{pair:?}");
        }
        for x in cosines {
            assert_eq!(cosine(key_of(x)).to_bits(), x.to_bits());
        }
        assert!(key_of(f32::NAN) > key_of(f32::INFINITY) && cosine(key_of(f32::NAN)).is_nan());
    }
}
