"""kernels/window_tokens.cu, winclip.cu."""

import numpy as np

from ..launch import U32, Launch, ceil_div
from . import case
from .distances import unit_rows


def places(rows, cols, side):
    """Upper left cells of all windows, row by row."""
    return [(top, left) for top in range(rows - side + 1) for left in range(cols - side + 1)]


@case(
    "window_tokens",
    shapes=[(1, 1, 5, 5, 2, 64, 0, 16), (2, 1, 3, 7, 3, 896, 0, 10), (3, 5, 4, 3, 2, 132, 7, 6), (2, 1, 4, 5, 3, 4, 10, 5)],
)
def window_tokens(kernel, images, prefix, rows, cols, side, width, first, count):
    tokens = prefix + side * side
    launch = Launch(kernel, (count * tokens,), 128)
    x = np.random.default_rng(width).standard_normal((images, prefix + rows * cols, width)).astype(np.float32)
    source, out = launch.input(x, "x"), launch.output((count * tokens, width), np.float32)
    launch.arguments = [source, images, prefix, rows, cols, side, first, width, out]
    inside = lambda top, left: [(top + i) * cols + left + j for i in range(side) for j in range(side)]
    chosen = [[*range(prefix), *(prefix + cell for cell in inside(*place))] for place in places(rows, cols, side)]
    windows = x[:, chosen].reshape(-1, tokens, width)
    exact = windows[np.minimum(first + np.arange(count), len(windows) - 1)].reshape(-1, width)
    launch.expect(out, exact, 0.0, launch.rows_near(count * tokens, 1)[:, None])
    return launch


@case("winclip_text", shapes=[(1, 24, False, False), (9, 640, True, True), (17, 192, True, False), (8, 1344, False, True)])
def winclip_text(kernel, count, width, with_mean, mirrored):
    random, pitch, column, scale = np.random.default_rng(width), 3, 1, 100.0
    launch = Launch(kernel, (ceil_div(count, 8),), 256)
    x = (3 * random.standard_normal((count, width))).astype(np.float32)
    text = unit_rows(random, 2, width).astype(np.float32)
    own, table = launch.input(x, "x"), launch.table(launch.input(text, "text"), 2)
    before = np.full((count, pitch), 0.25, np.float32)
    outputs = [launch.changed(before, name) for name in ("out", "mirror")[: 1 + mirrored]]
    columns = [2, 0] if with_mean else [-1, -1]
    launch.arguments = [own, count, width, table, scale, pitch, column, *columns]
    launch.arguments += [outputs[0], outputs[1] if mirrored else None]
    unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    difference = text[1].astype(np.float64) - text[0]
    score = 1 / (1 + np.exp(-scale * (unit @ difference)))
    # The sums of the product and of the length, and the exponential of what they make.
    steps = width / 32 + 14
    off = scale * steps * U32 * (np.abs(unit) @ np.abs(difference) + np.abs(unit @ difference))
    error = score * (1 - score) * off + off**2 + 8 * U32
    exact = np.stack([0.5 * (0.25 + score) if with_mean else before[:, 0], score, before[:, 2]], axis=1)
    chosen = launch.rows_near(count)[:, None] & [with_mean, True, False]
    for out in outputs:
        launch.expect(out, exact, error[:, None], chosen)
    return launch


def covering(windows, valid, side):
    """The sum of the reciprocals and the number of the windows over each cell, [maps, rows, cols], without those in which a
    cell is ignored."""
    _, rows, cols = valid.shape
    sums, counts = np.zeros(valid.shape), np.zeros(valid.shape)
    for number, (top, left) in enumerate(places(rows, cols, side)):
        part = slice(None), slice(top, top + side), slice(left, left + side)
        whole = (valid[part] > 0).all(axis=(1, 2))[:, None, None]
        with np.errstate(divide="ignore"):
            sums[part] += np.where(whole, 1 / windows[:, number, None, None], 0)
        counts[part] += whole
    return sums, counts


@case(
    "winclip_map",
    shapes=[
        (*shape, distances, masked)
        for shape in [(1, 3, 3), (2, 5, 7), (3, 4, 9), (2, 15, 15)]
        for distances, masked in [(True, False), (False, True), (True, True)]
    ],
)
def winclip_map(kernel, maps, rows, cols, distances, masked):
    random, pitch, column, mirrored = np.random.default_rng(cols), 3, 2, rows > 3
    cells = rows * cols
    launch = Launch(kernel, (ceil_div(maps * cells, 256),), 256)
    drawn = lambda *shape: random.uniform(0.01, 1, shape).astype(np.float32)
    windows = [drawn(maps, len(places(rows, cols, side))) for side in (2, 3)]
    windows[0][0, 0] = 0
    third = drawn(maps, cells if distances else pitch)
    valid = np.ones((maps, rows, cols), np.float32)
    if masked:
        valid[:, ::3, ::4] = 0
    inputs = [launch.input(host, name) for host, name in zip((*windows, third), ("windows_2", "windows_3", "third"))]
    counts = launch.input(valid.reshape(maps, cells), "valid")
    outputs = [launch.output((maps, cells), np.float32, name) for name in ("map", "mirror")[: 1 + mirrored]]
    launch.arguments = [*inputs, int(distances), *((0, 0) if distances else (pitch, column)), counts, maps, rows, cols]
    launch.arguments += [outputs[0], outputs[1] if mirrored else None]
    value = (lambda x: x.astype(np.float64) ** 2 / 4) if distances else (lambda x: x.astype(np.float64))
    means, there = [], []
    for side, given in zip((2, 3), windows):
        sums, number = covering(value(given), valid, side)
        with np.errstate(divide="ignore", invalid="ignore"):
            means.append(np.where(number > 0, number / sums if distances else sums / number, 0))
        there.append(number > 0)
    count = 1 + sum(part.astype(int) for part in there)
    own = value(third).reshape(maps, rows, cols) if distances else value(third)[:, column, None, None]
    exact = (sum(means) + own) / count if distances else count / (sum(means) + 1 / own)
    exact = (valid * exact).reshape(maps, cells)
    for out in outputs:
        launch.expect(out, exact, 32 * U32 * exact, launch.rows_near(maps * cells, 256).reshape(maps, cells))
    return launch
