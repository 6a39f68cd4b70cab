"""kernels/preprocess.cu: Pillow's resize in two passes, normalisation, patch rows. All to the bit."""

import numpy as np

from ..launch import Launch, ceil_div, operand_type
from . import case

HALF = 1 << 21
PADDING = 114


def taps(random, outputs, inputs, most):
    """Source ranges that grow along the axis and may touch its end, and weights that clip now and then."""
    count = random.integers(1, most + 1, outputs)
    first = np.minimum(np.arange(outputs) * inputs // outputs, inputs - count)
    weights = random.integers(-300_000, 1_800_000, (outputs, most + 1))
    # Beyond a row's taps there is what must not be used.
    weights[np.arange(most + 1) >= count[:, None]] = 2**30
    return first.astype(np.uint32), count.astype(np.uint32), weights.astype(np.int32)


def resized(lines, first, count, weights):
    """`lines` [inputs, ..] to [outputs, ..]: integer sums, 8 bits."""
    sums = [(weights[i, :n].astype(np.int64) @ lines[f : f + n].astype(np.int64)) for i, (f, n) in enumerate(zip(first, count))]
    return np.clip((np.array(sums) + HALF) >> 22, 0, 255).astype(np.uint8)


@case("resize_horizontal", shapes=[(9, 61, 20, 3, 2), (9, 7, 30, 1, 0), (40, 1024, 240, 3, 5), (300, 1024, 240, 1, 0)])
def horizontal(kernel, height, width, columns, channels, row0):
    random, rows = np.random.default_rng(width), height - row0
    # Rows end where the next begins, at any alignment; the last has nothing after it.
    stride = width * channels + (5 if channels == 3 else 0)
    frame = random.integers(0, 256, height * stride - (stride - width * channels), dtype=np.uint8)
    first, count, weights = taps(random, columns, width, 6)
    launch = Launch(kernel, (ceil_div(rows * columns * channels, 256),), 256)
    source = launch.input(frame, "frame")
    tables = [launch.input(table, name) for table, name in ((first, "first"), (count, "count"), (weights, "weights"))]
    out = launch.output(rows * columns * channels, np.uint8)
    launch.arguments = [source, stride, channels, row0, rows, *tables, weights.shape[1], columns, out]
    padded = np.resize(frame, height * stride).reshape(height, stride)[row0:, : width * channels]
    lines = padded.reshape(rows, width, channels).transpose(1, 0, 2).reshape(width, -1)
    exact = resized(lines, first, count, weights).reshape(columns, rows, channels).transpose(1, 0, 2)
    launch.expect(out, exact.reshape(-1).astype(np.float64), 0.0, launch.rows_near(rows * columns * channels, 256))
    return launch


# Patches of the picture, their side, channels; the rows and columns of the picture that show the frame, which may reach
# beyond it.
SHAPES = [
    (7, 5, 7, 3, 3, 40, 2, 44),
    (4, 4, 8, 1, 0, 32, 0, 32),
    (15, 15, 16, 3, 0, 240, 0, 240),
    (16, 16, 14, 1, 20, 180, 0, 224),
    (37, 24, 14, 3, 0, 520, 0, 341),
]


@case("patch_rows_f16", "patch_rows_f32", shapes=SHAPES)
def patch_rows(kernel, grid_rows, grid_cols, patch, channels, row0, rows, col0, columns):
    dtype, random = operand_type(kernel), np.random.default_rng(rows)
    source_row0, height = 4, 3 * rows
    grid, sides = (grid_rows, grid_cols), (grid_rows * patch, grid_cols * patch)
    pixels = sides[0] * sides[1]
    intermediate = random.integers(0, 256, (height, columns, channels), dtype=np.uint8)
    first, count, weights = taps(random, rows, height, 5)
    table = random.standard_normal((3, 256)).astype(np.float32)
    launch = Launch(kernel, (ceil_div(pixels, 256),), 256)
    source, offsets = launch.input(intermediate, "intermediate"), launch.input(first + np.uint32(source_row0), "first")
    tables = [launch.input(host, name) for host, name in ((count, "count"), (weights, "weights"))]
    values, out = launch.input(table, "table"), launch.output((*grid, 3, patch, patch), dtype)
    launch.arguments = [source, source_row0, channels, offsets, *tables, weights.shape[1]]
    launch.arguments += [col0, columns, row0, rows, *grid, patch, PADDING, values, out]
    picture = np.full((max(sides[0], row0 + rows), max(sides[1], col0 + columns), channels), PADDING)
    shown = resized(intermediate.reshape(height, -1), first, count, weights).reshape(rows, columns, channels)
    picture[row0 : row0 + rows, col0 : col0 + columns] = shown
    picture = picture[: sides[0], : sides[1]]
    exact = np.stack([table[c][picture[..., c % channels]] for c in range(3)]).astype(dtype)
    where = np.broadcast_to(launch.rows_near(pixels, 256).reshape(sides), exact.shape)
    launch.expect(out, in_patches(exact, grid, patch).astype(np.float64), 0.0, in_patches(where, grid, patch))
    return launch


def in_patches(picture, grid, patch):
    return picture.reshape(3, grid[0], patch, grid[1], patch).transpose(1, 3, 0, 2, 4)
