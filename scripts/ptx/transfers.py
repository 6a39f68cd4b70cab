"""Instructions that reach memory: loads, stores, asynchronous copies, atomics, and conversions of addresses."""

import re

import numpy as np

from .memory import POISON, SHARED
from .operands import TYPES, address, reader, vector, writer
from .parser import Fault

# Bytes of an asynchronous copy.
PIECE = 16


def active(lanes, mask):
    """Numbers of the lanes that take part."""
    return np.arange(lanes.width) if mask is None else np.flatnonzero(mask)


def reach(lanes, space, addresses, width, chosen, store=False):
    """The memory that the lanes `chosen` address, the places in it, and their numbers; generic addresses in two parts."""
    if space != "generic":
        yield lanes_at(lanes, space, addresses, width, chosen, store)
        return
    shared = addresses >= np.uint64(SHARED)
    for here, name, base in ((shared, "shared", np.uint64(SHARED)), (~shared, "global", np.uint64(0))):
        if here.any():
            yield lanes_at(lanes, name, addresses[here] - base, width, chosen[here], store)


def lanes_at(lanes, space, addresses, width, chosen, store):
    if space == "shared":
        shared, blocks = lanes.run.shared, lanes.block[chosen]
        places = shared.at(blocks, addresses, width)
        if store:
            shared.write(blocks, lanes.warp, places, width)
        else:
            shared.read(blocks, lanes.warp, lanes.thread[chosen], places, width)
        return shared, places, chosen
    return lanes.run.device, lanes.run.device.at(addresses, width, store, space == "constant"), chosen


def load(kernel, operands, space, count, kind):
    registers = vector(operands[0])
    if len(operands) != 2 or len(registers) != int(count or 1):
        raise Fault("as many registers as the vector has elements are expected")
    writes = [writer(kernel, register, kind) for register in registers]
    if space == "param":
        return load_parameter(kernel, operands[1], writes, TYPES[kind])
    where = address(kernel, operands[1])
    if space == "shared" and operands[1].startswith("[%rd"):
        raise Fault("addresses in shared memory of 64 bits are not known")
    dtype = TYPES[kind]
    space = {"global.nc": "constant", None: "generic"}.get(space, space)

    def step(lanes, mask):
        chosen = active(lanes, mask)
        addresses = where(lanes)[chosen]
        values = np.zeros((len(writes), lanes.width), dtype)
        for memory, places, found in reach(lanes, space, addresses, dtype.itemsize * len(writes), chosen):
            at = (places // dtype.itemsize)[:, None] + np.arange(len(writes))
            values[:, found] = memory.words[dtype.itemsize][at].view(dtype).T
        for write, value in zip(writes, values):
            write(lanes, value, mask)

    return step


def load_parameter(kernel, operand, writes, dtype):
    where = address(kernel, operand)

    def step(lanes, mask):
        # The same address for all lanes: parameters lie in a constant bank that is read once for a warp.
        addresses = where(lanes)[active(lanes, mask)]
        start = int(addresses[0])
        end = start + dtype.itemsize * len(writes)
        if (addresses != addresses[0]).any() or end > len(lanes.run.parameters):
            raise Fault(f"{kernel.name}: parameters have {len(lanes.run.parameters)} bytes, {start}..{end} are read")
        values = lanes.run.parameters[start:end].view(dtype)
        for write, value in zip(writes, values):
            write(lanes, np.full(lanes.width, value), mask)

    return step


def store(kernel, operands, space, count, kind):
    registers, dtype = vector(operands[1]), TYPES[kind]
    if len(operands) != 2 or len(registers) != int(count or 1):
        raise Fault("as many registers as the vector has elements are expected")
    reads = [reader(kernel, register, kind) for register in registers]
    where, bits = address(kernel, operands[0]), np.dtype(f"u{dtype.itemsize}")

    def step(lanes, mask):
        chosen = active(lanes, mask)
        addresses = where(lanes)[chosen]
        values = [np.broadcast_to(read(lanes), lanes.width).view(bits) for read in reads]
        for memory, places, found in reach(lanes, space or "generic", addresses, dtype.itemsize * len(reads), chosen, True):
            if memory is lanes.run.device:
                memory.claim(lanes.number[found], places, dtype.itemsize * len(reads))
            for i, value in enumerate(values):
                memory.words[dtype.itemsize][places // dtype.itemsize + i] = value[found]

    return step


def to_generic(kernel, operands):
    read, write = reader(kernel, operands[1], "u64"), writer(kernel, operands[0], "u64")
    return lambda lanes, mask: write(lanes, read(lanes) + np.uint64(SHARED), mask)


def from_generic(kernel, operands, space):
    """Addresses of global memory are the same in both."""
    read, write = reader(kernel, operands[1], "u64"), writer(kernel, operands[0], "u64")
    base = np.uint64(SHARED if space == "shared" else 0)
    return lambda lanes, mask: write(lanes, read(lanes) - base, mask)


def atomic(kernel, operands, name, kind):
    """Lanes one after the other: a maximum has no order."""
    where, read, write = address(kernel, operands[1]), reader(kernel, operands[2], kind), writer(kernel, operands[0], kind)
    dtype, function = TYPES[kind], {"max": max, "min": min}[name]

    def step(lanes, mask):
        chosen = active(lanes, mask)
        values = np.broadcast_to(read(lanes), lanes.width)
        places = lanes.run.device.at(where(lanes)[chosen], dtype.itemsize, store=True) // dtype.itemsize
        words, before = lanes.run.device.words[dtype.itemsize].view(dtype), np.zeros(lanes.width, dtype)
        for lane, place in zip(chosen, places):
            before[lane] = words[place]
            words[place] = function(words[place], values[lane])
        write(lanes, before, mask)

    return step


class Copies:
    """Asynchronous copies of a set of lanes, in the groups of each lane."""

    def __init__(self, width):
        # The open group of each lane, and what was begun: lanes, where to, where from, bytes, group.
        self.group, self.begun = np.zeros(width, np.int64), []

    def flying(self, mask):
        return any(mask[record[0]].any() for record in self.begun)

    def begin(self, lanes, chosen, targets, sources, sizes):
        shared = lanes.run.shared
        shared.write(lanes.block[chosen], lanes.warp, targets, PIECE, flying=True)
        if lanes.run.eager:
            copy(lanes.run, targets, sources, sizes)
        else:
            shared.bytes[targets[:, None] + np.arange(PIECE)] = POISON
        self.begun.append((chosen, targets, sources, sizes, self.group[chosen]))

    def wait(self, lanes, mask, open_groups):
        """`open_groups`: how many of the last closed ones may stay in flight; None waits for all, the open one too."""
        left = []
        for chosen, targets, sources, sizes, group in self.begun:
            ready = np.ones(len(chosen), bool) if open_groups is None else group < self.group[chosen] - open_groups
            if mask is not None:
                ready &= mask[chosen]
            done = tuple(part[ready] for part in (targets, sources, sizes))
            if not lanes.run.eager:
                copy(lanes.run, *done)
            lanes.run.shared.landed(lanes.block[chosen[ready]], lanes.thread[chosen[ready]], done[0], PIECE)
            if not ready.all():
                left.append(tuple(part[~ready] for part in (chosen, targets, sources, sizes, group)))
        self.begun = left


def copy(run, targets, sources, sizes):
    """Bytes from `sizes` on are zeros."""
    within = np.arange(PIECE)
    values = run.device.bytes[sources[:, None] + within]
    run.shared.bytes[targets[:, None] + within] = np.where(within < sizes[:, None], values, 0)


def copy_async(kernel, operands):
    if len(operands) != 4 or operands[2] != str(PIECE):
        raise Fault(f"copies of {PIECE} bytes with a number of bytes to read are expected")
    target, source = address(kernel, operands[0]), address(kernel, operands[1])
    size = reader(kernel, operands[3], "u32")

    def step(lanes, mask):
        chosen = active(lanes, mask)
        targets = lanes.run.shared.at(lanes.block[chosen], target(lanes)[chosen], PIECE)
        sizes = np.broadcast_to(size(lanes), lanes.width)[chosen]
        if (sizes > PIECE).any():
            raise Fault(f"{kernel.name}: a copy of {PIECE} bytes reads {sizes.max()}")
        # The address must exist where nothing is read as well: `cp16` says so.
        sources = lanes.run.device.at(source(lanes)[chosen], PIECE, constant=True)
        lanes.copies.begin(lanes, chosen, targets, sources, sizes)

    return step


def close_group(kernel, operands):
    def step(lanes, mask):
        lanes.copies.group += 1 if mask is None else mask

    return step


def wait_group(kernel, operands):
    count = int(operands[0])
    return lambda lanes, mask: lanes.copies.wait(lanes, mask, count)


KIND = "([bsuf](?:8|16|32|64))"
KNOWN = [
    (re.compile(pattern), make)
    for pattern, make in [
        (f"ld(?:\\.(param|shared|global|global\\.nc))?(?:\\.v([24]))?\\.{KIND}", load),
        (f"st(?:\\.(shared|global))?(?:\\.v([24]))?\\.{KIND}", store),
        ("cvta\\.shared\\.u64", to_generic),
        ("cvta\\.to\\.(global|shared)\\.u64", from_generic),
        ("cvta\\.global\\.u64", lambda kernel, operands: from_generic(kernel, operands, "global")),
        ("atom\\.global\\.(max|min)\\.([us](?:32|64))", atomic),
        ("cp\\.async\\.cg\\.shared\\.global", copy_async),
        ("cp\\.async\\.commit_group", close_group),
        ("cp\\.async\\.wait_group", wait_group),
        ("cp\\.async\\.wait_all", lambda kernel, operands: lambda lanes, mask: lanes.copies.wait(lanes, mask, None)),
    ]
]
