"""Runs blocks of a kernel: warps, divergence, barriers.

The blocks of a launch run side by side, as one array: warp w of all blocks is a set of [`Lanes`] with 32 lanes a block, for
which each instruction is one operation of numpy. Sets take turns: each runs until all its lanes wait at a barrier or have
ended. Lanes that part at a branch go on from the lowest instruction, and join where they meet.
"""

import numpy as np

from . import arithmetic, transfers, warp
from .memory import Mistake, Shared
from .operands import poison
from .parser import Fault

WARP = 32
# Steps after which a launch is said not to end.
PATIENCE = 3_000_000


def prepare(kernel):
    """Finds what each instruction does; `Fault` where one is not known, whether it would be executed or not."""
    for at, instruction in enumerate(kernel.code):
        try:
            if instruction.opcode in ("bra", "bra.uni"):
                instruction.step = kernel.labels[instruction.operands[0]]
            elif instruction.opcode in ("ret", "exit", "bar.sync"):
                if instruction.opcode == "bar.sync" and instruction.operands != ["0"]:
                    raise Fault("barriers other than that of the whole block are not known")
            else:
                instruction.step = decode(kernel, instruction)
        except (Fault, KeyError, ValueError, IndexError) as error:
            raise Fault(f"{kernel.name}, line {instruction.line}: `{instruction.text}`: {error}") from None


def decode(kernel, instruction):
    for known in (arithmetic.KNOWN, transfers.KNOWN, warp.KNOWN):
        for pattern, make in known:
            if match := pattern.fullmatch(instruction.opcode):
                return make(kernel, instruction.operands, *match.groups())
    raise Fault(f"unknown instruction {instruction.opcode}")


class Lanes:
    """Warp `warp` of every block of a launch."""

    def __init__(self, run, warp):
        kernel, blocks = run.kernel, run.blocks
        self.run, self.warp, self.width = run, warp, len(blocks) * WARP
        self.block = np.repeat(np.arange(len(blocks)), WARP)
        self.thread = np.tile(np.arange(WARP) + warp * WARP, len(blocks))
        # Among all threads of the launch.
        self.number = (self.block * run.threads + self.thread).astype(np.int32)
        shared = {dtype: np.full(self.width, poison(dtype)) for _, dtype in kernel.registers.values()}
        # Arrays are replaced, never written to, so that registers may share one.
        self.registers = [shared[dtype] for _, dtype in kernel.registers.values()]
        grid = np.array([run.grid] * len(blocks))
        columns = {"tid": self.thread[:, None] * [1, 0, 0], "ntid": np.array([[run.threads, 1, 1]] * self.width)}
        columns |= {"ctaid": np.repeat(blocks, WARP, axis=0), "nctaid": np.repeat(grid, WARP, axis=0)}
        self.special = {
            f"%{name}.{axis}": np.ascontiguousarray(values[:, i], np.uint32)
            for name, values in columns.items()
            for i, axis in enumerate("xyz")
        }
        # Instruction to the lanes that are to go on there, and those that have come there by a barrier.
        self.ready, self.waiting = {0: np.ones(self.width, bool)}, {}
        self.copies = transfers.Copies(self.width)

    def add(self, at, mask):
        self.ready[at] = self.ready[at] | mask if at in self.ready else mask

    def go(self):
        """Until every lane waits or has ended."""
        run, code = self.run, self.run.kernel.code
        while self.ready:
            at = min(self.ready)
            mask = self.ready.pop(at)
            next_ready = min(self.ready, default=-1)
            # None for all lanes.
            active = None if mask.all() else mask
            begun = at
            while at != next_ready:
                instruction = code[at]
                step = instruction.step
                if callable(step):
                    lanes = active
                    if instruction.guard:
                        lanes = self.guarded(instruction, mask)
                    if lanes is None or lanes.any():
                        try:
                            step(self, lanes)
                        except Mistake as mistake:
                            raise self.located(instruction, lanes, mistake) from None
                    at += 1
                    continue
                chosen = mask if not instruction.guard else self.guarded(instruction, mask)
                rest = mask & ~chosen
                self.leave(instruction, at, chosen, rest, begun)
                break
            else:
                run.cover(begun, at)
                self.add(at, mask)

    def leave(self, instruction, at, chosen, rest, begun):
        """The end of a straight line: a branch, a barrier, or the end of the lanes `chosen`."""
        self.run.cover(begun, at + 1)
        if rest.any():
            self.add(at + 1, rest)
        if chosen.any():
            if instruction.opcode.startswith("bra"):
                self.add(instruction.step, chosen)
            elif instruction.opcode == "bar.sync":
                self.waiting[at + 1] = self.waiting[at + 1] | chosen if at + 1 in self.waiting else chosen
            elif self.copies.flying(chosen):
                raise self.run.fault(instruction, "ends with asynchronous copies in flight")

    def guarded(self, instruction, mask):
        register, negated = instruction.guard
        value = self.registers[self.run.kernel.registers[register][0]]
        return mask & ~value if negated else mask & value

    def located(self, instruction, mask, mistake):
        lane = mistake.lane if mask is None else np.flatnonzero(mask)[mistake.lane]
        block = tuple(int(x) for x in self.run.blocks[self.block[lane]])
        return self.run.fault(instruction, f"block {block}, thread {self.thread[lane]}: {mistake}")


class Run:
    """Some blocks of a launch, run to their end.

    `backwards`: the last warp first. `eager`: asynchronous copies land where they are begun, otherwise where they are waited
    for. `error`: the relative error of approximate instructions, as a multiple of the bound that NVIDIA gives.
    """

    def __init__(self, kernel, device, grid, blocks, threads, shared, parameters, *, backwards, eager, error):
        if kernel.threads and kernel.threads != threads:
            raise Fault(f"{kernel.name}: blocks of {threads} threads, the kernel is compiled for {kernel.threads}")
        self.kernel, self.device, self.grid, self.blocks = kernel, device, grid, np.array(blocks)
        self.threads, self.parameters, self.eager, self.error = threads, parameters, eager, error
        self.shared = Shared(len(blocks), shared)
        self.covered = np.zeros(len(kernel.code), bool)
        self.steps = 0
        sets = [Lanes(self, warp) for warp in range(threads // WARP)]
        self.sets = sets[::-1] if backwards else sets

    def cover(self, begin, end):
        self.covered[begin:end] = True
        self.steps += end - begin
        if self.steps > PATIENCE:
            raise Fault(f"{self.kernel.name} does not end within {PATIENCE} steps")

    def fault(self, instruction, what):
        return Fault(f"{self.kernel.name}, line {instruction.line}: `{instruction.text}`: {what}")

    def go(self):
        with np.errstate(all="ignore"):
            while any(lanes.ready for lanes in self.sets):
                for lanes in self.sets:
                    lanes.go()
                self.meet()

    def meet(self):
        """Lets the blocks go on all of whose threads are at one barrier."""
        counts = {}
        for lanes in self.sets:
            for at, mask in lanes.waiting.items():
                count = mask.reshape(-1, WARP).sum(axis=1)
                counts[at] = counts.get(at, 0) + count
        for at, count in counts.items():
            if ((count != 0) & (count != self.threads)).any():
                barrier = self.kernel.code[at - 1]
                block = int(np.flatnonzero((count != 0) & (count != self.threads))[0])
                where = tuple(int(x) for x in self.blocks[block])
                what = f"block {where}: {int(count[block])} of {self.threads} threads come to this barrier"
                raise self.fault(barrier, what)
            self.shared.meet(np.flatnonzero(count))
        for lanes in self.sets:
            lanes.ready, lanes.waiting = lanes.waiting, {}
