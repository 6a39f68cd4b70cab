//! Frames of more than 8 bits, and the log about ranges and crops.

use std::ffi::CStr;
use std::mem::offset_of;
use std::ptr::{null, null_mut};
use std::sync::{Mutex, PoisonError};

use inctrl::ffi::*;

use super::handles::{Handles, c_frame, ok, open, refused, sized};
use super::log::ALONE;
use crate::tiny::{MODELS, Model};

const SIDE: u32 = 56;

/// A textured part, and one with a dark square.
fn part(defective: bool) -> Vec<u8> {
    let side = SIDE as usize;
    let pixel = |i: usize| {
        let dark = defective && (20..36).contains(&(i % side)) && (16..30).contains(&(i / side));
        if dark { 12 } else { 100 + (i * i % 41) as u8 }
    };
    (0..side * side).map(pixel).collect()
}

/// The bytes of a part with each value shifted up into two bytes.
fn wide(part: &[u8], bits: u32) -> Vec<u8> {
    part.iter().flat_map(|value| (u16::from(*value) << (bits - 8)).to_le_bytes()).collect()
}

/// Pairs of 12 bits, as GigE Vision packs them.
fn packed(part: &[u8]) -> Vec<u8> {
    part.as_chunks::<2>().0.iter().flat_map(|[a, b]| [*a, 0, *b]).collect()
}

fn score(all: &Handles, frame: &inctrl_frame) -> inctrl_result {
    let mut result = sized!(inctrl_result);
    // SAFETY: handles and structures of this test.
    ok(unsafe { inctrl_scorer_score(all.scorer, frame, 0, &mut result) });
    result
}

/// Whether a frame is a prompt of its bank: rounding leaves residuals of identical patches at 1e-7.
fn same_picture(result: &inctrl_result) -> bool {
    result.patch_max <= 1e-6
}

#[test]
fn a_bank_of_eight_bits_serves_a_camera_of_any_depth() {
    let model = Model::new(MODELS[1].1, 7);
    let (good, bad) = (part(false), part(true));
    let frame = |bytes: &[u8], format, white_level| {
        let mut frame = c_frame(bytes, SIDE, SIDE, 0, format);
        frame.white_level = white_level;
        frame
    };
    let all = open(&model, &[frame(&good, INCTRL_MONO8, 0)], 1);
    let expected = score(&all, &frame(&bad, INCTRL_MONO8, 0));
    assert!(same_picture(&score(&all, &frame(&good, INCTRL_MONO8, 0))));
    for (bytes, format, white) in [
        (wide(&bad, 10), INCTRL_MONO10, 0),
        (wide(&bad, 12), INCTRL_MONO12, 0),
        (wide(&bad, 12), INCTRL_MONO12, 4095),
        (wide(&bad, 12), INCTRL_MONO16, 4095),
        (wide(&bad, 14), INCTRL_MONO16, 16_383),
        (wide(&bad, 10), INCTRL_MONO16, 1023),
        (packed(&bad), INCTRL_MONO12_PACKED, 0),
    ] {
        let found = score(&all, &frame(&bytes, format, white));
        assert_eq!(found.score.to_bits(), expected.score.to_bits(), "format {format}, white {white}");
        assert_eq!(found.patch_max.to_bits(), expected.patch_max.to_bits());
        // The other way round, and the same bank.
        let normal = frame(&bytes, format, white);
        let other = open(&model, &[normal], 1);
        assert!(same_picture(&score(&other, &frame(&bad, INCTRL_MONO8, 0))));
    }
    // A region that begins in the middle of a pair, with the same pixels.
    let (mut there, mut here) = ([sized!(inctrl_result)], [sized!(inctrl_result)]);
    let (roi, bytes) = (inctrl_roi { x: 3, y: 1, width: 50, height: 50 }, packed(&bad));
    // SAFETY: handles and structures of this test.
    unsafe {
        let of_frame = |frame: inctrl_frame, results: &mut [inctrl_result; 1]| {
            ok(inctrl_scorer_score_regions(all.scorer, &frame, &roi, 1, 0, results.as_mut_ptr()));
        };
        of_frame(frame(&bytes, INCTRL_MONO12_PACKED, 0), &mut there);
        of_frame(frame(&bad, INCTRL_MONO8, 0), &mut here);
    }
    assert_eq!(there[0].score.to_bits(), here[0].score.to_bits());
}

#[test]
fn what_a_depth_cannot_be_is_refused_by_name() {
    let model = Model::new(MODELS[1].1, 7);
    let (good, bytes) = (part(false), wide(&part(false), 12));
    let all = open(&model, &[c_frame(&good, SIDE, SIDE, 0, INCTRL_MONO8)], 1);
    let mut result = sized!(inctrl_result);
    let mut refuse = |change: &dyn Fn(&mut inctrl_frame), words: &[&str]| {
        let mut frame = c_frame(&bytes, SIDE, SIDE, 0, INCTRL_MONO12);
        change(&mut frame);
        // SAFETY: handles and structures of this test.
        let status = unsafe { inctrl_scorer_score(all.scorer, &frame, 0, &mut result) };
        refused(status, INCTRL_ERROR_ARGUMENT, words);
        assert_eq!(result.verdict, INCTRL_VERDICT_REVIEW);
    };
    refuse(&|frame| frame.white_level = 4096, &["4096", "Grey12", "4095"]);
    refuse(&|frame| frame.white_level = 100_000, &["100000", "65535"]);
    refuse(&|frame| frame.white_level = 12, &["white level is 12", "4095"]);
    refuse(&|frame| (frame.format, frame.white_level) = (INCTRL_MONO8, 1023), &["1023", "Grey8"]);
    refuse(&|frame| frame.reserved = 7, &["reserved", "7"]);
    refuse(&|frame| frame.format = INCTRL_BAYER_BG16 + 1, &["28", "not a pixel format"]);
    refuse(&|frame| (frame.format, frame.width) = (INCTRL_MONO10P, 5), &["middle of a byte", "7 bytes"]);
    refuse(&|frame| (frame.format, frame.width, frame.stride) = (INCTRL_MONO10P, 5, 6), &["stride is 6", "7"]);
}

/// A client of the first version of the structure ends before the white level; what lies behind is not read.
#[test]
fn old_clients_go_on() {
    let model = Model::new(MODELS[1].1, 7);
    let good = part(false);
    let all = open(&model, &[c_frame(&good, SIDE, SIDE, 0, INCTRL_MONO8)], 1);
    let mut old = c_frame(&good, SIDE, SIDE, 0, INCTRL_MONO8);
    old.struct_size = offset_of!(inctrl_frame, white_level);
    (old.white_level, old.reserved) = (0xdead, 0xbeef);
    assert!(same_picture(&score(&all, &old)));
    old.struct_size -= 1;
    let mut result = sized!(inctrl_result);
    // SAFETY: handles and structures of this test.
    refused(
        unsafe { inctrl_scorer_score(all.scorer, &old, 0, &mut result) },
        INCTRL_ERROR_ARGUMENT,
        &["struct_size", "at least 40"],
    );
}

/// Lines of the log while `work` runs, as far as they hold `words`.
fn logged(words: &str, work: impl FnOnce()) -> Vec<(i32, String)> {
    static LINES: Mutex<Vec<(i32, String)>> = Mutex::new(Vec::new());
    unsafe extern "C-unwind" fn collect(level: i32, message: *const std::ffi::c_char, _: *mut std::ffi::c_void) {
        // SAFETY: a C string, which lives through the call.
        let text = unsafe { CStr::from_ptr(message) }.to_str().unwrap().to_owned();
        LINES.lock().unwrap().push((level, text));
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    LINES.lock().unwrap().clear();
    inctrl_set_log_callback(Some(collect), null_mut());
    work();
    inctrl_set_log_callback(None, null_mut());
    LINES.lock().unwrap().iter().filter(|(_, text)| text.contains(words)).cloned().collect()
}

#[test]
fn an_undeclared_range_is_an_error_in_a_bank_and_a_warning_in_a_query() {
    let model = Model::new(MODELS[1].1, 7);
    let (good, bytes) = (part(false), wide(&part(false), 12));
    let all = open(&model, &[c_frame(&good, SIDE, SIDE, 0, INCTRL_MONO8)], 1);
    let dark = c_frame(&bytes, SIDE, SIDE, 0, INCTRL_MONO16);
    let mut bank = null_mut();
    let build = |frame: &inctrl_frame, fit, bank: &mut *mut inctrl_bank| {
        // SAFETY: handles and structures of this test.
        unsafe { inctrl_bank_build(all.engine, c"dim plate".as_ptr(), fit, frame, 1, null(), bank) }
    };
    refused(
        build(&dark, INCTRL_FIT_CROP, &mut bank),
        INCTRL_ERROR_ARGUMENT,
        &["normal image 0", "4095", "white_level"],
    );
    // SAFETY: as above.
    let appended = unsafe { inctrl_bank_append(all.engine, all.bank, &dark, 1, &mut bank) };
    refused(appended, INCTRL_ERROR_ARGUMENT, &["normal image 0", "12-bit"]);
    let mut declared = dark;
    declared.white_level = 65_535;
    ok(build(&declared, INCTRL_FIT_CROP, &mut bank));
    // SAFETY: as above.
    ok(unsafe { inctrl_bank_close(&mut bank) });

    // Once for a scorer, however many frames and regions are like that.
    let roi = inctrl_roi { x: 0, y: 0, width: 40, height: 40 };
    let doubt = "they look like 12-bit values";
    let lines = logged(doubt, || {
        for _ in 0..3 {
            score(&all, &dark);
        }
        let mut result = sized!(inctrl_result);
        // SAFETY: as above.
        ok(unsafe { inctrl_scorer_score_regions(all.scorer, &dark, &roi, 1, 0, &mut result) });
    });
    assert!(matches!(&lines[..], [(INCTRL_LOG_WARNING, text)] if text.contains("`cat`")), "{lines:?}");
    // A dark region of a bright frame, a declared frame: nothing is said.
    let all = open(&model, &[c_frame(&good, SIDE, SIDE, 0, INCTRL_MONO8)], 1);
    let mut bright = bytes.clone();
    bright[bytes.len() - 1] = 0xff;
    let lines = logged(doubt, || {
        let mut result = sized!(inctrl_result);
        let frame = c_frame(&bright, SIDE, SIDE, 0, INCTRL_MONO16);
        // SAFETY: as above.
        ok(unsafe { inctrl_scorer_score_regions(all.scorer, &frame, &roi, 1, 0, &mut result) });
        score(&all, &declared);
    });
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn the_log_says_what_a_crop_leaves_out() {
    let model = Model::new(MODELS[1].1, 7);
    let good = part(false);
    let all = open(&model, &[c_frame(&good, SIDE, SIDE, 0, INCTRL_MONO8)], 1);
    let build = |height, fit, class: &CStr| {
        let mut bank = null_mut();
        let frame = c_frame(&good, SIDE, height, 0, INCTRL_MONO8);
        // SAFETY: handles and structures of this test.
        unsafe {
            ok(inctrl_bank_build(all.engine, class.as_ptr(), fit, &frame, 1, null(), &mut bank));
            ok(inctrl_bank_close(&mut bank));
        }
    };
    let lines = logged("`wide plate`", || {
        build(SIDE / 2, INCTRL_FIT_CROP, c"wide plate");
        build(SIDE / 2, INCTRL_FIT_LETTERBOX, c"wide plate");
        build(SIDE / 2, INCTRL_FIT_STRETCH, c"wide plate");
        build(SIDE, INCTRL_FIT_CROP, c"wide plate");
    });
    let said = |text: &str| ["1 of 1", "50 %", "crop", "not inspected"].iter().all(|word| text.contains(word));
    assert!(matches!(&lines[..], [(INCTRL_LOG_WARNING, text)] if said(text)), "{lines:?}");
}
