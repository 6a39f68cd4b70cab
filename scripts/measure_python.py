"""What Python costs over C: time of a call, how two threads scale, installed size. Needs the wheel (`scripts/wheel.sh`) in the
interpreter that runs this, and `cargo build --release` for the C library.

    python scripts/measure_python.py [--rounds 30] [--model small|demo]
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from ctypes import byref, c_uint64, sizeof
from pathlib import Path

import inctrl
import numpy as np
from measuring.c_interface import FILE, Library, Result, frames_of
from measuring.machine import ROOT, machine

SMALL = """{"embed_dim": 32, "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
 "text_cfg": {"width": 32, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2]}}"""


def model(kind, folder):
    path = folder / "model.safetensors"
    if kind == "demo":
        path.write_bytes(inctrl.demo_weights())
        return path, 240
    config = folder / "small.json"
    config.write_text(SMALL)
    assert inctrl.run_cli(["inctrl", "weights", "random", "--config", str(config), "-o", str(path)]) == 0
    return path, 32


def c_caller(library, engine, bank, picture):
    """A function that scores `picture` so many times through the C interface, with nothing of Python in between but the call."""
    scorer = library.scorer(engine, bank, 1)
    frames, result = frames_of([picture]), Result(sizeof(Result))
    function, arguments = library.c.inctrl_scorer_score, (scorer.pointer, byref(frames[0]), c_uint64(0), byref(result))

    def score(times):
        for _ in range(times):
            assert function(*arguments) == 0
        return result.score

    return score


def python_caller(engine, bank, picture):
    scorer = engine.scorer(bank)

    def score(times):
        for _ in range(times):
            last = scorer.score(picture)
        return last.pred_score

    return score


def seconds(work, times):
    begin = time.perf_counter()
    work(times)
    return (time.perf_counter() - begin) / times


def together(callers, times):
    """Calls a second of all callers, each in a thread of its own."""
    threads = [threading.Thread(target=caller, args=(times,)) for caller in callers]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(callers) * times / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--model", choices=["small", "demo"], default="small")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        weights, side = model(options.model, Path(folder))
        pictures = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(3)]
        library = Library(ROOT / "target/release" / FILE)
        c_engine = library.engine(weights, 1)
        c_bank = library.bank(c_engine, "part", pictures[:2])
        engine = inctrl.Engine(weights, device="cpu", threads=1)
        bank = engine.build_bank(pictures[:2], class_name="part")
        of_c = [c_caller(library, c_engine, c_bank, pictures[2]) for _ in range(2)]
        of_python = [python_caller(engine, bank, pictures[2]) for _ in range(2)]
        assert of_c[0](1) == of_python[0](1), "one score, to the last bit"
        each = seconds(of_c[0], 20)
        times = max(3, int(0.05 / each))
        differences, c_times, scaling = [], [], {"c": [], "python": []}
        for _ in range(options.rounds):
            c, python = seconds(of_c[0], times), seconds(of_python[0], times)
            differences.append(python - c)
            c_times.append(c)
        for _ in range(max(3, options.rounds // 5)):
            for name, callers in (("c", of_c), ("python", of_python)):
                one, two = together(callers[:1], times), together(callers, times)
                scaling[name].append(two / one)
    package = Path(inctrl.__file__).parent
    print(
        json.dumps(
            {
                "machine": machine(),
                "model": options.model,
                "c_us": round(1e6 * statistics.median(c_times), 1),
                "python_over_c_us": round(1e6 * statistics.median(differences), 1),
                "two_threads_over_one": {name: round(statistics.median(found), 2) for name, found in scaling.items()},
                "installed_mb": round(sum(file.stat().st_size for file in package.rglob("*") if file.is_file()) / 1e6, 1),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
