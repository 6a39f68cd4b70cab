"""Instructions that compute from registers to registers, each lane on its own."""

import re

import numpy as np

from .operands import TYPES, reader, vector, writer
from .parser import Fault

SIGNED = {"s16": "s32", "s32": "s64", "u16": "u32", "u32": "u64"}


def compute(kernel, operands, kind, function, out=None):
    """`operands[0] = function(operands[1:])`, all of type `kind`, the result of type `out`."""
    write = writer(kernel, operands[0], out or kind)
    reads = [reader(kernel, operand, kind) for operand in operands[1:]]
    if len(reads) == 1:
        (read,) = reads
        return lambda lanes, mask: write(lanes, function(read(lanes)), mask)
    if len(reads) == 2:
        left, right = reads
        return lambda lanes, mask: write(lanes, function(left(lanes), right(lanes)), mask)
    return lambda lanes, mask: write(lanes, function(*(read(lanes) for read in reads)), mask)


def simple(function):
    """An instruction whose one modifier is its type."""
    return lambda kernel, operands, kind: compute(kernel, operands, kind, function)


def counted(count, make):
    """Checks the number of operands first."""

    def checked(kernel, operands, *groups):
        if len(operands) != count:
            raise Fault(f"{len(operands)} operands, {count} are expected")
        return make(kernel, operands, *groups)

    return checked


def multiply_wide(kernel, operands, name, kind):
    wide = TYPES[SIGNED[kind]]
    product = lambda a, b: np.multiply(a, b, dtype=wide)
    if name == "mul":
        return compute(kernel, operands, kind, product, SIGNED[kind])
    write, add = writer(kernel, operands[0], SIGNED[kind]), reader(kernel, operands[3], SIGNED[kind])
    left, right = (reader(kernel, operand, kind) for operand in operands[1:3])
    return lambda lanes, mask: write(lanes, product(left(lanes), right(lanes)) + add(lanes), mask)


def multiply_high(kernel, operands, kind):
    wide, bits = TYPES[SIGNED[kind]], TYPES[kind].itemsize * 8
    high = lambda a, b: (np.multiply(a, b, dtype=wide) >> wide.type(bits)).astype(TYPES[kind])
    return compute(kernel, operands, kind, high)


def quotient(a, b):
    """Towards zero; what a division by zero gives is nobody's business but the kernel's."""
    b = np.where(b == 0, b.dtype.type(1), b)
    floor = a // b
    return floor + ((floor < 0) & (floor * b != a)).astype(floor.dtype) if floor.dtype.kind == "i" else floor


def divide(kernel, operands, name, kind):
    if name == "div":
        return compute(kernel, operands, kind, lambda a, b: quotient(a, np.asarray(b)))
    return compute(kernel, operands, kind, lambda a, b: a - quotient(a, np.asarray(b)) * b)


def shift(kernel, operands, name, kind):
    """Shifts by more bits than there are leave zeros, or signs."""
    dtype = TYPES[kind]
    write, value = writer(kernel, operands[0], kind), reader(kernel, operands[1], kind)
    amount, bits = reader(kernel, operands[2], "u32"), np.uint32(dtype.itemsize * 8)

    def step(lanes, mask):
        x, by = value(lanes), amount(lanes)
        within = np.minimum(by, bits - np.uint32(1)).astype(dtype)
        y = x << within if name == "shl" else x >> within
        write(lanes, y if dtype.kind == "i" else np.where(by >= bits, dtype.type(0), y), mask)

    return step


def fused(rounding):
    """a b + c. The product is exact in f64 and the sum is rounded there first: one result in 2^29 is off by one unit."""

    def multiply_add(a, b, c):
        exact = np.multiply(a, b, dtype=np.float64) + c
        y = exact.astype(np.float32)
        return y if rounding == "rn" else np.where(y > exact, np.nextafter(y, np.float32(-np.inf)), y)

    return multiply_add


FLOAT = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    # NaN only where both are.
    "min": np.fmin,
    "max": np.fmax,
    "neg": np.negative,
    "abs": np.abs,
    "rcp": lambda x: np.float32(1) / x,
    "sqrt": np.sqrt,
    # The second with the sign of the first.
    "copysign": lambda sign, value: np.copysign(value, sign),
}
# Largest relative error, from the PTX manual.
EX2_ERROR = 2.0**-22
TINY = np.float32(2.0**-126)


def exponential(kernel, operands, flush):
    write, read = writer(kernel, operands[0], "f32"), reader(kernel, operands[1], "f32")

    def step(lanes, mask):
        x = read(lanes)
        if flush:
            x = np.where(np.abs(x) < TINY, np.float32(0), x)
        y = (np.exp2(x.astype(np.float64)) * (1 + lanes.run.error * EX2_ERROR)).astype(np.float32)
        write(lanes, np.where(y < TINY, np.float32(0), y) if flush else y, mask)

    return step


COMPARE = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
# Of floats also true where one is NaN; plain `ne` is false there.
UNORDERED = {
    "equ": lambda a, b: (a == b) | np.isnan(a) | np.isnan(b),
    "neu": np.not_equal,
    "ltu": lambda a, b: ~(a >= b),
    "leu": lambda a, b: ~(a > b),
    "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
}


def compare(kernel, operands, how, kind):
    function = {**COMPARE, **UNORDERED}[how]
    if kind == "f32" and how == "ne":
        function = lambda a, b: (a < b) | (a > b)
    elif kind != "f32" and how in UNORDERED:
        raise Fault(f"{how} compares floats")
    return compute(kernel, operands, kind, function, "pred")


def select(kernel, operands, kind):
    write = writer(kernel, operands[0], kind)
    yes, no = (reader(kernel, operand, kind) for operand in operands[1:3])
    chosen = reader(kernel, operands[3], "pred")
    return lambda lanes, mask: write(lanes, np.where(chosen(lanes), yes(lanes), no(lanes)), mask)


def insert(kernel, operands, kind):
    """bfi: the lower `length` bits of a at `position` of b."""
    dtype = TYPES[kind]
    write = writer(kernel, operands[0], kind)
    a, b = (reader(kernel, operand, kind) for operand in operands[1:3])
    position, length = (reader(kernel, operand, "u32") for operand in operands[3:])

    def step(lanes, mask):
        at, bits = (np.asarray(x(lanes) & np.uint32(255)).astype(object) for x in (position, length))
        if at.ndim or bits.ndim:
            raise Fault("bfi with places in registers is not known")
        field = ((1 << int(bits)) - 1) << int(at) & (2 ** (8 * dtype.itemsize) - 1)
        shifted = a(lanes) << dtype.type(int(at)) if int(at) < 8 * dtype.itemsize else dtype.type(0)
        write(lanes, b(lanes) & ~dtype.type(field) | shifted & dtype.type(field), mask)

    return step


def move(kernel, operands, kind):
    to, what = operands
    if to.startswith("{"):
        halves, read = [writer(kernel, part, "u32") for part in vector(to)], reader(kernel, what, "u64")
        return lambda lanes, mask: [write(lanes, part(read(lanes)), mask) for write, part in zip(halves, (low, high))]
    if what.startswith("{"):
        first, second = (reader(kernel, part, "u32") for part in vector(what))
        write = writer(kernel, to, "u64")
        joined = lambda lanes: np.uint64(second(lanes)) << np.uint64(32) | np.uint64(first(lanes))
        return lambda lanes, mask: write(lanes, joined(lanes), mask)
    read, write = reader(kernel, what, kind), writer(kernel, to, kind)
    return lambda lanes, mask: write(lanes, read(lanes), mask)


def low(x):
    return x.astype(np.uint32)


def high(x):
    return (x >> np.uint64(32)).astype(np.uint32)


def convert(kernel, operands, to, of):
    """Between integers: cut off, or filled up with the sign of the type that is read."""
    return compute(kernel, operands, of, lambda x: x.astype(TYPES[to]), to)


def to_half(rounding):
    def bits(x):
        half = x.astype(np.float16)
        found = half.view(np.uint16)
        # One unit nearer to zero where rounding to nearest went away from it.
        return found if rounding == "rn" else found - (np.abs(half.astype(np.float32)) > np.abs(x)).astype(np.uint16)

    return bits


def half(kernel, operands, rounding):
    return compute(kernel, operands, "f32", to_half(rounding), "b16")


def half_pair(kernel, operands, rounding):
    """The first in the upper half."""
    bits = to_half(rounding)
    pair = lambda a, b: bits(a).astype(np.uint32) << np.uint32(16) | bits(b).astype(np.uint32)
    return compute(kernel, operands, "f32", pair, "b32")


def saturate(x):
    return np.where(np.isnan(x), np.float32(0), np.clip(x, np.float32(0), np.float32(1)))


def from_integer(kernel, operands, of):
    return compute(kernel, operands, of, lambda x: x.astype(np.float32), "f32")


def to_integer(kernel, operands, to):
    """Towards zero; to the nearest that there is where there is none, NaN to zero."""

    def truncated(x):
        limits = np.iinfo(TYPES[to])
        exact = np.where(np.isnan(x), 0.0, np.trunc(x.astype(np.float64)))
        # The largest of 64 bits is no f64: what reaches the next one is set by itself.
        inside = np.clip(exact, float(limits.min), np.nextafter(float(limits.max) + 1, 0)).astype(TYPES[to])
        return np.where(exact > float(limits.max), limits.max, inside)

    return compute(kernel, operands, "f32", truncated, to)


INTEGER = "([su](?:16|32|64))"
BITS = "(b(?:16|32|64)|pred)"
INVERT = {"pred": np.logical_not}
# Instruction, what makes its step from the kernel, its operands and the pattern's groups.
KNOWN = [
    (re.compile(pattern), counted(count, make))
    for pattern, count, make in [
        (f"add\\.{INTEGER}", 3, simple(np.add)),
        (f"sub\\.{INTEGER}", 3, simple(np.subtract)),
        (f"mul\\.lo\\.{INTEGER}", 3, simple(np.multiply)),
        (f"mad\\.lo\\.{INTEGER}", 4, simple(lambda a, b, c: a * b + c)),
        ("(mul)\\.wide\\.([su](?:16|32))", 3, multiply_wide),
        ("(mad)\\.wide\\.([su](?:16|32))", 4, multiply_wide),
        ("mul\\.hi\\.([su](?:16|32))", 3, multiply_high),
        (f"(div|rem)\\.{INTEGER}", 3, divide),
        (f"min\\.{INTEGER}", 3, simple(np.minimum)),
        (f"max\\.{INTEGER}", 3, simple(np.maximum)),
        ("neg\\.(s(?:16|32|64))", 2, simple(lambda x: -x)),
        ("abs\\.(s(?:16|32|64))", 2, simple(np.abs)),
        (f"and\\.{BITS}", 3, simple(np.bitwise_and)),
        (f"or\\.{BITS}", 3, simple(np.bitwise_or)),
        (f"xor\\.{BITS}", 3, simple(np.bitwise_xor)),
        (f"not\\.{BITS}", 2, simple(np.invert)),
        ("(shl)\\.(b(?:16|32|64))", 3, shift),
        ("(shr)\\.([bus](?:16|32|64))", 3, shift),
        ("bfi\\.(b(?:32|64))", 5, insert),
        ("(add|sub|mul)(?:\\.rn)?\\.f32", 3, lambda k, o, name: compute(k, o, "f32", FLOAT[name])),
        ("(div)\\.rn\\.f32", 3, lambda k, o, name: compute(k, o, "f32", FLOAT[name])),
        ("(rcp|sqrt)\\.rn\\.f32", 2, lambda k, o, name: compute(k, o, "f32", FLOAT[name])),
        ("(min|max|copysign)\\.f32", 3, lambda k, o, name: compute(k, o, "f32", FLOAT[name])),
        ("(neg|abs)\\.f32", 2, lambda k, o, name: compute(k, o, "f32", FLOAT[name])),
        ("fma\\.(rn|rm)\\.f32", 4, lambda k, o, rounding: compute(k, o, "f32", fused(rounding))),
        ("ex2\\.approx(\\.ftz)?\\.f32", 2, exponential),
        ("setp\\.([a-z]+)\\.([subf](?:16|32|64))", 3, compare),
        ("selp\\.([subf](?:16|32|64))", 4, select),
        ("mov\\.([subf](?:16|32|64)|pred)", 2, move),
        ("cvt\\.([su](?:8|16|32|64))\\.([su](?:8|16|32|64))", 2, convert),
        ("cvt\\.rn\\.f32\\.([su](?:16|32|64))", 2, from_integer),
        ("cvt\\.rzi\\.([su](?:32|64))\\.f32", 2, to_integer),
        ("cvt\\.(rn|rz)\\.f16\\.f32", 2, half),
        ("cvt\\.f32\\.f16", 2, lambda k, o: compute(k, o, "b16", lambda x: x.view(np.float16).astype(np.float32), "f32")),
        ("cvt\\.(rn|rz)\\.f16x2\\.f32", 3, half_pair),
        ("cvt\\.sat\\.f32\\.f32", 2, lambda k, o: compute(k, o, "f32", saturate)),
    ]
]
