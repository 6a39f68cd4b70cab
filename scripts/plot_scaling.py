#!/usr/bin/env python3
"""Measures how time and memory grow on the CPU, and plots them.

    pip install numpy pillow matplotlib
    cargo build --release
    python scripts/plot_scaling.py [--rounds 7] [--most-prompts 256]
    python scripts/plot_scaling.py --draw                        only the plots, from the JSON

Time of a call of the C library, from decoded frames to scores, over threads, prompts of the bank, side of the frame, side
of the model's input, and batch; memory of `inctrl score` over prompts. Values are medians over rounds in which all points of a
plot take turns. Writes benches/results/scaling.json, docs/scaling_time.png and docs/scaling_memory.png. The weights are random.
"""

import argparse
import json
import os
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

from measuring import machine
from measuring.c_interface import FILE, Library

RESULTS = machine.RESULTS / "scaling.json"
DOCS = machine.ROOT / "docs"
CLASS = "texture"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inctrl", default=str(machine.PROGRAM), help="the program; the library is in the same folder")
    parser.add_argument("--arch", default="vit-b-16-plus-240", help="a name, or a configuration in a .json file")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="largest number of threads, used by all other plots")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompts", type=int, default=8, help="size of the bank when something else varies")
    parser.add_argument("--most-prompts", type=int, default=256)
    parser.add_argument("--most-batch", type=int, default=16)
    parser.add_argument("--sizes", default="112,176,240,336", help="sides of the model's input")
    parser.add_argument("--frames", default="240,480,1024,2048,4096", help="sides of frames")
    parser.add_argument("--json", default=str(RESULTS))
    parser.add_argument("--docs", default=str(DOCS), help="folder of the pictures")
    parser.add_argument("--draw", action="store_true", help="only draw the plots from the JSON")
    return parser.parse_args()


def powers(most):
    found = [1]
    while found[-1] * 2 <= most:
        found.append(found[-1] * 2)
    return found if found[-1] == most else [*found, most]


def in_turns(rounds, calls):
    """Median milliseconds of each call: key to function, to key to time."""
    times = {key: [] for key in calls}
    for turn in range(rounds + 1):
        for key, call in calls.items():
            start = perf_counter()
            call()
            if turn > 0:
                times[key].append(perf_counter() - start)
    return {key: round(median(values) * 1e3, 3) for key, values in times.items()}


def banks(args, library, engine, folder):
    """A bank file for each power of two and the usual number, each the one before and further pictures."""
    bank, files, count = None, {}, 0
    for prompts in sorted({*powers(args.most_prompts), args.prompts}):
        more = [machine.picture(1000 + k) for k in range(count, prompts)]
        longer = library.longer_bank(engine, bank, more) if bank else library.bank(engine, CLASS, more)
        if bank:
            bank.close()
        bank, count, files[prompts] = longer, prompts, folder / f"{prompts}.bank"
        library.save(bank, files[prompts])
    bank.close()
    return files


def over_size(args, library, pictures):
    """The model's input from small to large: the same tower with more patches."""
    base = configuration(args)
    calls = {}
    with ExitStack() as stack:
        for size in (int(word) for word in args.sizes.split(",")):
            base["vision_cfg"]["image_size"] = size
            path = Path(args.work) / f"{size}.json"
            path.write_text(json.dumps(base))
            folder = stack.enter_context(machine.random_model(args.inctrl, str(path)))
            engine = library.engine(folder / "weights.safetensors", args.threads)
            bank = library.bank(engine, CLASS, [machine.picture(1000 + k) for k in range(args.prompts)])
            scorer = library.scorer(engine, bank, 1)
            for handle in (engine, bank, scorer):
                stack.callback(handle.close)
            calls[size] = lambda scorer=scorer: scorer(pictures[:1])
        return in_turns(args.rounds, calls)


def configuration(args):
    if args.arch.endswith(".json"):
        return json.loads(Path(args.arch).read_text())
    with machine.random_model(args.inctrl, args.arch) as folder:
        with open(folder / "weights.safetensors", "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return json.loads(header["__metadata__"]["inctrl.config"])


def memory(args, weights, files, picture):
    """MiB of `inctrl score` after its first row: the weights as they are used, the bank, the activations."""
    points = {}
    for prompts, bank in files.items():
        process = machine.CoProcess(args.inctrl, weights, bank, args.threads)
        process(picture)
        resident, peak = process.memory()
        process.close()
        points[prompts] = {
            "resident_mib": round(resident / 2**20, 1),
            "peak_mib": round(peak / 2**20, 1),
            "bank_file_mib": round(os.path.getsize(bank) / 2**20, 1),
        }
    return points


def measure(args):
    from PIL import Image

    library = Library(Path(args.inctrl).parent / FILE)
    pictures = [machine.picture(k) for k in range(args.most_batch)]
    with machine.random_model(args.inctrl, args.arch) as folder:
        args.work = folder
        weights = folder / "weights.safetensors"
        engine = library.engine(weights, args.threads)
        files = banks(args, library, engine, folder)
        usual = library.open_bank(files[args.prompts])

        def scorer(bank=usual, engine=engine, capacity=1):
            return library.scorer(engine, bank, capacity)

        engines = [library.engine(weights, threads) for threads in range(1, args.threads + 1)]
        scorers = [scorer(engine=one) for one in engines]
        calls = {threads: lambda one=one: one(pictures[:1]) for threads, one in enumerate(scorers, 1)}
        plots = {"threads": in_turns(args.rounds, calls)}
        for handle in [*scorers, *engines]:
            handle.close()

        opened = {prompts: library.open_bank(path) for prompts, path in files.items()}
        with_bank = {prompts: scorer(bank=bank) for prompts, bank in opened.items()}
        plots["prompts"] = in_turns(args.rounds, {k: lambda one=one: one(pictures[:1]) for k, one in with_bank.items()})
        for handle in [*with_bank.values(), *opened.values()]:
            handle.close()

        one = scorer()
        sides = [int(word) for word in args.frames.split(",")]
        frames = {side: [machine.picture(5, side, side)] for side in sides}
        plots["frame_side"] = in_turns(args.rounds, {side: lambda frame=frame: one(frame) for side, frame in frames.items()})

        sizes = powers(args.most_batch)
        scorers = {size: scorer(capacity=size) for size in sizes}
        calls = {size: lambda size=size: scorers[size](pictures[:size]) for size in sizes}
        plots["batch"] = {size: round(ms / size, 3) for size, ms in in_turns(args.rounds, calls).items()}
        for handle in [*scorers.values(), one, usual, engine]:
            handle.close()

        plots["model_side"] = over_size(args, library, pictures)
        Image.fromarray(pictures[0]).save(folder / "q.png")
        resident = memory(args, weights, files, folder / "q.png")
        size = os.path.getsize(weights)
    options = f"--arch {args.arch} --threads {args.threads} --rounds {args.rounds} --most-prompts {args.most_prompts}"
    options += f" --prompts {args.prompts} --most-batch {args.most_batch} --sizes {args.sizes} --frames {args.frames}"
    return {
        "what": "median milliseconds of one call from decoded frames to scores (of batches: for each image); memory of "
        "`inctrl score` after its first row",
        "command": f"python scripts/plot_scaling.py {options}",
        "machine": machine.machine(),
        "arch": Path(args.arch).stem,
        "threads": args.threads,
        "prompts": args.prompts,
        "weights_mib": round(size / 2**20, 1),
        "milliseconds": plots,
        "memory": resident,
    }


def caption(figures):
    computer = figures["machine"]
    cores = f"{computer['cores']} cores" if computer["cores"] > 1 else "one core"
    return f"{computer['cpu']}, {cores}, {computer['system']}; {figures['arch']}, f32"


def draw(figures, folder):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 11, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True})
    ink, second = "#1f4e79", "#c05a1c"

    def axis(axes, points, title, label, log=True):
        x, y = [int(key) for key in points], list(points.values())
        axes.plot(x, y, "o-", color=ink, label="measured")
        if log:
            axes.set_xscale("log", base=2)
        axes.set_xticks(x, [str(value) for value in x], fontsize=9)
        axes.minorticks_off()
        axes.set_ylim(0, 1.12 * max(y))
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(label)
        axes.set_ylabel("ms")

    plots = figures["milliseconds"]
    usual = f"K = {figures['prompts']}, {figures['threads']} threads"
    image, axes = plt.subplots(2, 3, figsize=(11, 6.4))
    threads = axes[0, 0]
    axis(threads, plots["threads"], f"one frame, K = {figures['prompts']}", "threads", log=False)
    counts = [int(key) for key in plots["threads"]]
    first = list(plots["threads"].values())[0]
    threads.plot(counts, [first / count for count in counts], "--", color=second, label="one thread's time / threads")
    threads.legend(fontsize=9)
    axis(axes[0, 1], plots["prompts"], f"one frame, {figures['threads']} threads", "prompts in the bank, K")
    axis(axes[0, 2], plots["batch"], f"each image of a batch, {usual}", "images in the batch")
    axis(axes[1, 0], plots["frame_side"], f"one frame, {usual}", "side of the frame, pixels")
    axis(axes[1, 1], plots["model_side"], f"one frame, {usual}", "side of the model's input, pixels", log=False)
    axes[1, 2].axis("off")
    notes = ["From a decoded grey frame", "to its score and map.", "Medians; the axis of time", "begins at 0 everywhere."]
    axes[1, 2].text(0.05, 0.55, "\n".join(notes), fontsize=12, va="center")
    image.text(0.5, 0.01, caption(figures), ha="center", fontsize=10, color="#555555")
    image.tight_layout(rect=(0, 0.04, 1, 1))
    save(image, Path(folder) / "scaling_time.png")

    image, one = plt.subplots(figsize=(7, 4.2))
    points = figures["memory"]
    x = [int(key) for key in points]
    one.plot(x, [point["peak_mib"] for point in points.values()], "s-", color=second, label="most until the first score")
    one.plot(x, [point["resident_mib"] for point in points.values()], "o-", color=ink, label="after the first score")
    one.plot(x, [point["bank_file_mib"] for point in points.values()], "^:", color="#6a6a6a", label="the bank's file")
    one.axhline(figures["weights_mib"], ls="--", lw=1, color="#999999", label="the weights' file")
    one.set_xscale("log", base=2)
    one.set_xticks(x, [str(value) for value in x])
    one.minorticks_off()
    one.set_ylim(bottom=0)
    one.set_xlabel("prompts in the bank, K")
    one.set_ylabel("resident memory of `inctrl score`, MiB")
    one.legend(fontsize=9)
    image.text(0.5, 0.01, caption(figures), ha="center", fontsize=9, color="#555555")
    image.tight_layout(rect=(0, 0.05, 1, 1))
    save(image, Path(folder) / "scaling_memory.png")


def save(image, path):
    image.savefig(path, dpi=80, metadata={"Software": None})
    size = path.stat().st_size
    assert size < 100_000, f"{path} has {size} bytes"
    print(f"{path}: {size} bytes")


def main():
    args = arguments()
    if not args.draw:
        figures = measure(args)
        # Keys of numbers become text, as they are when it is read again.
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n")
    draw(json.loads(Path(args.json).read_text()), args.docs)


if __name__ == "__main__":
    main()
