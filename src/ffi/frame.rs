//! Pixels from cameras.

use std::ffi::c_void;
use std::mem::offset_of;

use super::abi::{Array, Versioned, read};
use super::status::{Failure, Outcome};
use crate::image::{AnyFrame, DeviceFrame, Frame, PixelFormat, Roi, WhiteLevel, packed_stride};

/// Pixel format: one byte of luminance.
pub const INCTRL_MONO8: i32 = 1;
/// Pixel format: two bytes of luminance, the less significant first; 65535 is white. A camera's unpacked Mono10 and
/// Mono12 are INCTRL_MONO10 and INCTRL_MONO12 instead. For other ranges set `white_level`.
pub const INCTRL_MONO16: i32 = 2;
/// Pixel format: red, green, blue.
pub const INCTRL_RGB8: i32 = 3;
/// Pixel format: blue, green, red.
pub const INCTRL_BGR8: i32 = 4;
/// Pixel format: red, green, blue, alpha; alpha is dropped.
pub const INCTRL_RGBA8: i32 = 5;
/// Pixel format: blue, green, red, alpha; alpha is dropped.
pub const INCTRL_BGRA8: i32 = 6;
/// Pixel format: colour filter array, first row red, green, second row green, blue.
pub const INCTRL_BAYER_RG8: i32 = 7;
/// Pixel format: colour filter array, first row green, red, second row blue, green.
pub const INCTRL_BAYER_GR8: i32 = 8;
/// Pixel format: colour filter array, first row green, blue, second row red, green.
pub const INCTRL_BAYER_GB8: i32 = 9;
/// Pixel format: colour filter array, first row blue, green, second row green, red.
pub const INCTRL_BAYER_BG8: i32 = 10;
/// Pixel format: GenICam's Mono10, two bytes as INCTRL_MONO16, the value in the lower 10 bits; larger values are white.
pub const INCTRL_MONO10: i32 = 11;
/// Pixel format: GenICam's Mono12, two bytes as INCTRL_MONO16, the value in the lower 12 bits; larger values are white.
pub const INCTRL_MONO12: i32 = 12;
/// Pixel format: GenICam's Mono10p, four pixels in five bytes, from the least significant bit on. Each row begins at a
/// byte. If the width does not fill the last byte, `stride` must be given. The same holds for the next two formats.
pub const INCTRL_MONO10P: i32 = 13;
/// Pixel format: GenICam's Mono12p, two pixels in three bytes, from the least significant bit on.
pub const INCTRL_MONO12P: i32 = 14;
/// Pixel format: Mono12Packed of GigE Vision, two pixels in three bytes: upper bits, lower bits of both, upper bits.
pub const INCTRL_MONO12_PACKED: i32 = 15;
/// Pixel format: as INCTRL_BAYER_RG8, with pixels stored as in INCTRL_MONO10. The next eleven are named in the same
/// way.
pub const INCTRL_BAYER_RG10: i32 = 16;
/// Pixel format: as INCTRL_BAYER_GR8, with pixels stored as in INCTRL_MONO10.
pub const INCTRL_BAYER_GR10: i32 = 17;
/// Pixel format: as INCTRL_BAYER_GB8, with pixels stored as in INCTRL_MONO10.
pub const INCTRL_BAYER_GB10: i32 = 18;
/// Pixel format: as INCTRL_BAYER_BG8, with pixels stored as in INCTRL_MONO10.
pub const INCTRL_BAYER_BG10: i32 = 19;
/// Pixel format: as INCTRL_BAYER_RG8, with pixels stored as in INCTRL_MONO12.
pub const INCTRL_BAYER_RG12: i32 = 20;
/// Pixel format: as INCTRL_BAYER_GR8, with pixels stored as in INCTRL_MONO12.
pub const INCTRL_BAYER_GR12: i32 = 21;
/// Pixel format: as INCTRL_BAYER_GB8, with pixels stored as in INCTRL_MONO12.
pub const INCTRL_BAYER_GB12: i32 = 22;
/// Pixel format: as INCTRL_BAYER_BG8, with pixels stored as in INCTRL_MONO12.
pub const INCTRL_BAYER_BG12: i32 = 23;
/// Pixel format: as INCTRL_BAYER_RG8, with pixels stored as in INCTRL_MONO16.
pub const INCTRL_BAYER_RG16: i32 = 24;
/// Pixel format: as INCTRL_BAYER_GR8, with pixels stored as in INCTRL_MONO16.
pub const INCTRL_BAYER_GR16: i32 = 25;
/// Pixel format: as INCTRL_BAYER_GB8, with pixels stored as in INCTRL_MONO16.
pub const INCTRL_BAYER_GB16: i32 = 26;
/// Pixel format: as INCTRL_BAYER_BG8, with pixels stored as in INCTRL_MONO16.
pub const INCTRL_BAYER_BG16: i32 = 27;

/// Memory of a frame: host memory, pageable or pinned.
pub const INCTRL_MEMORY_HOST: i32 = 0;
/// Memory of a frame: memory of the engine's own CUDA device, managed memory, or pinned host memory that the device
/// maps.
///
/// INCTRL_MONO8 and INCTRL_RGB8 are read in place. Other formats, frames of a bank with an ignore mask, and a bank's
/// normal images are copied to the host first, which is slower than a frame in host memory. The work that writes the
/// frame must have finished, not only been queued, before the call. The device of `data` and the length of its
/// allocation are checked. Host memory, memory of another device or context, freed memory, a picture longer than its
/// allocation, and device memory with a CPU engine give INCTRL_ERROR_ARGUMENT.
pub const INCTRL_MEMORY_CUDA: i32 = 1;

/// A picture in the caller's memory, which is only read, and only during the call.
///
/// Begin with `inctrl_frame frame = {0}; frame.struct_size = sizeof frame;`, so that fields of later versions are zero.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_frame {
    /// sizeof(inctrl_frame).
    pub struct_size: usize,
    /// The first pixel of the top row: for INCTRL_MEMORY_CUDA, a CUdeviceptr as a pointer.
    pub data: *const c_void,
    /// Pixels in a row.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
    /// Bytes from the start of one row to the start of the next; 0 for rows without padding. Unsigned: a picture that
    /// is stored from the bottom up must be flipped first.
    pub stride: usize,
    /// One of the pixel formats.
    pub format: i32,
    /// Where `data` points: INCTRL_MEMORY_HOST, which is 0, or INCTRL_MEMORY_CUDA.
    pub memory: i32,
    /// The value of white, at least 255; larger values are white, too. 0 means the format's own: 255, 1023, 4095 or
    /// 65535.
    ///
    /// It is needed where a 16-bit format holds fewer bits, such as 16383 for 14 bits. Without it, 16-bit values that
    /// use less than a sixteenth of their range are in doubt: an error for a bank's normal image, a warning in the log
    /// when scoring. 65535 declares that they already have the right scale.
    pub white_level: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size; integers and a pointer, which any bits are.
unsafe impl Versioned for inctrl_frame {
    const NAME: &'static str = "inctrl_frame";
    const FIRST: usize = offset_of!(inctrl_frame, memory) + size_of::<i32>();
}

/// A rectangle of whole pixels inside a frame. This structure will not grow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_roi {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

impl inctrl_roi {
    pub(super) fn get(self) -> Roi {
        let [x, y, width, height] = [self.x, self.y, self.width, self.height].map(|side| side as usize);
        Roi { x, y, width, height }
    }
}

pub(super) fn pixel_format(number: i32) -> Outcome<PixelFormat> {
    Ok(match number {
        INCTRL_MONO8 => PixelFormat::Grey8,
        INCTRL_MONO16 => PixelFormat::Grey16,
        INCTRL_RGB8 => PixelFormat::Rgb8,
        INCTRL_BGR8 => PixelFormat::Bgr8,
        INCTRL_RGBA8 => PixelFormat::Rgba8,
        INCTRL_BGRA8 => PixelFormat::Bgra8,
        INCTRL_BAYER_RG8 => PixelFormat::BayerRg8,
        INCTRL_BAYER_GR8 => PixelFormat::BayerGr8,
        INCTRL_BAYER_GB8 => PixelFormat::BayerGb8,
        INCTRL_BAYER_BG8 => PixelFormat::BayerBg8,
        INCTRL_MONO10 => PixelFormat::Grey10,
        INCTRL_MONO12 => PixelFormat::Grey12,
        INCTRL_MONO10P => PixelFormat::Grey10p,
        INCTRL_MONO12P => PixelFormat::Grey12p,
        INCTRL_MONO12_PACKED => PixelFormat::Grey12Packed,
        INCTRL_BAYER_RG10 => PixelFormat::BayerRg10,
        INCTRL_BAYER_GR10 => PixelFormat::BayerGr10,
        INCTRL_BAYER_GB10 => PixelFormat::BayerGb10,
        INCTRL_BAYER_BG10 => PixelFormat::BayerBg10,
        INCTRL_BAYER_RG12 => PixelFormat::BayerRg12,
        INCTRL_BAYER_GR12 => PixelFormat::BayerGr12,
        INCTRL_BAYER_GB12 => PixelFormat::BayerGb12,
        INCTRL_BAYER_BG12 => PixelFormat::BayerBg12,
        INCTRL_BAYER_RG16 => PixelFormat::BayerRg16,
        INCTRL_BAYER_GR16 => PixelFormat::BayerGr16,
        INCTRL_BAYER_GB16 => PixelFormat::BayerGb16,
        INCTRL_BAYER_BG16 => PixelFormat::BayerBg16,
        _ => {
            return Err(Failure::argument(format!(
                "{number} is not a pixel format: use one of INCTRL_MONO8 to INCTRL_BAYER_BG16"
            )));
        }
    })
}

/// The caller's frame.
///
/// # Safety
/// `pointer` is NULL or a structure of the size that it says, whose pixels live for `'a`.
pub(super) unsafe fn frame<'a>(pointer: *const inctrl_frame) -> Outcome<AnyFrame<'a>> {
    // SAFETY: as of this function.
    let frame = unsafe { read(pointer) }?;
    let format = pixel_format(frame.format)?;
    if frame.data.is_null() {
        return Err(Failure::argument("the pixels of the frame are NULL"));
    }
    if frame.reserved != 0 {
        return Err(Failure::argument(format!(
            "`reserved` of inctrl_frame is {}: it must be 0; begin with `inctrl_frame frame = {{0}}`",
            frame.reserved
        )));
    }
    let white = if frame.white_level == 0 { None } else { Some(WhiteLevel::new(frame.white_level)?) };
    let (width, height) = (frame.width as usize, frame.height as usize);
    let stride = if frame.stride == 0 { packed_stride(width, height, format)? } else { frame.stride };
    let len = format.row_bytes(width).and_then(|row| {
        let len = height.saturating_sub(1).checked_mul(stride)?.checked_add(row)?;
        isize::try_from(len).ok().map(|_| len)
    });
    let Some(len) = len else {
        return Err(Failure::argument(format!(
            "a frame of {width} x {height} pixels with a stride of {} bytes exceeds the address space",
            frame.stride
        )));
    };
    let given: AnyFrame<'a> = match frame.memory {
        INCTRL_MEMORY_HOST => {
            // SAFETY: the caller's structure describes a picture of the caller's, which ends with the last pixel of its
            // last row.
            let data = unsafe { std::slice::from_raw_parts(frame.data.cast::<u8>(), len) };
            Frame::new(data, width, height, stride, format)?.into()
        }
        INCTRL_MEMORY_CUDA => {
            // SAFETY: as the header asks, the caller's device memory stays as it is until the call returns, and the
            // frame is of this call alone.
            let device = unsafe { DeviceFrame::new(frame.data as u64, width, height, stride, format) };
            device?.into()
        }
        other => {
            return Err(Failure::argument(format!(
                "{other} is not a memory: use INCTRL_MEMORY_HOST or INCTRL_MEMORY_CUDA; begin with `inctrl_frame \
                frame = {{0}}`"
            )));
        }
    };
    Ok(white.map_or(Ok(given), |white| given.with_white_level(white))?)
}

/// The caller's ignore mask.
///
/// # Safety
/// As [`frame`].
pub(super) unsafe fn mask<'a>(pointer: *const inctrl_frame) -> Outcome<Frame<'a>> {
    // SAFETY: as of this function.
    match unsafe { frame(pointer) }? {
        AnyFrame::Host(mask) => Ok(mask),
        AnyFrame::Device(mask) => Err(Failure::argument(format!(
            "the ignore mask, {mask:?}, is in device memory: a mask must be in host memory, INCTRL_MEMORY_HOST"
        ))),
    }
}

/// Pushes the caller's array of frames, all with the first one's size.
///
/// # Safety
/// As [`frame`], for each of `count`.
pub(super) unsafe fn frames<'a>(
    pointer: *const inctrl_frame,
    count: usize,
    mut each: impl FnMut(usize, Outcome<AnyFrame<'a>>),
) -> Outcome {
    // SAFETY: as of this function.
    let array = unsafe { Array::new(pointer.cast_mut(), count) }?;
    for i in 0..count {
        // SAFETY: as of this function, as `i < count`.
        each(i, unsafe { array.get(i).and_then(|pointer| frame(pointer)) });
    }
    Ok(())
}
