"""kernels/ordered.cuh: floats as integers of the same order, and keys of a float and an index."""

import numpy as np


def key_of(values, indices):
    bits = values.astype(np.float32).view(np.uint32)
    ordered = np.where(bits >> 31 != 0, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
    return ordered << np.uint64(32) | np.uint64(0xFFFFFFFF) - indices.astype(np.uint64)


def read_keys(keys):
    """Values and indices."""
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ordered >> 31 != 0, ordered ^ np.uint32(1 << 31), ~ordered)
    return bits.view(np.float32), (np.uint64(0xFFFFFFFF) - (keys & np.uint64(0xFFFFFFFF))).astype(np.int64)
