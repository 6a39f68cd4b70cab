"""One launch of a kernel: its arguments, the blocks that run, and the memory that they must leave."""

import itertools
import struct

import numpy as np

from .machine import Run
from .memory import Device
from .parser import Fault

# The unit roundoff of f32 and of f16, and half the distance of the smallest halves.
U32, U16, TINY16 = 2.0**-24, 2.0**-11, 2.0**-25
# What an output holds before: a NaN that no operation makes.
MARK = 0x7FC5_EED5
SCHEDULES = (
    {"backwards": False, "eager": False, "error": 1},
    {"backwards": True, "eager": True, "error": -1},
)


def is_half(kernel):
    """Whether the operands of this instance are halves."""
    return "_f16" in kernel


def operand_type(kernel):
    return np.float16 if is_half(kernel) else np.float32


def rounding(dtype, exact):
    """The error of storing `exact`."""
    return U16 * np.abs(exact) + TINY16 if dtype == np.float16 else U32 * np.abs(exact)


def ceil_div(a, b):
    return -(-a // b)


def sampled(grid, most=8, seed=0):
    """Blocks of a grid, (x, y, z): the first, the last, and others between."""
    grid = tuple(grid) + (1,) * (3 - len(grid))
    corners = [(0, 0, 0), tuple(n - 1 for n in grid)]
    total = int(np.prod(grid))
    if total <= most:
        return list(itertools.product(*map(range, grid)))
    places = np.random.default_rng(seed).permutation(total)[: 2 * most]
    others = [tuple(int(x) for x in np.unravel_index(place, grid)) for place in places]
    return list(dict.fromkeys(corners + others))[:most]


class Buffer:
    """An argument in the device's memory."""

    def __init__(self, name, host, writable):
        self.name, self.host, self.writable = name, host, writable
        # Set for each run.
        self.address = self.found = None


class Launch:
    """A kernel's launch; buffers first, then `arguments` in the kernel's order, then what is expected."""

    def __init__(self, kernel, grid, threads, shared=0, blocks=None):
        self.kernel, self.threads, self.shared = kernel, threads, shared
        self.grid = tuple(grid) + (1,) * (3 - len(grid))
        self.blocks = sampled(self.grid) if blocks is None else blocks
        self.buffers, self.arguments, self.expected = [], [], []
        # The worst error of all runs, as a share of what is allowed.
        self.share = 0.0

    def input(self, host, name="an input"):
        return self._buffer(name, host, False)

    def changed(self, host, name="x"):
        """Read and written."""
        return self._buffer(name, host, True)

    def output(self, shape, dtype, name="out"):
        host = np.zeros(int(np.prod(shape)), dtype).view(np.uint8)
        host[:] = np.resize(np.array([MARK], np.uint32).view(np.uint8), host.size)
        return self._buffer(name, host.view(dtype).reshape(shape), True)

    def _buffer(self, name, host, writable):
        self.buffers.append(Buffer(name, host if callable(host) else np.ascontiguousarray(host), writable))
        return self.buffers[-1]

    def table(self, *entries):
        """A structure in device memory: buffers as addresses, integers of 64 bits."""
        return self._buffer("a table", entries_to_host(entries), False)

    def rows_near(self, rows, per_block=8):
        """Which of `rows` the sampled blocks write, as a mask, where each block takes `per_block` of them."""
        chosen = np.zeros(rows, bool)
        for x, _, _ in self.blocks:
            chosen[x * per_block : (x + 1) * per_block] = True
        return chosen

    def expect(self, buffer, exact, tolerance, where=None):
        """`|found - exact| <= tolerance` at each element of `where` (all of them), and no other element written."""
        self.expect_of(buffer, lambda: (exact, tolerance), where)

    def expect_of(self, buffer, reference, where=None):
        """[`expect`], with what is exact, and what may be off, worked out of what other buffers hold after the run."""
        shape = buffer.host.shape
        where = np.ones(shape, bool) if where is None else np.broadcast_to(where, shape)

        def check():
            exact, tolerance = (np.broadcast_to(part, shape) for part in reference())
            self.share = max(self.share, compare(buffer, exact, tolerance, where))

        self.check(check)

    def expect_nan(self, buffer):
        """NaN everywhere, other than the one that was there."""

        def check():
            if not (np.isnan(buffer.found) & (buffer.found.view(np.uint32) != MARK)).all():
                raise Fault(f"`{buffer.name}`: found {buffer.found}, NaN is expected")

        self.check(check)

    def check(self, function):
        """Another check after each run; it raises [`Fault`]."""
        self.expected.append(function)

    def run(self, kernel):
        """Runs the sampled blocks in every schedule and checks each; which instructions were executed."""
        covered = np.zeros(len(kernel.code), bool)
        for schedule in SCHEDULES:
            device = Device()
            for buffer in self.buffers:
                # Tables hold addresses of buffers before them.
                host = buffer.host() if callable(buffer.host) else buffer.host
                buffer.address = device.allocate(host, buffer.name, buffer.writable)
            device.seal()
            parameters = pack(kernel, self.arguments)
            run = Run(kernel, device, self.grid, self.blocks, self.threads, self.shared, parameters, **schedule)
            run.go()
            covered |= run.covered
            for number, buffer in enumerate(self.buffers):
                if buffer.writable:
                    buffer.found = device.content(number).view(buffer.host.dtype).reshape(buffer.host.shape)
            for check in self.expected:
                check()
        return covered


def compare(buffer, exact, tolerance, where):
    """The largest error as a share of what is allowed."""
    found = buffer.found
    touched = found.view(np.uint8).reshape(-1) != buffer.host.view(np.uint8).reshape(-1)
    touched = touched.reshape(found.size, -1).any(axis=1).reshape(found.shape)
    if (wrong := touched & ~where).any():
        at = [int(i) for i in np.argwhere(wrong)[0]]
        raise Fault(f"`{buffer.name}`{at} was written, which belongs to another block or to nobody")
    difference = np.abs(found.astype(np.float64) - exact)
    # NaN and infinity are wrong as well.
    if (wrong := where & ~(difference <= tolerance)).any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise Fault(
            f"`{buffer.name}`{list(at)}: found {found[at]!s}, expected {exact[at]:.7g}, difference {difference[at]:.2e} > "
            f"{tolerance[at]:.2e}; {int(wrong.sum())} of {int(where.sum())} elements are wrong"
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.where(where & (difference > 0), difference / tolerance, 0).max(initial=0.0))


def entries_to_host(entries):
    def host():
        words = [entry.address if isinstance(entry, Buffer) else entry for entry in entries]
        return np.array(words, np.uint64)

    return host


def pack(kernel, arguments):
    """Arguments as the driver lays them out: buffers, None for a null pointer, int, float, or bytes of a structure."""
    if len(arguments) != len(kernel.parameters):
        raise Fault(f"{kernel.name} has {len(kernel.parameters)} parameters, the case gives {len(arguments)}")
    packed = np.zeros(kernel.parameter_bytes, np.uint8)
    for (name, offset, size), argument in zip(kernel.parameters, arguments):
        if isinstance(argument, Buffer):
            value = struct.pack("<Q", argument.address)
        elif argument is None:
            value = struct.pack("<Q", 0)
        elif callable(argument):
            value = argument()
        else:
            value = struct.pack("<f" if isinstance(argument, float) else "<i", argument)
        if len(value) != size:
            raise Fault(f"{kernel.name}: `{name}` has {size} bytes, the case gives {len(value)}")
        packed[offset : offset + size] = np.frombuffer(value, np.uint8)
    return packed
