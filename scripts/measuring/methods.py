"""Methods beside anomalib's models of the same name, on the same encoder with the same random weights: one frame at K = 4.

Ours goes from a decoded picture to score and map. anomalib's model gets the picture as a ready tensor, resized and normalised, and
returns its score and its map at the size of the input. PatchCore and WinCLIP compute something else there; for the others the scores are
compared before anything is timed.

    pip install anomalib==2.7.0 "open_clip_torch<2.26.1" safetensors
"""

import sys
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np

from . import machine
from .turns import CALLS, taken_in_turns

ANOMALIB = "anomalib"
THEIRS = (ANOMALIB, "torch", "timm", "open_clip_torch")
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DINO, DINO_TIMM = "dinov2-vit-s-14", "vit_small_patch14_dinov2"
# Name, method, our architecture, our options, size, and how anomalib's score relates to ours (None: they compute different things).
CASES = [
    ("patchcore, wide_resnet50_2", "patchcore", "wide-resnet50-2", ["reweight=on"], 224, None),
    ("patchcore, resnet18", "patchcore", "resnet18", ["reweight=on"], 224, None),
    ("patchcore, DINOv2-S", "patchcore", DINO, ["reweight=on", "size=448"], 448, None),
    ("padim, resnet18", "padim", "resnet18", [], 224, 5e-3),
    ("padim, wide_resnet50_2", "padim", "wide-resnet50-2", [], 224, 5e-3),
    ("padim, DINOv2-S", "padim", DINO, ["size=448"], 448, 5e-3),
    ("anomaly-dino, DINOv2-S", "anomaly-dino", DINO, ["rotations=1", "size=448"], 448, 1e-3),
    ("winclip, ViT-B/16+ 240", "winclip", "vit-b-16-plus-240", [], 240, None),
]


def picture(seed, side):
    planes = [machine.picture(3 * seed + channel, side, side) for channel in range(3)]
    return np.ascontiguousarray(np.stack(planes, -1))


def tensor(pixels, arch, size):
    """The picture as the encoder sees it, `[1, 3, size, size]`."""
    import torch
    from PIL import Image

    resnet, clip = "resnet" in arch, arch.startswith("vit")
    before = size * 8 // 7 if resnet else size
    image = Image.fromarray(pixels).resize((before, before), Image.BILINEAR if resnet else Image.BICUBIC)
    margin = (before - size) // 2
    image = image.crop((margin, margin, margin + size, margin + size))
    mean, std = (np.array(numbers, np.float32) for numbers in (CLIP if clip else IMAGENET))
    numbers = (np.asarray(image, np.float32) / 255 - mean) / std
    return torch.from_numpy(numbers.transpose(2, 0, 1).copy())[None]


@contextmanager
def without_downloads():
    """anomalib asks for published weights; ours are loaded instead."""
    import open_clip
    import timm

    create, make = timm.create_model, open_clip.create_model_and_transforms
    timm.create_model = lambda *args, **options: create(*args, **(options | {"pretrained": False}))
    open_clip.create_model_and_transforms = lambda name, **_: make(name, pretrained=None)
    try:
        yield
    finally:
        timm.create_model, open_clip.create_model_and_transforms = create, make


def load(module, state, prefixes=("",)):
    """All of a module's tensors from our file, under one of these prefixes."""
    own = module.state_dict()
    found = {name: next((state[p + name] for p in prefixes if p + name in state), None) for name in own}
    missing = [name for name, value in found.items() if value is None and not name.endswith(("num_batches_tracked", "attn_mask"))]
    if missing:
        sys.exit(f"our file has no {', '.join(missing[:5])} for anomalib's encoder")
    module.load_state_dict({name: value for name, value in found.items() if value is not None}, strict=False)


def patchcore(arch, state, prompts):
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    dino = arch == DINO
    backbone = DINO_TIMM if dino else arch.replace("-", "_")
    model = PatchcoreModel(layers=["blocks.11"] if dino else ["layer2", "layer3"], backbone=backbone, pre_trained=False)
    load(model.feature_extractor.feature_extractor, state)
    model.train()
    model.feature_extractor.eval()
    for prompt in prompts:
        model(prompt)
    model.subsample_embedding(0.1)
    return model.eval()


def padim(arch, state, prompts, channels):
    import torch
    from anomalib.models.image.padim.torch_model import PadimModel

    dino = arch == DINO
    backbone = DINO_TIMM if dino else arch.replace("-", "_")
    layers = ["blocks.11"] if dino else ["layer1", "layer2", "layer3"]
    model = PadimModel(backbone=backbone, layers=layers, pre_trained=False, n_features=len(channels))
    load(model.feature_extractor.feature_extractor, state)
    model.idx.copy_(torch.tensor(channels))
    model.train()
    model.feature_extractor.eval()
    for prompt in prompts:
        model(prompt)
    model.fit()
    return model.eval()


def anomaly_dino(arch, state, prompts):
    from anomalib.models.image.anomaly_dino.torch_model import AnomalyDINOModel

    model = AnomalyDINOModel(encoder_name=DINO_TIMM)
    load(model.feature_encoder.feature_extractor, state)
    model.train()
    model.feature_encoder.eval()
    for prompt in prompts:
        model(prompt)
    model.fit()
    return model.eval()


def winclip(state, prompts):
    import torch
    from anomalib.models.image.winclip.torch_model import WinClipModel

    model = WinClipModel()
    load(model.clip, state)
    model.eval()
    model.setup("texture", torch.cat(prompts))
    return model


def tensors_of(library, bank, folder, name):
    from safetensors import safe_open

    path = folder / "read.bank"
    library.save(bank, path)
    with safe_open(path, "np") as file:
        return file.get_tensor(name)


class Prepared:
    """Both contestants of a case, opened, and checked where they compute the same."""

    def __init__(self, args, library, folder, case):
        import torch
        from safetensors.torch import load_file

        name, method, arch, options, size, tolerance = case
        queries, prompts = ([picture(seed, 2 * size) for seed in seeds] for seeds in (range(4), range(100, 100 + args.prompts)))
        weights = folder / "weights.safetensors"
        self.engine = library.engine(weights, args.threads)
        self.bank = library.bank_with(self.engine, method, options, prompts, class_name="texture")
        self.scorer = library.scorer(self.engine, self.bank, 1)
        state = load_file(weights)
        ready = [tensor(pixels, arch, size) for pixels in prompts]
        with without_downloads(), torch.no_grad():
            match method:
                case "patchcore":
                    model = patchcore(arch, state, ready)
                case "padim":
                    channels = tensors_of(library, self.bank, folder, "channels").astype(np.int64).tolist()
                    model = padim(arch, state, ready, channels)
                case "anomaly-dino":
                    model = anomaly_dino(arch, state, ready)
                case _:
                    model = winclip(state, ready)
        inputs = [tensor(pixels, arch, size) for pixels in queries]

        def theirs(call):
            with torch.inference_mode():
                return model(inputs[call % len(inputs)])

        self.apart = None
        if tolerance:
            found, expected = self.scorer([queries[0]])[0].score, float(theirs(0).pred_score.flatten()[0])
            self.apart = abs(found - expected) / abs(expected)
            if not self.apart <= tolerance:
                sys.exit(f"{name}: our score is {found}, anomalib's {expected}")
        self.contestants = {"inctrl": lambda call: self.scorer([queries[call % len(queries)]]), ANOMALIB: theirs}

    def close(self):
        for handle in (self.scorer, self.bank, self.engine):
            handle.close()


def measure(args):
    from .c_interface import FILE, Library

    library = Library(Path(args.inctrl).parent / FILE)
    found, missing = {}, {}
    for case in CASES:
        name, method, arch, options, size, _ = case
        if args.only and args.only not in name:
            continue
        with machine.random_model(args.inctrl, arch) as folder:
            repeats = []
            for repeat in range(args.repeats):
                try:
                    prepared = Prepared(args, library, folder, case)
                except (RuntimeError, MemoryError) as error:
                    # Such as an inverse of thousands of matrices, which is too large for its library.
                    missing[name] = str(error).strip().splitlines()[0]
                    print(f"SKIP: {name}: {missing[name]}", file=sys.stderr)
                    break
                repeats.append(taken_in_turns(prepared.contestants, args.rounds, f"{name}, repeat {repeat}"))
                prepared.close()
        if not repeats:
            continue
        # Each time is the quicker of the calls of a turn, a ratio is of one turn.
        turns = [
            {who: [min(taken[i : i + CALLS]) for i in range(0, len(taken), CALLS)] for who, taken in times.items()} for times in repeats
        ]
        ratios = [round(median(a / b for a, b in zip(times["inctrl"], times[ANOMALIB])), 4) for times in turns]
        found[name] = {
            "method": method,
            "arch": arch,
            "options": options,
            "size": size,
            "difference_of_scores": prepared.apart,
            "median_ms": {who: round(median(median(times[who]) for times in turns) * 1e3, 2) for who in turns[0]},
            "ratios": ratios,
            "ratio": median(ratios),
        }
        print(f"{name}: done", file=sys.stderr)
    command = f"python scripts/bench_rivals.py --methods --threads {args.threads} --repeats {args.repeats} --rounds {args.rounds}"
    command += f" --prompts {args.prompts}" + (f" --only {args.only!r}" if args.only else "")
    return {
        "what": "one frame at K prompts: ours from a decoded picture to score and map, anomalib's model from a ready tensor, f32",
        "command": command,
        "machine": machine.machine(),
        "threads": args.threads,
        "prompts": args.prompts,
        "repeats": args.repeats,
        "versions": {"inctrl": library.version()} | {name: metadata.version(name) for name in THEIRS},
        "skipped": missing,
        "cases": found,
    }


def tell(figures):
    print(f"K = {figures['prompts']}, {figures['threads']} threads: time of inctrl over that of anomalib {figures['versions'][ANOMALIB]}")
    for name, case in figures["cases"].items():
        ours, theirs = case["median_ms"]["inctrl"], case["median_ms"][ANOMALIB]
        each = " ".join(f"{ratio:.3f}" for ratio in case["ratios"])
        print(f"  {name:28} {case['ratio']:6.3f}   of {each}   {ours:8.2f} and {theirs:8.2f} ms")
