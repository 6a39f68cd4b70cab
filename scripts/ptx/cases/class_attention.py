"""kernels/class_attention.cu: one query a sequence."""

import numpy as np

from ..launch import Launch, ceil_div, operand_type
from . import case
from .attention import SCALE, SIZE, attend


@case("class_attention_f16", "class_attention_f32", shapes=[(2, 1, 1), (2, 33, 2), (8, 226, 14), (1, 577, 12)])
def class_attention(kernel, sequences, tokens, heads):
    dtype, random = operand_type(kernel), np.random.default_rng(tokens)
    q = random.standard_normal((sequences, heads, SIZE)).astype(dtype)
    kv = random.standard_normal((sequences, tokens, 2, heads, SIZE)).astype(dtype)
    kv.reshape(-1)[::97] *= dtype(4)
    launch = Launch(kernel, (heads, sequences), 128, 4 * (ceil_div(tokens, 32) * 32 + 328))
    query, keys, out = launch.input(q, "q"), launch.input(kv, "kv"), launch.output(q.shape, dtype)
    launch.arguments = [query, keys, tokens, heads, SCALE, out]
    exact, tolerance, where = (np.zeros(q.shape, kind) for kind in (float, float, bool))
    for head, sequence, _ in launch.blocks:
        place, row = (sequence, head), q[sequence, head][None]
        y = attend(row, kv[sequence, :, 0, head], kv[sequence, :, 1, head], lambda w: 0 * w, dtype, tokens / 16 + 8)
        exact[place], tolerance[place], where[place] = y[0][0], y[1][0], True
    launch.expect(out, exact, tolerance, where)
    return launch
