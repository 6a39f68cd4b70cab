"""The pictures of `inctrl synth` in memory, and episodes drawn from them."""

import json
from pathlib import Path

import numpy as np
import torch
from network import GRID, PATCH, SIDE
from PIL import Image

# The largest shift between the crops of an episode, in pixels: parts never lie in the same place twice.
JITTER = 12
# Another state than normal: a patch is defective where so much of it is.
COVERED = 0.05
PROMPTS, QUERIES = 2, 2


class Product:
    """The images of one product: uint8 [n, 240, 240, 3], masks [n, 240, 240], and the name of the defect of each."""

    def __init__(self, folder, family, text):
        self.family, self.text = family, text
        images, masks, self.kinds = [], [], []
        for path in sorted([*folder.glob("train/good/*.png"), *folder.glob("test/*/*.png")]):
            kind = path.parent.name
            images.append(np.asarray(Image.open(path).convert("RGB")))
            mask = folder / "ground_truth" / kind / f"{path.stem}_mask.png"
            masks.append(np.zeros((SIDE, SIDE), bool) if kind == "good" else np.asarray(Image.open(mask).convert("L")) > 0)
            self.kinds.append(kind)
        self.images, self.masks = np.stack(images), np.stack(masks)
        self.good = [i for i, kind in enumerate(self.kinds) if kind == "good"]
        self.defective = [i for i, kind in enumerate(self.kinds) if kind != "good"]


def read(folder):
    """Every product of a folder that `inctrl synth` wrote."""
    folder = Path(folder)
    classes = json.loads((folder / "synth.json").read_text())["classes"]
    return [Product(folder / about["folder"], about["family"], about["class"]) for about in classes]


class Episodes:
    """Draws batches of episodes: two normal prompts and two queries of one product, the first query defective, the second
    normal or defective, all four about the same window of the product."""

    def __init__(self, products, seed):
        self.products, self.random = products, np.random.default_rng(seed)

    def draw(self, episodes, side):
        """Images uint8 [4 * episodes, side, side, 3], coverage of each patch by a defect [4 * episodes, n], places in the grid,
        and for each image its product and the name of its state."""
        random = self.random
        images, masks, rows, columns, owners, states = [], [], [], [], [], []
        for index in random.choice(len(self.products), episodes, replace=False):
            product = self.products[index]
            first, second, third = random.choice(product.good, 3, replace=False)
            wrong, other = random.choice(product.defective, 2, replace=False)
            chosen = [first, second, wrong, third if random.random() < 0.5 else other]
            top, left = self.window(product.masks[wrong], side)
            flips, turn = random.random(2) < 0.5, random.random() < 0.5
            # Another lamp for the whole episode, and a little for each of its images.
            tint = random.uniform(0.8, 1.2, 3)
            for i in chosen:
                y, x = (int(np.clip(at + random.integers(-JITTER, JITTER + 1), 0, SIDE - side)) for at in (top, left))
                image = product.images[i, y : y + side, x : x + side] * (tint * random.uniform(0.94, 1.06))
                mask = product.masks[i, y : y + side, x : x + side]
                for axis in (0, 1):
                    if flips[axis]:
                        image, mask = np.flip(image, axis), np.flip(mask, axis)
                if turn:
                    image, mask = image.transpose(1, 0, 2), mask.T
                images.append(np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8)))
                masks.append(np.ascontiguousarray(mask))
                rows.append(min(top // PATCH, GRID - side // PATCH))
                columns.append(min(left // PATCH, GRID - side // PATCH))
                owners.append(index)
                # A crop beside the defect shows a good part.
                states.append(product.kinds[i] if mask.sum() > 12 else "good")
        covered = torch.from_numpy(np.stack(masks)).float()[:, None]
        covered = torch.nn.functional.avg_pool2d(covered, PATCH)[:, 0].flatten(1)
        return torch.from_numpy(np.stack(images)), covered, rows, columns, owners, states

    def window(self, mask, side):
        """The top left corner of a crop that holds some of the defect."""
        if side == SIDE:
            return 0, 0
        ys, xs = np.nonzero(mask)
        at = self.random.integers(len(ys))
        margin = PATCH
        corner = [int(np.clip(c - self.random.integers(margin, side - margin), 0, SIDE - side)) for c in (ys[at], xs[at])]
        return corner[0], corner[1]
