"""kernels/inctrl_heads.cu: the adapter and the two heads, equations 3 to 7."""

import struct

import numpy as np

from ..launch import U32, Launch
from . import case

LOGIT_SCALE = 100.0
ALPHA = 0.75
# An exponential, a sum and a division.
SIGMOID = 12 * U32


class Bounded:
    """Numbers in f64, and how far f32 may be off."""

    def __init__(self, value, error=0.0):
        self.value = np.asarray(value, np.float64)
        self.error = np.broadcast_to(np.asarray(error, np.float64), self.value.shape)

    def __add__(self, other):
        value = self.value + other.value
        return Bounded(value, self.error + other.error + U32 * np.abs(value))

    def __sub__(self, other):
        return self + Bounded(-other.value, other.error)


def dense(x, weight, bias=None, relu=True):
    """A lane sums a thirty-second of a row, then lanes meet."""
    weight = weight.astype(np.float64)
    bias = np.zeros(len(weight)) if bias is None else bias.astype(np.float64)
    terms = x.value.shape[-1] / 32 + 9
    value = x.value @ weight.T + bias
    error = x.error @ np.abs(weight).T + terms * U32 * (np.abs(x.value) @ np.abs(weight).T + np.abs(bias))
    return Bounded(np.maximum(value, 0) if relu else value, error)


def sigmoid(x):
    y = 1 / (1 + np.exp(-x.value))
    # Its slope is y (1 - y), and nowhere more than a quarter.
    return Bounded(y, np.minimum(0.25 * x.error, 1) + (SIGMOID + 2 * U32 * np.abs(x.value)) * y)


def head(x, weights, biases):
    first = dense(x, weights[0], biases[0])
    return sigmoid(dense(dense(first, weights[1], biases[1]), weights[2], biases[2], relu=False))


class Model:
    def __init__(self, embed, hidden, cells, h1, h2):
        random = np.random.default_rng(embed)
        self.sizes = (embed, hidden, cells, h1, h2)
        matrix = lambda *shape: (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
        self.adapter = [matrix(hidden, embed), matrix(embed, hidden)]
        self.image = [matrix(h1, embed), matrix(h2, h1), matrix(1, h2)]
        self.holistic = [matrix(h1, cells), matrix(h2, h1), matrix(1, h2)]
        self.image_bias, self.holistic_bias = ([matrix(n, 1)[:, 0] for n in (h1, h2, 1)] for _ in range(2))
        self.random = random

    def adapt(self, classes):
        return dense(dense(Bounded(classes), self.adapter[0]), self.adapter[1])

    def weights(self, launch):
        """`HeadWeights` by value."""
        parts = [*self.adapter, *self.image, *self.image_bias, *self.holistic, *self.holistic_bias]
        buffers = [launch.input(part, "a weight of the heads") for part in parts]
        return lambda: struct.pack("<14Qf5i", *(buffer.address for buffer in buffers), ALPHA, *self.sizes)


# CLIP's; tiny; rows that are not read 16 bytes at a time, and rows that are, of more than a step of a warp.
SIZES = [(640, 160, 225, 128, 64), (24, 6, 9, 5, 3), (330, 163, 199, 131, 67), (520, 264, 576, 268, 260)]


@case("inctrl_adapter", shapes=[(2, *sizes) for sizes in SIZES])
def adapter(kernel, rows, embed, hidden, cells, h1, h2):
    model = Model(embed, hidden, cells, h1, h2)
    classes = model.random.standard_normal((rows, embed)).astype(np.float32)
    launch = Launch(kernel, (rows,), 256, 4 * (embed + hidden))
    source, out = launch.input(classes, "cls"), launch.output((rows, embed), np.float32)
    launch.arguments = [source, model.weights(launch), out]
    exact = model.adapt(classes)
    launch.expect(out, exact.value, exact.error, launch.rows_near(rows, 1)[:, None])
    return launch


@case("inctrl_heads", shapes=[(3, *sizes, mirrored) for sizes, mirrored in zip(SIZES, (True, False, True, False))])
def heads(kernel, images, embed, hidden, cells, h1, h2, mirrored):
    model = Model(embed, hidden, cells, h1, h2)
    random = model.random
    classes = random.standard_normal((images, embed)).astype(np.float32)
    residuals = random.uniform(0, 1, (images, cells)).astype(np.float32)
    mean = random.standard_normal(embed).astype(np.float32)
    texts = random.standard_normal((2, embed))
    texts = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32)
    launch = Launch(kernel, (images,), 256, 4 * (2 * embed + cells + hidden + h1 + h2 + 32))
    source, residual, means, prototypes = (
        launch.input(host, name)
        for host, name in ((classes, "cls"), (residuals, "map"), (mean, "class_mean"), (texts, "text_prototypes"))
    )
    outputs = [launch.output((images, 5), np.float32, name) for name in ("out", "mirror")[: 1 + mirrored]]
    launch.arguments = [source, residual, model.weights(launch), launch.table(means, 1), launch.table(prototypes, 2)]
    launch.arguments += [outputs[0], outputs[1] if mirrored else None]
    exact = scores(model, classes, residuals, mean, texts)
    for out in outputs:
        launch.expect(out, exact.value, exact.error, launch.rows_near(images, 1)[:, None])
    return launch


def scores(model, classes, residuals, mean, texts):
    """Score, s_h, s_p, s_i, s_a of each image."""
    image = head(Bounded(mean) - model.adapt(classes), model.image, model.image_bias)
    unit = classes / np.linalg.norm(classes.astype(np.float64), axis=1, keepdims=True)
    terms = classes.shape[1] / 256 + 20
    sides = unit @ texts.astype(np.float64).T
    error = LOGIT_SCALE * terms * U32 * (np.abs(unit) @ np.abs(texts).T + np.abs(sides))
    logit = LOGIT_SCALE * (sides[:, 1] - sides[:, 0])
    text = sigmoid(Bounded(logit[:, None], error.sum(axis=1)[:, None]))
    largest = residuals.max(axis=1).astype(np.float64)[:, None]
    shifted = Bounded(residuals) + Bounded(np.broadcast_to((image + text).value, residuals.shape), (image + text).error)
    holistic = head(shifted, model.holistic, model.holistic_bias)
    score = (holistic.value + ALPHA * largest) / (1 + ALPHA)
    columns = [Bounded(score, holistic.error + 4 * U32), holistic, Bounded(largest), image, text]
    return Bounded(*(np.concatenate([getattr(c, part) for c in columns], axis=1) for part in ("value", "error")))
