//! Every function of the C interface gives the same results as Rust, and bad calls are errors.

use std::ffi::CStr;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use inctrl::ffi::*;
use inctrl::{Fit, Frame, IgnoreMask, PixelFormat, Roi, Score, Thresholds};

use super::handles::{c_frame, last_error, of, ok, open, refused, sized, zeroed};
use crate::tiny::{MODELS, Model, Picture, five, pictures};

#[track_caller]
fn same(result: &inctrl_result, map: &[f32], score: &Score) {
    let parts = |x: [f32; 5]| x.map(f32::to_bits);
    assert_eq!(
        parts([result.score, result.holistic, result.patch_max, result.image_residual, result.text_prior]),
        parts(five(score))
    );
    assert_eq!(map, score.map.cells);
    // SAFETY: the digits end in a zero.
    let id = unsafe { CStr::from_ptr(result.bank_id.as_ptr()) };
    assert_eq!(id.to_str().unwrap(), score.bank.to_string());
    assert_eq!((Some(result.grid as usize), result.status), (score.map.grid.side(), INCTRL_OK));
    assert_eq!((result.grid_rows as usize, result.grid_cols as usize), (score.map.grid.rows, score.map.grid.cols));
    let place = score.map.placement;
    assert_eq!(
        (result.map_x, result.map_y, result.map_width, result.map_height),
        (place.x, place.y, place.width, place.height)
    );
}

#[test]
fn scores_have_the_bits_of_rust() {
    let model = Model::new(MODELS[0].1, 7);
    let (normals, queries) = (pictures(0..2), pictures(2..7));
    let engine = model.engine(1);
    let frames: Vec<_> = normals.iter().map(Picture::frame).collect();
    let mut rust = engine.scorer(Arc::new(engine.build_bank("cat", Fit::Crop, &frames).unwrap())).unwrap();
    let expected: Vec<Score> = queries.iter().map(|query| rust.score(query.frame()).unwrap().clone()).collect();

    let prompts: Vec<_> = frames.iter().map(of).collect();
    let c_queries: Vec<_> = queries.iter().map(|query| of(&query.frame())).collect();
    let cells = expected[0].map.cells.len();
    for capacity in [1, 2] {
        let all = open(&model, &prompts, capacity);
        let mut maps = vec![vec![f32::NAN; cells]; queries.len()];
        let mut results = vec![sized!(inctrl_result); queries.len()];
        for (result, map) in results.iter_mut().zip(&mut maps) {
            (result.map, result.map_capacity) = (map.as_mut_ptr(), cells);
        }
        // SAFETY: handles and structures of this test, here and below.
        unsafe {
            ok(inctrl_scorer_score_batch(all.scorer, c_queries.as_ptr(), queries.len(), 0, results.as_mut_ptr()));
        }
        for ((result, map), score) in results.iter().zip(&maps).zip(&expected) {
            same(result, map, score);
            assert_eq!((result.verdict, result.reason), (INCTRL_VERDICT_NONE, INCTRL_REASON_NONE));
        }
        let mut health = sized!(inctrl_health);
        // SAFETY: as above.
        unsafe {
            ok(inctrl_scorer_health(all.scorer, &mut health));
            assert_eq!(CStr::from_ptr(health.model_hash).to_str().unwrap(), engine.model_hash());
        }
        assert_eq!((health.frames, health.errors, health.generation), (queries.len() as u64, 0, 1));
        assert!(health.p50_us <= health.p999_us && health.p999_us <= health.max_us && health.max_us > 0);
    }
}

#[test]
fn a_bad_frame_costs_no_other_its_score_and_never_passes() {
    let model = Model::new(MODELS[1].1, 7);
    let picture = Picture::new(0);
    let all = open(&model, &[of(&picture.frame())], 4);
    let good = of(&picture.frame());
    let frames =
        [good, inctrl_frame { format: 99, ..good }, inctrl_frame { width: 70_000, stride: 70_000, ..good }, good];
    // The third is refused before its pixels are looked at, by its width.
    let long = vec![0u8; 70_000 * 80];
    let mut frames = frames;
    frames[2].data = long.as_ptr().cast();
    let mut results = [sized!(inctrl_result); 4];
    // SAFETY: handles and structures of this test, here and below.
    let status = unsafe { inctrl_scorer_score_batch(all.scorer, frames.as_ptr(), 4, 0, results.as_mut_ptr()) };
    assert_eq!(status, INCTRL_ERROR_ARGUMENT);
    assert_eq!(results.map(|result| result.status), [0, INCTRL_ERROR_ARGUMENT, INCTRL_ERROR_ARGUMENT, 0]);
    for bad in &results[1..3] {
        assert_eq!((bad.verdict, bad.reason), (INCTRL_VERDICT_REVIEW, INCTRL_REASON_ERROR));
        assert!(bad.score.is_nan() && bad.region_count == 0);
    }
    assert_eq!(results[0].score.to_bits(), results[3].score.to_bits());
    let mut health = sized!(inctrl_health);
    // SAFETY: as above.
    unsafe {
        ok(inctrl_scorer_health(all.scorer, &mut health));
        assert!(CStr::from_ptr(health.last_error.as_ptr()).to_str().unwrap().contains("70000"));
    }
    assert_eq!((health.frames, health.errors), (2, 2));
    // Whatever is wrong with a call, its result is a review.
    let mut result = sized!(inctrl_result);
    (result.verdict, result.score) = (INCTRL_VERDICT_PASS, 0.0);
    // SAFETY: as above.
    refused(unsafe { inctrl_scorer_score(null(), &good, 0, &mut result) }, INCTRL_ERROR_ARGUMENT, &["scorer", "NULL"]);
    assert_eq!((result.verdict, result.status), (INCTRL_VERDICT_REVIEW, INCTRL_ERROR_ARGUMENT));
    result.verdict = INCTRL_VERDICT_PASS;
    // SAFETY: as above.
    refused(
        unsafe { inctrl_scorer_score(all.scorer, null(), 0, &mut result) },
        INCTRL_ERROR_ARGUMENT,
        &["frame", "NULL"],
    );
    assert_eq!(result.verdict, INCTRL_VERDICT_REVIEW);
    let mut small = [0.0f32; 1];
    (result.map, result.map_capacity, result.verdict) = (small.as_mut_ptr(), 1, INCTRL_VERDICT_PASS);
    // SAFETY: as above.
    refused(unsafe { inctrl_scorer_score(all.scorer, &good, 0, &mut result) }, INCTRL_ERROR_ARGUMENT, &["room for 1"]);
    assert_eq!(result.verdict, INCTRL_VERDICT_REVIEW);
}

#[test]
fn bad_arguments_are_errors_that_name_them() {
    let model = Model::new(MODELS[1].1, 7);
    let picture = Picture::new(0);
    let mut all = open(&model, &[of(&picture.frame())], 1);
    let good = of(&picture.frame());
    let mut engine = null_mut();
    let mut options = sized!(inctrl_engine_options);
    // SAFETY: handles and structures of this test; handles of another kind are what is tested.
    unsafe {
        refused(inctrl_engine_open(null(), &mut engine), INCTRL_ERROR_ARGUMENT, &["inctrl_engine_options", "NULL"]);
        refused(inctrl_engine_open(&options, &mut engine), INCTRL_ERROR_ARGUMENT, &["weights", "NULL"]);
        refused(inctrl_engine_open(&options, null_mut()), INCTRL_ERROR_ARGUMENT, &["variable", "NULL"]);
        options.weights = c"/nowhere/w.safetensors".as_ptr();
        refused(inctrl_engine_open(&options, &mut engine), INCTRL_ERROR_IO, &["/nowhere/w.safetensors"]);
        options.device = c"abacus".as_ptr();
        refused(inctrl_engine_open(&options, &mut engine), INCTRL_ERROR_ARGUMENT, &["abacus", "cuda:N"]);
        options.struct_size = 3;
        refused(inctrl_engine_open(&options, &mut engine), INCTRL_ERROR_ARGUMENT, &["struct_size", "3"]);
        assert!(engine.is_null());

        let mut bank = null_mut();
        let build = |name: *const _, fit, count, mask: *const _, bank: *mut _| {
            inctrl_bank_build(all.engine, name, fit, &good, count, mask, bank)
        };
        refused(build(null(), 0, 1, null(), &mut bank), INCTRL_ERROR_ARGUMENT, &["class name"]);
        refused(build(c"\xff".as_ptr(), 0, 1, null(), &mut bank), INCTRL_ERROR_ARGUMENT, &["UTF-8"]);
        refused(build(c"cat".as_ptr(), 7, 1, null(), &mut bank), INCTRL_ERROR_ARGUMENT, &["7", "fit"]);
        refused(build(c"cat".as_ptr(), 0, 0, null(), &mut bank), INCTRL_ERROR_ARGUMENT, &["at least one"]);
        let bytes = [0u8; 12];
        let mask = c_frame(&bytes, 4, 3, 0, INCTRL_MONO8);
        refused(build(c"cat".as_ptr(), 0, 1, &mask, &mut bank), INCTRL_ERROR_ARGUMENT, &["normal image 0", "4 x 3"]);
        refused(inctrl_bank_from_bytes(bytes.as_ptr().cast(), 12, &mut bank), INCTRL_ERROR_BANK, &["bank"]);
        refused(inctrl_bank_from_bytes(null(), 12, &mut bank), INCTRL_ERROR_ARGUMENT, &["NULL"]);
        refused(inctrl_bank_open(c"/nowhere/b".as_ptr(), &mut bank), INCTRL_ERROR_IO, &["/nowhere/b"]);
        let limits = inctrl_thresholds { review: 0.8, reject: 0.7, ..sized!(inctrl_thresholds) };
        refused(inctrl_bank_with_thresholds(all.bank, &limits, &mut bank), INCTRL_ERROR_ARGUMENT, &["review"]);
        assert!(bank.is_null());

        // A handle of another kind, and one that was closed.
        refused(inctrl_engine_self_test(all.bank.cast()), INCTRL_ERROR_ARGUMENT, &["engine", "another kind"]);
        refused(inctrl_engine_self_test(null()), INCTRL_ERROR_ARGUMENT, &["engine", "NULL"]);
        assert!(inctrl_engine_model_hash(null()).is_null() && inctrl_bank_id(null()).is_null());
        ok(inctrl_bank_close(&mut all.bank));
        ok(inctrl_bank_close(&mut all.bank));
        ok(inctrl_bank_close(null_mut()));

        let mut result = sized!(inctrl_result);
        for (frame, words) in [
            (inctrl_frame { data: null(), ..good }, &["pixels", "NULL"][..]),
            (inctrl_frame { width: 0, ..good }, &["0 x"]),
            (inctrl_frame { stride: 1, ..good }, &["stride", "1 bytes"]),
            (inctrl_frame { stride: usize::MAX / 2, ..good }, &["address space"]),
            (inctrl_frame { memory: 2, ..good }, &["2 is not a memory", "INCTRL_MEMORY_CUDA"]),
            (inctrl_frame { memory: INCTRL_MEMORY_CUDA, ..good }, &["memory of a GPU", "the processor"]),
            (inctrl_frame { struct_size: 0, ..good }, &["struct_size of inctrl_frame"]),
        ] {
            refused(inctrl_scorer_score(all.scorer, &frame, 0, &mut result), INCTRL_ERROR_ARGUMENT, words);
            assert_eq!(result.verdict, INCTRL_VERDICT_REVIEW);
        }
        result.struct_size = 8;
        refused(inctrl_scorer_score(all.scorer, &good, 0, &mut result), INCTRL_ERROR_ARGUMENT, &["inctrl_result"]);
        // After all this it still scores.
        result.struct_size = size_of::<inctrl_result>();
        ok(inctrl_scorer_score(all.scorer, &good, 0, &mut result));
        assert_eq!(last_error(), "");
        ok(inctrl_engine_self_test(all.engine));
    }
}

/// A structure of a later version is taken if what is new in it is zero.
#[test]
fn structures_may_grow() {
    #[repr(C)]
    struct Later {
        frame: inctrl_frame,
        more: [u64; 2],
    }
    let model = Model::new(MODELS[1].1, 7);
    let picture = Picture::new(0);
    let all = open(&model, &[of(&picture.frame())], 1);
    let mut later = Later { frame: of(&picture.frame()), more: [0, 0] };
    later.frame.struct_size = size_of::<Later>();
    let mut result = sized!(inctrl_result);
    // SAFETY: handles and structures of this test; the first field of `later` is a frame of the size that it says.
    unsafe {
        ok(inctrl_scorer_score(all.scorer, (&raw const later).cast(), 0, &mut result));
        later.more[1] = 1;
        let status = inctrl_scorer_score(all.scorer, (&raw const later).cast(), 0, &mut result);
        refused(status, INCTRL_ERROR_ARGUMENT, &["newer library"]);
    }
}

#[test]
fn regions_masks_thresholds_and_deadlines() {
    let model = Model::new(MODELS[1].1, 7);
    let engine = model.engine(1);
    let (width, height) = (96usize, 64usize);
    let good: Vec<u8> = (0..width * height).map(|i| (100 + i % width % 13 + i / width % 7) as u8).collect();
    let mut bad = good.clone();
    for row in bad.chunks_exact_mut(width).skip(20).take(16) {
        row[40..60].fill(250);
    }
    let frame = |pixels| Frame::packed(pixels, width, height, PixelFormat::Grey8).unwrap();
    let limits = Thresholds { review: 1.0, reject: 1.0, cell: 0.01 };

    // Regions of one frame are as if each were a frame; places are those of the whole frame.
    let rois = [
        Roi { x: 0, y: 0, width: 96, height: 64 },
        Roi { x: 31, y: 5, width: 48, height: 48 },
        Roi { x: 9, y: 9, width: 1, height: 1 },
    ];
    let bank = engine.build_bank("cat", Fit::Crop, &[frame(&good)]).unwrap().with_thresholds(Some(limits)).unwrap();
    let mut rust = engine.scorer(Arc::new(bank)).unwrap();
    let mut all = open(&model, &[of(&frame(&good))], 2);
    let c_rois =
        rois.map(|r| inctrl_roi { x: r.x as u32, y: r.y as u32, width: r.width as u32, height: r.height as u32 });
    let mut results = [sized!(inctrl_result); 3];
    let mut regions = [[zeroed::<inctrl_region>(); 9]; 3];
    for (result, regions) in results.iter_mut().zip(&mut regions) {
        (result.regions, result.region_capacity) = (regions.as_mut_ptr(), 9);
    }
    let c_bad = of(&frame(&bad));
    let c_limits = inctrl_thresholds { review: 1.0, reject: 1.0, cell: 0.01, ..sized!(inctrl_thresholds) };
    // SAFETY: handles and structures of this test, here and below.
    unsafe {
        let mut judged = null_mut();
        ok(inctrl_bank_with_thresholds(all.bank, &c_limits, &mut judged));
        let mut generation = 0;
        ok(inctrl_slot_swap(all.slot, judged, &mut generation));
        assert_eq!(generation, 2);
        let (mut read, mut present) = (sized!(inctrl_thresholds), 0);
        ok(inctrl_bank_thresholds(judged, &mut read, &mut present));
        assert_eq!((present, read.review, read.reject, read.cell), (1, 1.0, 1.0, 0.01));
        ok(inctrl_bank_close(&mut judged));
        ok(inctrl_scorer_score_regions(all.scorer, &c_bad, c_rois.as_ptr(), 3, 1, results.as_mut_ptr()));
    }
    let mut found = 0;
    for ((result, regions), roi) in results.iter().zip(&regions).zip(rois) {
        let score = rust.score(frame(&bad).region(roi).unwrap()).unwrap();
        assert_eq!(result.score.to_bits(), score.score.to_bits());
        assert_eq!((result.region_count, result.generation, result.late), (score.regions.len(), 2, 1));
        for (c, r) in regions.iter().zip(&score.regions) {
            assert_eq!((c.x as usize, c.y as usize), (r.x + roi.x, r.y + roi.y));
            assert_eq!((c.width as usize, c.height as usize, c.area, c.peak), (r.width, r.height, r.area, r.peak));
        }
        found += score.regions.len();
        let verdict = if score.regions.is_empty() { INCTRL_VERDICT_PASS } else { INCTRL_VERDICT_REVIEW };
        assert_eq!(result.verdict, verdict);
    }
    assert!(found > 0);
    let outside = inctrl_roi { x: 60, y: 0, width: 37, height: 4 };
    // SAFETY: as above.
    let status = unsafe { inctrl_scorer_score_regions(all.scorer, &c_bad, &outside, 1, 0, results.as_mut_ptr()) };
    refused(status, INCTRL_ERROR_ARGUMENT, &["region", "96 x 64"]);
    assert_eq!(results[0].verdict, INCTRL_VERDICT_REVIEW);

    // What the mask covers is not judged: the defect disappears, from the map and the verdict.
    let mut mask = vec![0u8; width * height];
    for row in mask.chunks_exact_mut(width).skip(14).take(28) {
        row[30..70].fill(255);
    }
    let c_mask = c_frame(&mask, 96, 64, 0, INCTRL_MONO8);
    // SAFETY: as above.
    unsafe {
        ok(inctrl_bank_close(&mut all.bank));
        let normal = of(&frame(&good));
        ok(inctrl_bank_build(all.engine, c"cat".as_ptr(), INCTRL_FIT_CROP, &normal, 1, &c_mask, &mut all.bank));
        ok(inctrl_slot_swap(all.slot, all.bank, null_mut()));
        let mut pair = [sized!(inctrl_result); 2];
        ok(inctrl_scorer_score(all.scorer, &of(&frame(&good)), 0, &mut pair[0]));
        ok(inctrl_scorer_score(all.scorer, &c_bad, 0, &mut pair[1]));
        assert_eq!(pair[0].score.to_bits(), pair[1].score.to_bits());
    }
    let mut builder = engine.bank_builder("cat", Fit::Crop).unwrap();
    builder.set_mask(IgnoreMask::from_frame(frame(&mask)).unwrap()).unwrap();
    builder.add(frame(&good)).unwrap();
    let mut masked = engine.scorer(Arc::new(builder.finish().unwrap())).unwrap();
    assert!(masked.score(frame(&bad)).unwrap().ignored.iter().any(|ignored| *ignored));
}

#[test]
fn every_pixel_format_scores_as_its_rgb_or_grey_twin() {
    let model = Model::new(MODELS[1].1, 7);
    let (width, height) = (61u32, 47u32);
    let pixels = (width * height) as usize;
    let value = |i: usize| ((i * i * 7 + i * 13) >> 4) as u8;
    let rgb: Vec<u8> = (0..pixels * 3).map(value).collect();
    let grey: Vec<u8> = (0..pixels).map(value).collect();
    let spread = |order: &[usize]| -> Vec<u8> {
        rgb.chunks(3).flat_map(|p| order.iter().map(|c| p.get(*c).copied().unwrap_or(77))).collect()
    };
    let all = open(&model, &[c_frame(&rgb, width, height, 0, INCTRL_RGB8)], 1);
    let score = |bytes: &[u8], format| {
        let mut result = sized!(inctrl_result);
        // SAFETY: handles and structures of this test.
        ok(unsafe { inctrl_scorer_score(all.scorer, &c_frame(bytes, width, height, 0, format), 0, &mut result) });
        result.score.to_bits()
    };
    let colour = score(&rgb, INCTRL_RGB8);
    assert_eq!(score(&spread(&[2, 1, 0]), INCTRL_BGR8), colour);
    assert_eq!(score(&spread(&[0, 1, 2, 3]), INCTRL_RGBA8), colour);
    assert_eq!(score(&spread(&[2, 1, 0, 3]), INCTRL_BGRA8), colour);
    let wide: Vec<u8> = grey.iter().flat_map(|v| (u16::from(*v) * 257).to_le_bytes()).collect();
    let plain = score(&grey, INCTRL_MONO8);
    assert_eq!(score(&wide, INCTRL_MONO16), plain);
    for (format, twin) in [
        (INCTRL_BAYER_RG8, PixelFormat::BayerRg8),
        (INCTRL_BAYER_GR8, PixelFormat::BayerGr8),
        (INCTRL_BAYER_GB8, PixelFormat::BayerGb8),
        (INCTRL_BAYER_BG8, PixelFormat::BayerBg8),
    ] {
        let mut memory = Vec::new();
        Frame::packed(&grey, width as usize, height as usize, twin).unwrap().convert(&mut memory).unwrap();
        assert_eq!(score(&grey, format), score(&memory, INCTRL_RGB8));
        assert_ne!(score(&grey, format), plain);
    }
}
