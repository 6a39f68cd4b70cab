"""kernels/join_layers.cu, plain_patches.cu, nearest_distance.cu, subspace_distance.cu, enlarge.cu, patchcore_reweight.cu,
spade_image.cu."""

import numpy as np

from ..launch import U32, Launch, ceil_div, operand_type, rounding
from ..parser import Fault
from . import case
from .ordered import key_of, read_keys
from .rows import EPSILON, WIDTHS, layer_norm, parameters


@case("join_layers_f16", "join_layers_f32", shapes=[(1, 1, 64), (2, 17, 64), (3, 225, 384)])
def join_layers(kernel, layers, rows, width):
    dtype = operand_type(kernel)
    launch = Launch(kernel, (ceil_div(layers * rows * width, 8 * 256),), 256)
    x = np.random.default_rng(rows).standard_normal((layers, rows, width)).astype(dtype)
    source, out = launch.input(x, "x"), launch.output((rows, layers, width), dtype)
    scale = float(np.float32(1 / np.sqrt(layers)))
    launch.arguments = [source, layers, rows, width, scale, out]
    exact = scale * x.astype(np.float64).swapaxes(0, 1)
    chosen = launch.rows_near(layers * rows * width, 8 * 256).reshape(exact.shape)
    launch.expect(out, exact, rounding(dtype, exact) + U32 * np.abs(exact), chosen)
    return launch


@case("plain_patches", shapes=[(*shape, normed) for shape in WIDTHS for normed in (True, False)])
def plain_patches(kernel, images, prefix, patches, width, normed):
    random = np.random.default_rng(width)
    launch = Launch(kernel, grid=(ceil_div(images * patches, 8),), threads=256)
    x = random.standard_normal((images, prefix + patches, width)).astype(np.float32)
    weight, bias = parameters(random, width)
    source, out = launch.input(x, "x"), launch.output((images * patches, width), np.float32)
    norm = [launch.input(weight, "weight"), launch.input(bias, "bias")] if normed else [None, None]
    launch.arguments = [source, *norm, EPSILON, images, prefix, patches, width, out]
    rows = x[:, prefix:].reshape(-1, width)
    exact, tolerance = layer_norm(rows, weight, bias, EPSILON, np.float32) if normed else (rows, 0.0)
    launch.expect(out, exact, tolerance, launch.rows_near(images * patches)[:, None])
    return launch


def unit_rows(random, *shape):
    rows = random.standard_normal(shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def difference(a, b):
    """The length of a - b in f64, and what sums of squares in f32 may be off: a lane's elements in turn, five steps over lanes."""
    length = np.linalg.norm(a.astype(np.float64) - b.astype(np.float64), axis=-1)
    return length, (a.shape[-1] / 32 + 10) * U32 * length


@case(
    "nearest_distance_f16",
    "nearest_distance_f32",
    shapes=[
        (1, 1, 1, 64, 1, False, True),
        (3, 43, 50, 128, 50, True, True),
        (2, 225, 410, 384, 300, True, False),
        (1, 9, 20, 1344, 9, True, True),
        (1, 3, 12, 768, 3, False, True),
    ],
)
def nearest_distance(kernel, layers, count, rows, width, pitch, mirrored, some):
    dtype, random = operand_type(kernel), np.random.default_rng(count)
    launch = Launch(kernel, (ceil_div(count, 8),), 256)
    bank = unit_rows(random, layers, rows, width).astype(dtype)
    queries = unit_rows(random, layers, pitch, width).astype(dtype)
    places = random.integers(0, rows, (layers, pitch))
    places[:, 0] = rows - 1
    # The first query is the row that it is nearest to.
    queries[:, 0] = bank[:, rows - 1]
    nearest = places.copy()
    if count > 1:
        # The second is row 1, but a row that is nearly the same was found.
        queries[:, 1] = bank[:, 1]
        bank[:, rows - 2] = bank[:, 1] * (1 + 2e-3)
        places[:, 1], nearest[:, 1] = rows - 2, 1
    keys = launch.changed(key_of(np.full(places.shape, 0.5, np.float32), places), "keys")
    valid = (np.arange(count) % 7 != 3).astype(np.float32) if some else np.ones(count, np.float32)
    table = launch.table(launch.input(bank, "bank"), rows)
    source, counts = launch.input(queries, "queries"), launch.input(valid, "valid") if some else None
    outputs = [launch.output(count, np.float32, name) for name in ("map", "mirror")[: 1 + mirrored]]
    launch.arguments = [source, pitch, count, table, layers, width, keys, pitch, 1.5, counts]
    launch.arguments += [outputs[0], outputs[1] if mirrored else None]
    near = np.take_along_axis(bank, nearest[:, :count, None], axis=1)
    lengths, errors = difference(queries[:, :count], near)
    exact, tolerance = valid * 1.5 * lengths.mean(axis=0), 1.5 * (errors + 8 * U32 * lengths).mean(axis=0)
    for out in outputs:
        launch.expect(out, exact, tolerance, launch.rows_near(count))
    ran = np.zeros(pitch, bool)
    ran[:count] = launch.rows_near(count)

    def check():
        if (read_keys(keys.found)[1] != np.where(ran, nearest, places)).any():
            raise Fault("`keys` do not name the nearest rows")

    launch.check(check)
    return launch


# Layers, rows, width, cells, means, directions, channels compared, rows of a block.
SUBSPACES = [
    (1, 1, 64, 1, 1, 1, 64, 4),
    (2, 43, 384, 43, 1, 70, 384, 4),
    (3, 18, 64, 9, 9, 3, 100, 1),
    (1, 9, 128, 9, 9, 40, 40, 1),
    (1, 7, 1344, 7, 1, 60, 1344, 4),
]


@case("subspace_distance", shapes=[(*shape, mirrored) for shape, mirrored in zip(SUBSPACES, (False, True, True, False, True))])
def subspace_distance(kernel, layers, count, width, cells, places, number, depth, together, mirrored):
    random, own = np.random.default_rng(depth), places > 1 or depth != width
    launch = Launch(kernel, (ceil_div(count, together),), 256, (together * 2 * depth + 8) * 4)
    tokens = random.standard_normal((layers, count + 3, width)).astype(np.float32)
    mean = random.standard_normal((places, depth)).astype(np.float32)
    axes = np.stack([np.linalg.qr(random.standard_normal((depth, number)))[0].T for _ in range(places)]).astype(np.float32)
    weights = random.uniform(0, 2, (places, number)).astype(np.float32)
    channels = random.permutation(layers * width)[:depth].astype(np.float32)
    valid = (np.arange(count) % 7 != 3).astype(np.float32)
    table = lambda host, rows, name: launch.table(launch.input(host, name), rows)
    source, counts = launch.input(tokens, "tokens"), launch.input(valid, "valid")
    tables = [table(mean, places, "mean"), table(axes, number, "directions")]
    tables += [table(weights, places, "weights"), table(channels, 1, "channels")] if own else [None, None]
    outputs = [launch.output(count, np.float32, name) for name in ("map", "mirror")[: 1 + mirrored]]
    launch.arguments = [source, count + 3, count, layers, width, cells, places, depth, *tables, together, depth, 2.5, int(own)]
    launch.arguments += [counts, outputs[0], outputs[1] if mirrored else None]
    side = tokens[:, :count].astype(np.float64).swapaxes(0, 1).reshape(count, -1)
    x = side[:, channels.astype(int)] if own else tokens[:, :count].astype(np.float64).mean(axis=0)
    place = np.arange(count) % cells if places > 1 else np.zeros(count, int)
    delta = x - mean[place]
    z = np.einsum("rjd,rd->rj", axes[place].astype(np.float64), delta)
    rest = delta - np.einsum("rjd,rj->rd", axes[place].astype(np.float64), z)
    total = 2.5 * (rest**2).sum(axis=1) + ((weights[place] * z**2).sum(axis=1) if own else 0)
    # Of each element of the rest: what centring, a coordinate of every axis, and their sum may be off.
    size = np.linalg.norm(x, axis=1) + np.linalg.norm(mean[place], axis=1)
    off = (depth / 32 + number + layers + 12) * U32 * size
    error = 2.5 * (2 * np.linalg.norm(rest, axis=1) * off + off**2) + (depth / 256 + 20) * U32 * total
    if own:
        error += 2 * (2 * np.linalg.norm(z, axis=1) * off + off**2)
    exact, error = (np.sqrt(total), error / np.sqrt(total)) if own else (total, error)
    for out in outputs:
        launch.expect(out, valid * exact, error, launch.rows_near(count, together))
    return launch


def blurred(cells, patch, blur, mirrored):
    """A line [cells, ..] at `patch` pixels a cell, blurred, in f64."""
    count, radius = len(cells), len(blur) // 2
    pixels = count * patch
    out = np.zeros((pixels, *cells.shape[1:]))
    for pixel in range(pixels):
        for offset, weight in zip(range(-radius, radius + 1), blur.astype(np.float64)):
            at = pixel + offset
            while not 0 <= at < pixels:
                edge = 0 if mirrored else 1
                at = -at - edge if at < 0 else 2 * pixels - 2 - at + edge
            place = max((at + 0.5) / patch - 0.5, 0)
            low = int(place)
            share = place - low
            out[pixel] += weight * ((1 - share) * cells[low] + share * cells[min(low + 1, count - 1)])
    return out


MAPS = [(1, 2, 1, 1, False), (2, 3, 4, 16, False), (5, 7, 14, 1, True), (3, 1, 5, 16, True)]


@case("enlarge_columns", "enlarge_rows", shapes=MAPS)
def enlarge(kernel, rows, cols, patch, radius, mirrored):
    random, down = np.random.default_rng(rows), kernel == "enlarge_columns"
    shape = (rows * patch, cols if down else cols * patch)
    launch = Launch(kernel, (ceil_div(int(np.prod(shape)), 256),), 256)
    blur = random.uniform(0.01, 0.2, 2 * radius + 1).astype(np.float32)
    weights, out = launch.input(blur, "blur"), launch.output(shape, np.float32)
    chosen = launch.rows_near(int(np.prod(shape)), 256).reshape(shape)
    if down:
        cells = random.standard_normal((rows, cols)).astype(np.float32)
        launch.arguments = [launch.input(cells, "map"), rows, cols, patch, weights, radius, int(mirrored), out]
        exact = blurred(cells.astype(np.float64), patch, blur, mirrored)
        sums = blurred(np.abs(cells).astype(np.float64), patch, blur, mirrored)
    else:
        cells = random.standard_normal((rows * patch, cols)).astype(np.float32)
        valid = (np.arange(rows * cols) % 3 != 1).astype(np.float32).reshape(rows, cols)
        counted = launch.output(shape, np.float32, "out_valid")
        source, counts = launch.input(cells, "columns"), launch.input(valid, "valid")
        launch.arguments = [source, counts, rows, cols, patch, weights, radius, int(mirrored), out, counted]
        exact = blurred(cells.astype(np.float64).T, patch, blur, mirrored).T
        sums = blurred(np.abs(cells).astype(np.float64).T, patch, blur, mirrored).T
        launch.expect(counted, np.repeat(np.repeat(valid, patch, axis=0), patch, axis=1), 0.0, chosen)
    # The place of a pixel is rounded too: by as much as it counts cells.
    launch.expect(out, exact, (len(blur) + 8 + 4 * max(rows, cols)) * U32 * (sums + np.abs(cells).max() * blur.sum()), chosen)
    return launch


@case(
    "patchcore_reweight_f16",
    "patchcore_reweight_f32",
    shapes=[
        (1, 1, 1, 1, 64, False),
        (3, 43, 30, 9, 128, True),
        (2, 300, 410, 9, 384, True),
        (2, 9, 5, 5, 64, False),
        (1, 9, 20, 9, 1344, True),
        # Rows of any length are taken an element at a time.
        (1, 9, 20, 9, 77, True),
    ],
)
def reweight(kernel, images, cells, rows, around, width, mirrored):
    dtype, random, pitch, column = operand_type(kernel), np.random.default_rng(cells), 3, 1
    launch = Launch(kernel, (images,), 256, 100)
    bank, queries = unit_rows(random, rows, width).astype(dtype), unit_rows(random, images * cells, width).astype(dtype)
    near = random.integers(0, rows, (rows, around)).astype(np.float32)
    # Neighbours that are not there.
    near[:, 1:] = np.where(random.uniform(size=near[:, 1:].shape) < 0.3, -1, near[:, 1:])
    places = random.integers(0, rows, images * cells)
    # Two cells have the largest distance: the first counts.
    host = (np.round(random.uniform(0, 1, (images, cells)) * 16) / 16).astype(np.float32)
    host[:, [cells // 3, cells - 1]] = 1.5
    tables = [launch.table(launch.input(bank, "bank"), rows), launch.table(launch.input(near, "neighbours"), rows)]
    keys = launch.input(key_of(np.full(places.shape, 0.5, np.float32), places), "keys")
    source, maps = launch.input(queries, "queries"), launch.input(host, "map")
    outputs = [launch.output((images, pitch), np.float32, name) for name in ("out", "mirror")[: 1 + mirrored]]
    launch.arguments = [source, width, *tables, around, keys, maps, cells, 1.5, pitch, column]
    launch.arguments += [outputs[0], outputs[1] if mirrored else None]
    worst = host.argmax(axis=1) + np.arange(images) * cells
    chosen = near[places[worst]]
    length, error = difference(queries[worst][:, None], bank[chosen.astype(int)])
    away = np.exp(1.5 * (length - length.max(axis=1, keepdims=True))) * (chosen >= 0)
    exact = host.max(axis=1) * (1 - away[:, 0] / away.sum(axis=1))
    # Each exponential errs as its exponent does, and by a few roundings of its own.
    tolerance = host.max(axis=1) * (4 * 1.5 * error.max(axis=1) + 40 * U32)
    where = np.arange(pitch) == column
    for out in outputs:
        launch.expect(out, exact[:, None], tolerance[:, None], launch.rows_near(images, 1)[:, None] & where)
    return launch


@case(
    "spade_image",
    shapes=[(1, 1, 24, True, False), (3, 9, 64, True, True), (2, 50, 640, False, True), (1, 8, 1344, True, False)],
)
def spade_image(kernel, views, count, width, unit_length, mirrored):
    random, pitch, column = np.random.default_rng(width), 2, 1
    launch = Launch(kernel, (views,), 256, (width + 58) * 4)
    own = (3 * random.standard_normal((views, width))).astype(np.float32)
    images = unit_rows(random, count, width).astype(np.float32)
    source, table = launch.input(own, "class"), launch.table(launch.input(images, "images"), count)
    outputs = [launch.output((views, pitch), np.float32, name) for name in ("out", "mirror")[: 1 + mirrored]]
    launch.arguments = [source, width, table, int(unit_length), pitch, column, outputs[0], outputs[1] if mirrored else None]
    unit = own / (np.linalg.norm(own.astype(np.float64), axis=1, keepdims=True) if unit_length else 1.0)
    exact = np.linalg.norm(unit[:, None] - images.astype(np.float64), axis=-1).mean(axis=1)
    # The unit vector's own rounding, that of a lane's sum, and the sum over images.
    tolerance = (2 * (width / 32 + 12) + count) * U32 * (exact + 1)
    where = np.arange(pitch) == column
    for out in outputs:
        launch.expect(out, exact[:, None], tolerance[:, None], launch.rows_near(views, 1)[:, None] & where)
    return launch
