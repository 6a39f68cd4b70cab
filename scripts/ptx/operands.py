"""How instructions read and write registers. Each function is made once per instruction, then called for each step."""

import re

import numpy as np

from .memory import POISON
from .parser import SPECIAL, Fault

# Types of instructions; `b` is read as unsigned.
TYPES = {f"{kind}{bits}": np.dtype(f"{'i' if kind == 's' else 'u'}{bits // 8}") for kind in "ubs" for bits in (8, 16, 32, 64)}
TYPES |= {"f32": np.dtype(np.float32), "pred": np.dtype(bool)}


def poison(dtype):
    """What a register holds that nothing was written to."""
    return np.full(dtype.itemsize, POISON, np.uint8).view(dtype)[0] if dtype != bool else np.bool_(True)


def register(kernel, operand):
    """Place and type of a register."""
    try:
        return kernel.registers[operand]
    except KeyError:
        raise Fault(f"`{operand}` is not a register") from None


def literal(operand, dtype):
    if operand.startswith("0f"):
        if dtype.itemsize != 4:
            raise Fault(f"`{operand}` has 32 bits")
        return np.uint32(int(operand.replace("f", "x", 1), 0)).view(dtype)
    if dtype.kind == "f" or not re.fullmatch(r"-?\w+", operand):
        raise Fault(f"`{operand}` is not a number of type {dtype}")
    value = int(operand, 0) & ((1 << 8 * dtype.itemsize) - 1)
    return np.array(value, f"u{dtype.itemsize}").view(dtype)[()]


def reader(kernel, operand, kind):
    """A function from lanes to the operand's values in type `kind`: an array, or one number for all lanes."""
    dtype = TYPES[kind]
    if SPECIAL.fullmatch(operand):
        if dtype.itemsize != 4:
            raise Fault(f"`{operand}` has 32 bits")
        return lambda lanes: lanes.special[operand].view(dtype)
    if operand.startswith("%"):
        place, stored = register(kernel, operand)
        if stored == dtype:
            return lambda lanes: lanes.registers[place]
        if stored.itemsize == dtype.itemsize and bool not in (stored, dtype):
            return lambda lanes: lanes.registers[place].view(dtype)
        # Stores and conversions take the lower part of a wider register.
        if stored.kind == "u" and dtype.kind in "ui" and stored.itemsize > dtype.itemsize:
            unsigned = np.dtype(f"u{dtype.itemsize}")
            return lambda lanes: lanes.registers[place].astype(unsigned).view(dtype)
        raise Fault(f"`{operand}` holds {stored}, and {dtype} is wanted")
    if operand in dict.fromkeys(name for name, _, _ in kernel.parameters):
        value = dtype.type(next(offset for name, offset, _ in kernel.parameters if name == operand))
    elif operand == "shared":
        value = dtype.type(0)
    else:
        value = literal(operand, dtype)
    return lambda lanes: value


def writer(kernel, operand, kind):
    """A function (lanes, values, mask) that stores values of type `kind`; `mask` is None for all lanes."""
    if operand == "_":
        return lambda lanes, values, mask: None
    dtype = TYPES[kind]
    place, stored = register(kernel, operand)
    if stored == dtype:
        convert = None
    elif stored.itemsize == dtype.itemsize and bool not in (stored, dtype):
        convert = lambda values: values.view(stored)
    elif stored.kind == "u" and dtype.kind in "ui" and stored.itemsize > dtype.itemsize:
        # Loads and conversions fill a wider register, with the sign of a signed type.
        signed = np.dtype(f"{dtype.kind}{stored.itemsize}")
        convert = lambda values: values.astype(signed).view(stored)
    else:
        raise Fault(f"`{operand}` holds {stored}, and {dtype} is written")

    def write(lanes, values, mask):
        if convert:
            values = convert(values)
        if mask is not None:
            values = np.where(mask, values, lanes.registers[place])
        elif values.ndim == 0:
            values = np.full(lanes.width, values)
        lanes.registers[place] = values

    return write


def vector(operand):
    """The registers of `{a, b, ..}`, or the one register."""
    return [part.strip() for part in operand.strip("{}").split(",")]


def address(kernel, operand):
    """A function from lanes to the 64-bit values of `[base + offset]`."""
    match = re.fullmatch(r"\[([%\w]+)(?:\+(-?\d+))?\]", operand.replace(" ", ""))
    if not match:
        raise Fault(f"`{operand}` is not an address")
    offset = np.uint64(int(match[2] or 0) & (2**64 - 1))
    wide = not match[1].startswith("%") or register(kernel, match[1])[1].itemsize == 8
    base = reader(kernel, match[1], "u64" if wide else "u32")
    if wide:
        return lambda lanes: np.broadcast_to(base(lanes) + offset, lanes.width)
    return lambda lanes: base(lanes).astype(np.uint64) + offset
