"""kernels/patch_nn.cu: the nearest bank row of every query row."""

import numpy as np

from ..launch import U32, Fault, Launch, ceil_div, is_half, operand_type
from . import case
from .ordered import read_keys

QUERIES = 64


def unit_rows(random, *shape):
    rows = random.standard_normal(shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


# Layers, query rows, bank rows, width, splits; query rows of a layer before the next begins, and the block of queries run.
# InCTRL's with eight prompts, and patches of DINOv2 in a large bank.
REAL = [(3, 225, 8 * 225, 896, 3, 225, 3), (1, 1369, 32768, 384, 32, 1369, 21)]


@case("patch_nn_f16", shapes=[(1, 1, 1, 64, 1, 1, 0), (2, 43, 129, 128, 2, 50, 0), (2, 130, 70, 64, 3, 130, 2), *REAL])
@case("patch_nn_f32", shapes=[(1, 1, 1, 64, 1, 1, 0), (2, 43, 129, 128, 2, 50, 0), (1, 225, 450, 896, 4, 225, 3)])
def patch_nn(kernel, layers, queries, rows, width, splits, pitch, block):
    dtype, random = operand_type(kernel), np.random.default_rng(rows)
    bank = unit_rows(random, layers, rows, width).astype(dtype)
    # The last rows are the first ones: the lower index wins, in whichever block or thread they meet.
    twins = min(rows // 3, 20)
    bank[:, rows - twins :] = bank[:, :twins]
    asked = unit_rows(random, layers, pitch, width).astype(dtype)
    first, last = block * QUERIES, min((block + 1) * QUERIES, queries)
    near = bank[:, random.integers(0, rows, last - first)].astype(np.float64) + 0.3 * asked[:, first:last]
    asked[:, first:last] = (near / np.linalg.norm(near, axis=-1, keepdims=True)).astype(dtype)
    asked[:, first] = -asked[:, first]
    if queries > 1:
        asked[:, first + 1, 0] = np.nan
    # Every split of the bank, as each key is the largest of all.
    blocks = [(block, split, layer) for layer in range(layers) for split in range(splits)]
    grid = (ceil_div(queries, QUERIES), splits, layers)
    launch = Launch(kernel, grid, 128, 82944 if is_half(kernel) else 27648, blocks)
    source, stored = launch.input(asked, "queries"), launch.input(bank, "bank")
    keys = launch.changed(np.zeros((layers, pitch), np.uint64), "keys")
    launch.arguments = [source, pitch, queries, launch.table(stored, rows), width, keys, pitch]
    cosines = [rows_of @ stored_rows.T for rows_of, stored_rows in zip(asked[:, first:last].astype(np.float64), bank)]
    # Sums of products of `width / 16` fragments, or of all `width` elements, of rows of length one.
    error = 1.01 * U32 * (width / 16 + 8 if is_half(kernel) else width)
    launch.check(lambda: nearest(launch, keys.found, cosines, error, slice(first, last), twins, rows))
    return launch


def nearest(launch, keys, cosines, error, searched, twins, rows):
    values, indices = read_keys(keys)
    others = np.ones(keys.shape[1], bool)
    others[searched] = False
    if (keys[:, others] != 0).any():
        raise Fault("keys of queries were written that this block does not search for")
    for layer, query in np.ndindex(*keys[:, searched].shape):
        at = (layer, query + searched.start)
        value, index, exact = values[at], indices[at], cosines[layer][query]
        if np.isnan(exact[0]):
            if not np.isnan(value):
                raise Fault(f"query {at}: found {value}, NaN is above all")
            continue
        best = int(exact.argmax())
        launch.share = max(launch.share, float(abs(value - exact[best]) / error))
        if not abs(value - exact[best]) <= error:
            raise Fault(f"query {at}: found {value}, the largest cosine is {exact[best]}, of row {best}")
        if not 0 <= index < rows or not exact[index] >= exact[best] - 2 * error:
            raise Fault(f"query {at}: found row {index}, the nearest is {best}")
        if index >= rows - twins:
            raise Fault(f"query {at}: found row {index}, row {index - rows + twins} is the same and before it")
