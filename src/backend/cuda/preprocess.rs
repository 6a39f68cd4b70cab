//! Launches `kernels/preprocess.cu`: frame to patch rows. A frame in device memory is read where it is; one of the host
//! goes through page-locked memory.
//!
//! Two staging buffers take turns, so that the next frame of a batch is copied by the processor while the last one is
//! transferred; an event tells when a buffer is free again.

use std::fmt;
use std::sync::Arc;

use cudarc::driver::CudaContext;
use cudarc::driver::sys::CUevent_flags;

use super::Cuda;
use super::buffer::Buffer;
use super::event::Event;
use super::launch::{Grid, int, launch};
use super::memory::{DeviceMemory, HostMemory, Plain};
use crate::backend::need_converted;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, Frame, PADDING};
use crate::view::{FilterWeights, Fit, Plan, Preprocessing};

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
    uploaded: Option<Uploaded>,
}

/// The frame that kernels read next.
#[derive(Clone, Copy)]
struct Uploaded {
    key: Key,
    channels: usize,
    /// What the caller called it, where it is in device memory of the caller's.
    own: Option<u64>,
    /// Address of the first row that the plan needs, and bytes to the next.
    first_row: u64,
    stride: usize,
}

/// Width, height, size, fit, preprocessing: what a plan depends on.
type Key = (usize, usize, usize, Fit, Preprocessing);

fn key_of(frame: &AnyFrame<'_>, plan: &Plan) -> Key {
    (frame.width(), frame.height(), plan.size(), plan.fit(), *plan.preprocessing())
}

/// The caller's address of a frame in device memory.
fn own_address(frame: &AnyFrame<'_>) -> Option<u64> {
    match frame {
        AnyFrame::Host(_) => None,
        AnyFrame::Device(frame) => Some(frame.address()),
    }
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
    /// Takes the rows that `plan` needs to the device, if they are not there, which has memory and tables for them
    /// afterwards.
    pub(super) fn transfer(&mut self, frame: &AnyFrame<'_>, plan: &Plan) -> Result<()> {
        need_converted(frame)?;
        self.shared.bind()?;
        self.pixels.uploaded = None;
        let (first_row, stride) = match frame {
            AnyFrame::Host(host) => {
                self.prepare_staging(host, plan)?;
                self.prepare_tables(frame, plan)?;
                self.upload_pixels(host, plan)?
            }
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
                self.prepare_tables(frame, plan)?;
                (address + (plan.source_rows().start * device.stride()) as u64, device.stride())
            }
        };
        let (key, channels) = (key_of(frame, plan), frame.format().channels());
        self.pixels.uploaded = Some(Uploaded { key, channels, own: own_address(frame), first_row, stride });
        Ok(())
    }

    /// The frame that [`Cuda::transfer`] took over, resized and cut into patch rows.
    pub(super) fn launch_patch_rows(
        &mut self,
        frame: AnyFrame<'_>,
        plan: &Plan,
        patch: usize,
        image: usize,
        patches: &mut Buffer,
    ) -> Result<()> {
        let (cells, storage) = (plan.grid(patch), self.operand());
        let len = cells.cells() * 3 * patch * patch;
        let out = patches.pointer("preprocess", "patches", storage, (image + 1) * len)?;
        let out = out + (image * len * storage.size()) as u64;
        self.shared.bind()?;
        let channels = frame.format().channels();
        let (rows, columns) = (plan.rows(), plan.columns());
        let Pixels { uploaded: Some(uploaded), intermediate: Some(intermediate), geometries, .. } = &self.pixels else {
            return Err(unprepared());
        };
        let found = (uploaded.key, uploaded.channels, uploaded.own);
        if found != (key_of(&frame, plan), channels, own_address(&frame)) {
            return Err(unprepared());
        }
        let geometry = geometries.last().ok_or_else(unprepared)?;
        let kernels = &self.shared.kernels;
        launch!(
            self,
            kernels.resize_horizontal,
            Grid::over(plan.intermediate_len(channels), THREADS as usize, THREADS),
            uploaded.first_row,
            int(uploaded.stride)?,
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

    /// Memory through which a frame of the host goes. What was there stays where the new cannot be had.
    fn prepare_staging(&mut self, frame: &Frame<'_>, plan: &Plan) -> Result<()> {
        let context = &self.shared.context;
        let bytes = plan.source_rows().len() * frame.width() * frame.format().channels();
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

    /// Memory between the passes and tables for frames of this size. What was there stays where the new cannot be had.
    fn prepare_tables(&mut self, frame: &AnyFrame<'_>, plan: &Plan) -> Result<()> {
        let context = &self.shared.context;
        let (width, height) = (frame.width(), frame.height());
        let what = format_args!("a frame of {width} x {height} pixels");
        let pixels = &mut self.pixels;
        grow(context, what, plan.intermediate_len(frame.format().channels()), &mut pixels.intermediate)?;
        let key = key_of(frame, plan);
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

    /// Copies the rows that are needed into page-locked memory and queues their transfer: to where, and how long a row
    /// is there.
    fn upload_pixels(&mut self, frame: &Frame<'_>, plan: &Plan) -> Result<(u64, usize)> {
        let row_bytes = frame.width() * frame.format().channels();
        let rows = plan.source_rows();
        let bytes = rows.len() * row_bytes;
        let Pixels { staging, turn, frame: Some(device), .. } = &mut self.pixels else { return Err(unprepared()) };
        let Some(staging) = &mut staging[*turn] else { return Err(unprepared()) };
        for (row, out) in rows.zip(staging.memory.bytes_mut().chunks_exact_mut(row_bytes)) {
            out.copy_from_slice(frame.row(row));
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
