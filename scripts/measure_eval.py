#!/usr/bin/env python3
"""Measures how much longer `inctrl eval` takes than encoding each of its images once.

    cargo build --release
    python scripts/measure_eval.py --weights W.safetensors --dataset DIR [--classes NAME] [--rounds N] [--json OUT]

The baseline is `inctrl score` with one prompt over the same images: every test image and every drawn prompt, so that both
encode the same number of images, open the same model and encode the same texts. Processor time is reported beside the time
on the clock, as it hardly depends on what else the machine does.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def timed(command):
    before, start = os.times(), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall_seconds": time.monotonic() - start, "cpu_seconds": cpu}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inctrl", default=ROOT / "target/release/inctrl", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--dataset", required=True, type=Path)
    parser.add_argument("--classes", default=None, help="one class")
    parser.add_argument("--shots", default="2,4,8")
    parser.add_argument("--runs", default="3")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of evaluation and baseline in turn")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = ["--weights", args.weights]
    command = [args.inctrl, "eval", *model, "--dataset", args.dataset, "--shots", args.shots, "--runs", args.runs]
    command += ["--classes", args.classes] if args.classes else []
    rounds = []
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as out:
            evaluated = timed([*command, "-o", out])
            draws = json.loads((Path(out) / "prompts.json").read_text())["draws"]
            lines = (Path(out) / "journal.jsonl").read_text().splitlines()[1:]
        if len({draw["class"] for draw in draws}) != 1:
            raise SystemExit("one class only: choose it with --classes")
        prompts = sorted({prompt["name"] for draw in draws for prompt in draw["prompts"]})
        tests = [json.loads(line)["name"] for line in lines]
        # One prompt is encoded as the bank of the baseline.
        images = [args.dataset / name for name in prompts[1:] + tests]
        first = ["--class", draws[0]["class"], "--normals", args.dataset / prompts[0]]
        rounds.append({"eval": evaluated, "encode_once": timed([args.inctrl, "score", *model, *first, *images])})

    def ratio(clock):
        return statistics.median(each["eval"][clock] / each["encode_once"][clock] for each in rounds)

    result = {
        "images_encoded": len(prompts) + len(tests),
        "test_images": len(tests),
        "banks": len(args.shots.split(",")) * int(args.runs),
        "cores": os.cpu_count(),
        "rounds": rounds,
        "median_cpu_ratio": ratio("cpu_seconds"),
        "median_wall_ratio": ratio("wall_seconds"),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
