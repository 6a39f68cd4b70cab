"""Instructions that the 32 lanes of a warp execute together."""

import re

import numpy as np

from .memory import Mistake
from .operands import address, reader, vector, writer
from .parser import Fault

WARP = 32
ALL = 0xFFFFFFFF


def whole(mask):
    """Fails where some lanes of a warp are not there."""
    if mask is not None:
        warps = mask.reshape(-1, WARP)
        if (partly := warps.any(axis=1) & ~warps.all(axis=1)).any():
            lane = int(np.flatnonzero(partly)[0]) * WARP
            missing = np.flatnonzero(~warps[lane // WARP])
            among = int(np.flatnonzero(np.flatnonzero(mask) >= lane)[0])
            raise Mistake(f"lanes {missing.tolist()} of the warp do not take part", among)


def shuffle(kernel, operands, mode):
    to, _, valid = operands[0].partition("|")
    write, write_valid = writer(kernel, to, "b32"), writer(kernel, valid or "_", "pred")
    value, offset, clamp = (reader(kernel, operand, "u32") for operand in operands[1:4])
    members = reader(kernel, operands[4], "u32")

    def step(lanes, mask):
        whole(mask)
        if (np.broadcast_to(members(lanes), lanes.width) != ALL).any():
            raise Fault(f"{kernel.name}: shuffles of a part of a warp are not known")
        lane = np.arange(lanes.width) % WARP
        c = np.broadcast_to(clamp(lanes), lanes.width).astype(np.int64)
        by = np.broadcast_to(offset(lanes), lanes.width).astype(np.int64) & 31
        segment = c >> 8 & 31
        lowest, highest = lane & segment, lane & segment | c & 31 & ~segment
        if mode == "up":
            source = lane - by
            good = source >= highest
        else:
            source = {"down": lane + by, "bfly": lane ^ by, "idx": lowest | by & ~segment}[mode]
            good = source <= highest
        source = np.where(good, source, lane) + np.arange(lanes.width) // WARP * WARP
        write(lanes, np.broadcast_to(value(lanes), lanes.width)[source], mask)
        write_valid(lanes, good, mask)

    return step


def load_matrices(kernel, operands, transposed):
    """Four tiles of 8 x 8 halves; lane l gives the address of row l % 8 of tile l / 8."""
    writes, where = [writer(kernel, register, "b32") for register in vector(operands[0])], address(kernel, operands[1])
    if len(writes) != 4:
        raise Fault("four registers are expected")

    def step(lanes, mask):
        whole(mask)
        shared = lanes.run.shared
        chosen = np.arange(lanes.width) if mask is None else np.flatnonzero(mask)
        places = shared.at(lanes.block[chosen], where(lanes)[chosen], 16)
        shared.read(lanes.block[chosen], lanes.warp, lanes.thread[chosen], places, 16)
        tiles = shared.words[2][(places // 2)[:, None] + np.arange(8)].reshape(-1, 4, 8, 8)
        if transposed:
            tiles = tiles.swapaxes(2, 3)
        # Lane l gets elements l % 4 * 2 and the next of row l / 4.
        pairs = np.ascontiguousarray(tiles).view(np.uint32).reshape(-1, 4, WARP)
        for tile, write in enumerate(writes):
            values = np.zeros(lanes.width, np.uint32)
            values[chosen] = pairs[:, tile].ravel()
            write(lanes, values, mask)

    return step


def multiply_matrices(kernel, operands):
    """d[16, 8] = a[16, 16] b[16, 8] + c, halves and f32; sums in f64, rounded once."""
    writes = [writer(kernel, register, "f32") for register in vector(operands[0])]
    a = [reader(kernel, register, "b32") for register in vector(operands[1])]
    b = [reader(kernel, register, "b32") for register in vector(operands[2])]
    c = [reader(kernel, register, "f32") for register in vector(operands[3])]
    if (len(writes), len(a), len(b), len(c)) != (4, 4, 2, 4):
        raise Fault("fragments of 4, 4, 2 and 4 registers are expected")

    def halves(lanes, read):
        """[warps, row or column l / 4, element l % 4 * 2 and the next] of a fragment's register."""
        return np.ascontiguousarray(np.broadcast_to(read(lanes), lanes.width)).view(np.float16).reshape(-1, 8, 8)

    def step(lanes, mask):
        whole(mask)
        tiles = [halves(lanes, read) for read in a]
        left = np.empty((lanes.width // WARP, 16, 16))
        # Rows l / 4 and l / 4 + 8, columns from 0 and from 8.
        left[:, :8, :8], left[:, 8:, :8], left[:, :8, 8:], left[:, 8:, 8:] = tiles
        right = np.empty((lanes.width // WARP, 8, 16))
        right[:, :, :8], right[:, :, 8:] = (halves(lanes, read) for read in b)
        product = left @ right.swapaxes(1, 2)
        # Register i has row l / 4 + i / 2 * 8, column l % 4 * 2 + i % 2.
        parts = [product[:, i // 2 * 8 : i // 2 * 8 + 8, i % 2 :: 2].reshape(-1) for i in range(4)]
        sums = [(part + read(lanes)).astype(np.float32) for part, read in zip(parts, c)]
        for write, values in zip(writes, sums):
            write(lanes, values, mask)

    return step


KNOWN = [
    (re.compile(pattern), make)
    for pattern, make in [
        ("shfl\\.sync\\.(bfly|up|down|idx)\\.b32", shuffle),
        ("ldmatrix\\.sync\\.aligned\\.m8n8\\.x4(\\.trans)?\\.shared\\.b16", load_matrices),
        ("mma\\.sync\\.aligned\\.m16n8k16\\.row\\.col\\.f32\\.f16\\.f16\\.f32", multiply_matrices),
    ]
]
