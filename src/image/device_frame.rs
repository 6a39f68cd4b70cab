//! Pixels in device memory: [`DeviceFrame`], and [`AnyFrame`] for host or device memory.

use super::depth::{DepthDoubt, WhiteLevel};
use super::frame::{Frame, Roi};
use super::layout::{Layout, argument};
use super::pixel_format::PixelFormat;
use crate::error::Result;

/// A picture in a GPU's memory, as [`Frame`] is for host memory. Only engines on that GPU accept it.
///
/// `Grey8` and `Rgb8` are read in place. Other formats, frames of a bank with an ignore mask, and a bank's normal
/// images are copied to the host first, where they are converted, masked and identified.
///
/// It is an address and a layout. At each use the driver is asked whether the address belongs to memory that the device
/// can read and that is long enough. The driver cannot tell whether the pixels are ready: the work that writes them
/// must have finished, not only been queued, before a call that takes the frame. Nothing may change or free them until
/// the call returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DeviceFrame {
    address: u64,
    layout: Layout,
}

impl DeviceFrame {
    /// The picture whose first pixel is at `address` (a `CUdeviceptr`): `height` rows of `width` pixels, row `y`
    /// starting `y * stride_bytes` bytes further on. The last row may stop at its last pixel.
    ///
    /// # Safety
    /// During every call that takes this frame, the memory must stay allocated and unchanged. Freeing or changing it
    /// meanwhile can end every engine of the process or change a score.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for address 0, an empty picture, a stride shorter than a
    /// row, or a picture that exceeds the address space.
    // Nothing here dereferences the address. The caller's promise is for the backend, which cannot ask for it later.
    #[allow(unsafe_code)]
    pub unsafe fn new(
        address: u64,
        width: usize,
        height: usize,
        stride_bytes: usize,
        format: PixelFormat,
    ) -> Result<Self> {
        if address == 0 {
            return Err(argument("the device address of the frame is 0".into()));
        }
        let layout = Layout::new(width, height, stride_bytes, format)?;
        if address.checked_add(layout.bytes() as u64).is_none() {
            return Err(argument(format!("a frame ({layout:?}) at {address:#x} exceeds the address space")));
        }
        Ok(DeviceFrame { address, layout })
    }

    /// The same picture with a declared white level, as [`Frame::with_white_level`].
    ///
    /// # Errors
    /// As [`Frame::with_white_level`].
    pub fn with_white_level(self, level: WhiteLevel) -> Result<Self> {
        Ok(DeviceFrame { layout: self.layout.white(level)?, ..self })
    }

    /// The part of the picture inside `roi`, as [`Frame::region`].
    ///
    /// # Errors
    /// As [`Frame::region`].
    pub fn region(&self, roi: Roi) -> Result<Self> {
        let (start, layout) = self.layout.region(roi)?;
        Ok(DeviceFrame { address: self.address + start as u64, layout })
    }

    /// Address of the first pixel.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.layout.height
    }

    /// Bytes from the start of one row to the start of the next.
    pub fn stride(&self) -> usize {
        self.layout.stride
    }

    /// The format of a pixel.
    pub fn format(&self) -> PixelFormat {
        self.layout.format
    }

    /// Bytes from the first pixel to the last one.
    pub fn bytes(&self) -> usize {
        self.layout.bytes()
    }

    /// The same picture in host memory. `data` is a copy of its [`DeviceFrame::bytes`].
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for fewer bytes.
    pub fn copied<'a>(&self, data: &'a [u8]) -> Result<Frame<'a>> {
        Frame::with_layout(data, self.layout)
    }
}

impl std::fmt::Debug for DeviceFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceFrame({:?}, at {:#x})", self.layout, self.address)
    }
}

/// A picture in host or device memory. Scorers accept either kind, and this type for a mixture.
#[derive(Clone, Copy, Debug)]
pub enum AnyFrame<'a> {
    /// In host memory.
    Host(Frame<'a>),
    /// In a GPU's memory.
    Device(DeviceFrame),
}

impl<'a> From<Frame<'a>> for AnyFrame<'a> {
    fn from(frame: Frame<'a>) -> Self {
        AnyFrame::Host(frame)
    }
}

impl From<DeviceFrame> for AnyFrame<'_> {
    fn from(frame: DeviceFrame) -> Self {
        AnyFrame::Device(frame)
    }
}

impl AnyFrame<'_> {
    /// Pixels in a row.
    pub fn width(&self) -> usize {
        match self {
            AnyFrame::Host(frame) => frame.width(),
            AnyFrame::Device(frame) => frame.width(),
        }
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        match self {
            AnyFrame::Host(frame) => frame.height(),
            AnyFrame::Device(frame) => frame.height(),
        }
    }

    /// The format of a pixel.
    pub fn format(&self) -> PixelFormat {
        match self {
            AnyFrame::Host(frame) => frame.format(),
            AnyFrame::Device(frame) => frame.format(),
        }
    }

    /// The same picture with a declared white level, as [`Frame::with_white_level`].
    ///
    /// # Errors
    /// As [`Frame::with_white_level`].
    pub fn with_white_level(self, level: WhiteLevel) -> Result<Self> {
        match self {
            AnyFrame::Host(frame) => Ok(frame.with_white_level(level)?.into()),
            AnyFrame::Device(frame) => Ok(frame.with_white_level(level)?.into()),
        }
    }

    /// [`Frame::settled`] for a frame in host memory. A frame in device memory is examined when it is copied.
    pub(crate) fn settled(self) -> Self {
        match self {
            AnyFrame::Host(frame) => frame.settled().into(),
            AnyFrame::Device(_) => self,
        }
    }

    /// [`Frame::depth_doubt_beside`] for a frame in host memory. Frames that stay in device memory have 8 bits.
    pub(crate) fn depth_doubt_beside(&self, others: Option<WhiteLevel>) -> Option<DepthDoubt> {
        match self {
            AnyFrame::Host(frame) => frame.depth_doubt_beside(others),
            AnyFrame::Device(_) => None,
        }
    }

    /// The part of the picture inside `roi`, as [`Frame::region`].
    ///
    /// # Errors
    /// As [`Frame::region`].
    pub fn region(&self, roi: Roi) -> Result<Self> {
        match self {
            AnyFrame::Host(frame) => Ok(frame.region(roi)?.into()),
            AnyFrame::Device(frame) => Ok(frame.region(roi)?.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code)]

    use super::*;

    #[test]
    fn a_region_begins_where_that_of_a_host_frame_does() {
        let data = vec![0; 50 * 9];
        let level = WhiteLevel::new(1000).unwrap();
        for format in PixelFormat::ALL {
            // SAFETY: no call takes it.
            let mut device = unsafe { DeviceFrame::new(1 << 40, 12, 9, 50, format) }.unwrap();
            let mut host = Frame::new(&data, 12, 9, 50, format).unwrap();
            if format.depth() > 8 {
                device = device.with_white_level(level).unwrap();
                host = host.with_white_level(level).unwrap();
            }
            for (x, y, width, height) in [(0, 0, 12, 9), (3, 2, 5, 4), (11, 8, 1, 1)] {
                let roi = Roi { x, y, width, height };
                let (device, host) = (device.region(roi).unwrap(), host.region(roi).unwrap());
                let offset = host.row(0).as_ptr() as usize - data.as_ptr() as usize;
                assert_eq!(device.address() - (1 << 40), offset as u64);
                assert_eq!((device.width(), device.height(), device.format()), (width, height, host.format()));
                let row = format.row_bytes(x % format.group() + width).unwrap();
                assert_eq!(device.bytes(), (height - 1) * 50 + row);
                let copied = device.copied(&data[offset..]).unwrap();
                assert_eq!(copied.row(height - 1).len(), row);
                assert_eq!((copied.skip(), copied.white_level()), (host.skip(), host.white_level()), "{format:?}");
            }
            assert!(device.region(Roi { x: 12, y: 0, width: 1, height: 1 }).is_err());
        }
    }

    #[test]
    fn addresses_that_cannot_be_are_refused() {
        // SAFETY: no call takes it.
        let at = |address, stride| unsafe { DeviceFrame::new(address, 10, 10, stride, PixelFormat::Grey8) };
        assert!(at(0, 10).unwrap_err().to_string().contains("address of the frame is 0"));
        assert!(at(u64::MAX - 99, 10).unwrap_err().to_string().contains("address space"));
        assert!(at(u64::MAX - 100, 10).is_ok());
        assert!(at(1, 9).unwrap_err().to_string().contains("stride is 9 bytes"));
    }
}
