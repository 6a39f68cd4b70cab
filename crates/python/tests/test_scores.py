"""Scores: what they hold, and that they do not depend on how an image comes."""

from __future__ import annotations

import copy
import json
import pickle

import inctrl
import numpy
import pytest
from conftest import same


def test_a_score_has_the_methods_numbers_and_a_map(scorer, bank, bad):
    score = scorer.score(bad)
    assert list(score.outputs)[0] == next(iter(bank.outputs)) and score.outputs["patch_max"] == score.anomaly_map.max()
    assert score.pred_score == score.score == next(iter(score.outputs.values()))
    assert score.anomaly_map.dtype == numpy.float32 and score.anomaly_map.shape == score.ignored.shape
    assert score.size == (bad.shape[1], bad.shape[0]) and score.bank == bank.id
    for name, (low, high) in bank.outputs.items():
        assert low <= score.outputs[name] <= high
    # Without thresholds there is no decision.
    assert score.verdict is None and score.pred_label is None and score.pred_mask is None and score.regions == ()
    score.anomaly_map[0, 0] = 7  # owned, and writable


def test_a_defect_scores_more_than_good_parts(scorer, good, bad):
    assert scorer.score(bad).pred_score > max(score.pred_score for score in scorer.score_batch(good[4:]))


def test_every_way_to_give_an_image_gives_the_same_bits(engine, bank, scorer, bad, tmp_path):
    expected = scorer.score(bad)
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(bad)
    path = tmp_path / "bad.png"
    picture.save(path)

    class Interface:
        __array_interface__ = bad.__array_interface__

    class Dlpack:
        def __dlpack__(self, **keywords):
            return bad.copy().__dlpack__(**keywords)

        def __dlpack_device__(self):
            return bad.__dlpack_device__()

    padded = numpy.zeros((bad.shape[0], bad.shape[1] + 5, 3), numpy.uint8)
    padded[:, :-5] = bad
    reversed_rows = numpy.ascontiguousarray(bad[::-1])[::-1]
    planes = numpy.ascontiguousarray(bad.transpose(2, 0, 1)).transpose(1, 2, 0)
    alpha = numpy.dstack([bad, numpy.full(bad.shape[:2], 9, numpy.uint8)])
    frozen = bad.copy()
    frozen.flags.writeable = False
    ways = {
        "path": path,
        "text": str(path),
        "bytes of a file": path.read_bytes(),
        "PIL": picture,
        "PIL with alpha": image.fromarray(alpha),
        "array interface": Interface(),
        "DLPack": Dlpack(),
        "padded rows": padded[:, :-5],
        "rows upwards": reversed_rows,
        "planes": planes,
        "Fortran order": numpy.asfortranarray(bad),
        "alpha": alpha,
        "read-only": frozen,
        "every other pixel of twice as many": numpy.repeat(numpy.repeat(bad, 2, 0), 2, 1)[::2, ::2],
    }
    for name, way in ways.items():
        assert same(scorer.score(way), expected), name
    bgr = numpy.ascontiguousarray(bad[..., ::-1])
    assert same(scorer.score(bgr, format="bgr8"), expected)
    assert not same(scorer.score(bgr), expected), "channels the other way round are another picture"
    assert same(scorer.score_batch([bad])[0], expected)
    # Built from any of them, a bank is the same.
    banks = {engine.build_bank([way], class_name="label").id for way in (path, path.read_bytes(), picture, bad, padded[:, :-5])}
    assert len(banks) == 1


def test_modes_of_pil_are_what_their_files_are(scorer, bad, tmp_path):
    image = pytest.importorskip("PIL.Image")
    whole = image.fromarray(bad)
    grey16 = image.fromarray(numpy.asarray(whole.convert("L")).astype(numpy.uint16) * 257)
    for picture in (whole.convert("L"), whole.convert("P"), whole.convert("1"), whole.convert("LA"), whole.convert("RGBA"), grey16):
        path = tmp_path / "mode.png"
        picture.save(path)
        assert same(scorer.score(picture), scorer.score(path)), picture.mode


def test_grey_pictures_of_every_depth(scorer, bad):
    grey = bad[..., 1]
    expected = scorer.score(grey)
    assert same(scorer.score(grey[..., None]), expected)
    twelve = grey.astype(numpy.uint16) << 4
    assert same(scorer.score(twelve, white_level=4095), expected)
    assert same(scorer.score(twelve.astype(">u2"), white_level=4095), expected)
    assert same(scorer.score(twelve, format="grey12"), expected)
    assert same(scorer.score(grey.astype(numpy.uint16) * 257), expected), "all of 16 bits"
    assert same(scorer.score(grey, white_level=4095), expected), "8 bits are what they are"
    with pytest.warns(UserWarning, match="4095|white level"):
        doubtful = scorer.score(grey.astype(numpy.uint16) << 2)
    assert "white level" in doubtful.warning


def test_a_batch_is_its_images_one_by_one(engine, bank, scorer, good, bad):
    images = [*good[5:8], bad, bad[10:80, 4:], good[4][..., 0]]
    alone = [scorer.score(image) for image in images]
    for capacity in (1, 2, 7):
        batch = engine.scorer(bank, capacity=capacity).score_batch(images)
        assert len(batch) == len(images) and all(map(same, batch, alone)), capacity
    assert scorer.score_batch([]) == []
    assert all(map(same, scorer.score_batch(numpy.stack(good[5:8])), alone[:3]))
    assert all(map(same, scorer.score_batch(iter(images)), alone))


def test_a_calibrated_bank_decides(engine, good, bad):
    plain = engine.build_bank(good[:4], class_name="label")
    bank = engine.calibrate(plain, good[4:], max_false_reject=0.2)
    assert set(bank.thresholds) == {"review", "reject", "cell"} and plain.thresholds is None
    assert bank.calibration["source"] == "held-out" and len(bank.calibration["scores"]) == 6
    assert engine.calibrate(plain, good[:4], max_false_reject=0.25).calibration["source"] == "leave-one-out"
    low = plain.with_thresholds(review=0.0, reject=0.001, cell=0.001)
    score = engine.scorer(low).score(bad)
    assert score.verdict == "reject" and score.reason == "score_and_regions" and score.pred_label is True
    assert score.scaled > 0.5 and score.p_value is None
    assert numpy.array_equal(score.pred_mask, (score.anomaly_map >= numpy.float32(0.001)) & ~score.ignored)
    region = score.regions[0]
    assert region.peak == score.anomaly_map.max() and region.cells >= 1
    assert "peak" in repr(region) and "reject" in repr(score)
    assert low.without_thresholds() == plain and low != plain and hash(plain) == hash(low.without_thresholds())
    calibrated = engine.scorer(bank).score(bad)
    assert 0 < calibrated.p_value <= 1 and calibrated.verdict in ("pass", "review", "reject")


def test_the_map_in_pixels_lies_where_the_image_is(scorer, bad):
    wide = numpy.concatenate([bad, bad], axis=1)
    score = scorer.score(wide)
    x, y, width, height = score.placement
    full = score.map_in_pixels()
    assert full.shape == wide.shape[:2] and full.dtype == numpy.float32
    # The fit crops the middle: what is outside is not known.
    columns = numpy.arange(wide.shape[1]) + 0.5
    seen = (columns >= x) & (columns <= x + width)
    assert 0 < seen.sum() < len(seen)
    assert numpy.isnan(full[:, ~seen]).all() and not numpy.isnan(full[:, seen]).any()
    assert numpy.nanmax(full) <= score.anomaly_map.max()
    half = score.map_in_pixels(wide.shape[1] // 2, wide.shape[0] // 2)
    assert half.shape == (wide.shape[0] // 2, wide.shape[1] // 2)
    # The centre of a cell has the cell's value: the middle one of three by three pixels.
    square = scorer.score(bad)
    rows, cols = square.anomaly_map.shape
    assert numpy.allclose(square.map_in_pixels(3 * cols, 3 * rows)[1::3, 1::3], square.anomaly_map, atol=1e-6)


def test_scores_regions_and_banks_are_pickled(engine, bank, bad):
    low = bank.with_thresholds(review=0.1, reject=0.2, cell=0.01)
    score = engine.scorer(low).score(bad)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert same(pickle.loads(pickle.dumps(score, protocol)), score)
    assert pickle.loads(pickle.dumps(score.regions)) == score.regions
    again = pickle.loads(pickle.dumps(low))
    assert again == low and again.thresholds == low.thresholds and copy.deepcopy(low) == low
    assert same(engine.scorer(again).score(bad), score)


def test_a_bank_is_a_file(engine, bank, bad, tmp_path, scorer):
    path = tmp_path / "label.bank"
    bank.save(path)
    opened = inctrl.Bank.open(path)
    assert opened == bank and path.read_bytes() == bank.to_bytes() and inctrl.Bank.from_bytes(path.read_bytes()) == bank
    assert (bank.method, bank.class_name, bank.fit, len(bank)) == ("inctrl", "label", "crop", 4)
    assert bank.model_hash == engine.model_hash and len(bank.prompt_hashes) == 4 and bank.id in repr(bank)
    assert same(engine.scorer(opened).score(bad), scorer.score(bad))


def test_appending_is_building_with_all(engine, good, bank):
    assert engine.append(engine.build_bank(good[:2], class_name="label"), good[2:4]) == bank
    assert engine.build_bank(good[3::-1], class_name="label") == bank, "the order of the images changes nothing"
    assert bank.subset([0, 1, 2, 3]) == bank and len(bank.subset([1])) == 1


def test_options_of_a_method_are_keywords(engine, good):
    bank = engine.build_bank(good[:2], method="anomaly-dino", rotations=2)
    assert bank.method == "anomaly-dino" and bank.options["rotations"] == "2"
    with pytest.raises(inctrl.ArgumentError, match="colour"):
        engine.build_bank(good[:2], method="anomaly-dino", colour=3)


def test_an_ignore_mask_takes_cells_out(engine, good, bad):
    mask = numpy.zeros(bad.shape[:2], numpy.uint8)
    # Cells are 96 / 15 pixels wide: five of them.
    mask[:, :32] = 255
    bank = engine.build_bank(good[:2], class_name="label", ignore_mask=mask)
    score = engine.scorer(bank).score(bad)
    assert score.ignored[:, :5].all() and not score.ignored[:, 5:].any()
    assert not score.anomaly_map[:, :5].any() and score.anomaly_map[:, 5:].all()


def test_a_mask_file_is_read_at_its_own_depth(engine, good, bad, tmp_path):
    mask = numpy.zeros(bad.shape[:2], numpy.uint8)
    mask[:, :32] = 255
    bank = engine.build_bank(good[:2], class_name="label", ignore_mask=mask)
    # In 8 bits the ones of 65535 would be 0, and nothing would be ignored.
    path = tmp_path / "mask.pgm"
    rows, columns = mask.shape
    path.write_bytes(b"P5 %d %d 65535\n" % (columns, rows) + (mask // 255).astype(">u2").tobytes())
    for given in (path, path.read_bytes()):
        assert engine.build_bank(good[:2], class_name="label", ignore_mask=given) == bank
    with pytest.raises(inctrl.ArgumentError, match="Grey8"):
        engine.build_bank(good[:2], class_name="label", ignore_mask=mask.astype(numpy.uint16))


def test_a_bank_is_exchanged(engine, scorer, bank, good, bad):
    other = engine.build_bank(good[5:7], class_name="label")
    before = scorer.score(bad)
    scorer.set_bank(other)
    assert scorer.bank == other and scorer.score(bad).bank == other.id
    scorer.set_bank(bank)
    assert same(scorer.score(bad), before)


def test_prompts_judge_each_other(engine, bank, good):
    checks = engine.leave_one_out(bank, good[:4])
    assert len(checks) == 4 and not any(out for _, out in checks)
    others = engine.scorer(engine.build_bank(good[1:4], class_name="label"))
    assert checks[0][0].pred_score == others.score(good[0]).pred_score


def test_scores_are_those_of_the_command_line(engine, weights, good, bad, tmp_path, capfd):
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "good"
    folder.mkdir()
    for i, part in enumerate(good[:4]):
        image.fromarray(part).save(folder / f"{i}.png")
    image.fromarray(bad).save(tmp_path / "bad.png")
    file = str(tmp_path / "label.bank")
    build = ["bank", "build", "--weights", str(weights), "--class", "label", "--normals", str(folder), "-o", file]
    assert inctrl.run_cli(["inctrl", *build]) == 0
    assert inctrl.Bank.open(file) == engine.build_bank(folder, class_name="label")
    capfd.readouterr()
    score = ["score", "--weights", str(weights), "--bank", file, "--format", "jsonl", str(tmp_path / "bad.png")]
    assert inctrl.run_cli(["inctrl", *score]) == 0
    row = json.loads(capfd.readouterr().out)
    ours = engine.scorer(inctrl.Bank.open(file)).score(bad)
    assert {name: numpy.float32(row[name]) for name in ours.outputs} == {
        name: numpy.float32(value) for name, value in ours.outputs.items()
    }
