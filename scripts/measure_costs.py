#!/usr/bin/env python3
"""Measures what a bank adds to the encoder's time, and how long a cold start takes compared with its necessary work.

    cargo build --release
    python scripts/measure_costs.py [--rounds 10] [--seconds 20] [--json benches/results/costs_cpu.json]

Needs numpy and pillow. The bank: `inctrl bench` scores step by step, back to back, and takes (nearest neighbour + heads) /
encode of each frame; given is the median over frames. The start: `inctrl score` of one picture as a process, from its start
to its row, beside one encode and one read of the weights file, in turns; once with the file in the page cache and once
without (asked of the system with `posix_fadvise`, no root needed). How much of the file was in the cache before each start
is counted with `mincore` and written down.
"""

import argparse
import ctypes
import json
import mmap
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from measuring import machine
from PIL import Image

PAGE = mmap.PAGESIZE


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inctrl", default=str(machine.PROGRAM))
    parser.add_argument("--arch", default="vit-b-16-plus-240", help="a name, or a configuration in a .json file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10, help="starts with a warm file, and as many with a cold file")
    parser.add_argument("--seconds", type=int, default=20, help="seconds for measuring the steps of a score")
    parser.add_argument("--json", help="write the figures here")
    return parser.parse_args()


def read(path):
    """Seconds to read a file once, into memory that is used again."""
    buffer = bytearray(1 << 20)
    start = perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return perf_counter() - start


def cached(path):
    """The share of a file that is in the page cache."""
    c = ctypes.CDLL(None, use_errno=True)
    c.mmap.restype = ctypes.c_void_p
    size = os.path.getsize(path)
    pages = (ctypes.c_ubyte * -(-size // PAGE))()
    with open(path, "rb") as file:
        address = c.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), ctypes.c_long(0))
    assert address != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
    status = c.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages)
    c.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    assert status == 0, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in pages) / len(pages)


def drop(path):
    """Asks the system to forget a file's pages."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def start_once(command):
    """Seconds from the start of the process to its row."""
    start = perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        row = json.loads(process.stdout.readline())
        seconds = perf_counter() - start
    assert process.returncode == 0 and row["error"] is None, row
    return seconds


def starts(args, weights, command, warm):
    """Medians over rounds: start, read of the file; and the share of the file in the page cache before the start that is farthest
    from what was wanted."""
    found = []
    for _ in range(args.rounds):
        if warm:
            read(weights)
        else:
            drop(weights)
        reading = read(weights)
        if not warm:
            drop(weights)
        share = cached(weights)
        found.append((start_once(command), reading, share))
    starting, readings, shares = zip(*found)
    start, reading, share = median(starting), median(readings), min(shares) if warm else max(shares)
    return {"start_s": start, "read_s": reading, "file_in_page_cache": round(share, 3)}


def main():
    args = arguments()
    threads = ["--device", "cpu", "--threads", str(args.threads)]
    with machine.random_model(args.inctrl, args.arch) as folder:
        weights, bank, report = folder / "weights.safetensors", folder / "prompts.bank", folder / "bench.json"
        Image.fromarray(machine.picture(0)).save(folder / "q.png")
        for k in range(args.prompts):
            Image.fromarray(machine.picture(1000 + k)).save(folder / f"n{k}.png")
        normals = [word for k in range(args.prompts) for word in ("--normals", folder / f"n{k}.png")]
        model = ["--weights", weights, *threads]
        machine.run(args.inctrl, "bank", "build", *model, "--class", "texture", *normals, "-o", bank)
        once = ["--gaps", "0", "--batches", "1", "--seconds", str(args.seconds), "--no-operations"]
        machine.run(
            args.inctrl, "bench", *model, *once, "--prompts", str(args.prompts), "--image", folder / "q.png", "--json", report
        )
        steps = json.loads(report.read_text())["latency"][0]
        encode = steps["steps"]["encode"]["p50"]
        command = [args.inctrl, "score", *model, "--bank", bank, "--format", "jsonl", folder / "q.png"]
        start_once(command)
        cold = {}
        for name, warm in (("file_in_cache", True), ("file_not_in_cache", False)):
            cold[name] = starts(args, weights, command, warm)
            needed = encode + cold[name]["read_s"]
            cold[name]["start_over_encode_and_read"] = round(cold[name]["start_s"] / needed, 3)
            cold[name]["start_less_read_over_encode"] = round((cold[name]["start_s"] - cold[name]["read_s"]) / encode, 3)
        size = os.path.getsize(weights)
    figures = {
        "what": f"what a bank of {args.prompts} adds to the encoder; a process's start to its first score beside one encode and "
        "one read of the weights file",
        "command": f"python scripts/measure_costs.py --arch {args.arch} --threads {args.threads} --prompts {args.prompts} "
        f"--rounds {args.rounds} --seconds {args.seconds}",
        "machine": machine.machine(),
        "threads": args.threads,
        "arch": Path(args.arch).stem,
        "weights_bytes": size,
        "bank": {
            "prompts": args.prompts,
            "frames": steps["steps"]["encode"]["count"],
            "added_to_encode": round(steps["bank_over_encode"], 4),
            "median_ms": {name: times and round(times["p50"] * 1e3, 3) for name, times in steps["steps"].items()},
        },
        "start": {name: {k: round(v, 4) for k, v in found.items()} for name, found in cold.items()},
    }
    text = json.dumps(figures, indent=2)
    print(text)
    if args.json:
        Path(args.json).write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
