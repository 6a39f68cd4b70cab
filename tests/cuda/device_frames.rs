//! Frames in device memory: the bits of host frames, and refusals of memory that the device does not read.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::num::NonZeroUsize;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use cudarc::driver::{CudaContext, result, sys};
use inctrl::ffi::*;
use inctrl::{
    AnyFrame, Device, DeviceFrame, Engine, EngineOptions, ErrorKind, Fit, Frame, IgnoreMask, PixelFormat, Roi, Score,
};

use crate::emulator::{self, Disguise};
use crate::tiny::{MODELS, Model, Picture, bank, same, saved, score};
use crate::turn;

/// Memory of a test's own that the device reaches.
struct Memory {
    context: Arc<CudaContext>,
    address: u64,
    pinned: bool,
}

impl Memory {
    fn new(bytes: &[u8]) -> Self {
        let context = CudaContext::new(0).unwrap();
        context.bind_to_thread().unwrap();
        // SAFETY: the context is current; the memory is as long as what is copied into it, which is waited for.
        let address = unsafe {
            let address = result::malloc_sync(bytes.len()).unwrap();
            result::memcpy_htod_sync(address, bytes).unwrap();
            result::stream::synchronize(result::stream::null()).unwrap();
            address
        };
        Memory { context, address, pinned: false }
    }

    fn pinned(bytes: &[u8]) -> Self {
        let context = CudaContext::new(0).unwrap();
        context.bind_to_thread().unwrap();
        // SAFETY: as above; the host may write page-locked memory.
        let address = unsafe {
            let pointer = result::malloc_host(bytes.len(), sys::CU_MEMHOSTALLOC_DEVICEMAP).unwrap();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer.cast(), bytes.len());
            pointer as u64
        };
        Memory { context, address, pinned: true }
    }
}

/// From `address`, the beginning of an allocation, how many bytes the driver counts to it: at least what was asked for.
fn range(address: u64) -> usize {
    let mut bytes = 0usize;
    let mut asked = [sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_RANGE_SIZE];
    let mut places: [*mut std::ffi::c_void; 1] = [(&raw mut bytes).cast()];
    // SAFETY: one attribute and a place of its type.
    unsafe { sys::cuPointerGetAttributes(1, asked.as_mut_ptr(), places.as_mut_ptr(), address) }.result().unwrap();
    bytes
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.context.bind_to_thread().unwrap();
        // SAFETY: allocated by this value, freed once.
        unsafe {
            if self.pinned { result::free_host(self.address as *mut _) } else { result::free_sync(self.address) }
                .unwrap();
        }
    }
}

/// A picture on both sides. On the device it begins at an odd address and ends with its allocation.
struct Both {
    bytes: Vec<u8>,
    memory: Memory,
    width: usize,
    height: usize,
    stride: usize,
    format: PixelFormat,
}

impl Both {
    const OFFSET: usize = 3;

    fn new(seed: usize, width: usize, height: usize, padding: usize, format: PixelFormat) -> Self {
        let row = format.row_bytes(width).unwrap();
        let stride = row + padding;
        let len = Self::OFFSET + (height - 1) * stride + row;
        let wave = |i: usize| 128.0 + 60.0 * ((i % stride) as f32 * 0.07 * (seed + 1) as f32).sin();
        let mut bytes: Vec<u8> = (0..len).map(|i| wave(i) as u8 ^ (i * i % 29) as u8).collect();
        if format.bits() == 16 {
            // Larger values than the format has would all be white.
            let rows = bytes[Self::OFFSET..].chunks_mut(stride);
            let upper = rows.flat_map(|row| row.iter_mut().skip(1).step_by(2));
            upper.for_each(|byte| *byte &= ((1u32 << (format.depth() - 8)) - 1) as u8);
        }
        Both { memory: Memory::new(&bytes), bytes, width, height, stride, format }
    }

    fn host(&self) -> Frame<'_> {
        Frame::new(&self.bytes[Self::OFFSET..], self.width, self.height, self.stride, self.format).unwrap()
    }

    fn device(&self) -> DeviceFrame {
        self.device_at(&self.memory)
    }

    fn device_at(&self, memory: &Memory) -> DeviceFrame {
        let address = memory.address + Self::OFFSET as u64;
        // SAFETY: no test writes to the memory while a call has it, and those that free it before mean to be refused.
        unsafe { DeviceFrame::new(address, self.width, self.height, self.stride, self.format) }.unwrap()
    }
}

fn options(model: &Model, device: Device) -> EngineOptions {
    let mut options = EngineOptions::new(&model.path);
    options.device = device;
    options.threads = NonZeroUsize::new(2);
    options
}

fn on_gpu(model: &Model) -> Engine {
    Engine::with(&options(model, Device::Cuda(0))).unwrap()
}

#[test]
fn cuda_device_frames_score_as_host_frames() {
    let Some(turn) = turn() else { return };
    let model = Model::new(MODELS[0].1, 7);
    let gpu = on_gpu(&model);
    let bank = bank(&gpu, &[Picture::new(0).frame()]);
    turn.each_schedule(|schedule| {
        let mut one = gpu.scorer(Arc::clone(&bank)).unwrap();
        let mut three = gpu.batch_scorer(Arc::clone(&bank), NonZeroUsize::new(3).unwrap()).unwrap();
        for (seed, format) in PixelFormat::ALL.into_iter().enumerate() {
            for (width, height, padding) in [(90, 61, 0), (40, 100, 7)] {
                let what = format!("{format:?}, {width} x {height}, {schedule}");
                let both = Both::new(seed, width, height, padding, format);
                let expected = score(&mut one, both.host());
                same(&what, one.score(both.device()).unwrap(), &expected);

                let roi = Roi { x: 3, y: 5, width: 33, height: 41 };
                let (host, device) = (both.host().region(roi).unwrap(), both.device().region(roi).unwrap());
                let region = score(&mut one, host);
                assert!(region.score != expected.score, "{what}: the region scores as the whole");
                same(&format!("region, {what}"), one.score(device).unwrap(), &region);

                // Side by side, both ways; the mixture is longer than a batch.
                let mixed: [AnyFrame<'_>; 5] =
                    [both.host().into(), both.device().into(), device.into(), host.into(), both.device().into()];
                let found = three.score_batch(&mixed).unwrap();
                for (found, expected) in found.iter().zip([&expected, &expected, &region, &region, &expected]) {
                    same(&format!("mixed, {what}"), found, expected);
                }
            }
        }
    });
}

#[test]
fn cuda_device_frames_make_the_same_banks_under_masks_and_fits() {
    let Some(_turn) = turn() else { return };
    let model = Model::new(MODELS[1].1, 7);
    let gpu = on_gpu(&model);
    let (width, height) = (70, 90);
    let pictures: Vec<Both> = [PixelFormat::Rgb8, PixelFormat::BayerGb8, PixelFormat::Grey8, PixelFormat::Bgra8]
        .into_iter()
        .enumerate()
        .map(|(seed, format)| Both::new(seed, width, height, 5, format))
        .collect();
    let (prompts, queries) = pictures.split_at(2);
    let mask = IgnoreMask::from_rectangles(width, height, &[Roi { x: 10, y: 20, width: 25, height: 30 }]).unwrap();
    for (fit, mask) in [(Fit::Crop, None), (Fit::Letterbox, None), (Fit::Stretch, Some(&mask))] {
        let build = |on_device: bool| {
            let mut builder = gpu.bank_builder("cat", fit).unwrap();
            if let Some(mask) = mask {
                builder.set_mask(mask.clone()).unwrap();
            }
            for both in prompts {
                if on_device { builder.add(both.device()) } else { builder.add(both.host()) }.unwrap();
            }
            Arc::new(builder.finish().unwrap())
        };
        let bank = build(false);
        assert_eq!(saved(&build(true)), saved(&bank), "{fit}");
        let mut scorer = gpu.scorer(Arc::clone(&bank)).unwrap();
        let mut many = gpu.multi_bank_scorer(&[Arc::clone(&bank)]).unwrap();
        for both in queries {
            let expected = score(&mut scorer, both.host());
            same(&format!("{fit}, {:?}", both.format), scorer.score(both.device()).unwrap(), &expected);
            let found = &many.score(both.device()).unwrap()[0];
            same(&format!("many banks, {fit}, {:?}", both.format), found, &expected);
        }
    }
    let host = gpu.build_bank("cat", Fit::Crop, &[prompts[0].host()]).unwrap();
    assert_eq!(saved(&gpu.build_bank("cat", Fit::Crop, &[prompts[0].device()]).unwrap()), saved(&host));
}

#[test]
fn cuda_a_device_frame_is_not_uploaded() {
    let Some(_turn) = turn() else { return };
    let model = Model::new(MODELS[1].1, 7);
    let gpu = on_gpu(&model);
    let both = Both::new(1, 70, 90, 5, PixelFormat::Rgb8);
    let mut scorer = gpu.scorer(bank(&gpu, &[both.host()])).unwrap();
    assert!(scorer.stage_times(both.host()).unwrap().upload.is_some());
    assert!(scorer.stage_times(both.device()).unwrap().upload.is_none());
}

#[test]
fn cuda_managed_and_pinned_memory_are_read_in_place() {
    let Some(turn) = turn() else { return };
    let model = Model::new(MODELS[1].1, 7);
    let gpu = on_gpu(&model);
    for format in [PixelFormat::Rgb8, PixelFormat::Rgba8] {
        let both = Both::new(1, 70, 90, 5, format);
        let mut scorer = gpu.scorer(bank(&gpu, &[Picture::new(0).frame()])).unwrap();
        let expected = score(&mut scorer, both.host());
        let pinned = Memory::pinned(&both.bytes);
        same("pinned", scorer.score(both.device_at(&pinned)).unwrap(), &expected);
        if turn.is_emulated() {
            // Managed memory is every device's and every context's.
            emulator::disguise(both.memory.address, Disguise { managed: true, foreign: true, ordinal: 1 });
            same("managed", scorer.score(both.device()).unwrap(), &expected);
        }
    }
}

#[test]
fn cuda_memory_that_the_device_does_not_read_is_refused_by_name() {
    let Some(turn) = turn() else { return };
    let model = Model::new(MODELS[1].1, 7);
    let gpu = on_gpu(&model);
    // One format that is read in place, one that is copied to the host.
    for format in [PixelFormat::Rgb8, PixelFormat::BayerRg8] {
        let both = Both::new(1, 70, 90, 5, format);
        let bank = bank(&gpu, &[Picture::new(0).frame()]);
        let mut scorer = gpu.scorer(Arc::clone(&bank)).unwrap();
        let expected = score(&mut scorer, both.host());
        let mut refused = |frame: DeviceFrame, words: &[&str]| {
            let alone = scorer.score(frame).map(|_| ()).unwrap_err();
            let prompt = gpu.build_bank("cat", Fit::Crop, &[frame]).map(|_| ()).unwrap_err();
            for error in [alone, prompt] {
                assert_eq!(error.kind(), ErrorKind::Argument, "{error}");
                assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
            }
            same("after a refusal", &score(&mut scorer, both.host()), &expected);
        };
        let (width, height, stride) = (both.width, both.height, both.stride);
        // SAFETY: the memory is the test's own; where it is too short the call is refused.
        let at = |address, height, stride| unsafe { DeviceFrame::new(address, width, height, stride, format) }.unwrap();
        let start = both.device().address();
        refused(at(both.bytes.as_ptr() as u64, height, stride), &["host memory", "INCTRL_MEMORY_HOST"]);
        // Where the last pixel is the last of the allocation, one more byte is too many, at the end, in a row, or a row
        // more.
        let last = both.memory.address + (range(both.memory.address) - both.device().bytes()) as u64;
        assert!(last >= start);
        refused(at(last + 1, height, stride), &["takes", "allocation has"]);
        refused(at(last, height, stride + 1), &["takes", "allocation has"]);
        refused(at(last, height + 1, stride), &["takes", "allocation has"]);
        if turn.is_emulated() {
            emulator::disguise(both.memory.address, Disguise { ordinal: 1, ..Disguise::default() });
            refused(both.device(), &["cuda:1", "runs on cuda:0"]);
            emulator::disguise(both.memory.address, Disguise { foreign: true, ..Disguise::default() });
            refused(both.device(), &["another CUDA context", "primary"]);
            emulator::disguise(both.memory.address, Disguise::default());
            let freed = Memory::new(&both.bytes).address;
            refused(at(freed, height, stride), &["no memory that the device reads", "was freed"]);
        }
        same("at last", scorer.score(both.device()).unwrap(), &expected);

        let cpu = Engine::with(&options(&model, Device::Cpu)).unwrap();
        let of_cpu = Arc::new(cpu.build_bank("cat", Fit::Crop, &[both.host()]).unwrap());
        let error = cpu.scorer(of_cpu).unwrap().score(both.device()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(
            error.to_string().contains("memory of a GPU") && error.to_string().contains("the processor"),
            "{error}"
        );
    }
}

/// What a call was given is the caller's again when it returns, also where it fails halfway.
#[test]
fn cuda_a_call_that_fails_reads_nothing_afterwards() {
    let Some(_turn) = turn() else { return };
    let model = Model::new(MODELS[1].1, 7);
    let gpu = on_gpu(&model);
    let both = Both::new(1, 70, 90, 5, PixelFormat::Rgb8);
    let bank = bank(&gpu, &[both.host()]);
    let mut scorer = gpu.batch_scorer(bank, NonZeroUsize::new(2).unwrap()).unwrap();
    let expected = score(&mut scorer, both.host());
    let context = CudaContext::new(0).unwrap();
    context.bind_to_thread().unwrap();
    let stream = result::stream::null();
    // SAFETY: memory of this test, as long as what is copied. It is freed in a stream that waits for no other, so that
    // a kernel which is still to run finds it gone.
    let address = unsafe {
        let address = result::malloc_async(stream, both.bytes.len()).unwrap();
        result::memcpy_htod_sync(address, &both.bytes).unwrap();
        result::stream::synchronize(stream).unwrap();
        address
    };
    let past = (range(address) - both.device().bytes()) as u64 + 1;
    // SAFETY: the memory is the test's own, and too short for the second, which is refused.
    let [good, long] = [3, past].map(|offset| unsafe {
        DeviceFrame::new(address + offset, both.width, both.height, both.stride, both.format).unwrap()
    });
    assert!(scorer.score_batch(&[good, long]).unwrap_err().to_string().contains("allocation has"));
    // SAFETY: as above; freed once.
    unsafe {
        result::free_async(address, stream).unwrap();
        result::stream::synchronize(stream).unwrap();
    }
    same("afterwards", &score(&mut scorer, both.host()), &expected);
}

/// A structure of the C interface, all zero but its size.
macro_rules! sized {
    ($kind:ty) => {{
        // SAFETY: numbers and pointers.
        let mut value: $kind = unsafe { std::mem::zeroed() };
        value.struct_size = size_of::<$kind>();
        value
    }};
}

fn same_in_c(result: &inctrl_result, map: &[f32], expected: &Score) {
    assert_eq!((result.status, result.score.to_bits()), (INCTRL_OK, expected.score.to_bits()));
    let bits = |map: &[f32]| map.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(map), bits(&expected.map.cells));
}

#[test]
fn cuda_device_frames_through_the_c_interface() {
    let Some(_turn) = turn() else { return };
    let model = Model::new(MODELS[1].1, 7);
    let pictures = [Both::new(0, 70, 90, 5, PixelFormat::Rgb8), Both::new(1, 64, 64, 0, PixelFormat::BayerRg8)];
    let on_device = |both: &Both, format| {
        let mut frame = sized!(inctrl_frame);
        frame.data = both.device().address() as *const _;
        (frame.width, frame.height) = (both.width as u32, both.height as u32);
        (frame.stride, frame.format, frame.memory) = (both.stride, format, INCTRL_MEMORY_CUDA);
        frame
    };
    let frames = [on_device(&pictures[0], INCTRL_RGB8), on_device(&pictures[1], INCTRL_BAYER_RG8)];
    let roi = Roi { x: 5, y: 9, width: 40, height: 33 };
    let rust = on_gpu(&model);
    let expected = rust.build_bank("cat", Fit::Crop, &[pictures[0].host(), pictures[1].host()]).unwrap();
    let id = expected.id().to_owned();
    let mut scorer = rust.scorer(Arc::new(expected)).unwrap();
    let wholes = [0, 1].map(|i| score(&mut scorer, pictures[i].host()));
    let parts = [0, 1].map(|i| score(&mut scorer, pictures[i].host().region(roi).unwrap()));

    let weights = CString::new(model.path.to_str().unwrap()).unwrap();
    let mut options = sized!(inctrl_engine_options);
    (options.weights, options.device, options.threads) = (weights.as_ptr(), c"cuda:0".as_ptr(), 1);
    let (mut engine, mut bank, mut none, mut slot, mut lane) =
        (null_mut(), null_mut(), null_mut(), null_mut(), null_mut());
    let mut maps = [0, 1].map(|_| vec![f32::NAN; wholes[0].map.cells.len()]);
    let mut results = [sized!(inctrl_result); 2];
    for (result, map) in results.iter_mut().zip(&mut maps) {
        (result.map, result.map_capacity) = (map.as_mut_ptr(), map.len());
    }
    let rois = [inctrl_roi { x: 5, y: 9, width: 40, height: 33 }; 1];
    let ok = |status: i32| assert_eq!(status, INCTRL_OK);
    // SAFETY: handles, structures and variables of this test.
    unsafe {
        let text = || std::ffi::CStr::from_ptr(inctrl_last_error()).to_str().unwrap().to_owned();
        ok(inctrl_engine_open(&options, &mut engine));
        ok(inctrl_bank_build(engine, c"cat".as_ptr(), INCTRL_FIT_CROP, frames.as_ptr(), 2, null(), &mut bank));
        assert_eq!(std::ffi::CStr::from_ptr(inctrl_bank_id(bank)).to_str().unwrap(), id);
        ok(inctrl_slot_create(engine, bank, &mut slot));
        ok(inctrl_scorer_create(engine, slot, 2, &mut lane));
        ok(inctrl_scorer_score_batch(lane, frames.as_ptr(), 2, 0, results.as_mut_ptr()));
        for i in [0, 1] {
            same_in_c(&results[i], &maps[i], &wholes[i]);
        }
        for i in [0, 1] {
            ok(inctrl_scorer_score(lane, &frames[i], 0, &mut results[0]));
            same_in_c(&results[0], &maps[0], &wholes[i]);
            ok(inctrl_scorer_score_regions(lane, &frames[i], rois.as_ptr(), 1, 0, &mut results[0]));
            same_in_c(&results[0], &maps[0], &parts[i]);
        }
        // One that does not fit its memory costs the other nothing, and never passes.
        let rows = range(pictures[1].memory.address) / pictures[1].stride + 1;
        let long = [frames[0], inctrl_frame { height: rows as u32, ..frames[1] }];
        let status = inctrl_scorer_score_batch(lane, long.as_ptr(), 2, 0, results.as_mut_ptr());
        assert_eq!((status, results[1].status), (INCTRL_ERROR_ARGUMENT, INCTRL_ERROR_ARGUMENT));
        assert!(text().contains("its allocation has"), "{}", text());
        assert_eq!((results[1].verdict, results[1].reason), (INCTRL_VERDICT_REVIEW, INCTRL_REASON_ERROR));
        same_in_c(&results[0], &maps[0], &wholes[0]);
        // A mask is the host's.
        let mask = inctrl_frame { format: INCTRL_MONO8, ..frames[1] };
        let status = inctrl_bank_build(engine, c"cat".as_ptr(), INCTRL_FIT_CROP, &frames[0], 1, &mask, &mut none);
        assert!(status == INCTRL_ERROR_ARGUMENT && none.is_null());
        assert!(text().contains("ignore mask") && text().contains("INCTRL_MEMORY_HOST"), "{}", text());
        ok(inctrl_scorer_close(&mut lane));
        ok(inctrl_slot_close(&mut slot));
        ok(inctrl_bank_close(&mut bank));
        ok(inctrl_engine_close(&mut engine));
    }
}
