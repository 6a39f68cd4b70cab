"""kernels/layer_norm.cu, embed.cu, unit_patches.cu: a warp a row."""

import numpy as np

from ..launch import U32, Launch, ceil_div, operand_type, rounding
from . import case

ROWS = 8
THREADS = 256
EPSILON = 1e-5


def additions(width):
    """Roundings of a sum over a row: a lane's elements in turn, then five steps over lanes."""
    return width / 32 + 6


def layer_norm(x, weight, bias, epsilon, dtype):
    """In f64, and how far f32 may be off, stored as `dtype`."""
    x, n = x.astype(np.float64), additions(x.shape[-1])
    mean = x.mean(axis=-1, keepdims=True)
    centred = x - mean
    scale = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    y = centred * scale * weight + bias
    of_mean = n * U32 * np.abs(x).mean(axis=-1, keepdims=True)
    # The variance sees the error of the mean twice where deviations add up, and its own sum.
    of_scale = of_mean * np.abs(centred).mean(axis=-1, keepdims=True) * scale**2 + (n + 4) * U32
    error = np.abs(weight) * scale * (of_mean + np.abs(centred) * (of_scale + 4 * U32))
    return y, error + rounding(dtype, y) + 2 * U32 * np.abs(y)


def unit(x, dtype):
    """x / max(||x||, 1e-12)"""
    x = x.astype(np.float64)
    y = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return y, np.abs(y) * (additions(x.shape[-1]) + 4) * U32 + rounding(dtype, y)


def parameters(random, width):
    return [(start + 0.3 * random.standard_normal(width)).astype(np.float32) for start in (1.0, 0.0)]


WIDTHS = [(2, 1, 9, 64), (8, 1, 225, 896), (1, 1, 9, 1024), (2, 5, 16, 1280), (1, 0, 9, 2048)]


@case("layer_norm_f16", "layer_norm_f32", shapes=[(*shape, unit) for shape in WIDTHS for unit in (True, False)])
def norm(kernel, images, prefix, patches, width, with_unit):
    dtype, random, tokens = operand_type(kernel), np.random.default_rng(width), prefix + patches
    rows = images * tokens
    launch = Launch(kernel, grid=(ceil_div(rows, ROWS),), threads=THREADS)
    x = (random.standard_normal((rows, width)) * 2 + 0.5).astype(np.float32)
    x[-1] = 0
    weight, bias = parameters(random, width)
    inputs = [launch.input(host, name) for host, name in ((x, "x"), (weight, "weight"), (bias, "bias"))]
    out = launch.output((rows, width), dtype)
    units = launch.output((images * patches, width), dtype, "unit") if with_unit else None
    launch.arguments = [*inputs, EPSILON, rows, width, tokens, prefix, out, units]
    chosen = launch.rows_near(rows)[:, None]
    launch.expect(out, *layer_norm(x, weight, bias, EPSILON, dtype), chosen)
    if with_unit:
        patch = np.arange(rows) % tokens >= prefix
        launch.expect(units, *unit(x[patch], dtype), chosen[patch])
    return launch


@case("unit_patches_f16", "unit_patches_f32", shapes=[(*shape, normed) for shape in WIDTHS for normed in (True, False)])
def unit_patches(kernel, images, prefix, patches, width, normed):
    dtype, random = operand_type(kernel), np.random.default_rng(width)
    launch = Launch(kernel, grid=(ceil_div(images * patches, ROWS),), threads=THREADS)
    x = random.standard_normal((images, prefix + patches, width)).astype(np.float32)
    # Stays zero where no bias is added.
    x[0, prefix + 2] = 0
    weight, bias = parameters(random, width)
    source, out = launch.input(x, "x"), launch.output((images * patches, width), dtype)
    norm = [launch.input(weight, "weight"), launch.input(bias, "bias")] if normed else [None, None]
    launch.arguments = [source, *norm, EPSILON, images, prefix, patches, width, out]
    patch_rows = x[:, prefix:].reshape(-1, width)
    exact, tolerance = unit(patch_rows, dtype)
    if normed:
        inner, off = layer_norm(patch_rows, weight, bias, EPSILON, np.float32)
        exact, tolerance = unit(inner, dtype)
        # Each element's own error, and that of the length.
        length = np.linalg.norm(inner, axis=-1, keepdims=True)
        tolerance += off / length + np.abs(exact) * np.linalg.norm(off, axis=-1, keepdims=True) / length
    launch.expect(out, exact, tolerance, launch.rows_near(images * patches)[:, None])
    return launch


@case(
    "embed_f16",
    "embed_f32",
    shapes=[
        (2, 1, 9, 64, True, True),
        (2, 0, 4, 128, True, False),
        (8, 1, 225, 896, True, True),
        (1, 1, 9, 1024, True, True),
        (1, 5, 16, 1280, False, True),
        (1, 1, 9, 2048, True, True),
    ],
)
def embed(kernel, images, prefix, patches, width, pre, following):
    dtype, random, tokens = operand_type(kernel), np.random.default_rng(patches), prefix + patches
    rows = images * tokens
    launch = Launch(kernel, grid=(ceil_div(rows, ROWS),), threads=THREADS)
    normal = lambda *shape: random.standard_normal(shape).astype(np.float32)
    inner, first, position = normal(images, patches, width), normal(prefix, width), normal(patches, width)
    norms = [parameters(random, width) for _ in range(2)]
    inputs = [launch.input(host, name) for host, name in ((inner, "patches"), (first, "prefix"), (position, "position"))]
    given = [[launch.input(part, "a norm") for part in norm] for norm in norms]
    x = launch.output((rows, width), np.float32, "x")
    h = launch.output((rows, width), dtype, "h") if following else None
    launch.arguments = [*inputs, *(given[0] if pre else (None, None)), 1e-6, *given[1], EPSILON]
    launch.arguments += [images, prefix, patches, width, x, h]
    # The sum is rounded before the norm.
    summed = np.concatenate([np.broadcast_to(first, (images, prefix, width)), inner + position], axis=1).reshape(rows, width)
    chosen = launch.rows_near(rows)[:, None]
    exact, tolerance = layer_norm(summed, *norms[0], 1e-6, np.float32) if pre else (summed, 0.0)
    launch.expect(x, exact, tolerance, chosen)
    if following:
        # Of what the kernel has found so far, which it stores as it is.
        launch.expect_of(h, lambda: layer_norm(x.found, *norms[1], EPSILON, dtype), chosen)
    return launch
