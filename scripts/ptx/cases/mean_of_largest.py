"""kernels/mean_of_largest.cu: the mean of so many of the largest valid cells."""

import numpy as np

from ..launch import U32, Launch
from . import case


def largest_mean(cells, valid, one_in):
    """In f64, and the sum of the absolute values that count."""
    if np.isnan(cells).any():
        return np.nan, 0.0
    counted = np.sort(cells[valid != 0].astype(np.float64))[::-1]
    counted = counted[: max(1, len(counted) // one_in)]
    return (counted.mean(), np.abs(counted).mean()) if len(counted) else (0.0, 0.0)


SHAPES = [(1, 1, 100, False), (3, 225, 1, True), (2, 225, 500, False), (3, 2305, 100, True), (1, 300, 7, False)]


@case("mean_of_largest", shapes=SHAPES)
def mean_of_largest(kernel, maps, cells, one_in, mirrored):
    random, pitch, column = np.random.default_rng(cells), 3, 1
    launch = Launch(kernel, (maps,), 256, 32)
    # Ties, some of them negative.
    host = (np.round(random.uniform(-0.2, 1, (maps, cells)) * 64) / 64).astype(np.float32)
    valid = (np.arange(maps * cells) % 5 != 3).astype(np.float32).reshape(maps, cells)
    # The last map has no cell that counts.
    valid[-1] *= maps < 2
    source, weights = launch.input(host, "map"), launch.input(valid, "valid")
    outputs = [launch.output((maps, pitch), np.float32, name) for name in ("out", "mirror")[: 1 + mirrored]]
    launch.arguments = [source, weights, cells, one_in, pitch, column, outputs[0], outputs[1] if mirrored else None]
    exact, sums = np.transpose([largest_mean(*each, one_in) for each in zip(host, valid)])
    # A thread's cells in order, five steps over lanes, eight warps.
    tolerance = (cells / 256 + 16) * U32 * sums
    where = np.arange(pitch) == column
    for out in outputs:
        launch.expect(out, exact[:, None], tolerance[:, None], launch.rows_near(maps, 1)[:, None] & where)
    return launch


@case("mean_of_largest", shapes=[(225, valid) for valid in (0, 1)])
def keeps_nan(kernel, cells, valid):
    launch = Launch(kernel, (1,), 256, 32)
    host = np.linspace(0, 1, cells, dtype=np.float32)
    host[7] = np.nan
    counts = np.ones(cells, np.float32)
    counts[7] = valid
    out = launch.output(1, np.float32)
    launch.arguments = [launch.input(host, "map"), launch.input(counts, "valid"), cells, 100, 1, 0, out, None]
    launch.expect_nan(out)
    return launch
