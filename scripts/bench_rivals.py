#!/usr/bin/env python3
"""Times inctrl's whole job against CLIP's visual tower alone in PyTorch, torch.compile, ONNX Runtime and OpenVINO.

    pip install torch safetensors pillow onnx onnxscript onnxruntime openvino faiss-cpu
    cargo build --release
    python scripts/bench_rivals.py [--repeats 3] [--rounds 15] [--batch-rounds 4] [--json benches/results/cpu.json]
    python scripts/bench_rivals.py --arch dinov2-vit-s-14 [--json benches/results/dinov2_cpu.json]    AnomalyDINO, with faiss
    python scripts/bench_rivals.py --methods [--only NAME] [--json FILE]    methods beside anomalib's, see measuring/methods.py
    python scripts/bench_rivals.py --readme [--check]      the README's table from the JSON; needs no package

All run the same seeded random weights in f32 on the same number of threads, one image a call and batches of 8. Ours is the
whole job: `inctrl` gets decoded frames in memory through the C library, resizes, encodes, compares them with a bank of 8
prompts and gives scores and maps; `inctrl score -` is a process that gets a path, and reads and decodes the file too. The
rivals get a ready tensor and return the class embedding and the tapped patch tokens: no resizing, no nearest neighbour, no
heads. They run the tower as it is published and exported, with all tokens in the last block, where only the class token is
read and inctrl computes no other; with `--trimmed` they are spared that, too.

Before any timing the rivals' outputs are compared with each other, and text prior and patch maximum that follow from them
with ours; our batch is compared with our single images, bit by bit. The contestants take turns in an order that changes, so
that whatever else the machine does hits all of them alike; in its turn each works back to back. A ratio is between medians of
one repeat; each repeat opens everything anew. `measuring/anomaly_dino.py` says what is timed of DINOv2.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import median

from measuring import machine, readme
from measuring.turns import taken_in_turns

ROOT = machine.ROOT
TOLERANCE = 1e-4
# Kernels for processors with AVX-512.
OPENBLAS = "SkylakeX"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inctrl", default=str(machine.PROGRAM), help="the program; the library lies beside it")
    parser.add_argument("--arch", default="vit-b-16-plus-240", help="a name, or a configuration in a .json file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contestant, one image a call")
    parser.add_argument("--batch-rounds", type=int, default=4, help="turns of each contestant with batches")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompts", type=int, help="images of the bank: 8, of DINOv2 4, each turned 8 times")
    parser.add_argument("--side", type=int, default=700, help="pixels of the side of DINOv2's pictures")
    parser.add_argument("--rivals", default="pytorch,torch.compile,onnxruntime,openvino")
    parser.add_argument("--trimmed", action="store_true", help="the rivals' last block computes the class token alone")
    parser.add_argument("--methods", action="store_true", help="one frame of each method beside anomalib's model")
    parser.add_argument("--only", help="with --methods: the cases whose name has this part")
    parser.add_argument("--json", help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="put the table of benches/results/cpu.json into README.md")
    parser.add_argument("--check", action="store_true", help="with --readme: only say whether it is there")
    return parser.parse_args()


def opened(args, tower, names, files, images):
    """The rivals that can be had for batches of this size, and why the others cannot."""
    from measuring import rivals

    found, missing = {}, {}
    for name in names:
        try:
            run = rivals.RIVALS[name](tower, files.get(len(images)), args.threads)
            run(images)
            found[name] = run
        except Exception as error:  # noqa: BLE001
            missing[name] = f"{name} does not run here: {str(error).strip().splitlines()[0] if str(error) else error!r}"
            print(f"SKIP: {missing[name]}", file=sys.stderr)
    return found, missing


def check(runs, images, ours, bank):
    """All rivals agree with the first, and what follows from each with our scores."""
    import numpy as np
    from measuring import rivals

    expected = None
    for name, run in runs.items():
        outputs = run(images)
        expected = expected or outputs
        for mine, theirs in zip(outputs, expected, strict=True):
            error = np.abs(mine - theirs).max() / np.abs(theirs).max()
            if not error <= TOLERANCE:
                sys.exit(f"{name} differs from {next(iter(runs))} by {error:.1e}")
        for field, values in zip(("text_prior", "patch_max"), rivals.scored(outputs, bank)):
            error = max(abs(getattr(score, field) - value) for score, value in zip(ours, values, strict=True))
            if not error <= TOLERANCE:
                sys.exit(f"inctrl's {field} differs from what {name} gives by {error:.1e}")


def one_repeat(args, library, folder, pictures, files, seed):
    """Seconds of every call: batch size to contestant to list; and the rivals that are missing."""
    import numpy as np
    import torch
    from measuring import rivals

    torch._dynamo.reset()
    weights, bank_file = folder / "weights.safetensors", folder / "prompts.bank"
    tower = rivals.Tower(weights, args.trimmed)
    tensors = np.stack([rivals.normalised(pixels, tower.size) for pixels in pictures])
    engine = library.engine(weights, args.threads)
    bank = library.open_bank(bank_file)
    alone = library.scorer(engine, bank, 1)
    singles = [alone([pixels])[0] for pixels in pictures]
    times, missing = {}, {}
    for size in (1, args.batch):
        images = tensors[:size].copy()
        runs, skipped = opened(args, tower, args.rivals.split(","), files, images)
        missing |= skipped
        if not runs:
            sys.exit(f"no rival runs here: {'; '.join(missing.values())}")
        scorer = library.scorer(engine, bank, size)
        scores = scorer(pictures[:size])
        check(runs, images, scores, bank_file)
        if [score.score for score in scores] != [score.score for score in singles[:size]]:
            sys.exit(f"the scores of a batch of {size} are not those of its images")
        groups = [[(turn * size + i) % len(pictures) for i in range(size)] for turn in range(len(pictures))]
        inputs = [np.ascontiguousarray(tensors[group]) for group in groups]
        frames = [[pictures[i] for i in group] for group in groups]
        contestants = {"inctrl": lambda call, scorer=scorer, frames=frames: scorer(frames[call % len(frames)])}
        process = None
        if size == 1:
            process = machine.CoProcess(args.inctrl, weights, bank_file, args.threads)
            # Rows carry the shortest decimals that give the f32 back.
            found = np.float32(process(folder / "q0.png")["score"])
            if found != np.float32(scores[0].score):
                sys.exit(f"inctrl score - gives {found}, the library {scores[0].score}")
            contestants["inctrl score -"] = lambda call, process=process: process(folder / f"q{call % len(pictures)}.png")
        for name, run in runs.items():
            contestants[name] = lambda call, run=run, inputs=inputs: run(inputs[call % len(inputs)])
        rounds = args.rounds if size == 1 else args.batch_rounds
        times[size] = taken_in_turns(contestants, rounds, f"{seed}, batches of {size}")
        if process:
            process.close()
        scorer.close()
        del runs, contestants
    for handle in (alone, bank, engine):
        handle.close()
    return times, missing


def summary(size, repeats):
    """Ratios to the fastest rival of the same repeat, and medians over the repeats."""
    medians = [{name: median(times) * 1e3 / size for name, times in repeat.items()} for repeat in repeats]
    # A rival that was missing once is left out.
    names = [name for name in medians[0] if all(name in repeat for repeat in medians)]
    fastest = [min((n for n in names if not n.startswith("inctrl")), key=repeat.get) for repeat in medians]
    quickest = min(min(repeat[n]) for repeat in repeats for n in names if not n.startswith("inctrl"))
    ratios = {name: [round(m[name] / m[best], 4) for m, best in zip(medians, fastest)] for name in names}
    return {
        "median_ms_per_image": {name: round(median(repeat[name] for repeat in medians), 2) for name in names},
        "min_ms_per_image": {name: round(min(min(r[name]) for r in repeats) * 1e3 / size, 2) for name in names},
        "fastest_rivals": fastest,
        "ratios": ratios,
        "ratio": {name: round(median(values), 4) for name, values in ratios.items()},
        # Between the fastest calls, which were disturbed least.
        "ratio_of_min": {name: round(min(min(r[name]) for r in repeats) / quickest, 4) for name in names},
    }


def use_threads(threads):
    """For PyTorch and what it brings, and for faiss, before they are loaded."""
    # Left to itself, faiss's OpenBLAS takes kernels on Zen 5 with which a search takes four times as long.
    os.environ["OPENBLAS_CORETYPE"] = OPENBLAS
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    import torch

    torch.set_num_threads(threads)


def measure(args):
    use_threads(args.threads)
    from measuring import rivals
    from measuring.c_interface import FILE, Library
    from PIL import Image

    library = Library(Path(args.inctrl).parent / FILE)
    with machine.random_model(args.inctrl, args.arch) as folder:
        pictures = [machine.picture(k) for k in range(2 * args.batch)]
        for k, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(folder / f"q{k}.png")
        weights = folder / "weights.safetensors"
        engine = library.engine(weights, args.threads)
        bank = library.bank(engine, "texture", [machine.picture(1000 + k) for k in range(args.prompts)])
        library.save(bank, folder / "prompts.bank")
        bank.close()
        engine.close()
        files = {}
        if rivals.FROM_ONNX & set(args.rivals.split(",")):
            import numpy as np

            tower = rivals.Tower(weights, args.trimmed)
            for size in {1, args.batch}:
                images = np.zeros((size, 3, tower.size, tower.size), np.float32)
                (folder / f"batch{size}").mkdir()
                files[size] = rivals.onnx_file(tower, images, str(folder / f"batch{size}/tower.onnx"))
            del tower
        repeats, missing = [], {}
        for repeat in range(args.repeats):
            times, skipped = one_repeat(args, library, folder, pictures, files, f"repeat {repeat}")
            repeats.append(times)
            missing |= skipped
            print(f"repeat {repeat + 1} of {args.repeats}", file=sys.stderr)
    command = f"python scripts/bench_rivals.py --arch {args.arch} --threads {args.threads} --repeats {args.repeats}"
    command += f" --rounds {args.rounds} --batch-rounds {args.batch_rounds} --batch {args.batch} --prompts {args.prompts}"
    command += f" --rivals {args.rivals}" + (" --trimmed" if args.trimmed else "")
    batches = {str(size): summary(size, [repeat[size] for repeat in repeats]) for size in repeats[0]}
    named = {name for batch in batches.values() for name in batch["ratio"] if not name.startswith("inctrl")}
    return {
        "what": "whole job of inctrl (through the C library, from decoded frames; and as `inctrl score -`, from files) beside the "
        "visual tower alone of each rival, f32",
        "command": command,
        "machine": machine.machine(),
        "threads": args.threads,
        "arch": Path(args.arch).stem,
        "prompts": args.prompts,
        "repeats": args.repeats,
        "trimmed": args.trimmed,
        "versions": {"inctrl": library.version()} | {name: rivals.version(name) for name in sorted(named)},
        "skipped": missing,
        "batches": batches,
    }


def tell(figures):
    for size, batch in figures["batches"].items():
        print(f"batches of {size}: time over the fastest encoder alone ({', '.join(batch['fastest_rivals'])})")
        for name, ratio in sorted(batch["ratio"].items(), key=lambda item: item[1]):
            each = " ".join(f"{value:.3f}" for value in batch["ratios"][name])
            milliseconds = batch["median_ms_per_image"][name]
            print(f"  {name:15} {ratio:6.3f}   of {each}   median {milliseconds:8.2f} ms an image")


def of_dinov2(args):
    use_threads(args.threads)
    from measuring import anomaly_dino

    figures = anomaly_dino.measure(args)
    anomaly_dino.tell(figures)
    return figures


def of_methods(args):
    use_threads(args.threads)
    from measuring import methods

    figures = methods.measure(args)
    methods.tell(figures)
    return figures


def main():
    args = arguments()
    if args.readme:
        sys.exit(readme.update(args.check))
    if args.methods:
        args.prompts = args.prompts or 4
        figures = of_methods(args)
    elif args.arch.startswith("dinov2"):
        args.prompts = args.prompts or 4
        figures = of_dinov2(args)
    else:
        args.prompts = args.prompts or 8
        figures = measure(args)
        tell(figures)
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
