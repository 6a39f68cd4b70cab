"""What other libraries hand over, and what nobody should."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading

import inctrl
import numpy
import pytest
from conftest import same


def test_subclasses_of_arrays_are_their_pixels(scorer, bad, tmp_path):
    expected, grey = scorer.score(bad), scorer.score(bad[..., 0])
    numpy.save(tmp_path / "bad.npy", bad)
    assert same(scorer.score(numpy.load(tmp_path / "bad.npy", mmap_mode="r")), expected)
    assert same(scorer.score(numpy.ma.masked_array(bad)), expected), "of which nothing is masked"
    assert same(scorer.score(bad[..., 0].view(numpy.matrix)), grey)

    class Liar(numpy.ndarray):
        @property
        def __array_interface__(self):
            return {"shape": (5000, 5000, 3), "typestr": "|u1", "data": (4096, True), "version": 3}

    assert same(scorer.score(bad.view(Liar)), expected)


def test_strides_that_no_camera_has(scorer, bad):
    grey = numpy.ascontiguousarray(bad[..., 1])
    expected = scorer.score(grey)
    wide = grey.astype("<u2") * 257
    ways = {
        "big-endian, backwards": (wide.astype(">u2")[::-1, ::-1])[::-1, ::-1],
        "at an odd address": numpy.frombuffer(b"\0" + wide.tobytes(), "<u2", offset=1).reshape(grey.shape),
        "one value for three channels": numpy.broadcast_to(grey[..., None], (*grey.shape, 3)),
    }
    for name, way in ways.items():
        same_map = scorer.score(way)
        assert numpy.array_equal(same_map.anomaly_map, expected.anomaly_map), name
    rows = numpy.broadcast_to(bad[:1], bad.shape)
    assert same(scorer.score(rows), scorer.score(numpy.ascontiguousarray(rows))), "one row for all"


def test_interfaces_that_lie(scorer, bad):
    class Interface:
        def __init__(self, **changed):
            self.__array_interface__ = {**bad.__array_interface__, **changed}

    expected = scorer.score(bad)
    assert same(scorer.score(Interface(data=bad.tobytes())), expected)
    assert same(scorer.score(Interface(data=b"\0" * 7 + bad.tobytes(), offset=7)), expected)
    height, row = len(bad), bad[0].nbytes
    backwards = {"data": bad[::-1].tobytes(), "strides": (-row, 3, 1)}
    assert same(scorer.score(Interface(**backwards, offset=(height - 1) * row)), expected)
    for changed in (
        {"data": b"abc"},
        {"data": bad.tobytes()[:-1]},
        {"data": bad.tobytes(), "offset": 1},
        {"data": None},
        {"shape": (-1, 5)},
        {"strides": (1,)},
        {"typestr": "|u1x"},
    ):
        with pytest.raises((TypeError, ValueError)):
            scorer.score(Interface(**changed))
    # A buffer, and strides that leave it: by a little, by far, before its start, and by so much that 64 bits wrap around.
    small = {"shape": (64, 64), "data": bytearray(8), "strides": (64, 1)}
    for changed in (
        small,
        {**small, "strides": (1 << 20, 1)},
        {**small, "strides": (64, 1), "data": bytearray(64 * 64), "offset": 1},
        {**small, "strides": (-64, 1), "data": bytearray(64 * 64)},
        {**small, "shape": (65, 64), "strides": (1 << 58, 1), "data": bytearray(64)},
        {**small, "strides": (1 << 70, 1)},
        {**small, "strides": (64,)},
        {**small, "strides": 64},
        {**small, "typestr": "|O", "data": bytearray(1 << 16), "strides": (512, 8)},
        {"data": bad.tobytes(), "offset": -1},
        backwards,
    ):
        with pytest.raises(inctrl.ArgumentError, match="__array_interface__ of Interface"):
            scorer.score(Interface(**changed))


def test_a_buffer_keeps_its_size_while_it_is_read(bad):
    class Interface:
        __array_interface__ = {"shape": bad.shape, "typestr": "|u1", "data": bytearray(bad), "version": 3}

    array, buffer = inctrl._pictures.as_array(Interface()), Interface.__array_interface__["data"]
    with pytest.raises(BufferError):
        buffer.clear()
    assert numpy.array_equal(array, bad)


def test_dlpack_that_cannot_be_had(scorer, bad):
    class Elsewhere:
        def __init__(self, error):
            self.error = error

        def __dlpack__(self, **keywords):
            raise self.error

        def __dlpack_device__(self):
            return (1, 0)

    for error in (BufferError("on a device"), RuntimeError("requires grad")):
        with pytest.raises(inctrl.ArgumentError, match=f"Elsewhere.*{error}"):
            scorer.score(Elsewhere(error))
    with pytest.raises(KeyboardInterrupt):
        scorer.score(Elsewhere(KeyboardInterrupt()))


def test_memory_of_a_gpu_that_is_not_there(scorer, engine, good, bad):
    class Cuda:
        def __init__(self, **changed):
            own = {"shape": bad.shape, "typestr": "|u1", "data": (4096, False), "version": 3, "strides": None}
            self.__cuda_array_interface__ = {**own, **changed}

    for changed, text in (
        ({}, "the engine runs on the processor"),
        ({"mask": Cuda}, "mask"),
        ({"typestr": "<f4"}, "float32"),
        ({"strides": (-288, 3, 1)}, "first row first"),
        ({"data": (0, False)}, "without memory"),
        ({"data": 5}, "address"),
        ({"data": (-1, False)}, "address"),
        ({"shape": (2**62, 2**62, 3)}, "65535"),
    ):
        with pytest.raises(inctrl.ArgumentError, match=text):
            scorer.score(Cuda(**changed))
    with pytest.raises(inctrl.ArgumentError, match="image 1 of the list.*bring it there"):
        engine.build_bank([good[0], Cuda()], class_name="label")


def test_pictures_of_pil_of_every_mode(scorer, bad):
    image = pytest.importorskip("PIL.Image")
    whole = image.fromarray(bad)
    grey = whole.convert("L")
    expected, expected_grey = scorer.score(bad), scorer.score(numpy.asarray(grey))
    assert same(scorer.score(whole.convert("RGBA").convert("RGBa")), expected)
    assert same(scorer.score(whole.convert("RGBX")), expected)
    assert same(scorer.score(whole.convert("CMYK")), expected), "PIL's conversion of black-free colours is exact"
    assert same(scorer.score(grey.convert("LA").convert("La")), expected_grey)
    sixteen = numpy.asarray(grey).astype(numpy.uint16) * 257
    assert same(scorer.score(image.fromarray(sixteen)), expected_grey)
    # As some versions of PIL read 16-bit files.
    assert same(scorer.score(image.fromarray(sixteen.astype(numpy.int32))), expected_grey)
    with pytest.raises(inctrl.ArgumentError, match="mode I with values from -1 to 70000"):
        scorer.score(image.fromarray(numpy.array([[-1, 70000]], numpy.int32)))
    with pytest.raises(inctrl.ArgumentError, match="float32"):
        scorer.score(grey.convert("F"))
    with pytest.raises(ValueError):
        closed = image.new("RGB", (9, 9))
        closed.close()
        scorer.score(closed)


def test_orientation_is_that_of_the_pixels(scorer, good, bad, tmp_path):
    """EXIF turns nothing, by path or by PIL: who wants it turned does it."""
    image, ops = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageOps")
    wide = image.fromarray(numpy.concatenate([bad, good[0]], axis=1))
    exif = image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    wide.save(path, exif=exif)
    score = scorer.score(path)
    assert score.size == wide.size and same(scorer.score(image.open(path)), score)
    turned = scorer.score(ops.exif_transpose(image.open(path)))
    assert turned.size == wide.size[::-1]


def test_one_picture_is_no_list(engine, scorer, bad, good, tmp_path):
    one = [bad, bad[..., 0], bad[..., :1], b"\x89PNG", "a.png", pathlib.Path("a.png"), bad[..., 0].view(numpy.matrix)]
    if (image := sys.modules.get("PIL.Image")) is not None:
        one.append(image.fromarray(bad))
    for picture in one:
        with pytest.raises(inctrl.ArgumentError, match="takes a list"):
            scorer.score_batch(picture)
    # A bank may be of one picture: it is that one, and not its rows.
    alone = engine.build_bank([good[0]], class_name="label")
    assert engine.build_bank(good[0], class_name="label") == alone and len(alone) == 1
    # Several in one array are several, and so are those of a column of a table.
    assert all(map(same, scorer.score_batch(numpy.stack([bad, good[0]])), [scorer.score(bad), scorer.score(good[0])]))
    column = numpy.empty(2, dtype=object)
    column[:] = [bad, good[0][:40]]
    assert [score.size for score in scorer.score_batch(column)] == [(96, 96), (96, 40)]
    assert engine.build_bank(numpy.stack(good[:4]), class_name="label") == engine.build_bank(good[:4], class_name="label")


def test_a_generator_is_read_as_it_is_scored(engine, bank, bad):
    taken = []

    def pictures():
        for i in range(7):
            taken.append(i)
            yield bad if i < 6 else None

    scorer = engine.scorer(bank, capacity=2)
    with pytest.raises(TypeError, match="image 6 of the list: NoneType"):
        scorer.score_batch(pictures())
    assert taken == list(range(7))

    def breaks():
        yield bad
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        scorer.score_batch(breaks())
    assert scorer.score_batch([]) == scorer.score_batch(iter(())) == []


def test_an_ignore_mask_may_be_of_bool(engine, good):
    mask = numpy.zeros(good[0].shape[:2], bool)
    mask[:, :32] = True
    bank = engine.build_bank(good[:2], class_name="label", ignore_mask=mask)
    assert bank == engine.build_bank(good[:2], class_name="label", ignore_mask=255 * mask.astype(numpy.uint8))
    assert bank != engine.build_bank(good[:2], class_name="label")


@pytest.mark.parametrize("number", [-1, 2**64, -(2**70)])
def test_numbers_out_of_range_are_named(number, weights, engine, bank, scorer, bad, family, tmp_path):
    score = scorer.score(bad)
    for name, call in (
        ("threads", lambda: inctrl.Engine(weights, threads=number)),
        ("capacity", lambda: engine.scorer(bank, capacity=number)),
        ("white_level", lambda: scorer.score(bad, white_level=number)),
        ("white_level", lambda: engine.build_bank([bad], class_name="label", white_level=number)),
        ("width", lambda: scorer.warm_up(number, 9)),
        ("count", lambda: scorer.warm_up(9, 9, count=number)),
        ("a place", lambda: bank.subset([0, number])),
        ("height", lambda: score.map_in_pixels(9, number)),
        ("side", lambda: inctrl.synth_sample(family, side=number)),
        ("seed", lambda: inctrl.synth_sample(family, seed=number)),
        ("products", lambda: inctrl.synth_dataset(tmp_path, products=number)),
        ("runs", lambda: inctrl.evaluate(engine, tmp_path, tmp_path / "out", runs=number)),
    ):
        with pytest.raises(inctrl.ArgumentError, match=f"{name} is {number}: it must be a whole number from 0 to"):
            call()
    # Exceptions have notes, which name the keyword, from Python 3.11 on.
    said = "capacity" if sys.version_info >= (3, 11) else "integer"
    for wrong in (1.5, "3"):
        with pytest.raises(TypeError, match=said):
            engine.scorer(bank, capacity=wrong)


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names of files are not bytes here")
def test_names_of_files_that_are_no_text(scorer, engine, bad, tmp_path):
    image = pytest.importorskip("PIL.Image")
    name = os.fsencode(tmp_path) + b"/\xff\xfe \xc3\xa4.png"
    with open(name, "wb") as file:
        image.fromarray(bad).save(file, "png")
    expected = scorer.score(bad)

    class AsBytes:
        def __fspath__(self):
            return name

    for path in (os.fsdecode(name), pathlib.Path(os.fsdecode(name)), AsBytes()):
        assert same(scorer.score(path), expected)
    assert len(engine.build_bank(tmp_path, class_name="label")) == 1
    with os.scandir(os.fsencode(tmp_path)) as entries:
        assert same(scorer.score(next(entries)), expected)
    os.remove(name)
    for call in (lambda: scorer.score(AsBytes()), lambda: scorer.score_batch([bad, AsBytes()])):
        with pytest.raises(inctrl.MissingFileError) as error:
            call()
        assert os.fsencode(error.value.path) == name


def test_errors_go_to_other_processes(scorer):
    with pytest.raises(inctrl.MissingFileError) as error:
        scorer.score("gone.png")
    again = pickle.loads(pickle.dumps(error.value))
    assert type(again) is inctrl.MissingFileError and str(again) == str(error.value) and again.path == "gone.png"


class Stop(Exception):
    """What the handler of a signal raises."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
@pytest.mark.parametrize("work", ["build", "append", "calibrate", "leave-one-out", "batch", "evaluate"])
def test_a_signal_ends_long_work(work, engine, bank, good, tmp_path):
    """Each work has a fault at its end, which it does not come to."""
    parts = [numpy.roll(part, i, axis=0) for i in range(20) for part in good]
    dark = good[0][..., 0].astype(numpy.uint16)
    mask = numpy.zeros(good[0].shape[:2], bool)
    mask[:40] = True
    data, out = tmp_path / "data", tmp_path / "out"
    prepared = bank
    if work == "calibrate":
        prepared = engine.build_bank(good[:2], class_name="label", ignore_mask=mask)
    elif work == "leave-one-out":
        prepared = engine.build_bank(parts[:100], class_name="label")
    elif work == "evaluate":
        inctrl.synth_dataset(data, families=["gear"], products=1, normals=8, test_normals=60, defective=20, side=64)
    calls = {
        "build": lambda: engine.build_bank([*parts, dark], class_name="label"),
        "append": lambda: engine.append(bank, [*parts, dark]),
        "calibrate": lambda: engine.calibrate(prepared, [*parts, parts[0][:50]]),
        "leave-one-out": lambda: engine.leave_one_out(prepared, [*parts[:100], parts[150]]),
        "batch": lambda: engine.scorer(bank).score_batch([*parts, None]),
        "evaluate": lambda: inctrl.evaluate(engine, data, out, shots=[2], runs=1, layout="mvtec"),
    }
    handled = []

    def stop(*_):
        handled.append(1)
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        calls[work]()
        ended = "done"
    except Stop:
        ended = "stopped"
    except (inctrl.Error, TypeError) as error:
        ended = str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ended == "stopped" and handled == [1]
    assert not (out / "results.json").exists()


DAEMON = """
import inctrl, numpy, pathlib, sys, threading
path = pathlib.Path(sys.argv[1])
engine = inctrl.Engine(path, device="cpu", threads=2)
picture = numpy.zeros((32, 32, 3), numpy.uint8)
bank = engine.build_bank([picture], class_name="label")
started = threading.Barrier(4)
def work(scorer):
    started.wait()
    while True:
        scorer.score(picture)
        scorer.score_batch([picture, picture])
for _ in range(3):
    threading.Thread(target=work, args=(engine.scorer(bank),), daemon=True).start()
started.wait()
"""


def test_the_interpreter_ends_while_threads_score(tiny):
    for _ in range(5):
        ended = subprocess.run([sys.executable, "-c", DAEMON, str(tiny)], capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stderr) == (0, "")


def test_one_scorer_is_used_and_exchanged_by_many_threads(engine, bank, good, bad):
    """Whichever bank a thread finds, the score is of that bank, whole."""
    other = engine.build_bank(good[5:7], class_name="label")
    scorer = engine.scorer(bank)
    expected = {each.id: engine.scorer(each).score(bad) for each in (bank, other)}
    stop = threading.Event()

    def exchange():
        while not stop.is_set():
            for each in (other, bank):
                scorer.set_bank(each)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            scores = list(pool.map(scorer.score, [bad] * 40))
    finally:
        stop.set()
        thread.join()
    assert all(same(score, expected[score.bank]) for score in scores)
