"""The launches of every kernel, one file an operation.

A case is a function from a kernel's name and a shape to a [`Launch`](../launch.py):

    @case("gelu_exact_f16", "gelu_exact_f32", shapes=[(1,), (226 * 3584,)])
    def gelu(kernel, length):
        launch = Launch(kernel, grid=(ceil_div(length, 2048),), threads=256)
        x = launch.changed(..)
        launch.arguments = [x, length]
        launch.expect(x, exact, tolerance, where)
        return launch

Grid, block and shared memory are those of the kernel's header. Shapes are those of a model, with the blocks that `Launch`
samples of them, and those with remainders. Tolerances are derived: sums of n terms in a known order err by at most n
roundings of the sum of their absolute values. Every file of the folder is read.
"""

import importlib
import pkgutil

# Kernel to its cases: (a name for people, a function that makes the launch).
CASES = {}


def case(*kernels, shapes):
    """Registers a function for each of `kernels` at each of `shapes`."""

    def register(function):
        for kernel in kernels:
            for shape in shapes:
                name = f"{kernel} {' x '.join(map(str, shape))}"
                CASES.setdefault(kernel, []).append((name, lambda k=kernel, s=shape: function(k, *s)))
        return function

    return register


for file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{file.name}")
