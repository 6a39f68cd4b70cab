"""AnomalyDINO at its real size: our frame beside each rival's encoder, and beside that and faiss's search.

One picture a call. Ours goes from a decoded frame to score and map. A rival gets the picture as a ready tensor, resized and
normalised, and returns unit patch tokens; faiss, on as many threads, finds for each the nearest row of the bank.

Our encoder is timed as the same frame with a bank of a single cell, whose search is nothing: resizing and scoring are in it.
Our search is the difference of the two within one turn.
"""

import os
import sys
from pathlib import Path
from statistics import median

import numpy as np

from . import machine
from .turns import CALLS, taken_in_turns

METHOD = "anomaly-dino"
SIZE, TURNS = 448, 8
# Of the numbers of a tensor over the largest of them, and of distances.
TOLERANCE = 2e-5
FAISS = "faiss"


def picture(seed, side):
    """A coloured texture `[side, side, 3]`."""
    planes = [machine.picture(3 * seed + channel, side, side) for channel in range(3)]
    return np.ascontiguousarray(np.stack(planes, -1))


def options(size=SIZE, turns=TURNS):
    return [f"size={size}", f"rotations={turns}"]


def rows_of(library, bank, folder):
    """The rows `[R, W]` of a bank."""
    from safetensors import safe_open

    path = folder / "rows.bank"
    library.save(bank, path)
    with safe_open(path, "np") as file:
        return file.get_tensor("patches")


class Ours:
    """A scorer with the whole bank and one with a bank of one cell, on one engine."""

    def __init__(self, library, args, folder, prompts):
        self.library, self.folder = library, folder
        self.engine = library.engine(folder / "weights.safetensors", args.threads)
        self.bank = library.bank_with(self.engine, METHOD, options(), prompts)
        self.rows = rows_of(library, self.bank, folder)
        side = prompts[0].shape[0]
        all_but_one = np.full((side, side), 255, np.uint8)
        # A square in which a whole cell fits, wherever the grid lies.
        middle, cell = side // 2, 2 * side * 14 // SIZE
        all_but_one[middle : middle + cell, middle : middle + cell] = 0
        self.cell = library.bank_with(self.engine, METHOD, options(turns=1), prompts[:1], all_but_one)
        cells = len(rows_of(library, self.cell, folder))
        if cells > 8:
            sys.exit(f"the bank of one cell has {cells}")
        self.frame = library.scorer(self.engine, self.bank, 1)
        self.encoder = library.scorer(self.engine, self.cell, 1)

    def tokens(self, pixels):
        """Our unit patch tokens of a picture: what a bank of it holds."""
        bank = self.library.bank_with(self.engine, METHOD, options(turns=1), [pixels])
        rows = rows_of(self.library, bank, self.folder)
        bank.close()
        return rows

    def distances(self, pixels):
        """Our distance of each cell of a picture to the nearest row."""
        grid = SIZE // 14
        return self.frame.map_of(pixels, grid * grid)


def check(ours, runs, index, picture, images):
    """The rivals' tokens are ours, and so are the neighbours that faiss finds for them; how far they are apart."""
    tokens = ours.tokens(picture)
    apart = {}
    for name, run in runs.items():
        (found,) = run(images)
        error = float(np.abs(found[0] - tokens).max() / np.abs(tokens).max())
        if not error <= TOLERANCE:
            sys.exit(f"the tokens of {name} differ from ours by {error:.1e}")
        apart[name] = error
    distances = ours.distances(picture)
    cosines, nearest = index.search(tokens, 1)
    error = float(np.abs(distances - (1 - cosines[:, 0])).max())
    if not error <= TOLERANCE:
        sys.exit(f"our distances differ from faiss's by {error:.1e}")
    apart[FAISS] = error
    # Rows are told apart where their distance is: by the distance in f64 of the row that faiss names.
    exact = 1 - np.einsum("nw,nw->n", tokens.astype(np.float64), ours.rows[nearest[:, 0]].astype(np.float64))
    error = float(np.abs(distances - exact).max())
    if not error <= TOLERANCE:
        sys.exit(f"the row that faiss names lies {error:.1e} from where ours does")
    best = 1 - (tokens.astype(np.float64) @ ours.rows.astype(np.float64).T).max(1)
    if not np.abs(distances - best).max() <= TOLERANCE:
        sys.exit("our distances are not the smallest")
    return apart


class Prepared:
    """All contestants, opened and checked."""

    def __init__(self, args, library, folder, pictures):
        import faiss
        import torch

        from . import dinov2_tower, rivals

        torch._dynamo.reset()
        faiss.omp_set_num_threads(args.threads)
        queries, prompts = pictures
        tower = dinov2_tower.Tower(folder / "weights.safetensors", SIZE)
        tensors = [dinov2_tower.normalised(pixels, SIZE)[None] for pixels in queries]
        path = folder / "tower.onnx"
        names = args.rivals.split(",")
        if rivals.FROM_ONNX & set(names) and not path.exists():
            rivals.onnx_file(tower, tensors[0], str(path))
        self.ours = ours = Ours(library, args, folder, prompts)
        index = faiss.IndexFlatIP(ours.rows.shape[1])
        index.add(ours.rows)
        runs, self.missing = {}, {}
        for name in names:
            try:
                run = rivals.RIVALS[name](tower, str(path), args.threads)
                run(tensors[0])
                runs[name] = run
            except Exception as error:  # noqa: BLE001
                self.missing[name] = str(error).strip().splitlines()[0] if str(error) else repr(error)
                print(f"SKIP: {name} does not run here: {self.missing[name]}", file=sys.stderr)
        if not runs:
            sys.exit("no rival runs here")
        self.apart = check(ours, runs, index, queries[0], tensors[0])
        tokens, some = [ours.tokens(pixels) for pixels in queries], len(queries)
        self.contestants = {
            "inctrl": lambda call: ours.frame([queries[call % some]]),
            "inctrl, encoder": lambda call: ours.encoder([queries[call % some]]),
            FAISS: lambda call: index.search(tokens[call % some], 1),
        }
        for name, run in runs.items():
            self.contestants[name] = lambda call, run=run: run(tensors[call % some])

    def close(self):
        for handle in (self.ours.frame, self.ours.encoder, self.ours.bank, self.ours.cell, self.ours.engine):
            handle.close()


def ratios(times, names):
    """Medians over the turns of one repeat; every ratio is between two times of one turn, each the quicker of its calls."""
    times = {name: [min(taken[i : i + CALLS]) for i in range(0, len(taken), CALLS)] for name, taken in times.items()}
    fastest = min(names, key=lambda name: median(times[name]))
    turns = range(len(times["inctrl"]))
    search = [times["inctrl"][t] - times["inctrl, encoder"][t] for t in turns]
    pairs = {
        "encoder over the fastest": [times["inctrl, encoder"][t] / times[fastest][t] for t in turns],
        "search over our encoder": [search[t] / times["inctrl, encoder"][t] for t in turns],
        "faiss over our search": [times[FAISS][t] / search[t] for t in turns],
        "frame over fastest and faiss": [times["inctrl"][t] / (times[fastest][t] + times[FAISS][t]) for t in turns],
    }
    pairs |= {f"{name} over the fastest": [times[name][t] / times[fastest][t] for t in turns] for name in names}
    milliseconds = {name: round(median(values) * 1e3, 2) for name, values in times.items()}
    milliseconds["inctrl, search"] = round(median(search) * 1e3, 2)
    return fastest, {name: round(median(values), 4) for name, values in pairs.items()}, milliseconds


def pictures(args):
    """Those to score, and those of the bank."""
    return [[picture(seed, args.side) for seed in seeds] for seeds in (range(4), range(100, 100 + args.prompts))]


def measure(args):
    from .c_interface import FILE, Library

    library = Library(Path(args.inctrl).parent / FILE)
    repeats, missing = [], {}
    with machine.random_model(args.inctrl, args.arch) as folder:
        for repeat in range(args.repeats):
            prepared = Prepared(args, library, folder, pictures(args))
            repeats.append(taken_in_turns(prepared.contestants, args.rounds, f"repeat {repeat}"))
            missing |= prepared.missing
            prepared.close()
            print(f"repeat {repeat + 1} of {args.repeats}", file=sys.stderr)
    return report(args, library.version(), prepared, repeats, missing)


def report(args, version, prepared, repeats, missing):
    """The figures of the times of some repeats, of which `prepared` is one."""
    import faiss

    from . import rivals

    names = [name for name in args.rivals.split(",") if all(name in times for times in repeats)]
    found = [ratios(times, names) for times in repeats]
    versions = {"inctrl": version, FAISS: faiss.__version__} | {name: rivals.version(name) for name in names}
    command = f"python scripts/bench_rivals.py --arch {args.arch} --threads {args.threads} --repeats {args.repeats}"
    command += f" --rounds {args.rounds} --prompts {args.prompts} --side {args.side} --rivals {args.rivals}"
    return {
        "what": f"{METHOD}: our frame (decoded picture to score and map) and our encoder (the same with a bank of one cell) beside "
        "each rival's encoder alone and faiss's IndexFlatIP at k = 1, f32",
        "command": command,
        "machine": machine.machine(),
        "threads": args.threads,
        "arch": args.arch,
        "size": SIZE,
        "picture": [args.side, args.side, 3],
        "bank": list(prepared.ours.rows.shape),
        "repeats": args.repeats,
        "openblas_kernels": os.environ.get("OPENBLAS_CORETYPE"),
        "versions": versions,
        "skipped": missing,
        "largest_differences": prepared.apart,
        "fastest_rivals": [fastest for fastest, _, _ in found],
        "median_ms": {name: round(median(ms[name] for _, _, ms in found), 2) for name in found[0][2]},
        "ratios": {name: [values[name] for _, values, _ in found] for name in found[0][1]},
        "ratio": {name: round(median(values[name] for _, values, _ in found), 4) for name in found[0][1]},
    }


def tell(figures):
    rows, width = figures["bank"]
    print(f"{figures['arch']} at {figures['size']} pixels, {rows} rows of {width}, {figures['threads']} threads")
    for name, milliseconds in figures["median_ms"].items():
        print(f"  {name:20} {milliseconds:8.2f} ms")
    for name, ratio in figures["ratio"].items():
        print(f"  {name:32} {ratio:6.3f}   of {' '.join(f'{value:.3f}' for value in figures['ratios'][name])}")
