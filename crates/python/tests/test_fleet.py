"""The class for Ray Data, without Ray: one actor's work is a call."""

from __future__ import annotations

import json
import os

import inctrl
import inctrl.ray
import numpy
import pytest

TEXTS = ["verdict", "reason", "regions", "warning", "error", "model", "bank", "device", "version", "library"]


@pytest.fixture(scope="module")
def limits(bank):
    return bank.with_thresholds(review=0.1, reject=0.2, cell=0.05)


@pytest.fixture
def fleet(weights, limits):
    return inctrl.ray.Scorer(weights, limits, device="cpu", threads=1)


def objects(*values):
    column = numpy.empty(len(values), dtype=object)
    column[:] = values
    return column


def test_a_row_is_the_score_and_says_what_it_is_of(fleet, engine, limits, good, bad):
    table = fleet({"image": numpy.stack([bad, good[5]]), "line": numpy.array([7, 8])})
    assert list(table) == ["line", *inctrl.ray.columns(limits)] and table["line"].tolist() == [7, 8]
    for i, image in enumerate((bad, good[5])):
        score = engine.scorer(limits).score(image)
        assert {name: table[name][i] for name in score.outputs} == score.outputs
        assert (table["width"][i], table["height"][i]) == score.size
        assert (table["verdict"][i], table["reason"][i], table["scaled"][i]) == (score.verdict, score.reason, score.scaled)
        regions = json.loads(table["regions"][i])
        assert [region["peak"] for region in regions] == [region.peak for region in score.regions]
    assert numpy.isnan(table["p_value"]).all() and set(table["error"]) == set(table["warning"]) == {""}
    assert set(table["model"]) == {engine.model_hash} and set(table["bank"]) == {limits.id}
    assert set(table["version"]) == {inctrl.__version__} and len(table["library"][0]) == 16
    assert table["device"][0].startswith("CPU") and "thread" not in table["device"][0]


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_a_broken_picture_costs_its_own_row(weights, limits, bad, fleet, tmp_path, capacity):
    many = inctrl.ray.Scorer(weights, limits, device="cpu", threads=2, capacity=capacity)
    pictures = objects(bad, b"no picture", bad[:50], None, b"", bad.astype(float), bad, str(tmp_path / "gone.png"), bad[:, ::-1])
    table = many({"bytes": pictures})
    fine = [0, 2, 6, 8]
    assert [i for i in range(9) if table["error"][i] == ""] == fine
    assert numpy.isfinite(table["score"][fine]).all()
    bad_rows = [i for i in range(9) if i not in fine]
    assert numpy.isnan(table["score"][bad_rows]).all() and not table["width"][bad_rows].any()
    assert {(table["verdict"][i], table["reason"][i], table["regions"][i]) for i in bad_rows} == {("review", "error", "[]")}
    for i, said in ((3, "NoneType"), (4, "empty"), (5, "float64"), (7, "gone.png")):
        assert said in table["error"][i] and "of the list" not in table["error"][i]
    # Alone, in batches, and in any company: the same bits.
    alone = [fleet({"bytes": pictures[i : i + 1]}) for i in range(9)]
    for name, values in table.items():
        assert numpy.array_equal(values, numpy.concatenate([row[name] for row in alone]), equal_nan=name not in TEXTS), name


def test_every_column_has_one_type(fleet, limits):
    """A block of failures, or of nothing, fits the blocks of scores."""
    good, failed = fleet({"image": numpy.zeros((1, 40, 40), numpy.uint8)}), fleet({"bytes": objects(b"x", b"y")})
    empty = fleet({"bytes": numpy.empty(0, dtype=object)})
    for name in inctrl.ray.columns(limits):
        kinds = {table[name].dtype.kind for table in (good, failed, empty)}
        assert kinds == {"U" if name in TEXTS else "i" if name in ("width", "height") else "f"}, name
        assert len(empty[name]) == 0


def test_doubts_about_brightness_are_in_the_row(fleet, weights, limits, bad):
    twelve = bad[..., 1].astype(numpy.uint16) << 4
    table = fleet({"image": objects(twelve, bad)})
    assert "4095" in table["warning"][0] and table["warning"][1] == "" and set(table["error"]) == {""}
    declared = inctrl.ray.Scorer(weights, limits, device="cpu", threads=1, white_level=4095)({"image": objects(twelve)})
    assert declared["warning"][0] == "" and declared["score"][0] == fleet({"image": objects(bad[..., 1])})["score"][0]


def test_files_may_be_read_by_the_actor(fleet, bad, tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = str(tmp_path / "bad.png")
    image.fromarray(bad).save(path)
    table = fleet({"path": numpy.array([path])})
    assert table["path"][0] == path and table["score"][0] == fleet({"image": bad[None]})["score"][0]
    # What is read already is not read again.
    with open(path, "rb") as file:
        table = fleet({"path": numpy.array(["/gone.png"]), "bytes": objects(file.read())})
    assert table["error"][0] == "" and "bytes" not in table


def test_tables_that_make_no_sense(fleet, weights, limits, tmp_path):
    with pytest.raises(inctrl.ArgumentError, match=r"\['frames'\]: pictures are in one of"):
        fleet({"frames": objects(b"")})
    with pytest.raises(inctrl.ArgumentError, match=r"\['error', 'score'\] already"):
        fleet({"bytes": objects(b""), "score": numpy.zeros(1), "error": numpy.zeros(1)})
    with pytest.raises(inctrl.MissingFileError, match="none.bank"):
        inctrl.ray.Scorer(weights, tmp_path / "none.bank", device="cpu", threads=1)
    with pytest.raises(inctrl.ArgumentError, match="threads"):
        inctrl.ray.Scorer(weights, limits, device="cpu", threads=0)


@pytest.mark.parametrize(("wrong", "text"), [({"format": "bgr9"}, "bgr8"), ({"white_level": 7}, "white level")])
def test_what_is_wrong_for_every_picture_is_no_row(weights, limits, wrong, text):
    with pytest.raises(inctrl.ArgumentError, match=text):
        inctrl.ray.Scorer(weights, limits, device="cpu", threads=1, **wrong)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_device_that_is_lost_is_no_fault_of_the_picture(fleet, bad):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(fleet({"image": bad[None]})).encode())
        except inctrl.DeviceError:
            os.write(writer, b"raised")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"raised"
    os.waitpid(child, 0)
    assert fleet({"image": bad[None]})["error"][0] == ""


def test_a_picture_too_large_for_the_memory_is_its_own_fault(fleet, bad):
    class Full:
        def score(self, picture, **how):
            raise inctrl.DeviceError("a picture needs 9 MB, but only 8 MB are left")

    fleet._scorer = Full()
    table = fleet({"image": numpy.stack([bad, bad])})
    # The scorer is a new one, which scores what follows.
    assert "8 MB" in table["error"][0] and table["verdict"][0] == "review" and table["error"][1] == ""
