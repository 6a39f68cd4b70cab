"""Accuracy of bf16 and int8 on the CPU: scores and maps against f32, through `inctrl verify`.

    python3 scripts/measuring/precisions.py --models 40 --elpv DIR -o benches/results/precisions.json

Seeded models with planted outliers on drawn pictures; the demo model on drawn products of other families than it was trained
on and, with --elpv, on real solar cells (a folder with train/good, test/good and other folders in test). Each bank is built in
f32 from eight good pictures. Prints the table of docs/precision.md.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from machine import PROGRAM, RESULTS, ROOT, arch_words, machine

ARCHS = ["vit-b-16-plus-240", "dinov2-vit-s-14", "dinov2-vit-s-14-reg4"]
# The bounds: difference of scores, rank correlation of all cells and of each map, difference of AUROC.
BOUNDS = {"bf16": (2e-3, 0.999, 0.995, 3e-3), "int8": (5e-3, 0.999, 0.995, 3e-3)}


def inctrl(program, *words):
    return subprocess.run([program, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout


def pictures(folder):
    """The good pictures for a bank, and those to score: good ones, and defective ones."""
    defects = [path for path in sorted((folder / "test").iterdir()) if path.is_dir() and path.name != "good"]
    return sorted((folder / "train/good").iterdir()), folder / "test/good", defects


def verify(program, weights, method, folder, bank, threads):
    """What `inctrl verify` says of one product."""
    normals, good, defects = pictures(folder)
    model = ["--weights", weights, "--device", "cpu", "--threads", threads]
    inctrl(program, "bank", "build", *model, *method, "--normals", *normals[:8], "-o", bank)
    words = [*model, "--bank", bank, "--images", good, "--defects", *defects, "--format", "json"]
    return json.loads(inctrl(program, "verify", *words))


def row(name, product, compared):
    """The figures of one comparison that the table is made of."""
    before, after = compared["auroc"] or (None, None)
    return {
        "set": name,
        "product": product,
        "precision": compared["precision"],
        "images": compared["images"],
        "score": compared["score_most"],
        "cells": compared["cells_ranked"],
        "map": compared["worst_map"][0],
        "auroc": None if before is None else after - before,
    }


def sets(args, folder):
    """Name, weights (or an architecture and a seed) and folders of products, one at a time."""
    drawn = folder / "drawn"
    few = ["--products", 1, "--normals", 8, "--test-normals", 4, "--defective", 1]
    inctrl(args.program, "synth", "--split", "held-out", "--families", "hex_nut", *few, "-o", drawn)
    products = sorted(path for path in drawn.iterdir() if path.is_dir())
    weights = folder / "weights.safetensors"
    for arch in args.archs:
        for seed in range(1, args.models + 1):
            outliers = ["--outliers"] if args.outliers else []
            words = [*arch_words(arch), "--seed", seed, "--dtype", "f16", *outliers, "-o", weights]
            inctrl(args.program, "weights", "random", *words)
            yield f"{arch}, seeded, {'with' if args.outliers else 'without'} outliers", weights, products
    if args.demo:
        held_out = folder / "held-out"
        inctrl(args.program, "synth", "--split", "held-out", "--products", 1, "-o", held_out)
        products = sorted(path for path in held_out.iterdir() if path.is_dir())
        yield "demo model, drawn products", ROOT / "weights/demo.safetensors", products
        if args.elpv:
            yield "demo model, ELPV", ROOT / "weights/demo.safetensors", [args.elpv]


def table(rows):
    print("| model | pictures | precision | scores differ by | rank correlation of all cells | of the worst map | AUROC differs by |")
    print("|---|---|---|---|---|---|---|")
    kinds = dict.fromkeys((row["set"], row["precision"]) for row in rows)
    for name, precision in kinds:
        own = [row for row in rows if (row["set"], row["precision"]) == (name, precision)]
        score, cells = max(row["score"] for row in own), min(row["cells"] for row in own)
        worst = min(row["map"] for row in own)
        aurocs = [abs(row["auroc"]) for row in own if row["auroc"] is not None]
        images = sum(row["images"] for row in own)
        print(f"| {name} | {images} | {precision} | {score:.5f} | {cells:.5f} | {worst:.5f} | {max(aurocs, default=0):.5f} |")


def outside(rows):
    """The comparisons that are beyond a bound."""
    for row in rows:
        score, cells, worst, auroc = BOUNDS[row["precision"]]
        within = row["score"] <= score and row["cells"] > cells and row["map"] > worst
        if not (within and abs(row["auroc"] or 0) < auroc):
            yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("--archs", nargs="*", default=ARCHS)
    parser.add_argument("--models", type=int, default=8, help="seeds of each architecture")
    parser.add_argument("--no-outliers", dest="outliers", action="store_false")
    parser.add_argument("--no-demo", dest="demo", action="store_false")
    parser.add_argument("--elpv", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "precisions.json")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, weights, products in sets(args, folder):
            for product in products:
                # A model of DINOv2's has no heads and no texts.
                method = ["--method", "anomaly-dino"] if name.startswith("dinov2") else ["--class", product.name]
                told = verify(args.program, weights, method, product, folder / "bank", args.threads)
                rows += [row(name, product.name, compared) for compared in told["compared"]]
            print(f"{name}: {len(rows)}", flush=True)
    args.output.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    table(rows)
    beyond = list(outside(rows))
    print(f"{len(beyond)} of {len(rows)} comparisons are beyond a bound")
    for far in beyond:
        print(json.dumps(far))


if __name__ == "__main__":
    main()
