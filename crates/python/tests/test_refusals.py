"""Bad input is an exception that says what to do, and never the end of the process."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import sys
import threading

import inctrl
import numpy
import pytest
from conftest import same

NOT_PICTURES = {
    "float": (numpy.zeros((9, 9)), inctrl.ArgumentError, "float64.*uint8"),
    "NaN": (numpy.full((9, 9, 3), numpy.nan, numpy.float32), inctrl.ArgumentError, "float32.*NaN"),
    "bool": (numpy.zeros((9, 9), bool), inctrl.ArgumentError, r"bool.*255 \* array"),
    "int64": (numpy.zeros((9, 9), numpy.int64), inctrl.ArgumentError, "int64.*from 0 to 255"),
    "int8": (numpy.zeros((9, 9), numpy.int8), inctrl.ArgumentError, "int8"),
    "float16": (numpy.zeros((9, 9), numpy.float16), inctrl.ArgumentError, "float16"),
    "complex": (numpy.zeros((9, 9), complex), inctrl.ArgumentError, "c16"),
    "text": (numpy.full((9, 9), "a"), inctrl.ArgumentError, "U1"),
    "records": (numpy.zeros((9, 9), [("r", "u1"), ("g", "u1"), ("b", "u1")]), inctrl.ArgumentError, "V3"),
    "objects": (numpy.array([[None]]), inctrl.ArgumentError, "object"),
    "masked": (numpy.ma.masked_greater(numpy.arange(81, dtype=numpy.uint8).reshape(9, 9), 70), inctrl.ArgumentError, "10 values"),
    "pixels far apart and too many": (numpy.broadcast_to(numpy.uint8(5), (10**6, 10**6)), inctrl.ArgumentError, "65535"),
    "too large for a copy": (numpy.broadcast_to(numpy.uint8(5), (65535, 65535, 4)), inctrl.ArgumentError, "too large to be copied"),
    "one axis": (numpy.zeros(9, numpy.uint8), inctrl.ArgumentError, r"shape \(9\)"),
    "a number": (numpy.uint8(3), inctrl.ArgumentError, r"shape \(\)"),
    "batch": (numpy.zeros((2, 9, 9, 3), numpy.uint8), inctrl.ArgumentError, "score_batch"),
    "planes": (numpy.zeros((3, 9, 9), numpy.uint8), inctrl.ArgumentError, "transpose"),
    "two channels": (numpy.zeros((9, 9, 2), numpy.uint8), inctrl.ArgumentError, r"\(9, 9, 2\)"),
    "16-bit colour": (numpy.zeros((9, 9, 3), numpy.uint16), inctrl.ArgumentError, "8 bits"),
    "empty": (numpy.zeros((0, 9), numpy.uint8), inctrl.ArgumentError, "empty"),
    "no columns": (numpy.zeros((9, 0, 3), numpy.uint8), inctrl.ArgumentError, "empty"),
    "one row is enough, a million columns are not": (numpy.zeros((1, 1_000_000), numpy.uint8), inctrl.Error, "1000000"),
    "no bytes": (b"", inctrl.ImageError, "empty"),
    "bytes of no picture": (b"GIF89a", inctrl.ImageError, "GIF"),
    "a path as bytes": (os.fsencode(__file__), inctrl.ImageError, "os.fsdecode"),
    "no path": ("", inctrl.ArgumentError, "path is empty"),
    "number": (3, TypeError, "int is not a picture"),
    "nothing": (None, TypeError, "NoneType"),
    "a path that is not there": ("no/such.png", inctrl.MissingFileError, "no/such.png"),
    "a folder": (os.path.dirname(__file__), inctrl.IoError, "tests"),
    "not a picture's file": (__file__, inctrl.ImageError, "test_refusals.py"),
    "a path with a zero byte": ("a\0b", (inctrl.Error, ValueError), "."),
}


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_what_is_no_picture_is_refused(name, scorer, bad):
    picture, kind, text = NOT_PICTURES[name]
    before = scorer.score(bad)
    with pytest.raises(kind, match=text):
        scorer.score(picture)
    with pytest.raises(kind, match="(?s)image 1 of the list.*" + text):
        scorer.score_batch([bad, picture])
    assert same(scorer.score(bad), before), "the scorer goes on"


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_what_is_no_picture_makes_no_bank(name, engine, good):
    picture, kind, text = NOT_PICTURES[name]
    # A folder stands for its pictures, and of several files that are no good the error has one kind.
    kind, text = {"a folder": (inctrl.ArgumentError, "no picture"), "a path that is not there": (inctrl.IoError, text)}.get(
        name, (kind, text)
    )
    with pytest.raises(kind, match=text):
        engine.build_bank([good[0], picture, good[1]], class_name="label")


def test_errors_are_also_what_python_calls_them(scorer, tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        scorer.score(tmp_path / "gone.png")
    assert isinstance(missing.value, inctrl.Error) and missing.value.path == str(tmp_path / "gone.png")
    assert issubclass(inctrl.ArgumentError, ValueError) and issubclass(inctrl.IoError, OSError)


def test_texts_are_those_of_the_command_line(weights, tmp_path, capfd):
    path = str(tmp_path / "none.safetensors")
    with pytest.raises(inctrl.MissingFileError) as error:
        inctrl.Engine(path)
    (tmp_path / "x.png").write_bytes(b"x")
    arguments = ["weights", "inspect", "--weights", path]
    for arguments in (["bank", "build", "--weights", path, "--normals", __file__, "-o", "b"],):
        assert inctrl.run_cli(["inctrl", *arguments]) == 1
        assert capfd.readouterr().err.strip() == f"error: {error.value}"


def test_every_bad_normal_image_is_named(engine, good):
    with pytest.raises(inctrl.Error, match="2 of 3 normal images cannot be used") as error:
        engine.build_bank(["a.png", good[0], "b.png"], class_name="label")
    assert "a.png" in str(error.value) and "b.png" in str(error.value)
    for nothing in ([], ()):
        with pytest.raises(inctrl.ArgumentError, match="at least one"):
            engine.build_bank(nothing, class_name="label")


def test_arguments_that_make_no_sense(engine, weights, bank, good, scorer, bad):
    for call, text in (
        (lambda: inctrl.Engine(weights, device="tpu"), "tpu"),
        (lambda: inctrl.Engine(weights, threads=0), "threads"),
        (lambda: inctrl.Engine(weights, precision="f8"), "f8"),
        (lambda: engine.scorer(bank, capacity=0), "capacity"),
        (lambda: engine.scorer(bank, capacity=5000), "5000"),
        (lambda: engine.build_bank(good, method="no-such-method"), "no-such-method"),
        (lambda: engine.build_bank(class_name="label"), "at least one"),
        (lambda: engine.build_bank(method="winclip-zero"), "no class was named"),
        (lambda: engine.build_bank(good, method="winclip-zero", class_name="label"), "takes no normal images"),
        (lambda: engine.build_bank(good, fit="zoom"), "zoom"),
        (lambda: scorer.score(bad, format="rgb"), "rgb8"),
        (lambda: scorer.score(bad, format="grey8"), "8 bits a pixel.*3 channels"),
        (lambda: scorer.score(bad, white_level=7), "white level"),
        (lambda: engine.calibrate(bank, good[4:]), "99"),
        (lambda: engine.leave_one_out(bank, good[4:5]), "not a prompt"),
        (lambda: bank.with_thresholds(review=0.5, reject=30, cell=0.5), "reject.*30"),
        (lambda: bank.subset([9]), "9"),
        (lambda: inctrl.synth_sample("spaceship"), "spaceship"),
        (lambda: inctrl.synth_sample("cable", defect="rust"), "rust"),
        (lambda: inctrl.synth_sample("cable", severity="huge"), "huge"),
    ):
        with pytest.raises(inctrl.ArgumentError, match=text):
            call()


def test_a_bank_of_another_model(engine, bank, tiny, tmp_path, good):
    other = inctrl.Engine(tiny, device="cpu")
    with pytest.raises(inctrl.BankError, match="model"):
        other.scorer(bank)
    with pytest.raises(inctrl.BankError, match="model"):
        other.append(bank, good)
    with pytest.raises(inctrl.BankError):
        inctrl.Bank.from_bytes(bank.to_bytes()[:-9])
    with pytest.raises(inctrl.BankError):
        inctrl.Bank.from_bytes(b"")
    with pytest.raises(inctrl.MissingFileError):
        inctrl.Bank.open(tmp_path / "none.bank")


def test_engines_and_scorers_are_not_pickled(engine, scorer):
    for thing in (engine, scorer):
        for refuse in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=r"inctrl\.Engine\(weights\)"):
                refuse(thing)


def test_classes_are_not_made_by_hand():
    for made in (inctrl.Scorer, inctrl.Bank):
        with pytest.raises(TypeError):
            made()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def in_child(work):
    """What `work` returns in a child by fork, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    return said


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_after_open_is_a_clear_exception(engine, scorer, bank, bad, good):
    calls = (
        lambda: scorer.score(bad),
        lambda: scorer.score_batch([bad]),
        lambda: scorer.bank,
        lambda: engine.build_bank(good[:2]),
        lambda: engine.scorer(bank),
        lambda: engine.device,
    )
    for call in calls:
        said = in_child(call)
        assert said.startswith("DeviceError") and "fork" in said and "spawn" in said, said
    assert in_child(lambda: bank.id) == bank.id, "a bank is data"


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_opens_its_own_and_frees_the_parents(weights, bank, bad):
    engine = inctrl.Engine(weights, device="cpu", threads=2)
    scorer = engine.scorer(bank)
    expected = scorer.score(bad)
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            scorer.score(bad)

    thread = threading.Thread(target=busy)
    thread.start()
    held = [engine, scorer]

    def work():
        nonlocal engine, scorer
        held.clear()
        del engine, scorer
        own = inctrl.Engine(weights, device="cpu", threads=2)
        return own.scorer(bank).score(bad).pred_score

    try:
        for _ in range(5):
            held[:] = [engine, scorer]
            assert in_child(work) == str(expected.pred_score)
    finally:
        stop.set()
        thread.join()


def score_elsewhere(weights, bank, image):
    return inctrl.Engine(weights, device="cpu", threads=1).scorer(bank).score(image)


def test_spawned_workers_give_the_same_bits(weights, bank, bad, scorer):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert same(pool.apply(score_elsewhere, (weights, bank, bad)), scorer.score(bad))


def test_references_are_given_back(scorer, bad):
    image = bad.copy()
    before = sys.getrefcount(image)
    for _ in range(10):
        scorer.score(image)
        scorer.score_batch([image, image])
        with pytest.raises(inctrl.ArgumentError):
            scorer.score(image, format="grey8")
    assert sys.getrefcount(image) == before
