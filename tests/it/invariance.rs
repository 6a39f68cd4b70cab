//! Scores do not depend on batches, threads, the order of prompts, the earlier calls of a scorer, or saving and
//! loading. Equal means equal to the last bit.

use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::backend::cpu::Cpu;
use inctrl::internals::{Pipeline, Session};
use inctrl::methods::{Run, by_name};
use inctrl::view::View;
use inctrl::weights::{LoadOptions, Weights};
use inctrl::{Fit, PromptBank, Score};

use crate::tiny::{MODELS, Model, Picture, alone, bank, frames, on_every_model, pictures, same, saved, score};

#[test]
fn batch_size_and_position_change_no_bit() {
    on_every_model(|engine| {
        let (prompts, queries) = (pictures(0..2), pictures(2..10));
        let (bank, queries) = (bank(engine, &frames(&prompts)), frames(&queries));
        let expected = alone(engine, &bank, &queries);
        assert!(expected.windows(2).all(|pair| pair[0].score != pair[1].score), "pictures score differently");
        for batch in [1, 2, 3, 5, 8] {
            let mut scorer = engine.batch_scorer(Arc::clone(&bank), NonZeroUsize::new(batch).unwrap()).unwrap();
            for turn in 0..queries.len() {
                let order: Vec<usize> = (0..queries.len()).map(|i| (i + turn) % queries.len()).collect();
                let batch_of: Vec<_> = order.iter().map(|&i| queries[i]).collect();
                let found = scorer.score_batch(&batch_of).unwrap();
                assert_eq!(found.len(), order.len());
                for (found, &i) in found.iter().zip(&order) {
                    same(&format!("picture {i} in batches of {batch}, turned by {turn}"), found, &expected[i]);
                }
            }
        }
    });
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (name, config) in MODELS {
        let model = Model::new(config, 7);
        let (prompts, queries) = (pictures(0..3), pictures(3..6));
        let (prompts, queries) = (frames(&prompts), frames(&queries));
        let mut expected = None;
        for threads in [1, 2, 3, 5] {
            let engine = model.engine(threads);
            let bank = bank(&engine, &prompts);
            let found = engine.batch_scorer(Arc::clone(&bank), NonZeroUsize::new(2).unwrap());
            let found = found.unwrap().score_batch(&queries).unwrap();
            let (id, scores) = expected.get_or_insert_with(|| (bank.id().to_owned(), found.clone()));
            assert_eq!(bank.id(), id, "{name}: the bank with {threads} threads");
            for (found, expected) in found.iter().zip(scores) {
                same(&format!("{name}, {threads} threads"), found, expected);
            }
        }
    }
}

#[test]
fn the_order_of_prompts_changes_no_bit() {
    on_every_model(|engine| {
        let (prompts, query) = (pictures(0..3), Picture::new(3));
        let prompts = frames(&prompts);
        let mut expected = None;
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let bank = bank(engine, &order.map(|i| prompts[i]));
            let (file, found) = (saved(&bank), alone(engine, &bank, &[query.frame()]));
            let (first_file, first) = expected.get_or_insert_with(|| (file.clone(), found.clone()));
            assert_eq!(&file, first_file, "the bank of prompts in order {order:?}");
            same(&format!("prompts in order {order:?}"), &found[0], &first[0]);
        }
    });
}

#[test]
fn duplicate_prompts_change_nothing_in_the_map() {
    on_every_model(|engine| {
        let (prompts, query) = (pictures(0..2), Picture::new(4));
        let [a, b] = frames(&prompts)[..] else { panic!() };
        let (once, more) = (bank(engine, &[a, b]), bank(engine, &[b, a, b, b]));
        assert_eq!((once.info().duplicates, more.info().duplicates), (0, 2));
        assert_ne!(once.id(), more.id());
        let [once, more] = [once, more].map(|bank| alone(engine, &bank, &[query.frame()]).remove(0));
        let bits = |s: &Score| s.map.cells.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&once), bits(&more));
        for name in ["patch_max", "text_prior"] {
            assert_eq!(once.output(name).unwrap().to_bits(), more.output(name).unwrap().to_bits(), "{name}");
        }
    });
}

#[test]
fn appending_equals_building_at_once() {
    on_every_model(|engine| {
        let prompts = pictures(0..4);
        let prompts = frames(&prompts);
        let at_once = bank(engine, &prompts);
        for first in 1..4 {
            // Through a file, as a user appends a day later, and in another order.
            let begun = PromptBank::from_bytes(&saved(&bank(engine, &prompts[..first]))).unwrap();
            let mut builder = engine.append_to(&begun).unwrap();
            assert_eq!(builder.len(), first);
            prompts[first..].iter().rev().for_each(|frame| builder.add(*frame).unwrap());
            assert_eq!(saved(&builder.finish().unwrap()), saved(&at_once), "{first} prompts, then the others");
        }
    });
}

#[test]
fn a_file_keeps_every_bit() {
    on_every_model(|engine| {
        let (prompts, query) = (pictures(0..3), Picture::new(8));
        let built = Arc::new(engine.build_bank("metal_nut", Fit::Letterbox, &frames(&prompts)).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bank");
        built.save(&path).unwrap();
        let opened = Arc::new(PromptBank::open(&path).unwrap());
        assert_eq!(saved(&built), saved(&opened));
        assert_eq!((opened.id(), opened.class(), opened.fit()), (built.id(), "metal_nut", Fit::Letterbox));
        assert_eq!(opened.model_hash(), engine.model_hash());
        assert_eq!(opened.prompt_hashes(), built.prompt_hashes());
        let [a, b] = [&built, &opened].map(|bank| alone(engine, bank, &[query.frame()]).remove(0));
        same("a bank from its file", &b, &a);
    });
}

#[test]
fn a_prompt_has_no_residual_against_itself() {
    on_every_model(|engine| {
        let prompts = pictures(0..4);
        let prompts = frames(&prompts);
        for score in alone(engine, &bank(engine, &prompts), &prompts) {
            assert!(score.map.cells.iter().all(|r| (0.0..1e-6).contains(r)), "{:?}", score.map.cells);
            assert!((0.0..1e-6).contains(&score.map.largest()), "{}", score.map.largest());
        }
    });
}

/// As above, but for the map as computed: a public one shows a negative residual as 0.
#[test]
fn a_prompt_has_no_residual_against_itself_before_clamping() {
    for (name, config) in MODELS {
        let model = Model::new(config, 7);
        let options = LoadOptions { weights: model.path.clone(), heads: None, config: None };
        let weights = Weights::open(&options).unwrap();
        let arch = weights.arch();
        let own = bank(&model.engine(2), &[Picture::new(1).frame()]);
        for backend in Cpu::of_each_instruction_set(2, inctrl::Precision::F32).unwrap() {
            let mut pipeline = Pipeline::open(backend, &weights, by_name("inctrl").unwrap(), 1, 1).unwrap();
            let picture = Picture::new(1);
            let plan = arch.vision.plan(picture.width, picture.height, Fit::Crop).unwrap();
            let view = View::whole(plan, None, arch.vision.patch_size);
            pipeline.place(picture.frame().into(), &[view], 0).unwrap();
            pipeline.encode(1).unwrap();
            let bank = pipeline.upload(&own).unwrap();
            let run = Run { views: 0..1, first_slot: 0, bank: 0 };
            let mut seen = 0;
            pipeline
                .compare(&[run], &[&bank], &mut |_, outputs, map| {
                    assert!(map.iter().all(|r| r.abs() < 1e-6), "{name}: {map:?}");
                    assert!(outputs[2].abs() < 1e-6, "{name}: {outputs:?}");
                    seen += 1;
                })
                .unwrap();
            assert_eq!(seen, 1);
        }
    }
}

#[test]
fn what_a_scorer_did_before_changes_no_bit() {
    on_every_model(|engine| {
        let (prompts, queries) = (pictures(0..2), pictures(2..9));
        let (bank, queries) = (bank(engine, &frames(&prompts)), frames(&queries));
        let expected = alone(engine, &bank, &queries);
        let mut scorer = engine.batch_scorer(bank, NonZeroUsize::new(3).unwrap()).unwrap();
        for i in [0, 1, 0, 6, 2, 2, 5, 3, 4, 0] {
            same(&format!("picture {i}, scorer used before"), &score(&mut scorer, queries[i]), &expected[i]);
            // A batch in between, so that memory beyond the next image is not empty.
            scorer.score_batch(&queries[i.min(4)..]).unwrap();
        }
    });
}

#[test]
fn an_engine_serves_threads_at_once() {
    on_every_model(|engine| {
        let (prompts, queries) = (pictures(0..2), pictures(2..6));
        let (bank, queries) = (bank(engine, &frames(&prompts)), frames(&queries));
        let expected = alone(engine, &bank, &queries);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (bank, queries, expected) = (Arc::clone(&bank), &queries, &expected);
                scope.spawn(move || {
                    let mut scorer = engine.scorer(bank).unwrap();
                    for i in (0..12).map(|i| (i + thread) % queries.len()) {
                        same(&format!("thread {thread}"), &score(&mut scorer, queries[i]), &expected[i]);
                    }
                });
            }
        });
    });
}

#[test]
fn a_scorer_changes_its_bank() {
    on_every_model(|engine| {
        let (prompts, query) = (pictures(0..4), Picture::new(4));
        let prompts = frames(&prompts);
        let banks = [
            bank(engine, &prompts[..1]),
            bank(engine, &prompts[1..]),
            Arc::new(engine.build_bank("truck", Fit::Stretch, &prompts[..1]).unwrap()),
        ];
        let expected = [0, 1, 2].map(|i| alone(engine, &banks[i], &[query.frame()]).remove(0));
        assert_ne!(expected[0].score, expected[1].score);
        assert_ne!(expected[0].map, expected[2].map);
        let mut scorer = engine.scorer(Arc::clone(&banks[0])).unwrap();
        for i in [0, 1, 2, 0, 2, 1] {
            scorer.set_bank(Arc::clone(&banks[i])).unwrap();
            assert_eq!(scorer.bank().id(), banks[i].id());
            same(&format!("bank {i}"), &score(&mut scorer, query.frame()), &expected[i]);
        }
    });
}

#[test]
fn a_panel_scores_as_a_scorer_of_each_bank() {
    on_every_model(|engine| {
        let pictures = pictures(0..7);
        let frames = frames(&pictures);
        let all = bank(engine, &frames[..4]);
        let subsets = [&[0][..], &[1, 2], &[0, 1, 2, 3], &[3, 1]];
        let banks: Vec<_> = subsets.iter().map(|places| Arc::new(all.subset(places).unwrap())).collect();
        assert_eq!(banks[2].id(), all.id());
        let mut many = engine.multi_bank_scorer(&banks).unwrap();
        for frame in &frames {
            let scores = many.score(*frame).unwrap().to_vec();
            for (i, (found, bank)) in scores.iter().zip(&banks).enumerate() {
                let mut scorer = engine.scorer(Arc::clone(bank)).unwrap();
                same(&format!("bank {i}"), found, &score(&mut scorer, *frame));
            }
        }
        assert!(engine.multi_bank_scorer(&[]).is_err() && all.subset(&[4]).is_err() && all.subset(&[]).is_err());
    });
}
