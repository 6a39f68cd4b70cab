#!/usr/bin/env python3
"""Trains the CLIP of the demo weights on procedural products: nothing is downloaded, and no real image is seen.

    inctrl synth -o parts --split train ...         # the command with its options is in weights/README.md
    python weights/demo/train.py parts -o demo-clip.safetensors
    inctrl train --weights demo-clip.safetensors ...

Needs torch, numpy, pillow, safetensors and open_clip_torch (for its tokeniser). The number of steps and the seed decide the
result, up to the rounding of the machine. Three losses, added up:

- captions: the class embedding tells which of all captions "<state> <product>" describes the image (CLIP's own loss, with
  every product and state as a candidate), and, with eq. 6 of the paper, whether its state is normal, half of the time for
  made-up names, so that the answer does not hang on the name;
- residuals: the method's own map (equations 1 and 2) from two normal prompts tells defective patches from good ones, for each
  tap and for the mean of the taps, by one threshold for all products; and its maximum tells defective images. The
  steepness is lowered during training: what is to be certain must then differ by much, so that the maximum counts beside the
  holistic score, which goes to 1;
- spread: patches of different products are not alike, which keeps the map from collapsing to zero.

Three quarters of the steps look at crops of 112 pixels, the last quarter at whole images. The image tower runs in bf16 with
f32 weights.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from network import CONFIG, TAPS, WIDTH, encode_image, encode_text, normalised, random_weights, residuals
from products import COVERED, PROMPTS, QUERIES, Episodes, read
from safetensors.torch import load_file, save_file

# The sentences of src/text/prompts.rs.
NORMAL = ["{}", "flawless {}", "perfect {}", "unblemished {}", "{} without flaw", "{} without defect", "{} without damage"]
DEFECTIVE = ["damaged {}", "{} with flaw", "{} with defect", "{} with damage"]
KINDS = ["cropped photo of the", "cropped photo of a", "close-up photo of a", "close-up photo of the", "bright photo of a",
         "bright photo of the", "dark photo of a", "dark photo of the", "jpeg corrupted photo of a", "jpeg corrupted photo of the",
         "blurry photo of the", "blurry photo of a", "photo of the", "photo of a", "photo of a small", "photo of the small",
         "photo of a large", "photo of the large"]
TEMPLATES = [f"a {kind} {{}}." for kind in KINDS] + [
    f"a photo of {article} {{}} for {task}." for article in ("a", "the") for task in ("visual inspection", "anomaly detection")
]
WORDS = ("hazelnut capsule zipper carpet grid toothbrush transistor cashew candle gum fryum pipe macaroni object part surface item "
         "plate bolt lens chip panel cell scan organ skin plastic rubber glass steel yarn paint coin box lid cap plug").split()

SMALL, LARGE = 112, 240
SMALL_EPISODES, LARGE_EPISODES = 8, 3
RATE, WARM_UP, DECAY = 4e-4, 100, 0.05
# The average of the weights over about so many steps is what is kept.
AVERAGED = 300
# Logits are residuals above the threshold times so much, at the beginning and at the end. Less at the beginning, and
# residuals do not begin to learn beside the captions.
STEEPNESS = (35.0, 12.0)


class Captions:
    """The losses of the class embedding."""

    def __init__(self, products, random):
        self.random = random
        states = sorted({(p.text, kind) for p in products for kind in p.kinds})
        self.known = states
        self.place = {state: i for i, state in enumerate(states)}

    def sentence(self, name, kind):
        if kind == "good":
            state = self.random.choice(NORMAL)
        elif kind and self.random.random() < 0.5:
            state = "{} with " + kind.replace("_", " ")
        else:
            state = self.random.choice(DEFECTIVE)
        return self.random.choice(TEMPLATES).format(state.format(name))

    def name(self, text):
        """The product's own name or a made-up one."""
        if self.random.random() < 0.5:
            return text
        return " ".join(self.random.choice(WORDS, self.random.integers(1, 3)))

    def losses(self, weights, embeddings, scale, temperature, names, states):
        """`names` and `states` of each image. The temperature of eq. 6 is raised during training: at its 100 from the start this
        loss drowns the others."""
        made_up = [self.name(name) for name in names[:: PROMPTS + QUERIES]]
        texts = [self.sentence(*state) for state in self.known]
        texts += [self.sentence(name, "good") for name in made_up] + [self.sentence(name, None) for name in made_up]
        embedded = encode_text(texts, weights)
        known, count = len(self.known), len(made_up)
        logits = embeddings @ embedded[:known].T * scale.exp()
        wanted = torch.tensor([self.place[state] for state in zip(names, states)])
        captions = F.cross_entropy(logits, wanted)
        direction = embedded[known + count :] - embedded[known : known + count]
        margin = temperature * (embeddings * direction.repeat_interleave(PROMPTS + QUERIES, 0)).sum(1)
        wrong = torch.tensor([float(state != "good") for state in states])
        # Three of five images are good.
        weight = torch.where(wrong > 0, 0.5 / wrong.mean().clamp(0.05), 0.5 / (1 - wrong).mean().clamp(0.05))
        return captions, F.binary_cross_entropy_with_logits(margin, wrong, weight=weight)


def residual_loss(maps, covered, steepness, threshold):
    """`covered` is the share of each query patch that a defect covers, [episodes, queries, n]. A patch of which a defect covers a
    little is neither good nor bad."""
    wrong = (covered > COVERED).float()
    counted = ((covered == 0) | (covered > COVERED)).float()
    bad, good = wrong * counted, (1 - wrong) * counted
    total = 0.0
    for i, found in enumerate(maps):
        logits = (found - threshold[i]) * steepness
        losses = F.binary_cross_entropy_with_logits(logits, wrong, reduction="none")
        total = total + 0.5 * (losses * bad).sum() / bad.sum().clamp(1) + 0.5 * (losses * good).sum() / good.sum().clamp(1)
        image, image_wrong = found.amax(-1), wrong.amax(-1)
        image_logits = (image - threshold[len(maps) + i]) * steepness
        weight = 1.0 if i + 1 == len(maps) else 0.3
        total = total + weight * F.binary_cross_entropy_with_logits(image_logits, image_wrong)
        if i + 1 == len(maps):
            # Every defective image above every good one, and above the good one of its own product twice so.
            gaps = (image.flatten()[:, None] - image.flatten()[None]) * steepness
            owner = torch.arange(len(image)).repeat_interleave(image.shape[1])
            pairs = (image_wrong.flatten()[:, None] > 0) & (image_wrong.flatten()[None] == 0)
            for chosen in (pairs, pairs & (owner[:, None] == owner[None])):
                if chosen.any():
                    total = total + 0.5 * F.softplus(-gaps[chosen]).mean()
    return total / len(maps)


def spread_loss(taps, episodes, generator):
    """The mean square of the cosine between patches of different episodes."""
    total = 0.0
    for tap in taps:
        picked = torch.randint(tap.shape[1], (8,), generator=generator)
        unit = F.normalize(tap[:, picked], dim=-1).view(episodes, -1, WIDTH)
        cosines = torch.einsum("aid,bjd->abij", unit, unit)
        total = total + cosines[~torch.eye(episodes, dtype=torch.bool)].square().mean()
    return total / len(taps)


def train(products, start, steps, seed, threads, log):
    """From fresh weights, or from `start`, whose text prior has been trained at its final temperature already."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    weights = {name: tensor.requires_grad_() for name, tensor in (start or random_weights(seed)).items()}
    maps = len(TAPS) + 1
    extra = {
        "scale": torch.tensor(2.7),
        "threshold": torch.tensor([0.06] * maps + [0.08] * maps),
    }
    extra = {name: tensor.requires_grad_() for name, tensor in extra.items()}
    # Most rows of the token table are never looked up: decay would only wear them down.
    decayed = [w for name, w in weights.items() if w.ndim > 1 and "token" not in name]
    plain = [w for name, w in weights.items() if w.ndim < 2 or "token" in name]
    groups = [
        {"params": decayed, "weight_decay": DECAY, "faster": 1},
        {"params": plain, "weight_decay": 0.0, "faster": 1},
        {"params": list(extra.values()), "weight_decay": 0.0, "faster": 5},
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), fused=True)
    average = {name: tensor.detach().clone() for name, tensor in weights.items()}
    episodes, captions = Episodes(products, seed), Captions(products, np.random.default_rng(seed + 1))
    generator = torch.Generator().manual_seed(seed)
    began, recent = time.monotonic(), []
    for step in range(steps):
        done = step / steps
        whole = done >= 0.75
        side, count = (LARGE, LARGE_EPISODES) if whole else (SMALL, SMALL_EPISODES)
        rate = RATE * min(1, (step + 1) / WARM_UP) * (0.5 * (1 + math.cos(math.pi * done)) + 0.01)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["faster"]
        images, covered, rows, columns, owners, states = episodes.draw(count, side)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            embeddings, taps = encode_image(normalised(images), weights, rows, columns)
        embeddings, taps = embeddings.float(), [tap.float() for tap in taps]
        names = [products[owner].text for owner in owners]
        temperature = 100 if start else 10 + 90 * done
        caption, state = captions.losses(weights, embeddings, extra["scale"], temperature, names, states)
        steepness = STEEPNESS[0] * (STEEPNESS[1] / STEEPNESS[0]) ** min(1, max(0, 2 * done - 0.6))
        queries = covered.view(count, PROMPTS + QUERIES, -1)[:, PROMPTS:]
        residual = residual_loss(residuals(taps, PROMPTS, QUERIES), queries, steepness, extra["threshold"])
        spread = spread_loss(taps, count, generator)
        loss = 0.4 * caption + 15 / temperature * state + residual + 0.3 * spread
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimiser.step()
        with torch.no_grad():
            keep = 1 - 1 / min(step + 1, AVERAGED)
            for name, tensor in weights.items():
                average[name].lerp_(tensor, 1 - keep)
        recent.append([x.item() for x in (caption, state, residual, spread)])
        if (step + 1) % 50 == 0:
            means = np.mean(recent, 0).round(4).tolist()
            entry = dict(zip(("caption", "state", "residual", "spread"), means), step=step + 1, seconds=round(time.monotonic() - began))
            print(json.dumps(entry), flush=True)
            log.append(entry)
            recent = []
    return average


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("products", type=Path, help="a folder that `inctrl synth` wrote")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights to go on from, in place of fresh ones")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    products = read(args.products)
    print(f"{len(products)} products, {sum(len(p.images) for p in products)} images", flush=True)
    log = []
    start = None
    if args.start:
        loaded = load_file(args.start)
        start = {name: loaded[name].float() for name in random_weights(0)}
    weights = train(products, start, args.steps, args.seed, args.threads, log)
    source = f"weights/demo/train.py --steps {args.steps} --seed {args.seed}" + (f" --start {args.start.name}" if args.start else "")
    metadata = {"inctrl.config": json.dumps(CONFIG), "source": source}
    partial = args.output.with_suffix(".partial")
    save_file({name: tensor.half().contiguous() for name, tensor in weights.items()}, partial, metadata=metadata)
    partial.replace(args.output)
    args.output.with_suffix(".log.json").write_text(json.dumps(log, indent=0) + "\n")


if __name__ == "__main__":
    main()
