"""Throughput of one and two Ray actors beside the command line, on the same cores and the same pictures.

    python scripts/measure_fleet.py [--pictures 200] [--side 480] [--rounds 3] [--weights W.safetensors]

Needs the wheel (`scripts/wheel.sh`) and "ray[data]" in the interpreter that runs this. Each way scores N and 3 N pictures: the difference
is the throughput without the start, which is reported beside it. The scores of all ways are compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import inctrl
import inctrl.ray
import numpy as np
import ray
from measuring.machine import machine


def pictures(folder, count, side):
    """Different procedural pictures, as files that take no time to decode."""
    families = sorted(inctrl.synth_families())
    drawn = [inctrl.synth_sample(families[0], side=side, index=i)[0] for i in range(8)]
    for i in range(count):
        pixels = np.roll(drawn[i % len(drawn)], i, axis=1)
        (folder / f"{i:05}.ppm").write_bytes(b"P6 %d %d 255\n" % (side, side) + pixels.tobytes())
    return drawn


def by_command_line(weights, bank, folder, threads):
    program = [sys.executable, "-m", "inctrl", "score", "--weights", str(weights), "--bank", str(bank), "--format", "jsonl"]
    program += ["--threads", str(threads), "--device", "cpu", str(folder)]
    ended = subprocess.run(program, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    return {Path(row["path"]).name: row["score"] for row in rows}


def by_ray(weights, bank, folder, actors, cpus):
    """With Ray started and stopped as a program of its own would."""
    ray.init(num_cpus=actors * cpus + 1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.read_binary_files(str(folder), include_paths=True).map_batches(
            inctrl.ray.Scorer,
            fn_constructor_kwargs={"weights": str(weights), "bank": str(bank), "device": "cpu"},
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=cpus,
            batch_size=16,
        )
        return {Path(path).name: np.float32(score) for path, score in zip(*rows.to_pandas()[["path", "score"]].to_numpy().T)}
    finally:
        ray.shutdown()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--side", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", help="a model; the small one for examples without it")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        weights = Path(options.weights or work / "demo.safetensors")
        if not options.weights:
            weights.write_bytes(inctrl.demo_weights())
        folders = {}
        for count in (options.pictures, 3 * options.pictures):
            folders[count] = work / str(count)
            folders[count].mkdir()
            drawn = pictures(folders[count], count, options.side)
        bank = work / "part.bank"
        inctrl.Engine(weights, device="cpu").build_bank(drawn[:4], class_name="part").save(bank)
        ways = {
            f"command line, {cores} threads": lambda folder: by_command_line(weights, bank, folder, cores),
            f"Ray, 1 actor of {cores} CPUs": lambda folder: by_ray(weights, bank, folder, 1, cores),
            "Ray, 2 actors of 1 CPU": lambda folder: by_ray(weights, bank, folder, 2, 1),
            "command line, 1 thread": lambda folder: by_command_line(weights, bank, folder, 1),
            "Ray, 1 actor of 1 CPU": lambda folder: by_ray(weights, bank, folder, 1, 1),
        }
        seconds = {name: {count: [] for count in folders} for name in ways}
        expected = {}
        for _ in range(options.rounds):
            for count, folder in folders.items():
                for name, score in ways.items():
                    begin = time.perf_counter()
                    scores = {path: np.float32(value) for path, value in score(folder).items()}
                    seconds[name][count].append(time.perf_counter() - begin)
                    assert expected.setdefault(count, scores) == scores, f"{name}: the same scores to the last bit"
    few, many = sorted(folders)
    found = {}
    for name, times in seconds.items():
        short, long = (statistics.median(times[count]) for count in (few, many))
        found[name] = {
            "pictures_a_second": round((many - few) / (long - short), 1),
            "start_s": round(short - few * (long - short) / (many - few), 2),
        }
    print(json.dumps({"machine": machine(), "pictures": [few, many], "side": options.side, "ways": found}, indent=1))


if __name__ == "__main__":
    main()
