#!/usr/bin/env python3
"""How good the demo weights are, on products and kinds of defects that they have never seen.

    python weights/demo/measure.py --clip demo-clip.safetensors --heads-set parts-heads --held-out parts-held-out
        [--elpv DIR] [--demo weights/demo.safetensors] --json weights/demo/measured.json

The folders are `inctrl synth`'s (the commands are in weights/README.md). For each of five seeds heads are trained on
`--heads-set` and prompts are drawn anew from `--held-out`; AUROC is the mean over its classes. Beside the final score stand the
patch maximum of the same run and that of random weights. On ELPV, real images, minus the mean pixel value stands beside them.
Needs numpy and pillow.
"""

import argparse
import csv
import json
import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
SHOTS = [1, 2, 4, 8]
SEEDS = range(5)
TEXTS = "class_texts.json"
# Student's t for a 95 % interval of a mean of five.
T95 = 2.776


def auroc(scores, anomalous):
    """The share of pairs that are in order; half for a tie."""
    scores, anomalous = np.asarray(scores, float), np.asarray(anomalous, bool)
    gaps = scores[anomalous][:, None] - scores[~anomalous][None]
    return float((gaps > 0).mean() + 0.5 * (gaps == 0).mean())


def run(*command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\nended with {done.returncode}: {done.stderr[-2000:]}")


def evaluate(inctrl, model, dataset, seed, texts=None):
    """{shots: {"score": mean AUROC over classes, "patch_max": ..}} of one draw of the prompts."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [inctrl, "eval", *model, "--dataset", dataset, "--shots", ",".join(map(str, SHOTS)), "--runs", 1]
        command += ["--seed", seed, "--mask-side", 32, "--device", "cpu", "-o", out]
        command += ["--class-texts", texts] if texts else []
        run(*command)
        rows = list(csv.DictReader((out / "scores.csv").open()))
    found = {}
    for shots in SHOTS:
        classes = {}
        for row in rows:
            if int(row["shots"]) == shots:
                classes.setdefault(row["class"], []).append(row)
        found[shots] = {
            part: float(np.mean([auroc([float(r[part]) for r in c], [r["label"] == "anomalous" for r in c]) for c in classes.values()]))
            for part in ("score", "patch_max")
        }
    return found


def spread(values):
    """Mean and 95 % interval of the mean."""
    values = np.asarray(values, float)
    half = T95 * values.std(ddof=1) / math.sqrt(len(values))
    return {"mean": round(float(values.mean()), 4), "interval": [round(float(values.mean() + s * half), 4) for s in (-1, 1)]}


def summary(trained, untrained):
    """`trained` and `untrained` are results of `evaluate`, one a seed."""
    table = {}
    for shots in SHOTS:
        of = lambda runs, part: [found[shots][part] for found in runs]
        margin = [a - b for a, b in zip(of(trained, "score"), of(trained, "patch_max"))]
        table[f"{shots} shots"] = {
            "score": spread(of(trained, "score")),
            "patch_max": spread(of(trained, "patch_max")),
            "score_minus_patch_max": spread(margin),
            "random_patch_max": spread(of(untrained, "patch_max")),
        }
    margins = [np.mean([found[s]["score"] - found[s]["patch_max"] for s in SHOTS]) for found in trained]
    table["score_minus_patch_max_of_all_shots"] = spread(margins)
    table["8_shots_minus_1"] = spread([found[8]["score"] - found[1]["score"] for found in trained])
    return table


def brightness(dataset):
    """AUROC of minus the mean pixel value over the test images of a folder with test/good."""
    files = sorted(path for path in (dataset / "test").rglob("*") if path.is_file())
    return auroc([-np.asarray(Image.open(f).convert("L")).mean() for f in files], [f.parent.name != "good" for f in files])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inctrl", default=ROOT / "target/release/inctrl", type=Path)
    parser.add_argument("--clip", required=True, type=Path, help="the CLIP that train.py wrote")
    parser.add_argument("--heads-set", required=True, type=Path)
    parser.add_argument("--held-out", required=True, type=Path)
    parser.add_argument("--elpv", type=Path, help="a folder with train/good and test/<kind>, real images")
    parser.add_argument("--train-arguments", default="", help="further arguments of `inctrl train`")
    parser.add_argument("--demo", type=Path, help="where to write the merged weights of the first seed")
    parser.add_argument("--json", required=True, type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        results = {"held_out": ([], []), "elpv": ([], [])}
        config = folder / "config.json"
        config.write_text(json.dumps(network_config()))
        for seed in SEEDS:
            heads, random = folder / f"heads{seed}.safetensors", folder / f"random{seed}.safetensors"
            command = [args.inctrl, "train", "--weights", args.clip, "--dataset", args.heads_set, "--class-texts", args.heads_set / TEXTS]
            command += ["--seed", seed, "--cache", folder / "cache", "-o", heads, *args.train_arguments.split()]
            merged = args.demo if args.demo and seed == 0 else folder / f"merged{seed}.safetensors"
            run(*command, "--merged", merged)
            run(args.inctrl, "weights", "random", "--config", config, "--seed", seed, "-o", random)
            for name, dataset, words in (("held_out", args.held_out, args.held_out / TEXTS), ("elpv", args.elpv, None)):
                if dataset:
                    results[name][0].append(evaluate(args.inctrl, ["--weights", merged], dataset, seed, words))
                    results[name][1].append(evaluate(args.inctrl, ["--weights", random], dataset, seed, words))
                    print(name, seed, json.dumps(results[name][0][-1]), flush=True)
    found = {"what": "mean AUROC over classes, mean and 95 % interval over five seeds (heads, prompts, random weights)"}
    found["held_out"] = summary(*results["held_out"])
    if args.elpv:
        found["elpv"] = {**summary(*results["elpv"]), "minus_mean_pixel": round(brightness(args.elpv), 4)}
    args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def network_config():
    """The architecture, without PyTorch's being there."""
    text = (Path(__file__).parent / "demo.json").read_text()
    return json.loads(text)


if __name__ == "__main__":
    main()
