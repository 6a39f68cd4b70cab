"""Speed of bf16 and int8 on the CPU: our frame at every precision, beside OpenVINO's encoder at the same precisions.

    pip install torch safetensors onnx onnxscript openvino nncf
    python3 scripts/measuring/precision_speed.py [--archs ...] [--repeats 3] [--rounds 9] [-o benches/results/precision_speed.json]

Ours goes from a decoded picture to score and map: InCTRL with a bank of eight prompts on CLIP, AnomalyDINO with a bank of one cell
on DINOv2, whose search is nothing. OpenVINO gets a ready tensor and runs the encoder alone, trimmed to the class token in CLIP's last
block as ours is: in f32, with its bf16 hint, and quantised by NNCF with and without that hint. All take turns in one process.
"""

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path
from statistics import median

import machine
import numpy as np
from turns import CALLS, taken_in_turns

SCRIPTS = Path(__file__).resolve().parent.parent
ARCHS = ["vit-b-16-plus-240", "dinov2-vit-s-14"]
SIZE = 448
PROMPTS = 8


def ours(library, folder, dino, precision, batch, pictures, threads):
    """A function of the number of the call."""
    engine = library.engine(folder / "weights.safetensors", threads, precision)
    if dino:
        side = pictures[0].shape[0]
        mask = np.full((side, side), 255, np.uint8)
        middle, cell = side // 2, 2 * side * 14 // SIZE
        mask[middle : middle + cell, middle : middle + cell] = 0
        bank = library.bank_with(engine, "anomaly-dino", [f"size={SIZE}", "rotations=1"], pictures[:1], mask)
    else:
        bank = library.bank(engine, "texture", pictures[:PROMPTS])
    scorer = library.scorer(engine, bank, batch)
    groups = [[pictures[(call + i) % len(pictures)] for i in range(batch)] for call in range(len(pictures))]
    return lambda call: scorer(groups[call % len(groups)])


def quantised(path, tensors):
    """The model, quantised by NNCF from these inputs."""
    import nncf
    import openvino as ov

    nncf.set_log_level(40)
    return nncf.quantize(ov.Core().read_model(path), nncf.Dataset(tensors), model_type=nncf.ModelType.TRANSFORMER)


def contestants(args, library, folder, arch, batch):
    from measuring import anomaly_dino, dinov2_tower, rivals

    dino = arch.startswith("dinov2")
    weights = folder / "weights.safetensors"
    if dino:
        pictures = [anomaly_dino.picture(seed, 700) for seed in range(8)]
        tower, normalised = dinov2_tower.Tower(weights, SIZE), partial(dinov2_tower.normalised, size=SIZE)
    else:
        pictures = [machine.picture(seed) for seed in range(8)]
        tower = rivals.Tower(weights, trimmed=True)
        normalised = partial(rivals.normalised, size=tower.size)
    tensors = [normalised(pixels) for pixels in pictures]
    inputs = [np.stack([tensors[(call + i) % len(tensors)] for i in range(batch)]) for call in range(len(tensors))]
    path = folder / f"batch{batch}.onnx"
    if not path.exists():
        rivals.onnx_file(tower, inputs[0], str(path))
    found, missing = {}, {}
    for precision in ("f32", "bf16", "int8"):
        found[f"inctrl {precision}"] = ours(library, folder, dino, precision, batch, pictures, args.threads)
    models = {"openvino f32": (str(path), "f32"), "openvino bf16": (str(path), "bf16")}
    try:
        model = quantised(str(path), inputs)
        models |= {"openvino int8": (model, "f32"), "openvino int8, bf16": (model, "bf16")}
    except ImportError as error:
        missing["openvino int8"] = str(error)
        print(f"SKIP: openvino int8: {error}", file=sys.stderr)
    for name, (model, hint) in models.items():
        run = rivals.openvino(None, model, args.threads, hint)
        found[name] = lambda call, run=run: run(inputs[call % len(inputs)])
    return found, missing


def summary(times, batch):
    """Milliseconds an image, and medians of the ratios to our f32 and to OpenVINO at the same precision within a turn."""
    turns = {name: [min(taken[i : i + CALLS]) for i in range(0, len(taken), CALLS)] for name, taken in times.items()}
    ratio = lambda a, b: round(median(x / y for x, y in zip(turns[a], turns[b], strict=True)), 4)  # noqa: E731
    pairs = {f"{name} over f32": ratio(f"inctrl {name}", "inctrl f32") for name in ("bf16", "int8")}
    for name in ("f32", "bf16", "int8"):
        for theirs in (f"openvino {name}", f"openvino {name}, bf16"):
            if theirs in turns:
                pairs[f"inctrl {name} over {theirs}"] = ratio(f"inctrl {name}", theirs)
    return {"ms": {name: round(median(taken) * 1e3 / batch, 2) for name, taken in turns.items()}, "ratio": pairs}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=machine.PROGRAM)
    parser.add_argument("--archs", nargs="*", default=ARCHS)
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("-o", "--output", type=Path, default=machine.RESULTS / "precision_speed.json")
    args = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(args.threads)
    sys.path.insert(0, str(SCRIPTS))
    from measuring import rivals
    from measuring.c_interface import FILE, Library

    library = Library(args.program.parent / FILE)
    cases, missing = {}, {}
    for arch in args.archs:
        with machine.random_model(args.program, arch) as folder:
            for batch in args.batches:
                found, skipped = contestants(args, library, folder, arch, batch)
                missing |= skipped
                repeats = [summary(taken_in_turns(found, args.rounds, f"repeat {n}"), batch) for n in range(args.repeats)]
                cases[f"{arch}, batches of {batch}"] = {
                    "median_ms": {name: median(one["ms"][name] for one in repeats) for name in repeats[0]["ms"]},
                    "ratios": {name: [one["ratio"][name] for one in repeats] for name in repeats[0]["ratio"]},
                    "ratio": {name: median(one["ratio"][name] for one in repeats) for name in repeats[0]["ratio"]},
                }
                print(f"{arch}, batches of {batch}")
                for name, milliseconds in cases[f"{arch}, batches of {batch}"]["median_ms"].items():
                    print(f"  {name:24} {milliseconds:8.2f} ms an image")
                for name, ratio in cases[f"{arch}, batches of {batch}"]["ratio"].items():
                    print(f"  {name:44} {ratio:6.3f}", flush=True)
    figures = {
        "what": "our frame at each precision beside OpenVINO's encoder alone",
        "command": f"python3 scripts/measuring/precision_speed.py --threads {args.threads} --repeats {args.repeats} --rounds {args.rounds}",
        "machine": machine.machine(),
        "threads": args.threads,
        "versions": {"inctrl": library.version(), "openvino": rivals.version("openvino")},
        "skipped": missing,
        "cases": cases,
    }
    if "openvino int8" not in missing:
        figures["versions"]["nncf"] = rivals.version("nncf")
    args.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
