//! Nothing passes by mistake: a fault in one result costs only that result, every result is counted, and a late result
//! is a review if that option is on.

use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

use inctrl::ffi::*;

use super::handles::{Handles, of, ok, open, refused, sized, zeroed};
use crate::tiny::{MODELS, Model, Picture};

const ARGUMENT: i32 = INCTRL_ERROR_ARGUMENT;

fn one_bank(capacity: usize) -> (Picture, Handles) {
    let picture = Picture::new(0);
    let all = open(&Model::new(MODELS[1].1, 7), &[of(&picture.frame())], capacity);
    (picture, all)
}

fn health(scorer: *const inctrl_scorer) -> inctrl_health {
    let mut health = sized!(inctrl_health);
    // SAFETY: a live scorer and a structure of this function.
    ok(unsafe { inctrl_scorer_health(scorer, &mut health) });
    health
}

/// Limits that no score reaches are refused, whichever of them it is.
#[test]
fn limits_beyond_the_range_and_reserved_fields_are_refused() {
    let (_picture, all) = one_bank(1);
    let good = inctrl_thresholds { review: 0.25, reject: 0.5, cell: 0.2, ..sized!(inctrl_thresholds) };
    let mut bank = null_mut();
    for (limits, words) in [
        (inctrl_thresholds { review: 25.0, reject: 50.0, cell: 20.0, ..good }, &["`review` is 25", "from 0 to 1"][..]),
        (inctrl_thresholds { reject: 1.5, ..good }, &["`reject` is 1.5"]),
        (inctrl_thresholds { cell: 20.0, ..good }, &["`cell` is 20", "map"]),
        (inctrl_thresholds { cell: -0.1, ..good }, &["`cell` is -0.1"]),
        (inctrl_thresholds { review: f32::NAN, ..good }, &["`review` is NaN"]),
        (inctrl_thresholds { reject: f32::INFINITY, ..good }, &["`reject` is inf"]),
        (inctrl_thresholds { reserved: 77, ..good }, &["`reserved` of inctrl_thresholds is 77"]),
        (inctrl_thresholds { struct_size: 23, ..good }, &["struct_size", "23"]),
        (inctrl_thresholds { struct_size: 1 << 20, ..good }, &["struct_size", "1048576"]),
    ] {
        // SAFETY: handles and structures of this test.
        refused(unsafe { inctrl_bank_with_thresholds(all.bank, &limits, &mut bank) }, ARGUMENT, words);
        assert!(bank.is_null());
    }
    let options = sized!(inctrl_scorer_options);
    let mut scorer = null_mut();
    for (options, words) in [
        (inctrl_scorer_options { reserved: 1, ..options }, &["`reserved` of inctrl_scorer_options is 1"][..]),
        (inctrl_scorer_options { late: 2, ..options }, &["2 is not a value for `late`"]),
        (inctrl_scorer_options { late: -1, ..options }, &["-1 is not"]),
        (inctrl_scorer_options { struct_size: 8, ..options }, &["struct_size", "8"]),
        (inctrl_scorer_options { capacity: 1025, ..options }, &["1025", "1024"]),
    ] {
        // SAFETY: as above.
        refused(unsafe { inctrl_scorer_create_with(all.engine, all.slot, &options, &mut scorer) }, ARGUMENT, words);
        assert!(scorer.is_null());
    }
    // SAFETY: as above.
    refused(
        unsafe { inctrl_scorer_create_with(all.engine, all.slot, null(), &mut scorer) },
        ARGUMENT,
        &["inctrl_scorer_options is NULL"],
    );
}

#[test]
fn a_bad_result_costs_no_other_its_score() {
    let (picture, all) = one_bank(2);
    let frame = of(&picture.frame());
    let frames = [frame; 4];
    let rois = [inctrl_roi { x: 0, y: 0, width: frame.width, height: frame.height }; 4];
    let score = |regions: bool, results: &mut [inctrl_result; 4]| {
        let first = results.as_mut_ptr();
        // SAFETY: handles and structures of this test.
        unsafe {
            if regions {
                inctrl_scorer_score_regions(all.scorer, &frame, rois.as_ptr(), 4, 0, first)
            } else {
                inctrl_scorer_score_batch(all.scorer, frames.as_ptr(), 4, 0, first)
            }
        }
    };
    let mut small = [0.0f32; 1];
    let small: *mut f32 = small.as_mut_ptr();
    type Spoil<'a> = &'a dyn Fn(&mut inctrl_result);
    let spoilt: [(&str, Spoil<'_>); 5] = [
        ("result 1: `regions` of the result is NULL", &|result| result.region_capacity = 5),
        ("result 1: `map` of the result is NULL", &|result| result.map_capacity = 900),
        ("room for 1", &|result| (result.map, result.map_capacity) = (small, 1)),
        ("result 1: struct_size of inctrl_result is 0", &|result| result.struct_size = 0),
        ("result 1: struct_size of inctrl_result 1 is 4096", &|result| result.struct_size = 4096),
    ];
    for regions in [false, true] {
        let mut clean = [sized!(inctrl_result); 4];
        ok(score(regions, &mut clean));
        for (words, spoil) in &spoilt {
            let mut results = [sized!(inctrl_result); 4];
            spoil(&mut results[1]);
            let usable = results[1].struct_size == size_of::<inctrl_result>();
            (results[1].verdict, results[1].status) = (INCTRL_VERDICT_PASS, 99);
            let before = health(all.scorer);
            refused(score(regions, &mut results), ARGUMENT, &[words]);
            for (i, result) in results.iter().enumerate().filter(|(i, _)| *i != 1) {
                assert_eq!((result.status, result.score.to_bits()), (INCTRL_OK, clean[i].score.to_bits()), "{words}");
            }
            if usable {
                assert_eq!((results[1].status, results[1].verdict), (ARGUMENT, INCTRL_VERDICT_REVIEW), "{words}");
                assert!(results[1].score.is_nan());
            }
            let after = health(all.scorer);
            assert_eq!((after.frames - before.frames, after.errors - before.errors), (3, 1), "{words}");
        }
    }
    // The first one that cannot be used at all leaves no size to find the others by.
    let mut results = [sized!(inctrl_result); 4];
    results[0].struct_size = 7;
    refused(score(false, &mut results), ARGUMENT, &["struct_size of inctrl_result is 7"]);
}

/// The status of a call is that of its first bad result, whatever is wrong with which.
#[test]
fn the_first_failure_is_the_one_that_is_said() {
    let (picture, all) = one_bank(4);
    let frame = of(&picture.frame());
    let bad = inctrl_frame { format: 99, ..frame };
    let mut results = [sized!(inctrl_result); 3];
    let mut map = [0.0f32; 1];
    (results[1].map, results[1].map_capacity) = (map.as_mut_ptr(), 1);
    // The second fails at the end of the call, the third at its beginning.
    let frames = [frame, frame, bad];
    // SAFETY: handles and structures of this test.
    let status = unsafe { inctrl_scorer_score_batch(all.scorer, frames.as_ptr(), 3, 0, results.as_mut_ptr()) };
    refused(status, ARGUMENT, &["room for 1"]);
    assert_eq!(results.map(|result| result.status), [INCTRL_OK, ARGUMENT, ARGUMENT]);
}

/// Every result that is asked of a scorer is counted once, as scored or as an error.
#[test]
fn every_result_is_counted() {
    let (picture, all) = one_bank(2);
    let good = of(&picture.frame());
    let bad = inctrl_frame { data: null(), ..good };
    let roi = inctrl_roi { x: 0, y: 0, width: good.width, height: good.height };
    let outside = inctrl_roi { x: good.width, ..roi };
    let mut results = [sized!(inctrl_result); 3];
    let first = results.as_mut_ptr();
    let scorer = all.scorer;
    let (mut frames, mut errors) = (0, 0);
    let mut counted = |what: &str, scored: u64, failed: u64, call: &dyn Fn() -> i32| {
        let status = call();
        (frames, errors) = (frames + scored, errors + failed);
        let health = health(scorer);
        assert_eq!((health.frames, health.errors), (frames, errors), "{what}");
        assert_eq!(status == INCTRL_OK, failed == 0, "{what}");
        assert_eq!(health.last_error[0] != 0, errors > 0, "{what}");
    };
    // SAFETY: handles and structures of this test, in all of these calls.
    unsafe {
        counted("a good frame", 1, 0, &|| inctrl_scorer_score(scorer, &good, 0, first));
        counted("no frames", 0, 0, &|| inctrl_scorer_score_batch(scorer, null(), 0, 0, null_mut()));
        counted("no regions", 0, 0, &|| inctrl_scorer_score_regions(scorer, &good, null(), 0, 0, null_mut()));
        counted("NULL pixels", 0, 1, &|| inctrl_scorer_score(scorer, &bad, 0, first));
        counted("NULL pixels of regions", 0, 3, &|| {
            inctrl_scorer_score_regions(scorer, &bad, [roi; 3].as_ptr(), 3, 0, first)
        });
        counted("a NULL frame", 0, 1, &|| inctrl_scorer_score(scorer, null(), 0, first));
        counted("NULL frames", 0, 3, &|| inctrl_scorer_score_batch(scorer, null(), 3, 0, first));
        counted("a NULL frame of regions", 0, 2, &|| {
            inctrl_scorer_score_regions(scorer, null(), [roi; 2].as_ptr(), 2, 0, first)
        });
        counted("NULL rectangles", 0, 2, &|| inctrl_scorer_score_regions(scorer, &good, null(), 2, 0, first));
        counted("one rectangle outside", 1, 1, &|| {
            inctrl_scorer_score_regions(scorer, &good, [roi, outside].as_ptr(), 2, 0, first)
        });
        counted("one bad frame of three", 2, 1, &|| {
            inctrl_scorer_score_batch(scorer, [good, bad, good].as_ptr(), 3, 0, first)
        });
        counted("a bad size of the first frame", 0, 2, &|| {
            let nothing = inctrl_frame { struct_size: 0, ..good };
            inctrl_scorer_score_batch(scorer, [nothing, good].as_ptr(), 2, 0, first)
        });
        counted("no memory for results", 0, 1, &|| inctrl_scorer_score(scorer, &good, 0, null_mut()));
        counted("more results than memory", 0, 1, &|| inctrl_scorer_score_batch(scorer, &good, usize::MAX, 0, first));
        counted("a warm-up", 0, 0, &|| inctrl_scorer_warm_up(scorer, 40, 40, INCTRL_MONO8, 1));
    }
    // SAFETY: a closed handle is NULL; the scorer's counts are not its business.
    refused(unsafe { inctrl_scorer_score(null(), &good, 0, first) }, ARGUMENT, &["scorer"]);
    assert_eq!(health(scorer).errors, errors);
}

/// A scorer in use is an error of every result of the second call, and is counted.
#[test]
fn a_busy_scorer_is_counted() {
    struct Shared(*const inctrl_scorer);
    // SAFETY: the scorer lets one thread in at a time, which is what is tested; its handle lives through the test.
    unsafe impl Sync for Shared {}
    let (picture, all) = one_bank(1);
    let pixels = picture.frame();
    let (shared, done) = (Shared(all.scorer), AtomicBool::new(false));
    let (mut scored, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A call that fills the scorer's time.
            let Shared(scorer) = &shared;
            while !done.load(Ordering::Relaxed) {
                // SAFETY: as above. Busy now and then, as the other thread may be in it.
                let status = unsafe { inctrl_scorer_warm_up(*scorer, 64, 64, INCTRL_MONO8, 20) };
                assert!(status == INCTRL_OK || status == INCTRL_ERROR_BUSY);
            }
        });
        let frames = [of(&pixels); 2];
        while refused < 20 {
            let mut results = [zeroed::<inctrl_result>(); 2];
            results.iter_mut().for_each(|result| result.struct_size = size_of::<inctrl_result>());
            // SAFETY: structures of this test.
            match unsafe { inctrl_scorer_score_batch(shared.0, frames.as_ptr(), 2, 0, results.as_mut_ptr()) } {
                INCTRL_OK => scored += 1,
                status => {
                    assert_eq!(status, INCTRL_ERROR_BUSY);
                    assert!(results.iter().all(|result| result.status == INCTRL_ERROR_BUSY
                        && (result.verdict, result.reason) == (INCTRL_VERDICT_REVIEW, INCTRL_REASON_ERROR)));
                    refused += 1;
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let health = health(all.scorer);
    assert_eq!((health.frames, health.errors), (2 * scored, 2 * refused));
}

#[test]
fn a_late_result_is_a_review_where_that_is_asked_for() {
    let (picture, all) = one_bank(1);
    let frame = of(&picture.frame());
    let create = |late, capacity| {
        let options = inctrl_scorer_options { late, capacity, ..sized!(inctrl_scorer_options) };
        let mut scorer = null_mut();
        // SAFETY: handles and structures of this test, here and below.
        ok(unsafe { inctrl_scorer_create_with(all.engine, all.slot, &options, &mut scorer) });
        scorer
    };
    // A capacity of 0 is 1.
    let mut scorers = [create(INCTRL_LATE_MARK, 0), create(INCTRL_LATE_REVIEW, 2)];
    let none = (INCTRL_VERDICT_NONE, INCTRL_REASON_NONE);
    let pass = (INCTRL_VERDICT_PASS, INCTRL_REASON_BELOW);
    let late = (INCTRL_VERDICT_REVIEW, INCTRL_REASON_LATE);
    let reject = (INCTRL_VERDICT_REJECT, INCTRL_REASON_SCORE_AND_REGIONS);
    let doubt = (INCTRL_VERDICT_REVIEW, INCTRL_REASON_SCORE);
    for (limits, in_time, reviewed) in [
        (None, none, late),
        (Some([1.0, 1.0, 1.0]), pass, late),
        (Some([0.0, 1.0, 1.0]), doubt, doubt),
        (Some([0.0, 0.0, 0.0]), reject, reject),
    ] {
        if let Some([review, reject, cell]) = limits {
            let limits = inctrl_thresholds { review, reject, cell, ..sized!(inctrl_thresholds) };
            let mut judged = null_mut();
            // SAFETY: as above.
            unsafe {
                ok(inctrl_bank_with_thresholds(all.bank, &limits, &mut judged));
                ok(inctrl_slot_swap(all.slot, judged, null_mut()));
                ok(inctrl_bank_close(&mut judged));
            }
        }
        let roi = inctrl_roi { x: 0, y: 0, width: frame.width, height: frame.height };
        for (scorer, expected) in scorers.iter().zip([in_time, reviewed]) {
            for (deadline, wanted) in [(1, expected), (u64::MAX, in_time), (0, in_time)] {
                let mut results = [sized!(inctrl_result); 2];
                let [one, region] = &mut results;
                // SAFETY: as above.
                unsafe {
                    ok(inctrl_scorer_score(*scorer, &frame, deadline, one));
                    ok(inctrl_scorer_score_regions(*scorer, &frame, &roi, 1, deadline, region));
                }
                for result in &results {
                    assert_eq!((result.verdict, result.reason), wanted, "{limits:?} {deadline}");
                    assert_eq!((result.late, result.status), (i32::from(deadline == 1), INCTRL_OK));
                    assert!(result.score.is_finite());
                }
            }
        }
    }
    for scorer in &mut scorers {
        assert_eq!((health(*scorer).late, health(*scorer).errors), (8, 0));
        // SAFETY: as above.
        ok(unsafe { inctrl_scorer_close(scorer) });
    }
    // The function without options is as before.
    let mut result = sized!(inctrl_result);
    // SAFETY: as above.
    ok(unsafe { inctrl_scorer_score(all.scorer, &frame, 1, &mut result) });
    assert_eq!((result.verdict, result.late), (INCTRL_VERDICT_REJECT, 1));
}
