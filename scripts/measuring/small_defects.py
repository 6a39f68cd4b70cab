"""What tiles are good for: AUROC and AUPRO of small defects, untiled and tiled, with the same weights.

    python3 scripts/measuring/small_defects.py -o benches/results/small_defects.json

Draws products of 1024 x 1024 pixels (`inctrl synth`, of families that the demo model was not trained on) and plants one defect
of a given width on every second of their good test images: a round spot, darker or brighter than the place where it lies.
Nothing else about the images changes. Each width is a data set of its own for `inctrl eval`, whose draws of prompts are the
same. Prints the table of docs/tiles.md. The weights are those of the demo; others are given with their --tile and --overlap.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from machine import PROGRAM, RESULTS, ROOT, machine
from PIL import Image

SIDE = 1024
WIDTHS = [4, 8, 16, 32]
FAMILIES = ["wood_grain", "perforated_sheet", "printed_fabric", "hex_nut", "gear", "solar_cell"]
# Levels by which a spot differs from its surroundings.
CONTRAST = 70
METRICS = ["image_auroc", "pixel_aupro"]
WAYS = ["one view", "tiles"]


def inctrl(program, *words):
    return subprocess.run([program, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout


def planted(picture, width, random):
    """A picture with a spot, and its mask."""
    height, across = picture.shape[:2]
    y, x = (int(random.integers(width, side - width)) for side in (height, across))
    rows, columns = np.mgrid[0:height, 0:across]
    away = np.hypot(rows - y, columns - x) / (width / 2)
    inside = np.clip(1.5 - away, 0, 1)[..., None]
    mean = picture[y - 1 : y + 2, x - 1 : x + 2].mean()
    sign = -1 if mean > 127 else 1
    bad = np.clip(picture + sign * CONTRAST * inside, 0, 255).astype(np.uint8)
    return bad, (away <= 1).astype(np.uint8) * 255


def data_set(drawn, folder, width):
    """The drawn products with spots of one width, in MVTec AD's layout."""
    kind = f"spot_{width:02}"
    for product in sorted(path for path in drawn.iterdir() if path.is_dir()):
        to = folder / product.name
        shutil.copytree(product / "train/good", to / "train/good")
        good = sorted((product / "test/good").iterdir())
        for part in ("test/good", f"test/{kind}", f"ground_truth/{kind}"):
            (to / part).mkdir(parents=True)
        for i, path in enumerate(good):
            if i % 2 == 0:
                shutil.copy(path, to / "test/good" / path.name)
                continue
            picture = np.asarray(Image.open(path).convert("RGB")).astype(np.float32)
            seed = [width, i, *product.name.encode()]
            bad, mask = planted(picture, width, np.random.default_rng(seed))
            Image.fromarray(bad).save(to / f"test/{kind}" / path.name)
            Image.fromarray(mask).save(to / f"ground_truth/{kind}" / f"{path.stem}_mask.png")


def evaluated(args, data, folder, words):
    """The means over products of the metrics of one evaluation."""
    model = ["--weights", args.weights, "--device", args.device, "--threads", args.threads]
    what = ["--dataset", data, "--layout", "mvtec", "--shots", args.shots, "--runs", args.runs]
    inctrl(args.program, "eval", *model, "--method", args.method, *args.options, *words, *what, "--mask-side", 0, "-o", folder)
    (cell,) = json.loads((folder / "results.json").read_text())["overall"]["shots"]
    return {metric: cell["metrics"][metric]["mean"] for metric in METRICS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=ROOT / "weights/demo.safetensors")
    parser.add_argument("--tile", type=int, default=240)
    parser.add_argument("--overlap", type=int, default=32)
    parser.add_argument("--method", default="anomaly-dino")
    parser.add_argument("--options", nargs="*", default=["--rotations", "1"])
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--products", type=int, default=1)
    parser.add_argument("--images", type=int, default=16, help="test images of each product; every second gets a spot")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "small_defects.json")
    args = parser.parse_args()
    tiles = ["--tile", args.tile, "--overlap", args.overlap, "--scale", 1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = folder / "drawn"
        few = ["--products", args.products, "--normals", args.shots + 1, "--test-normals", args.images, "--defective", 1]
        inctrl(args.program, "synth", "-o", drawn, "--split", "held-out", "--families", ",".join(FAMILIES), "--side", SIDE, *few)
        rows = []
        for width in WIDTHS:
            data_set(drawn, folder / f"set_{width}", width)
            for way in WAYS:
                at = folder / f"out_{width}_{way.replace(' ', '_')}"
                words = tiles if way == "tiles" else ["--size", args.tile]
                metrics = evaluated(args, folder / f"set_{width}", at, words)
                rows.append({"width": width, "way": way, **metrics})
                print(json.dumps(rows[-1]), flush=True)
        given = {name: str(value) for name, value in vars(args).items() if name not in ("program", "output")}
        written = {"machine": machine(), "arguments": {**given, "weights": args.weights.name}, "rows": rows}
        args.output.write_text(json.dumps(written, indent=1) + "\n")
        print(table(rows))


def table(rows):
    lines = ["| defect | AUROC, one view | AUROC, tiles | AUPRO, one view | AUPRO, tiles |", "|---|---|---|---|---|"]
    for width in WIDTHS:
        of = {row["way"]: row for row in rows if row["width"] == width}
        cells = [f"{of[way][metric]:.3f}" for metric in METRICS for way in WAYS]
        lines.append(f"| {width} px | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
