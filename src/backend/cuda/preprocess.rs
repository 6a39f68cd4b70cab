//! Launches `kernels/preprocess.cu`: frame to patch rows. A frame in device memory is read where it is; one of the host
//! goes through page-locked memory.
//!
//! Two staging buffers take turns, so that the next frame of a batch is copied by the processor while the last one is
//! transferred; an event tells when a buffer is free again.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::CudaContext;
use cudarc::driver::sys::CUevent_flags;

use super::Cuda;
use super::buffer::Buffer;
use super::event::Event;
use super::launch::{Grid, int, launch};
use super::memory::{DeviceMemory, HostMemory, Plain};
use crate::backend::need_views;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, Frame, PADDING};
use crate::view::{FilterWeights, Fit, Plan, Preprocessing, View};

const THREADS: u32 = 256;
/// Sizes of frames whose tables are kept: the regions that are cut from one camera's frames.
const GEOMETRIES: usize = 32;

/// Memory between a frame and its patch rows; grows to the largest frame seen.
#[derive(Default)]
pub(super) struct Pixels {
    staging: [Option<Staging>; 2],
    turn: usize,
    frame: Option<DeviceMemory>,
    intermediate: Option<DeviceMemory>,
    /// Tables of the sizes seen last, the last one in use.
    geometries: Vec<Geometry>,
}

/// Pixels that kernels can read: the part of a frame that its views need.
pub(super) struct Source {
    /// Where the part begins in the frame.
    columns: usize,
    rows: usize,
    channels: usize,
    /// Address of its first pixel, and bytes to the next row.
    address: u64,
    stride: usize,
}

/// The pixels of a frame that views need, as columns and rows.
fn needed(views: &[View]) -> [Range<usize>; 2] {
    let span = |of: fn(&View) -> Range<usize>| {
        let start = views.iter().map(|view| of(view).start).min().unwrap_or(0);
        start..views.iter().map(|view| of(view).end).max().unwrap_or(start)
    };
    let columns = |view: &View| view.region().x..view.region().x + view.region().width;
    [span(columns), span(rows_of)]
}

/// The rows of the frame that a view needs.
fn rows_of(view: &View) -> Range<usize> {
    let (first, rows) = (view.region().y, view.plan().source_rows());
    first + rows.start..first + rows.end
}

/// Width, height, size, fit, preprocessing: what a plan depends on.
type Key = ([usize; 2], usize, Fit, Preprocessing);

fn key_of(plan: &Plan) -> Key {
    (plan.source(), plan.size(), plan.fit(), *plan.preprocessing())
}

struct Staging {
    memory: HostMemory,
    free: Event,
}

/// The tables of a plan on the device.
struct Geometry {
    key: Key,
    x: Axis,
    y: Axis,
    /// [`Plan::values`], `[3, 256]` f32.
    values: DeviceMemory,
}

struct Axis {
    first: DeviceMemory,
    count: DeviceMemory,
    weights: DeviceMemory,
    row_len: usize,
}

impl Cuda {
    /// Takes the pixels that `views` need to memory that kernels read, if they are not there.
    pub(super) fn upload_frame(&mut self, frame: &AnyFrame<'_>, views: &[View]) -> Result<Source> {
        need_views(frame, views)?;
        self.shared.bind()?;
        let channels = frame.format().channels();
        let [columns, rows] = needed(views);
        let (address, stride) = match frame {
            AnyFrame::Host(host) => self.upload_pixels(host, [&columns, &rows])?,
            AnyFrame::Device(device) => {
                let address = self.readable(device)?;
                if i32::try_from(device.stride()).is_err() {
                    let message = format!(
                        "{device:?} has rows {} bytes apart, and at most {} are supported: copy it to a narrower picture",
                        device.stride(),
                        i32::MAX
                    );
                    return Err(Error::new(ErrorKind::Argument, message));
                }
                (address + (rows.start * device.stride() + columns.start * channels) as u64, device.stride())
            }
        };
        Ok(Source { columns: columns.start, rows: rows.start, channels, address, stride })
    }

    /// The views of an uploaded frame, resized and cut into patch rows.
    pub(super) fn launch_preprocess(
        &mut self,
        source: &Source,
        views: &[View],
        patch: usize,
        first: usize,
        patches: &mut Buffer,
    ) -> Result<()> {
        for (i, view) in views.iter().enumerate() {
            self.prepare_tables(source.channels, view.plan())?;
            self.launch_view(source, view, patch, first + i, patches)?;
        }
        Ok(())
    }

    /// One view, whose tables are ready, as image `image` of the batch.
    fn launch_view(
        &mut self,
        source: &Source,
        view: &View,
        patch: usize,
        image: usize,
        patches: &mut Buffer,
    ) -> Result<()> {
        let plan = view.plan();
        let (cells, storage) = (plan.grid(patch), self.operand());
        let len = cells.cells() * 3 * patch * patch;
        let out = patches.pointer("preprocess", "patches", storage, (image + 1) * len)?;
        let out = out + (image * len * storage.size()) as u64;
        let &Source { channels, stride, .. } = source;
        let (row, column) = (rows_of(view).start - source.rows, view.region().x - source.columns);
        let first_row = source.address + (row * stride + column * channels) as u64;
        let (rows, columns) = (plan.rows(), plan.columns());
        let Pixels { intermediate: Some(intermediate), geometries, .. } = &self.pixels else {
            return Err(unprepared());
        };
        let geometry = geometries.last().ok_or_else(unprepared)?;
        let kernels = &self.shared.kernels;
        launch!(
            self,
            kernels.resize_horizontal,
            Grid::over(plan.intermediate_len(channels), THREADS as usize, THREADS),
            first_row,
            int(stride)?,
            int(channels)?,
            0i32,
            int(plan.intermediate_rows())?,
            geometry.x.first.pointer(),
            geometry.x.count.pointer(),
            geometry.x.weights.pointer(),
            int(geometry.x.row_len)?,
            int(columns.len())?,
            intermediate.pointer(),
        )?;
        launch!(
            self,
            kernels.patch_rows.of(storage)?,
            Grid::over(cells.cells() * patch * patch, THREADS as usize, THREADS),
            intermediate.pointer(),
            int(plan.source_rows().start)?,
            int(channels)?,
            geometry.y.first.pointer(),
            geometry.y.count.pointer(),
            geometry.y.weights.pointer(),
            int(geometry.y.row_len)?,
            int(columns.start)?,
            int(columns.len())?,
            int(rows.start)?,
            int(rows.len())?,
            int(cells.rows)?,
            int(cells.cols)?,
            int(patch)?,
            i32::from(PADDING),
            geometry.values.pointer(),
            out,
        )
    }

    /// Memory of `bytes` bytes through which a part of a frame of the host goes. What was there stays where the new
    /// cannot be had.
    fn prepare_staging(&mut self, frame: &Frame<'_>, bytes: usize) -> Result<()> {
        let context = &self.shared.context;
        let (width, height) = (frame.width(), frame.height());
        // Text only where there is an error.
        let what = format_args!("a frame of {width} x {height} pixels");
        let turn = 1 - self.pixels.turn;
        self.pixels.turn = turn;
        match &self.pixels.staging[turn] {
            Some(staging) if staging.memory.bytes().len() >= bytes => {
                staging.free.wait()?;
            }
            _ => {
                let memory = HostMemory::new(context, what, bytes)?;
                // The old memory may still be read by a transfer.
                self.synchronise()?;
                let free = self.event(CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
                self.pixels.staging[turn] = Some(Staging { memory, free });
            }
        }
        grow(context, what, bytes, &mut self.pixels.frame)
    }

    /// Memory between the passes and tables for pictures of this size. What was there stays where the new cannot be had.
    fn prepare_tables(&mut self, channels: usize, plan: &Plan) -> Result<()> {
        let context = &self.shared.context;
        let [width, height] = plan.source();
        let what = format_args!("a frame of {width} x {height} pixels");
        let pixels = &mut self.pixels;
        grow(context, what, plan.intermediate_len(channels), &mut pixels.intermediate)?;
        let key = key_of(plan);
        if let Some(at) = pixels.geometries.iter().rposition(|geometry| geometry.key == key) {
            // The last is the one used last.
            pixels.geometries[at..].rotate_left(1);
        } else {
            let axis = |taps: &FilterWeights| -> Result<Axis> {
                Ok(Axis {
                    first: table(context, taps.first())?,
                    count: table(context, taps.count())?,
                    weights: table(context, taps.weights())?,
                    row_len: taps.row_len(),
                })
            };
            let values = table(context, plan.values().as_flattened())?;
            let geometry =
                Geometry { key, x: axis(plan.horizontal_weights())?, y: axis(plan.vertical_weights())?, values };
            if pixels.geometries.len() == GEOMETRIES {
                // Freed when queued work has read them: freeing waits.
                pixels.geometries.remove(0);
            }
            pixels.geometries.push(geometry);
        }
        Ok(())
    }

    /// Copies the pixels of `columns` and `rows` into page-locked memory and queues their transfer: to where, and how
    /// long a row is there.
    fn upload_pixels(&mut self, frame: &Frame<'_>, [columns, rows]: [&Range<usize>; 2]) -> Result<(u64, usize)> {
        let channels = frame.format().channels();
        let row_bytes = columns.len() * channels;
        let bytes = rows.len() * row_bytes;
        self.prepare_staging(frame, bytes)?;
        let Pixels { staging, turn, frame: Some(device), .. } = &mut self.pixels else { return Err(unprepared()) };
        let Some(staging) = &mut staging[*turn] else { return Err(unprepared()) };
        for (row, out) in rows.clone().zip(staging.memory.bytes_mut().chunks_exact_mut(row_bytes)) {
            out.copy_from_slice(&frame.row(row)[columns.start * channels..columns.end * channels]);
        }
        let stream = self.stream.cu_stream();
        device.write_pinned(&staging.memory, bytes, stream)?;
        staging.free.record(stream)?;
        Ok((device.pointer(), row_bytes))
    }
}

fn grow(
    context: &Arc<CudaContext>,
    what: fmt::Arguments<'_>,
    bytes: usize,
    memory: &mut Option<DeviceMemory>,
) -> Result<()> {
    if memory.as_ref().is_none_or(|memory| memory.bytes() < bytes) {
        *memory = Some(DeviceMemory::new(context, what, bytes)?);
    }
    Ok(())
}

fn table<T: Plain>(context: &Arc<CudaContext>, values: &[T]) -> Result<DeviceMemory> {
    let mut memory = DeviceMemory::new(context, "the tables of a resize", size_of_val(values))?;
    memory.write(0, values)?;
    Ok(memory)
}

fn unprepared() -> Error {
    Error::new(ErrorKind::Internal, "preprocess: the frame was not uploaded")
}
