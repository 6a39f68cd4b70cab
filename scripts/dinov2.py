#!/usr/bin/env python3
"""DINOv2's vision transformer in PyTorch: the reference for the engine.

    pip install torch

Written from the paper (Oquab et al., 2024) and the official code's names and constants; weights are a state_dict under the
official names, as numpy or torch tensors. It computes in the type of its input.
"""

import math

import torch
import torch.nn.functional as F

EPSILON = 1e-6


def positions(stored, rows, cols, registers):
    """The position embedding [1, 1 + rows * cols, W] for a grid, from the stored one of a square grid.

    The official rule: without registers by the factor (extent + 0.1) / stored, without antialiasing; with registers to the
    size, antialiased; bicubic in float32 in both cases, and nothing where the grid is the stored one."""
    side = math.isqrt(stored.shape[1] - 1)
    if (rows, cols) == (side, side):
        return stored
    grid = stored[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
    if registers:
        grid = F.interpolate(grid, size=(rows, cols), mode="bicubic", antialias=True)
    else:
        factors = ((rows + 0.1) / side, (cols + 0.1) / side)
        grid = F.interpolate(grid, scale_factor=factors, mode="bicubic", antialias=False)
    assert grid.shape[-2:] == (rows, cols)
    grid = grid.permute(0, 2, 3, 1).reshape(1, rows * cols, -1).to(stored.dtype)
    return torch.cat((stored[:, :1], grid), 1)


def encode(state, pixels, heads):
    """pixels [3, H, W], normalised, whole patches -> {"embed", "block_1", .., "normed"}: the residual stream [1 + R + N, W]
    after the embedding and after each block, and the last after the final norm."""
    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], EPSILON)

    patch = state["patch_embed.proj.weight"].shape[-1]
    rows, cols = pixels.shape[1] // patch, pixels.shape[2] // patch
    registers = state.get("register_tokens")
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    patches = F.conv2d(pixels[None], weight, bias, stride=patch).flatten(2).transpose(1, 2)
    x = torch.cat((state["cls_token"], patches), 1) + positions(state["pos_embed"], rows, cols, registers is not None)
    if registers is not None:
        x = torch.cat((x[:, :1], registers, x[:, 1:]), 1)
    result = {"embed": x[0]}
    block = 0
    while f"blocks.{block}.norm1.weight" in state:
        name = f"blocks.{block}"
        q, k, v = linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv").reshape(*x.shape[1:2], 3, heads, -1).permute(1, 2, 0, 3)
        attended = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v
        x = x + linear(attended.transpose(0, 1).reshape(x.shape), f"{name}.attn.proj") * state[f"{name}.ls1.gamma"]
        h = norm(x, f"{name}.norm2")
        if f"{name}.mlp.w12.weight" in state:
            a, b = linear(h, f"{name}.mlp.w12").chunk(2, -1)
            h = linear(F.silu(a) * b, f"{name}.mlp.w3")
        else:
            h = linear(F.gelu(linear(h, f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
        x = x + h * state[f"{name}.ls2.gamma"]
        block += 1
        result[f"block_{block}"] = x[0]
    result["normed"] = norm(x, "norm")[0]
    return result
