#!/usr/bin/env python3
"""Times `inctrl score`, one image a call, against CLIP's visual tower alone in PyTorch, ONNX Runtime and OpenVINO.

    pip install torch safetensors pillow onnx onnxscript onnxruntime openvino
    cargo build --release
    python scripts/bench_rivals.py [--arch vit-b-16-plus-240] [--threads 2] [--rounds 30] [--json OUT.json]

All run the same seeded random weights in f32 on the same number of threads. Ours is the whole job of one process: a path
goes in on stdin, the image is read, decoded, resized, encoded, compared with a bank of 8 prompts, and the row comes back.
The rivals get a ready tensor and return the class embedding and the tapped patch tokens: no image file, no nearest
neighbour, no heads. Before any timing the rivals' outputs are compared with each other and their class embedding, through
the text prior, with ours. The contestants take turns image by image, so that whatever else the machine does hits all of
them alike; the ratios are between medians.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inctrl", default=str(ROOT / "target/release/inctrl"))
    parser.add_argument("--arch", default="vit-b-16-plus-240")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--rivals", default="pytorch,onnxruntime,openvino")
    parser.add_argument("--json", help="write the figures here")
    return parser.parse_args()


ARGS = arguments()
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(ARGS.threads)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors import safe_open  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


class Block(nn.Module):
    def __init__(self, width, heads, gelu):
        super().__init__()
        self.heads, self.gelu = heads, gelu
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.ln_1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.out(y)
        return x + self.c_proj(self.gelu(self.c_fc(self.ln_2(x))))


class Tower(nn.Module):
    """The visual tower, returning what InCTRL reads: the class embedding and the residual stream at the taps."""

    def __init__(self, weights):
        super().__init__()
        with safe_open(weights, "pt") as file:
            config = json.loads(file.metadata()["inctrl.config"])
            vision = config["vision_cfg"]
            tensors = {k[7:]: file.get_tensor(k).float() for k in file.keys() if k.startswith("visual.")}
        self.size, self.taps = vision["image_size"], config["inctrl"]["taps"]
        width = vision["width"]
        gelu = (lambda x: x * torch.sigmoid(1.702 * x)) if config["quick_gelu"] else F.gelu
        self.conv1 = nn.Conv2d(3, width, vision["patch_size"], vision["patch_size"], bias=False)
        self.class_embedding = nn.Parameter(tensors["class_embedding"])
        self.positional_embedding = nn.Parameter(tensors["positional_embedding"])
        self.proj = nn.Parameter(tensors["proj"])
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, width // vision["head_width"], gelu) for _ in range(vision["layers"]))
        renamed = {}
        for name, tensor in tensors.items():
            name = name.replace("transformer.resblocks.", "blocks.").replace("attn.in_proj_", "qkv.")
            renamed[name.replace("attn.out_proj", "out").replace("mlp.", "")] = tensor
        self.load_state_dict(renamed)
        self.eval()

    def forward(self, image):
        x = self.conv1(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], 1) + self.positional_embedding
        x, taps = self.ln_pre(x), []
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number in self.taps:
                taps.append(x)
        return self.ln_post(x[:, 0]) @ self.proj, *taps


def onnx_file(tower, image, folder):
    path = str(Path(folder) / "tower.onnx")
    torch.onnx.export(tower, (image,), path, input_names=["image"], dynamo=True, external_data=True, verbose=False)
    return path


def pytorch(tower, _path):
    def run(image):
        with torch.inference_mode():
            return [y.numpy() for y in tower(torch.from_numpy(image))]

    return run


def onnxruntime(_tower, path):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = ARGS.threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {session.get_inputs()[0].name: image})


def openvino(_tower, path):
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": ARGS.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()

    def run(image):
        result = request.infer([image])
        return [np.array(result[output]) for output in compiled.outputs]

    return run


def picture(seed, path):
    """A 300 x 300 grey texture: deterministic, no data set needed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:300, 0:300]
    pixels = 128 + 60 * np.sin(x / 7 + rng.random() * 6) * np.cos(y / 11 + rng.random() * 6) + rng.normal(0, 12, (300, 300))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return str(path)


def tensor(path, size):
    image = Image.open(path).resize((size, size), Image.Resampling.BICUBIC).convert("RGB")
    return ((np.asarray(image, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None].copy()


class Ours:
    """`inctrl score -` as a co-process."""

    def __init__(self, weights, bank):
        command = [ARGS.inctrl, "score", "--weights", weights, "--bank", bank, "--threads", str(ARGS.threads)]
        command += ["--format", "jsonl", "-"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __call__(self, path):
        self.process.stdin.write(path + "\n")
        self.process.stdin.flush()
        row = json.loads(self.process.stdout.readline())
        assert row["error"] is None, row
        return row


def text_prior(embedding, bank):
    with safe_open(bank, "np") as file:
        prototypes = file.get_tensor("text_prototypes").astype(np.float64)
    unit = embedding.astype(np.float64).ravel()
    logits = 100 * prototypes @ (unit / np.linalg.norm(unit))
    return 1 / (1 + math.exp(logits[0] - logits[1]))


def cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main():
    torch.set_num_threads(ARGS.threads)
    names = ARGS.rivals.split(",")
    with tempfile.TemporaryDirectory() as folder:
        weights, bank = f"{folder}/weights.safetensors", f"{folder}/prompts.bank"
        inctrl = lambda *words: subprocess.run([ARGS.inctrl, *words], check=True, stdout=subprocess.DEVNULL)  # noqa: E731
        inctrl("weights", "random", "--arch", ARGS.arch, "--seed", "1", "-o", weights)
        normals = [word for k in range(ARGS.prompts) for word in ("--normals", picture(1000 + k, f"{folder}/n{k}.png"))]
        inctrl("bank", "build", "--weights", weights, "--class", "texture", *normals, "-o", bank)
        tower = Tower(weights)
        queries = [picture(k, f"{folder}/q{k}.png") for k in range(8)]
        tensors = [tensor(path, tower.size) for path in queries]
        path = onnx_file(tower, torch.from_numpy(tensors[0]), folder) if set(names) - {"pytorch"} else None
        rivals = {name: globals()[name](tower, path) for name in names}
        ours = Ours(weights, bank)

        expected = pytorch(tower, None)(tensors[0])
        for name, run in rivals.items():
            for mine, theirs in zip(run(tensors[0]), expected, strict=True):
                error = np.abs(mine - theirs).max() / np.abs(theirs).max()
                assert error < 1e-4, f"{name} differs from PyTorch by {error:.1e}"
        error = abs(ours(queries[0])["text_prior"] - text_prior(expected[0], bank))
        assert error < 1e-4, f"inctrl's text prior differs from PyTorch's by {error:.1e}"

        times = {name: [] for name in ["inctrl", *rivals]}
        for turn in range(ARGS.rounds + 3):
            query = turn % len(queries)
            # Another first in each turn: threads that still spin after their own call slow down the next contestant.
            order = list(times)[turn % len(times) :] + list(times)[: turn % len(times)]
            for name in order:
                start = time.perf_counter()
                ours(queries[query]) if name == "inctrl" else rivals[name](tensors[query])
                if turn >= 3:
                    times[name].append(time.perf_counter() - start)
        ours.process.stdin.close()
        ours.process.wait()

    versions = {name: __import__({"pytorch": "torch"}.get(name, name)).__version__.split("-")[0] for name in rivals}
    medians = {name: median(values) * 1e3 for name, values in times.items()}
    fastest = min(rivals, key=medians.get)
    ratio = medians["inctrl"] / medians[fastest]
    for name, value in medians.items():
        print(f"{name:12} {versions.get(name, ''):12} median {value:7.1f} ms   min {min(times[name]) * 1e3:7.1f} ms")
    print(f"inctrl, whole job / fastest visual tower alone ({fastest}): {ratio:.3f}")
    if ARGS.json:
        figures = {
            "what": "whole job of `inctrl score -` beside the visual tower alone of each rival, batch 1, f32",
            "command": f"python scripts/bench_rivals.py --arch {ARGS.arch} --threads {ARGS.threads} --rounds {ARGS.rounds}",
            "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.system()},
            "threads": ARGS.threads,
            "prompts": ARGS.prompts,
            "versions": versions,
            "median_ms": {name: round(value, 1) for name, value in medians.items()},
            "min_ms": {name: round(min(values) * 1e3, 1) for name, values in times.items()},
            "fastest_rival": fastest,
            "ratio_to_fastest": round(ratio, 3),
        }
        Path(ARGS.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
