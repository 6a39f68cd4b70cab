"""DINOv2's vision transformer alone, on the weights of an inctrl file, as AnomalyDINO reads it: what the rivals run."""

import json

import dinov2
import numpy as np
import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

from .rivals import Block

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Tower(nn.Module):
    """Images `[B, 3, S, S]` to a tuple of unit patch tokens `[B, N, W]` after the final norm.

    What can be done before there is an image is done: the positions of the grid are made, and the scales of the residual
    branches are folded into the layers before them.
    """

    def __init__(self, weights, size):
        super().__init__()
        with safe_open(weights, "pt") as file:
            vision = json.loads(file.metadata()["inctrl.config"])
            state = {name: file.get_tensor(name).float() for name in file.keys()}
        kernel = state["patch_embed.proj.weight"]
        width, patch = kernel.shape[0], kernel.shape[-1]
        self.size = size
        self.conv1 = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(state["cls_token"])
        self.positions = nn.Parameter(dinov2.positions(state["pos_embed"], size // patch, size // patch, False))
        self.norm = nn.LayerNorm(width, eps=dinov2.EPSILON)
        self.blocks = nn.ModuleList(Block(width, vision["heads"], F.gelu, dinov2.EPSILON) for _ in range(vision["layers"]))
        renamed = {"cls_token": self.cls_token.data, "positions": self.positions.data}
        for name, tensor in state.items():
            for old, new in NAMES:
                name = name.replace(old, new)
            renamed[name] = tensor
        for number in range(vision["layers"]):
            for scale, layer in ("ls1", "out"), ("ls2", "c_proj"):
                gamma = renamed.pop(f"blocks.{number}.{scale}.gamma")
                renamed[f"blocks.{number}.{layer}.weight"] *= gamma[:, None]
                renamed[f"blocks.{number}.{layer}.bias"] *= gamma
        for unused in "pos_embed", "mask_token":
            renamed.pop(unused, None)
        self.load_state_dict(renamed)
        self.eval()

    def forward(self, image):
        x = self.conv1(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], 1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return (F.normalize(self.norm(x)[:, 1:], dim=-1),)


NAMES = [("patch_embed.proj", "conv1"), ("attn.qkv", "qkv"), ("attn.proj", "out"), ("mlp.fc1", "c_fc"), ("mlp.fc2", "c_proj")]
NAMES += [("norm1", "ln_1"), ("norm2", "ln_2")]


def normalised(pixels, size):
    """A picture `[height, width, 3]` as the tower's input `[3, size, size]`: the longer side resized to `size`, which a square
    picture fills."""
    from PIL import Image

    assert pixels.shape[0] == pixels.shape[1], "the rivals' picture is square"
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    return ((np.asarray(image, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)
