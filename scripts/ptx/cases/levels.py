"""kernels/convolve.cu, max_pool.cu, mean_cells.cu, pool_neighbours.cu, pool_columns.cu, resample.cu, nearest_euclidean.cu."""

import numpy as np

from ..launch import U32, Launch, ceil_div, operand_type, rounding
from ..parser import Fault
from . import case
from .ordered import key_of, read_keys


def elements(launch, shape, per_block=256):
    """Which elements of an output the sampled blocks write."""
    return launch.rows_near(int(np.prod(shape)), per_block).reshape(shape)


def neighbourhoods(x, side, stride):
    """`[images, rows, cols, channels]` to the rows of its output cells, `[cells, side, side, channels]`, with zeros outside."""
    images, rows, cols, channels = x.shape
    pad = side // 2
    around = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    out = [
        around[image, row : row + side, col : col + side]
        for image in range(images)
        for row in range(0, rows, stride)
        for col in range(0, cols, stride)
    ]
    return np.stack(out)


# Images, rows, columns, channels, side, stride, the first output cell and their number.
UNFOLDED = [
    (1, 1, 1, 1, 1, 1, 0, 1),
    (2, 5, 7, 6, 3, 2, 3, 20),
    (2, 6, 5, 8, 3, 1, 11, 40),
    (1, 28, 28, 128, 3, 2, 0, 196),
    (2, 7, 7, 512, 1, 1, 0, 98),
]


@case("unfold_f16", "unfold_f32", shapes=UNFOLDED)
def unfold(kernel, images, rows, cols, channels, side, stride, first, count):
    dtype, each = operand_type(kernel), 1 if channels % 4 else 4
    launch = Launch(kernel, (ceil_div(count * side * side * channels, 256 * each),), 256)
    x = np.random.default_rng(channels).standard_normal((images, rows, cols, channels)).astype(np.float32)
    exact = neighbourhoods(x.astype(np.float64), side, stride)[first : first + count]
    source, out = launch.input(x, "x"), launch.output(exact.shape, dtype)
    out_cols = ceil_div(cols, stride)
    launch.arguments = [source, rows, cols, channels, side, stride, out_cols, ceil_div(rows, stride) * out_cols, first, count, out]
    launch.expect(out, exact, rounding(dtype, exact), elements(launch, exact.shape, 256 * each))
    return launch


@case(
    "unfold_pixels_f16",
    "unfold_pixels_f32",
    shapes=[(1, 4, 4, 4, 1, 2, 0, 4), (2, 16, 24, 8, 7, 2, 90, 70), (1, 48, 40, 4, 7, 2, 0, 480)],
)
def unfold_pixels(kernel, images, rows, cols, patch, side, stride, first, count):
    dtype = operand_type(kernel)
    launch = Launch(kernel, (ceil_div(count * side * side * 3, 256),), 256)
    x = np.random.default_rng(rows).standard_normal((images, rows, cols, 3)).astype(dtype)
    patches = x.reshape(images, rows // patch, patch, cols // patch, patch, 3).transpose(0, 1, 3, 5, 2, 4)
    exact = neighbourhoods(x.astype(np.float64), side, stride)[first : first + count]
    source, out = launch.input(patches, "x"), launch.output(exact.shape, dtype)
    out_cols = ceil_div(cols, stride)
    launch.arguments = [source, rows, cols, patch, side, stride, out_cols, ceil_div(rows, stride) * out_cols, first, count, out]
    launch.expect(out, exact, 0.0, elements(launch, exact.shape))
    return launch


@case("rectify", shapes=[(1,), (300,), (28 * 28 * 512 + 3,)])
def rectify(kernel, length):
    launch = Launch(kernel, (ceil_div(length, 256),), 256)
    host = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    x = launch.changed(host)
    launch.arguments = [x, length]
    where = elements(launch, (length,))
    launch.expect(x, np.where(where, np.maximum(host, 0), host), 0.0, where)
    return launch


@case("max_pool", shapes=[(1, 1, 1, 1), (2, 5, 7, 6), (1, 112, 112, 64)])
def max_pool(kernel, images, rows, cols, width):
    x = (np.random.default_rng(rows).standard_normal((images, rows, cols, width)) - 9).astype(np.float32)
    around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    near = [around[:, down : down + rows, across : across + cols] for down in range(3) for across in range(3)]
    exact = np.max(near, axis=0)[:, ::2, ::2]
    launch = Launch(kernel, (ceil_div(exact.size, 256),), 256)
    source, out = launch.input(x, "x"), launch.output(exact.shape, np.float32)
    launch.arguments = [source, rows, cols, width, exact.size, out]
    launch.expect(out, exact, 0.0, elements(launch, exact.shape))
    return launch


@case("mean_cells", shapes=[(1, 1, 1), (3, 12, 7), (2, 49, 2048)])
def mean_cells(kernel, images, cells, width):
    launch = Launch(kernel, (ceil_div(images * width, 256),), 256)
    x = np.random.default_rng(cells).standard_normal((images, cells, width)).astype(np.float32)
    source, out = launch.input(x, "x"), launch.output((images, width), np.float32)
    launch.arguments = [source, cells, width, images * width, out]
    tolerance = (cells + 2) * U32 * np.abs(x).mean(axis=1)
    launch.expect(out, x.astype(np.float64).mean(axis=1), tolerance, elements(launch, (images, width)))
    return launch


def averaged(x, count):
    """Rows in f64 averaged to bins, and what f32 may be off."""
    of = x.shape[-1]
    bins = [slice(i * of // count, ceil_div((i + 1) * of, count)) for i in range(count)]
    exact = np.stack([x[..., own].mean(axis=-1) for own in bins], axis=-1)
    sizes = np.stack([np.abs(x[..., own]).mean(axis=-1) for own in bins], axis=-1)
    return exact, (max(own.stop - own.start for own in bins) + 3) * U32 * sizes


@case("pool_neighbours", shapes=[(1, 1, 1, 1, 1), (2, 3, 4, 5, 7), (1, 2, 5, 4, 60), (1, 4, 5, 512, 1024)])
def pool_neighbours(kernel, images, rows, cols, width, count):
    x = np.random.default_rng(width).standard_normal((images, rows, cols, width)).astype(np.float32)
    around = neighbourhoods(x.astype(np.float64), 3, 1).transpose(0, 3, 1, 2).reshape(images * rows * cols, 9 * width)
    exact, tolerance = averaged(around, count)
    launch = Launch(kernel, (ceil_div(exact.size, 256),), 256)
    source, out = launch.input(x, "x"), launch.output(exact.shape, np.float32)
    launch.arguments = [source, rows, cols, width, count, exact.size, out]
    launch.expect(out, exact, tolerance, elements(launch, exact.shape))
    return launch


@case(
    "pool_columns",
    shapes=[
        (1, 1, 1, False, False),
        (33, 200, 77, True, False),
        (300, 3, 1, True, True),
        (5, 4, 9, False, True),
        (7, 2048, 1024, False, False),
    ],
)
def pool_columns(kernel, rows, width, count, some, mirrored):
    launch = Launch(kernel, (ceil_div(rows * count, 256),), 256)
    x = np.random.default_rng(width).standard_normal((rows, width)).astype(np.float32)
    valid = (np.arange(rows) % 3 != 1).astype(np.float32)
    exact, tolerance = averaged(x.astype(np.float64), count)
    source, counts = launch.input(x, "x"), launch.input(valid, "valid") if some else None
    outputs = [launch.output(exact.shape, np.float32, name) for name in ("out", "mirror")[: 1 + mirrored]]
    launch.arguments = [source, width, count, rows * count, counts, outputs[0], outputs[1] if mirrored else None]
    for out in outputs:
        launch.expect(out, exact * valid[:, None] if some else exact, tolerance, elements(launch, exact.shape))
    return launch


def between(at, of, to, bilinear):
    """The cells of an axis on either side of the centre of cell `at`, and the share of the second."""
    if not bilinear:
        return at * of // to, at * of // to, 0.0
    place = max((at + 0.5) * of / to - 0.5, 0.0)
    low = int(place)
    return low, min(low + 1, of - 1), place - low


# The grids, images, width, pitch, column.
RESAMPLED = [
    ((1, 1), (3, 5), 1, 3, 8, 4, True),
    ((5, 7), (9, 13), 2, 3, 8, 4, True),
    ((4, 6), (4, 6), 1, 5, 5, 0, True),
    ((5, 7), (18, 26), 1, 2, 3, 1, False),
    ((14, 14), (28, 28), 1, 64, 128, 64, True),
]


@case("resample_maps", shapes=RESAMPLED)
def resample(kernel, of, to, images, width, pitch, column, bilinear):
    x = np.random.default_rng(width).standard_normal((images, *of, width)).astype(np.float32)
    exact = np.zeros((images, *to, width))
    for row, col in np.ndindex(*to):
        (top, bottom, down), (left, right, across) = between(row, of[0], to[0], bilinear), between(col, of[1], to[1], bilinear)
        lines = [(1 - across) * x[:, r, left].astype(np.float64) + across * x[:, r, right] for r in (top, bottom)]
        exact[:, row, col] = (1 - down) * lines[0] + down * lines[1]
    launch = Launch(kernel, (ceil_div(exact.size, 256),), 256)
    source, out = launch.input(x, "x"), launch.output((images, *to, pitch), np.float32)
    launch.arguments = [source, *of, width, *to, pitch, column, int(bilinear), exact.size, out]
    whole, chosen = np.zeros((images, *to, pitch)), np.zeros((images, *to, pitch), bool)
    whole[..., column : column + width] = exact
    chosen[..., column : column + width] = elements(launch, exact.shape)
    # Two weights of a rounding each, two products and a sum, twice.
    launch.expect(out, whole, 16 * U32 * np.abs(x).max() if bilinear else 0.0, chosen)
    return launch


@case("nearest_euclidean", shapes=[(1, 1, 1, 1), (70, 5, 3, 2), (66, 200, 77, 2), (64, 300, 130, 1)])
def nearest_euclidean(kernel, count, rows, width, splits):
    random = np.random.default_rng(width)
    launch = Launch(kernel, (ceil_div(count, 64), splits), 128, (64 + 128) * 33 * 4)
    bank = (40 * random.standard_normal((rows, width))).astype(np.float32)
    queries = (40 * random.standard_normal((count, width))).astype(np.float32)
    # The first query is a row, which is there twice: the first counts.
    queries[0] = bank[rows // 2]
    if rows > 3:
        bank[rows - 1] = bank[rows // 2]
    source, table = launch.input(queries, "queries"), launch.table(launch.input(bank, "bank"), rows)
    keys = launch.changed(np.zeros(count, np.uint64), "keys")
    launch.arguments = [source, count, table, width, keys]
    squares = ((queries[:, None].astype(np.float64) - bank) ** 2).sum(axis=-1)

    def check():
        values, found = read_keys(keys.found)
        exact = squares.min(axis=1)
        if found[0] != rows // 2 or values[0] != 0:
            raise Fault(f"`keys`: row {found[0]} at {-values[0]} is nearest to a row of the bank")
        # A difference and its square err by three roundings, and a sum in turn by one an element.
        away, most = np.abs(-values.astype(np.float64) - exact), (width + 4) * U32 * exact
        launch.share = max(launch.share, float((away[1:] / most[1:]).max(initial=0.0)))
        if not (away <= most).all():
            raise Fault(f"`keys`: squares {-values}, expected {exact}")
        if not (squares[np.arange(count), found] <= exact * (1 + 2 * (width + 4) * U32)).all():
            raise Fault("`keys` do not name the nearest rows")

    launch.check(check)
    return launch


@case("euclidean_map", shapes=[(1, False, False), (300, True, True), (28 * 28 * 8, True, False)])
def euclidean_map(kernel, count, some, mirrored):
    launch, random = Launch(kernel, (ceil_div(count, 256),), 256), np.random.default_rng(count)
    squares = random.uniform(0, 900, count).astype(np.float32)
    squares[0] = 0
    valid = (np.arange(count) % 7 != 3).astype(np.float32)
    keys = launch.input(key_of(-squares, random.integers(0, 1000, count)), "keys")
    counts = launch.input(valid, "valid") if some else None
    outputs = [launch.output(count, np.float32, name) for name in ("map", "mirror")[: 1 + mirrored]]
    launch.arguments = [keys, counts, count, outputs[0], outputs[1] if mirrored else None]
    exact = np.sqrt(squares.astype(np.float64)) * (valid if some else 1)
    for out in outputs:
        launch.expect(out, exact, 2 * U32 * exact, elements(launch, (count,)))
    return launch
