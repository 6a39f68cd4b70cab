//! What Python calls a picture, as a frame: a path, the bytes of a file, an array of numpy, whatever `inctrl._pictures`
//! makes one of, or memory of a GPU. Pixels are read where they are, wherever their rows allow it.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::path::PathBuf;

use inctrl::image::{MAX_PIXELS, MAX_SIDE};
use inctrl::internals::check_memory;
use inctrl::{AnyFrame, DeviceFrame, Error, Frame, IgnoreMask, Image, PixelFormat, WhiteLevel};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::arguments::{Whole, path_of};
use crate::arrays::ndarray;
use crate::errors::{OrRaise, argument};

/// How the pixels of arrays are to be understood.
#[derive(Clone, Copy)]
pub struct Understood {
    format: Option<PixelFormat>,
    /// The value of white in pictures of more than 8 bits.
    pub white: Option<WhiteLevel>,
}

impl Understood {
    /// As the keywords `format` and `white_level` say.
    pub fn new(py: Python<'_>, format: Option<&str>, white_level: Option<Whole>) -> PyResult<Self> {
        let format = format.map(str::parse).transpose().or_raise(py)?;
        Ok(Understood { format, white: white_of(py, white_level)? })
    }
}

/// The white level that the keyword `white_level` gives.
pub fn white_of(py: Python<'_>, white_level: Option<Whole>) -> PyResult<Option<WhiteLevel>> {
    let Some(level) = white_level else { return Ok(None) };
    Ok(Some(WhiteLevel::new(level.get(py, "white_level")?).or_raise(py)?))
}

/// Whether an object is one picture and not a list of several: an array of numpy can be either.
pub fn is_one(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        return Ok(false);
    }
    object.py().import("inctrl._pictures")?.call_method1("is_one", (object,))?.extract()
}

/// A picture, which keeps the object alive that has the pixels.
pub enum Picture {
    /// A file, not yet read.
    File(PathBuf),
    /// What a file holds, in memory.
    Content(PyBackedBytes),
    /// Pixels in memory.
    Array(Array),
    /// Pixels in the memory of a GPU.
    Device(DeviceFrame, #[expect(dead_code, reason = "keeps the memory alive")] Py<PyAny>),
}

/// Pixels in the memory of an object.
pub struct Array {
    /// The object.
    #[expect(dead_code, reason = "keeps the memory alive")]
    owner: Py<PyAny>,
    address: usize,
    layout: Layout,
}

/// Rows in memory.
#[derive(Clone, Copy)]
struct Layout {
    width: usize,
    height: usize,
    stride: usize,
    bytes: usize,
    format: PixelFormat,
    white: Option<WhiteLevel>,
}

/// A picture whose pixels are at hand.
pub enum Loaded<'p> {
    /// From a file.
    Decoded(Image),
    /// From memory.
    Borrowed(Frame<'p>),
    /// From the memory of a GPU.
    Device(DeviceFrame),
}

impl Picture {
    /// The picture that `object` is.
    pub fn of(object: &Bound<'_, PyAny>, how: Understood) -> PyResult<Self> {
        let py = object.py();
        // Of exactly this class: a subclass may hold more than pixels, such as which of them are valid.
        if object.get_type().is(ndarray(py)?) {
            return Picture::of_array(object, how, true);
        }
        if let Some(path) = path_of(object)? {
            return Ok(Picture::File(path));
        }
        if object.is_instance_of::<PyBytes>() {
            return Ok(Picture::Content(object.extract()?));
        }
        let made = py.import("inctrl._pictures")?.call_method1("as_array", (object,))?;
        if made.get_type().is(ndarray(py)?) {
            return Picture::of_array(&made, how, true);
        }
        Picture::of_device(&made, how)
    }

    /// The picture that is to be an ignore mask, which may be an array of bool.
    pub fn of_mask(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mask = object.py().import("inctrl._pictures")?.call_method1("of_bool", (object,))?;
        Picture::of(&mask, Understood { format: None, white: None })
    }

    /// The mask that it is.
    pub fn mask(&self) -> inctrl::Result<IgnoreMask> {
        match self {
            Picture::File(path) => IgnoreMask::open(path),
            Picture::Content(bytes) => IgnoreMask::decode(bytes).map_err(|error| of_content(bytes, error)),
            Picture::Array(array) => IgnoreMask::from_frame(array.frame()?),
            Picture::Device(..) => Err(Error::new(
                inctrl::ErrorKind::Argument,
                "the ignore mask is in a GPU's memory: it is read on the host, bring it there",
            )),
        }
    }

    /// An array of numpy; `copies` says whether one whose rows cannot be read as they are may be copied.
    fn of_array(array: &Bound<'_, PyAny>, how: Understood, copies: bool) -> PyResult<Self> {
        let py = array.py();
        let interface = array.getattr("__array_interface__")?;
        let interface = Interface::of(interface.cast::<PyDict>()?)?;
        let Some(layout) = interface.layout(py, how)? else {
            if !copies {
                return Err(argument(py, "the array does not become contiguous"));
            }
            let bytes = interface.shape.iter().product::<usize>().saturating_mul(interface.sample);
            let (what, remedy) = (shape_text(&interface.shape), "give one in which the pixels of a row are contiguous");
            // As many pixels as a file may have.
            if interface.shape[..2].iter().product::<usize>() as u64 > MAX_PIXELS {
                let message = format!("an array of shape {what}, too large to be copied: {remedy}");
                return Err(argument(py, message));
            }
            check_memory(&format!("a copy of the array of shape {what}"), bytes, remedy).or_raise(py)?;
            // Steps that no row has, or the bytes of a sample the other way round.
            let dtype = if interface.sample == 2 { "<u2" } else { "|u1" };
            let copy = py.import("numpy")?.call_method1("ascontiguousarray", (array, dtype))?;
            return Picture::of_array(&copy, how, false);
        };
        Ok(Picture::Array(Array { owner: array.clone().unbind(), address: interface.address, layout }))
    }

    /// An object with memory of a GPU.
    fn of_device(object: &Bound<'_, PyAny>, how: Understood) -> PyResult<Self> {
        let py = object.py();
        let interface = object.getattr("__cuda_array_interface__")?;
        let interface = interface.cast::<PyDict>()?;
        if interface.get_item("mask")?.is_some_and(|mask| !mask.is_none()) {
            return Err(argument(py, "an array in a GPU's memory with a mask: every pixel counts, give one without"));
        }
        let interface = Interface::of(interface)?;
        let Some(layout) = interface.layout(py, how)? else {
            return Err(argument(
                py,
                "an array in a GPU's memory must have pixels without gaps in each row, the first row first",
            ));
        };
        let Layout { width, height, stride, format, .. } = layout;
        // SAFETY: the object says that the memory is its own, and `owner` keeps it until the last call with this picture
        // is over; that nobody writes to it meanwhile is the caller's promise (docs/python.md), as for every array.
        let frame =
            unsafe { DeviceFrame::new(interface.address as u64, width, height, stride, format) }.or_raise(py)?;
        let frame = layout.white.map_or(Ok(frame), |white| frame.with_white_level(white)).or_raise(py)?;
        Ok(Picture::Device(frame, object.clone().unbind()))
    }

    /// The pixels; files are read and decoded, with `white` for those of 16 bits.
    pub fn load(&self, white: Option<WhiteLevel>) -> inctrl::Result<Loaded<'_>> {
        Ok(match self {
            Picture::File(path) => Loaded::Decoded(Image::open_with(path, white)?),
            Picture::Content(bytes) => Loaded::Decoded(decoded(bytes, white)?),
            Picture::Array(array) => Loaded::Borrowed(array.frame()?),
            Picture::Device(frame, _) => Loaded::Device(*frame),
        })
    }
}

/// The picture of a file whose bytes these are.
pub fn decoded(bytes: &[u8], white: Option<WhiteLevel>) -> inctrl::Result<Image> {
    Image::decode_with(bytes, white).map_err(|error| of_content(bytes, error))
}

/// The error, with a hint where the bytes may be meant as a path.
fn of_content(bytes: &[u8], error: Error) -> Error {
    let text = bytes.first().is_some_and(u8::is_ascii_graphic) && bytes.len() < 4096 && !bytes.contains(&0);
    if !text {
        return error;
    }
    let message = "bytes are read as what a picture file holds (a path is text: os.fsdecode(path))";
    Error::new(error.kind(), message).because(error)
}

impl Array {
    /// The pixels.
    pub fn frame(&self) -> inctrl::Result<Frame<'_>> {
        let Layout { width, height, stride, bytes, format, white } = self.layout;
        // SAFETY: by the array interface the object owns memory at `address` for its shape and strides, of which `bytes`
        // is the extent, and keeps it as long as it lives itself: `owner` lives as long as this borrow. That nobody
        // writes to it during a call is the caller's promise (docs/python.md); bytes have no invalid values.
        let data = unsafe { std::slice::from_raw_parts(self.address as *const u8, bytes) };
        let frame = Frame::new(data, width, height, stride, format)?;
        white.map_or(Ok(frame), |white| frame.with_white_level(white))
    }
}

impl Loaded<'_> {
    /// The pixels, in the host's memory or a device's.
    pub fn any(&self) -> AnyFrame<'_> {
        match self {
            Loaded::Decoded(image) => image.frame().into(),
            Loaded::Borrowed(frame) => (*frame).into(),
            Loaded::Device(frame) => (*frame).into(),
        }
    }
}

/// What an array says of its memory.
struct Interface {
    shape: Vec<usize>,
    /// Bytes from one element to the next along each axis; none where there are no gaps.
    strides: Option<Vec<isize>>,
    address: usize,
    /// Bytes of an element.
    sample: usize,
    /// Whether the bytes of an element are in the order of this machine.
    native: bool,
}

impl Interface {
    fn of(said: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = said.py();
        let get = |name: &str| said.get_item(name).map(|value| value.filter(|value| !value.is_none()));
        let missing = |name: &str| argument(py, format!("the array's interface has no {name}"));
        let kind = get("typestr")?.ok_or_else(|| missing("typestr"))?;
        let kind: Cow<'_, str> = kind.extract()?;
        let (sample, native) = match &*kind {
            "|u1" | "<u1" | ">u1" => (1, true),
            "<u2" => (2, true),
            ">u2" => (2, false),
            _ => return Err(argument(py, of_type(&kind))),
        };
        let data = get("data")?.ok_or_else(|| missing("data"))?;
        let address = data.cast::<PyTuple>().map_err(|_| missing("address"))?.get_item(0)?;
        let address = address.extract().map_err(|_| missing("address"))?;
        let shape = get("shape")?.ok_or_else(|| missing("shape"))?.extract()?;
        let strides = get("strides")?.map(|strides| strides.extract()).transpose()?;
        Ok(Interface { shape, strides, address, sample, native })
    }

    /// Where its pixels are; nothing where it must be copied for that.
    fn layout(&self, py: Python<'_>, how: Understood) -> PyResult<Option<Layout>> {
        let (height, width, channels) = match self.shape[..] {
            [height, width] => (height, width, 1),
            [height, width, channels @ (1 | 3 | 4)] => (height, width, channels),
            _ => return Err(argument(py, of_shape(&self.shape))),
        };
        // Before anything is computed from them, or copied.
        if width > MAX_SIDE || height > MAX_SIDE {
            let message = format!("the picture is {width} x {height} pixels: at most {MAX_SIDE} each way are read");
            return Err(argument(py, message));
        }
        if width * height == 0 {
            return Err(argument(py, format!("an empty array, of shape {}", shape_text(&self.shape))));
        }
        let format = match (how.format, channels, self.sample) {
            (Some(format), ..) if format.bits() == 8 * channels * self.sample => format,
            (Some(format), ..) => {
                let message = format!(
                    "format \"{}\" has {} bits a pixel, but the array has {channels} channels of {} bits",
                    format.name(),
                    format.bits(),
                    8 * self.sample
                );
                return Err(argument(py, message));
            }
            (None, 1, 1) => PixelFormat::Grey8,
            (None, 3, 1) => PixelFormat::Rgb8,
            (None, 4, 1) => PixelFormat::Rgba8,
            (None, 1, _) => PixelFormat::Grey16,
            _ => {
                let message = "an array of 16-bit colour: bring it to 8 bits, such as (array >> 8).astype(numpy.uint8)";
                return Err(argument(py, message));
            }
        };
        let row = width * channels * self.sample;
        let sizes = [self.sample * channels, self.sample].map(|size| size as isize);
        let stride = match self.strides.as_deref() {
            None => Some(row),
            // An axis with one element is never stepped along.
            Some([rows, within @ ..]) => {
                let gapless =
                    within.iter().zip(sizes).zip(&self.shape[1..]).all(|((s, size), n)| *s == size || *n == 1);
                let rows = if height == 1 { Some(row) } else { usize::try_from(*rows).ok() };
                rows.filter(|stride| gapless && *stride >= row)
            }
            Some([]) => None,
        };
        let Some(stride) = stride.filter(|_| self.native) else { return Ok(None) };
        let bytes = stride.saturating_mul(height.saturating_sub(1)).saturating_add(row);
        // A picture of 8 bits is what it is, as a file of 8 bits is.
        let white = how.white.filter(|_| format.depth() > 8);
        if self.address == 0 {
            return Err(argument(py, format!("an array of shape {} without memory", shape_text(&self.shape))));
        }
        Ok(Some(Layout { width, height, stride, bytes, format, white }))
    }
}

fn shape_text(shape: &[usize]) -> String {
    format!("({})", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
}

fn of_type(kind: &str) -> String {
    let found = match kind.get(1..).unwrap_or(kind) {
        "f2" => "float16",
        "f4" => "float32",
        "f8" => "float64",
        "b1" => "bool",
        "i1" => "int8",
        "i2" => "int16",
        "i4" => "int32",
        "i8" => "int64",
        "u4" => "uint32",
        "u8" => "uint64",
        "O" => "object",
        _ => kind,
    };
    let hint = match kind.as_bytes().get(1) {
        Some(b'f') => {
            ". Values from 0 to 1 become pixels by (255 * array).round().astype(numpy.uint8), once it is sure that none is \
             NaN"
        }
        Some(b'b') => ": 255 * array.astype(numpy.uint8) is black and white",
        Some(b'i' | b'u') => ": array.astype(numpy.uint8), once it is sure that all values lie from 0 to 255",
        _ => "",
    };
    format!("an array of {found}: pixels are uint8, or uint16 for grey{hint}")
}

fn of_shape(shape: &[usize]) -> String {
    let hint = match shape {
        [1 | 3 | 4, _, _] => "; this one looks like channels first: use array.transpose(1, 2, 0)",
        [_, _, _, _] => "; several images are a list for score_batch, such as list(array)",
        _ => "",
    };
    format!(
        "an array of shape {}: a picture is (rows, columns) or (rows, columns, 1, 3 or 4 channels){hint}",
        shape_text(shape)
    )
}
