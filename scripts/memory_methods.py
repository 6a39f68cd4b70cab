#!/usr/bin/env python3
"""PatchCore, SubspaceAD, PaDiM and SPADE on patch tokens, in float64, for checking: the numbers that the engine must reproduce.

    pip install torch numpy

Written from the papers; what these leave open is said where it is decided. Tokens are [images, cells, width], maps [rows, cols].
"""

import numpy as np
import torch


def unit(x):
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def distances(a, b):
    """Euclidean, by differences: |a|^2 - 2ab + |b|^2 cancels."""
    return torch.stack([(b - row).square().sum(-1).sqrt() for row in a])


def coreset(rows, count):
    """Greedy k-centre: places of `count` rows, the first the farthest from the mean; of equals the first, none twice; and how close
    the closest choice was, as a share."""
    far, taken, closest = (rows - rows.mean(0)).norm(dim=1), [], 1.0
    for _ in range(count):
        order = far.argsort(descending=True, stable=True)
        best = int((far == far.max()).nonzero()[0])
        if len(rows) > len(taken) + 1:
            closest = min(closest, float((far[order[0]] - far[order[1]]) / far[order[0]]))
        own = (rows - rows[best]).norm(dim=1)
        far = torch.minimum(far, own) if taken else own
        taken.append(best)
        far[taken] = -1
    return taken, closest


def patchcore(prompts, query, share, around=9):
    """Tapped tokens, lists of [images, cells, width] -> as [`patchcore_of_rows`], of the unit tokens side by side."""
    join = lambda taps: torch.cat([unit(tap) for tap in taps], -1)
    return patchcore_of_rows(join(prompts), join(query), share, around)


def patchcore_of_rows(prompts, query, share, around=9):
    """Rows [images, cells, width] -> distances [cells], the largest, and that weighed by the neighbours of the row that its patch is
    nearest to; the places of the coreset, and how close its closest choice was."""
    rows = prompts.flatten(0, 1)
    taken, closest = list(range(len(rows))), 1.0
    if share < 1:
        taken, closest = coreset(rows, max(1, int(len(rows) * share)))
    bank, patches = rows[taken], query.flatten(0, 1)
    all_of_them = distances(patches, bank)
    away, nearest = all_of_them.min(1)
    worst = int(away.argmax())
    near = distances(bank[nearest[worst]][None], bank)[0].argsort(stable=True)[:around]
    weight = 1 - all_of_them[worst, near].softmax(0)[0]
    return {"distances": away, "score": away[worst], "reweighted": away[worst] * weight}, taken, closest


def gaussian(cells, patch, radius, mirrored, sigma=4.0):
    """A map of cells, bilinearly at `patch` pixels a cell (middles of pixels, edges clamped), and blurred. At the border
    d c b | a b c where `mirrored`, else c b a | a b c, as often as it takes."""
    weights = np.exp(-np.arange(-radius, radius + 1) ** 2 / (2 * sigma * sigma))
    weights /= weights.sum()

    def axis(count):
        pixels = count * patch
        enlarge = np.zeros((pixels, count))
        for i in range(pixels):
            at = max((i + 0.5) / patch - 0.5, 0)
            low = int(at)
            enlarge[i, low] += 1 - (at - low)
            enlarge[i, min(low + 1, count - 1)] += at - low
        blur = np.zeros((pixels, pixels))
        for i in range(pixels):
            for offset, weight in zip(range(-radius, radius + 1), weights):
                period = max(2 * pixels - 2, 1) if mirrored else 2 * pixels
                j = (i + offset) % period
                blur[i, j if j < pixels else 2 * pixels - (2 if mirrored else 1) - j] += weight
        return torch.from_numpy(blur @ enlarge)

    return axis(cells.shape[0]) @ cells @ axis(cells.shape[1]).T


def subspace(prompts, query, share, grid, patch):
    """Tapped tokens as they are -> squared lengths of what the principal components leave, and the mean of the largest hundredth of
    their map's pixels; and how many components hold `share` of the variance."""
    rows, own = (torch.stack(taps).mean(0).flatten(0, 1) for taps in (prompts, query))
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / (len(rows) - 1))
    held = values.flip(0).cumsum(0) / values.sum()
    count = min(int((held < share).sum()) + 1, len(held))
    components = vectors.flip(1)[:, :count]
    rest = (own - mean) - (own - mean) @ components @ components.T
    cells = rest.square().sum(-1)
    pixels = gaussian(cells.reshape(grid), patch, 1, True).flatten().sort(descending=True).values
    return {"distances": cells, "score": pixels[: max(1, len(pixels) // 100)].mean()}, count


def padim(prompts, query, channels, grid, patch, ridge=0.01):
    """Tapped tokens after the final norm -> Mahalanobis distances to the Gaussian of each cell over `channels` of the tokens side by
    side, and the largest pixel of their blurred map."""
    rows, own = (torch.cat(taps, -1)[..., channels] for taps in (prompts, query))
    away = rows - rows.mean(0)
    covariance = torch.einsum("kni,knj->nij", away, away) / max(len(rows) - 1, 1) + ridge * torch.eye(len(channels)).double()
    delta = (own[0] - rows.mean(0))[..., None]
    cells = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), delta, upper=False).norm(dim=(1, 2))
    return {"distances": cells, "score": gaussian(cells.reshape(grid), patch, 16, False).max()}


def spade(prompts, query, prompt_classes, query_class):
    """Tapped tokens after the final norm and class tokens -> the mean over taps of distances to the nearest token of any prompt, and the
    mean distance of the class token to those of all prompts (no more than 50, which are all neighbours)."""
    cells = [distances(unit(own)[0], unit(rows).flatten(0, 1)).min(1).values for own, rows in zip(query, prompts)]
    score = distances(unit(query_class)[None], unit(prompt_classes))[0].mean()
    return {"distances": torch.stack(cells).mean(0), "score": score}


def neighbourhoods(levels, each, every):
    """Levels of a ResNet, [images, channels, rows, cols] -> [images, cells of the first, every], as the official PatchCore has them: 3 x 3
    cells with zeros outside, the channel the slow index, averaged to `each` numbers, enlarged bilinearly, side by side, averaged."""
    size, parts = levels[0].shape[2:], []
    for level in levels:
        wide = torch.nn.functional.unfold(level, 3, padding=1).mT
        narrow = torch.nn.functional.adaptive_avg_pool1d(wide, each).mT.unflatten(2, level.shape[2:])
        parts.append(torch.nn.functional.interpolate(narrow, size=tuple(size), mode="bilinear").flatten(2).mT)
    return torch.nn.functional.adaptive_avg_pool1d(torch.cat(parts, -1), every)


def side_by_side(levels):
    """Levels -> [images, cells of the first, channels of all]: the nearest cell of each, as in PaDiM."""
    size = tuple(levels[0].shape[2:])
    return torch.cat([torch.nn.functional.interpolate(level, size=size).flatten(2).mT for level in levels], -1)


def spade_of_levels(prompts, query, prompt_means, query_mean):
    """Levels of prompts and of a query, and means of the last one -> as [`spade`], at no unit length; the map on the first grid."""
    size, maps = tuple(query[0].shape[2:]), []
    for own, rows in zip(query, prompts):
        cells = distances(own[0].flatten(1).T, rows.permute(0, 2, 3, 1).flatten(0, 2)).min(1).values.reshape(own.shape[2:])
        maps.append(torch.nn.functional.interpolate(cells[None, None], size=size, mode="bilinear").flatten())
    return {"distances": torch.stack(maps).mean(0), "score": distances(query_mean[None], prompt_means)[0].mean()}


STEP, WORD = 0x9E3779B97F4A7C15, (1 << 64) - 1


def mix(z):
    """SplitMix64's bits of a counter."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WORD
    return z ^ (z >> 31)


def drawn_channels(count, of, seed):
    """`count` of `of` channels, ascending: those whose drawn numbers are the smallest."""
    numbers = [(mix((seed * of + channel + 1) * STEP & WORD), channel) for channel in range(of)]
    return sorted(channel for _, channel in sorted(numbers)[:count])
