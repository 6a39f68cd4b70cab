#!/usr/bin/env python3
"""InCTRL in PyTorch: the reference for the engine.

    pip install torch open_clip_torch safetensors pillow

    python scripts/oracle.py score --weights W.safetensors --class metal_nut \\
        --normals n0.png n1.png --queries q0.png q1.png [--config C.json] [--float64]
        one JSON line per query: path, score, holistic, patch_max, image_residual, text_prior
    ... --dump OUT.safetensors [--blocks]
        also writes every intermediate, named in `Oracle.score`

The towers are open_clip's own CLIP, the method is written from the paper (Zhu & Pang, CVPR 2024; equations in the
comments) with the constants of the published code. It is slow, it runs on the CPU, and every query is scored alone.

The configuration is an open_clip model JSON with {"inctrl": {"taps": [7, 9, 11], "alpha": 1}} added, from --config or
from the weights' own metadata (key `inctrl.config`). Weights may be f32, f16 or bf16, under the published names.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from open_clip import CLIP, tokenizer
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import normalize

# CLIP's pixel statistics (OpenAI), red, green, blue.
PIXEL_MEAN = [0.48145466, 0.4578275, 0.40821073]
PIXEL_STD = [0.26862954, 0.26130258, 0.27577711]

# Prompt ensembles: a class in a state in a sentence.
NORMAL = "{} | flawless {} | perfect {} | unblemished {} | {} without flaw | {} without defect | {} without damage"
ANOMALY = "damaged {} | {} with flaw | {} with defect | {} with damage"
# The order of the two articles differs from line to line in the published list; the mean does not care, a test may.
SENTENCES = [
    ("a cropped photo of {} {}.", "the a"),
    ("a close-up photo of {} {}.", "a the"),
    ("a bright photo of {} {}.", "a the"),
    ("a dark photo of {} {}.", "a the"),
    ("a jpeg corrupted photo of {} {}.", "a the"),
    ("a blurry photo of {} {}.", "the a"),
    ("a photo of {} {}.", "the a"),
    ("a photo of {} small {}.", "a the"),
    ("a photo of {} large {}.", "a the"),
    ("a photo of {} {} for visual inspection.", "a the"),
    ("a photo of {} {} for anomaly detection.", "a the"),
]
SEMANTIC = "airplane automobile bird cat deer dog frog horse ship truck animal".split()


def prompts(class_name):
    """(normal, anomaly) sentences of a class; a semantic class, whose anomaly is another object, has one of each."""
    name = class_name.replace("_", " ")
    if name in SEMANTIC:
        return [f"a photo of {name} for anomaly detection."], [f"a photo without {name} for anomaly detection."]
    templates = [sentence.format(article, "{}") for sentence, articles in SENTENCES for article in articles.split()]
    return tuple(
        [template.format(state.format(name)) for state in states.split(" | ") for template in templates]
        for states in (NORMAL, ANOMALY)
    )


def load_image(path, size):
    """uint8 [size,size,3]: shorter side to `size` by Pillow's bicubic, then the centre.

    8-bit grey and RGB are resized as they are; any other mode becomes 8-bit RGB first, as Pillow converts it."""
    with Image.open(path) as image:
        image = image if image.mode in ("L", "RGB") else image.convert("RGB")
        short = min(image.size)
        width, height = (int(size * side / short) for side in image.size)
        left, top = round((width - size) / 2), round((height - size) / 2)
        image = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
        return np.array(image.convert("RGB"))


class Adapter(nn.Module):
    """psi of equations 3 and 4: two layers without biases, a ReLU after each."""

    def __init__(self, dim):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(dim, dim // 4, bias=False), nn.ReLU(), nn.Linear(dim // 4, dim, bias=False), nn.ReLU()
        )

    def forward(self, x):
        return self.fc(x)


class Head(nn.Module):
    """eta and phi: three layers to one number. `bn1` is part of the published files and takes no part in the result."""

    def __init__(self, dim):
        super().__init__()
        self.projection1, self.bn1, self.bn2 = nn.Linear(dim, 128), nn.BatchNorm1d(dim), nn.BatchNorm1d(128)
        self.projection2, self.bn3 = nn.Linear(128, 64), nn.BatchNorm1d(64)
        self.projection3 = nn.Linear(64, 1)

    def forward(self, x):
        x = self.bn2(self.projection1(x).relu())
        x = self.bn3(self.projection2(x).relu())
        return self.projection3(x).sigmoid().squeeze(-1)


class Oracle(CLIP):
    """CLIP with InCTRL's adapter and heads, so that the state dict of a checkpoint fits by name."""

    def __init__(self, config):
        config = dict(config)
        method = config.pop("inctrl")
        super().__init__(**config)
        self.taps, self.alpha = method["taps"], method.get("alpha", 1)
        self.adapter = Adapter(config["embed_dim"])
        self.diff_head_ref = Head(config["embed_dim"])
        self.diff_head = Head(int(np.prod(self.visual.grid_size)))

    @classmethod
    def load(cls, weights, config=None, dtype=torch.float32):
        with safe_open(weights, "pt") as file:
            config = config or json.loads((file.metadata() or {}).get("inctrl.config", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if config is None:
            raise SystemExit(f"{weights} carries no configuration: give one with --config")
        model = cls(config)
        missing, extra = model.load_state_dict(tensors, strict=False)
        # What the result does not depend on may be absent.
        missing = [name for name in missing if not name.endswith("num_batches_tracked") and ".bn1." not in name]
        missing = [name for name in missing if name != "logit_scale"]
        extra = [name for name in extra if name != "attn_mask"]
        if missing or extra:
            raise SystemExit(f"{weights}: missing tensors {missing}, unexpected tensors {extra}")
        return model.to(dtype).eval()

    def load_images(self, paths):
        """[B,3,S,S], normalised by CLIP's pixel statistics."""
        size = self.visual.image_size[0]
        pixels = torch.from_numpy(np.stack([load_image(path, size) for path in paths]))
        # In f32, as the published code does, whatever the precision of what follows.
        unit = pixels.permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
        return ((unit - mean) / std).to(self.visual.proj.dtype)

    def image_features(self, images):
        """Class embedding [B,E], residual stream [1+N,W] before the first block and after each, each [B,1+N,W].

        Tap t is the t-th block counted from 1, which is entry t of the stream."""
        stream = []
        remember = lambda module, inputs, output: stream.append(output)
        hooks = [m.register_forward_hook(remember) for m in (self.visual.ln_pre, *self.visual.transformer.resblocks)]
        embedding = self.encode_image(images)
        for hook in hooks:
            hook.remove()
        return embedding, stream

    def text_prototypes(self, class_name):
        """[2,E], unit: mean unit feature of the normal and of the anomaly sentences (F_n and F_a of equation 6)."""
        features = [
            self.encode_text(tokenizer.tokenize(sentences, self.context_length), normalize=True)
            for sentences in prompts(class_name)
        ]
        return normalize(torch.stack([feature.mean(0) for feature in features]), dim=-1)

    @torch.no_grad()
    def score(self, normals, queries, class_name):
        """Intermediates of images [K,3,S,S] and [Q,3,S,S]; Q queries, K prompts, L taps, N patches, widths W and E."""
        prompt_embedding, prompt_stream = self.image_features(normals)
        embeddings, streams = zip(*(self.image_features(query[None]) for query in queries))
        embedding, stream = torch.cat(embeddings), [torch.cat(parts) for parts in zip(*streams)]
        prototypes = self.text_prototypes(class_name)

        # Equations 1 and 2: half the cosine distance of each patch to the nearest patch of any prompt; mean over taps.
        taps, prompt_taps = (torch.stack([s[tap][:, 1:] for tap in self.taps]) for s in (stream, prompt_stream))
        bank = normalize(prompt_taps, dim=-1).flatten(1, 2)
        cosine = normalize(taps, dim=-1) @ bank.transpose(1, 2)[:, None]
        layer_maps = (1 - cosine.amax(-1)) / 2
        patch_map = layer_maps.mean(0)

        # Equations 3 to 5: what the image as a whole has that the prompts lack.
        residual = self.adapter(prompt_embedding).mean(0) - self.adapter(embedding)
        s_i = self.diff_head_ref(residual)

        # Equation 6, CLIP's fixed temperature of 1/100.
        s_a = (100 * normalize(embedding, dim=-1) @ prototypes.T).softmax(-1)[:, 1]

        # Equation 7.
        s_h = self.diff_head(patch_map + (s_i + s_a)[:, None])
        s_p = patch_map.amax(-1)
        return {
            "embed": stream[0],  # [Q,1+N,W] after ln_pre
            **{f"block_{i}": block for i, block in enumerate(stream[1:])},  # [Q,1+N,W], counted from 0 as resblocks are
            "taps": taps,  # [L,Q,N,W]
            "prompt_taps": prompt_taps,  # [L,K,N,W]
            "class_query": embedding,  # [Q,E]
            "class_prompts": prompt_embedding,  # [K,E]
            "text_prototypes": prototypes,  # [2,E], normal then anomaly
            "layer_maps": layer_maps,  # [L,Q,N]
            "patch_map": patch_map,  # [Q,N]
            "image_residual_vector": residual,  # [Q,E]
            "s_i": s_i,  # [Q], and so are the next four
            "s_a": s_a,
            "s_h": s_h,
            "s_p": s_p,
            "score": (s_h + self.alpha * s_p) / (1 + self.alpha),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["score"])
    parser.add_argument("--weights", required=True, help="safetensors file")
    parser.add_argument("--config", help="model JSON; without it the weights' metadata is read")
    parser.add_argument("--class", dest="class_name", required=True, help="class name, such as metal_nut")
    parser.add_argument("--normals", nargs="+", required=True, help="images of normal samples, the prompts")
    parser.add_argument("--queries", nargs="+", required=True, help="images to score")
    parser.add_argument("--float64", action="store_true", help="compute in double precision")
    parser.add_argument("--dump", help="write the intermediate values to this file, in f32")
    parser.add_argument("--blocks", action="store_true", help="with --dump: also the residual stream after every block")
    args = parser.parse_args()

    config = json.loads(Path(args.config).read_text()) if args.config else None
    model = Oracle.load(args.weights, config, torch.float64 if args.float64 else torch.float32)
    result = model.score(model.load_images(args.normals), model.load_images(args.queries), args.class_name)
    names = {"score": "score", "holistic": "s_h", "patch_max": "s_p", "image_residual": "s_i", "text_prior": "s_a"}
    for i, path in enumerate(args.queries):
        print(json.dumps({"path": path, **{name: result[key][i].item() for name, key in names.items()}}))
    if args.dump:
        kept = {name: x for name, x in result.items() if args.blocks or not name.startswith("block_")}
        save_file({name: x.float().contiguous() for name, x in kept.items()}, args.dump)


if __name__ == "__main__":
    main()
