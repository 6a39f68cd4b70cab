"""kernels/gelu.cu, swiglu.cu, pool_rows.cu, residual_mean.cu."""

import math

import numpy as np

from ..launch import U32, Launch, ceil_div, operand_type, rounding
from . import case
from .ordered import key_of

erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(kernel, length, error, formula):
    dtype = operand_type(kernel)
    launch = Launch(kernel, grid=(ceil_div(length, 2048),), threads=256)
    host = (np.random.default_rng(length).standard_normal(length) * 3).astype(dtype)
    # Where the activation is its argument, and where it is nothing.
    host[: min(4, length)] = np.array([0.0, -0.0, 11.0, -11.0], dtype)[: min(4, length)]
    x = launch.changed(host)
    launch.arguments = [x, length]
    where = launch.rows_near(length, 2048)
    exact, chosen = np.zeros(length), host[where].astype(np.float64)
    exact[where] = formula(chosen)
    tolerance = np.zeros(length)
    tolerance[where] = error(chosen, exact[where]) + rounding(dtype, exact[where])
    launch.expect(x, exact, tolerance, where)
    return launch


LENGTHS = [(1,), (2055,), (226 * 3584 + 3,)]


@case("gelu_exact_f16", "gelu_exact_f32", shapes=LENGTHS)
def gelu_exact(kernel, length):
    # erff is off by two units at most, of 1 + erf of at most 2; its exponential by 2^-22 of less than that.
    error = lambda x, y: np.abs(x) * 8 * U32 + 4 * U32 * np.abs(y)
    return gelu(kernel, length, error, lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))))


@case("gelu_quick_f16", "gelu_quick_f32", shapes=LENGTHS)
def gelu_quick(kernel, length):
    # The argument of the exponential is rounded twice, itself is off by 2^-22 and two units.
    error = lambda x, y: np.abs(y) * (2 * np.abs(1.702 * x) + 12) * U32 + 2.0**-126
    return gelu(kernel, length, error, lambda x: x / (1 + np.exp(-1.702 * x)))


# Rows of any width are taken an element at a time, those of a multiple of eight in vectors.
@case("swiglu_f16", "swiglu_f32", shapes=[(1, 8), (3, 675), (5, 1), (226, 4096), (65, 344)])
def swiglu(kernel, rows, width):
    dtype = operand_type(kernel)
    launch = Launch(kernel, grid=(ceil_div(rows * width, 2048),), threads=256)
    host = (np.random.default_rng(width).standard_normal((rows, 2 * width)) * 3).astype(dtype)
    # Where the gate is shut.
    host[0, 0] = -100
    x, out = launch.input(host, "x"), launch.output((rows, width), dtype)
    launch.arguments = [x, rows, width, out]
    a, b = host[:, :width].astype(np.float64), host[:, width:].astype(np.float64)
    exact = a / (1 + np.exp(-a)) * b
    tolerance = np.abs(exact) * (2 * np.abs(a) + 14) * U32 + np.abs(b) * 2.0**-126 + rounding(dtype, exact)
    launch.expect(out, exact, tolerance, launch.rows_near(rows * width, 2048).reshape(rows, width))
    return launch


@case("pool_rows_f16", "pool_rows_f32", shapes=[(3, 5, 2, 192), (8, 226, 0, 896), (2, 77, 76, 640), (1, 3, 1, 4736)])
def pool_rows(kernel, sequences, tokens, row, width):
    dtype = operand_type(kernel)
    launch = Launch(kernel, grid=(sequences,), threads=128)
    x = np.random.default_rng(1).standard_normal((sequences, tokens, width)).astype(dtype)
    source, out = launch.input(x, "x"), launch.output((sequences, width), dtype)
    launch.arguments = [source, tokens, row, width, out]
    launch.expect(out, x[:, row].astype(np.float64), 0.0, launch.rows_near(sequences, 1)[:, None])
    return launch


@case("residual_mean", shapes=[(1, 1, 0.5), (3, 225, 0.5), (4, 8 * 225, 1.0)])
def residual_mean(kernel, layers, cells, scale):
    launch = Launch(kernel, grid=(ceil_div(cells, 256),), threads=256)
    random = np.random.default_rng(layers)
    cosines = random.uniform(-1, 1, (layers, cells)).astype(np.float32)
    cosines[0, 0] = -0.0
    valid = (np.arange(cells) % 7 != 3).astype(np.float32)
    keys = launch.input(key_of(cosines, random.integers(0, 1000, cosines.shape)), "keys")
    weights = launch.input(valid, "valid")
    outputs = [launch.output(cells, np.float32, name) for name in ("map", "mirror")]
    launch.arguments = [keys, weights, layers, cells, scale, *outputs]
    exact = valid * (scale * (1 - cosines.astype(np.float64))).mean(axis=0)
    for out in outputs:
        launch.expect(out, exact, 2 * scale * (layers + 3) * U32, launch.rows_near(cells, 256))
    return launch
