"""kernels/attention.cu: heads of 64, every token seeing every token of its sequence."""

import numpy as np

from ..launch import TINY16, U16, U32, Launch, ceil_div, operand_type, rounding
from . import case

SIZE = 64
SCALE = 0.125


def attend(q, keys, values, weight_error, dtype, terms):
    """softmax(scale q K^T) V of one head for rows q in f64, and the largest error; `weight_error` of a weight w is
    `weight_error(w)`, sums over keys are of `terms` roundings."""
    q, keys, values = (part.astype(np.float64) for part in (q, keys, values))
    scores = SCALE * q @ keys.T
    # Products in f32, at most one rounding an element of the head; the exponent is rounded twice; the exponential is off
    # by 2^-22 and two units.
    off = SCALE * SIZE / 2 * U32 * (np.abs(q) @ np.abs(keys).T)
    largest = scores.max(axis=1, keepdims=True)
    weights = np.exp(scores - largest)
    relative = 2 * off.max(axis=1, keepdims=True) + 4 * U32 * (np.abs(scores) + np.abs(largest)) + 8 * U32
    total = weights.sum(axis=1, keepdims=True)
    y = weights @ values / total
    error = (weights * relative + weight_error(weights)) @ np.abs(values) / total
    share = (weights * relative).sum(axis=1, keepdims=True) / total
    sums = terms * U32 * (weights @ np.abs(values)) / total
    return y, error + share * np.abs(y) + sums + (terms + 4) * U32 * np.abs(y) + rounding(dtype, y)


def launch_attention(kernel, sequences, tokens, heads, queries, threads, shared, weight_error, terms):
    dtype, width = operand_type(kernel), heads * SIZE
    random = np.random.default_rng(tokens)
    qkv = random.standard_normal((sequences, tokens, 3, heads, SIZE)).astype(dtype)
    # Some large scores: a softmax that forgets its maximum overflows.
    qkv.reshape(-1)[::97] *= dtype(4)
    launch = Launch(kernel, (ceil_div(tokens, queries), heads, sequences), threads, shared)
    source, out = launch.input(qkv, "qkv"), launch.output((sequences, tokens, heads, SIZE), dtype)
    launch.arguments = [source, tokens, heads, SCALE, out]
    exact, tolerance = np.zeros(out.host.shape), np.zeros(out.host.shape)
    where = np.zeros(out.host.shape, bool)
    for block, head, sequence in launch.blocks:
        rows = slice(block * queries, min((block + 1) * queries, tokens))
        q, keys, values = (qkv[sequence, :, part, head] for part in range(3))
        place = (sequence, rows, head)
        exact[place], tolerance[place] = attend(q[rows], keys, values, weight_error, dtype, terms)
        where[place] = True
    assert width == where.shape[2] * SIZE
    launch.expect(out, exact, tolerance, where)
    return launch


def half(weights):
    """Weights are rounded to halves for the second product."""
    return U16 * weights + TINY16


@case("attention_f16_64", shapes=[(2, 1, 1), (2, 10, 2), (2, 50, 12), (1, 64, 2)])
@case("attention_f16_208", shapes=[(1, 10, 1), (1, 65, 1), (2, 197, 12), (1, 208, 2)])
@case("attention_f16_240", shapes=[(1, 10, 1), (1, 209, 1), (2, 226, 14), (1, 240, 1)])
@case("attention_f16_272", shapes=[(1, 10, 1), (1, 241, 1), (2, 257, 16), (1, 272, 1)])
def whole_rows(kernel, sequences, tokens, heads):
    keys = int(kernel.rsplit("_", 1)[1])
    shared = (2 * keys + 64) * 144
    return launch_attention(kernel, sequences, tokens, heads, 64, 128, shared, half, keys / 4 + 8)


@case("attention_online_f16", shapes=[(1, 10, 1), (1, 273, 2), (1, 320, 1), (2, 577, 12), (1, 1374, 6)])
def online(kernel, sequences, tokens, heads):
    # What was summed is scaled anew with every tile of 64 keys.
    terms = tokens / 4 + 3 * tokens / 64 + 8
    return launch_attention(kernel, sequences, tokens, heads, 64, 128, 46080, half, terms)


@case("attention_f32", shapes=[(2, 1, 1), (2, 33, 2), (2, 226, 14)])
def plain(kernel, sequences, tokens, heads):
    shared = 32 * (64 + ceil_div(tokens, 32) * 32)
    return launch_attention(kernel, sequences, tokens, heads, 8, 256, shared, lambda w: 0 * w, tokens + 8)
