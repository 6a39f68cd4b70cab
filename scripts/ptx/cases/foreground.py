"""kernels/foreground.cu: AnomalyDINO's mask, from tokens to maps cut out by it."""

import numpy as np

from ..launch import MARK, U32, Launch
from ..parser import Fault
from . import case

SHARED = 9216
THRESHOLD = 10.0


def gram(rows):
    """`Σ x xᵀ`, and the same of absolute values."""
    return rows.T @ rows, np.abs(rows).T @ np.abs(rows)


def tile_of(launch, images, width):
    """Which elements of [images, width, width] the sampled blocks write."""
    where = np.zeros((images, width, width), bool)
    for x, y, z in launch.blocks:
        where[z, 64 * y : 64 * y + 64, 64 * x : 64 * x + 64] = True
    return where


# A whole step of rows and a rest, a single patch; several tiles, a prefix, several images.
@case("foreground_covariance", shapes=[(1, 0, 1, 64), (2, 1, 37, 128), (1, 5, 48, 192), (1, 1, 1024, 384)])
def covariance(kernel, images, prefix, patches, width):
    random = np.random.default_rng(width + patches)
    tokens = random.standard_normal((images, prefix + patches, width)).astype(np.float32) * 3 + 1
    launch = Launch(kernel, (width // 64, width // 64, images), 256, SHARED, None if patches < 1024 else [(5, 2, 0)])
    source, out = launch.input(tokens, "tokens"), launch.output((images, width, width), np.float32)
    launch.arguments = [source, prefix, patches, width, out]
    rows = tokens[:, prefix:].astype(np.float64)
    mean, size = rows.mean(axis=1, keepdims=True), np.abs(rows).mean(axis=1)
    exact, sums = map(np.stack, zip(*(gram(each) for each in rows - mean)))
    # Means err by half of the patches' roundings of their sum; the chain, the differences.
    shift = (patches / 2 + 3) * U32 * size
    tolerance = (patches + 4) * U32 * sums + 2 * patches * shift[:, :, None] * shift[:, None, :] + 1e-30
    launch.expect(out, exact, tolerance, tile_of(launch, images, width))
    return launch


@case("foreground_squared", shapes=[(1, 64, False), (2, 192, False), (1, 64, True)])
def squared(kernel, images, width, empty):
    random = np.random.default_rng(width)
    c = random.standard_normal((images, width, width)).astype(np.float32)
    c = (c + c.transpose(0, 2, 1)) * (0 if empty else 1)
    c[:, range(width), range(width)] = np.abs(c[:, range(width), range(width)]) + (0 if empty else 1)
    launch = Launch(kernel, (width // 64, width // 64, images), 256, SHARED)
    source, out = launch.input(c, "c"), launch.output((images, width, width), np.float32)
    launch.arguments = [source, width, out]
    trace = np.trace(c.astype(np.float64), axis1=1, axis2=2)
    scaled = c / np.where(trace == 0, 1, trace)[:, None, None]
    exact, sums = map(np.stack, zip(*(gram(each) for each in scaled.astype(np.float64))))
    # The chain, and the trace twice: a thread's share of it, five steps over lanes, eight warps.
    launch.expect(out, exact, (width + 2 * (width / 256 + 14) + 8) * U32 * sums, tile_of(launch, images, width))
    return launch


@case("foreground_component", shapes=[(1, 0, 1, 64), (2, 1, 21, 128), (3, 5, 8, 448), (1, 1, 1, 1536)])
def component(kernel, images, prefix, patches, width):
    random = np.random.default_rng(width)
    tokens = random.standard_normal((images, prefix + patches, width)).astype(np.float32) * 3
    c = random.standard_normal((images, width, width)).astype(np.float32) / 4
    c = c + c.transpose(0, 2, 1)
    largest = [(11 + 40 * image) % width for image in range(images)]
    for image, first in enumerate(largest):
        # Of two that are as large the first counts, whichever lanes meet them.
        for place in (first, width - 1):
            c[image, place, place] = 5
    launch = Launch(kernel, (-(-patches // 8), images), 256, 64)
    source, matrix = launch.input(tokens, "tokens"), launch.input(c, "c")
    out = launch.output((images, patches), np.float32)
    launch.arguments = [source, matrix, prefix, patches, width, out]
    axis = np.stack([c[image, first] for image, first in enumerate(largest)]).astype(np.float64)
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    rows = tokens[:, prefix:].astype(np.float64)
    exact, sums = (np.einsum("inw,iw->in", a, b) for a, b in ((rows, axis), (np.abs(rows), np.abs(axis))))
    where = np.zeros((images, patches), bool)
    for x, y, _ in launch.blocks:
        where[y, 8 * x : 8 * x + 8] = True
    launch.expect(out, exact, (width / 32 + 24) * U32 * sums, where)
    return launch


def mask_of(components, rows, cols):
    """The rules of the official code, by loops."""
    first = (components.astype(np.float64) - components.astype(np.float64).mean()).reshape(rows, cols)
    if -first.min() > first.max():
        first = -first
    assert np.abs(np.abs(first) - THRESHOLD).min() > 1e-4
    mask = first > THRESHOLD
    middle = mask[int(rows * 0.2) : int(rows * (1 - 0.2)), int(cols * 0.2) : int(cols * (1 - 0.2))]
    if middle.sum() <= middle.size * 0.35:
        mask = -first > THRESHOLD
    for fold in (np.any, np.any, np.all):
        before = mask
        mask = np.array(
            [[fold(before[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2]) for c in range(cols)] for r in range(rows)]
        )
    return mask


def parts(rows, cols, random):
    """A part in the middle, bright, dark or in a corner, and nothing but noise."""
    y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(cols) + 0.5) / cols, indexing="ij")
    middle, corner = (abs(y - 0.5) < 0.32) & (abs(x - 0.5) < 0.32), (y < 0.5) & (x < 0.6)
    noise = random.standard_normal((4, rows, cols))
    return np.stack([70 * middle, -70 * middle, 40 * corner, 0 * y]) + noise


def middle_of(extent):
    return int(extent * 0.2), int(extent * (1 - 0.2))


# Words of 32 cells and a rest of them; rows longer than a word; a single row.
@case("foreground_cut_out", shapes=[(9, 14, True), (32, 32, False), (5, 70, True), (1, 40, False), (40, 60, True), (37, 60, False)])
def cut_out(kernel, rows, cols, mirrored):
    random = np.random.default_rng(rows)
    components = parts(rows, cols, random).astype(np.float32)
    images, cells = len(components), rows * cols
    launch = Launch(kernel, (images,), 256, 32 + 8 * -(-cells // 32))
    maps = random.uniform(0.1, 1, (images, rows, cols)).astype(np.float32)
    valid = (random.uniform(0, 1, (images, rows, cols)) > 0.2).astype(np.float32)
    buffers = [launch.changed(maps, "maps")]
    if mirrored:
        buffers.append(launch.output(maps.shape, np.float32, "mirror"))
    (top, bottom), (left, right) = middle_of(rows), middle_of(cols)
    few = int((bottom - top) * (right - left) * 0.35)
    launch.arguments = [launch.input(components, "components"), launch.input(valid, "valid"), rows, cols]
    launch.arguments += [top, bottom, left, right, few, buffers[0], buffers[1] if mirrored else None]
    masks = np.stack([mask_of(each, rows, cols) for each in components])
    empty = ~(masks & (valid != 0)).any(axis=(1, 2))
    assert empty[-1]

    def check():
        for buffer in buffers:
            expected = np.where(empty[:, None, None], np.float32(np.inf), np.where(masks, maps, np.float32(0)))
            if not (buffer.found == expected).all():
                raise Fault(f"`{buffer.name}` is not the map cut out by its mask")

    launch.check(check)
    return launch


@case("foreground_cut_out", shapes=[(6, 7, "component", False), (6, 7, "map", False), (40, 60, "component", True)])
def keeps_nan(kernel, rows, cols, place, mirrored):
    components = parts(rows, cols, np.random.default_rng(1)).astype(np.float32)[:1]
    maps = np.ones((1, rows, cols), np.float32)
    (components if place == "component" else maps)[0, 3, 3] = np.nan
    launch = Launch(kernel, (1,), 256, 32 + 8 * -(-rows * cols // 32))
    buffers = [launch.changed(maps, "maps")]
    if mirrored:
        buffers.append(launch.output(maps.shape, np.float32, "mirror"))
    (top, bottom), (left, right) = middle_of(rows), middle_of(cols)
    few = int((bottom - top) * (right - left) * 0.35)
    sources = launch.input(components, "components"), launch.input(np.ones_like(maps), "valid")
    launch.arguments = [*sources, rows, cols, top, bottom, left, right, few]
    launch.arguments += [buffers[0], buffers[1] if mirrored else None]

    def check():
        for buffer in buffers:
            broken = np.isnan(buffer.found) & (buffer.found.view(np.uint32) != MARK)
            if not (broken.all() if place == "component" else broken.sum() == 1 and broken[0, 3, 3]):
                raise Fault(f"a NaN of the {place} gives {buffer.found}")

    launch.check(check)
    return launch
