#!/usr/bin/env python3
"""WinCLIP in PyTorch, for checking: the numbers that the engine must reproduce.

    pip install torch open_clip_torch safetensors pillow

Written from the paper (Jeong et al., CVPR 2023) with the constants of mala-lab/WinCLIP. The towers are open_clip's own CLIP
(oracle.py). Windows are boolean masks over the patches here, and the mean over them is written as a loop, so that little is
shared with the engine. Grids may have any rows and columns: positions are interpolated by PyTorch, bicubic and antialiased.
"""

import torch
from open_clip import tokenizer
from oracle import Oracle, prompts
from torch.nn.functional import interpolate, normalize

SIDES = (2, 3)


def masks(rows, cols, side):
    """The windows of side x side patches, by their upper left patch: boolean [M, rows * cols]."""
    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    inside = lambda top, left: (row >= top) & (row < top + side) & (col >= left) & (col < left + side)
    all_of_them = [inside(top, left) for top in range(rows - side + 1) for left in range(cols - side + 1)]
    return torch.stack(all_of_them).flatten(1)


class Winclip(Oracle):
    """CLIP with the method's functions; the heads of InCTRL are not used."""

    def tokens(self, image):
        """[3,H,W] normalised -> the class token and the patches with their positions, before ln_pre, [1+N,W]; rows, columns."""
        tower = self.visual
        patches = tower.conv1(image[None])[0]
        rows, cols = patches.shape[1:]
        own, *stored = tower.positional_embedding.split([1, len(tower.positional_embedding) - 1])
        side = int(len(stored[0]) ** 0.5)
        table = stored[0].T.reshape(1, -1, side, side)
        if (rows, cols) != (side, side):
            table = interpolate(table, (rows, cols), mode="bicubic", antialias=True, align_corners=False)
        patches = patches.flatten(1).T + table[0].flatten(1).T
        return torch.cat([tower.class_embedding[None] + own, patches]), rows, cols

    def run(self, sequences):
        """[B,T,W] before ln_pre -> embeddings [B,E], and the last block's tokens [B,T,W]."""
        tower = self.visual
        x = tower.ln_pre(sequences)
        for block in tower.transformer.resblocks:
            x = block(x)
        return tower.ln_post(x[:, 0]) @ tower.proj, x

    def seen(self, image):
        """Everything that the method takes of an image."""
        x, rows, cols = self.tokens(image)
        embedding, last = self.run(x[None])
        found = {"grid": (rows, cols), "image": embedding[0], "patches": last[0, 1:]}
        for side in SIDES:
            chosen = torch.cat([torch.ones(len(masks(rows, cols, side)), 1, dtype=bool), masks(rows, cols, side)], dim=1)
            # Each by itself: nothing that a batch could mix.
            found[side] = torch.cat([self.run(x[window][None])[0] for window in chosen])
        return found

    def texts(self, name):
        """[2,E]: both prototypes, always of the whole ensembles, also for names that InCTRL takes for another object."""
        sides = [[text.replace("\0", name.replace("_", " ")) for text in side] for side in prompts("\0")]
        features = [self.encode_text(tokenizer.tokenize(side, self.context_length), normalize=True) for side in sides]
        return normalize(torch.stack([feature.mean(0) for feature in features]), dim=-1)


def squares(width, height):
    """What mala-lab/WinCLIP cuts a picture that is not square into: left, top, right, bottom of squares of the shorter side,
    the last ones pulled back to the edge. There one may come twice. (Its own boxes of tall pictures lie beside them.)"""
    side, long = sorted((width, height))
    if side == long:
        return [(0, 0, side, side)]
    firsts = [min(first, long - side) for first in range(0, long, int(0.8 * side))]
    return [(at, 0, at + side, side) if width > height else (0, at, side, at + side) for at in firsts]


def text_score(x, texts):
    return (100 * normalize(x, dim=-1) @ texts.T).softmax(-1)[..., 1]


def distance(x, bank):
    """Half of 1 - cosine to the nearest; never below 0, where rounding would put it."""
    return ((1 - (normalize(x, dim=-1) @ normalize(bank, dim=-1).T).amax(-1)) / 2).clamp_min(0)


def covering(values, grid, side):
    """The harmonic mean, for each patch, over the windows that cover it."""
    windows = masks(*grid, side)
    means = [windows[:, patch].sum() / (1 / values[windows[:, patch]]).sum() for patch in range(windows.shape[1])]
    return torch.stack(means)


def zero_shot(found, texts):
    """Score and map [N]."""
    score = text_score(found["image"], texts)
    each = [covering(text_score(found[side], texts), found["grid"], side) for side in SIDES]
    return score, (len(each) + 1) / (sum(1 / values for values in each) + 1 / score)


def few_shot(found, prompts_found, texts):
    """Score, zero-shot score and map [N]."""
    bank = lambda part: torch.cat([prompt[part] for prompt in prompts_found])
    each = [covering(distance(found[side], bank(side)), found["grid"], side) for side in SIDES]
    cells = (sum(each) + distance(found["patches"], bank("patches"))) / (len(each) + 1)
    zero = text_score(found["image"], texts)
    return (cells.max() + zero) / 2, zero, cells


def of_squares(found, prompts_found, texts):
    """Zero-shot score, few-shot score, and the few-shot map of each square: means over the squares of a picture, each
    compared with those at its place in the prompts."""
    zero = torch.stack([text_score(square["image"], texts) for square in found]).mean()
    maps = [few_shot(square, list(own), texts)[2] for square, *own in zip(found, *prompts_found, strict=True)]
    return zero, (torch.stack([cells.max() for cells in maps]).mean() + zero) / 2, torch.stack(maps)
